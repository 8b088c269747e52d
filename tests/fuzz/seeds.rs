//! Valid files as the program writes them: committed records reduced to a few layers, and files made from these.

use convroof::claims::{Answer, Figure, Holds};
use convroof::net::plan_file::{PlanFile, Time};
use convroof::networks::Graph;
use convroof::record::{KIND, Run, Text};
use convroof::regress::history::Entry;
use convroof::stats::Estimate;
use convroof_kernels::{Isa, Problem, Registry};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// An input and its origin.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// The valid file that it was made from, if any.
    pub(crate) origin: Vec<u8>,
    /// True if the input is valid and must be accepted.
    pub(crate) is_valid: bool,
}

impl Input {
    pub(crate) fn valid(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Input {
        let bytes = bytes.into();
        Input {
            name: name.into(),
            origin: bytes.clone(),
            bytes,
            is_valid: true,
        }
    }

    /// An input that may be refused.
    pub(crate) fn odd(name: impl Into<String>, bytes: impl Into<Vec<u8>>, origin: &[u8]) -> Input {
        Input {
            origin: origin.into(),
            is_valid: false,
            ..Input::valid(name, bytes)
        }
    }
}

/// Number of layers of a reduced record, and of samples of each measurement.
const LAYERS: usize = 4;
const SAMPLES: usize = 8;

/// Committed records of each machine, reduced.
pub(crate) fn records() -> Vec<(String, Run)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let mut found: Vec<(String, Run)> = json_files(&root)
        .into_iter()
        .filter_map(|path| {
            let text = std::fs::read(&path).expect("read");
            let value: Value = serde_json::from_slice(&text).ok()?;
            (value["kind"] == KIND).then(|| {
                let run: Run = serde_json::from_value(value).expect("a record");
                (
                    path.strip_prefix(&root)
                        .expect("inside")
                        .display()
                        .to_string(),
                    cut(run),
                )
            })
        })
        .collect();
    assert!(found.len() > 5, "{} records", found.len());
    // The system's order of files in a folder is arbitrary.
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn json_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("listed");
    let paths = entries.map(|e| e.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            // These folders of a work tree aren't committed.
            true if path.ends_with("runs") || path.ends_with("plans") => vec![],
            true => json_files(&path),
            false if path.extension().is_some_and(|e| e == "json") => vec![path],
            false => vec![],
        })
        .collect()
}

fn cut(mut run: Run) -> Run {
    let every = run.layers.len().div_ceil(LAYERS).max(1);
    run.layers = run.layers.into_iter().step_by(every).collect();
    let wanted = |problem: &str| run.layers.iter().any(|l| l.problem == problem);
    run.measurements.retain(|m| wanted(&m.problem));
    run.refusals.retain(|r| wanted(&r.problem));
    // Keep some variants of each layer, those with an ablation first.
    run.measurements.sort_by_key(|m| m.ablation.is_none());
    run.measurements.truncate(3 * LAYERS);
    run.refusals.truncate(LAYERS);
    for m in &mut run.measurements {
        m.samples_ns.truncate(SAMPLES);
        m.rounds.truncate(SAMPLES);
        m.peak_gflops.truncate(SAMPLES);
    }
    run
}

/// A history: a record's runs on several days, of which the last ones are slower.
pub(crate) fn history(run: &Run) -> String {
    let mut lines = String::new();
    for day in 1..=12 {
        let mut run = run.clone();
        run.started = format!("2026-01-{day:02}T12:00:00Z");
        let pace = if day > 8 { 1.3 } else { 1.0 } + 0.01 * f64::from(day % 3);
        for m in &mut run.measurements {
            m.samples_ns.iter_mut().for_each(|t| *t *= pace);
        }
        lines += &serde_json::to_string(&Entry::of(&run)).expect("JSON");
        lines.push('\n');
    }
    lines
}

