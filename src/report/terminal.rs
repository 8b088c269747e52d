//! Reports as tables in the terminal.

use super::versus::{Duel, duels, lost, means};
use super::why::{ColdRow, cold_rows, predictions};
use super::{
    NetworkTotal, Row, best_rows, interruption, legend, machine_line, missing_counters, noise_line,
    totals,
};
use crate::escape::visible;
use crate::record::Run;
use crate::roofline::Verdict;
use crate::units::{threads, time};
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};

/// The verdicts of a run: for each network and number of threads a table with each layer's best variant.
pub fn verdicts(run: &Run, rows: &[Row], colour: bool) -> String {
    let mut out = headline(run);
    if let Some(line) = interruption(run) {
        out += &format!("{}.\n", visible(&line));
    }
    for total in totals(run, rows) {
        out += &network(&total, run, rows, colour);
    }
    let duels = |t: &NetworkTotal| duels(run, rows, &t.network, t.threads);
    for total in totals(run, rows) {
        out += &versus(&total, &duels(&total));
    }
    out += &beaten(rows);
    out += "\nmoved: bytes that the CPU counted / compulsory bytes. model: predicted / measured time. sure: votes for the verdict / (all votes + 1). The report and --json have the reasons.\n";
    out += "GFLOP/s count the operations of the definition: Winograd and Strassen execute fewer and may exceed 100 % of the peak.\n";
    if let Some(line) = missing_counters(run) {
        out += &format!("{}.\n", visible(&line));
    }
    for note in run.notes.iter().chain(&run.calibration.notes) {
        out += &format!("Note: {}.\n", visible(note));
    }
    out
}

/// The machine, and how much the run was disturbed: the first lines of every report.
pub fn headline(run: &Run) -> String {
    format!("{}\n{}.\n", visible(&machine_line(run)), noise_line(run))
}

/// A network's layers, each by its best variant, and the sum.
fn network(total: &NetworkTotal, run: &Run, rows: &[Row], colour: bool) -> String {
    let best = best_rows(rows, &total.network, total.threads);
    let mut table = table(&[
        "layer",
        "x",
        "best variant",
        "time",
        "GFLOP/s",
        "of peak",
        "flop/byte",
        "moved",
        "of roof",
        "model",
        "bound by",
        "sure",
    ]);
    for row in &best {
        table.add_row(cells(row, colour));
    }
    let shares: Vec<String> = total
        .shares
        .iter()
        .map(|(v, s)| format!("{} {:.0} %", v.label(), 100.0 * s))
        .collect();
    let shares = shares.join(", ");
    let sum = if total.whole() {
        let (time, rate) = (time(total.time_ns), total.gflops_nominal);
        format!("all layers: {time}, {rate:.0} GFLOP/s; of the time {shares}")
    } else {
        format!("{}; of their time {shares}", total.no_sum())
    };
    let mut out = format!(
        "\n{}, {}, batch {}: best variant for each layer\n{table}\n{sum}\n",
        visible(&total.network),
        threads(total.threads),
        run.conditions.batch
    );
    out += &predicted(&best);
    out += &disputes(&best);
    out += &cold(&cold_rows(rows, &total.network, total.threads), colour);
    out += &marks(best.iter().copied());
    out
}

/// A network's layers against the best peer, and the layers on which we are slower; empty if no peer took part.
fn versus(total: &NetworkTotal, duels: &[Duel]) -> String {
    if duels.is_empty() {
        return String::new();
    }
    let mut layers = table(&[
        "layer",
        "best of ours",
        "time",
        "best peer",
        "time",
        "peer / ours",
        "95 %",
    ]);
    for d in duels {
        layers.add_row(vec![
            cell(&d.layer),
            cell(&d.ours),
            right(time(d.ours_ns)),
            cell(&d.peer),
            right(time(d.peer_ns)),
            right(format!("{:.2}", d.ratio)),
            right(format!("{:.2} to {:.2}", d.ci.0, d.ci.1)),
        ]);
    }
    let means: Vec<String> = means(duels)
        .iter()
        .map(|m| format!("{} {:.2} ({})", m.over, m.ratio, m.layers))
        .collect();
    let mut out = format!(
        "\n{}, {}: other libraries (ratios above 1: ours is faster)\n{layers}\ngeometric means: {}\n",
        visible(&total.network),
        threads(total.threads),
        means.join(", ")
    );
    let lost: Vec<String> = lost(duels)
        .iter()
        .map(|d| format!("{} {:.2}", visible(&d.layer), d.ratio))
        .collect();
    out += &if lost.is_empty() {
        "no layer is slower than the best peer\n".into()
    } else {
        format!(
            "slower than the best peer, the most lost time first: {}\n",
            lost.join(", ")
        )
    };
    out
}

