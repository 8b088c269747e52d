//! Tests of the records in `results/`: what reports say of them follows from their own figures.

use convroof::record::{self, Level, Measurement, Run};
use convroof::report::{Row, rows};
use convroof::roofline::{Ceilings, Verdict};
use convroof::stats::median;
use std::path::{Path, PathBuf};

/// All committed records: JSON files with this kind. (Other files there are histories of gates and plans.)
fn records() -> Vec<(PathBuf, Run)> {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let machines = std::fs::read_dir(results).expect("listed");
    let folders = machines.map(|m| m.expect("an entry").path());
    let files = folders.filter(|f| f.is_dir()).flat_map(|folder| {
        let files = std::fs::read_dir(folder).expect("listed");
        files.map(|file| file.expect("an entry").path())
    });
    let json = files.filter(|file| file.extension().is_some_and(|e| e == "json"));
    let is_record = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).expect("read");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        value["kind"] == record::KIND
    };
    let found: Vec<(PathBuf, Run)> = json
        .filter(is_record)
        .map(|file| {
            let run = record::load(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            (file, run)
        })
        .collect();
    assert!(found.len() >= 10, "{} records", found.len());
    found
}

/// Calls `f` with each row of each record.
fn each_row(mut f: impl FnMut(&str, &Run, &Row)) {
    for (path, run) in records() {
        for row in rows(&run) {
            let name = format!(
                "{}: {} {} on {} threads, {}",
                path.display(),
                row.layer,
                row.variant,
                row.threads,
                row.cache
            );
            f(&name, &run, &row);
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
