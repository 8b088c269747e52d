//! A network in one element type on one number of threads: its picture, its layers, and its comparison with peers.

use crate::record::{CacheState, CandidateId, Run, Text};
use crate::report::picture::{picture, with_peers};
use crate::report::svg::{FAMILIES, Family, legend_mark};
use crate::report::versus::{Duel, Mean, duels, lost, means};
use crate::report::why::{ColdRow, cold_rows, predictions};
use crate::report::{NetworkTotal, Row, best_rows, legend as legend_of_marks};
use crate::roofline::Verdict;
use crate::roofline::phases::PlacedPhase;
use crate::units::{bytes, time};
use serde::Serialize;

/// One network in one element type on one number of threads.
#[derive(Serialize)]
pub(super) struct NetworkSection {
    id: String,
    /// The network and its type.
    network: String,
    threads: usize,
    time: String,
    gflops: String,
    /// Unit of rates.
    unit: &'static str,
    layers: (usize, usize),
    shares: Vec<Share>,
    svg: String,
    families: Vec<Legend>,
    /// True if the picture has phases.
    phased: bool,
    rows: Vec<ShownRow>,
    /// Each mark behind a time, and its meaning.
    marks: Vec<(&'static str, String)>,
    duels: Vec<ShownDuel>,
    means: Vec<Mean>,
    lost: Vec<String>,
    /// A sentence about the accuracy of the model's predictions.
    predicted: Option<String>,
}

/// A family of algorithms in the legend.
#[derive(Serialize)]
struct Legend {
    name: &'static str,
    mark: String,
}

#[derive(Serialize)]
struct Share {
    verdict: &'static str,
    label: &'static str,
    percent: f64,
    layers: usize,
}

/// A layer's best row, formatted.
#[derive(Serialize)]
struct ShownRow {
    row: Row,
    time: String,
    interval: String,
    total_ns: f64,
    share: f64,
    /// True if its part of the bar has room for its name.
    named: bool,
    bar: f64,
    bytes: String,
    error: String,
    verdict: &'static str,
    label: &'static str,
    family: &'static str,
    marks: &'static str,
    sure: String,
    /// Time that the model predicts, and its percentage of the measured time.
    model: Option<String>,
    cold: Vec<ShownCold>,
    /// Each phase with its formatted time and verdict.
    phases: Vec<(PlacedPhase, String, &'static str)>,
    variants: Vec<Other>,
}

/// The kernel with cold caches.
#[derive(Serialize)]
struct ShownCold {
    cache: Text<CacheState>,
    time: String,
    ratio: String,
    verdict: &'static str,
    label: &'static str,
    reason: String,
}

/// One of a layer's other variants.
#[derive(Serialize)]
struct Other {
    variant: CandidateId,
    family: &'static str,
    time: String,
    marks: &'static str,
    bar: f64,
    gflops: f64,
    percent: f64,
    error: String,
    samples: usize,
}

/// The section of a network; none if the run has no ceilings for it.
pub(super) fn section(run: &Run, all: &[Row], total: NetworkTotal) -> Option<NetworkSection> {
    let series = total.series();
    let best = best_rows(all, series);
    let duels = duels(run, all, series);
    let svg = picture(run, &with_peers(all, &best, &duels), total.threads, None)?;
    let cold = cold_rows(all, series);
    let times = best.iter().map(|r| r.count as f64 * r.median_ns);
    let slowest_ns = times.fold(0.0, f64::max);
    let rows: Vec<ShownRow> = best
        .iter()
        .map(|row| shown(row, all, &cold, total.time_ns, slowest_ns))
        .collect();
    let share = |(v, s): &(Verdict, f64)| Share {
        verdict: v.name(),
        label: v.label(),
        percent: 100.0 * s,
        layers: rows.iter().filter(|r| r.row.verdict == *v).count(),
    };
    let own = |r: &&Row| r.series() == series && r.is_warm();
    let marks = legend_of_marks(all.iter().filter(own));
    let predicted = predictions(best.iter().copied()).map(|p| p.sentence(str::to_string));
    Some(NetworkSection {
        predicted,
        phased: rows.iter().any(|r| !r.phases.is_empty()),
        id: series.id(),
        unit: total.rate_unit(),
        network: series.subject(),
        time: time(total.time_ns),
        gflops: format!("{:.0}", total.gflops_nominal),
        layers: total.layers,
        shares: total.shares.iter().map(share).collect(),
        threads: total.threads,
        svg,
        families: legend(&rows, !duels.is_empty()),
        marks,
        rows,
        lost: lost(&duels).iter().map(|d| d.layer.clone()).collect(),
        means: means(&duels),
        duels: duels.into_iter().map(ShownDuel::from).collect(),
    })
}

/// A layer's best row among `all`. `network_ns` is the network's time, `slowest_ns` that of its slowest layer.
fn shown(
    row: &Row,
    all: &[Row],
    cold: &[ColdRow<'_>],
    network_ns: f64,
    slowest_ns: f64,
) -> ShownRow {
    let total_ns = row.count as f64 * row.median_ns;
    let share = 100.0 * total_ns / network_ns;
    let same = |r: &&Row| r.is_beside(row) && r.is_warm();
    let variants: Vec<&Row> = all.iter().filter(same).collect();
    let longest_ns = variants.iter().map(|r| r.median_ns).fold(0.0, f64::max);
    let cold = cold.iter().filter(|c| c.cold.layer == row.layer);
    let phases = row.phases.iter();
    ShownRow {
        time: time(row.median_ns),
        total_ns,
        interval: format!("{} to {}", time(row.ci_low_ns), time(row.ci_high_ns)),
        share,
        // A character is about 0.7 % of the bar's width.
        named: share > 0.72 * row.layer.chars().count() as f64,
        bar: 100.0 * total_ns / slowest_ns,
        bytes: bytes(row.bytes_compulsory as f64),
        error: error(row.error_max),
        verdict: row.verdict.name(),
        label: row.verdict.label(),
        family: Family::of(&row.variant).class,
        marks: row.marks(),
        sure: format!("{:.0} %", 100.0 * row.confidence),
        model: row
            .predicted_ns
            .map(|p| format!("{} ({:.0} %)", time(p), 100.0 * p / row.median_ns)),
        cold: cold.map(ShownCold::of).collect(),
        phases: phases
            .map(|p| (p.clone(), time(p.ns), p.verdict.label()))
            .collect(),
        variants: variants.iter().map(|r| Other::of(r, longest_ns)).collect(),
        row: row.clone(),
    }
}

impl ShownCold {
    fn of(row: &ColdRow<'_>) -> Self {
        ShownCold {
            cache: row.cold.cache.clone(),
            time: time(row.cold.median_ns),
            ratio: format!("{:.2}", row.ratio),
            verdict: row.cold.verdict.name(),
            label: row.cold.verdict.label(),
            reason: row.cold.reason.clone(),
        }
    }
}

impl Other {
    /// A row beside the layer's slowest one.
    fn of(row: &Row, longest_ns: f64) -> Self {
        Other {
            variant: row.variant.clone(),
            family: Family::of(&row.variant).class,
            time: time(row.median_ns),
            marks: row.marks(),
            bar: 100.0 * row.median_ns / longest_ns,
            gflops: row.gflops_nominal,
            percent: 100.0 * row.fraction_of_peak,
            error: error(row.error_max),
            samples: row.samples,
        }
    }
}

/// The families in a section's picture.
fn legend(rows: &[ShownRow], has_peers: bool) -> Vec<Legend> {
    let peers = Family::peers().class;
    let used =
        |f: &&Family| rows.iter().any(|r| r.family == f.class) || f.class == peers && has_peers;
    let families = FAMILIES.iter().filter(used).map(|f| Legend {
        name: f.name,
        mark: legend_mark(f),
    });
    families.collect()
}

/// A duel, formatted.
#[derive(Serialize)]
struct ShownDuel {
    ours: String,
    peer: String,
    interval: String,
    duel: Duel,
}

impl From<Duel> for ShownDuel {
    fn from(duel: Duel) -> Self {
        ShownDuel {
            ours: time(duel.ours_ns),
            peer: time(duel.peer_ns),
            interval: format!("{:.2} to {:.2}", duel.ci.0, duel.ci.1),
            duel,
        }
    }
}

/// An error, formatted.
fn error(error: f64) -> String {
    if error == 0.0 {
        "none".into()
    } else {
        format!("{error:.0e}")
    }
}
