//! Results of a comparison as text.

use crate::escape;
use crate::regress::ab::client::Side;
use crate::regress::ab::gate::{Judged, Outcome};
use crate::regress::ab::survey::Survey;
use crate::regress::ab::verdict::{ALPHA, LEAST, NOISES};
use crate::report::page::Page;
use crate::report::table::{Cell, Column, Table};
use crate::stats::median;
use crate::units::time;
use std::fmt::Write;

/// Verdicts of a comparison. `budget` in seconds.
pub(super) struct Verdicts<'a> {
    pub(super) sides: &'a [Side],
    pub(super) survey: &'a Survey,
    /// The pairs that were not measured, in sentences.
    pub(super) left_out: Option<String>,
    /// Head of the results of an interrupted comparison.
    pub(super) interrupted: Option<String>,
    pub(super) judged: &'a [Judged],
    pub(super) budget: f64,
}

impl Verdicts<'_> {
    /// All pairs except the unchanged ones, slowest first.
    fn changes(&self) -> Vec<&Judged> {
        let changed = self
            .judged
            .iter()
            .filter(|j| j.outcome != Outcome::Unchanged);
        let mut changes: Vec<&Judged> = changed.collect();
        changes.sort_by(|x, y| y.result.effect.total_cmp(&x.result.effect));
        changes
    }

    /// Names of both sides; `escaped` escapes them.
    fn head(&self, escaped: impl Fn(&str) -> String) -> String {
        let sides = self.sides.iter();
        let sides: Vec<String> = sides
            .map(|s| format!("{}: {}", s.letter, escaped(&s.label)))
            .collect();
        let mut head = sides.join("\n");
        if let Some(interrupted) = &self.interrupted {
            head += "\n";
            head += interrupted;
        }
        head
    }

    /// The results, in sentences; `escaped` escapes names.
    fn summary(&self, escaped: impl Fn(&str) -> String) -> String {
        let count = |outcome| self.judged.iter().filter(|j| j.outcome == outcome).count();
        let mut text = format!("{} pairs of layer and variant:", self.judged.len());
        for (outcome, words) in [
            (Outcome::Slower, "slower"),
            (
                Outcome::Layout,
                "slower by layout only (both builds have the same hot code, so this is no failure)",
            ),
            (Outcome::Unconfirmed, "slower at first, but not confirmed"),
            (Outcome::Faster, "faster"),
            (Outcome::Unchanged, "without a detectable change"),
        ] {
            let n = count(outcome);
            if n > 0 || outcome == Outcome::Slower {
                let _ = write!(text, " {n} {words},");
            }
        }
        text.pop();
        text += &self.sensitivity(&escaped);
        text += &self.code();
        if let Some(left_out) = &self.left_out {
            let _ = writeln!(text, "{}", escaped(left_out));
        }
        for (letter, pair, why) in &self.survey.missing {
            let (pair, why) = (escaped(&pair.to_string()), escaped(why));
            let _ = writeln!(text, "Only in {letter}: {pair} (the other: {why}).");
        }
        text
    }

    /// Number of pairs with equal machine code, in a sentence.
    fn code(&self) -> String {
        let same = self.survey.pairs.iter();
        match same.filter(|s| s.same_code == Some(true)).count() {
            0 => String::new(),
            n => format!(
                "{n} pairs have equal machine code in both builds, so they were measured in few blocks.\n"
            ),
        }
    }

    /// The smallest slow-downs that were detectable, in sentences; empty without pairs.
    fn sensitivity(&self, escaped: impl Fn(&str) -> String) -> String {
        let finds = |j: &Judged| j.finds.unwrap_or(f64::INFINITY);
        let all: Vec<f64> = self.judged.iter().map(finds).collect();
        let worst = self
            .judged
            .iter()
            .max_by(|x, y| finds(x).total_cmp(&finds(y)));
        let (Some(median), Some(worst)) = (median(&all), worst) else {
            return String::new();
        };
        format!(
            ".\nThe smallest slow-down that is found here half the time within {:.0} s: {} (median of the pairs), at worst {} ({}).\n\
             A slower pair is slower by at least {:.0} % and {NOISES} times the noise in fresh processes. The family-wise false-alarm rate is at most {ALPHA}.\n",
            self.budget,
            percent(median),
            percent(finds(worst)),
            escaped(&worst.pair.to_string()),
            100.0 * LEAST,
        )
    }

    fn rows(&self) -> Vec<[String; 7]> {
        let row = |j: &&Judged| {
            let again = j.confirmation.as_ref();
            [
                j.pair.variant.to_string(),
                j.pair.problem.to_string(),
                j.pair.threads.to_string(),
                time(j.a_ns),
                format!("{:.3}", 1.0 + j.result.effect),
                again.map_or_else(String::new, |c| format!("{:.3}", 1.0 + c.effect)),
                j.outcome.name().into(),
            ]
        };
        self.changes().iter().map(row).collect()
    }

    const HEADS: [&'static str; 7] = ["variant", "problem", "threads", "A", "B/A", "again", "B is"];

    /// The result as a table and sentences.
    pub(super) fn text(&self, page: &Page) -> String {
        let visible = |text: &str| escape::visible(text).into();
        let head = self.head(visible);
        let mut text: String = head.lines().map(|line| page.item(line)).collect();
        let rows = self.rows();
        if !rows.is_empty() {
            let mut table = Table::new([
                Column::text("problem", "the layer").least(16),
                Column::number(
                    "B/A",
                    "ratio of times in the same round, above 1 if B is slower",
                ),
                Column::text("B is", "the result").least(11),
                Column::text("variant", "algorithm/instruction set/threads").least(16),
                Column::number("again", "the ratio in fresh processes, of suspects only"),
                Column::number("A", "median time of a run"),
                Column::number("threads", "number of threads"),
            ]);
            for [variant, problem, threads, a, ratio, again, outcome] in rows {
                let cells = [problem, ratio, outcome, variant, again, a, threads];
                table.row(cells.map(Cell::new));
            }
            let _ = write!(text, "\n{}\n", table.show(page));
        }
        let summary = self.summary(visible);
        text + &summary
            .lines()
            .map(|line| page.item(line))
            .collect::<String>()
    }

    /// The result as Markdown.
    pub(super) fn markdown(&self) -> String {
        let markdown = |text: &str| escape::markdown(text).into_owned();
        let mut text = format!(
            "### convroof ab\n\n{}\n\n",
            self.head(markdown).replace('\n', "  \n")
        );
        let rows = self.rows();
        if !rows.is_empty() {
            let _ = writeln!(
                text,
                "| {} |\n|---|---|--:|--:|--:|--:|---|",
                Self::HEADS.join(" | ")
            );
            for row in rows {
                let cells: Vec<_> = row.iter().map(|cell| escape::markdown(cell)).collect();
                let _ = writeln!(text, "| {} |", cells.join(" | "));
            }
            text.push_str(
                "\nB/A is the ratio of times in the same round. Above 1, B is slower.\n\n",
            );
        }
        text + &self.summary(markdown).replace('\n', "  \n")
    }
}

fn percent(x: f64) -> String {
    if x.is_finite() {
        format!("{:.1} %", 100.0 * x)
    } else {
        "none".into()
    }
}
