//! One kernel in a steady loop, for a profiler that watches this process.

use super::cold::ColdSets;
use super::examine::run_cold;
use super::{Candidate, Contestant, Expected, Kernel};
use crate::interrupt;
use crate::machine::Topology;
use crate::machine::calibration::peak_probe;
use crate::machine::pool::Workers;
use crate::record::CacheState;
use anyhow::{Result, bail};
use convroof_kernels::conformance::Comparison;
use convroof_kernels::instance::Cold;
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::{IsaToken, Problem};
use std::time::{Duration, Instant};

/// Duration of a sample. The untimed run and the poisoning of the output before it take little of this.
const SAMPLE: Duration = Duration::from_millis(50);

/// Duration of a measurement of the peak.
const PEAK: Duration = Duration::from_micros(500);

/// Most runs of a sample.
const MOST_RUNS: usize = 1_000_000;

/// A kernel with its memory, ready to run.
pub struct Steady {
    kernel: Kernel,
    contestant: Box<dyn Contestant>,
    expected: Expected,
    workers: Workers,
    isa: IsaToken,
    /// Operands that runs find cold, and their copies.
    cold: Option<(Cold, ColdSets)>,
    /// Runs of a sample.
    runs: usize,
}

/// Speed of a kernel over a period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Number of timed runs.
    pub runs: usize,
    /// Mean time of a run, ns.
    pub ns: f64,
    /// Peak at the start of the period, 10^9 operations per second, in the problem's arithmetic on the kernel's
    /// instruction set and threads.
    pub peak_gflops: f64,
}

impl Steady {
    /// Makes a kernel's memory and computes the reference.
    ///
    /// # Errors
    /// When the kernel can't do the problem, there are fewer cores than threads, there is no memory, or nothing can be
    /// cold.
    pub fn new(
        kernel: Kernel,
        problem: &Problem,
        topology: &Topology,
        state: CacheState,
    ) -> Result<Steady> {
        let mut contestant = match kernel.plan(problem, topology) {
            Ok(contestant) => contestant,
            Err(reason) => bail!("{} can't do '{problem}': {reason}", kernel.id()),
        };
        let isa = kernel.isa(Arithmetic::of(problem.dtypes.src));
        let Some(isa) = isa.detect() else {
            bail!("{}: {}", kernel.id(), isa.missing_reason());
        };
        let workers = Workers::new(topology, kernel.threads)?;
        let expected = Expected::new(problem, 1);
        expected.output(&Workers::new(topology, topology.threads())?);
        let took = expected.warm_up(contestant.as_mut(), &workers)?;
        let mut steady = Steady {
            kernel,
            contestant,
            expected,
            workers,
            isa,
            cold: None,
            runs: ((SAMPLE.as_nanos() as f64 / took.max(1.0)) as usize).clamp(1, MOST_RUNS),
        };
        if let CacheState::Cold(cold) = state {
            steady.cold = Some((cold, steady.cold_sets(cold, topology)?));
        }
        Ok(steady)
    }

    fn cold_sets(&mut self, cold: Cold, topology: &Topology) -> Result<ColdSets> {
        let (id, problem) = (self.kernel.id(), self.expected.problem());
        let instance = self.contestant.instance().expect("it is loaded");
        if cold == Cold::Weights && instance.spec().packed_lines == 0 {
            bail!(
                "{id} has no weights on '{problem}' that could be cold: use --cache warm or cold"
            );
        }
        let mut sets = ColdSets::new(topology)?;
        if !sets.fill(instance, cold, &self.workers) {
            bail!(
                "the operands of '{problem}' are too large for two cold copies: use --cache warm"
            );
        }
        Ok(sets)
    }

    /// Operations of the definition.
    pub fn flops_nominal(&self) -> u64 {
        self.contestant.facts().cost.flops_nominal
    }

    /// Compulsory bytes of a run.
    pub fn bytes(&self) -> u64 {
        let cost = self.contestant.facts().cost;
        cost.bytes_read + cost.bytes_written
    }

    /// Runs for about some time, at least one sample. Ctrl-C ends it early.
    ///
    /// # Errors
    /// Never for a kernel of this process.
    pub fn run_for(&mut self, time: Duration) -> Result<Pace> {
        let arithmetic = Arithmetic::of(self.expected.problem().dtypes.src);
        let peak_gflops = peak_probe(&self.workers, self.isa, arithmetic, PEAK);
        let (start, mut samples, mut sum) = (Instant::now(), 0, 0.0);
        while samples == 0 || start.elapsed() < time && !interrupt::requested() {
            sum += self.sample()?;
            samples += 1;
        }
        Ok(Pace {
            runs: samples * self.runs,
            ns: sum / samples as f64,
            peak_gflops,
        })
    }

    /// Mean time of some runs, ns.
    fn sample(&mut self) -> Result<f64> {
        let Some((cold, sets)) = &mut self.cold else {
            return self.contestant.sample(self.runs, &self.workers);
        };
        let instance = self.contestant.instance().expect("it is loaded");
        Ok(run_cold(instance, *cold, self.runs, sets, &self.workers))
    }

    /// Compares the output of the last run with the reference.
    ///
    /// # Errors
    /// [`Wrong`](super::Wrong) when it deviates too much.
    pub fn verify(&mut self) -> Result<Comparison> {
        let (kernel, contestant) = (&self.kernel, self.contestant.as_mut());
        self.expected.verify(kernel, contestant, &self.workers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convroof_kernels::Registry;

    fn steady(variant: &str, problem: &str, state: CacheState) -> Result<Steady> {
        let id = variant.parse().expect("an id");
        let variant = Registry::builtin().find(&id).expect("listed");
        let kernel = Kernel {
            variant,
            threads: 1,
        };
        let problem = problem.parse().expect("a problem");
        Steady::new(kernel, &problem, &Topology::detect(), state)
    }

    #[test]
    fn it_runs_verified_in_every_state() {
        for state in CacheState::ALL {
            let mut steady = steady("direct/scalar/st", "mb1ic16ih6oc16oh6kh3ph1", state);
            let steady = steady.as_mut().expect("planned");
            let pace = steady.run_for(Duration::ZERO).expect("it runs");
            assert!(
                pace.runs >= 1 && pace.ns > 0.0 && pace.peak_gflops > 0.0,
                "{pace:?}"
            );
            steady.verify().expect("right");
            assert_eq!(steady.flops_nominal(), 2 * 16 * 16 * 9 * 36);
        }
    }

    #[test]
    fn refusals_say_what_would_be_right() {
        let pool = "--pool --alg=max mb1ic16ih6oh3kh2sh2";
        for (variant, problem, state, reason) in [
            (
                "gemm-1x1/scalar/st",
                "mb1ic16ih6oc16oh6kh3ph1",
                CacheState::Warm,
                "can't do",
            ),
            (
                "maxpool/scalar/st",
                pool,
                CacheState::Cold(Cold::Weights),
                "use --cache warm or cold",
            ),
        ] {
            let error = steady(variant, problem, state).err().expect("refused");
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
