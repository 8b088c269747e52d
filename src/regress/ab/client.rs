//! The gate's side of the pipe to one build.

use super::Pair;
use super::protocol::{PROTOCOL, Reply, Request, hear};
use crate::interrupt::Stopped;
use crate::process::{Helper, patience, shortened};
use crate::record::CandidateId;
use anyhow::{Result, anyhow, bail};
use convroof_kernels::cost::Cost;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Upper limit of the plausible memory of a plan, bytes.
const MEMORY: u64 = 1 << 46;

/// Longest hash of an output, in characters.
const HASH: usize = 64;

/// One of the two sides: a program and its name.
#[derive(Clone, Debug)]
pub struct Side {
    /// `A` or `B`.
    pub letter: char,
    /// Name for messages: a revision or a file.
    pub label: String,
    /// The program.
    pub program: PathBuf,
}

/// A worker's process. It is ended with this value or with this process.
pub struct WorkerClient {
    worker: Helper<Reply>,
    plans: usize,
    /// Every variant that the build has for this CPU.
    pub variants: Vec<CandidateId>,
    /// True if it was built without optimisation.
    pub debug: bool,
}

/// A plan in a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Number of the plan.
    pub plan: usize,
    /// Approximate time of a run, ns.
    pub ns: f64,
    /// Memory of the plan, bytes.
    pub bytes: u64,
    /// Hash of the output.
    pub output: String,
}

/// Answer to the request for a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanAnswer {
    /// The plan is ready.
    Planned(Planned),
    /// The variant can't compute the problem, with the reason.
    Refused(String),
    /// The output differs from the reference.
    Wrong(String),
}

impl WorkerClient {
    /// Starts a side's worker.
    ///
    /// # Errors
    /// When the program can't be run, or is older than this gate.
    pub fn start(side: &Side) -> Result<WorkerClient> {
        Self::of(&side.program, format!("{} ({})", side.letter, side.label))
    }

    /// Starts a program's worker. Errors call it by `name`.
    ///
    /// # Errors
    /// When the program can't be run, or is older than this gate.
    pub fn of(program: &Path, name: String) -> Result<WorkerClient> {
        let mut command = Command::new(program);
        command.arg("worker");
        let mut client = WorkerClient {
            worker: Helper::start(&mut command, name, hear::<Reply>)?,
            plans: 0,
            variants: Vec::new(),
            debug: false,
        };
        let why = match client.worker.reply(patience(0.0)) {
            Ok(Reply::Hello {
                protocol,
                variants,
                debug,
            }) if protocol >= PROTOCOL => {
                client.variants = variants.into_iter().map(CandidateId::from).collect();
                client.debug = debug;
                return Ok(client);
            }
            Ok(Reply::Hello { protocol, .. }) => {
                anyhow!("it knows version {protocol} of its messages, not {PROTOCOL}")
            }
            Ok(other) => client.unexpected(&other),
            Err(error) if error.is::<Stopped>() => return Err(error),
            Err(error) => error,
        };
        bail!(
            "{} has no `convroof worker`, so it can't take turns: it is older than this gate, or no convroof; \
             record both with `convroof bench --out FILE` and use `convroof compare` ({why:#})",
            client.worker.name()
        )
    }

    /// Prepares a pair for measurement.
    ///
    /// # Errors
    /// When the worker fails.
    pub fn plan(&mut self, pair: &Pair, check: bool) -> Result<PlanAnswer> {
        let request = Request::Plan {
            problem: pair.problem.to_string(),
            variant: pair.variant.to_string(),
            threads: pair.threads,
            check,
        };
        Ok(match self.ask(&request, patience(work(pair, check)))? {
            Reply::Planned { ns, bytes, output } => {
                let right = ns > 0.0 && bytes <= MEMORY && output.len() <= HASH;
                if !right {
                    let what = format!("says that {pair} takes {ns} ns and {bytes} bytes");
                    return Err(self.worker.wrong(&what));
                }
                self.plans += 1;
                PlanAnswer::Planned(Planned {
                    plan: self.plans - 1,
                    ns,
                    bytes,
                    output,
                })
            }
            Reply::Refused { reason } => PlanAnswer::Refused(shortened(&reason)),
            Reply::Wrong { reason } => PlanAnswer::Wrong(shortened(&reason)),
            other => return Err(self.unexpected(&other)),
        })
    }

    /// Mean time of `runs` runs, ns, each with an injected delay of `delay_ns`. `about_ns` is the approximate time of a
    /// run.
    ///
    /// # Errors
    /// When the worker fails.
    pub fn time(&mut self, plan: usize, runs: usize, delay_ns: f64, about_ns: f64) -> Result<f64> {
        let request = Request::Time {
            plan,
            runs,
            delay_ns,
        };
        let (start, runs) = (Instant::now(), (runs + 1) as f64);
        // Allows a hundred times the expected time, since `patience` counts 10^8 as a second.
        let patience = patience(10.0 * runs * (about_ns + delay_ns));
        match self.ask(&request, patience)? {
            Reply::Took { ns } if ns > 0.0 && ns <= start.elapsed().as_nanos() as f64 => Ok(ns),
            Reply::Took { ns } => {
                let waited = start.elapsed().as_nanos();
                let what = format!("says that a run took {ns} ns, of {waited} ns that it had");
                Err(self.worker.wrong(&what))
            }
            other => Err(self.unexpected(&other)),
        }
    }

    /// The peak of a plan's arithmetic on its instruction set and threads, 10^9 operations per second.
    ///
    /// # Errors
    /// When the worker fails.
    pub fn peak(&mut self, plan: usize) -> Result<f64> {
        match self.ask(&Request::Peak { plan }, patience(0.0))? {
            Reply::Peak { gflops } if gflops > 0.0 => Ok(gflops),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Hash of a plan's present output.
    ///
    /// # Errors
    /// When the worker fails.
    pub fn output(&mut self, plan: usize) -> Result<String> {
        match self.ask(&Request::Output { plan }, patience(0.0))? {
            Reply::Output { output } if output.len() <= HASH => Ok(output),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Runs a plan repeatedly for some time, and meanwhile calls `look` with the process id.
    ///
    /// # Errors
    /// When the worker fails.
    pub fn linger(&mut self, plan: usize, ms: u64, look: impl FnOnce(u32)) -> Result<()> {
        self.say(&Request::Linger { plan, ms })?;
        look(self.worker.id());
        match self
            .worker
            .reply(patience(0.0) + Duration::from_millis(ms))?
        {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    fn ask(&mut self, request: &Request, patience: Duration) -> Result<Reply> {
        self.say(request)?;
        self.worker.reply(patience)
    }

    fn say(&mut self, request: &Request) -> Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.worker.say(vec![line])
    }

    fn unexpected(&mut self, reply: &Reply) -> anyhow::Error {
        match reply {
            Reply::Failed { reason } => anyhow!("{}: {}", self.worker.name(), shortened(reason)),
            other => self.worker.wrong(&format!("answers {other:?}")),
        }
    }
}

/// Work of a plan in operations and bytes, as [`patience`] counts them. It covers some runs and, if wanted, the
/// reference in f64, which is far slower. It is 0 for a problem that only the other build knows.
fn work(pair: &Pair, check: bool) -> f64 {
    let cost = pair.problem.value().map(|p| Cost::new(p, 0));
    let run = cost.map_or(0.0, |c| {
        (c.flops_nominal + c.bytes_read + c.bytes_written) as f64
    });
    run * if check { 20.0 } else { 4.0 }
}
