//! Sums of narrow layers as elements of the destination: a block of pixels, in vectors.
//!
//! The arithmetic is that of [`Requantisation`], step by step, so integer outputs equal the definition to the last bit. bf16
//! layers have floats for sums, and skip the steps that they have no operand for.
#![allow(unsafe_code)]

use crate::arch::{KernelSimd, array};
use crate::dtype::DType;
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;
use crate::problem::Requantisation;
use crate::tensor::TensorRef;

/// Type of a sum in its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// A 32-bit integer.
    Integer,
    /// An integer of at most 2^24 as a float, which is exact.
    WholeFloat,
    /// A float of a bf16 layer.
    Float,
}

/// Sums of a block of pixels, and what is done with them.
///
/// `sums`, `factors` and `bias` have whole vectors of any instruction set, of at most 16 lanes: a row is a multiple of 16
/// channels. Channels beyond those of `out` are ignored.
pub struct Requantise<'a, 'o> {
    /// Sums: a row of 32-bit lanes for each pixel.
    pub sums: &'a [f32],
    /// Lanes of a row.
    pub row: usize,
    /// Type of a sum.
    pub lane: Sum,
    /// Factors of integer sums, one for each channel.
    pub factors: &'a [f32],
    /// Bias, one for each channel; empty without one.
    pub bias: &'a [f32],
    /// Residual.
    pub residual: Option<ResidualRows<'a>>,
    /// The steps.
    pub steps: &'a Requantisation,
    /// The outputs: a row of bytes for each pixel.
    pub out: RowsMut<'o, u8>,
}

/// Rows of a residual: elements of type `dtype`, one for each output of a block.
#[derive(Clone, Copy)]
pub struct ResidualRows<'a> {
    /// Bytes from the first element on.
    pub bytes: &'a [u8],
    /// Element type.
    pub dtype: DType,
    /// Bytes from a pixel to the next.
    pub stride: usize,
}

/// Most lanes of a vector.
const LANES: usize = 16;

/// Pixels for which the factors and the bias of a vector of channels are loaded once. Their outputs stay in L1 until all
/// channels are stored.
const PIXELS: usize = 16;

/// Largest number up to which no step of integers overflows an f32, if sums and residuals are integers of 32 bits.
const ORDINARY: f32 = (1u64 << 40) as f32;

/// Most bytes of a vector's elements.
const BYTES: usize = 4 * LANES;

impl SimdTask for Requantise<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let size = self.steps.dst().size();
        assert!(self.out.len().is_multiple_of(size), "whole elements");
        match size {
            1 if self.is_ordinary() => match self.lane {
                // The vectors of a block of channels are stored at once.
                Sum::Integer => match const { CHANNEL_BLOCK / S::F32_LANES } {
                    1 => self.bytes::<S, 1, true>(simd),
                    2 => self.bytes::<S, 2, true>(simd),
                    _ => self.bytes::<S, 4, true>(simd),
                },
                _ => self.bytes::<S, 1, false>(simd),
            },
            1 => self.elements::<S, 1>(simd),
            2 => self.elements::<S, 2>(simd),
            _ => self.elements::<S, 4>(simd),
        }
    }
}

impl Requantise<'_, '_> {
    /// True if outputs are bytes and no step can give a NaN.
    #[inline(always)]
    fn is_ordinary(&self) -> bool {
        let steps = self.steps;
        let integers = |rows: &ResidualRows<'_>| rows.dtype.is_integer();
        self.lane != Sum::Float
            && steps.dst().limits().is_some()
            && self.residual.as_ref().is_none_or(integers)
            && are_ordinary(self.factors)
            && are_ordinary(self.bias)
            && are_ordinary(&[steps.residual().scale.get(), steps.inverse()])
    }

