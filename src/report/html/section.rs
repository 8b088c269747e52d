//! A network in one element type on one number of threads: its picture, its layers, and its comparison with peers.

use crate::record::Run;
use crate::report::advice::{Advice, advice};
use crate::report::picture::{picture, with_peers};
use crate::report::versus::{Duel, Mean, duels, lost, means};
use crate::report::why::predictions;
use crate::report::{NetworkTotal, Row, best_rows, legend};
use crate::units::{threads, time};
use serde::Serialize;

/// Number of changes that the static part lists.
const SHOWN: usize = 5;

/// One network in one element type on one number of threads.
#[derive(Serialize)]
pub(super) struct NetworkSection<'a> {
    /// The network and its type.
    subject: String,
    threads: usize,
    /// The network's time and rate, in a sentence.
    sum: String,
    /// Unit of rates.
    unit: &'static str,
    /// Empty if the run has no ceilings for it.
    svg: String,
    advice: Vec<ShownAdvice>,
    rows: Vec<ShownRow<'a>>,
    /// Each mark behind a time, and its meaning.
    marks: Vec<(&'static str, String)>,
    duels: Vec<ShownDuel>,
    means: Vec<Mean>,
    lost: Vec<String>,
    /// A sentence about the accuracy of the model's predictions.
    predicted: Option<String>,
}

/// A change that would save time, formatted.
#[derive(Serialize)]
struct ShownAdvice {
    saved: String,
    advice: Advice,
}

/// A layer's best row, formatted.
#[derive(Serialize)]
struct ShownRow<'a> {
    row: &'a Row,
    time: String,
    marks: &'static str,
    share: f64,
    label: &'static str,
}

/// A duel, formatted.
#[derive(Serialize)]
struct ShownDuel {
    ours: String,
    peer: String,
    interval: String,
    duel: Duel,
}

impl<'a> NetworkSection<'a> {
    pub(super) fn new(run: &Run, all: &'a [Row], total: &NetworkTotal) -> Self {
        let series = total.series();
        let best = best_rows(all, series);
        let duels = duels(run, all, series);
        let title = format!("{}, {}", series.subject(), threads(total.threads));
        let shown = with_peers(all, &best, &duels);
        let own = |r: &&Row| r.series() == series && r.is_warm();
        let advice = advice(run, all, total).into_iter().take(SHOWN);
        let row = |row: &&'a Row| ShownRow {
            row,
            time: time(row.median_ns),
            marks: row.marks(),
            share: 100.0 * row.count as f64 * row.median_ns / total.time_ns,
            label: row.verdict.label(),
        };
        NetworkSection {
            subject: series.subject(),
            threads: total.threads,
            sum: sum(total),
            unit: total.rate_unit(),
            svg: picture(run, &shown, total.threads, &title, false).unwrap_or_default(),
            advice: advice
                .map(|advice| ShownAdvice {
                    saved: time(advice.saved_ns),
                    advice,
                })
                .collect(),
            rows: best.iter().map(row).collect(),
            marks: legend(all.iter().filter(own)),
            predicted: predictions(best.iter().copied()).map(|p| p.sentence(str::to_string)),
            lost: lost(&duels).iter().map(|d| d.layer.clone()).collect(),
            means: means(&duels),
            duels: duels.into_iter().map(ShownDuel::from).collect(),
        }
    }
}

/// The network's time and rate, in a sentence.
fn sum(total: &NetworkTotal) -> String {
    if !total.whole() {
        return format!("{}.", total.no_sum());
    }
    let layers = match total.layers.1 {
        1 => "The layer, by its best variant".to_string(),
        n => format!("All {n} different layers, each by its best variant"),
    };
    format!(
        "{layers} and as often as it occurs: {}, {:.0} {}.",
        time(total.time_ns),
        total.gflops_nominal,
        total.rate_unit()
    )
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
