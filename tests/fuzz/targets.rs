//! Targets of the fuzz tests: kinds of input, and the program's processing of them.

use crate::mutate;
use crate::seeds;
pub(crate) use crate::seeds::Input;
use convroof::claims::Answer;
use convroof::machine::Topology;
use convroof::net::layer_plans::By;
use convroof::net::model::Model;
use convroof::net::plan_file::{PlanFile, Tuning};
use convroof::net::{LayerPlans, Schedule};
use convroof::networks::{self, Graph};
use convroof::record;
use convroof_kernels::data::Rng;
use convroof_kernels::{Isa, Problem, Registry};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Outcome of an input.
pub(crate) enum Verdict {
    /// The input was accepted and processed.
    Taken,
    /// The input or a part of it was refused.
    Refused,
}

/// One kind of input.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) inputs: fn() -> Inputs,
}

/// Processing of an input; an error is a bug of the program.
type Run = Box<dyn FnMut(&mut Rng, &Input) -> Result<Verdict, String>>;

/// Seeds of a target, its mutation (of a seed and parts of another one), and its processing.
pub(crate) struct Inputs {
    pub(crate) seeds: Vec<Input>,
    pub(crate) mutate: fn(&mut Rng, &[u8], &[u8]) -> Vec<u8>,
    pub(crate) run: Run,
}

pub(crate) static TARGETS: [Target; 7] = [
    Target {
        name: "problems",
        inputs: problems,
    },
    Target {
        name: "records",
        inputs: records,
    },
    Target {
        name: "histories",
        inputs: histories,
    },
    Target {
        name: "answers",
        inputs: answers,
    },
    Target {
        name: "plans",
        inputs: plans,
    },
    Target {
        name: "arrays",
        inputs: arrays,
    },
    Target {
        name: "baselines",
        inputs: baselines,
    },
];

/// Runs the program in this process. Exit codes 0 and 1 are results, 2 is a refusal; any other is an error.
fn convroof(arguments: &[&str]) -> Result<Verdict, String> {
    let all = ["convroof"].iter().chain(arguments).map(OsString::from);
    let code = convroof::cli::main(&Registry::builtin(), all);
    if code == ExitCode::SUCCESS || code == ExitCode::from(1) {
        Ok(Verdict::Taken)
    } else if code == ExitCode::from(2) {
        Ok(Verdict::Refused)
    } else {
        Err(format!("exit code {code:?}"))
    }
}

fn write(path: &str, bytes: &[u8]) {
    let folder = Path::new(path).parent().expect("a file");
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(path, bytes).expect("written");
}

fn with_kept(target: &str, mut seeds: Vec<Input>) -> Vec<Input> {
    let origin = seeds[0].bytes.clone();
    let kept = seeds::kept(target).into_iter();
    seeds.extend(kept.map(|(name, bytes)| Input::odd(name, bytes, &origin)));
    seeds
}

/// Problems are parsed, printed and parsed again.
fn problems() -> Inputs {
    let seeds = seeds::problems()
        .into_iter()
        .map(|t| Input::valid(t.clone(), t));
    Inputs {
        seeds: with_kept("problems", seeds.collect()),
        mutate: mutate::words,
        run: Box::new(|_, input| {
            let Ok(text) = std::str::from_utf8(&input.bytes) else {
                return Ok(Verdict::Refused);
            };
            write("problem", text.as_bytes());
            match text.parse::<Problem>() {
                Err(error) => {
                    let lines = error.to_string().lines().count();
                    // The error quotes the text, and so has at most one line more.
                    (lines <= 1 + text.lines().count())
                        .then_some(Verdict::Refused)
                        .ok_or(format!("an error of {lines} lines"))
                }
                Ok(problem) => {
                    let shown = problem.to_string();
                    match shown.parse::<Problem>() {
                        Ok(again) if again == problem => Ok(Verdict::Taken),
                        Ok(_) => Err(format!("'{text}' is written as '{shown}', another problem")),
                        Err(error) => Err(format!("'{text}' is written as '{shown}': {error}")),
                    }
                }
            }
        }),
    }
}

fn record_seeds() -> Vec<Input> {
    let records = seeds::records().into_iter();
    records
        .map(|(name, run)| Input::valid(name, serde_json::to_vec(&run).expect("JSON")))
        .collect()
}