/// Every variant of every layer, for `bench`.
pub fn variants(rows: &[Row], colour: bool) -> String {
    let mut table = table(&[
        "layer", "variant", "threads", "time", "GFLOP/s", "of peak", "of roof", "error", "bound by",
    ]);
    let mut last = String::new();
    for row in rows {
        let name = format!("{}/{}", row.network, row.layer);
        let shown = if name == last {
            String::new()
        } else {
            name.clone()
        };
        last = name;
        table.add_row(vec![
            cell(&shown),
            cell(&variant(row)),
            right(row.threads.to_string()),
            right(format!("{}{}", time(row.median_ns), row.marks())),
            right(format!("{:.1}", row.gflops_nominal)),
            right(percent(row.fraction_of_peak)),
            right(row.roof_fraction.map_or("-".into(), percent)),
            right(format!("{:.0e}", row.error_max)),
            verdict(row.verdict, colour),
        ]);
    }
    format!(
        "{table}\n{}{}{}",
        marks(rows),
        errors(rows),
        phases(rows, colour)
    )
}

/// The legend of the marks behind times; empty without marks.
fn marks<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let lines = legend(rows).into_iter();
    lines
        .map(|(mark, meaning)| format!("{mark} {meaning}\n"))
        .collect()
}

/// Errors of algorithms whose error depends on the inputs, beside their speed.
fn errors(rows: &[Row]) -> String {
    let mut table = table(&[
        "layer",
        "variant",
        "threads",
        "of peak",
        "inputs",
        "L2 error",
        "max error",
    ]);
    for row in rows {
        for error in &row.errors_by_input {
            table.add_row(vec![
                cell(&format!("{}/{}", row.network, row.layer)),
                cell(&variant(row)),
                right(row.threads.to_string()),
                right(percent(row.fraction_of_peak)),
                cell(&error.input),
                right(format!("{:.1e}", error.l2)),
                right(format!("{:.1e}", error.max)),
            ]);
        }
    }
    if table.is_empty() {
        return String::new();
    }
    format!(
        "\nErrors against f64, for each kind of input (L2 norm and maximum, relative to the reference):\n{table}\n"
    )
}

/// Times of the phases of algorithms with several, and the bound of each.
fn phases(rows: &[Row], colour: bool) -> String {
    let mut table = table(&[
        "layer",
        "variant",
        "threads",
        "phase",
        "time",
        "share",
        "of peak",
        "flop/byte",
        "GB/s",
        "bound by",
    ]);
    for row in rows {
        for phase in &row.phases {
            table.add_row(vec![
                cell(&format!("{}/{}", row.network, row.layer)),
                cell(&variant(row)),
                right(row.threads.to_string()),
                cell(&phase.phase.replace('_', " ")),
                right(time(phase.ns)),
                right(percent(phase.share)),
                right(percent(phase.fraction_of_peak)),
                right(format!("{:.1}", phase.intensity)),
                right(format!("{:.0}", phase.gbps)),
                verdict(phase.verdict, colour),
            ]);
        }
    }
    if table.is_empty() {
        return String::new();
    }
    format!("\nPhases, with their own operations and bytes, scratch included:\n{table}\n")
}

/// A row's variant, with the state of the caches unless they are warm.
fn variant(row: &Row) -> String {
    if row.is_warm() {
        row.variant.to_string()
    } else {
        format!("{}, {}", row.variant, row.cache)
    }
}