    /// Outputs of one byte, `N` vectors at once. No step can give a NaN.
    #[inline(always)]
    fn bytes<S: KernelSimd, const N: usize, const INTEGERS: bool>(mut self, simd: S) {
        let (pixels, channels) = (self.out.rows(), self.out.len());
        let in_vectors = channels.next_multiple_of(S::F32_LANES);
        assert!(pixels == 0 || self.sums.len() >= (pixels - 1) * self.row + in_vectors);
        assert!(self.factors.len() >= in_vectors);
        assert!(self.bias.is_empty() || self.bias.len() >= in_vectors);
        let steps = Steps::of(simd, self.steps);
        let several = N * S::F32_LANES;
        let (residual, factors, bias) = (self.residual, self.factors, self.bias);
        let whole = match residual {
            None => channels - channels % several,
            // Vectors with a residual are stored one by one.
            Some(_) => 0,
        };
        for pixel in 0..pixels {
            let sums = self.sums[pixel * self.row..].as_ptr();
            let (blocks, rest) = self.out.row(pixel).split_at_mut(whole);
            for (block, to) in blocks.chunks_exact_mut(several).enumerate() {
                // SAFETY: sums, factors and bias have whole vectors for all channels.
                let vectors: [_; N] = array(|v| unsafe {
                    let y = scaled::<S, INTEGERS>(
                        simd,
                        sums,
                        factors,
                        bias,
                        (block * N + v) * S::F32_LANES,
                    );
                    steps.byte(simd, y)
                });
                // SAFETY: there is a byte for each lane.
                unsafe { simd.store_bytes(to.as_mut_ptr(), vectors) };
            }
            for (v, to) in rest.chunks_mut(S::F32_LANES).enumerate() {
                let first = whole + v * S::F32_LANES;
                // SAFETY: as above.
                let mut y = unsafe { scaled::<S, INTEGERS>(simd, sums, factors, bias, first) };
                if let Some(rows) = &residual {
                    y = steps.plus(simd, y, rows.load(simd, pixel, first, to.len()));
                }
                store::<S, 1>(simd, to, steps.byte(simd, y));
            }
        }
    }

    /// Outputs with elements of `SIZE` bytes.
    #[inline(always)]
    fn elements<S: KernelSimd, const SIZE: usize>(mut self, simd: S) {
        let (pixels, channels) = (self.out.rows(), self.out.len() / SIZE);
        for start in (0..pixels).step_by(PIXELS) {
            for first in (0..channels).step_by(S::F32_LANES) {
                let lanes = S::F32_LANES.min(channels - first);
                let [factors, bias] = self.parameters(simd, first);
                for pixel in start..(start + PIXELS).min(pixels) {
                    let y = self.finished::<S, SIZE>(simd, pixel, [first, lanes], factors, bias);
                    let to = &mut self.out.row(pixel)[first * SIZE..(first + lanes) * SIZE];
                    store::<S, SIZE>(simd, to, y);
                }
            }
        }
    }

    /// Factors and bias of a vector of channels; zeros if the layer has none.
    #[inline(always)]
    fn parameters<S: KernelSimd>(&self, simd: S, first: usize) -> [S::f32s; 2] {
        let nothing = simd.splat_f32s(0.0);
        let factors = match self.lane {
            Sum::Float => nothing,
            _ => vector(simd, self.factors, first),
        };
        let bias = match self.bias.is_empty() {
            true => nothing,
            false => vector(simd, self.bias, first),
        };
        [factors, bias]
    }

    /// Outputs of some lanes of a pixel, as integers or floats of 32 bits.
    #[inline(always)]
    fn finished<S: KernelSimd, const SIZE: usize>(
        &self,
        simd: S,
        pixel: usize,
        [first, lanes]: [usize; 2],
        factors: S::f32s,
        bias: S::f32s,
    ) -> S::f32s {
        let steps = self.steps;
        let zero = simd.splat_f32s(0.0);
        let mut y = vector(simd, self.sums, pixel * self.row + first);
        let integers = self.lane != Sum::Float;
        if integers {
            let number = match self.lane {
                Sum::Integer => simd.floats_of_s32s(y),
                _ => y,
            };
            if SIZE == 4 && steps.is_exact() {
                let negative = simd.less_than_f32s(number, zero);
                let y = match self.lane {
                    Sum::Integer => y,
                    _ => simd.s32s_of_floats(y),
                };
                // A zero has the same bits as an integer.
                return match steps.relu() {
                    true => simd.select_f32s(negative, zero, y),
                    false => y,
                };
            }
            y = simd.mul_f32s(number, factors);
        }
        if !self.bias.is_empty() {
            y = simd.add_f32s(y, bias);
        }
        let mut residual = None;
        if let Some(rows) = &self.residual {
            residual = Some(rows.load(simd, pixel, first, lanes));
        }
        outputs::<S, SIZE>(simd, steps, integers, y, residual)
    }
}

/// True if no number exceeds [`ORDINARY`]. It compares all, so that the compiler makes vectors of them.
#[inline(always)]
fn are_ordinary(numbers: &[f32]) -> bool {
    let mut all = true;
    for x in numbers {
        all &= x.abs() <= ORDINARY;
    }
    all
}

