//! A build's side of the pipe: makes plans, and takes samples on request.

use super::protocol::{PROTOCOL, Reply, Request, hear, say};
use crate::machine::Topology;
use crate::machine::calibration::peak_probe;
use crate::machine::pool::Workers;
use crate::measure::{Candidate, Contestant, Expected, Kernel, Wrong, refuse_huge};
use anyhow::{Context, Result, anyhow};
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::registry::{Threading, VariantId};
use convroof_kernels::{Isa, Problem, Registry};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

/// Duration of a measurement of the peak.
const PEAK: Duration = Duration::from_micros(500);

/// Serves a registry's kernels until the input ends.
///
/// # Errors
/// When the pipe breaks.
pub fn serve(registry: &Registry, mut from: impl BufRead, mut to: impl Write) -> Result<()> {
    let variants = registry.variants(&Isa::REAL).into_iter();
    let here = variants.filter(|v| v.isa.detect().is_some());
    let hello = Reply::Hello {
        protocol: PROTOCOL,
        variants: here.map(|v| v.id().to_string()).collect(),
        debug: cfg!(debug_assertions),
    };
    say(&mut to, &hello)?;
    let mut worker = Worker {
        registry,
        topology: Topology::detect(),
        pools: BTreeMap::new(),
        expected: None,
        plans: Vec::new(),
    };
    while let Some(request) = hear(&mut from)? {
        let reply = worker.answer(request);
        let reply = reply.unwrap_or_else(|error| Reply::Failed {
            reason: format!("{error:#}"),
        });
        say(&mut to, &reply)?;
    }
    Ok(())
}

struct Worker<'a> {
    registry: &'a Registry,
    topology: Topology,
    pools: BTreeMap<usize, Workers>,
    /// Inputs and output of the last planned problem, since its variants are adjacent.
    expected: Option<Expected>,
    plans: Vec<Ready>,
}

struct Ready {
    kernel: Kernel,
    /// Arithmetic of its problem.
    arithmetic: Arithmetic,
    contestant: Box<dyn Contestant>,
    /// Runs of about a millisecond. Entering the pool takes longer than a run of a small layer.
    runs: usize,
}

impl Worker<'_> {
    fn answer(&mut self, request: Request) -> Result<Reply> {
        match request {
            Request::Plan {
                problem,
                variant,
                threads,
                check,
            } => self.plan(&problem, &variant, threads, check),
            Request::Time {
                plan,
                runs,
                delay_ns,
            } => {
                let (ready, workers) = self.ready(plan)?;
                let ns = ready.contestant.sample(runs, workers)?;
                Ok(Reply::Took {
                    ns: ns + lose(delay_ns * runs as f64) / runs as f64,
                })
            }
            Request::Peak { plan } => {
                let (ready, workers) = self.ready(plan)?;
                let isa = ready.kernel.variant.isa;
                let token = isa.detect().ok_or_else(|| anyhow!(isa.missing_reason()))?;
                Ok(Reply::Peak {
                    gflops: peak_probe(workers, token, ready.arithmetic, PEAK),
                })
            }
            Request::Output { plan } => {
                let (ready, workers) = self.ready(plan)?;
                let output = hash(&ready.contestant.output(workers)?);
                Ok(Reply::Output { output })
            }
            Request::Linger { plan, ms } => {
                let (ready, workers) = self.ready(plan)?;
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(ms) {
                    ready.contestant.run(ready.runs, workers);
                }
                Ok(Reply::Done)
            }
        }
    }

    fn ready(&mut self, plan: usize) -> Result<(&mut Ready, &Workers)> {
        let ready = self.plans.get_mut(plan).context("no such plan")?;
        let workers = &self.pools[&ready.kernel.threads];
        Ok((ready, workers))
    }

    fn plan(&mut self, problem: &str, variant: &str, threads: usize, check: bool) -> Result<Reply> {
        let refused = |reason: String| Ok(Reply::Refused { reason });
        // The other build may have variants and problems that this one lacks.
        let problem: Problem = match problem.parse() {
            Ok(problem) => problem,
            Err(error) => return refused(format!("{error}")),
        };
        let id: Result<VariantId, _> = variant.parse();
        let variant = match id.and_then(|id| self.registry.find(&id)) {
            Ok(variant) => variant,
            Err(error) => return refused(error),
        };
        if (variant.threading == Threading::St) != (threads == 1) {
            return refused("st variants run on 1 thread, mt variants on 2 or more".into());
        }
        refuse_huge(&problem)?;
        if !self.pools.contains_key(&threads) {
            self.pools
                .insert(threads, Workers::new(&self.topology, threads)?);
        }
        let workers = &self.pools[&threads];
        let kernel = Kernel { variant, threads };
        let mut contestant = match kernel.plan(&problem, &self.topology) {
            Ok(contestant) => contestant,
            Err(reason) => return refused(reason),
        };
        let expected = match &mut self.expected {
            Some(expected) if *expected.problem() == problem => expected,
            other => other.insert(Expected::new(&problem, 1)),
        };
        expected.warm_up(contestant.as_mut(), workers)?;
        let ns = contestant.sample(1, workers)?;
        let output = contestant.output(workers)?;
        if check && let Err(Wrong { how, .. }) = expected.compare(&kernel, &output, workers) {
            return Ok(Reply::Wrong { reason: how });
        }
        let bytes = contestant.facts().memory_bytes() as u64;
        self.plans.push(Ready {
            kernel,
            arithmetic: Arithmetic::of(problem.dtypes.src),
            contestant,
            runs: (1e6 / ns.max(100.0)).max(1.0) as usize,
        });
        Ok(Reply::Planned {
            ns,
            bytes,
            output: hash(&output),
        })
    }
}

/// Hash of the bits. NaNs left from poisoning change it. Numbers that an f32 holds are hashed as f32s, as builds do that
/// know no others.
fn hash(output: &[f64]) -> String {
    let mut hasher = DefaultHasher::new();
    for &x in output {
        let short = x as f32;
        if f64::from(short) == x || x.is_nan() {
            hasher.write_u32(short.to_bits());
        } else {
            hasher.write_u64(x.to_bits());
        }
    }
    format!("{:016x}", hasher.finish())
}

/// Waits for some ns on the clock of the samples, and returns the actual delay in ns.
fn lose(ns: f64) -> f64 {
    if ns <= 0.0 {
        return 0.0;
    }
    let start = Instant::now();
    loop {
        let lost = start.elapsed().as_nanos() as f64;
        if lost >= ns {
            return lost;
        }
        std::hint::spin_loop();
    }
}
