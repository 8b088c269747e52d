//! Ablations and cold caches: measurements that explain the time of a kernel.
//!
//! For each problem and number of threads, the fastest kernel runs again together with its twins ([`Ablation`]), once
//! for each state of the caches. Each round runs all of them in shuffled order. The ratio of a twin to the kernel
//! always compares samples of one round.

use super::candidate::DECIMALS;
use super::cold::ColdSets;
use super::turns::mean_ns;
use super::{Candidate, Contestant};
use crate::machine::Topology;
use crate::machine::pool::Workers;
use crate::record::{AblationTimes, ColdRead};
use crate::stats::shorten;
use anyhow::Result;
use convroof_kernels::data::Rng;
use convroof_kernels::instance::{Cold, Instance};
use convroof_kernels::isa::Ablation;
use convroof_kernels::probe;
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::reference::Operands;
use convroof_kernels::tensor::{CacheLine, as_f32s};
use convroof_kernels::{IsaToken, Problem};
use std::sync::Barrier;
use std::time::Instant;

/// Samples in one state of the caches.
#[derive(Default)]
pub(super) struct Examined {
    /// The kernel and its twins.
    pub(super) times: AblationTimes,
    /// The peak of each round, in the problem's arithmetic.
    pub(super) peaks: Vec<f64>,
    /// A plain read of the cold operands.
    pub(super) cold_read: Option<ColdRead>,
}

/// A contestant without borrowed data.
type Own = dyn Contestant + 'static;

/// A kernel and its twins, each with its own memory.
pub(super) struct Exam<'a> {
    full: &'a mut Own,
    twins: Vec<(Ablation, Box<dyn Contestant>)>,
    isa: IsaToken,
    runs: usize,
    workers: &'a Workers,
}

