//! Implicit GEMM on NHWC: the product that explicit im2col would make, without the matrix. Each row is
//! found through a pointer to its pixel instead (Dukhan 2019, *The Indirect Convolution Algorithm*).
//!
//! out[n, y, x, k] = sum over r, s, c of in[n, y sh + r dh - top, x sw + s dw - left, c] * w[k, c, r, s]
//!
//! What materialising costs is its distance from `im2col`; what blocked channels gain, its distance from
//! `direct`, which is the same loop on NCHW16c.

use super::indirect::IndirectPlan;
use crate::cost::{Accuracy, Efficiency};
use crate::isa::Isa;
use crate::layout::CHANNEL_BLOCK;
use crate::plan::{Algorithm, AlgorithmMeta, Plan, PlanCx, Unsupported, f32_conv};
use crate::problem::{ConvShape, Problem};
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
        let plan = IndirectPlan::new(problem, conv, Layout::Nhwc, cx)?;
        Ok(Box::new(plan.with_efficiency(efficiency(conv))))
    }
}

/// Channels that take as long as the step from a tap to the next, whose channels lie elsewhere: `direct` has whole rows of
/// a filter instead. Fitted to images, by `convroof tune` on Zen 3 (AVX2, one thread); with 16 channels it is not felt.
const STEP_CHANNELS: f64 = 6.0;

/// Fractions of the ceilings, which the cost model of networks assumes.
fn efficiency(conv: &ConvShape) -> Efficiency {
    let mut efficiency = Efficiency::TILE;
    if conv.c_in < CHANNEL_BLOCK {
        let channels = conv.c_in as f64;
        efficiency.of_peak = efficiency.of_peak * channels / (channels + STEP_CHANNELS);
    }
    efficiency
}
