//! Phases of a run, each under its own roofs. A Winograd layer can be compute bound in the middle and bandwidth bound
//! at both ends.
//!
//! A phase streams operands and scratch. Operands come from the level that holds those of the layer. Scratch comes from
//! the level that holds the scratch of all workers. The data bound is the sum of both.

use super::{Ceilings, Evidence, Far, Judgement, Verdict, judge};
use crate::record::{Measurement, PhaseTime, Text};
use convroof_kernels::phase::Phase;
use serde::Serialize;

/// A phase under its roofs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlacedPhase {
    /// Name of the phase.
    pub phase: Text<Phase>,
    /// Time in one run, ns; the mean over the workers.
    pub ns: f64,
    /// Fraction of the time of all phases.
    pub share: f64,
    /// Executed operations.
    pub flops: u64,
    /// Streamed bytes: operands and scratch, read and written.
    pub bytes: u64,
    /// Executed operations per time, GFLOP/s.
    pub gflops: f64,
    /// `gflops` as a fraction of the peak in the layer's arithmetic.
    pub fraction_of_peak: f64,
    /// Streamed bytes per time, GB/s.
    pub gbps: f64,
    /// Executed operations per streamed byte.
    pub intensity: f64,
    /// The bound, from the roofline alone.
    pub verdict: Verdict,
    /// Reason, in a sentence.
    pub reason: String,
}

impl PlacedPhase {
    /// True if a plot can show it: a logarithmic axis has no place for zero operations or bytes.
    pub fn drawn(&self) -> bool {
        self.flops > 0 && self.bytes > 0
    }
}

/// Phases of a measurement. They are undecided without ceilings, or if the record lacks their bytes.
pub fn place_phases(m: &Measurement, peak: f64, ceilings: Option<&Ceilings>) -> Vec<PlacedPhase> {
    let all: f64 = m.phases.iter().map(|p| p.ns).sum();
    let placed = m.phases.iter().filter(|p| p.ns > 0.0).map(|p| {
        let bytes = p.bytes_read + p.bytes_written + p.scratch_read + p.scratch_written;
        let found = ceilings
            .filter(|_| bytes > 0)
            .map(|c| judge(&evidence(p, m, peak, c), c));
        let (verdict, reason) = match found {
            Some(Judgement {
                verdict, reason, ..
            }) => (verdict, reason),
            None => (
                Verdict::Undecided,
                "its bytes or the machine's ceilings are not in the record".into(),
            ),
        };
        PlacedPhase {
            phase: p.phase.clone(),
            ns: p.ns,
            share: p.ns / all,
            flops: p.flops,
            bytes,
            gflops: p.flops as f64 / p.ns,
            fraction_of_peak: p.flops as f64 / p.ns / peak,
            gbps: bytes as f64 / p.ns,
            intensity: p.flops as f64 / bytes.max(1) as f64,
            verdict,
            reason,
        }
    });
    placed.collect()
}

/// Evidence and name of each phase; empty if the record lacks bytes of some phase.
pub(super) fn evidence_of_phases<'m>(
    m: &'m Measurement,
    peak: f64,
    ceilings: &Ceilings,
) -> Vec<(&'m Text<Phase>, Evidence)> {
    let known = |p: &PhaseTime| p.bytes_read + p.scratch_read > 0;
    if !m.phases.iter().all(known) {
        return Vec::new();
    }
    let of = |p: &'m PhaseTime| (&p.phase, evidence(p, m, peak, ceilings));
    m.phases.iter().map(of).collect()
}

/// Evidence of a phase. Scratch is near; operands come from the level that the layer's working set fits in.
fn evidence(p: &PhaseTime, m: &Measurement, peak: f64, ceilings: &Ceilings) -> Evidence {
    let [read, written] = [p.bytes_read, p.bytes_written].map(|b| b as f64);
    let far = ceilings.home(m.working_set_bytes).map(|home| Far {
        bytes: read + written,
        level: home.level,
        gbps: (read + written) / home.ns(read, written),
    });
    let far = far.filter(|far| far.bytes > 0.0);
    Evidence {
        time_ns: p.ns,
        peak_gflops: peak,
        flops: p.flops as f64,
        bytes_read: p.scratch_read as f64 + far.map_or(0.0, |far| far.bytes),
        bytes_written: p.scratch_written as f64,
        working_set: m.workspace_bytes + far.map_or(0, |far| far.bytes as u64),
        far,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    #[test]
    fn each_phase_has_its_own_verdict() {
        let run = sample();
        let ceilings = Ceilings::of_measurement(&run, &run.measurements[0]);
        let mut m = run.measurements[0].clone();
        (m.workspace_bytes, m.working_set_bytes) = (900 << 10, 8 << 20);
        let phase = |name: &str, ns, flops, bytes_read, scratch_written| PhaseTime {
            phase: name.into(),
            ns,
            flops,
            bytes_read,
            bytes_written: 0,
            scratch_read: 0,
            scratch_written,
        };
        m.phases = vec![
            // 8 us: 1e6 operations at 118 GFLOP/s. About 70 us: 2 MiB at L3's bandwidth and 3 MiB at L2's.
            phase("input_transform", 1e5, 1_000_000, 2 << 20, 3 << 20),
            phase("multiply", 1e6, 110_000_000, 1 << 10, 0),
        ];
        let placed = place_phases(&m, 118.0, ceilings.as_ref());
        assert_eq!(placed[1].verdict, Verdict::Compute, "{}", placed[1].reason);
        assert_eq!(placed[0].verdict, Verdict::L3, "{}", placed[0].reason);
        assert!((placed[0].share - 1.0 / 11.0).abs() < 1e-9);
        assert!(placed[0].intensity < 1.0 && placed[1].fraction_of_peak > 0.9);
        let blind = place_phases(&m, 118.0, None);
        assert!(blind.iter().all(|p| p.verdict == Verdict::Undecided));
    }
}
