//! How long should it take? A model in the manner of ECM (Stengel, Treibig, Hager and Wellein 2015, *Quantifying
//! performance bottlenecks of stencil computations using the execution-cache-memory model*).
//!
//! ```text
//! T = start + sum over phases of max(T_arithmetic, T_loads + T_transfer)
//! ```
//!
//! *T_arithmetic* is executed flops at the FMA peak, *T_loads* what the register tiles load from L1: a vector of
//! each panel and a broadcast of each pixel for a step's FMAs, at the rate at which L1 was read; *T_transfer* what
//! has to come from farther away, at the bandwidth of where it is. Most kernels have one phase; what others leave each
//! other is transferred from where their scratch is. Loads and transfers share the path to the
//! registers and don't overlap, arithmetic overlaps with both. *start* is what a run takes that does nothing: tasks
//! handed to threads. Rates are measured, counts are modelled: nothing is fitted to the layers that are predicted.

use super::phases::evidence_of_phases;
use super::{Ceilings, Evidence};
use crate::record::{IsaName, Level, Measurement, Text};
use convroof_kernels::blocking::RegisterTile;
use convroof_kernels::layout::CHANNEL_BLOCK;
use convroof_kernels::phase::Phase;
use convroof_kernels::problem::Op;
use convroof_kernels::{Isa, Registry};

/// Predicted nanoseconds of a run. None for somebody else's library, of whose loops nothing is known.
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
            // Loops over memory: what is streamed is loaded once.
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

/// True if register tiles compute the products. An algorithm that this program doesn't know is taken for one that has them.
fn has_register_tile(m: &Measurement) -> bool {
    let algorithm = Registry::builtin().algorithm(m.variant.algorithm());
    algorithm.is_none_or(|a| a.has_register_tile())
}

/// Bytes that register tiles load for some operations.
fn tile_bytes(isa: Isa, evidence: &Evidence) -> f64 {
    let vector = (isa.lanes() * size_of::<f32>()) as f64;
    // An FMA is two operations a lane; a step of the tile is P V of them for V vectors and P broadcasts.
    let fmas = evidence.flops / (2.0 * isa.lanes() as f64);
    let tile = RegisterTile::of(isa);
    let vectors = tile.blocks * CHANNEL_BLOCK / isa.lanes();
    let (p, v) = (tile.pixels as f64, vectors as f64);
    fmas * (p + v) / (p * v) * vector
}
