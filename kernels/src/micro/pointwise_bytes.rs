//! Copies, ReLUs, sums and conversions of narrow elements, one by one in the order of memory.
#![allow(unsafe_code)]

use super::bytes::{Ordered, Vectors, each_vector, load, store, vector_bytes};
use super::requantise::{load_part, outputs, store as store_elements};
use crate::arch::{KernelSimd, stream_fence};
use crate::dtype::{Bf16, DType};
use crate::isa::SimdTask;
use crate::problem::{Affine, Requantisation};
use crate::tensor::CacheLine;
use std::marker::PhantomData;
use std::ops::Range;

/// Copies elements, and replaces negative ones by 0 if there is a ReLU. A NaN stays one.
pub struct MapBytes<'a, 'o> {
    /// Element type: u8, s8 or bf16.
    pub dtype: DType,
    /// Applies a ReLU.
    pub relu: bool,
    /// Bytes of the elements.
    pub src: &'a [u8],
    /// Uses non-temporal stores, if `out` is aligned to cache lines.
    pub stream: bool,
    /// Bytes of the outputs, as many as those of the source.
    pub out: &'o mut [u8],
}

impl SimdTask for MapBytes<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        match (self.relu, self.dtype) {
            (true, DType::S8) => self.each::<S, Relu<i8>>(simd),
            (true, DType::Bf16) => self.each::<S, Relu<Bf16>>(simd),
            (true, DType::U8) | (false, _) => self.each::<S, Copied>(simd),
            (true, DType::F32 | DType::S32) => panic!("a ReLU of {}", self.dtype),
        }
    }
}

impl MapBytes<'_, '_> {
    #[inline(always)]
    fn each<S: KernelSimd, F: Map>(self, simd: S) {
        let (src, out) = (self.src, self.out);
        assert_eq!(src.len(), out.len(), "bytes");
        let (vector, end) = (vector_bytes::<S>(), out.len());
        let mut done = 0;
        if self.stream && out.as_ptr().addr().is_multiple_of(CacheLine::BYTES) {
            while done + vector <= end {
                // SAFETY: both have a vector from `done` on. Vectors of aligned lines are aligned.
                unsafe {
                    let x = load(simd, src.as_ptr().add(done), vector);
                    simd.stream_f32s(out.as_mut_ptr().add(done).cast(), F::of(simd, x));
                }
                done += vector;
            }
            stream_fence();
        }
        let mut rest = Mapped::<F> {
            src,
            out,
            function: PhantomData,
        };
        each_vector(simd, done, end, &mut rest);
    }
}

/// A function of each element.
trait Map {
    /// Its values for a vector of elements.
    fn of<S: KernelSimd>(simd: S, x: S::f32s) -> S::f32s;
}

/// The element itself.
struct Copied;

impl Map for Copied {
    #[inline(always)]
    fn of<S: KernelSimd>(_: S, x: S::f32s) -> S::f32s {
        x
    }
}

/// ReLU: the larger one of an element and 0.
struct Relu<E>(PhantomData<E>);

impl<E: Ordered> Map for Relu<E> {
    #[inline(always)]
    fn of<S: KernelSimd>(simd: S, x: S::f32s) -> S::f32s {
        let zero = E::keys(simd, simd.splat_f32s(0.0));
        E::elements(simd, E::max(simd, E::keys(simd, x), zero))
    }
}

/// Elements and their values.
struct Mapped<'a, 'o, F> {
    src: &'a [u8],
    out: &'o mut [u8],
    function: PhantomData<F>,
}

impl<F: Map> Vectors for Mapped<'_, '_, F> {
    #[inline(always)]
    fn vector<S: KernelSimd>(&mut self, simd: S, at: usize, bytes: usize) {
        let from = &self.src[at..at + bytes];
        // SAFETY: the slice has these bytes.
        let x = unsafe { load(simd, from.as_ptr(), bytes) };
        store(simd, &mut self.out[at..at + bytes], F::of(simd, x));
    }
}

/// Converts elements to the destination's type, and adds those of a second tensor if there is one. The arithmetic is that of
/// [`Requantisation`] if source or destination are integers, else that of f32.
pub struct ConvertBytes<'a, 'o> {
    /// Elements: their type and their bytes.
    pub src: (DType, &'a [u8]),
    /// Elements of the residual.
    pub residual: Option<(DType, &'a [u8])>,
    /// Meaning of integer elements of the source. It is the default for others.
    pub affine: Affine,
    /// The steps. Their destination is the type of `out`.
    pub steps: &'a Requantisation,
    /// Bytes of as many outputs.
    pub out: &'o mut [u8],
}

impl SimdTask for ConvertBytes<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        match self.steps.dst().size() {
            1 => self.elements::<S, 1>(simd),
            2 => self.elements::<S, 2>(simd),
            _ => self.elements::<S, 4>(simd),
        }
    }
}

impl ConvertBytes<'_, '_> {
    /// Outputs with elements of `SIZE` bytes.
    #[inline(always)]
    fn elements<S: KernelSimd, const SIZE: usize>(self, simd: S) {
        let integers = self.src.0.is_integer() || self.steps.dst().is_integer();
        let factor = simd.splat_f32s(self.affine.scale.get());
        let zero = simd.splat_f32s(self.affine.zero as f32);
        let elements = self.out.len() / SIZE;
        for first in (0..elements).step_by(S::F32_LANES) {
            let own = first..elements.min(first + S::F32_LANES);
            let mut y = floats(simd, self.src, &own);
            if integers {
                y = simd.mul_f32s(simd.sub_f32s(y, zero), factor);
            }
            let mut residual = None;
            if let Some(elements) = self.residual {
                residual = Some(floats(simd, elements, &own));
            }
            let y = outputs::<S, SIZE>(simd, self.steps, integers, y, residual);
            let to = &mut self.out[own.start * SIZE..own.end * SIZE];
            store_elements::<S, SIZE>(simd, to, y);
        }
    }
}

/// Some elements as floats, at most a vector.
#[inline(always)]
fn floats<S: KernelSimd>(
    simd: S,
    (dtype, bytes): (DType, &[u8]),
    elements: &Range<usize>,
) -> S::f32s {
    let (start, end) = (elements.start * dtype.size(), elements.end * dtype.size());
    load_part(simd, dtype, &bytes[start..end])
}
