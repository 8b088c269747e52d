//! Measured ceilings of the machine: arithmetic for each instruction set and element type, and bandwidth for each memory
//! level, by number of threads.

use super::Topology;
use super::pool::Workers;
use crate::interrupt;
use crate::record::{Bandwidth, Calibration, Capacity, Level, Peak, Start, Text};
use crate::units;
use convroof_kernels::exec::on_each_worker;
use convroof_kernels::probe::{self, Arithmetic, Parts, Stream};
use convroof_kernels::tensor::{AlignedBuf, CacheLine, as_f32s_mut};
use convroof_kernels::{Isa, IsaToken};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Duration of one sample of a ceiling. A debug build is for tests, so its samples are short.
const SAMPLE: Duration = Duration::from_millis(if cfg!(debug_assertions) { 2 } else { 8 });
/// Fewest samples of each ceiling. The best counts, since disturbances only slow a machine down.
const SAMPLES: usize = 7;
/// Most samples of each ceiling, relative to the fewest. More are taken while the best ones differ.
const PATIENCE: usize = 3;
/// Number of best samples that must agree, and the relative difference up to which they do.
const AGREE: (usize, f64) = (3, 0.05);

/// Measures every ceiling for the instruction sets of this CPU on these pools: peaks of the given kinds of arithmetic, and
/// bandwidths. `progress` receives the name of each measurement.
///
/// # Errors
/// When there is too little memory for the working sets; [`interrupt::Stopped`].
pub fn calibrate(
    topology: &Topology,
    pools: &[&Workers],
    arithmetics: &[Arithmetic],
    mut progress: impl FnMut(&str),
) -> anyhow::Result<Calibration> {
    let tokens: Vec<IsaToken> = Isa::REAL.iter().filter_map(|i| i.detect()).collect();
    let bases = tokens
        .iter()
        .filter(|token| token.isa().base() == token.isa());
    let bases: Vec<IsaToken> = bases.copied().collect();
    let mut calibration = Calibration::default();
    let mut scattered = Vec::new();
    for workers in pools {
        let threads = workers.threads();
        let mine = |a: Arithmetic| tokens.iter().filter(move |t| a.has_kernels_for(t.isa()));
        for (arithmetic, &token) in arithmetics
            .iter()
            .flat_map(|&a| mine(a).map(move |t| (a, t)))
        {
            interrupt::check()?;
            let what = format!("{} {}", token.isa(), units::peak(arithmetic));
            progress(&format!("{what}, {}", units::threads(threads)));
            let best = best(SAMPLES, || peak_probe(workers, token, arithmetic, SAMPLE));
            if !best.agreed {
                scattered.push(format!("{what} on {}", units::threads(threads)));
            }
            calibration.peaks.push(Peak {
                isa: token.isa().into(),
                dt: Text::of(arithmetic.src()),
                threads,
                gflops: best.rate,
                spread: best.spread,
            });
        }
        calibration.starts.push(Start {
            threads,
            ns: start_probe(workers),
        });
        let sets = working_sets(topology, threads);
        let most = sets.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        let buffers = workers.broadcast(|_| AlignedBuf::zeroed(most / CacheLine::BYTES));
        let mut buffers: Vec<AlignedBuf> = buffers.into_iter().collect::<Result<_, _>>()?;
        for (level, bytes) in sets {
            for (stream, token) in loops(level, &bases) {
                let isa = token.isa();
                interrupt::check()?;
                progress(&format!(
                    "{} {} with {isa}, {}",
                    level.name(),
                    stream.name(),
                    units::threads(threads)
                ));
                let mut sets: Vec<_> = buffers
                    .iter_mut()
                    .map(|b| &mut b[..bytes / CacheLine::BYTES])
                    .collect();
                // One pass over the largest set takes longer than `SAMPLE`, so fewer samples suffice.
                let samples = if level == Level::Dram { 3 } else { SAMPLES };
                let in_parts = ways(stream).iter().map(|&parts| {
                    let way = (stream, parts);
                    best(samples, || stream_probe(workers, token, way, &mut sets))
                });
                let best = in_parts.max_by(|a, b| a.rate.total_cmp(&b.rate));
                let best = best.expect("one way at least");
                if !best.agreed {
                    scattered.push(format!(
                        "{} {} with {isa} on {}",
                        level.name(),
                        stream.name(),
                        units::threads(threads)
                    ));
                }
                calibration.bandwidths.push(Bandwidth {
                    level,
                    op: stream.name().into(),
                    isa: isa.into(),
                    threads,
                    working_set_bytes: bytes,
                    gbps: best.rate,
                    spread: best.spread,
                });
            }
        }
        interrupt::check()?;
        progress(&format!("size of L3, {}", units::threads(threads)));
        let capacity = effective_l3(workers, Isa::best(), &calibration, &mut buffers);
        calibration.capacities.extend(capacity);
    }
    calibration.notes = doubts(&calibration);
    calibration.notes.extend(unsteady(&scattered));
    Ok(calibration)
}

