//! Tests with two loops whose verdict is known: multiply-adds on registers, and the sum of a gigabyte. The roofline and
//! the twins must both give it.
#![cfg(feature = "ablation")]

use convroof::machine::calibration::{calibrate, peak_probe};
use convroof::machine::{Topology, fingerprint::fingerprint, pool::Workers};
use convroof::record::{AblationTimes, Measurement};
use convroof::roofline::{Ceilings, Verdict, place};
use convroof::verdict::{self, Case, Finding};
use convroof_kernels::isa::Ablation;
use convroof_kernels::probe::{self, Stream};
use convroof_kernels::tensor::{AlignedBuf, as_f32s_mut};
use convroof_kernels::{Isa, IsaToken};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;

/// Vector instruction set of this CPU.
fn vectors() -> Option<IsaToken> {
    [Isa::Avx2, Isa::Neon].into_iter().find_map(Isa::detect)
}

/// Samples of a loop and its twins, in alternation.
fn examine(isa: IsaToken, mut run: impl FnMut(IsaToken)) -> AblationTimes {
    let mut time = |ablation: Option<Ablation>| {
        let token = ablation.map_or(Some(isa), |a| isa.without(a));
        let start = Instant::now();
        token.into_iter().for_each(&mut run);
        start.elapsed().as_nanos() as f64
    };
    let mut times = AblationTimes::default();
    for _ in 0..ROUNDS {
        times.full_ns.push(time(None));
        times.loads_only_ns.push(time(Some(Ablation::LoadsOnly)));
        times.arith_only_ns.push(time(Some(Ablation::ArithOnly)));
    }
    times
}

/// A measurement of a loop that isn't a kernel.
fn measurement(isa: Isa, times: AblationTimes, peak: f64, [flops, bytes]: [u64; 2]) -> Measurement {
    Measurement {
        problem: "loop".into(),
        variant: format!("loop/{isa}/st").into(),
        implementation: None,
        threads: 1,
        cache: "warm".into(),
        runs_per_sample: 1,
        samples_ns: times.full_ns.clone(),
        rounds: (0..ROUNDS as u32).collect(),
        peak_gflops: vec![peak; ROUNDS],
        flops_nominal: flops,
        flops_executed: flops,
        bytes_read: bytes,
        bytes_written: 0,
        packed_bytes: 0,
        workspace_bytes: 0,
        working_set_bytes: bytes,
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

#[test]
fn known_loops_get_their_verdicts() {
    let Some(isa) = vectors() else {
        eprintln!("skipped: this CPU has neither avx2 nor neon");
        return;
    };
    let topology = Topology::detect();
    let workers = Workers::new(&topology, 1).expect("a worker");
    let calibration = calibrate(&topology, &[&workers], |_| ()).expect("calibrated");
    let machine = fingerprint(&topology);
    let ceilings = Ceilings::of(&calibration, &machine, &isa.isa().into(), 1).expect("calibrated");
    let find = |m: &Measurement| -> Finding {
        verdict::find(Case {
            m,
            placed: &place(m, Some(&ceilings)).expect("samples"),
            ceilings: Some(&ceilings),
            others: &[],
            ceilings_of: &|_| Some(ceilings.clone()),
        })
    };

    let rounds = 400_000;
    let mut flops = 0;
    let times = workers.install(|_| examine(isa, |token| flops = probe::fma(token, rounds)));
    let peak = peak_probe(&workers, isa, Duration::from_millis(5));
    let fma = find(&measurement(isa.isa(), times, peak, [flops, 64]));
    assert_eq!(fma.verdict, Verdict::Compute, "{fma:?}");
    assert!(!fma.disputed, "{fma:?}");

    let bytes = 1usize << 30;
    let mut lines = AlignedBuf::zeroed(bytes / 64).expect("a gigabyte");
    let buffer = as_f32s_mut(&mut lines);
    let times = workers.install(|_| {
        examine(isa, |token| {
            probe::stream(token, Stream::Read, buffer, 1);
        })
    });
    let sum = find(&measurement(
        isa.isa(),
        times,
        peak,
        [bytes / 4, bytes].map(|n| n as u64),
    ));
    assert_eq!(sum.verdict, Verdict::Dram, "{sum:?}");
    assert!(!sum.disputed, "{sum:?}");
}
