//! Quantisation, dequantisation, and conversions between f32 and bf16, on NHWC.

use super::pointwise_narrow::NarrowPointwise;
use crate::cost::Accuracy;
use crate::isa::Isa;
use crate::plan::{Algorithm, AlgorithmMeta, Plan, PlanCx, Unsupported};
use crate::problem::Problem;

/// Conversion to another element type.
#[derive(Debug)]
pub struct Convert;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "convert",
    summary: "quantisation, dequantisation and conversion of f32, bf16, u8 and s8, on NHWC",
    isas: &Isa::F32,
    accuracy: Accuracy::Exact,
};

impl Algorithm for Convert {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let plan = NarrowPointwise::of_conversion(problem, &cx.target()?)?;
        Ok(Box::new(plan))
    }
}
