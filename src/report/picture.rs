//! Roofline pictures of networks.

use super::svg::roofline;
use super::versus::{Duel, duels};
use super::{Row, best_rows, rows};
use crate::record::{IsaName, Run};
use crate::roofline::Ceilings;
use crate::units;

/// The standalone picture of a network: the best variant of each layer, and the peers that it is compared with. None if
/// the run has no such layers.
pub fn standalone(run: &Run, network: &str, threads: usize) -> Option<String> {
    let rows = rows(run);
    let best = best_rows(&rows, network, threads);
    let duels = duels(run, &rows, network, threads);
    let cpu = run.fingerprint.cpu_model.as_deref();
    let title = format!(
        "{network} on {}, {}: best variant of each layer",
        cpu.unwrap_or(&run.fingerprint.arch),
        units::threads(threads)
    );
    let shown = with_peers(&rows, &best, &duels);
    picture(run, &shown, threads, Some(&title)).filter(|_| !best.is_empty())
}

/// The rows of a picture: our best variants, and the peers that they are compared with.
pub fn with_peers<'a>(all: &'a [Row], best: &[&'a Row], duels: &[Duel]) -> Vec<&'a Row> {
    let met = |r: &&Row| {
        duels.iter().any(|d| {
            (&r.network, &r.layer, &r.variant, r.threads)
                == (&d.network, &d.layer, &d.peer, d.threads)
        })
    };
    best.iter().copied().chain(all.iter().filter(met)).collect()
}

/// The roofline picture of some rows, under the ceilings of the widest instruction set among them. With a title it is
/// a standalone picture.
pub fn picture(run: &Run, rows: &[&Row], threads: usize, title: Option<&str>) -> Option<String> {
    let peaks: Vec<_> = run
        .calibration
        .peaks
        .iter()
        .filter(|p| p.threads == threads)
        .collect();
    let used = |isa: &IsaName| rows.iter().any(|r| r.isa == *isa);
    let highest = peaks
        .iter()
        .filter(|p| used(&p.isa))
        .max_by(|a, b| a.gflops.total_cmp(&b.gflops))?;
    let ceilings = Ceilings::of(&run.calibration, &run.fingerprint, &highest.isa, threads)?;
    let others: Vec<_> = peaks
        .iter()
        .filter(|p| p.isa != highest.isa)
        .map(|p| (&p.isa, p.gflops))
        .collect();
    Some(roofline(rows, &ceilings, &others, title))
}
