//! The ceilings of a machine for an instruction set, an arithmetic and a number of threads.

use crate::record::{Bandwidth, Calibration, Fingerprint, IsaName, Level, Measurement, Run};
use convroof_kernels::probe::Arithmetic;

/// Bandwidth of one memory level, by the mix of reads and writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Roof {
    /// The level.
    pub level: Level,
    /// Read bandwidth, GB/s.
    pub read: f64,
    /// Write bandwidth, GB/s.
    pub write: f64,
    /// Bandwidth of loops that read and write, GB/s: the fraction of their bytes that they write, and their rate.
    pub mixed: Vec<(f64, f64)>,
    /// (best - median) / best of the samples of the read bandwidth.
    pub spread: f64,
    /// Capacity in bytes for these threads; none for main memory.
    pub capacity: Option<usize>,
}

impl Roof {
    /// Least time in ns to read and write some bytes. Loads and stores overlap in L1 and share a bus in main memory, so
    /// the rate depends on the mix: it is interpolated between the loops whose mixes are nearest.
    pub fn ns(&self, read: f64, written: f64) -> f64 {
        let bytes = read + written;
        if bytes <= 0.0 {
            return 0.0;
        }
        let share = written / bytes;
        let (mut below, mut above) = ((0.0, self.read), (1.0, self.write));
        for &point in &self.mixed {
            if point.0 <= share && point.0 >= below.0 {
                below = point;
            }
            if point.0 >= share && point.0 <= above.0 {
                above = point;
            }
        }
        let width = above.0 - below.0;
        let weight = if width > 0.0 {
            (share - below.0) / width
        } else {
            0.0
        };
        bytes * ((1.0 - weight) / below.1 + weight / above.1)
    }
}

/// The ceilings for an instruction set, an arithmetic and a number of threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Ceilings {
    /// Instruction set.
    pub isa: IsaName,
    /// Arithmetic of the peak.
    pub arithmetic: Arithmetic,
    /// Threads.
    pub threads: usize,
    /// Peak, 10^9 operations per second, as calibrated.
    pub peak: f64,
    /// Roofs by level, nearest first.
    pub roofs: Vec<Roof>,
    /// Time in ns to hand tasks to the threads.
    pub start_ns: f64,
}

impl Ceilings {
    /// The ceilings of a measurement in its run: those of its instruction set, its layer's arithmetic and its threads.
    pub fn of_measurement(run: &Run, m: &Measurement) -> Option<Self> {
        let (isa, arithmetic) = (m.variant.isa(), m.arithmetic());
        Ceilings::of(
            &run.calibration,
            &run.fingerprint,
            isa,
            arithmetic,
            m.threads,
        )
    }

    /// Selects ceilings from a calibration; none if it lacks this instruction set, arithmetic or number of threads. A
    /// level's bandwidth is the best that a loop with these or narrower vectors reached.
    pub fn of(
        calibration: &Calibration,
        machine: &Fingerprint,
        isa: &IsaName,
        arithmetic: Arithmetic,
        threads: usize,
    ) -> Option<Self> {
        // A peer chooses its instruction set itself, so the best peak counts.
        let peak = calibration
            .peaks
            .iter()
            .filter(|p| p.arithmetic() == Some(arithmetic) && p.threads == threads)
            .filter(|p| p.isa == *isa || *isa == IsaName::Auto)
            .map(|p| p.gflops)
            .max_by(f64::total_cmp)?;
        let best = |level: Level, op: &str| {
            let all = || {
                let same =
                    move |b: &&Bandwidth| b.level == level && b.op == op && b.threads == threads;
                calibration.bandwidths.iter().filter(same)
            };
            let own = all().filter(|b| covers(isa, &b.isa));
            let faster = |a: &&Bandwidth, b: &&Bandwidth| a.gbps.total_cmp(&b.gbps);
            // Some levels are measured only with the widest vectors.
            own.max_by(faster).or_else(|| all().max_by(faster))
        };
        let measured = |level: Level| {
            let mut all = calibration.capacities.iter();
            let found = all.find(|c| c.level == level && c.threads == threads);
            found.map(|c| c.bytes)
        };
        let roofs = Level::ALL.into_iter().filter_map(|level| {
            let read = best(level, "read")?;
            let rate = |op| best(level, op).map(|b| b.gbps);
            // Non-temporal stores don't read a line before they write it.
            let writes = [rate("write"), rate("write-nt")].into_iter().flatten();
            let mixes = [(1.0 / 3.0, rate("triad")), (0.5, rate("copy"))];
            Some(Roof {
                level,
                read: read.gbps,
                write: writes.max_by(f64::total_cmp).unwrap_or(read.gbps),
                mixed: mixes
                    .into_iter()
                    .filter_map(|(share, rate)| Some((share, rate?)))
                    .collect(),
                spread: read.spread,
                capacity: measured(level).or_else(|| capacity(machine, level, threads)),
            })
        });
        Some(Ceilings {
            isa: isa.clone(),
            arithmetic,
            threads,
            peak,
            roofs: roofs.collect(),
            start_ns: calibration
                .starts
                .iter()
                .find(|s| s.threads == threads)
                .map_or(0.0, |s| s.ns),
        })
    }

    /// The nearest level that holds `bytes`.
    pub fn home(&self, bytes: u64) -> Option<&Roof> {
        self.roofs
            .iter()
            .find(|r| r.capacity.is_none_or(|c| bytes <= c as u64))
    }

