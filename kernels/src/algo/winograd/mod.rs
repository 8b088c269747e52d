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
//! for F(2,5) and F(3,5), whose tiles overlap more. An infinity becomes a NaN there, as inf - inf. `tests/all/winograd.rs`
//! measures both effects.
//!
//! **Narrow elements** are read and written on NHWC (`nhwc.rs`). F(2,3) of u8 and s8 is exact: transformed samples and
//! weights are 16-bit integers. So it needs 4 / 9 of the products of direct convolution, but products of 16 bits in place of
//! bytes. F(2,3) and F(4,3) of bf16 are transformed in f32. Where the CPU has dot products of bf16, the transformed values
//! are rounded to bf16, which costs accuracy ([`Accuracy::rounded_factors`](crate::cost::Accuracy::rounded_factors)).
//!
//! In reading order: this file (the algorithms), `plan.rs` (the plan of all of them in f32), `nhwc.rs` (that of narrow
//! elements), `weights.rs` (packed weights), `space_to_depth.rs` (phases of an image). Only the transforms are compiled for
//! each scheme ([`Transforms`], [`NhwcTransforms`]).

mod nhwc;
mod plan;
mod space_to_depth;
mod weights;

pub use crate::micro::winograd::Transforms;
pub use crate::micro::winograd_nhwc::NhwcTransforms;

use crate::cost::Accuracy;
use crate::isa::Isa;
use crate::micro::cook_toom::{self, Matrices};
use crate::plan::{Algorithm, AlgorithmMeta, Plan, PlanCx, Target, Unsupported, f32_conv};
use crate::problem::{ConvShape, DType, Problem};
use nhwc::{NhwcPlan, Products};
use plan::WinogradPlan;
use space_to_depth::SpaceToDepth;

/// Winograd convolution by one scheme.
#[derive(Clone, Copy, Debug)]
pub struct Winograd {
    meta: &'static AlgorithmMeta,
    transforms: Transforms,
    input: Input,
    /// Transforms of narrow elements; none if only f32s are computed.
    nhwc: Option<NhwcTransforms>,
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
            nhwc: None,
        }
    }

    /// Convolution of an image in plain NCHW.
    pub const fn of_image(meta: &'static AlgorithmMeta, transforms: Transforms) -> Self {
        Winograd {
            meta,
            transforms,
            input: Input::Image,
            nhwc: None,
        }
    }

    /// Adds convolution of narrow elements on NHWC. `nhwc` are the transforms of the same scheme.
    ///
    /// # Panics
    /// If tiles of `nhwc` have another size.
    pub const fn with_nhwc(self, nhwc: NhwcTransforms) -> Self {
        let (own, others) = (self.transforms.matrices(), nhwc.matrices());
        assert!(own.outputs == others.outputs && own.taps == others.taps);
        Winograd {
            nhwc: Some(nhwc),
            ..self
        }
    }

    /// Checks that the scheme computes a convolution, that of an image's phases if `of_phases`.
    fn check(&self, conv: &ConvShape, of_phases: bool) -> Result<(), Unsupported> {
        let matrices = self.transforms.matrices();
        let (taps, stride) = (matrices.taps, matrices.stride);
        let refuse = |reason: String| Err(Unsupported::new(reason));
        if conv.kernel != [taps, taps] {
            return refuse(match of_phases {
                false => format!("the kernel is not {taps}x{taps}"),
                true => format!("the kernel is not {taps} steps high and wide"),
            });
        }
        if conv.stride != [stride; 2] {
            return refuse(format!("the stride is not {stride}"));
        }
        if conv.dilation != [1, 1] {
            return refuse("the filter is dilated".into());
        }
        if conv.groups != 1 {
            return refuse("the channels are grouped".into());
        }
        Ok(())
    }

    /// Plan of a convolution of narrow elements.
    fn plan_nhwc(
        &self,
        problem: &Problem,
        nhwc: NhwcTransforms,
        cx: &Target<'_>,
    ) -> Result<NhwcPlan, Unsupported> {
        let (products, conv) = Products::of(problem, cx)?;
        self.check(conv, false)?;
        if products.are_integers() && !self.transforms.matrices().is_exact() {
            return Err(Unsupported::new("its transforms of integers round"));
        }
        NhwcPlan::new(
            problem,
            conv,
            products,
            self.transforms,
            nhwc,
            &cx.without_twins()?,
        )
    }
}

