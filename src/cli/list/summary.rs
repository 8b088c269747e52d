//! Variants in a table of 80 columns: a line for each algorithm and kind of threads.

use super::copied::{right, table};
use crate::measure::support::{Refusals, Support};
use comfy_table::Cell;
use convroof_kernels::{Isa, Variant};
use std::iter::zip;

/// Classes of refusals: the word in the table, and parts of reasons. The first class with a part of the reason is the
/// reason's.
const CLASSES: [(&str, &[&str]); 11] = [
    ("type", &["f32", "bf16", "u8", "dot products"]),
    ("sum", &["32 bits"]),
    ("operation", &[" only"]),
    (
        "memory",
        &["memory", " MiB", "2^32", "too large", "too many"],
    ),
    ("epilogue", &["bias", "residual", "ReLU"]),
    ("stride", &["stride"]),
    ("dilation", &["dilated"]),
    ("groups", &["group"]),
    ("kernel", &["kernel", "window", "1x1", "pixel"]),
    ("channels", &["channel"]),
    ("parameters", &["norm", "root", "beta", "twins"]),
];

/// Class of the reasons that no class has.
const OTHER: &str = "other";

/// Width of the table, in characters.
const WIDTH: usize = 80;

/// The class of a refusal.
fn class(reason: &str) -> &'static str {
    let own = |(_, parts): &&(&str, &[&str])| parts.iter().any(|part| reason.contains(part));
    CLASSES.iter().find(own).map_or(OTHER, |class| class.0)
}

/// A line of the table: an algorithm on one kind of threads, with its variants' support in the order of the columns.
struct Line<'a> {
    algorithm: &'a str,
    threading: &'static str,
    supports: Vec<Option<&'a Support>>,
}

/// The table of variants and their support.
pub(super) fn text(variants: &[Variant], all: &[Support]) -> String {
    let isas = columns(variants, all);
    let lines = lines(variants, all, &isas);
    let cell = |support: &Option<&Support>| match support {
        Some(support) if support.available => support.supported.to_string(),
        Some(_) => "-".into(),
        None => String::new(),
    };
    let mut head = vec!["algorithm", ""];
    head.extend(isas.iter().map(|isa| isa.name()));
    let widths: Vec<usize> = (0..isas.len())
        .map(|column| {
            let cells = lines.iter().map(|line| cell(&line.supports[column]).len());
            cells.max().unwrap_or(0).max(isas[column].name().len())
        })
        .collect();
    let name = lines.iter().map(|line| line.algorithm.len()).max();
    let name = name.unwrap_or(0).max(head[0].len());
    // A space follows each column.
    let taken = name + 1 + "st".len() + 1 + widths.iter().map(|width| width + 1).sum::<usize>();
    let room = WIDTH.saturating_sub(taken + 1);
    head.push("refuses");
    let mut out = table(&head);
    for column in out.column_iter_mut() {
        column.set_padding((0, 1));
    }
    for line in &lines {
        let mut cells = vec![Cell::new(line.algorithm), Cell::new(line.threading)];
        cells.extend(line.supports.iter().map(|support| right(cell(support))));
        cells.push(Cell::new(refusals(line, room)));
        out.add_row(cells);
    }
    format!("{out}\n{}", legend(variants, all))
}

/// The instruction sets of some variants, in order: those that extend no other, and those that add kernels for a layer here.
/// In that case those that this CPU lacks are left out, since there is no room for all.
fn columns(variants: &[Variant], all: &[Support]) -> Vec<Isa> {
    let has = |isa: Isa| variants.iter().any(|v| v.isa == isa);
    let own = |isa: Isa| zip(variants, all).filter(move |(v, _)| v.isa == isa);
    let adds =
        |isa: Isa| isa.base() != isa && own(isa).any(|(_, s)| s.available && s.supported > 0);
    let extended = Isa::ALL.into_iter().any(adds);
    let shown = |isa: &Isa| match isa.base() == *isa {
        true => has(*isa) && (!extended || isa.detect().is_some()),
        false => adds(*isa),
    };
    Isa::ALL.into_iter().filter(shown).collect()
}

