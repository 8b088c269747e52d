//! An audit as Markdown.

use super::rates::{EFFECTS, Rate, Report};
use crate::escape;
use std::fmt::Write;

/// The report on a machine.
pub(super) fn markdown(report: &Report, machine: &str) -> String {
    let percent = |x: f64| format!("{:.1} %", 100.0 * x);
    let rate = |r: Rate| match r.tries {
        0 => "not tried".to_string(),
        _ => format!(
            "{} of {} ({:.2} to {:.2} %)",
            r.hits,
            r.tries,
            100.0 * r.low,
            100.0 * r.high
        ),
    };
    let Report {
        pairs,
        budget_s,
        blocks,
        rounds,
        ..
    } = report;
    let machine = escape::markdown(machine);
    let mut text = format!(
        "# `convroof ab`, audited on {machine}\n\n\
         {pairs} pairs of layer and variant, {budget_s:.0} s of measuring, {blocks} blocks of {rounds:.0} rounds (median) in the screening. \
         Intervals are exact 95 % ones (Clopper and Pearson). Made by `convroof audit`; the gates are in `audit/`.\n\n\
         ## False alarms\n\n\
         | gates of a program against itself | failed | slower in the screening |\n|---|---|---|\n"
    );
    let _ = writeln!(
        text,
        "| real | {} | {} |",
        rate(report.real),
        rate(report.real_alarms)
    );
    for drawn in &report.drawn {
        let _ = writeln!(
            text,
            "| resampled from the blocks of real gates, {:.0} s | {} | |",
            drawn.budget_s,
            rate(drawn.false_alarms)
        );
    }
    text += "\n## Slow-downs found\n\n| gates |";
    EFFECTS
        .iter()
        .for_each(|e| text += &format!(" {:.0} % |", 100.0 * e));
    text += " half the time | 9 times in 10 |\n|---|---|---|---|---|---|---|---|\n| real, injected into a few pairs |";
    for detection in &report.injected {
        let _ = write!(text, " {} |", rate(detection.found));
    }
    text += " | |\n";
    for drawn in &report.drawn {
        let _ = write!(
            text,
            "| resampled, one pair slowed down, {:.0} s |",
            drawn.budget_s
        );
        for detection in &drawn.found {
            let _ = write!(text, " {} |", rate(detection.found));
        }
        let _ = writeln!(
            text,
            " {} | {} |",
            percent(drawn.half),
            percent(drawn.nine_in_ten)
        );
    }
    let _ = writeln!(
        text,
        "\nFalse alarms in the real gates with injections (pairs without an injection): {}.",
        rate(report.injected_others)
    );
    text
}
