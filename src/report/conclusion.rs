//! The conclusion of a report: a sentence for each network and number of threads.

use super::rows::{NetworkTotal, Row, Series, best_rows, totals};
use super::types::{Change, Comparison, comparisons};
use crate::record::Run;
use crate::roofline::Verdict;
use crate::units::{plural, threads, time};

/// A layer or step in a conclusion.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its name.
    pub name: &'a str,
    /// The resource that bounds it.
    pub verdict: Verdict,
    /// Nanoseconds, in all its occurrences.
    pub ns: f64,
}

/// Number of layers that are named for each verdict.
const NAMED: usize = 5;

/// Fraction of the time from which on the share of a verdict is told, although its layers are named.
const LARGE: f64 = 0.1;

/// The conclusions of a run, like "resnet50, 2 threads: 88 % of the time compute bound; L3 bound: conv1, pool1, fc.".
/// Those of a network in several types are followed by what changes from f32 to the others. `name` escapes the name of a
/// network, a layer or a variant.
pub fn conclusions(run: &Run, rows: &[Row], name: impl Fn(&str) -> String) -> Vec<String> {
    let totals = totals(run, rows);
    let sentences = totals.iter().map(|total| conclusion(total, rows, &name));
    let comparisons = comparisons(run, rows);
    let changes = comparisons.iter().flat_map(|c| changes(c, &name));
    sentences.chain(changes).collect()
}

/// Sentences about the changes from f32 to each other type.
pub(super) fn changes(comparison: &Comparison<'_>, name: &impl Fn(&str) -> String) -> Vec<String> {
    let subject = format!(
        "{}, {}",
        name(comparison.network),
        threads(comparison.threads)
    );
    let types = comparison.types.iter();
    types
        .map(|&dtype| {
            let Change {
                layers,
                speed_up,
                to_bandwidth,
            } = comparison.change(dtype);
            let Some(speed_up) = speed_up else {
                return format!("{subject}: no layer was measured both in f32 and in {dtype}.");
            };
            let changed = match to_bandwidth.len() {
                0 => format!("none of {} changes", plural(layers, "layer")),
                1 => format!("1 of {} changes", plural(layers, "layer")),
                n => format!("{n} of {layers} layers change"),
            };
            let list = if to_bandwidth.is_empty() { "" } else { ": " };
            let missing = match comparison.layers.len() - layers {
                0 => String::new(),
                n => format!("; {} not measured in both", plural(n, "layer")),
            };
            format!(
                "{subject}: in {dtype} {speed_up:.2} times as fast as in f32; {changed} from compute bound to bandwidth bound{list}{}{missing}.",
                listed(&to_bandwidth, name)
            )
        })
        .collect()
}

