//! Winograd convolution on NCHW16c: tiles of the input are transformed, multiplied, and transformed back. This takes
//! fewer multiplications than outputs times taps. [`crate::micro::cook_toom`] derives the transforms.
//!
//! ```text
//! for a block of tiles:                              (a task)
//!     V[point][c][tile] = B' d B                      input transform, all channels
//!     for a run of panels of output channels:
//!         for each point, for each panel of the run:
//!             M[point][panel] = V[point] * U[point][panel]
//!         out = A' M A + bias, residual, ReLU         inverse transform
//! ```
//!
//! A run is one panel if V and a panel's M stay in L2. It is all panels if weights dominate
//! ([`WinogradBlocking`](crate::blocking::WinogradBlocking)). Weights lie in the order in which they are read. From L3 and
//! memory they are prefetched (`micro/gemm/`).
//!
//! U = G g G' is computed in f64 when the weights are packed. Border tiles read zeros outside the input. Their outputs
//! outside the map are dropped. No padded copy is made.
//!
//! | | points | multiplications an output | of direct | weights |
//! |---|---|---|---|---|
//! | F(2,3) | 16 | 4 | 9 | 1.8 x |
//! | F(4,3) | 36 | 2.25 | 9 | 4 x |
//! | F(6,3) | 64 | 1.78 | 9 | 7.1 x |
//! | F(4,4) | 49 | 3.06 | 16 | 3.1 x |
//! | F(2,5) | 36 | 9 | 25 | 1.4 x |
//! | F(3,5) | 49 | 5.44 | 25 | 2 x |
//! | F(4,5) | 64 | 4 | 25 | 2.6 x |
//! | F(2,3), stride 2 | 9 | 6.25 | 9 | 2.8 x |
//! | F(4,3), stride 2 | 25 | 5.06 | 9 | 9 x |
//!
//! The first layer of a network has large filters, large strides and few channels. Its image is split into phases, and
//! each phase becomes a channel (`space_to_depth.rs`). ResNet's 7x7 filter uses F(4,4) with 12 channels: 36.75
//! multiplications in place of 147. AlexNet's 11x11 filter uses F(4,3) with 48 channels: 108 in place of 363. A task
//! makes the rows of phases that its tiles read.
//!
//! **Costs in accuracy.** Errors grow with m and the number of taps
//! ([`Matrices::amplification`](crate::micro::cook_toom::Matrices::amplification)). They are relative to the largest
//! values in a tile and its channels. So a large offset or one huge channel hides small values, and a direct sum loses
//! less.
//!
//! A NaN or an infinity in the input reaches only outputs of the tiles that read it. That is up to four tiles, or nine
//! for F(2,5) and F(3,5), whose tiles overlap more. An infinity becomes a NaN there, as inf - inf.
//! `tests/all/winograd.rs` measures both effects.

//!
//! In reading order: this file (the algorithms), `plan.rs` (the plan of all of them), `weights.rs` (packed weights),
//! `space_to_depth.rs` (phases of an image). Only the transforms are compiled for each scheme ([`Transforms`]).

mod plan;
mod space_to_depth;
mod weights;

pub use crate::micro::winograd::Transforms;

use crate::cost::Accuracy;
use crate::isa::Isa;
use crate::micro::cook_toom::{self, Matrices};
use crate::plan::{Algorithm, AlgorithmMeta, Plan, PlanCx, Unsupported, f32_conv};
use crate::problem::Problem;
use plan::WinogradPlan;
use space_to_depth::SpaceToDepth;

/// Winograd convolution by one scheme.
#[derive(Clone, Copy, Debug)]
pub struct Winograd {
    meta: &'static AlgorithmMeta,
    transforms: Transforms,
    input: Input,
}

/// Input of a convolution.
#[derive(Clone, Copy, Debug)]
enum Input {
    /// Maps in NCHW16c.
    Maps,
    /// An image in plain NCHW, whose phases become channels.
    Image,
}

