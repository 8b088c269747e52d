//! Bilinear pooling before and after its matrix product: the operands, roots and norms.

#![allow(unsafe_code)]

use super::channels::{Pixel, lanes_of, pixel_mut, put, vectors};
use super::gemm::load;
use crate::arch::{KernelSimd, array};
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;

/// Copies the maps of one or two channel blocks to a panel of a matrix product. The panel has zeros in place of a bias,
/// then a row per position.
pub struct PackPanel<'a, 'o> {
    /// The maps, one after another.
    pub maps: &'a [f32],
    /// Channel blocks.
    pub blocks: usize,
    /// The panel.
    pub out: &'o mut [f32],
}

impl SimdTask for PackPanel<'_, '_> {
    type Output = ();
    const TWINS: bool = false;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        in_blocks!(S, V => self.panel::<S, V>(simd));
    }
}

impl PackPanel<'_, '_> {
    #[inline(always)]
    fn panel<S: KernelSimd, const V: usize>(self, simd: S) {
        let PackPanel { maps, blocks, out } = self;
        out[..blocks * CHANNEL_BLOCK].fill(0.0);
        let pixels = maps.as_chunks::<CHANNEL_BLOCK>().0;
        let positions = pixels.len() / blocks;
        for (block, map) in pixels.chunks_exact(positions).enumerate() {
            for (position, pixel) in map.iter().enumerate() {
                let to = pixel_mut(out, (position + 1) * blocks + block);
                put::<S, V>(simd, to, vectors::<S, V>(simd, pixel));
            }
        }
    }
}

/// Replaces each y by `sign(y) sqrt |y|`.
pub struct SignedRoots<'o> {
    /// Any number of values.
    pub y: &'o mut [f32],
}

impl SimdTask for SignedRoots<'_> {
    type Output = ();
    const TWINS: bool = false;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let root = |y| {
            let root = simd.sqrt_f32s(simd.abs_f32s(y));
            let negative = simd.less_than_f32s(y, simd.splat_f32s(0.0));
            simd.select_f32s(negative, simd.neg_f32s(root), root)
        };
        let mut vectors = self.y.chunks_exact_mut(S::F32_LANES);
        for y in &mut vectors {
            // SAFETY: a chunk is a vector.
            unsafe {
                let [x] = load::<S, 1>(simd, y.as_ptr());
                simd.store_f32s(y.as_mut_ptr(), root(x));
            }
        }
        let rest = vectors.into_remainder();
        let y = simd.load_part_f32s(rest);
        simd.store_part_f32s(rest, root(y));
    }
}

/// Computes the sum of squares.
pub struct SumOfSquares<'a> {
    /// Any number of values.
    pub y: &'a [f32],
}

impl SimdTask for SumOfSquares<'_> {
    type Output = f32;
    const TWINS: bool = false;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) -> f32 {
        in_blocks!(S, V => self.sum::<S, V>(simd))
    }
}

/// Blocks of 16 with independent sums, to hide the latency of additions.
const SIDE_BY_SIDE: usize = 4;

impl SumOfSquares<'_> {
    #[inline(always)]
    fn sum<S: KernelSimd, const V: usize>(self, simd: S) -> f32 {
        let mut sums = [[simd.splat_f32s(0.0); V]; SIDE_BY_SIDE];
        let add = |sums: &mut [S::f32s; V], block: &Pixel| {
            let y = vectors::<S, V>(simd, block);
            for v in 0..V {
                sums[v] = simd.mul_add_e_f32s(y[v], y[v], sums[v]);
            }
        };
        let (blocks, rest) = self.y.as_chunks::<CHANNEL_BLOCK>();
        let (steps, last) = blocks.as_chunks::<SIDE_BY_SIDE>();
        for step in steps {
            for (sums, block) in sums.iter_mut().zip(step) {
                add(sums, block);
            }
        }
        for block in last {
            add(&mut sums[0], block);
        }
        let mut end = [0.0; CHANNEL_BLOCK];
        end[..rest.len()].copy_from_slice(rest);
        add(&mut sums[0], &end);
        let [a, b, c, d] = sums;
        let sum = array(|v| simd.add_f32s(simd.add_f32s(a[v], b[v]), simd.add_f32s(c[v], d[v])));
        lanes_of::<S, V>(simd, sum).into_iter().sum()
    }
}
