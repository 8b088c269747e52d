//! Refusals before any work: problems whose operands or plans don't fit into memory, and problems whose reference
//! would take hours.

use crate::machine::memory;
use crate::units;
use anyhow::{Result, bail};
use convroof_kernels::blocking::Caches;
use convroof_kernels::cost::Cost;
use convroof_kernels::{IsaToken, Plan, PlanCx, Problem, Unsupported, Variant};

/// Upper limit of a problem's bytes, however large the memory.
const LARGEST_BYTES: u128 = 16 << 30;

/// Upper limit of a problem's operations. The reference computes by definition in f64: this many take a core about an
/// hour.
const MOST_FLOPS: u64 = 4_000_000_000_000;

/// Refuses problems that don't fit into memory, and problems whose reference would take hours.
///
/// # Errors
/// When the problem's operands in all layouts are too large, or its operations too many.
pub fn refuse_huge(problem: &Problem) -> Result<()> {
    let elements = |dims: [usize; 4]| dims.iter().map(|&d| d as u128).product::<u128>();
    let weights = problem.weights_dims().map_or(0, elements);
    let floats = elements(problem.src_dims()) + 4 * elements(problem.dst_dims()) + 5 * weights;
    let bytes = floats * size_of::<f32>() as u128;
    let limit = LARGEST_BYTES.min(memory::available() as u128);
    if bytes > limit {
        bail!(
            "'{problem}' needs about {}: the limit is {}; choose a smaller layer or batch",
            units::bytes(bytes as f64),
            units::bytes(limit as f64)
        );
    }
    let flops = Cost::new(problem, 0).flops_nominal;
    if flops > MOST_FLOPS {
        bail!(
            "'{problem}' has {:.1e} operations: the limit is {:.0e}, since the reference would take hours; choose a smaller layer or batch",
            flops as f64,
            MOST_FLOPS as f64
        );
    }
    Ok(())
}

/// A variant's plan, if the available memory holds all that a run needs.
///
/// # Errors
/// When the variant can't do the problem, or there is not enough memory.
pub fn plan(
    variant: &Variant,
    isa: IsaToken,
    problem: &Problem,
    caches: &Caches,
    threads: usize,
) -> Result<Box<dyn Plan>, Unsupported> {
    let available = memory::available();
    let cx = PlanCx::new(isa, caches).with_threads(threads);
    let plan = variant
        .algorithm
        .plan(problem, &cx.with_table_limit(available))?;
    let needed = plan.spec().memory_bytes();
    // The tables are allocated already.
    let left = memory::available().saturating_add(plan.spec().table_bytes);
    if needed > left {
        return Err(Unsupported::new(format!(
            "takes {} of memory with its operands, but only {} are available",
            units::bytes(needed as f64),
            units::bytes(left as f64)
        )));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use convroof_kernels::{Isa, Registry};

    fn refused(text: &str) -> String {
        let problem = text.parse().expect("a problem");
        refuse_huge(&problem).expect_err("huge").to_string()
    }

    #[test]
    fn hours_of_reference_are_refused_with_the_limit() {
        let reason = refused("mb1ic128ih400oc128kh31ph15");
        assert!(
            reason.contains("5.0e12 operations") && reason.contains("4e12"),
            "{reason}"
        );
        assert!(refused("mb1ic1ih100000oc1oh100000kh1").contains("limit is"));
    }

    #[test]
    fn a_plan_that_does_not_fit_is_refused_with_what_there_is() {
        let registry = Registry::builtin();
        // Tensors of 16 TB each; all other buffers are small.
        let problem = "mb1000000ic16ih512oc16kh1".parse();
        let variant = registry.find(&"gemm-1x1/scalar/st".parse().expect("an id"));
        let isa = Isa::Scalar.detect().expect("scalar code runs everywhere");
        let plan = plan(
            &variant.expect("listed"),
            isa,
            &problem.expect("a problem"),
            &Caches::default(),
            1,
        );
        let reason = plan.err().expect("too much").to_string();
        assert!(reason.starts_with("takes 31250"), "{reason}");
    }
}
