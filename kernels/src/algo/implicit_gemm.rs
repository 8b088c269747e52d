//! Implicit GEMM on NHWC: the matrix product of explicit im2col, without its matrix. Rows are found through pointers to
//! pixels instead (Dukhan 2019, *The Indirect Convolution Algorithm*).
//!
//! out[n, y, x, k] = sum over r, s, c of in[n, y sh + r dh - top, x sw + s dw - left, c] * w[k, c, r, s]
//!
//! Convolutions of bf16, u8 and s8 are in `narrow.rs`, and those with small groups in `narrow_grouped.rs`. Images of few
//! channels are copied there, with the taps of a filter row beside each other.
//!
//! Its difference to `im2col` is the cost of the matrix. Its difference to `direct`, the same loop on NCHW16c, is the
//! gain of blocked channels.

use super::indirect::IndirectPlan;
use super::narrow;
use super::narrow_grouped::NarrowGroupedPlan;
use crate::cost::{Accuracy, Efficiency};
use crate::isa::Isa;
use crate::layout::CHANNEL_BLOCK;
use crate::plan::{Algorithm, AlgorithmMeta, Plan, PlanCx, Unsupported, f32_conv};
use crate::problem::{ConvShape, DType, Problem};
use crate::tensor::Layout;

/// Indirect convolution on contiguous channels.
#[derive(Debug)]
pub struct ImplicitGemm;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "implicit-gemm",
    summary: "indirect convolution on NHWC, nothing materialised, any kernel, stride, padding, dilation and groups; also bf16, u8, s8",
    isas: &Isa::ALL,
    accuracy: Accuracy::Sum,
};

impl Algorithm for ImplicitGemm {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        if problem.dtypes.src != DType::F32 {
            if let Some(plan) = NarrowGroupedPlan::new(problem, cx) {
                return Ok(Box::new(plan));
            }
            return narrow::plan(problem, cx);
        }
        cx.without_extension(DType::F32)?;
        let conv = f32_conv(problem)?;
        let plan = IndirectPlan::new(problem, conv, Layout::Nhwc, cx)?;
        Ok(Box::new(plan.with_efficiency(efficiency(conv))))
    }
}

/// Cost of a step from one tap to the next, in channels. The next tap's channels lie elsewhere, while `direct` reads
/// whole rows of a filter. Fitted to images, from `convroof tune` on Zen 3 (AVX2, one thread). With 16 channels the
/// step costs no measurable time.
const STEP_CHANNELS: f64 = 6.0;

/// Fractions of the ceilings, for the cost model of networks.
fn efficiency(conv: &ConvShape) -> Efficiency {
    let mut efficiency = Efficiency::TILE;
    if conv.c_in < CHANNEL_BLOCK {
        let channels = conv.c_in as f64;
        efficiency.of_peak = efficiency.of_peak * channels / (channels + STEP_CHANNELS);
    }
    efficiency
}
