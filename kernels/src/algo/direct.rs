//! Direct convolution on NCHW16c: every tap read where it lies in the input, nothing materialised.
//!
//! out[n, k, y, x] = sum over c, r, s of in[n, c, y sh + r dh - top, x sw + s dw - left] * w[k, c, r, s]
//!
//! Accumulators stay in registers over the whole sum. Pixels of consecutive rows are joined to fill
//! register tiles; taps in the padding are skipped where a whole tile has them, and tiles are cut so that
//! this is nearly everywhere (`micro/indirection.rs`). Images of up to four channels are taken as
//! plain NCHW ([`super::image`]); groups of 1, 2, 4 or 8 channels have a kernel of their own
//! (`micro/grouped.rs`).

use super::grouped::GroupedPlan;
use super::image::{ImagePlan, suits};
use super::indirect::IndirectPlan;
use crate::cost::{Accuracy, Efficiency};
use crate::isa::Isa;
use crate::plan::{Algorithm, AlgorithmMeta, Plan, PlanCx, Unsupported, f32_conv};
use crate::problem::{ConvShape, Problem};
use crate::tensor::Layout;

/// Direct convolution on blocked channels.
#[derive(Debug)]
pub struct Direct;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "direct",
    summary: "direct convolution on NCHW16c (images of up to 4 channels from NCHW), any kernel, stride, padding, dilation and groups",
    isas: &Isa::ALL,
    accuracy: Accuracy::Sum,
};

impl Algorithm for Direct {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        let conv = f32_conv(problem)?;
        if suits(conv).is_ok() {
            return Ok(Box::new(ImagePlan::new(problem, conv, cx)?));
        }
        if GroupedPlan::suits(conv) {
            let plan = GroupedPlan::new(problem, conv, cx);
            return Ok(Box::new(plan.with_efficiency(efficiency(conv))));
        }
        let plan = IndirectPlan::new(problem, conv, Layout::NCHW16C, cx)?;
        Ok(Box::new(plan.with_efficiency(efficiency(conv))))
    }
}

/// Time of a 1x1 convolution over that of the plain matrix product: blocks of rows are made for windows. Median over the
/// layers of five networks, by `convroof tune` on Zen 3 (AVX2, one thread).
const OVER_PRODUCT: f64 = 1.13;

/// Fractions of the ceilings, which the cost model of networks assumes.
fn efficiency(conv: &ConvShape) -> Efficiency {
    let mut efficiency = Efficiency::TILE;
    if conv.kernel == [1, 1] {
        efficiency.of_peak /= OVER_PRODUCT;
    }
    efficiency
}