/// Operands of the steps to a byte, in every lane.
#[derive(Clone, Copy)]
struct Steps<V> {
    residual_scale: V,
    residual_zero: V,
    inverse: V,
    zero: V,
    least: V,
    most: V,
}

impl<V: Copy> Steps<V> {
    /// Steps of a layer whose outputs have limits.
    ///
    /// A ReLU before the last scale and zero point is a lower limit after them: neither changes the order of two numbers.
    #[inline(always)]
    fn of<S: KernelSimd<f32s = V>>(simd: S, steps: &Requantisation) -> Self {
        let [least, most] = steps.dst().limits().expect("bytes have limits");
        let least = match steps.relu() {
            true => least.max(steps.zero()),
            false => least,
        };
        let residual = steps.residual();
        Steps {
            residual_scale: simd.splat_f32s(residual.scale.get()),
            residual_zero: simd.splat_f32s(residual.zero as f32),
            inverse: simd.splat_f32s(steps.inverse()),
            zero: simd.splat_f32s(steps.zero()),
            least: simd.splat_f32s(least),
            most: simd.splat_f32s(most),
        }
    }

    /// Scaled sums plus residuals.
    #[inline(always)]
    fn plus<S: KernelSimd<f32s = V>>(&self, simd: S, y: V, residual: V) -> V {
        let r = simd.sub_f32s(residual, self.residual_zero);
        simd.add_f32s(y, simd.mul_f32s(self.residual_scale, r))
    }

    /// Integers within the limits of scaled sums, which aren't NaNs: all steps after the residual.
    #[inline(always)]
    fn byte<S: KernelSimd<f32s = V>>(&self, simd: S, y: V) -> V {
        let y = simd.add_f32s(simd.mul_f32s(y, self.inverse), self.zero);
        let y = simd.min_f32s(simd.max_f32s(y, self.least), self.most);
        simd.s32s_of_floats(y)
    }
}

/// Scaled sums plus bias, for the lanes from channel `first` on. `sums` are those of a pixel.
///
/// # Safety
/// Sums and factors have a vector from `first` on, and so has the bias, unless it is empty.
#[inline(always)]
unsafe fn scaled<S: KernelSimd, const INTEGERS: bool>(
    simd: S,
    sums: *const f32,
    factors: &[f32],
    bias: &[f32],
    first: usize,
) -> S::f32s {
    // SAFETY: the caller's promise.
    let (number, factors) = unsafe {
        let number = simd.load_f32s(sums.add(first));
        (number, simd.load_f32s(factors.as_ptr().add(first)))
    };
    let number = match INTEGERS {
        true => simd.floats_of_s32s(number),
        false => number,
    };
    let y = simd.mul_f32s(number, factors);
    if bias.is_empty() {
        return y;
    }
    // SAFETY: the caller's promise.
    let bias = unsafe { simd.load_f32s(bias.as_ptr().add(first)) };
    simd.add_f32s(y, bias)
}

/// Outputs of `SIZE` bytes of scaled sums: all steps after the bias. `integers` tells if the layer is one of integers.
#[inline(always)]
pub(super) fn outputs<S: KernelSimd, const SIZE: usize>(
    simd: S,
    steps: &Requantisation,
    integers: bool,
    mut y: S::f32s,
    residual: Option<S::f32s>,
) -> S::f32s {
    if let Some(r) = residual {
        let affine = steps.residual();
        let r = simd.sub_f32s(r, simd.splat_f32s(affine.zero as f32));
        y = simd.add_f32s(y, simd.mul_f32s(simd.splat_f32s(affine.scale.get()), r));
    }
    if steps.relu() {
        y = simd.at_least(simd.splat_f32s(0.0), y);
    }
    if integers {
        y = simd.mul_f32s(y, simd.splat_f32s(steps.inverse()));
    }
    match (SIZE, steps.dst().limits()) {
        (2, _) => simd.bf16s_of_floats(y),
        (_, Some(limits)) => saturated(simd, y, steps.zero(), limits),
        (_, None) => y,
    }
}

