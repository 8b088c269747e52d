//! The phases of a run under the roofs, each for itself: a Winograd layer can be bound by arithmetic in the middle
//! and by data at both ends.
//!
//! A phase streams operands, from the level that holds the layer's, and scratch that another phase left or finds,
//! from the level that holds all workers' scratch. A bound is the sum of both.

use super::{Ceilings, Evidence, Far, Judgement, Verdict, judge};
use crate::record::{Measurement, PhaseTime, Text};
use convroof_kernels::phase::Phase;
use serde::Serialize;

/// A phase in its place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlacedPhase {
    /// Its name.
    pub phase: Text<Phase>,
    /// Its time in one run, the mean over the workers.
    pub ns: f64,
    /// Of the time of all phases.
    pub share: f64,
    /// Operations executed.
    pub flops: u64,
    /// Bytes streamed, of operands and scratch, both ways.
    pub bytes: u64,
    /// Operations executed a second, 10^9.
    pub gflops: f64,
    /// Of the FMA peak.
    pub fraction_of_peak: f64,
    /// Bytes streamed a second, 10^9.
    pub gbps: f64,
    /// Operations for each byte streamed.
    pub intensity: f64,
    /// What bounds it: the roofline's word alone.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub reason: String,
}

impl PlacedPhase {
    /// Whether it has a place in a picture: one that computes nothing has none on logarithmic axes.
    pub fn drawn(&self) -> bool {
        self.flops > 0 && self.bytes > 0
    }
}

/// The phases of a measurement. Without ceilings, or of a record that lacks their bytes, they are undecided.
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

/// What was seen of each phase, and its name; nothing of a record that lacks their bytes, or a part of them.
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

/// What was seen of a phase: scratch is near, operands are as far as the layer's working set makes them.
fn evidence(p: &PhaseTime, m: &Measurement, peak: f64, ceilings: &Ceilings) -> Evidence {
    let [read, written] = [p.bytes_read, p.bytes_written].map(|b| b as f64);
    let far = ceilings.home(m.working_set_bytes).map(|home| Far {
        bytes: read + written,
        level: home.level,
        gbps: (read + written) / (read / home.read + written / home.write),
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
        let ceilings = Ceilings::of(&run.calibration, &run.fingerprint, &"avx2".into(), 1);
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
            // 1e6 flops at 118 GFLOP/s are 8 us, 2 MB at L3's bandwidth and 3 MB to L2 some 70.
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
