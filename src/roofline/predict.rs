//! Model of a kernel's time, similar to ECM (Stengel, Treibig, Hager and Wellein 2015, *Quantifying performance
//! bottlenecks of stencil computations using the execution-cache-memory model*).
//!
//! ```text
//! T = start + sum over phases of max(T_arithmetic, T_loads + T_transfer)
//! ```
//!
//! - *start*: time of an empty run, in which tasks are handed to threads.
//! - *T_arithmetic*: executed operations at the peak of the layer's arithmetic.
//! - *T_loads*: loads of the register tiles from L1 at its measured read bandwidth. For the multiply-adds of one step, a
//!   tile loads a vector of each panel and a broadcast of each pixel.
//! - *T_transfer*: data from more distant levels, at the bandwidth of their level. Scratch between phases is
//!   transferred from the level that holds it.
//!
//! Loads and transfers share the path to the registers, so they don't overlap. Arithmetic overlaps with both. Most
//! kernels have one phase. Rates are measured and counts are modelled; nothing is fitted to the predicted layers.

use super::phases::evidence_of_phases;
use super::{Ceilings, Evidence};
use crate::record::{IsaName, Level, Measurement, Text};
use convroof_kernels::blocking::RegisterTile;
use convroof_kernels::layout::CHANNEL_BLOCK;
use convroof_kernels::phase::Phase;
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::problem::Op;
use convroof_kernels::{Isa, Registry};

/// Predicted time of a run, ns. None for a peer library, whose loops are unknown.
pub fn predict(m: &Measurement, evidence: &Evidence, ceilings: &Ceilings) -> Option<f64> {
    let IsaName::Isa(isa) = *m.variant.isa() else {
        return None;
    };
    let problem = m.problem.value()?;
    let l1 = ceilings.roofs.iter().find(|r| r.level == Level::L1)?;
    let phase_ns = |evidence: &Evidence, tiled: bool| {
        let arithmetic = evidence.flops / evidence.peak_gflops;
        let loaded = if tiled {
            tile_bytes(isa, ceilings.arithmetic, evidence)
        } else {
            // Loops over memory load each streamed byte once.
            evidence.bytes_read
        };
        let data = evidence.data_ns(ceilings);
        let transfer = if data.level == Some(Level::L1) {
            0.0
        } else {
            data.ns
        };
        arithmetic.max(loaded / l1.read + transfer)
    };
    let tiled = matches!(problem.op, Op::Conv(_)) && isa != Isa::Scalar && has_register_tile(m);
    let phases = evidence_of_phases(m, evidence.peak_gflops, ceilings);
    let total = if phases.is_empty() {
        phase_ns(evidence, tiled)
    } else {
        let of_phase = |(phase, evidence): &(&Text<Phase>, Evidence)| {
            phase_ns(evidence, tiled && phase.is(&Phase::Multiply))
        };
        phases.iter().map(of_phase).sum()
    };
    Some(ceilings.start_ns + total)
}

/// True if register tiles compute the products. An unknown algorithm counts as one with register tiles.
fn has_register_tile(m: &Measurement) -> bool {
    let algorithm = Registry::builtin().algorithm(m.variant.algorithm());
    algorithm.is_none_or(|a| a.has_register_tile())
}

/// Bytes that register tiles load for some operations.
fn tile_bytes(isa: Isa, arithmetic: Arithmetic, evidence: &Evidence) -> f64 {
    // A lane has 32 bits: an f32, two bf16 or 16-bit integers, or four bytes.
    let vector = (isa.lanes() * size_of::<u32>()) as f64;
    // An instruction multiplies and adds the elements of each lane, two operations for each. One step of a tile of P
    // pixels and V vectors has P V of them.
    let products = (isa.lanes() * arithmetic.group(isa)) as f64;
    let fmas = evidence.flops / (2.0 * products);
    let tile = RegisterTile::of(isa);
    let vectors = tile.blocks * CHANNEL_BLOCK / isa.lanes();
    let (p, v) = (tile.pixels as f64, vectors as f64);
    fmas * (p + v) / (p * v) * vector
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::roofline::place;

    #[test]
    fn tiles_load_as_many_bytes_for_each_word() {
        let m = &sample().measurements[0];
        let evidence = Evidence {
            time_ns: 1.0,
            peak_gflops: 1.0,
            flops: m.flops_executed as f64,
            bytes_read: 0.0,
            bytes_written: 0.0,
            working_set: 0,
            far: None,
        };
        let bytes = |isa, arithmetic| tile_bytes(isa, arithmetic, &evidence);
        // AVX2 widens bf16 to f32, and NEON bytes to 16 bits.
        let f32s = bytes(Isa::Avx2, Arithmetic::F32);
        assert_eq!(bytes(Isa::Avx2, Arithmetic::Bf16), f32s);
        assert_eq!(4.0 * bytes(Isa::Avx2, Arithmetic::Int8), f32s);
        assert_eq!(4.0 * bytes(Isa::AvxVnni, Arithmetic::Int8), f32s);
        let short = bytes(Isa::Neon, Arithmetic::F32);
        assert_eq!(2.0 * bytes(Isa::Neon, Arithmetic::Int8), short);
        let wide = bytes(Isa::Avx512, Arithmetic::F32);
        assert_eq!(2.0 * bytes(Isa::Avx512Bf16, Arithmetic::Bf16), wide);
    }

    #[test]
    fn a_layer_of_bytes_is_predicted_by_its_own_peak() {
        let mut run = sample();
        let int8 = crate::record::Peak {
            isa: Isa::AvxVnni.into(),
            dt: "u8".into(),
            gflops: 472.0,
            ..run.calibration.peaks[0].clone()
        };
        run.calibration.peaks.push(int8);
        let ns = |run: &crate::record::Run| {
            let m = &run.measurements[0];
            let ceilings = Ceilings::of_measurement(run, m);
            let placed = place(m, ceilings.as_ref()).expect("samples");
            placed.predicted_ns.expect("predicted")
        };
        let f32_ns = ns(&run);
        let m = &mut run.measurements[0];
        m.variant = "direct/avxvnni/st".into();
        m.problem = "--dt=u8:s8:u8 mb1ic64ih56oc64oh56kh3ph1".into();
        m.peak_gflops.iter_mut().for_each(|p| *p *= 4.0);
        (m.bytes_read, m.bytes_written) = (m.bytes_read / 4, m.bytes_written / 4);
        for phase in &mut m.phases {
            phase.bytes_read /= 4;
            phase.bytes_written /= 4;
        }
        let ratio = f32_ns / ns(&run);
        assert!((3.9..4.1).contains(&ratio), "{ratio}");
    }
}