/// The first few names, and the number of the others.
fn listed(names: &[&str], name: impl Fn(&str) -> String) -> String {
    let first = names.iter().take(NAMED).map(|n| name(n));
    let first = first.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// The conclusion of a series.
pub(super) fn conclusion(
    total: &NetworkTotal,
    rows: &[Row],
    name: &impl Fn(&str) -> String,
) -> String {
    let best = best_rows(rows, total.series());
    let on = threads(total.threads);
    let (measured, all) = total.layers;
    if let ([row], 1) = (&best[..], all) {
        let layer = Series {
            network: &row.layer,
            ..row.series()
        };
        return format!(
            "{}, {on}: {}, {} by {}.",
            name(&layer.subject()),
            row.verdict,
            time(row.median_ns),
            name(&row.variant)
        );
    }
    let parts = best.iter().map(|row| Part {
        name: &row.layer,
        verdict: row.verdict,
        ns: row.count as f64 * row.median_ns,
    });
    let shares = shares(&parts.collect::<Vec<_>>(), name);
    let of = match total.whole() {
        true => String::new(),
        false => format!(", {measured} of {all} layers"),
    };
    format!("{}, {on}{of}: {shares}.", name(&total.series().subject()))
}

/// The verdict of most of the time with its share, then the layers under each other verdict, those with the largest
/// share first. Undecided time is always told. `name` escapes a layer's name.
pub fn shares(parts: &[Part<'_>], name: impl Fn(&str) -> String) -> String {
    let groups = groups(parts);
    let Some((first, others)) = groups.split_first() else {
        return "nothing was measured".into();
    };
    let mut text = match others.len() {
        0 => format!("all of the time {}", first.verdict),
        _ => format!("{} of the time {}", percent(first.share), first.verdict),
    };
    for group in others {
        let told = group.verdict == Verdict::Undecided || group.share >= LARGE;
        let share = match told {
            true => format!(" {}", percent(group.share)),
            false => String::new(),
        };
        let parts: Vec<&str> = group.parts.iter().map(|p| p.name).collect();
        text += &format!("; {}{share}: {}", group.verdict, listed(&parts, &name));
    }
    text
}

/// The parts under one verdict, the longest first.
struct Group<'a> {
    verdict: Verdict,
    /// Fraction of the time.
    share: f64,
    parts: Vec<&'a Part<'a>>,
}

/// The verdicts that occur, the largest share first.
fn groups<'a>(parts: &'a [Part<'a>]) -> Vec<Group<'a>> {
    let all: f64 = parts.iter().map(|p| p.ns).sum();
    let group = |verdict: Verdict| {
        let mut parts: Vec<_> = parts.iter().filter(|p| p.verdict == verdict).collect();
        parts.sort_by(|a, b| b.ns.total_cmp(&a.ns));
        Group {
            verdict,
            share: parts.iter().map(|p| p.ns).sum::<f64>() / all,
            parts,
        }
    };
    let mut groups: Vec<Group<'_>> = Verdict::ALL.into_iter().map(group).collect();
    groups.retain(|group| !group.parts.is_empty());
    groups.sort_by(|a, b| b.share.total_cmp(&a.share));
    groups
}

/// A share of the time as a percentage. It is rounded neither to nothing nor to all.
pub fn percent(share: f64) -> String {
    match 100.0 * share {
        p if p > 0.0 && p < 0.5 => "under 1 %".into(),
        p if p > 99.5 && p < 100.0 => "over 99 %".into(),
        p => format!("{p:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{in_two_types, sample};
    use crate::report::rows;
    use crate::report::types::tests::changing;

    fn part(name: &str, verdict: Verdict, ns: f64) -> Part<'_> {
        Part { name, verdict, ns }
    }

    fn text(parts: &[Part<'_>]) -> String {
        shares(parts, str::to_string)
    }

    #[test]
    fn the_largest_share_comes_first_and_the_others_are_named() {
        let parts = [
            part("pool1", Verdict::L3, 2.0),
            part("conv2", Verdict::Compute, 50.0),
            part("conv1", Verdict::L3, 3.0),
            part("conv3", Verdict::Compute, 42.0),
            part("fc", Verdict::Undecided, 3.0),
        ];
        assert_eq!(
            text(&parts),
            "92 % of the time compute bound; L3 bound: conv1, pool1; undecided 3 %: fc"
        );
    }

    #[test]
    fn large_shares_are_told_and_long_lists_are_cut() {
        let mut parts = vec![part("a", Verdict::Compute, 60.0)];
        parts.extend(["b", "c", "d", "e", "f", "g", "h"].map(|n| part(n, Verdict::L2, 5.0)));
        assert_eq!(
            text(&parts),
            "63 % of the time compute bound; L2 bound 37 %: b, c, d, e, f and 2 more"
        );
    }

    #[test]
    fn shares_are_never_rounded_to_nothing_or_all() {
        let parts = [
            part("a", Verdict::Compute, 999.0),
            part("b", Verdict::Undecided, 1.0),
        ];
        assert_eq!(
            text(&parts),
            "over 99 % of the time compute bound; undecided under 1 %: b"
        );
        assert_eq!(text(&parts[..1]), "all of the time compute bound");
        assert_eq!(text(&[]), "nothing was measured");
    }

    #[test]
    fn one_layer_is_told_with_its_time() {
        let run = sample();
        let found = conclusions(&run, &rows(&run), str::to_string);
        assert_eq!(
            found,
            ["conv2_x.3x3, 1 thread: compute bound, 2.05 ms by direct/avx2/st."]
        );
    }

    #[test]
    fn types_are_told_with_what_they_change() {
        let told = |run: &Run| conclusions(run, &rows(run), str::to_string);
        assert_eq!(
            told(&changing())[1..],
            [
                "resnet50 in u8, 1 thread, 1 of 2 layers: all of the time L3 bound.",
                "resnet50, 1 thread: in u8 2.00 times as fast as in f32; 1 of 1 layer changes from compute bound to bandwidth bound: conv2_x.3x3; 1 layer not measured in both."
            ]
        );
        let same = told(&in_two_types());
        assert_eq!(
            same[1..],
            [
                "conv2_x.3x3 in u8, 1 thread: compute bound, 1.02 ms by direct/avx2/st.",
                "resnet50, 1 thread: in u8 2.00 times as fast as in f32; none of 1 layer changes from compute bound to bandwidth bound."
            ]
        );
        let mut refused = in_two_types();
        refused.measurements.pop();
        assert_eq!(
            told(&refused)[1..],
            ["resnet50, 1 thread: no layer was measured both in f32 and in u8."]
        );
    }
}
