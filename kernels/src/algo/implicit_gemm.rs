//! Implicit GEMM on NHWC: the product that explicit im2col would make, without the matrix. Each row is
//! found through a pointer to its pixel instead (Dukhan 2019, *The Indirect Convolution Algorithm*).
//!
//! out[n, y, x, k] = sum over r, s, c of in[n, y sh + r dh - top, x sw + s dw - left, c] * w[k, c, r, s]
//!
//! What materialising costs is its distance from `im2col`; what blocked channels gain, its distance from
//! `direct`, which is the same loop on NCHW16c.

use super::indirect::IndirectPlan;
use crate::cost::Accuracy;
use crate::isa::Isa;
use crate::plan::{Algorithm, AlgorithmMeta, Plan, PlanCx, Unsupported, f32_conv};
use crate::problem::Problem;
use crate::tensor::Layout;

/// Indirect convolution on contiguous channels.
#[derive(Debug)]
pub struct ImplicitGemm;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "implicit-gemm",
    summary: "indirect convolution on NHWC, nothing materialised, any kernel, stride, padding, dilation and groups",
    isas: &Isa::ALL,
    accuracy: Accuracy::Sum,
};

impl Algorithm for ImplicitGemm {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        let conv = f32_conv(problem)?;
        Ok(Box::new(IndirectPlan::new(
            problem,
            conv,
            Layout::Nhwc,
            cx,
        )?))
    }
}