impl<'a> Exam<'a> {
    /// Makes the twins of `full`, which must be loaded. None if the kernel has no twins.
    ///
    /// # Errors
    /// When there is no memory.
    pub(super) fn new(
        candidate: &dyn Candidate,
        full: &'a mut Own,
        (problem, x): (&Problem, Operands<'_>),
        runs: usize,
        (topology, workers): (&Topology, &'a Workers),
    ) -> Result<Option<Self>> {
        let isa = candidate.isa(Arithmetic::of(problem.dtypes.src)).detect();
        let (Some(isa), Some(instance)) = (isa, full.instance()) else {
            return Ok(None);
        };
        let weights = instance.spec().packed_lines > 0;
        let mut twins = Vec::new();
        for ablation in Ablation::ALL {
            if ablation == Ablation::OnePanel && !weights {
                continue;
            }
            let Some(mut twin) = candidate.twin(ablation, problem, topology) else {
                return Ok(None);
            };
            twin.load(x, false, workers)?;
            twins.push((ablation, twin));
        }
        Ok(Some(Exam {
            full,
            twins,
            isa,
            runs,
            workers,
        }))
    }

    /// The kernel without any ablation.
    pub(super) fn full(&mut self) -> &mut Own {
        self.full
    }

    /// Samples of the kernel and of each twin, with the caches as the previous run left them. `peak` is called once a
    /// round.
    ///
    /// # Errors
    /// Never for a contestant of this process.
    pub(super) fn warm(
        &mut self,
        rounds: usize,
        rng: &mut Rng,
        mut peak: impl FnMut() -> f64,
    ) -> Result<Examined> {
        let (runs, workers) = (self.runs, self.workers);
        let mut examined = Examined::default();
        for _ in 0..rounds {
            examined.peaks.push(shorten(peak(), DECIMALS));
            self.round(rng, &mut examined.times, |_, contestant| {
                contestant.sample(runs, workers).map(Some)
            })?;
        }
        Ok(examined)
    }

    /// Samples with operands from `sets`, and times of a plain read of the packed weights. None if they are too
    /// few, or if there is nothing to find cold.
    ///
    /// # Errors
    /// Never for a contestant of this process.
    pub(super) fn cold(
        &mut self,
        cold: Cold,
        rounds: usize,
        sets: &mut ColdSets,
        rng: &mut Rng,
        mut peak: impl FnMut() -> f64,
    ) -> Result<Option<Examined>> {
        let (runs, workers) = (self.runs, self.workers);
        let instance = self.full.instance().expect("made with one");
        let packed = instance.spec().packed_lines;
        if cold == Cold::Weights && packed == 0 || !sets.fill(instance, cold, workers) {
            return Ok(None);
        }
        let (mut examined, mut read) = (Examined::default(), ColdRead::default());
        for _ in 0..rounds {
            examined.peaks.push(shorten(peak(), DECIMALS));
            if packed > 0 {
                read.ns.push(shorten(
                    read_cold(self.isa, packed, runs, sets, workers),
                    DECIMALS,
                ));
            }
            self.round(rng, &mut examined.times, |ablation, contestant| {
                Ok(match ablation {
                    // Arithmetic alone reads no operands: there is no cold version of it.
                    Some(Ablation::ArithOnly) => Some(contestant.sample(runs, workers)?),
                    Some(Ablation::OnePanel) => None,
                    Some(Ablation::LoadsOnly) | None => {
                        let instance = contestant.instance().expect("loaded");
                        Some(run_cold(instance, cold, runs, sets, workers))
                    }
                })
            })?;
        }
        if packed > 0 {
            read.bytes = (packed * CacheLine::BYTES) as u64;
            read.arena_bytes = sets.bytes() as u64;
            examined.cold_read = Some(read);
        }
        Ok(Some(examined))
    }

    /// One sample of the kernel and of each twin, in shuffled order.
    fn round(
        &mut self,
        rng: &mut Rng,
        times: &mut AblationTimes,
        mut sample: impl FnMut(Option<Ablation>, &mut Own) -> Result<Option<f64>>,
    ) -> Result<()> {
        let mut order: Vec<usize> = (0..=self.twins.len()).collect();
        rng.shuffle(&mut order);
        for index in order {
            let (ablation, contestant) = match self.twins.get_mut(index) {
                Some((ablation, twin)) => (Some(*ablation), twin.as_mut()),
                None => (None, &mut *self.full),
            };
            if let Some(ns) = sample(ablation, contestant)? {
                let series = match ablation {
                    None => &mut times.full_ns,
                    Some(Ablation::LoadsOnly) => &mut times.loads_only_ns,
                    Some(Ablation::ArithOnly) => &mut times.arith_only_ns,
                    Some(Ablation::OnePanel) => &mut times.one_panel_ns,
                };
                series.push(shorten(ns, DECIMALS));
            }
        }
        Ok(())
    }
}

/// Nanoseconds of a run: the mean of `runs` runs, each on another set of operands. The last output is copied to the
/// instance, so that it can be verified.
pub(super) fn run_cold(
    instance: &mut Instance,
    cold: Cold,
    runs: usize,
    sets: &mut ColdSets,
    workers: &Workers,
) -> f64 {
    workers.install(|exec| {
        // An untimed run: code and workspace are warm in every state.
        instance.run_on(cold, sets.coldest(), exec);
        instance.poison_output();
        let ns = mean_ns(runs, || instance.run_on(cold, sets.coldest(), exec));
        instance.take_output(cold, sets.last());
        ns
    })
}

/// Nanoseconds in which all workers read `packed` lines of a set: the mean over `runs` sets.
fn read_cold(
    isa: IsaToken,
    packed: usize,
    runs: usize,
    sets: &mut ColdSets,
    workers: &Workers,
) -> f64 {
    let first = sets.skip(runs);
    let (sets, part) = (&*sets, packed.div_ceil(workers.threads()));
    let barrier = Barrier::new(workers.threads());
    let times = workers.broadcast(|worker| {
        let part = (worker * part).min(packed)..((worker + 1) * part).min(packed);
        barrier.wait();
        let start = Instant::now();
        for set in first..first + runs {
            probe::read(isa, as_f32s(&sets.set(set)[part.clone()]));
        }
        start.elapsed().as_nanos() as f64
    });
    times.into_iter().fold(0.0, f64::max) / runs as f64
}
