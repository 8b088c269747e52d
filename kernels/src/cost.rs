//! Cost of a run, and error bound of its result.
//!
//! Two counts of floating-point operations are kept apart. *Nominal* flops are those of the direct definition, padding
//! counted (2 per multiply-accumulate). Speeds are ranked by them. *Executed* flops are those that the algorithm
//! performs. A roofline needs them: nominal flops would place Winograd above the roof.
//!
//! *Compulsory* bytes are what any algorithm must move. It reads once each input element that some output depends on,
//! and each weight. It writes each output once.

use crate::problem::{ConvShape, Op, PoolShape, Problem};
use crate::window::Window;

/// Cost of one run of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Operations of the direct definition, padding counted. A pooling counts one per window element. The epilogue
    /// counts only if it is the whole layer. A copy counts one per element, and so does a function such as e^x, however
    /// it is computed.
    pub flops_nominal: u64,
    /// Operations that the plan performs, including those in lanes of padded channels.
    pub flops_executed: u64,
    /// Compulsory bytes read: input elements that some output depends on, weights, bias, residual.
    pub bytes_read: u64,
    /// Compulsory bytes written: the output.
    pub bytes_written: u64,
}

impl Cost {
    /// Cost of `problem` by an algorithm that executes `flops_executed` operations.
    pub fn new(problem: &Problem, flops_executed: u64) -> Self {
        let dtypes = problem.dtypes;
        let dst = elements(problem.dst_dims());
        let (flops_nominal, src, parameters) = match &problem.op {
            Op::Conv(conv) => (
                2 * conv.macs(),
                conv_src_elements(conv),
                parameter_bytes(problem),
            ),
            Op::ConvPool(stem) => (
                2 * stem.conv().macs() + dst * window_elements(stem.pool()),
                conv_src_elements(stem.conv()),
                parameter_bytes(problem),
            ),
            Op::ConvPair(pair) => (
                2 * (pair.first().macs() + pair.second().macs()),
                conv_src_elements(pair.first()),
                parameter_bytes(problem),
            ),
            Op::Pool(pool) => (dst * window_elements(pool), pool_src_elements(pool), 0),
            Op::Identity(_) => (dst * epilogue_flops(problem), dst, problem.bias_bytes()),
            Op::BatchNorm(_) => (
                dst * (2 + epilogue_flops(problem)),
                dst,
                parameter_bytes(problem),
            ),
            // A sum. Then a difference, its square and their sum.
            Op::Statistics(maps) => (4 * elements(maps.dims()), elements(maps.dims()), 0),
            // The maximum, a difference, e^x, the sum, a quotient.
            Op::Softmax(_) => (5 * dst, dst, 0),
            // A copy. Padding of the parts is not counted.
            Op::Concat(_) => (dst, dst, 0),
            Op::Attention(attention) => {
                let [n, c, ..] = attention.maps().dims().map(|d| d as u64);
                let (hidden, positions) = (attention.hidden() as u64, attention.positions() as u64);
                // V h, tanh and the product with w; a softmax; the weighted sum.
                let flops = hidden * (2 * c + 3) + 5 + 2 * c;
                let src = elements(attention.maps().dims());
                (n * positions * flops, src, problem.weights_bytes())
            }
            Op::Bilinear(bilinear) => {
                let kind = bilinear.kind();
                // A root for `root`. The square, its sum and the quotient for `l2`.
                let more = u64::from(kind.root) + 3 * u64::from(kind.l2);
                let src = elements(bilinear.maps().dims());
                (dst * (2 * bilinear.positions() as u64 + more), src, 0)
            }
            // A multiply-add per channel of the window. Scale and shift, the power and the quotient.
            Op::Lrn(lrn) => (dst * (2 * lrn.spec().size as u64 + 4), dst, 0),
        };
        let residual = if problem.epilogue.residual {
            dst * dtypes.dst.size() as u64
        } else {
            0
        };
        Cost {
            flops_nominal,
            flops_executed,
            bytes_read: src * dtypes.src.size() as u64 + parameters + residual,
            bytes_written: dst * dtypes.dst.size() as u64,
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

/// Operations of the epilogue per element; 1 for a copy.
fn epilogue_flops(problem: &Problem) -> u64 {
    let epilogue = problem.epilogue;
    let parts = [epilogue.bias, epilogue.residual, epilogue.relu].map(u64::from);
    parts
        .iter()
        .sum::<u64>()
        .max(u64::from(matches!(problem.op, Op::Identity(_))))
}

fn elements(dims: [usize; 4]) -> u64 {
    dims.iter().map(|&d| d as u64).product()
}

/// Bytes of weights and bias.
fn parameter_bytes(problem: &Problem) -> u64 {
    problem.weights_bytes() + problem.bias_bytes()
}

fn window_elements(pool: &PoolShape) -> u64 {
    (pool.kernel[0] * pool.kernel[1]) as u64
}

/// Input elements that some window covers.
fn pool_src_elements(pool: &PoolShape) -> u64 {
    let [down, across] = Window::of_pool(pool).map(|axis| axis.covered());
    (pool.n * pool.c) as u64 * down * across
}

/// Input elements that some output depends on. A 1x1 filter with stride 2 reads a quarter of its map.
fn conv_src_elements(conv: &ConvShape) -> u64 {
    let [down, across] = Window::of_conv(conv).map(|axis| axis.covered());
    (conv.n * conv.c_in) as u64 * down * across
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
    /// Roots of sums of products. Errors are in proportion to the largest output, `max_x`. Near 0 an error grows to its
    /// root.
    Root,
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
    /// data, and tight enough to detect a dropped term. Divide by the largest output to compare with a relative error:
    /// for direct sums on ResNet's layers that is about 1e-5.
    pub fn tolerance(self, terms: usize, max_x: f64, max_w: f64) -> f64 {
        let sum = 2.0 * f64::from(f32::EPSILON) * (terms as f64 + 1.0) * max_x * max_w;
        match self {
            Accuracy::Exact => 0.0,
            Accuracy::Sum | Accuracy::Scaled => sum,
            // The largest value of |sqrt(a + d) - sqrt(a)| is sqrt(d), at a = 0. No sum of products exceeds the largest
            // sum of squares.
            Accuracy::Root => Accuracy::Sum.tolerance(terms, 1.0, 1.0).sqrt() * max_x,
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
}