/// Records are reported in each form, compared with their origin, and tracked.
fn records() -> Inputs {
    Inputs {
        seeds: with_kept("records", record_seeds()),
        mutate: mutate::json_bytes,
        run: Box::new(|rng, input| {
            write("record.json", &input.bytes);
            write("origin.json", &input.origin);
            let report = ["report", "record.json"];
            match rng.below(if input.is_valid { 6 } else { 7 }) {
                0 => convroof(&report),
                1 => convroof(&[&report[..], &["--markdown"]].concat()),
                2 => convroof(&[&report[..], &["--json"]].concat()),
                3 => convroof(&["compare", "origin.json", "record.json", "--force"]),
                4 => convroof(&["compare", "record.json", "origin.json", "--force", "--json"]),
                5 => convroof(&["track", "record.json"]),
                // A plot of a network of the record, if it still has one.
                _ => {
                    let run: record::Run = serde_json::from_slice(&input.origin).expect("a record");
                    let network = rng.pick(&run.layers).network;
                    let threads = rng.pick(&run.measurements).threads.to_string();
                    let picture = [
                        "--svg",
                        "picture.svg",
                        "--network",
                        &network,
                        "--threads",
                        &threads,
                    ];
                    convroof(&[&report[..], &picture].concat())
                }
            }
        }),
    }
}

/// Histories get a further record.
fn histories() -> Inputs {
    let seeds = seeds::records().into_iter();
    let seeds = seeds.map(|(name, run)| Input::valid(name, seeds::history(&run)));
    let run = seeds::records().swap_remove(0).1;
    let history = format!("results/history/{}.jsonl", run.fingerprint.id);
    let record = serde_json::to_vec(&run).expect("JSON");
    Inputs {
        seeds: with_kept("histories", seeds.collect()),
        mutate: |rng, seed, other| {
            let mut lines: Vec<Vec<u8>> = seed.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(lines.len());
                match rng.below(6) {
                    0 => drop(lines.swap_remove(at)),
                    1 => lines.insert(at, lines[at].clone()),
                    _ => lines[at] = mutate::json_bytes(rng, &lines[at], other),
                }
                if lines.is_empty() {
                    break;
                }
            }
            lines.join(&b'\n')
        },
        run: Box::new(move |rng, input| {
            write("record.json", &record);
            write(&history, &input.bytes);
            let json = if rng.below(2) == 0 {
                &["--json"][..]
            } else {
                &[]
            };
            let tracked = convroof(&[&["track", "record.json"], json].concat())?;
            let after = std::fs::read(&history).map_err(|e| e.to_string())?;
            if !after.starts_with(&input.bytes) {
                return Err("what the history had is lost".into());
            }
            // Damaged lines are skipped.
            let found =
                convroof::regress::history::read(Path::new(&history)).map_err(|e| e.to_string())?;
            Ok(match found.doubts.is_empty() {
                true => tracked,
                false => Verdict::Refused,
            })
        }),
    }
}

/// Answers of `claims` become a chapter of a report.
fn answers() -> Inputs {
    let run = seeds::records().swap_remove(0).1;
    let path = format!("results/claims/{}.json", run.fingerprint.id);
    let record = serde_json::to_vec(&run).expect("JSON");
    let seed = serde_json::to_vec(&seeds::answers()).expect("JSON");
    Inputs {
        seeds: with_kept("answers", vec![Input::valid("answers", seed)]),
        mutate: mutate::json_bytes,
        run: Box::new(move |_, input| {
            write("record.json", &record);
            write(&path, &input.bytes);
            let reported = convroof(&["report", "record.json"])?;
            Ok(match serde_json::from_slice::<Vec<Answer>>(&input.bytes) {
                Ok(_) => reported,
                Err(_) => Verdict::Refused,
            })
        }),
    }
}

/// Plans of `tune` are used for a choice, and are added to.
fn plans() -> Inputs {
    let network = networks::find("lenet5").expect("a network");
    let graph = Graph::new(network).expect("a graph");
    let run = seeds::records().swap_remove(0).1;
    let id = run.fingerprint.id.clone();
    let seed = serde_json::to_vec(&seeds::plans(&graph, &id)).expect("JSON");
    let topology = Topology::detect();
    let model = Model::new(&run.calibration, &run.fingerprint, 1);
    let variants = Registry::builtin().variants(&Isa::REAL);
    let mut plans = LayerPlans::new(&graph, &variants, &topology, &model).expect("plans");
    Inputs {
        seeds: with_kept("plans", vec![Input::valid("plans", seed)]),
        mutate: mutate::json_bytes,
        run: Box::new(move |_, input| {
            let path = PlanFile::path(Path::new("plans"), &id).expect("an id");
            write(path.to_str().expect("UTF-8"), &input.bytes);
            let Ok(file) = PlanFile::load(&path, &id) else {
                return Ok(Verdict::Refused);
            };
            let file = file.expect("it is there");
            plans.measured(&graph, &file.of(&graph, 1));
            for by in [By::Model, By::Measurement] {
                let selection = plans.choose(&graph, &model, by);
                let schedule = Schedule::new(&graph, &selection);
                if schedule.steps.len() < graph.nodes.len() {
                    return Err(format!("a schedule of {} steps", schedule.steps.len()));
                }
            }
            for layer in 0..plans.layers.len() {
                let _ = plans.certainty(layer);
                let _ = plans.ties(layer);
            }
            let times = file.times.iter().take(3).cloned().collect();
            let saved = PlanFile::update(&path, &id, |file| {
                file.replace(Tuning::of(&graph, 1), times, false);
            });
            let saved = saved.map_err(|e| format!("can't be updated: {e:#}"))?;
            let again = PlanFile::load(&path, &id).map_err(|e| format!("what was saved: {e:#}"))?;
            match again.as_ref() == Some(&saved) {
                true => Ok(Verdict::Taken),
                false => Err("what was saved is not what is loaded".into()),
            }
        }),
    }
}

