//! Tests with loops whose verdict is known: each verdict has one at least, and loops slowed in one part get another. The
//! same beside a busy neighbour, ten times.
#![cfg(feature = "ablation")]

use convroof::machine::calibration::{calibrate, peak_probe};
use convroof::machine::{Topology, fingerprint::fingerprint, pool::Workers};
use convroof::record::{AblationTimes, Calibration, Level, Measurement};
use convroof::roofline::{Ceilings, Verdict, place};
use convroof::verdict::{self, Case, Finding};
use convroof_kernels::arch::KernelSimd;
use convroof_kernels::isa::Ablation;
use convroof_kernels::probe::{self, Arithmetic, Parts, Stream};
use convroof_kernels::tensor::{AlignedBuf, as_f32s_mut};
use convroof_kernels::{Isa, IsaToken, SimdTask};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;

/// Least time of a sample.
const SAMPLE: Duration = Duration::from_micros(500);

/// Duration of a measurement of the peak.
const PEAK: Duration = Duration::from_micros(300);

/// The widest vector instruction set of this CPU. Without one, there is nothing to test: scalar code has no twins.
fn vectors() -> Option<IsaToken> {
    let found = [Isa::Avx512, Isa::Avx2, Isa::Neon]
        .into_iter()
        .find_map(Isa::detect);
    if found.is_none() {
        eprintln!("skipped: this CPU has neither avx512, avx2 nor neon");
    }
    found
}

/// A chain of multiply-adds, each of which waits for the one before.
struct Chain(usize);

impl SimdTask for Chain {
    type Output = f32;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) -> f32 {
        let [x, y] = [0.999, 1e-3].map(|x| simd.splat_f32s(black_box(x)));
        let mut sum = simd.splat_f32s(black_box(0.5));
        for _ in 0..self.0 {
            sum = simd.mul_add_e_f32s(sum, x, y);
        }
        simd.reduce_sum_f32s(sum)
    }
}

/// Work of a loop: what its bounds are computed from.
#[derive(Clone, Copy, Default)]
struct Work {
    flops: u64,
    /// Bytes read.
    bytes: u64,
    /// Bytes written.
    written: u64,
    /// Bytes of the array.
    array: usize,
}

/// A machine with a calibration of one thread.
struct Bench {
    isa: IsaToken,
    workers: Workers,
    calibration: Calibration,
    ceilings: Ceilings,
    /// Memory for the largest working set of the calibration.
    lines: AlignedBuf,
}

impl Bench {
    fn new(isa: IsaToken) -> Bench {
        let topology = Topology::detect();
        let workers = Workers::new(&topology, 1).expect("a worker");
        let calibration = calibrate(&topology, &[&workers], &[Arithmetic::F32], |_| ());
        let calibration = calibration.expect("calibrated");
        let machine = fingerprint(&topology);
        let name = isa.isa().into();
        let ceilings = Ceilings::of(&calibration, &machine, &name, Arithmetic::F32, 1);
        let ceilings = ceilings.expect("calibrated");
        let sets = calibration.bandwidths.iter().map(|b| b.working_set_bytes);
        let most = sets.max().expect("bandwidths");
        Bench {
            isa,
            workers,
            calibration,
            ceilings,
            lines: AlignedBuf::zeroed(most / 64).expect("memory"),
        }
    }

    /// Bytes of the working set of a level; none if the machine lacks it.
    fn bytes(&self, level: Level) -> Option<usize> {
        let mut all = self.calibration.bandwidths.iter();
        all.find(|b| b.level == level).map(|b| b.working_set_bytes)
    }

    /// The verdict on a loop with this work, from samples of it and its twins in turns.
    fn find(&mut self, work: Work, mut run: impl FnMut(IsaToken, &mut [f32]) + Send) -> Finding {
        let (isa, workers) = (self.isa, &self.workers);
        let buffer = as_f32s_mut(&mut self.lines);
        let mut peaks = Vec::new();
        let mut times = AblationTimes::default();
        for _ in 0..ROUNDS {
            peaks.push(peak_probe(workers, isa, Arithmetic::F32, PEAK));
            workers.install(|_| {
                let mut sample = |ablation: Option<Ablation>| {
                    let token = ablation.map_or(Some(isa), |a| isa.without(a));
                    let token = token.expect("vectors have twins");
                    // The clock takes as long as a short loop: it is read once for many runs.
                    let mut time = |runs: u32| {
                        let start = Instant::now();
                        (0..runs).for_each(|_| run(token, buffer));
                        start.elapsed()
                    };
                    time(1);
                    let runs = SAMPLE.as_nanos() / time(1).as_nanos().max(50);
                    let runs = runs.clamp(1, 10_000) as u32;
                    time(runs).as_nanos() as f64 / f64::from(runs)
                };
                times.full_ns.push(sample(None));
                times.loads_only_ns.push(sample(Some(Ablation::LoadsOnly)));
                times.arith_only_ns.push(sample(Some(Ablation::ArithOnly)));
            });
        }
        let m = measurement(isa.isa(), times, peaks, work);
        verdict::find(Case {
            m: &m,
            placed: &place(&m, Some(&self.ceilings)).expect("samples"),
            ceilings: Some(&self.ceilings),
            others: &[],
            ceilings_of: &|_| Some(self.ceilings.clone()),
        })
    }

