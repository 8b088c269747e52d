//! Tests of the records in `results/`: what reports say of them follows from their own figures.

use crate::command::walk;
use convroof::record::{self, Level, Measurement, Run};
use convroof::report::{Row, rows};
use convroof::roofline::{Ceilings, Verdict};
use convroof::stats::median;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A record in `results/`.
pub(crate) struct Committed {
    pub(crate) path: PathBuf,
    pub(crate) run: Run,
    pub(crate) rows: Vec<Row>,
}

/// All committed records. Their rows take seconds, so they are made once, on all cores.
pub(crate) fn committed() -> &'static [Committed] {
    static RECORDS: OnceLock<Vec<Committed>> = OnceLock::new();
    let read = |path: PathBuf| {
        let run = record::load(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let rows = rows(&run);
        Committed { path, run, rows }
    };
    let records = RECORDS.get_or_init(|| files().into_par_iter().map(read).collect());
    assert!(records.len() > 10, "{} records", records.len());
    records
}

/// The files of committed records: those with the kind of a record. The others are gates, plans, histories and schemas.
fn files() -> Vec<PathBuf> {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let mut files = walk(&results);
    files.retain(|path| path.extension().is_some_and(|e| e == "json"));
    // Records of runs on this machine are not committed.
    files.retain(|path| !path.starts_with(results.join("runs")));
    files.retain(|path| {
        let text = std::fs::read_to_string(path).expect("read");
        let file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        file["kind"] == record::KIND
    });
    files
}

/// Calls `f` with each row of each record.
fn each_row(mut f: impl FnMut(&str, &Run, &Row)) {
    for Committed { path, run, rows } in committed() {
        for row in rows {
            let name = format!(
                "{}: {} {} on {} threads, {}",
                path.display(),
                row.layer,
                row.variant,
                row.threads,
                row.cache
            );
            f(&name, run, row);
        }
    }
}

#[test]
fn compute_bound_is_near_the_arithmetic_roof() {
    let mut seen = 0;
    each_row(|name, _, row| {
        let share = row.gflops_executed / row.peak_gflops;
        if row.verdict == Verdict::Compute {
            seen += 1;
            assert!(
                share >= 0.5,
                "{name}: {share:.2} of the peak: {}",
                row.reason
            );
        }
        for witness in &row.witnesses {
            if witness.vote == Some(Verdict::Compute) {
                assert!(
                    share >= 0.5,
                    "{name}: {}: {}",
                    witness.witness,
                    witness.says
                );
            }
            if witness.vote == Some(Verdict::Core) {
                assert!(share < 0.5, "{name}: {}: {}", witness.witness, witness.says);
            }
        }
    });
    assert!(seen > 100, "{seen} compute bound rows");
}

#[test]
fn a_layer_near_one_roof_is_decided() {
    // Of the best variants that reach nine tenths of one roof, and are far below the other.
    let (mut near, mut undecided) = (0, Vec::new());
    each_row(|name, _, row| {
        let reached = row.roof_fraction.unwrap_or(0.0);
        let compute = row.gflops_executed / row.peak_gflops;
        let apart = (compute - reached).abs() > 0.3 || compute >= reached;
        if row.best && apart && (0.9..=1.05).contains(&reached) {
            near += 1;
            if row.verdict == Verdict::Undecided {
                undecided.push(format!("{name}: {}", row.reason));
            }
        }
    });
    assert!(near > 100, "{near} near a roof");
    assert!(
        undecided.len() * 50 <= near,
        "{near}: {}",
        undecided.join("\n")
    );
}

/// Speed-ups of several threads over one in their common rounds: of the kernel, and of the peak.
fn speed_ups(one: &Measurement, more: &Measurement) -> Option<[f64; 2]> {
    let mut pairs = Vec::new();
    for (i, round) in one.rounds.iter().enumerate() {
        if let Some(j) = more.rounds.iter().position(|r| r == round) {
            pairs.push((
                one.samples_ns[i] / more.samples_ns[j],
                more.peak_gflops[j] / one.peak_gflops[i],
            ));
        }
    }
    let (kernel, peak): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    Some([median(&kernel)?, median(&peak)?])
}

#[test]
fn threads_vote_inside_their_band() {
    let (mut votes, mut abstentions) = (0, 0);
    each_row(|name, run, row| {
        let Some(witness) = row.witnesses.iter().find(|w| w.witness == "threads") else {
            return;
        };
        if witness.vote.is_none() {
            abstentions += 1;
            return;
        }
        votes += 1;
        let same = |m: &&Measurement| {
            m.problem == row.problem
                && m.cache.to_string() == row.cache.to_string()
                && m.variant.algorithm() == row.variant.algorithm()
                && m.variant.isa() == row.variant.isa()
        };
        let find = |one: bool| {
            let mut all = run.measurements.iter().filter(same);
            all.find(|m| (m.threads == 1) == one).expect("measured")
        };
        let (one, more) = (find(true), find(false));
        let [kernel, peak] = speed_ups(one, more).expect("common rounds");
        let ceilings = |m: &Measurement| Ceilings::of_measurement(run, m).expect("calibrated");
        let (few, many) = (ceilings(one), ceilings(more));
        let bandwidths = Level::ALL
            .into_iter()
            .filter_map(|level| Some(many.roof(level)?.read / few.roof(level)?.read));
        let all: Vec<f64> = bandwidths.chain([peak]).collect();
        let low = all.iter().copied().fold(f64::INFINITY, f64::min);
        let high = all.iter().copied().fold(0.0, f64::max);
        assert!(
            (0.89 * low..=1.11 * high).contains(&kernel),
            "{name}: {kernel:.2} times, all else scales {low:.2} to {high:.2}: {}",
            witness.says
        );
    });
    assert!(
        votes > 0 && abstentions > 0,
        "{votes} votes, {abstentions} abstentions"
    );
}