/// Plans of a network, in which each candidate takes longer than the previous one.
pub(crate) fn plans(graph: &Graph, fingerprint: &str) -> PlanFile {
    let mut file = PlanFile::new(fingerprint);
    for layer in &graph.network.layers {
        for (i, variant) in Registry::builtin().variants(&Isa::REAL).iter().enumerate() {
            file.times.push(Time {
                network: graph.network.name.clone(),
                batch: graph.batch(),
                threads: 1,
                layer: layer.name.clone(),
                problem: Text::of(layer.problem),
                variant: variant.id().into(),
                ns: 1000.0 + i as f64,
                estimate_ns: 900.0,
                ratio: Some(Estimate {
                    median: 1.0 + i as f64 / 1000.0,
                    ci: (1.0, 1.0 + i as f64 / 500.0),
                    samples: 45,
                }),
            });
        }
    }
    file
}

/// Answers to claims, one with each verdict.
pub(crate) fn answers() -> Vec<Answer> {
    [Holds::Yes, Holds::InPart, Holds::No, Holds::CantTell]
        .into_iter()
        .enumerate()
        .map(|(i, holds)| Answer {
            number: i + 1,
            claim: "A larger stride shrinks the feature map.".into(),
            holds,
            answer: "It takes 0.26 of the time.".into(),
            evidence: vec![Figure {
                what: "3x3 with a stride of 2 over a stride of 1".into(),
                value: 0.26,
                unit: "of the time".into(),
                measured: true,
                ci: Some((0.25, 0.27)),
            }],
        })
        .collect()
}

/// Layers of all networks, and problems of every other kind.
pub(crate) fn problems() -> Vec<String> {
    let networks = convroof::networks::all();
    let layers = networks.iter().flat_map(|n| &n.layers);
    let mut texts: Vec<String> = layers.map(|l| l.problem.to_string()).collect();
    let others = [
        "--dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu mb1ic5ih3iw2oc17oh3ow2kh3kw3sh1sw1ph1pw1dh0dw0",
        "g17mb1ic17ih3oc17oh3kh3ph1",
        "mb1ic3iw10oc4ow8kw3pw0",
        "--pool --alg=lp3 mb1ic2ih5oh3kh3sh2ph1",
        "--pool --alg=stochastic mb1ic17ih3oh3kh3ph1",
        "--pool --alg=draw1_index mb1ic17ih3oh3kh3ph1",
        "--ip mb2ic5ih2oc17",
        "--eltwise --alg=relu 1x17x3x2",
        "--binary --alg=add --attr-post-ops=relu 2x3x3x2:2x3x3x2",
        "--bnorm --flags=GCH mb2ic17ih3",
        "--statistics mb2ic3ih3",
        "--dt=u8:s8:u8 --attr-scales=src:common:0.25+wei:per_oc --attr-zero-points=dst:common:128 --attr-post-ops=sum:0.5:3:u8 mb1ic5ih3oc7kh1",
        "--binary --alg=add --sdt=u8:s8 --ddt=u8 --attr-scales=src1:common:0.5 2x3x3x2:2x3x3x2",
    ];
    texts.extend(others.map(String::from));
    texts.sort();
    texts.dedup();
    for text in &texts {
        text.parse::<Problem>().unwrap_or_else(|e| panic!("{e}"));
    }
    texts
}

/// An array file in NumPy's format: the header's length, the header, and the values.
pub(crate) fn npy(version: u8, header: &str, values: &[u8]) -> Vec<u8> {
    let length = header.len();
    let length = match version {
        1 => (length as u16).to_le_bytes().to_vec(),
        _ => (length as u32).to_le_bytes().to_vec(),
    };
    [
        b"\x93NUMPY",
        &[version, 0][..],
        &length,
        header.as_bytes(),
        values,
    ]
    .concat()
}

/// Formerly harmful inputs, by target.
pub(crate) fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/seeds")
        .join(target);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|e| {
            (
                e.path().display().to_string(),
                std::fs::read(e.path()).expect("read"),
            )
        })
        .collect();
    found.sort();
    found
}