/// Growth of rounding errors by a scheme's transforms.
const fn accuracy(matrices: &Matrices) -> Accuracy {
    Accuracy::Transformed {
        amplification: matrices.worst_amplification(),
        channel_terms: matrices.taps.pow(2),
    }
}

/// Instruction sets of f32 and bf16.
const BF16: [Isa; 9] = [
    Isa::Scalar,
    Isa::Avx2,
    Isa::Avx512,
    Isa::Avx512Bf16,
    Isa::Neon,
    Isa::NeonBf16,
    Isa::Emu128,
    Isa::Emu256,
    Isa::Emu512,
];

/// Instruction sets of f32, bf16 and products of 16-bit integers.
const BF16_AND_S16: [Isa; 11] = [
    Isa::Scalar,
    Isa::Avx2,
    Isa::AvxVnni,
    Isa::Avx512,
    Isa::Avx512Vnni,
    Isa::Avx512Bf16,
    Isa::Neon,
    Isa::NeonBf16,
    Isa::Emu128,
    Isa::Emu256,
    Isa::Emu512,
];

/// Defines an algorithm for each row: its name, its scheme, its input, its id and its description. `with_nhwc` adds narrow
/// elements, on some instruction sets.
macro_rules! algorithms {
    ($($name:ident = $scheme:ident $of:ident $($with_nhwc:ident on $isas:ident)?, $id:literal, $summary:literal;)*) => {
        $(
            #[doc = concat!("Winograd ", $summary, ".")]
            pub static $name: Winograd = {
                static TRANSFORMS: Transforms = Transforms::of::<cook_toom::$scheme, _, _, _>();
                static META: AlgorithmMeta = AlgorithmMeta {
                    id: $id,
                    summary: concat!("Winograd ", $summary, ", any padding"),
                    isas: algorithms!(@isas $($isas)?),
                    accuracy: accuracy(TRANSFORMS.matrices()),
                };
                Winograd::$of(&META, TRANSFORMS)
                    $(.$with_nhwc(NhwcTransforms::of::<cook_toom::$scheme, _, _>()))?
            };
        )*
    };
    (@isas) => { &Isa::F32 };
    (@isas $isas:ident) => { &$isas };
}

algorithms! {
    F2X3 = F2x3 of_maps with_nhwc on BF16_AND_S16, "winograd-f2x3",
        "F(2x2,3x3) on NCHW16c, on NHWC also of u8, s8 (exact) and bf16";
    F4X3 = F4x3 of_maps with_nhwc on BF16, "winograd-f4x3",
        "F(4x4,3x3), points 0, +-1/sqrt2, +-sqrt2, on NCHW16c, on NHWC also of bf16";
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
        if let Some(nhwc) = self.nhwc
            && problem.dtypes.src != DType::F32
        {
            return Ok(Box::new(self.plan_nhwc(problem, nhwc, cx)?));
        }
        let conv = f32_conv(problem)?;
        cx.without_extension(DType::F32)?;
        let image = match self.input {
            Input::Maps => None,
            Input::Image => Some(SpaceToDepth::of(conv)?),
        };
        let conv = image.map_or(*conv, |image| image.conv());
        self.check(&conv, image.is_some())?;
        let plan = WinogradPlan::new(problem, conv, image, self.transforms, cx);
        Ok(Box::new(plan))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Words;

    /// A set that extends another one is listed only if it adds products. So no variant refuses every problem.
    #[test]
    fn instruction_sets_are_bases_and_those_that_add_products() {
        let with = |words: &[Words]| -> Vec<Isa> {
            let own = |isa: &Isa| *isa == isa.base() || words.iter().any(|w| isa.has_dots(*w));
            Isa::ALL.into_iter().filter(own).collect()
        };
        assert_eq!(BF16.to_vec(), with(&[Words::Bf16]));
        assert_eq!(BF16_AND_S16.to_vec(), with(&[Words::Bf16, Words::S16]));
    }
}