/// Floats plus a zero point as integers, rounded to nearest even and saturated. A NaN becomes 0.
#[inline(always)]
fn saturated<S: KernelSimd>(simd: S, y: S::f32s, zero: f32, limits: [f32; 2]) -> S::f32s {
    let [least, most] = [simd.splat_f32s(limits[0]), simd.splat_f32s(limits[1])];
    let y = simd.add_f32s(y, simd.splat_f32s(zero));
    let y = simd.select_f32s(simd.equal_f32s(y, y), y, simd.splat_f32s(0.0));
    // The limits are integers, so saturation may come before the rounding.
    let y = simd.at_least(least, y);
    let y = simd.select_f32s(simd.less_than_f32s(y, most), y, most);
    simd.s32s_of_floats(y)
}

/// Vector at an index of `from`.
#[inline(always)]
fn vector<S: KernelSimd>(simd: S, from: &[f32], at: usize) -> S::f32s {
    let from = &from[at..at + S::F32_LANES];
    // SAFETY: the slice has a vector.
    unsafe { simd.load_f32s(from.as_ptr()) }
}

impl<'a> ResidualRows<'a> {
    /// Rows of a residual on NHWC, from a pixel of all images and a channel on.
    pub fn of(residual: TensorRef<'a>, pixel: usize, channel: usize) -> Self {
        let (dtype, [_, channels, ..]) = (residual.desc().dtype(), residual.desc().dims());
        ResidualRows {
            bytes: &residual.bytes()[(pixel * channels + channel) * dtype.size()..],
            dtype,
            stride: channels * dtype.size(),
        }
    }
}

impl ResidualRows<'_> {
    /// The first `lanes` of a vector as floats. Others are zeros.
    #[inline(always)]
    fn load<S: KernelSimd>(&self, simd: S, pixel: usize, first: usize, lanes: usize) -> S::f32s {
        let size = self.dtype.size();
        let at = pixel * self.stride + first * size;
        load_part(simd, self.dtype, &self.bytes[at..at + lanes * size])
    }
}

/// Elements as floats, as many as `from` has bytes for, at most a vector. Other lanes are zeros.
#[inline(always)]
pub(super) fn load_part<S: KernelSimd>(simd: S, dtype: DType, from: &[u8]) -> S::f32s {
    let vector = S::F32_LANES * dtype.size();
    if from.len() == vector {
        return load(simd, dtype, from);
    }
    let mut whole = [0; BYTES];
    whole[..from.len()].copy_from_slice(from);
    load(simd, dtype, &whole[..vector])
}

/// A vector of elements as floats.
#[inline(always)]
fn load<S: KernelSimd>(simd: S, dtype: DType, from: &[u8]) -> S::f32s {
    assert_eq!(from.len(), S::F32_LANES * dtype.size(), "a vector");
    let at = from.as_ptr();
    // SAFETY: the slice has an element for each lane. No load needs alignment.
    unsafe {
        match dtype {
            DType::U8 => simd.floats_of_s32s(simd.load_u8s(at)),
            DType::S8 => simd.floats_of_s32s(simd.load_s8s(at.cast())),
            DType::Bf16 => simd.load_bf16s(at.cast()),
            DType::S32 => simd.floats_of_s32s(simd.load_f32s(at.cast())),
            DType::F32 => simd.load_f32s(at.cast()),
        }
    }
}

/// Stores the first lanes of a vector as elements of `SIZE` bytes, as many as `to` has room for.
#[inline(always)]
pub(super) fn store<S: KernelSimd, const SIZE: usize>(simd: S, to: &mut [u8], y: S::f32s) {
    if to.len() == S::F32_LANES * SIZE {
        // SAFETY: the slice has an element for each lane.
        unsafe { store_all::<S, SIZE>(simd, to.as_mut_ptr(), y) };
        return;
    }
    let mut whole = [0; BYTES];
    // SAFETY: the array has an element for each lane of any vector.
    unsafe { store_all::<S, SIZE>(simd, whole.as_mut_ptr(), y) };
    let len = to.len();
    to.copy_from_slice(&whole[..len]);
}

/// Stores the low `SIZE` bytes of each lane. They may be unaligned.
///
/// # Safety
/// `to` is valid for a write of as many elements as lanes.
#[inline(always)]
unsafe fn store_all<S: KernelSimd, const SIZE: usize>(simd: S, to: *mut u8, y: S::f32s) {
    // SAFETY: the caller's promise. No store needs alignment.
    unsafe {
        match SIZE {
            1 => simd.store_low_bytes(to, y),
            2 => simd.store_low_halves(to.cast(), y),
            _ => simd.store_f32s(to.cast(), y),
        }
    }
}
