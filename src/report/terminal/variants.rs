//! Every variant of every layer, for `bench`: the answers first.

use super::columns::{
    median, peak_column, percent, rate_column, roof, roof_column, sure, sure_column, time_column,
    variant_column, verdict, verdict_column,
};
use super::network::network;
use super::types::types;
use crate::record::{InputError, Run};
use crate::report::conclusion::conclusions;
use crate::report::page::Page;
use crate::report::table::{Cell, Column, Table};
use crate::report::types::comparisons;
use crate::report::{Row, Series, best_rows, head, ties, totals};
use crate::roofline::Verdict;
use crate::roofline::phases::PlacedPhase;
use crate::units::{threads, time};

/// Number of layers up to which each has a paragraph. More are a table.
const PARAGRAPHS: usize = 3;

/// Number of ties that an answer names.
const NAMED: usize = 3;

/// The fastest variant of each layer with its verdict, then all variants, then their phases and errors.
pub fn variants(run: &Run, rows: &[Row], page: &Page) -> String {
    let item = |line: &String| page.item(line);
    let mut out: String = head(run).lines().map(item).collect();
    for total in totals(run, rows) {
        let best = best_rows(rows, total.series());
        if best.len() > PARAGRAPHS {
            out += &network(&total, run, rows, page);
            continue;
        }
        for row in best {
            out += &format!("\n{}", page.item(&answer(row, rows)));
        }
    }
    out += &format!(
        "\nAll variants, the fastest first\n{}",
        times(rows).show(page)
    );
    let (phases, errors) = (phases(rows), errors(rows));
    if !phases.is_empty() {
        let title = "Phases, with their own operations and bytes, scratch included";
        out += &format!("\n{}{}", page.prose(title), phases.show(page));
    }
    if !errors.is_empty() {
        let title = "Errors against f64, for each kind of input, relative to the reference";
        out += &format!("\n{}{}", page.prose(title), errors.show(page));
    }
    for comparison in comparisons(run, rows) {
        out += &types(&comparison, page);
    }
    let conclusions = conclusions(run, rows, str::to_string);
    let conclusions: String = conclusions.iter().map(item).collect();
    format!("{out}\n{conclusions}")
}

/// The answer for a layer: its best variant, the bound of that variant and the evidence, and the next variant.
fn answer(row: &Row, rows: &[Row]) -> String {
    let roof = row.roof_fraction.map(percent);
    let roof = roof.map_or(String::new(), |roof| format!(", {roof} of the roof"));
    let sure = match row.verdict {
        Verdict::Undecided => String::new(),
        _ => format!(" ({} sure)", percent(row.confidence)),
    };
    let mut text = format!(
        "{}: {} is the fastest, {}{roof}. {}It is {}{sure}: {}.",
        title(row),
        row.variant,
        time(row.median_ns),
        tied(row, rows),
        row.verdict,
        row.reason
    );
    let others = rows.iter().filter(|r| r.is_beside(row));
    let others = others.filter(|r| r.is_warm() && !r.best && !r.tied);
    let next = others.min_by(|a, b| {
        let few = a.few_samples().cmp(&b.few_samples());
        few.then(a.median_ns.total_cmp(&b.median_ns))
    });
    if let Some(next) = next {
        text += &format!(
            " The next, {}, takes {:.2} times as long.",
            next.variant,
            next.median_ns / row.median_ns
        );
    }
    text
}

/// The variants that can't be told from the best one, in a sentence with a space behind it; empty without any.
fn tied(row: &Row, rows: &[Row]) -> String {
    let ties = ties(rows, row);
    let names: Vec<&str> = ties.iter().take(NAMED).map(|tie| &*tie.variant).collect();
    let names = names.join(", ");
    match ties.len().saturating_sub(NAMED) {
        0 if ties.is_empty() => String::new(),
        0 => format!("As fast, within noise: {names}. "),
        more => format!("As fast, within noise: {names} and {more} more. "),
    }
}

/// A row's layer, its type and number of threads.
fn title(row: &Row) -> String {
    let subject = match row.network.as_str() {
        "custom" => Series {
            network: &row.layer,
            ..row.series()
        }
        .subject(),
        _ => format!("{} of {}", row.layer, row.series().subject()),
    };
    format!("{subject}, {}", threads(row.threads))
}

/// Adds lines for the rows of each layer to a table, below the layer's name if there are several layers.
fn by_layer<const N: usize>(
    rows: &[Row],
    table: &mut Table<N>,
    lines: impl Fn(&[Row]) -> Vec<[Cell; N]>,
) {
    let layers: Vec<&[Row]> = rows.chunk_by(Row::is_beside).collect();
    for own in &layers {
        let lines = lines(own);
        if layers.len() > 1 && !lines.is_empty() {
            table.section(&title(&own[0]));
        }
        lines.into_iter().for_each(|line| table.row(line));
    }
}

/// The state of the caches; none if they are warm.
fn cache(row: &Row) -> Cell {
    (!row.is_warm()).then_some(&row.cache).into()
}