/// A note on ceilings whose best samples differ; none if all agree.
fn unsteady(ceilings: &[String]) -> Option<String> {
    const NAMED: usize = 3;
    let named = ceilings[..ceilings.len().min(NAMED)].join(", ");
    let more = match ceilings.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!ceilings.is_empty()).then(|| {
        let percent = 100.0 * AGREE.1;
        format!("the best samples of some ceilings differ by more than {percent} %: {named}{more}")
    })
}

/// The loops whose bandwidth is measured at a level. Non-temporal stores always go to memory, whose bandwidth doesn't
/// depend on the vector width. Elsewhere every instruction set takes part: wide vectors aren't the fastest everywhere.
fn loops(level: Level, tokens: &[IsaToken]) -> Vec<(Stream, IsaToken)> {
    let streams = Stream::ALL
        .into_iter()
        .filter(|&stream| stream != Stream::WriteNonTemporal || level == Level::Dram);
    let wanted = |token: &IsaToken| level < Level::Dram || token.isa() == Isa::best().isa();
    let tokens = tokens.iter().copied().filter(wanted);
    streams
        .flat_map(|stream| tokens.clone().map(move |token| (stream, token)))
        .collect()
}

/// Ways through an array that are tried. Hardware prefetchers hide the latency of a read from memory best in several
/// parts, and that of a near cache in one.
fn ways(stream: Stream) -> &'static [Parts] {
    match stream {
        Stream::Read => &Parts::ALL,
        _ => &[Parts::One],
    }
}

/// The best of several samples.
struct Best {
    /// The best rate.
    rate: f64,
    /// Distance of the median below it, as a fraction of it.
    spread: f64,
    /// True if the best few samples agree.
    agreed: bool,
}

/// Takes at least `samples` samples, and more while the best few differ.
fn best(samples: usize, mut sample: impl FnMut() -> f64) -> Best {
    let mut taken: Vec<f64> = (0..samples).map(|_| sample()).collect();
    let (few, near) = AGREE;
    loop {
        taken.sort_by(|a, b| b.total_cmp(a));
        let rate = taken[0];
        let agreed = taken[few.min(taken.len()) - 1] >= (1.0 - near) * rate;
        if agreed || taken.len() >= PATIENCE * samples {
            let median = crate::stats::median(&taken).unwrap_or(rate);
            let spread = (rate - median) / rate.max(f64::MIN_POSITIVE);
            return Best {
                rate,
                spread,
                agreed,
            };
        }
        taken.push(sample());
    }
}

/// The current peak: all workers at once for about `time`. Their sum in 10^9 operations per second.
pub fn peak_probe(
    workers: &Workers,
    token: IsaToken,
    arithmetic: Arithmetic,
    time: Duration,
) -> f64 {
    let barrier = Barrier::new(workers.threads());
    let rates = workers.broadcast(|_| {
        // A short run calibrates the number of rounds, and lets the clock frequency rise.
        let start = Instant::now();
        probe::multiply_adds(token, arithmetic, 2_000);
        let rounds = rounds_for(2_000, start.elapsed(), time);
        barrier.wait();
        let start = Instant::now();
        let operations = probe::multiply_adds(token, arithmetic, rounds);
        operations as f64 / start.elapsed().as_nanos().max(1) as f64
    });
    rates.iter().sum()
}

/// Time in ns from handing every worker a task until all are done, the best of several samples. Each task waits until
/// all workers have begun.
fn start_probe(workers: &Workers) -> f64 {
    const RUNS: usize = 200;
    workers.install(|exec| {
        let sample = || {
            let start = Instant::now();
            for _ in 0..RUNS {
                on_each_worker(exec, |_| ());
            }
            start.elapsed().as_nanos() as f64 / RUNS as f64
        };
        (0..SAMPLES).map(|_| sample()).fold(f64::INFINITY, f64::min)
    })
}