fn lines<'a>(variants: &[Variant], all: &'a [Support], isas: &[Isa]) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    for (variant, support) in zip(variants, all) {
        let Some(column) = isas.iter().position(|&isa| isa == variant.isa) else {
            continue;
        };
        let (algorithm, threading) = (variant.algorithm.meta().id, variant.threading.name());
        let own = |line: &Line<'_>| line.algorithm == algorithm && line.threading == threading;
        let at = lines.iter().position(own).unwrap_or_else(|| {
            lines.push(Line {
                algorithm,
                threading,
                supports: vec![None; isas.len()],
            });
            lines.len() - 1
        });
        lines[at].supports[column] = Some(support);
    }
    lines
}

/// Numbers of refused layers by class, the most first, in at most `room` characters. All instruction sets refuse the
/// same layers, unless they lack memory for one. The table shows the refusals of the first that this CPU has.
fn refusals(line: &Line<'_>, room: usize) -> String {
    let supports = || line.supports.iter().flatten();
    let shown = supports().find(|s| s.available).or(supports().next());
    let mut counts: Vec<(usize, &str)> = Vec::new();
    for Refusals { reason, problems } in shown.iter().flat_map(|support| &support.refusals) {
        let class = class(reason);
        match counts.iter_mut().find(|(_, own)| *own == class) {
            Some((count, _)) => *count += problems.len(),
            None => counts.push((problems.len(), class)),
        }
    }
    counts.sort_by_key(|&(count, class)| (std::cmp::Reverse(count), class));
    let with = |shown: usize| {
        let more: usize = counts[shown..].iter().map(|(count, _)| count).sum();
        let parts = counts[..shown]
            .iter()
            .map(|(n, class)| format!("{n} {class}"));
        let more = (more > 0).then(|| format!("{more} more"));
        parts.chain(more).collect::<Vec<_>>().join(", ")
    };
    let mut texts = (0..=counts.len()).rev().map(with);
    texts.find(|text| text.len() <= room).unwrap_or_default()
}

/// Sentences below the table.
fn legend(variants: &[Variant], all: &[Support]) -> String {
    let mut out = format!(
        "\nNumbers: layers, of {}, that a variant computes. st: one thread, mt: several.\n\
         refuses: the other layers, by the class of the reason; --all has the reasons.\n",
        all.first().map_or(0, |support| support.problems)
    );
    for isa in columns(variants, all) {
        if isa.detect().is_none() {
            out += &format!("-: {}.\n", isa.missing_reason());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Topology;
    use crate::networks;
    use convroof_kernels::{Problem, Registry};

    fn supports(variants: &[Variant]) -> Vec<Support> {
        let layers = networks::all().into_iter().flat_map(|n| n.layers);
        let mut problems: Vec<Problem> = layers.map(|l| l.problem).collect();
        problems.sort_by_key(Problem::to_string);
        problems.dedup();
        let topology = Topology::detect();
        variants
            .iter()
            .map(|v| Support::of(v, &problems, &topology))
            .collect()
    }

    #[test]
    fn a_line_of_80_columns_for_each_algorithm_and_kind_of_threads() {
        let registry = Registry::builtin();
        let variants = registry.variants(&Isa::REAL);
        let all = supports(&variants);
        let text = text(&variants, &all);
        let table = text.split("\n\n").next();
        for line in table.expect("a table").lines() {
            assert!(line.trim_end().chars().count() <= WIDTH, "{line}");
        }
        for algorithm in registry.algorithms() {
            let id = algorithm.meta().id;
            let own = |line: &&str| line.split_whitespace().next() == Some(id);
            assert_eq!(text.lines().filter(own).count(), 2, "{id}: st and mt");
        }
        // A new reason needs a class.
        for support in &all {
            for Refusals { reason, .. } in &support.refusals {
                assert_ne!(class(reason), OTHER, "{}: {reason}", support.variant);
            }
        }
    }

    #[test]
    fn refusals_add_up_in_any_width() {
        let refused = |reason: &str, count| Refusals {
            reason: reason.into(),
            problems: vec![String::new(); count],
        };
        let support = Support {
            variant: "x/scalar/st".into(),
            summary: "",
            available: true,
            missing: None,
            supported: 1,
            problems: 18,
            refusals: vec![
                refused("the stride is not 1", 3),
                refused("computes poolings only", 10),
                refused("the stride is not 2", 2),
                refused("the filter is dilated", 2),
            ],
        };
        let line = Line {
            algorithm: "x",
            threading: "st",
            supports: vec![None, Some(&support)],
        };
        assert_eq!(refusals(&line, 99), "10 operation, 5 stride, 2 dilation");
        assert_eq!(refusals(&line, 24), "10 operation, 7 more");
        assert_eq!(refusals(&line, 8), "17 more");
    }
}
