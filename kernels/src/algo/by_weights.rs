//! Choice between two forms of a convolution of bytes, by its weights.
//!
//! `vpmaddubsw` of AVX2 and AVX-512 adds two products of bytes, and saturates the sum at 16 bits. Weights of 7 bits never reach
//! that limit. (Networks for CPUs without VNNI are quantised to such weights for this reason.) With them, unsigned bytes are
//! multiplied as they are, and signed ones as unsigned ones in a copy. With other weights, bytes are widened to 16 bits first,
//! which takes more instructions and a copy.

use crate::exec::Executor;
use crate::plan::{Params, Plan, PlanSpec, RunArgs};
use crate::tensor::{CacheLine, as_f32s, as_f32s_mut};

/// Plan for some weights only.
pub(super) trait OfSomeWeights: Plan {
    /// True if the packed weights are such.
    fn allows(&self, packed: &[CacheLine]) -> bool;
}

/// Plan that looks at the weights when it packs them.
pub(super) struct PlanByWeights<P> {
    spec: PlanSpec,
    wide: P,
    bytes: P,
}

impl<P: OfSomeWeights> PlanByWeights<P> {
    /// Choice between a plan for any weights, and one for weights that allow products of bytes. There is room for the tables of
    /// both.
    pub(super) fn new(wide: P, bytes: P) -> Self {
        let (any, few) = (wide.spec(), bytes.spec());
        let workspace = any.workspace_lines_per_worker;
        let spec = PlanSpec {
            // One more holds the choice.
            packed_lines: any.packed_lines.max(few.packed_lines) + 1,
            workspace_lines_per_worker: workspace.max(few.workspace_lines_per_worker),
            table_bytes: any.table_bytes + few.table_bytes,
            ..few.clone()
        };
        PlanByWeights { spec, wide, bytes }
    }

    /// Index of the packed float that isn't 0 if bytes are multiplied.
    fn choice(&self) -> usize {
        (self.spec.packed_lines - 1) * CacheLine::F32S
    }

    /// The plan that `prepare` chose.
    fn chosen(&self, packed: &[CacheLine]) -> &P {
        match as_f32s(packed)[self.choice()] != 0.0 {
            true => &self.bytes,
            false => &self.wide,
        }
    }
}

impl<P: OfSomeWeights> Plan for PlanByWeights<P> {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], exec: &dyn Executor) {
        self.bytes.prepare(params, packed, exec);
        let allowed = self.bytes.allows(packed);
        as_f32s_mut(packed)[self.choice()] = f32::from(u8::from(allowed));
        if !allowed {
            self.wide.prepare(params, packed, exec);
        }
    }

    fn prepare_factors(&self, factors: &[f32], packed: &mut [CacheLine]) {
        self.chosen(packed).prepare_factors(factors, packed);
    }

    fn run(&self, args: RunArgs<'_>) {
        args.assert_fit(&self.spec);
        self.chosen(args.packed).run(args);
    }
}