fn times(rows: &[Row]) -> Table<11> {
    let mut table = Table::new([
        variant_column("algorithm/instruction set/threads"),
        time_column("median of a run"),
        Column::number("to best", "time / that of the layer's best variant")
            .mark("=", "can't be told from the fastest, within noise"),
        verdict_column(),
        sure_column(),
        roof_column(),
        Column::text("cache", "what is not in the caches"),
        rate_column("GFLOP/s"),
        peak_column(),
        Column::number("error", "max |error| / max |reference|"),
        Column::number("samples", "number of samples"),
    ]);
    by_layer(rows, &mut table, |own| {
        let best = best_rows(own, own[0].series());
        let ratio = |row: &Row| Some(format!("{:.2}", row.median_ns / best.first()?.median_ns));
        let line = |row: &Row| {
            [
                Cell::new(&row.variant),
                median(row),
                Cell::from(ratio(row)).mark("=", row.tied && !row.best),
                verdict(row.verdict),
                sure(row),
                roof(row),
                cache(row),
                Cell::new(format!("{:.1}", row.gflops_nominal)),
                Cell::new(percent(row.fraction_of_peak)),
                Cell::new(format!("{:.0e}", row.error_max)),
                Cell::new(row.samples),
            ]
        };
        own.iter().map(line).collect()
    });
    table
}

/// Times of the phases of algorithms with several, and the bound of each.
fn phases(rows: &[Row]) -> Table<9> {
    let mut table = Table::new([
        variant_column("one with several phases"),
        Column::text("phase", "a part of a run, timed alone"),
        Column::number("time", "of one run"),
        Column::number("share", "of the time of all phases"),
        Column::text("bound by", "the larger of the phase's two lower bounds"),
        Column::number("of peak", "executed operations / peak of the layer's type"),
        Column::number("flop/byte", "executed operations / streamed bytes"),
        Column::number("GB/s", "streamed bytes"),
        Column::text("cache", "what is not in the caches"),
    ]);
    let lines = |row: &Row| {
        let line = |(i, phase): (usize, &PlacedPhase)| {
            [
                (i == 0).then_some(&row.variant).into(),
                Cell::new(phase.phase.replace('_', " ")),
                Cell::new(time(phase.ns)),
                Cell::new(percent(phase.share)),
                verdict(phase.verdict),
                Cell::new(percent(phase.fraction_of_peak)),
                Cell::new(format!("{:.1}", phase.intensity)),
                Cell::new(format!("{:.0}", phase.gbps)),
                cache(row),
            ]
        };
        row.phases.iter().enumerate().map(line).collect::<Vec<_>>()
    };
    by_layer(rows, &mut table, |own| own.iter().flat_map(lines).collect());
    table
}

/// Errors of algorithms whose error depends on the inputs, beside their speed.
fn errors(rows: &[Row]) -> Table<6> {
    let mut table = Table::new([
        variant_column("one whose error depends on its inputs"),
        Column::text("inputs", "distribution of the inputs"),
        Column::number("max error", "maximum norm"),
        Column::number("L2 error", "L2 norm"),
        Column::number("of peak", "nominal rate / peak of the layer's type"),
        Column::text("cache", "what is not in the caches"),
    ]);
    let lines = |row: &Row| {
        let line = |(i, error): (usize, &InputError)| {
            [
                (i == 0).then_some(&row.variant).into(),
                Cell::new(&error.input),
                Cell::new(format!("{:.1e}", error.max)),
                Cell::new(format!("{:.1e}", error.l2)),
                Cell::new(percent(row.fraction_of_peak)),
                cache(row),
            ]
        };
        let errors = row.errors_by_input.iter().enumerate();
        errors.map(line).collect::<Vec<_>>()
    };
    by_layer(rows, &mut table, |own| own.iter().flat_map(lines).collect());
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::report::rows;

    fn text(run: &Run) -> String {
        variants(run, &rows(run), &Page::plain(80))
    }

    #[test]
    fn the_answer_comes_before_all_tables() {
        let mut run = sample();
        let mut slow = run.measurements[0].clone();
        slow.variant = "direct/scalar/st".into();
        slow.samples_ns = slow.samples_ns.iter().map(|ns| 2.0 * ns).collect();
        run.measurements.push(slow);
        let text = text(&run);
        let at = |of: &str| text.find(of).unwrap_or_else(|| panic!("{of}\n{text}"));
        let answer = at("direct/avx2/st is the fastest, 2.05 ms");
        let unwrapped = text.replace("\n  ", " ");
        let next = "The next, direct/scalar/st, takes 2.00 times as long.";
        assert!(unwrapped.contains(next), "{text}");
        let parts = [
            answer,
            at("All variants"),
            at("Phases,"),
            at("Errors against"),
        ];
        assert!(parts.is_sorted(), "{text}");
        assert!(
            text.ends_with("compute bound, 2.05 ms by direct/avx2/st.\n"),
            "{text}"
        );
    }

    #[test]
    fn many_layers_are_answered_in_a_table() {
        let mut run = sample();
        for i in 0..PARAGRAPHS {
            let mut layer = run.layers[0].clone();
            layer.layer = format!("other{i}");
            run.layers.push(layer);
        }
        let text = text(&run);
        assert!(text.contains("the best variant of each layer"), "{text}");
        assert!(!text.contains("is the fastest, "), "{text}");
    }

    #[test]
    fn rows_say_what_they_found_in_the_caches() {
        let mut run = sample();
        assert!(!text(&run).contains("cache"));
        let mut cold = run.measurements[0].clone();
        cold.cache = "weights-cold".into();
        run.measurements.push(cold);
        let text = text(&run);
        let lines = text.lines().filter(|line| line.contains("weights-cold"));
        assert!(lines.count() > 1, "{text}");
    }
}