fn cells(row: &Row, colour: bool) -> Vec<Cell> {
    vec![
        cell(&row.layer),
        right(row.count.to_string()),
        cell(&row.variant),
        right(format!("{}{}", time(row.median_ns), row.marks())),
        right(format!("{:.1}", row.gflops_nominal)),
        right(percent(row.fraction_of_peak)),
        right(format!("{:.1}", row.intensity)),
        right(row.moved().map_or("-".into(), |m| format!("x {m:.1}"))),
        right(row.roof_fraction.map_or("-".into(), percent)),
        right(
            row.predicted_ns
                .map_or("-".into(), |p| percent(p / row.median_ns)),
        ),
        verdict(row.verdict, colour),
        right(sure(row)),
    ]
}

/// Confidence of a verdict, with a mark if a witness votes against it.
fn sure(row: &Row) -> String {
    let mark = if row.disputed { "?" } else { "" };
    format!("{}{mark}", percent(row.confidence))
}

/// Layers with cold caches.
fn cold(rows: &[ColdRow<'_>], colour: bool) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = table(&[
        "layer",
        "cache",
        "variant",
        "warm",
        "cold",
        "cold/warm",
        "bound by",
        "sure",
    ]);
    for ColdRow { warm, cold, ratio } in rows {
        table.add_row(vec![
            cell(&cold.layer),
            cell(&cold.cache),
            cell(&cold.variant),
            right(time(warm.median_ns)),
            right(time(cold.median_ns)),
            right(format!("{ratio:.2}")),
            verdict(cold.verdict, colour),
            right(sure(cold)),
        ]);
    }
    format!("The same layers with cold caches:\n{table}\n")
}

/// Reasons for verdicts that a witness votes against.
fn disputes(rows: &[&Row]) -> String {
    let disputed = rows.iter().filter(|r| r.disputed);
    let lines: Vec<String> = disputed
        .map(|r| {
            let (layer, reason) = (visible(&r.layer), visible(&r.reason));
            format!("? {layer}: {}: {reason}\n", r.verdict.label())
        })
        .collect();
    lines.concat()
}

/// Errors for kernels that exceed a ceiling: it was measured too low.
fn beaten(rows: &[Row]) -> String {
    let lines = rows.iter().filter_map(Row::impossible);
    lines
        .map(|why| format!("Error: {}: calibrate again.\n", visible(&why)))
        .collect()
}

/// Accuracy of the model's predictions.
fn predicted(rows: &[&Row]) -> String {
    let Some(p) = predictions(rows.iter().copied()) else {
        return String::new();
    };
    format!(
        "model: {} of {} layers predicted to within a fifth, off by a factor of {:.2} on average; the worst (measured / predicted): {}\n",
        p.near,
        p.layers,
        p.factor,
        p.worst_of_all(|name| visible(name).into())
    )
}

/// A table without rules, so that text tools can process it.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(Cell::new));
    table
}

/// A cell for text of a record; control characters are made visible.
pub fn cell(text: &str) -> Cell {
    Cell::new(visible(text))
}

/// A cell for a number.
pub fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// A fraction as a percentage.
pub fn percent(fraction: f64) -> String {
    format!("{:.0} %", 100.0 * fraction)
}

/// A cell for a verdict.
pub fn verdict(verdict: Verdict, colour: bool) -> Cell {
    let cell = Cell::new(verdict.label().trim_end_matches(" bound"));
    if !colour {
        return cell;
    }
    cell.fg(match verdict {
        Verdict::Compute | Verdict::Core => Color::Green,
        Verdict::L1 | Verdict::L2 | Verdict::L3 | Verdict::Dram => Color::Yellow,
        Verdict::Overhead | Verdict::Undecided => Color::Grey,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::report::rows;

    #[test]
    fn rows_say_what_they_found_in_the_caches() {
        let warm = rows(&sample()).remove(0);
        let cold = Row {
            cache: "weights-cold".into(),
            ..warm.clone()
        };
        let text = variants(&[warm.clone(), cold], false);
        let cold = format!("{}, weights-cold", warm.variant);
        let rows = |of: &str| text.lines().filter(|line| line.contains(of)).count();
        assert_eq!(2 * rows(&cold), rows(&warm.variant), "{text}");
        assert!(rows(&cold) > 0, "{text}");
    }
}
