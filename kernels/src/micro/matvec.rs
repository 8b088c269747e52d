//! Panels of weights against one vector: a fully connected layer on one image.
//!
//! Each weight is read once, for one multiply-add: what counts is that lines arrive without a pause. So there are
//! several sums side by side, or additions would wait for each other, each over a stream of lines of its own: several
//! streams keep more of memory's banks and of the prefetchers busy than one, which stop at each page. On Zen 3 four
//! streams read weights from memory 1.15 to 1.3 times as fast as one that was asked for ahead, at the distance that
//! suited it best; asking ahead adds nothing to four. They are four panels, which share the inputs that are read, or, of
//! what panels are left, parts of the inputs of two or of one: from L3 four panels are 1.04 to 1.11 times as fast
//! as four parts, from L2 1.07 times.
#![allow(unsafe_code)]

use super::gemm::load;
use crate::arch::KernelSimd;
use crate::bounds::extent;
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;

/// `out = relu(bias + residual + sum of x[k] * w[k])`, for the outputs of some panels.
pub struct PanelsTimesVector<'a, 'o> {
    /// A multiple of 4 inputs.
    pub x: &'a [f32],
    /// Panels, one behind the other: bias, then weights, a row for each input ([`super::pack`]).
    pub panels: &'a [f32],
    /// Floats from a panel to the next; 0 if one stands for all.
    pub step: usize,
    /// Blocks of 16 outputs in a panel; the last may have fewer.
    pub blocks: usize,
    /// As many as outputs.
    pub residual: Option<&'a [f32]>,
    /// Clamp below at zero.
    pub relu: bool,
    /// A multiple of 16 outputs.
    pub out: &'o mut [f32],
}

/// Panels that are computed side by side, if there are as many.
pub const SIDE_BY_SIDE: usize = 4;

impl SimdTask for PanelsTimesVector<'_, '_> {
    type Output = ();
    const TWINS: bool = true;

    #[inline(always)]
    fn run<S: KernelSimd>(mut self, simd: S) {
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
                        self.panels::<S, $vectors, 1, 4>(simd);
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

impl PanelsTimesVector<'_, '_> {
    /// The first `N` panels, which are taken from the task; `N` x `K` sums of each vector of a panel's `V`.
    #[inline(always)]
    fn panels<S: KernelSimd, const V: usize, const N: usize, const K: usize>(&mut self, simd: S) {
        let (x, panels, step, relu) = (self.x, self.panels, self.step, self.relu);
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
        // SAFETY: inside the first panel, of one row for each input behind the first.
        let weights = unsafe { panels.as_ptr().add(row) };
        for i in 0..part {
            for k in 0..K {
                let input = k * part + i;
                // SAFETY: below K parts.
                let x = unsafe { simd.splat_f32s(*x.get_unchecked(input)) };
                for (n, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: an input's row in one of N panels.
                    let w = unsafe { load::<S, V>(simd, weights.add(n * step + input * row)) };
                    for (sum, w) in sums[k].iter_mut().zip(w) {
                        *sum = simd.mul_add_e_f32s(x, w, *sum);
                    }
                }
            }
        }
        let floor = simd.splat_f32s(if relu { 0.0 } else { f32::NEG_INFINITY });
        for (n, sums) in sums.iter().enumerate() {
            for v in 0..V {
                let mut y = sums[0][v];
                for sum in &sums[1..] {
                    y = simd.add_f32s(y, sum[v]);
                }
                let at = n * row + v * S::F32_LANES;
                if let Some(residual) = residual {
                    // SAFETY: as long as the outputs.
                    let [r] = unsafe { load::<S, 1>(simd, residual.as_ptr().add(at)) };
                    y = simd.add_f32s(y, r);
                }
                // SAFETY: V vectors of outputs of N panels.
                unsafe { simd.store_f32s(out.as_mut_ptr().add(at), simd.at_least(floor, y)) };
            }
        }
    }
}
