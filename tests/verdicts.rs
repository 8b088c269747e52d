//! Two loops whose verdict is known: multiply-adds on registers, and the sum of a gigabyte.

use convroof::machine::calibration::{calibrate, peak_probe};
use convroof::machine::{Topology, fingerprint::fingerprint, pool::Workers};
use convroof::roofline::{Ceilings, Evidence, Judgement, Verdict, judge};
use convroof_kernels::Isa;
use convroof_kernels::micro::probe::{self, Stream};
use convroof_kernels::tensor::{AlignedBuf, as_f32s_mut};
use std::time::{Duration, Instant};

/// The best of some runs of `f`, in nanoseconds.
fn best(runs: usize, mut f: impl FnMut()) -> f64 {
    let mut time = || {
        let start = Instant::now();
        f();
        start.elapsed().as_nanos() as f64
    };
    (0..runs).map(|_| time()).fold(f64::INFINITY, f64::min)
}

#[test]
fn known_loops_get_their_verdicts() {
    let topology = Topology::detect();
    let workers = Workers::new(&topology, 1).expect("a worker");
    let calibration = calibrate(&topology, &[&workers], |_| ()).expect("calibrated");
    let isa = Isa::best();
    let machine = fingerprint(&topology);
    let ceilings = Ceilings::of(&calibration, &machine, isa.isa().name(), 1).expect("calibrated");
    let peak_gflops = peak_probe(&workers, isa, Duration::from_millis(5));

    let rounds = 200_000;
    let mut flops = 0;
    let time_ns = workers.install(|_| best(5, || flops = probe::fma(isa, rounds)));
    let fma = Evidence {
        time_ns,
        peak_gflops,
        flops: flops as f64,
        bytes_read: 64.0,
        bytes_written: 0.0,
        working_set: 64,
        far: None,
    };
    let Judgement {
        verdict, reason, ..
    } = judge(&fma, &ceilings);
    assert_eq!(verdict, Verdict::Compute, "{reason}");

    let bytes = 1usize << 30;
    let mut lines = AlignedBuf::zeroed(bytes / 64).expect("a gigabyte");
    let buffer = as_f32s_mut(&mut lines);
    let time_ns = workers.install(|_| {
        best(3, || {
            probe::stream(isa, Stream::Read, buffer, 1);
        })
    });
    let sum = Evidence {
        time_ns,
        peak_gflops,
        flops: (bytes / 4) as f64,
        bytes_read: bytes as f64,
        bytes_written: 0.0,
        working_set: bytes as u64,
        far: None,
    };
    let Judgement {
        verdict, reason, ..
    } = judge(&sum, &ceilings);
    assert_eq!(verdict, Verdict::Dram, "{reason}");
}
