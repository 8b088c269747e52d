//! Pooling on NCHW16c, NHWC and plain NCHW: maximum, average, global average, Lp, stochastic. On NHWC also maxima and
//! averages of u8, s8 and bf16.
//!
//! An output is computed from the part of its window inside the input. That part is known per row and per column, so
//! the inner loop tests no element. A NaN in a window makes its output NaN, also for a maximum, as in PyTorch.
//! [`crate::problem::PoolKind`] defines the divisor of a mean.
//!
//! On NCHW16c and NHWC, lanes are channels (`micro/pool.rs`). On plain NCHW they are pixels of a row
//! (`micro/pool_nchw.rs`). In narrow rows most of those lanes would be idle. If there are at least 16 maps, 16 at a
//! time are then transposed to a block, pooled, and transposed back, all within a cache.
//!
//! In reading order: this file chooses a plan, `windows.rs` has the plan for windows, `global.rs` the plan for whole
//! maps, `narrow.rs` the plan for u8, s8 and bf16.

mod global;
mod narrow;
mod windows;

use crate::cost::Accuracy;
use crate::isa::Isa;
use crate::micro::fold::Reduce;
use crate::plan::{Algorithm, AlgorithmMeta, Plan, PlanCx, Unsupported, f32_layer, narrow_layer};
use crate::problem::{DTypes, Pad, PoolKind, PoolShape, Problem};
use crate::tensor::Layout;
use global::GlobalPlan;
use narrow::NarrowPlan;
use windows::{PoolPlan, Work};

/// A pooling on one layout.
#[derive(Debug)]
pub struct Pooling {
    makes: Makes,
    layout: Layout,
    meta: &'static AlgorithmMeta,
}

/// Kind of output.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Makes {
    Maxima,
    Means,
    MeansOfMaps,
    Norms,
    Expectations,
    Draws,
}

/// Suffix of a layout in ids, and its name in descriptions.
macro_rules! layout {
    (suffix NCHW16C) => {
        ""
    };
    (suffix Nhwc) => {
        "-nhwc"
    };
    (suffix Nchw) => {
        "-nchw"
    };
    (words NCHW16C) => {
        " on NCHW16c"
    };
    (words Nhwc) => {
        " on NHWC"
    };
    (words Nchw) => {
        " on plain NCHW"
    };
}

/// Declares the poolings, each on some layouts.
macro_rules! poolings {
    ($($makes:ident, $accuracy:ident, $id:literal, $what:literal, $more:literal: $($name:ident on $layout:ident),*;)*) => {$($(
        #[doc = concat!("Computes ", $what, layout!(words $layout), $more, ".")]
        pub static $name: Pooling = Pooling {
            makes: Makes::$makes,
            layout: Layout::$layout,
            meta: &AlgorithmMeta {
                id: concat!($id, layout!(suffix $layout)),
                summary: concat!($what, layout!(words $layout), $more),
                isas: &Isa::F32,
                accuracy: Accuracy::$accuracy,
            },
        };
    )*)*};
}

poolings! {
    Maxima, Exact, "maxpool", "max pooling", ", any window, stride, padding and dilation; NaN wins":
        MAX on NCHW16C, MAX_NCHW on Nchw;
    Maxima, Exact, "maxpool", "max pooling", " of f32, bf16, u8 and s8, any window, stride, padding and dilation; NaN wins":
        MAX_NHWC on Nhwc;
    Means, Mean, "avgpool", "average pooling", ", padding counted or not, any window, stride and dilation":
        AVG on NCHW16C, AVG_NCHW on Nchw;
    Means, Mean, "avgpool", "average pooling", " of f32, bf16, u8 and s8, padding counted or not, any window, stride and dilation":
        AVG_NHWC on Nhwc;
    MeansOfMaps, Mean, "global-avgpool", "the average of whole maps", "":
        GLOBAL_AVG on NCHW16C, GLOBAL_AVG_NCHW on Nchw;
    MeansOfMaps, Mean, "global-avgpool", "the average of whole maps", " of f32, bf16, u8 and s8":
        GLOBAL_AVG_NHWC on Nhwc;
    Norms, Mean, "lppool", "Lp pooling", ", sum and mean form, any p from 1 and infinity":
        LP on NCHW16C, LP_NHWC on Nhwc, LP_NCHW on Nchw;
    Expectations, Mean, "stochastic-pool", "stochastic pooling", " as at inference: sum a^2 / sum a, a = max(x, 0)":
        STOCHASTIC on NCHW16C, STOCHASTIC_NHWC on Nhwc, STOCHASTIC_NCHW on Nchw;
    Draws, Exact, "stochastic-draw", "stochastic pooling", " as in training: elements drawn by a seed, or their indices":
        DRAW_NHWC on Nhwc;
}

impl Algorithm for Pooling {
    fn meta(&self) -> &'static AlgorithmMeta {
        self.meta
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        let is_narrow = problem.dtypes != DTypes::default();
        let pool: PoolShape = match (self.makes, self.layout) {
            (Makes::Maxima | Makes::Means | Makes::MeansOfMaps, Layout::Nhwc) if is_narrow => {
                *narrow_layer(problem)?
            }
            _ => *f32_layer(problem)?,
        };
        let work = match (self.makes, pool.kind) {
            (Makes::Maxima, PoolKind::Max) => Work::Fold(Reduce::Max),
            (Makes::Maxima, _) => return Err(Unsupported::new("computes maxima only")),
            (
                Makes::Means | Makes::MeansOfMaps,
                PoolKind::AvgIncludePad | PoolKind::AvgExcludePad,
            ) => Work::Fold(Reduce::Mean),
            (Makes::Norms, PoolKind::Lp { p, .. }) => Work::Fold(Reduce::Powers(p)),
            (Makes::Norms, PoolKind::LInf) => Work::Fold(Reduce::Magnitude),
            (Makes::Norms, _) => return Err(Unsupported::new("computes Lp norms only")),
            (Makes::Expectations, PoolKind::Stochastic) => Work::Fold(Reduce::Expectation),
            (Makes::Draws, PoolKind::Draw { seed, index }) => Work::Draw { seed, index },
            (Makes::Draws, _) => return Err(Unsupported::new("draws elements only")),
            (Makes::Expectations, _) => {
                return Err(Unsupported::new("computes stochastic pooling only"));
            }
            _ => return Err(Unsupported::new("computes averages only")),
        };
        // The verdict needs the twins of the common poolings. Twins of all folds would take a tenth of a build.
        let twins = matches!(work, Work::Fold(Reduce::Max | Reduce::Mean));
        let cx = if twins { cx } else { &cx.without_twins()? };
        let whole = pool.kernel == [pool.h, pool.w] && pool.pad == Pad::default();
        match self.makes {
            Makes::MeansOfMaps if !whole => {
                Err(Unsupported::new("the window is not the whole map"))
            }
            Makes::Maxima | Makes::Means | Makes::MeansOfMaps if is_narrow => {
                let means = self.makes != Makes::Maxima;
                Ok(Box::new(NarrowPlan::new(problem, pool, means, cx)?))
            }
            Makes::MeansOfMaps => Ok(Box::new(GlobalPlan::new(problem, pool, self.layout, cx))),
            _ => {
                let plan = PoolPlan::new(problem, pool, self.layout, work, cx)?;
                Ok(Box::new(plan))
            }
        }
    }
}