fn stream_probe(
    workers: &Workers,
    token: IsaToken,
    (stream, parts): (Stream, Parts),
    buffers: &mut [&mut [CacheLine]],
) -> f64 {
    let barrier = Barrier::new(workers.threads());
    let buffers: Vec<_> = buffers.iter_mut().map(std::sync::Mutex::new).collect();
    let rates = workers.broadcast(|worker| {
        let mut buffer = buffers[worker].lock().expect("each worker has its own");
        let buffer = as_f32s_mut(&mut buffer);
        let start = Instant::now();
        probe::stream(token, stream, parts, buffer, 1);
        let passes = rounds_for(1, start.elapsed(), SAMPLE);
        barrier.wait();
        let start = Instant::now();
        let bytes = probe::stream(token, stream, parts, buffer, passes);
        bytes as f64 / start.elapsed().as_nanos().max(1) as f64
    });
    rates.iter().sum()
}

/// Number of rounds that fill `time`, if `rounds` took `took`.
fn rounds_for(rounds: usize, took: Duration, time: Duration) -> usize {
    let per_round = took.as_secs_f64().max(1e-9) / rounds as f64;
    ((time.as_secs_f64() / per_round) as usize).clamp(1, 1 << 30)
}

/// Bytes per thread of a working set for each level. It is half of the thread's share of the cache. For L3 it is at
/// most four times L2, since virtual machines share a large L3. For memory the sets together are four times the last
/// cache. A level without a cache has none.
fn working_sets(topology: &Topology, threads: usize) -> Vec<(Level, usize)> {
    let mut sets = Vec::new();
    let mut last = 0;
    for (number, level) in [(1, Level::L1), (2, Level::L2), (3, Level::L3)] {
        let share = topology.share(number, threads);
        // An L3 whose share is hardly larger than L2 can't be distinguished from it.
        if share / 2 > last {
            let most = if level == Level::L3 { 4 * last } else { share };
            sets.push((level, whole_pages((share / 2).min(most))));
            last = share;
        }
    }
    let largest = topology
        .caches
        .iter()
        .map(|c| c.bytes)
        .max()
        .unwrap_or(8 << 20);
    let bytes = (4 * largest / threads).clamp(16 << 20, LARGEST / threads);
    sets.push((Level::Dram, whole_pages(bytes)));
    sets
}

/// Bytes, rounded down to whole pages of memory.
fn whole_pages(bytes: usize) -> usize {
    const PAGE: usize = 4096;
    bytes / PAGE * PAGE
}

/// Largest working set, summed over all threads, in bytes.
const LARGEST: usize = 1 << 30;

/// Effective capacity of L3: the largest working set that is read at the speed of L3 rather than memory. Virtual
/// machines share an L3, so the size that the system reports may be several times as large.
fn effective_l3(
    workers: &Workers,
    token: IsaToken,
    calibration: &Calibration,
    buffers: &mut [AlignedBuf],
) -> Option<Capacity> {
    let threads = workers.threads();
    let read = |level| {
        let all = calibration.bandwidths.iter();
        let reads = all.filter(|b| (b.level, b.op.as_str(), b.threads) == (level, "read", threads));
        reads.max_by(|a, b| a.gbps.total_cmp(&b.gbps))
    };
    let (near, far) = (read(Level::L3)?, read(Level::Dram)?);
    let middle = (near.gbps * far.gbps).sqrt();
    let mut bytes = near.working_set_bytes;
    while 2 * bytes < far.working_set_bytes {
        let mut parts: Vec<_> = buffers
            .iter_mut()
            .map(|b| &mut b[..2 * bytes / CacheLine::BYTES])
            .collect();
        // The best of three, since a neighbour's traffic can only slow the reads down.
        let read = (Stream::Read, Parts::Four);
        let rates = (0..3).map(|_| stream_probe(workers, token, read, &mut parts));
        if rates.fold(0.0, f64::max) < middle {
            break;
        }
        bytes *= 2;
    }
    Some(Capacity {
        level: Level::L3,
        threads,
        bytes: threads * bytes,
    })
}

