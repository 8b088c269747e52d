//! Panels of weights times one vector: a fully connected layer on one image.
//!
//! Each weight is read once, for one multiply-add, so the speed is that of the loads. There are four independent sums,
//! to hide the latency of additions, each over its own stream of cache lines. Four streams use more of memory's banks
//! and prefetchers than one, since a hardware prefetcher stops at each page. The streams are four panels, which share
//! the loaded inputs. The last panels are two panels with two parts of the inputs, or one panel with four parts.
//! Software prefetches gain nothing on top. (Measured: docs/measurements.md, 'streams of weights'.)
//!
//! Elements are words ([`Dot`]). Without dot products, a CPU widens narrow weights in its registers, after they were loaded.
//! So memory holds one byte for each weight of a byte, and two for a bf16, on every instruction set.
#![allow(unsafe_code)]

use super::gemm::{Dot, F32, load};
use crate::arch::{KernelSimd, array};
use crate::bounds::extent;
use crate::isa::{Sets, SimdTask};
use crate::layout::CHANNEL_BLOCK;

/// Computes `out = relu(bias + residual + sum of x[k] * w[k])` for the outputs of some panels. Integer sums have neither
/// residual nor ReLU.
pub struct PanelsTimesVector<'a, 'o, D = F32> {
    /// Inputs: words, a multiple of [`PARTS`].
    pub x: &'a [f32],
    /// Panels, one after another: bias, then a row of weights per input ([`super::pack`]).
    pub panels: &'a [f32],
    /// Floats from a panel to the next; 0 if one panel stands for all.
    pub step: usize,
    /// Blocks of 16 outputs per panel. The last panel may have fewer.
    pub blocks: usize,
    /// One value per output.
    pub residual: Option<&'a [f32]>,
    /// Clamps below at zero.
    pub relu: bool,
    /// Outputs, a multiple of 16.
    pub out: &'o mut [f32],
    /// The types of the operands, and their product.
    pub dot: D,
}

/// Panels that are computed at a time, if there are so many.
pub const SIDE_BY_SIDE: usize = 4;

/// Most parts of the inputs that are summed at a time.
pub const PARTS: usize = 4;

impl<D: Dot> SimdTask for PanelsTimesVector<'_, '_, D> {
    type Output = ();
    const SETS: Sets = Sets::With(D::WORDS);
    const TWINS: bool = D::TWINS;

    #[inline(always)]
    fn run<S: KernelSimd>(mut self, simd: S) {
        assert!(
            const { D::FLOATS } || self.residual.is_none() && !self.relu,
            "an epilogue of integers"
        );
        while !self.out.is_empty() {
            let width = (self.blocks * CHANNEL_BLOCK).min(self.out.len());
            // Vectors of a panel's outputs, panels, and parts of the inputs.
            macro_rules! by {
                ($vectors:literal) => {
                    if self.out.len() >= SIDE_BY_SIDE * width {
                        self.panels::<S, $vectors, SIDE_BY_SIDE, 1>(simd);
                    } else if self.out.len() >= 2 * width {
                        self.panels::<S, $vectors, 2, 2>(simd);
                    } else {
                        self.panels::<S, $vectors, 1, PARTS>(simd);
                    }
                };
            }
            match (S::F32_LANES, width / CHANNEL_BLOCK) {
                (16, 2) => by!(2),
                (16, 1) => by!(1),
                (8, 1) => by!(2),
                (4, 1) => by!(4),
                (1, 1) => self.panels::<S, 16, 1, 1>(simd),
                (lanes, blocks) => panic!("no panel of {blocks} channel blocks for {lanes} lanes"),
            }
        }
    }
}

impl<D: Dot> PanelsTimesVector<'_, '_, D> {
    /// Computes the first `N` panels and removes them from the task. There are `N` x `K` sums for each of a panel's `V`
    /// vectors.
    #[inline(always)]
    fn panels<S: KernelSimd, const V: usize, const N: usize, const K: usize>(&mut self, simd: S) {
        let (x, panels, step, dot) = (self.x, self.panels, self.step, self.dot);
        let row = V * S::F32_LANES;
        let part = x.len() / K;
        assert!(panels.len() >= extent(N, step, extent(x.len() + 1, row, row)));
        self.panels = panels.get(N * step..).unwrap_or_default();
        let out = self.out.split_off_mut(..N * row).expect("outputs");
        let residual = self.residual.as_mut();
        let residual = residual.map(|r| r.split_off(..N * row).expect("as many as outputs"));
        assert!(x.len() == K * part);
        let mut sums = [[[simd.splat_f32s(0.0); V]; K]; N];
        for (n, sums) in sums.iter_mut().enumerate() {
            // SAFETY: a panel's first row.
            sums[0] = unsafe { load::<S, V>(simd, panels.as_ptr().add(n * step)) };
        }
        // SAFETY: inside the first panel, which has a row for each input after the first row.
        let weights = unsafe { panels.as_ptr().add(row) };
        for i in 0..part {
            for k in 0..K {
                let input = k * part + i;
                // SAFETY: an index in one of K parts of the inputs.
                let x = unsafe { simd.splat_f32s(*x.get_unchecked(input)) };
                for (n, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: an input's row in one of N panels.
                    let w = unsafe { load::<S, V>(simd, weights.add(n * step + input * row)) };
                    let old = sums[k];
                    sums[k] = array(|v| dot.dot(simd, old[v], x, w[v]));
                }
            }
        }
        let floor = simd.splat_f32s(if self.relu { 0.0 } else { f32::NEG_INFINITY });
        for (n, sums) in sums.iter().enumerate() {
            for v in 0..V {
                let mut y = sums[0][v];
                for sum in &sums[1..] {
                    y = dot.add(simd, y, sum[v]);
                }
                let at = n * row + v * S::F32_LANES;
                if let Some(residual) = residual {
                    // SAFETY: the residual is as long as the outputs.
                    let [r] = unsafe { load::<S, 1>(simd, residual.as_ptr().add(at)) };
                    y = simd.add_f32s(y, r);
                }
                if const { D::FLOATS } {
                    y = simd.at_least(floor, y);
                }
                // SAFETY: V vectors of outputs of N panels.
                unsafe { simd.store_f32s(out.as_mut_ptr().add(at), y) };
            }
        }
    }
}
