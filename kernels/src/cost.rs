//! What a run costs, and how exact its result must be.
//!
//! Two counts of floating-point operations are kept apart. *Nominal* flops are those of the direct
//! definition, padding counted (2 per multiply-accumulate): what speeds are ranked by. *Executed*
//! flops are those the algorithm really performs: what a roofline needs, or Winograd floats above
//! the roof.
//!
//! *Compulsory* bytes are what any algorithm must move: each input element that some output depends
//! on read once, each weight once, each output written once.

use crate::problem::{ConvShape, Op, PoolShape, Problem};
use crate::window::Window;

/// What one run of a plan costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Operations of the direct definition, padding counted; a pooling counts one per window element. The
    /// epilogue counts only where it is all that a layer does; a copy counts one per element, and so does a
    /// function such as e^x, whatever it is computed by.
    pub flops_nominal: u64,
    /// Operations that the plan performs, in lanes that padded channels occupy too.
    pub flops_executed: u64,
    /// Compulsory bytes read: input elements in use, weights, bias, residual.
    pub bytes_read: u64,
    /// Compulsory bytes written: the output.
    pub bytes_written: u64,
}

impl Cost {
    /// The cost of `problem` by an algorithm that executes `flops_executed`.
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
            // A sum; a difference, its square and their sum.
            Op::Statistics(maps) => (4 * elements(maps.dims()), elements(maps.dims()), 0),
            // The largest, a difference, e^x, the sum, a quotient.
            Op::Softmax(_) => (5 * dst, dst, 0),
            // A copy. What pads the parts is not counted.
            Op::Concat(_) => (dst, dst, 0),
            Op::Attention(attention) => {
                let [n, c, ..] = attention.maps().dims().map(|d| d as u64);
                let (hidden, positions) = (attention.hidden() as u64, attention.positions() as u64);
                // V h, tanh and the product with w; a softmax; the weighed sum.
                let flops = hidden * (2 * c + 3) + 5 + 2 * c;
                let src = elements(attention.maps().dims());
                (n * positions * flops, src, problem.weights_bytes())
            }
            Op::Bilinear(bilinear) => {
                let kind = bilinear.kind();
                // A root; the square, its sum and the quotient.
                let more = u64::from(kind.root) + 3 * u64::from(kind.l2);
                let src = elements(bilinear.maps().dims());
                (dst * (2 * bilinear.positions() as u64 + more), src, 0)
            }
            // A multiply-add for each channel of the window; scale and shift, the power and the quotient.
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

    /// Compulsory bytes, both ways.
    pub fn bytes(&self) -> u64 {
        self.bytes_read + self.bytes_written
    }
}

/// Fractions of a machine's measured ceilings that a run reaches in a network, whose layers before have just written the
/// inputs and displaced the weights. The cost model of whole networks estimates times by them. An algorithm that differs
/// from [`Efficiency::usual`] sets its own fractions in [`PlanSpec`](crate::plan::PlanSpec), with their source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Efficiency {
    /// Fraction of the FMA peak that executed operations reach where data don't limit them. It is for plans of one phase:
    /// each phase of another plan has its own ([`PhaseCost::of_peak`](crate::phase::PhaseCost)).
    pub of_peak: f64,
    /// Fraction of main memory's read bandwidth that packed weights reach.
    pub of_dram: f64,
}

impl Efficiency {
    /// Fractions of a register tile on a convolution: medians over the layers of five networks, as `convroof tune` measured
    /// them on Zen 3 (AVX2, one thread). Weights stream slower than into `fc`, which reads four streams of them at once.
    pub const TILE: Efficiency = Efficiency {
        of_peak: 0.94,
        of_dram: 1.0 / 1.45,
    };

    /// Fractions for an operation if nothing else is known of the algorithm: a register tile's for convolutions. Poolings
    /// and the like compare and add one element a lane, and read more often than they compute.
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

/// Operations of the epilogue for each element, or the one of a copy.
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

/// Input elements that some output depends on: a strided 1x1 reads a quarter of its map.
fn conv_src_elements(conv: &ConvShape) -> u64 {
    let [down, across] = Window::of_conv(conv).map(|axis| axis.covered());
    (conv.n * conv.c_in) as u64 * down * across
}

/// How rounding errors grow in an algorithm; [`Accuracy::tolerance`] turns it into a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Accuracy {
    /// No arithmetic that rounds: the result is the reference, bit for bit.
    Exact,
    /// Sums of products of the inputs themselves, in any order.
    Sum,
    /// Means: sums of the inputs, divided.
    Mean,
    /// Means, and means of squares.
    Moments,
    /// Roots of such sums, in proportion to the largest: `max_x` is that, and errors near 0 grow to their root.
    Root,
    /// Sums of products with factors that were rounded before: as exact as [`Accuracy::Sum`], but never exact.
    Scaled,
    /// Sums of products of transformed inputs, whose rounding errors the inverse transform amplifies
    /// over those of [`Accuracy::Sum`].
    Transformed {
        /// By how much at a tile's worst output, as the transform's matrices have it
        /// ([`Matrices::worst_amplification`](crate::micro::cook_toom::Matrices::worst_amplification)); below 1
        /// where shorter sums gain more than the transforms lose.
        amplification: f64,
        /// Terms of a sum that come from one channel. The transforms round even if there is but one: that
        /// counts as one more.
        channel_terms: usize,
    },
}

impl Accuracy {
    /// The largest absolute error allowed in a sum of `terms` products of inputs up to `max_x` and
    /// weights up to `max_w`: `2 eps (terms + 1) max_x max_w`, times the amplification. This is the
    /// form XNNPACK tests with (`ynnpack/kernels/dot/test.cc`): linear in the terms, so loose enough
    /// for any order of summation on random data, and tight enough that a dropped term shows.
    /// Divide by the largest output to compare with a relative figure: on ResNet's layers it comes
    /// to about 1e-5 for direct sums.
    pub fn tolerance(self, terms: usize, max_x: f64, max_w: f64) -> f64 {
        let sum = 2.0 * f64::from(f32::EPSILON) * (terms as f64 + 1.0) * max_x * max_w;
        match self {
            Accuracy::Exact => 0.0,
            Accuracy::Sum | Accuracy::Scaled => sum,
            // |sqrt(a + d) - sqrt(a)| is at most sqrt(d), where a is 0; and no sum of products is larger than
            // the largest of squares.
            Accuracy::Root => Accuracy::Sum.tolerance(terms, 1.0, 1.0).sqrt() * max_x,
            // The errors of a sum of n terms, over n; like a random walk's they grow as its root.
            Accuracy::Mean => 2.0 * f64::from(f32::EPSILON) * ((terms as f64).sqrt() + 1.0) * max_x,
            // Those of the squares, and twice as much for the mean that was taken from each.
            Accuracy::Moments => 3.0 * Accuracy::Mean.tolerance(terms, max_x * max_x, max_w),
            // What is gained by shorter sums is not counted on: of few channels it isn't there.
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