/// Notes on implausible results: an outer level faster than an inner one, wide vectors slower than narrow ones, or threads
/// that hardly add to a peak.
fn doubts(calibration: &Calibration) -> Vec<String> {
    let mut notes = Vec::new();
    let mut numbers: Vec<usize> = calibration.peaks.iter().map(|p| p.threads).collect();
    numbers.dedup();
    for &threads in &numbers {
        let best = |level: Level| {
            let own = calibration
                .bandwidths
                .iter()
                .filter(|b| (b.threads, b.op.as_str(), b.level) == (threads, "read", level));
            let rate = own.map(|b| b.gbps).max_by(f64::total_cmp)?;
            Some((level, rate))
        };
        let reads: Vec<_> = Level::ALL.into_iter().filter_map(best).collect();
        for pair in reads.windows(2).filter(|p| p[1].1 > 1.05 * p[0].1) {
            let [(near, near_rate), (far, far_rate)] = [pair[0], pair[1]];
            notes.push(format!(
                "{} reads faster than {} on {} ({far_rate:.0} against {near_rate:.0} GB/s): the machine was disturbed",
                far.name(),
                near.name(),
                units::threads(threads),
            ));
        }
        // Cores share power, which lowers their clocks, but not by that much.
        for all in calibration
            .peaks
            .iter()
            .filter(|p| p.threads == threads && threads > 1)
        {
            let one = calibration
                .peaks
                .iter()
                .find(|p| p.threads == 1 && p.isa == all.isa && p.dt == all.dt);
            if let Some(one) = one.filter(|one| all.gflops < 0.7 * threads as f64 * one.gflops) {
                let arithmetic = all.arithmetic().unwrap_or_default();
                notes.push(format!(
                    "{threads} threads have an {} {} of {:.0} {}, one has {:.0}: something else was running",
                    all.isa,
                    units::peak(arithmetic),
                    all.gflops,
                    units::rate(arithmetic),
                    one.gflops
                ));
            }
        }
        let peak = |isa: Isa| {
            let is_f32 = |p: &&Peak| p.arithmetic() == Some(Arithmetic::F32);
            let mut f32s = calibration.peaks.iter().filter(is_f32);
            let found = f32s.find(|p| p.isa == isa.into() && p.threads == threads);
            found.map(|p| p.gflops)
        };
        if let (Some(avx2), Some(avx512)) = (peak(Isa::Avx2), peak(Isa::Avx512))
            && avx512 < 0.9 * avx2
        {
            notes.push(format!(
                "AVX-512's peak ({avx512:.0} GFLOP/s) is below AVX2's ({avx2:.0}) on {threads} threads: lower clocks, or a disturbed machine"
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    #[test]
    fn working_sets_grow() {
        let topology = Topology::detect();
        let sets = working_sets(&topology, 1);
        assert!(sets.windows(2).all(|p| p[0].1 < p[1].1), "{sets:?}");
    }

    #[test]
    fn impossible_ceilings_are_noted() {
        let mut calibration = sample().calibration;
        for bandwidth in &mut calibration.bandwidths {
            bandwidth.isa = Isa::best().isa().into();
        }
        assert_eq!(doubts(&calibration), Vec::<String>::new());
        calibration.bandwidths[2].gbps = 1000.0;
        assert_eq!(doubts(&calibration).len(), 1);
    }

    #[test]
    fn samples_are_taken_until_the_best_agree() {
        let mut rates = [100.0, 60.0, 62.0, 61.0, 60.0, 97.0, 50.0, 98.0, 10.0].into_iter();
        let steady = best(SAMPLES, || rates.next().expect("no more are needed"));
        assert!(steady.agreed && steady.rate == 100.0);
        assert_eq!(rates.as_slice(), [10.0]);
        assert!((steady.spread - 0.385).abs() < 1e-9, "{}", steady.spread);
        let mut taken = 0;
        let wild = best(SAMPLES, || {
            taken += 1;
            100.0 * 2f64.powi(-taken)
        });
        assert!(!wild.agreed);
        assert_eq!(taken as usize, PATIENCE * SAMPLES);
    }

    #[test]
    fn unsteady_ceilings_are_named() {
        assert_eq!(unsteady(&[]), None);
        let five = ["a", "b", "c", "d", "e"].map(String::from);
        let note = unsteady(&five).expect("a note");
        assert!(note.contains("5 %: a, b, c and 2 more"), "{note}");
    }

    #[test]
    fn a_peak_is_measured() {
        let workers = Workers::new(&Topology::detect(), 1).expect("a worker");
        for arithmetic in Arithmetic::ALL {
            let time = Duration::from_millis(1);
            assert!(peak_probe(&workers, Isa::best(), arithmetic, time) > 0.01);
        }
    }

    #[test]
    fn peaks_are_compared_with_those_of_their_type() {
        let mut calibration = sample().calibration;
        let f32_peak = calibration.peaks[0].clone();
        let int8 = Peak {
            dt: "u8".into(),
            gflops: 4.0 * f32_peak.gflops,
            ..f32_peak.clone()
        };
        let all_cores = |peak: &Peak, speed_up: f64| Peak {
            threads: 2,
            gflops: speed_up * peak.gflops,
            ..peak.clone()
        };
        calibration.peaks.extend([
            int8.clone(),
            all_cores(&f32_peak, 1.9),
            all_cores(&int8, 1.0),
        ]);
        let notes = doubts(&calibration);
        assert_eq!(
            notes,
            [
                "2 threads have an avx2 int8 peak of 472 GOP/s, one has 472: something else was running"
            ]
        );
    }
}
