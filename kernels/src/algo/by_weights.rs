//! Choice between two forms of a convolution of bytes, by its weights.
//!
//! `vpmaddubsw` of AVX2 and AVX-512 adds two products of bytes, and saturates the sum at 16 bits. Weights of 7 bits never reach
//! that limit. (Networks for CPUs without VNNI are quantised to such weights for this reason.) With them bytes are multiplied as
//! they are. With others they are widened to 16 bits first, which takes more instructions and a copy.

use super::narrow::NarrowPlan;
use crate::exec::Executor;
use crate::plan::{Params, Plan, PlanSpec, RunArgs};
use crate::tensor::{CacheLine, as_f32s, as_f32s_mut};

/// Plan that looks at the weights when it packs them.
pub(super) struct PlanByWeights {
    spec: PlanSpec,
    wide: NarrowPlan,
    bytes: NarrowPlan,
}

impl PlanByWeights {
    /// Choice between a plan for any weights, and one for weights that allow products of bytes.
    pub(super) fn new(wide: NarrowPlan, bytes: NarrowPlan) -> Self {
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
    fn chosen(&self, packed: &[CacheLine]) -> &NarrowPlan {
        match as_f32s(packed)[self.choice()] != 0.0 {
            true => &self.bytes,
            false => &self.wide,
        }
    }
}

impl Plan for PlanByWeights {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], exec: &dyn Executor) {
        self.bytes.prepare(params, packed, exec);
        let allowed = self.bytes.allows_bytes(packed);
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

#[cfg(test)]
mod tests {
    use crate::algo::implicit_gemm::ImplicitGemm;
    use crate::blocking::Caches;
    use crate::conformance::Data;
    use crate::data::Fill;
    use crate::exec::Serial;
    use crate::instance::Instance;
    use crate::plan::{Algorithm, PlanCx};
    use crate::problem::{Operands, Problem};
    use crate::{Isa, reference};

    /// The largest output of one weight's change is exact on both sides of the limit, where saturated sums would not be.
    #[test]
    fn sums_are_exact_with_weights_at_the_limit_and_beyond() {
        let text = "--dt=u8:s8:s32 mb1ic6ih5oc17oh3kh3ph0";
        let problem: Problem = text.parse().expect("a problem");
        let caches = Caches::default();
        for isa in Isa::ALL.into_iter().filter_map(Isa::detect) {
            for (at, weight) in [
                (0, 64.0),
                (0, 65.0),
                (53, -65.0),
                (900, 127.0),
                (917, -128.0),
            ] {
                let data = Data::new(&problem, Fill::Uniform, 1);
                let src = vec![255.0; data.operands().src.len()];
                let mut weights = vec![64.0; data.operands().weights.len()];
                weights[at] = weight;
                let operands = Operands {
                    src: &src,
                    weights: &weights,
                    ..data.operands()
                };
                let plan = ImplicitGemm.plan(&problem, &PlanCx::new(isa, &caches));
                let mut instance = Instance::new(plan.expect("a plan")).expect("memory");
                instance.load(operands, &Serial);
                instance.run(&Serial);
                let expected = reference::compute(&problem, operands, &Serial);
                let output = instance.exact_output_nchw(&Serial).expect("memory");
                assert!(output == expected, "{}: weight {weight}", isa.isa());
            }
        }
    }
}