    /// The roof of a level.
    pub fn roof(&self, level: Level) -> Option<&Roof> {
        self.roofs.iter().find(|r| r.level == level)
    }

    /// The next nearer level with a roof.
    pub fn nearer(&self, level: Level) -> Option<&Roof> {
        self.roofs.iter().rfind(|r| r.level < level)
    }
}

/// True if code for an instruction set can do what a loop of another one does.
fn covers(isa: &IsaName, narrower: &IsaName) -> bool {
    match (isa, narrower) {
        (IsaName::Auto, _) => true,
        (IsaName::Isa(isa), IsaName::Isa(narrower)) => narrower.lanes() <= isa.lanes(),
        (a, b) => a == b,
    }
}

/// Bytes that a level holds for some threads. Private caches add up, shared ones don't.
fn capacity(machine: &Fingerprint, level: Level, threads: usize) -> Option<usize> {
    let number = match level {
        Level::L1 => 1,
        Level::L2 => 2,
        Level::L3 => 3,
        Level::Dram => return None,
    };
    let cache = machine.caches.iter().find(|c| c.level == number)?;
    let cores = cache.cores(&machine.caches);
    Some(cache.bytes * threads.div_ceil(cores).max(1))
}

/// The level whose read bandwidth is nearest to a measured one, except L1.
pub fn nearest(ceilings: &Ceilings, gbps: f64) -> Option<Level> {
    let distance = |r: &&Roof| (r.read / gbps).ln().abs();
    let beyond = ceilings.roofs.iter().filter(|r| r.level != Level::L1);
    let nearest = beyond.min_by(|a, b| distance(a).total_cmp(&distance(b)));
    nearest.map(|r| r.level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Peak;
    use crate::record::tests::sample;
    use convroof_kernels::Isa;

    fn roof() -> Roof {
        Roof {
            level: Level::L1,
            read: 100.0,
            write: 50.0,
            mixed: vec![(1.0 / 3.0, 150.0), (0.5, 80.0)],
            spread: 0.0,
            capacity: None,
        }
    }

    #[test]
    fn the_rate_is_that_of_the_mix() {
        let roof = roof();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * b, "{a} {b}");
        close(roof.ns(300.0, 0.0), 3.0);
        close(roof.ns(0.0, 300.0), 6.0);
        close(roof.ns(200.0, 100.0), 2.0);
        close(roof.ns(40.0, 40.0), 1.0);
        // Between copy and writes alone: 3/4 of the bytes are written.
        close(roof.ns(20.0, 60.0), 80.0 * (0.5 / 80.0 + 0.5 / 50.0));
        assert_eq!(roof.ns(0.0, 0.0), 0.0);
        // Without loops that do both.
        let plain = Roof {
            mixed: Vec::new(),
            ..roof
        };
        close(plain.ns(100.0, 100.0), 3.0);
    }

    #[test]
    fn a_level_is_as_fast_as_its_best_loop() {
        let mut run = sample();
        let mut narrow = run.calibration.bandwidths.clone();
        for b in &mut narrow {
            b.isa = Isa::Scalar.into();
            b.gbps *= 2.0;
        }
        let of = |run: &crate::record::Run, isa: &str| {
            let (isa, arithmetic) = (isa.into(), Arithmetic::F32);
            Ceilings::of(&run.calibration, &run.fingerprint, &isa, arithmetic, 1)
                .expect("calibrated")
        };
        let before = of(&run, "avx2");
        run.calibration.bandwidths.extend(narrow);
        let after = of(&run, "avx2");
        for (a, b) in before.roofs.iter().zip(&after.roofs) {
            assert_eq!(b.read, 2.0 * a.read);
        }
    }

    #[test]
    fn each_arithmetic_has_its_peak_under_the_same_bandwidths() {
        let mut run = sample();
        let f32_peak = run.calibration.peaks[0].clone();
        let peak = |isa: &str, dt: &str, gflops| Peak {
            isa: isa.into(),
            dt: dt.into(),
            gflops,
            ..f32_peak.clone()
        };
        run.calibration.peaks.extend([
            peak("avx2", "u8", 230.0),
            peak("avx2", "bf16", 60.0),
            peak("scalar", "u8", 20.0),
            peak("avx2", "s4", 900.0),
        ]);
        let of = |isa: &str, arithmetic| {
            Ceilings::of(
                &run.calibration,
                &run.fingerprint,
                &isa.into(),
                arithmetic,
                1,
            )
        };
        let [f32s, bf16, int8] = Arithmetic::ALL.map(|a| of("avx2", a).expect("calibrated"));
        assert_eq!([f32s.peak, bf16.peak, int8.peak], [118.0, 60.0, 230.0]);
        assert!(f32s.roofs == bf16.roofs && f32s.roofs == int8.roofs);
        assert_eq!(
            of("scalar", Arithmetic::Int8).expect("calibrated").peak,
            20.0
        );
        assert_eq!(
            of("auto", Arithmetic::Int8).expect("calibrated").peak,
            230.0
        );
        assert_eq!(of("scalar", Arithmetic::Bf16), None);
        // A layer of s8 has the peak of u8.
        let mut m = run.measurements[0].clone();
        m.problem = "--dt=s8:s8:s8 mb1ic64ih56oc64oh56kh3ph1".into();
        let own = Ceilings::of_measurement(&run, &m).expect("calibrated");
        assert_eq!((own.peak, own.arithmetic), (230.0, Arithmetic::Int8));
    }
}
