//! A model of a plan's time: the roofline, used to predict instead of to judge.
//!
//! The arithmetic of a phase takes its executed flops over a fraction of the FMA peak. Its algorithm states the
//! fraction ([`Efficiency`](convroof_kernels::cost::Efficiency)). Bytes are streamed at the same time. Activations
//! come from the cache level that holds the layer's own. Packed weights come from the level that holds the whole
//! network's, since a run uses them once. The estimate is the larger of both times, plus the measured time to start
//! the workers.

use crate::record::{Calibration, Fingerprint, Level};
use crate::roofline::Ceilings;
use convroof_kernels::Isa;
use convroof_kernels::plan::{Phase, PhaseCost, Plan};
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::tensor::{Layout, TensorDesc};
use std::collections::BTreeMap;

/// Time of a run in a network that isn't in its work, nanoseconds: code and tables that other layers displaced. The time
/// to start the threads comes on top.
const RUN_NS: f64 = 500.0;

/// A machine's ceilings for a number of threads.
pub struct Model {
    by_isa: BTreeMap<Isa, Ceilings>,
    threads: usize,
}

impl Model {
    /// A model from the ceilings that were calibrated for `threads` threads.
    pub fn new(calibration: &Calibration, machine: &Fingerprint, threads: usize) -> Self {
        let ceilings = |isa: &Isa| {
            let (isa, arithmetic) = ((*isa).into(), Arithmetic::F32);
            Ceilings::of(calibration, machine, &isa, arithmetic, threads)
        };
        let by_isa = Isa::REAL
            .iter()
            .filter_map(|isa| Some((*isa, ceilings(isa)?)));
        Model {
            by_isa: by_isa.collect(),
            threads,
        }
    }

    /// Number of threads of the estimates.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The ceilings of an instruction set.
    pub fn ceilings(&self, isa: Isa) -> Option<&Ceilings> {
        self.by_isa.get(&isa)
    }

    fn begin(&self) -> f64 {
        let start = self.by_isa.values().next().map_or(0.0, |c| c.start_ns);
        RUN_NS + start
    }

    /// Estimated nanoseconds of a run. `network_bytes` are the packed weights of all layers.
    pub fn plan_ns(&self, isa: Isa, plan: &dyn Plan, network_bytes: u64) -> f64 {
        let (spec, phases) = (plan.spec(), plan.phases());
        let Some(ceilings) = self.by_isa.get(&isa) else {
            return f64::INFINITY;
        };
        let (peak, executed) = (ceilings.peak, spec.cost.flops_executed as f64);
        let arithmetic = if phases.is_empty() {
            executed / (spec.efficiency.of_peak * peak)
        } else {
            let of_phase = |p: &PhaseCost| {
                // A copy is bound by the memory level that holds it.
                let copied = match p.phase {
                    Phase::Pack => ceilings.home(p.scratch_written),
                    _ => None,
                };
                let copying = copied.map_or(0.0, |r| p.scratch_written as f64 / r.write);
                copying + p.flops as f64 / (p.of_peak * peak)
            };
            phases.iter().map(of_phase).sum()
        };
        let packed = spec.packed_bytes() as u64;
        let weights = spec.problem.weights_bytes();
        let read = spec.cost.bytes_read.saturating_sub(weights) as f64;
        let written = spec.cost.bytes_written as f64;
        let own = ceilings.home((read + written) as u64);
        let far = ceilings.home(network_bytes.max(packed));
        let activations = own.map_or(0.0, |r| r.ns(read, written));
        let stream = match far {
            Some(r) if r.level == Level::Dram => r.read * spec.efficiency.of_dram,
            Some(r) => r.read,
            None => f64::INFINITY,
        };
        let streamed = packed as f64 / stream;
        // Scalar code moves one element per instruction.
        let narrow = if isa == Isa::Scalar { 4.0 } else { 1.0 };
        // Rows of NCHW are no multiple of a vector, which about halves the speed.
        let planes = if spec.layouts.dst == Layout::Nchw {
            2.0
        } else {
            1.0
        };
        f64::max(arithmetic, narrow * (planes * activations + streamed)) + self.begin()
    }

    /// Estimated nanoseconds of a reorder or a copy: reads and writes, each at half of its bandwidth.
    pub fn reorder_ns(&self, desc: TensorDesc) -> f64 {
        let bytes = desc.bytes() as f64;
        let ceilings = self
            .by_isa
            .values()
            .max_by(|a, b| a.peak.total_cmp(&b.peak));
        let home = ceilings.and_then(|c| c.home(2 * bytes as u64));
        2.0 * home.map_or(0.0, |r| r.ns(bytes, bytes)) + self.begin()
    }
}