impl Winograd {
    /// Convolution of maps in NCHW16c.
    pub const fn of_maps(meta: &'static AlgorithmMeta, transforms: Transforms) -> Self {
        Winograd {
            meta,
            transforms,
            input: Input::Maps,
        }
    }

    /// Convolution of an image in plain NCHW.
    pub const fn of_image(meta: &'static AlgorithmMeta, transforms: Transforms) -> Self {
        Winograd {
            meta,
            transforms,
            input: Input::Image,
        }
    }
}

/// Growth of rounding errors by a scheme's transforms.
const fn accuracy(matrices: &Matrices) -> Accuracy {
    Accuracy::Transformed {
        amplification: matrices.worst_amplification(),
        channel_terms: matrices.taps.pow(2),
    }
}

/// Defines an algorithm for each row: its name, its scheme, its input, its id and its description.
macro_rules! algorithms {
    ($($name:ident = $scheme:ident $of:ident, $id:literal, $summary:literal;)*) => {
        $(
            #[doc = concat!("Winograd ", $summary, ".")]
            pub static $name: Winograd = {
                static TRANSFORMS: Transforms = Transforms::of::<cook_toom::$scheme, _, _, _>();
                static META: AlgorithmMeta = AlgorithmMeta {
                    id: $id,
                    summary: concat!("Winograd ", $summary, ", any padding"),
                    isas: &Isa::F32,
                    accuracy: accuracy(TRANSFORMS.matrices()),
                };
                Winograd::$of(&META, TRANSFORMS)
            };
        )*
    };
}

algorithms! {
    F2X3 = F2x3 of_maps, "winograd-f2x3", "F(2x2,3x3) on NCHW16c";
    F4X3 = F4x3 of_maps, "winograd-f4x3", "F(4x4,3x3), points 0, +-1/sqrt2, +-sqrt2, on NCHW16c";
    F4X3_STD = F4x3Std of_maps, "winograd-f4x3-std", "F(4x4,3x3), points 0, +-1, +-2, on NCHW16c";
    F6X3 = F6x3 of_maps, "winograd-f6x3", "F(6x6,3x3) on NCHW16c";
    F2X5 = F2x5 of_maps, "winograd-f2x5", "F(2x2,5x5) on NCHW16c";
    F3X5 = F3x5 of_maps, "winograd-f3x5", "F(3x3,5x5) on NCHW16c";
    F4X5 = F4x5 of_maps, "winograd-f4x5", "F(4x4,5x5) on NCHW16c";
    F2X3_S2 = F2x3S2 of_maps, "winograd-f2x3-s2", "F(2x2,3x3) with stride 2 on NCHW16c";
    F4X3_S2 = F4x3S2 of_maps, "winograd-f4x3-s2", "F(4x4,3x3) with stride 2 on NCHW16c";
    F4X3_S2D = F4x3 of_image, "winograd-f4x3-s2d", "F(4x4,3x3) of an image's phases (space to depth) into NCHW16c";
    F4X4_S2D = F4x4 of_image, "winograd-f4x4-s2d", "F(4x4,4x4) of an image's phases (space to depth) into NCHW16c";
}

impl Algorithm for Winograd {
    fn meta(&self) -> &'static AlgorithmMeta {
        self.meta
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        let conv = f32_conv(problem)?;
        let taps = self.transforms.matrices().taps;
        let image = match self.input {
            Input::Maps => None,
            Input::Image => Some(SpaceToDepth::of(conv)?),
        };
        let conv = image.map_or(*conv, |image| image.conv());
        if conv.kernel != [taps, taps] {
            return Err(Unsupported::new(match image {
                None => format!("the kernel is not {taps}x{taps}"),
                Some(_) => format!("the kernel is not {taps} steps high and wide"),
            }));
        }
        let plan = WinogradPlan::new(problem, conv, image, self.transforms, cx)?;
        Ok(Box::new(plan))
    }
}
