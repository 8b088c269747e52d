//! What a plan should take, without measuring it: the roofline read backwards.
//!
//! A phase takes its executed flops over a part of the FMA peak. Bytes stream meanwhile: activations from the level that
//! holds the layer's own, packed weights from the level that holds the whole network's, since a run uses them once.
//! The larger of the two is the estimate, and what it takes to begin.

use crate::record::{Calibration, Fingerprint, Level};
use crate::roofline::Ceilings;
use convroof_kernels::Isa;
use convroof_kernels::layout::CHANNEL_BLOCK;
use convroof_kernels::plan::{Phase, PhaseCost, Plan};
use convroof_kernels::problem::{ConvShape, Op};
use convroof_kernels::tensor::{CacheLine, Layout, TensorDesc};
use std::collections::BTreeMap;

/// The part of the FMA peak that a phase reaches. Medians over the layers of five networks on AMD Zen 4, AVX-512
/// (results/amd-epyc-2c-8fa605/peers.json, `phases`).
fn part_of_peak(phase: Phase) -> f64 {
    match phase {
        Phase::Pack => 1.0,
        Phase::InputTransform => 0.25,
        Phase::Multiply => 0.93,
        Phase::InverseTransform => 0.22,
    }
}

/// The same for convolutions of one phase (direct .95, 1x1 .94), with what tells them apart where they compute the same:
/// medians over the layers of five networks, measured as a network has them (`convroof tune` on Zen 3, AVX2, one thread).
fn part_of_one_phase(algorithm: &str, conv: &ConvShape) -> f64 {
    const USUAL: f64 = 0.94;
    match algorithm {
        // Loops that the compiler vectorises or not.
        "direct-nchw" => 0.1,
        // Blocks of rows, made for windows: 1.13 times as long as the matrix product.
        "direct" if conv.kernel == [1, 1] => USUAL / 1.13,
        // A tap's channels are read apart from the next one's, which takes as long as six channels: 3 take 2.9 times as long
        // as in `direct`, whose filters have whole rows; 16 and more are not felt.
        "implicit-gemm" if conv.c_in < CHANNEL_BLOCK => {
            let channels = conv.c_in as f64;
            USUAL * channels / (channels + 6.0)
        }
        _ => USUAL,
    }
}

/// What part of that is left to products of which an output is the sum of several: where a register tile ends it adds and
/// stores sums, which takes as long as seven input channels (strassen-1x1 on Zen 3, AVX2, one thread: of its 7/8 of the
/// operations 64 channels gained nothing, 128 5 %, 256 and more 7 to 10 %).
fn part_of_short_sums(algorithm: &str, conv: &ConvShape) -> f64 {
    match algorithm {
        "strassen-1x1" => {
            let channels = (conv.c_in / 2) as f64;
            1.03 * channels / (channels + 7.0)
        }
        _ => 1.0,
    }
}

/// What part of memory's bandwidth weights come at that a register tile reads, where `fc` reads in four streams and has all
/// of it: the same five networks' fully connected layers took the tile 1.45 times as long.
const TILE_STREAM: f64 = 1.0 / 1.45;

/// What it takes to begin, nanoseconds: on one thread, and with each one more.
const BEGIN_NS: (f64, f64) = (500.0, 1500.0);

/// A machine's ceilings for a number of threads.
pub struct Model {
    by_isa: BTreeMap<Isa, Ceilings>,
    threads: usize,
}

impl Model {
    /// From what was calibrated for `threads` threads.
    pub fn new(calibration: &Calibration, machine: &Fingerprint, threads: usize) -> Self {
        let ceilings = |isa: &Isa| Ceilings::of(calibration, machine, isa.name(), threads);
        let by_isa = Isa::REAL
            .iter()
            .filter_map(|isa| Some((*isa, ceilings(isa)?)));
        Model {
            by_isa: by_isa.collect(),
            threads,
        }
    }

    /// Threads that it speaks of.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The ceilings of an instruction set.
    pub fn ceilings(&self, isa: Isa) -> Option<&Ceilings> {
        self.by_isa.get(&isa)
    }

    fn begin(&self) -> f64 {
        BEGIN_NS.0 + BEGIN_NS.1 * (self.threads - 1) as f64
    }

    /// Nanoseconds of a run. `network_bytes` are all packed weights of the network.
    pub fn plan_ns(&self, algorithm: &str, isa: Isa, plan: &dyn Plan, network_bytes: u64) -> f64 {
        let (spec, phases) = (plan.spec(), plan.phases());
        let Some(ceilings) = self.by_isa.get(&isa) else {
            return f64::INFINITY;
        };
        let (peak, executed) = (ceilings.peak, spec.cost.flops_executed as f64);
        let arithmetic = match &spec.problem.op {
            _ if !phases.is_empty() => {
                let of_phase = |p: &PhaseCost| {
                    // A copy reads and writes at the speed of where its copy stays.
                    let copied = match p.phase {
                        Phase::Pack => ceilings.home(p.scratch_written),
                        _ => None,
                    };
                    let copying = copied.map_or(0.0, |r| p.scratch_written as f64 / r.write);
                    let part = match (p.phase, &spec.problem.op) {
                        (Phase::Multiply, Op::Conv(conv)) => {
                            part_of_peak(p.phase) * part_of_short_sums(algorithm, conv)
                        }
                        _ => part_of_peak(p.phase),
                    };
                    copying + p.flops as f64 / (part * peak)
                };
                phases.iter().map(of_phase).sum()
            }
            Op::Conv(conv) => executed / (part_of_one_phase(algorithm, conv) * peak),
            // Poolings and the like compare and add, one element a lane, and read more often than they compute.
            _ => executed / (0.25 * peak),
        };
        let packed = (spec.packed_lines * CacheLine::BYTES) as u64;
        let weights = spec
            .problem
            .weights_dims()
            .map_or(0, |dims| 4 * dims.iter().product::<usize>() as u64);
        let read = spec.cost.bytes_read.saturating_sub(weights) as f64;
        let written = spec.cost.bytes_written as f64;
        let own = ceilings.home((read + written) as u64);
        let far = ceilings.home(network_bytes.max(packed));
        let activations = own.map_or(0.0, |r| read / r.read + written / r.write);
        let stream = match far {
            Some(r) if r.level == Level::Dram && algorithm != "fc" => r.read * TILE_STREAM,
            Some(r) => r.read,
            None => f64::INFINITY,
        };
        let streamed = packed as f64 / stream;
        // Scalar code moves an element at a time.
        let narrow = if isa == Isa::Scalar { 4.0 } else { 1.0 };
        // Planes have rows that are no multiple of a vector: half of the speed, by the same record.
        let planes = if spec.layouts.dst == Layout::Nchw {
            2.0
        } else {
            1.0
        };
        f64::max(arithmetic, narrow * (planes * activations + streamed)) + self.begin()
    }

    /// Nanoseconds of a reorder, or of a copy: read and written, each at half of its bandwidth.
    pub fn reorder_ns(&self, desc: TensorDesc) -> f64 {
        let bytes = desc.bytes() as f64;
        let ceilings = self
            .by_isa
            .values()
            .max_by(|a, b| a.peak.total_cmp(&b.peak));
        let home = ceilings.and_then(|c| c.home(2 * bytes as u64));
        2.0 * home.map_or(0.0, |r| bytes / r.read + bytes / r.write) + self.begin()
    }
}