    /// Loops with their known verdicts, each measured once: the name, the verdict wanted, and the one found.
    fn all(&mut self) -> Vec<(String, Verdict, Finding)> {
        let mut found = Vec::new();
        let rounds = 20_000;
        let flops = probe::fma(self.isa, 1) * rounds as u64;
        let fma = |token| {
            black_box(probe::fma(token, rounds));
        };
        let registers = Work {
            flops,
            bytes: 64,
            array: 64,
            ..Work::default()
        };
        found.push((
            "multiply-adds on registers".into(),
            Verdict::Compute,
            self.find(registers, |token, _| fma(token)),
        ));
        // The same time, of which the definition needs a quarter.
        let needless = Work {
            flops: flops / 4,
            ..registers
        };
        found.push((
            "needless multiply-adds".into(),
            Verdict::Core,
            self.find(needless, |token, _| fma(token)),
        ));
        for (name, length, wanted) in [
            ("a chain", 20_000, Verdict::Core),
            ("a short chain", 60, Verdict::Overhead),
        ] {
            let flops = 2 * (length * self.isa.isa().lanes()) as u64;
            let chain = |token: IsaToken, _: &mut [f32]| {
                black_box(token.dispatch(Chain(length)));
            };
            let work = Work { flops, ..registers };
            found.push((name.into(), wanted, self.find(work, chain)));
        }
        for level in Level::ALL {
            let Some(bytes) = self.bytes(level) else {
                continue;
            };
            // A sum's additions take nearly as long as its loads from a near level. A copy has loads and stores alone.
            let (what, kind) = match level {
                Level::L1 | Level::L2 => ("a copy in", Stream::Copy),
                _ => ("a sum from", Stream::Read),
            };
            // Below 5 us a loop counts as overhead.
            let passes = match level {
                Level::L1 => 64,
                Level::L2 => 8,
                _ => 1,
            };
            let stream = |token, buffer: &mut [f32]| {
                let buffer = &mut buffer[..bytes / 4];
                let parts = if level == Level::L1 {
                    Parts::One
                } else {
                    Parts::Four
                };
                black_box(probe::stream(token, kind, parts, buffer, passes));
            };
            let moved = (passes * bytes) as u64;
            let work = match kind {
                Stream::Copy => Work {
                    flops: 0,
                    bytes: moved / 2,
                    written: moved / 2,
                    array: bytes,
                },
                _ => Work {
                    flops: moved / 4,
                    bytes: moved,
                    written: 0,
                    array: bytes,
                },
            };
            let name = |what: &str| format!("{what} {}", level.name());
            found.push((name(what), level.into(), self.find(work, stream)));
            if level != Level::L2 {
                continue;
            }
            // Much more arithmetic than loads, and then the reverse.
            let more = |rounds: usize| {
                move |token: IsaToken, buffer: &mut [f32]| {
                    stream(token, buffer);
                    black_box(probe::fma(token, rounds));
                }
            };
            let passes_of_peak = |rounds: usize| Work {
                flops: work.flops + probe::fma(self.isa, 1) * rounds as u64,
                ..work
            };
            let (many, few) = (400_000, 400);
            let (slow, fast) = (passes_of_peak(many), passes_of_peak(few));
            found.push((
                name("arithmetic beside a copy in"),
                Verdict::Compute,
                self.find(slow, more(many)),
            ));
            found.push((
                name("little arithmetic beside a copy in"),
                level.into(),
                self.find(fast, more(few)),
            ));
            // Each byte is copied 64 times where once would do.
            let once = Work {
                bytes: work.bytes / 64,
                written: work.written / 64,
                ..work
            };
            found.push((
                name("needless copies in"),
                Verdict::L1,
                self.find(once, stream),
            ));
        }
        found
    }
}

/// A measurement of a loop that isn't a kernel.
fn measurement(isa: Isa, times: AblationTimes, peaks: Vec<f64>, work: Work) -> Measurement {
    let Work {
        flops,
        bytes,
        written,
        array,
    } = work;
    Measurement {
        problem: "loop".into(),
        variant: format!("loop/{isa}/st").into(),
        implementation: None,
        threads: 1,
        cache: "warm".into(),
        runs_per_sample: 1,
        samples_ns: times.full_ns.clone(),
        rounds: (0..ROUNDS as u32).collect(),
        peak_gflops: peaks,
        flops_nominal: flops,
        flops_executed: flops,
        bytes_read: bytes,
        bytes_written: written,
        packed_bytes: 0,
        workspace_bytes: 0,
        working_set_bytes: array as u64,
        error_l2: 0.0,
        error_max: 0.0,
        tolerance: 0.0,
        errors_by_input: Vec::new(),
        verified: true,
        phases: Vec::new(),
        ablation: Some(times),
        cold_read: None,
        counters: Vec::new(),
    }
}

/// Fails with every loop that has another verdict than it must.
fn judge(found: Vec<(String, Verdict, Finding)>, run: &str) {
    let wrong: Vec<String> = found
        .into_iter()
        .filter(|(_, wanted, finding)| finding.verdict != *wanted)
        .map(|(name, wanted, finding)| {
            format!(
                "{name} is {}, not {}: {}",
                wanted, finding.verdict, finding.reason
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{run}: {}", wrong.join("\n"));
}

/// Alone and then beside a neighbour, in one test: tests of one program run at the same time.
#[test]
fn known_loops_get_their_verdicts() {
    let Some(isa) = vectors() else { return };
    judge(Bench::new(isa).all(), "alone");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut x = 1u64;
            while !stop.load(Ordering::Relaxed) {
                (0..1000).for_each(|_| x = black_box(x.wrapping_mul(6_364_136_223_846_793_005)));
            }
        });
        // A failure must stop the neighbour, too.
        let outcome = std::panic::catch_unwind(|| {
            let mut bench = Bench::new(isa);
            for run in 1..=10 {
                judge(bench.all(), &format!("run {run} beside a neighbour"));
            }
        });
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}