/// NumPy arrays are given to `exec`.
fn arrays() -> Inputs {
    const VALUES: usize = 2 * 9;
    let header = |descr: &str, order: &str, shape: &str| {
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}   \n")
    };
    let values: Vec<u8> = (0..VALUES).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let good = header("<f4", "False", "(1, 2, 3, 3)");
    let mut seeds = vec![
        Input::valid("version 1", seeds::npy(1, &good, &values)),
        Input::valid("version 2", seeds::npy(2, &good, &values)),
    ];
    for (name, text) in [
        ("Fortran order", header("<f4", "True", "(1, 2, 3, 3)")),
        ("f64", header("<f8", "False", "(1, 2, 3, 3)")),
        ("big-endian", header(">f4", "False", "(1, 2, 3, 3)")),
        ("another shape", header("<f4", "False", "(2, 9)")),
        ("no shape", header("<f4", "False", "()")),
        ("huge", header("<f4", "False", "(4294967296, 4294967296, 3, 3)")),
        ("a record", "{'descr': [('a', '<f4'), ('b', [('c', '<i8', (2,))])], 'fortran_order': False, 'shape': (2,)}".into()),
    ] {
        seeds.push(Input::odd(name, seeds::npy(1, &text, &values), &seeds[0].bytes.clone()));
    }
    let weights = seeds::npy(1, &header("<f4", "False", "(1, 2, 1, 1)"), &[0; 8]);
    Inputs {
        seeds: with_kept("arrays", seeds),
        mutate: |rng, seed, other| {
            // Mutate the header and set its length accordingly, or mutate any bytes.
            let length = 10 + usize::from(u16::from_le_bytes([seed[8], seed[9]]));
            if rng.below(3) == 0 || length > seed.len() {
                return mutate::bytes(rng, seed, other);
            }
            let header = mutate::words(
                rng,
                &seed[10..length],
                b"'descr' '|V4' '<c8' True None (1, 2, 3, 3)",
            );
            let header = String::from_utf8_lossy(&header).into_owned();
            seeds::npy(rng.pick(&[1, 1, 2, 3]), &header, &seed[length..])
        },
        run: Box::new(move |_, input| {
            write("arrays/x.npy", &input.bytes);
            write("arrays/w.npy", &weights);
            let verdict = convroof(&[
                "exec",
                "--variant=direct/scalar/st",
                "--problem=mb1ic2ih3oc1oh3kh1ph0",
                "--src=arrays/x.npy",
                "--weights=arrays/w.npy",
                "--dst=arrays/y.npy",
            ])?;
            let made = Path::new("arrays/y.npy").exists();
            match (&verdict, made) {
                (Verdict::Taken, true) | (Verdict::Refused, false) => Ok(verdict),
                _ => Err(format!("an output: {made}")),
            }
        }),
    }
}

/// Baselines of `counts` are compared with.
fn baselines() -> Inputs {
    const WHAT: [&str; 4] = [
        "--network",
        "lenet5",
        "--variant",
        "direct/scalar/*,im2col/scalar/*",
    ];
    let written = convroof(&[&["counts", "--write", "baselines"], &WHAT[..]].concat());
    assert!(
        matches!(written, Ok(Verdict::Taken)),
        "baselines are written"
    );
    let seed = std::fs::read("baselines/model.tsv").expect("read");
    Inputs {
        seeds: with_kept("baselines", vec![Input::valid("baselines", seed)]),
        mutate: mutate::words,
        run: Box::new(|_, input| {
            write("baselines/model.tsv", &input.bytes);
            convroof(&[&["counts", "--check", "baselines"], &WHAT[..]].concat())
        }),
    }
}
