//! Direct convolution on NCHW16c. Taps are read from the input itself, without a packed copy.
//!
//! out[n, k, y, x] = sum over c, r, s of in[n, c, y sh + r dh - top, x sw + s dw - left] * w[k, c, r, s]
//!
//! Accumulators stay in registers over the whole sum. Pixels of consecutive rows are joined to fill register tiles. A
//! tap is skipped where it lies in the padding for a whole tile. Tile boundaries are chosen so that this covers nearly
//! all padding (`micro/indirection.rs`). Images of up to four channels are read as plain NCHW ([`super::image`]).
//! Groups of 1, 2, 4 or 8 channels have their own kernel (`micro/grouped.rs`).

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
    isas: &Isa::F32,
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

/// Time of a 1x1 convolution / time of the plain matrix product. It is above 1 because blocks of rows are chosen for
/// windows. It is the median over the layers of five networks, from `convroof tune` on Zen 3 (AVX2, one thread).
const OVER_PRODUCT: f64 = 1.13;

/// Fractions of the ceilings, for the cost model of networks.
fn efficiency(conv: &ConvShape) -> Efficiency {
    let mut efficiency = Efficiency::TILE;
    if conv.kernel == [1, 1] {
        efficiency.of_peak /= OVER_PRODUCT;
    }
    efficiency
}
