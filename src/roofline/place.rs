//! Positions of measurements under the roofs of their machine.

use super::predict::predict;
use super::{Ceilings, Evidence, Far, Judgement, judge, nearest};
use crate::record::{CacheState, Level, Measurement};
use crate::stats::Summary;
use convroof_kernels::Problem;
use convroof_kernels::instance::Cold;

/// A measurement under its roofs.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Times of a run, ns.
    pub time: Summary,
    /// Peak of the same rounds in the layer's arithmetic, 10^9 operations per second.
    pub peak: f64,
    /// Nominal GFLOP/s.
    pub gflops_nominal: f64,
    /// Executed GFLOP/s.
    pub gflops_executed: f64,
    /// Compulsory bytes.
    pub bytes: u64,
    /// Compulsory bytes per time, GB/s.
    pub gbps: f64,
    /// Executed FLOP per compulsory byte.
    pub intensity: f64,
    /// Nominal FLOP per compulsory byte.
    pub intensity_nominal: f64,
    /// Attained fraction of the lower of two roofs: the peak, and the bandwidth of the level that holds the data.
    pub roof_fraction: f64,
    /// The verdict; none without ceilings for this instruction set, arithmetic and number of threads.
    pub judgement: Option<Judgement>,
    /// Time that the model predicts, ns; none for a peer library.
    pub predicted_ns: Option<f64>,
}

/// Places a measurement; none if it has no samples.
pub fn place(m: &Measurement, ceilings: Option<&Ceilings>) -> Option<Placed> {
    let time = Summary::of(&m.samples_ns).filter(|t| t.median > 0.0)?;
    let peak = crate::stats::median(&m.peak_gflops)
        .or(ceilings.map(|c| c.peak))
        .unwrap_or(f64::NAN);
    let bytes = m.bytes_read + m.bytes_written;
    let evidence = Evidence {
        time_ns: time.median,
        peak_gflops: peak,
        flops: m.flops_executed as f64,
        bytes_read: (m.bytes_read + packing_excess(m)) as f64,
        bytes_written: m.bytes_written as f64,
        working_set: m.working_set_bytes,
        far: ceilings.and_then(|c| far(m, c)),
    };
    let judgement = ceilings.map(|c| judge(&evidence, c));
    let predicted_ns = ceilings.and_then(|c| predict(m, &evidence, c));
    let roof_fraction = judgement.as_ref().map_or(f64::NAN, Judgement::explained);
    Some(Placed {
        peak,
        gflops_nominal: m.flops_nominal as f64 / time.median,
        gflops_executed: m.flops_executed as f64 / time.median,
        bytes,
        gbps: bytes as f64 / time.median,
        intensity: m.flops_executed as f64 / bytes as f64,
        intensity_nominal: m.flops_nominal as f64 / bytes as f64,
        roof_fraction,
        judgement,
        predicted_ns,
        time,
    })
}

/// Bytes that a run finds cold, and the level that they come from.
fn far(m: &Measurement, ceilings: &Ceilings) -> Option<Far> {
    let memory = ceilings.roofs.iter().find(|r| r.level == Level::Dram)?;
    match m.cache.value()? {
        CacheState::Warm => None,
        CacheState::Cold(Cold::Weights) => {
            let read = m.cold_read.as_ref()?;
            let gbps = read.bytes as f64 / crate::stats::median(&read.ns)?;
            Some(Far {
                bytes: read.bytes as f64,
                level: nearest(ceilings, gbps)?,
                gbps,
            })
        }
        CacheState::Cold(Cold::Everything) => Some(Far {
            bytes: (m.bytes_read + packing_excess(m)) as f64,
            level: Level::Dram,
            gbps: memory.read,
        }),
    }
}

/// Bytes that packing adds to the weights.
fn packing_excess(m: &Measurement) -> u64 {
    let plain = m.problem.value().map_or(0, Problem::weights_bytes);
    m.packed_bytes.saturating_sub(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::roofline::Verdict;

    fn ceilings() -> Ceilings {
        let run = sample();
        Ceilings::of_measurement(&run, &run.measurements[0]).expect("calibrated")
    }

    #[test]
    fn a_fully_connected_layer_is_bound_by_its_weights() {
        let mut m = sample().measurements.remove(0);
        m.problem = "mb1ic2048ih1oc1000oh1kh1ph0".into();
        m.samples_ns = vec![1.8e5; 5];
        (m.flops_nominal, m.flops_executed) = (4_096_000, 4_096_000);
        (m.bytes_read, m.bytes_written) = (8_204_192, 4_000);
        (m.packed_bytes, m.working_set_bytes) = (8_200_000, 8_300_000);
        let placed = place(&m, Some(&ceilings())).expect("samples");
        let judgement = placed.judgement.expect("ceilings");
        assert_eq!(judgement.verdict, Verdict::L3);
        assert!(judgement.reason.contains("from L3"), "{}", judgement.reason);
        assert!(placed.intensity < 0.51);
    }

    #[test]
    fn a_direct_3x3_is_bound_by_arithmetic() {
        let m = &sample().measurements[0];
        let placed = place(m, Some(&ceilings())).expect("samples");
        assert_eq!(
            placed.judgement.expect("ceilings").verdict,
            Verdict::Compute
        );
        assert!(placed.roof_fraction > 0.9 && placed.roof_fraction < 1.0);
    }
}
