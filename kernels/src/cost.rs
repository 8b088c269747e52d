//! Cost of a run, and error bound of its result.
//!
//! Two counts of floating-point operations are kept apart. *Nominal* flops are those of the direct definition, padding
//! counted (2 per multiply-accumulate). Speeds are ranked by them. *Executed* flops are those that the algorithm
//! performs. A roofline needs them: nominal flops would place Winograd above the roof.
//!
//! *Compulsory* bytes are what any algorithm must move. It reads once each input element that some output depends on,
//! and each weight. It writes each output once.

use crate::problem::{DType, Op, Problem};

/// Cost of one run of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Operations of the direct definition ([`Operation::flops`](crate::problem::Operation::flops)).
    pub flops_nominal: u64,
    /// Operations that the plan performs, including those in lanes of padded channels.
    pub flops_executed: u64,
    /// Compulsory bytes read: input elements that some output depends on, weights and their scales, bias, residual.
    pub bytes_read: u64,
    /// Compulsory bytes written: the output.
    pub bytes_written: u64,
}

impl Cost {
    /// Cost of `problem` by an algorithm that executes `flops_executed` operations.
    pub fn new(problem: &Problem, flops_executed: u64) -> Self {
        let Problem {
            op,
            dtypes,
            epilogue,
            ..
        } = problem;
        let bytes = |elements: u64, dtype: DType| elements * dtype.size() as u64;
        let outputs: u64 = op.dst_dims().iter().map(|&d| d as u64).product();
        let residuals = if epilogue.residual { outputs } else { 0 };
        let activations = bytes(op.src_elements(), dtypes.src) + bytes(residuals, dtypes.residual);
        let parameters = problem.weights_bytes() + problem.scales_bytes() + problem.bias_bytes();
        Cost {
            flops_nominal: op.flops(*epilogue),
            flops_executed,
            bytes_read: activations + parameters,
            bytes_written: bytes(outputs, dtypes.dst),
        }
    }

    /// Compulsory bytes, read and written.
    pub fn bytes(&self) -> u64 {
        self.bytes_read + self.bytes_written
    }
}

/// Fractions of a machine's measured ceilings that a run reaches in a network. There, earlier layers have just written
/// the inputs and displaced the weights from the caches. The cost model of whole networks estimates times from them. An
/// algorithm that differs from [`Efficiency::usual`] sets its own in [`PlanSpec`](crate::plan::PlanSpec), with their
/// source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Efficiency {
    /// Fraction of the FMA peak that executed operations reach when data don't limit them. It is for plans of one
    /// phase. Phases of other plans have their own ([`PhaseCost::of_peak`](crate::phase::PhaseCost)).
    pub of_peak: f64,
    /// Fraction of main memory's read bandwidth that packed weights reach.
    pub of_dram: f64,
}

impl Efficiency {
    /// Fractions of a register tile on a convolution. They are medians over the layers of five networks, from `convroof
    /// tune` on Zen 3 (AVX2, one thread). Weights stream slower than in `fc`, which reads four streams of them at once.
    pub const TILE: Efficiency = Efficiency {
        of_peak: 0.94,
        of_dram: 1.0 / 1.45,
    };

    /// Default fractions for an operation. Convolutions have those of a register tile. Poolings and similar layers
    /// compare and add one element per lane, and read more often than they compute.
    pub fn usual(op: &Op) -> Self {
        match op {
            Op::Conv(_) => Efficiency::TILE,
            _ => Efficiency {
                of_peak: 0.25,
                ..Efficiency::TILE
            },
        }
    }
}

/// Growth of an algorithm's rounding errors. [`Accuracy::tolerance`] turns it into a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Accuracy {
    /// No arithmetic that rounds: the result equals the reference bit for bit.
    Exact,
    /// Sums of products of the inputs themselves, in any order.
    Sum,
    /// Means: sums of the inputs, divided by their number.
    Mean,
    /// Means of the inputs and of squares.
    Moments,
    /// Sums of products with factors that were rounded before: as accurate as [`Accuracy::Sum`], but never exact.
    Scaled,
    /// Sums of products of transformed inputs. The inverse transform amplifies their rounding errors over those of
    /// [`Accuracy::Sum`].
    Transformed {
        /// Amplification at a tile's worst output, from the transform's matrices
        /// ([`Matrices::worst_amplification`](crate::micro::cook_toom::Matrices::worst_amplification)). It is below 1
        /// if shorter sums gain more than the transforms lose.
        amplification: f64,
        /// Terms of a sum that come from one channel. The transforms round even with a single channel, which counts as
        /// one more.
        channel_terms: usize,
    },
}

impl Accuracy {
    /// True if results on small integers ([`Fill::Integers`](crate::data::Fill)) equal the reference bit for bit. Means
    /// and transforms divide, which rounds.
    pub fn is_exact_on_integers(self) -> bool {
        matches!(self, Accuracy::Exact | Accuracy::Sum)
    }

    /// Largest allowed absolute error of a sum of `terms` products, of inputs up to `max_x` and weights up to `max_w`.
    ///
    /// It is `2 eps (terms + 1) max_x max_w`, times the amplification. XNNPACK's tests use this form
    /// (`ynnpack/kernels/dot/test.cc`). It is linear in the terms: loose enough for any order of summation on random
    /// data, and tight enough to detect a dropped term. It also holds for sums of products of bf16 in f32: such a product
    /// has at most 16 significant bits, so it is exact, and only the sums round. Divide by the largest output to compare with a relative error:
    /// for direct sums on ResNet's layers that is about 1e-5.
    pub fn tolerance(self, terms: usize, max_x: f64, max_w: f64) -> f64 {
        let sum = 2.0 * f64::from(f32::EPSILON) * (terms as f64 + 1.0) * max_x * max_w;
        match self {
            Accuracy::Exact => 0.0,
            Accuracy::Sum | Accuracy::Scaled => sum,
            // The error of a sum of n terms, divided by n. The error grows as the root of n, like a random walk.
            Accuracy::Mean => 2.0 * f64::from(f32::EPSILON) * ((terms as f64).sqrt() + 1.0) * max_x,
            // The errors of the squares, and twice as much for the mean that is subtracted from each input.
            Accuracy::Moments => 3.0 * Accuracy::Mean.tolerance(terms, max_x * max_x, max_w),
            // The gain of shorter sums is ignored: with few channels there is none.
            Accuracy::Transformed {
                amplification,
                channel_terms,
            } => {
                let more = (terms + channel_terms) as f64 + 1.0;
                sum * more / (terms as f64 + 1.0) * amplification.max(1.0)
            }
        }
    }

    /// Largest allowed error that is added if factors are rounded to bf16 after a transform: 0 without a transform.
    ///
    /// It is `2 * 2^-8 (sqrt c + 1) amplification channel_terms max_x max_w` for c channels. A rounding's relative error is at
    /// most 2^-8, and has a standard deviation of 0.4 times that. Errors are independent, so they grow as the root of c. For
    /// uniform data, the bound is ten standard deviations with many channels, and twenty with one.
    pub fn rounded_factors(self, terms: usize, max_x: f64, max_w: f64) -> f64 {
        let Accuracy::Transformed {
            amplification,
            channel_terms,
        } = self
        else {
            return 0.0;
        };
        let per_channel = channel_terms as f64;
        let channels = terms as f64 / per_channel;
        let growth = (channels.sqrt() + 1.0) * amplification * per_channel;
        2.0 * DType::Bf16.rounding(1.0) * growth * max_x * max_w
    }
}
