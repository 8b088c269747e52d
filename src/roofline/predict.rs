//! Model of a kernel's time, similar to ECM (Stengel, Treibig, Hager and Wellein 2015, *Quantifying performance
//! bottlenecks of stencil computations using the execution-cache-memory model*).
//!
//! ```text
//! T = start + sum over phases of max(T_arithmetic, T_loads + T_transfer)
//! ```
//!
//! - *start*: time of an empty run, in which tasks are handed to threads.
//! - *T_arithmetic*: executed operations at the FMA peak.
//! - *T_loads*: loads of the register tiles from L1 at its measured read bandwidth. For the FMAs of one step, a tile
//!   loads a vector of each panel and a broadcast of each pixel.
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
            tile_bytes(isa, evidence)
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
fn tile_bytes(isa: Isa, evidence: &Evidence) -> f64 {
    let vector = (isa.lanes() * size_of::<f32>()) as f64;
    // An FMA is two operations per lane. One step of a tile of P pixels and V vectors has P V FMAs.
    let fmas = evidence.flops / (2.0 * isa.lanes() as f64);
    let tile = RegisterTile::of(isa);
    let vectors = tile.blocks * CHANNEL_BLOCK / isa.lanes();
    let (p, v) = (tile.pixels as f64, vectors as f64);
    fmas * (p + v) / (p * v) * vector
}
