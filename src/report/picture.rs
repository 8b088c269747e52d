//! Roofline pictures of networks.

use super::svg::roofline;
use super::versus::{Duel, duels};
use super::{NetworkTotal, Row, best_rows, rows, totals};
use crate::record::Run;
use crate::roofline::Ceilings;
use crate::units;
use convroof_kernels::probe::Arithmetic;
use std::collections::BTreeSet;

/// The standalone picture of a network: the best variant of each layer in each type, and the peers that it is compared
/// with. None if the run has no such layers.
pub fn standalone(run: &Run, network: &str, threads: usize) -> Option<String> {
    let rows = rows(run);
    let shown = in_all_types(run, &rows, network, threads);
    let cpu = run.fingerprint.cpu_model.as_deref();
    let title = format!(
        "{network} on {}, {}: best variant of each layer",
        cpu.unwrap_or(&run.fingerprint.arch),
        units::threads(threads)
    );
    picture(run, &shown, threads, &title, true).filter(|_| !shown.is_empty())
}

/// The rows of a network's picture with all its types: our best variants, and the peers that they are compared with.
pub fn in_all_types<'a>(run: &Run, all: &'a [Row], network: &str, threads: usize) -> Vec<&'a Row> {
    let own = |t: &NetworkTotal| t.network == network && t.threads == threads;
    let totals = totals(run, all).into_iter().filter(own);
    let mut shown = Vec::new();
    for total in totals {
        let best = best_rows(all, total.series());
        shown.extend(with_peers(all, &best, &duels(run, all, total.series())));
    }
    // A layer that stays f32 has one point.
    let mut drawn = BTreeSet::new();
    shown.retain(|row| drawn.insert((&row.layer, &row.problem, &row.variant)));
    shown
}

/// The rows of a picture: our best variants, and the peers that they are compared with.
pub fn with_peers<'a>(all: &'a [Row], best: &[&'a Row], duels: &[Duel]) -> Vec<&'a Row> {
    let met = |r: &&Row| duels.iter().any(|duel| duel.is_of(r));
    best.iter().copied().chain(all.iter().filter(met)).collect()
}

/// The roofline picture of some rows. Each arithmetic of the rows has a roof, that of the fastest instruction set among
/// them. A standalone picture has its own styles.
pub fn picture(
    run: &Run,
    rows: &[&Row],
    threads: usize,
    title: &str,
    standalone: bool,
) -> Option<String> {
    let highest = |arithmetic| {
        let own = rows
            .iter()
            .filter(|r| r.arithmetic() == arithmetic && !r.is_peer());
        let ceilings = own.filter_map(|r| {
            Ceilings::of(
                &run.calibration,
                &run.fingerprint,
                &r.isa,
                arithmetic,
                threads,
            )
        });
        ceilings.max_by(|a, b| a.peak.total_cmp(&b.peak))
    };
    let mut ceilings: Vec<Ceilings> = Arithmetic::ALL.into_iter().filter_map(highest).collect();
    ceilings.sort_by(|a, b| b.peak.total_cmp(&a.peak));
    // Several roofs leave no room for those of slower instruction sets.
    let others = match &ceilings[..] {
        [] => return None,
        [only] => run
            .calibration
            .peaks
            .iter()
            .filter(|p| p.threads == threads && p.arithmetic() == Some(only.arithmetic))
            .filter(|p| p.isa != only.isa)
            .map(|p| (&p.isa, p.gflops))
            .collect(),
        _ => Vec::new(),
    };
    Some(roofline(rows, &ceilings, &others, title, standalone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::LayerRef;
    use crate::record::tests::{in_two_types, sample};

    #[test]
    fn each_type_with_points_has_a_roof() {
        let picture = |run: &Run| standalone(run, "resnet50", 1).expect("a picture");
        let both = picture(&in_two_types());
        for text in [
            "avx2 FMA peak 118 GFLOP/s",
            "avx2 int8 peak 236 GOP/s",
            "% of the int8 peak",
            "conv2_x.3x3 u8",
            "solid outline: int8",
        ] {
            assert!(both.contains(text), "{text}\n{both}");
        }
        assert_eq!(both.matches("class=\"point compute int8\"").count(), 1);
        // A layer that stays f32 in u8 has one point.
        let mut kept = sample();
        let layer = LayerRef {
            dt: "u8".into(),
            ..kept.layers[0].clone()
        };
        kept.layers.push(layer);
        assert_eq!(picture(&kept), picture(&sample()));
        // A peak without points has no roof.
        let mut f32_only = in_two_types();
        f32_only.layers.pop();
        let one = picture(&f32_only);
        assert!(!one.contains("int8 peak"), "{one}");
        assert_eq!(one, picture(&sample()));
    }
}
