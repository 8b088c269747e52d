//! A panel of weights against one vector: a fully connected layer on one image.
//!
//! Each weight is read once, for one multiply-add: what counts is that lines arrive without a pause. So there are
//! several sums of each output, or additions would wait for each other. Weights from memory are asked for a little
//! ahead, as the hardware's prefetchers stop at each page; from a cache that only costs: 8 MB in L3 came at .75 of a
//! plain read with prefetches, .94 without (Zen 4).
#![allow(unsafe_code)]

use super::gemm::{ask_for_weights, load};
use crate::arch::KernelSimd;
use crate::blocking::CHANNEL_BLOCK;
use crate::isa::SimdTask;

/// `out = relu(bias + residual + sum of x[k] * w[k])` for one or two blocks of 16 outputs.
pub struct PanelTimesVector<'a, 'o> {
    /// A multiple of 4 inputs.
    pub x: &'a [f32],
    /// Bias, then weights, a row for each input ([`super::pack`]).
    pub panel: &'a [f32],
    /// As many as outputs.
    pub residual: Option<&'a [f32]>,
    /// Clamp below at zero.
    pub relu: bool,
    /// Whether weights come from beyond the caches.
    pub far: bool,
    /// 16 or 32 outputs.
    pub out: &'o mut [f32],
}

/// How many elements before they are read weights from memory are asked for: 256 bytes. This loop reads at memory's
/// pace, which the hardware's prefetchers keep by themselves, where the register tile has them fall behind. On Zen 3
/// 4096-4096 reads 21.4 GB/s so, 21.1 without asking, 19.8 at 512 bytes, 18.0 at 2 KB (a loop that only reads 20.8); a
/// loop that only reads on a virtual Xeon 17.5 without, 20 at 512 bytes and 1 KB, 18 at 2 KB.
const AHEAD: usize = 64;

impl SimdTask for PanelTimesVector<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        // Vectors of outputs, and inputs a step: so many sums of each.
        match (S::F32_LANES, self.out.len() / CHANNEL_BLOCK) {
            (16, 2) => self.either::<S, 2, 4>(simd),
            (16, 1) => self.either::<S, 1, 4>(simd),
            (8, 1) => self.either::<S, 2, 4>(simd),
            (4, 1) => self.either::<S, 4, 4>(simd),
            (1, 1) => self.either::<S, 16, 1>(simd),
            (lanes, blocks) => panic!("no panel of {blocks} channel blocks for {lanes} lanes"),
        }
    }
}

impl PanelTimesVector<'_, '_> {
    #[inline(always)]
    fn either<S: KernelSimd, const V: usize, const K: usize>(self, simd: S) {
        if self.far {
            self.panel::<S, V, K, true>(simd);
        } else {
            self.panel::<S, V, K, false>(simd);
        }
    }

    #[inline(always)]
    fn panel<S: KernelSimd, const V: usize, const K: usize, const FAR: bool>(self, simd: S) {
        let PanelTimesVector {
            x,
            panel,
            residual,
            relu,
            far: _,
            out,
        } = self;
        let row = V * S::F32_LANES;
        assert_eq!(out.len(), row);
        assert!(residual.is_none_or(|r| r.len() == row));
        let (steps, rest) = x.as_chunks::<K>();
        assert!(rest.is_empty() && panel.len() >= (x.len() + 1) * row);
        let mut sums = [[simd.splat_f32s(0.0); V]; K];
        // SAFETY: the panel's first row.
        sums[0] = unsafe { load::<S, V>(simd, panel.as_ptr()) };
        // SAFETY: inside the panel, of one row for each input behind the first.
        let mut weights = unsafe { panel.as_ptr().add(row) };
        for step in steps {
            if FAR {
                ask_for_weights(simd, weights.wrapping_add(AHEAD), K * row);
            }
            for (k, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the step's k-th row, and an input of the step.
                let (w, x) = unsafe {
                    (
                        load::<S, V>(simd, weights.add(k * row)),
                        simd.broadcast::<K>(step.as_ptr(), k),
                    )
                };
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = simd.mul_add_e_f32s(x, w, *sum);
                }
            }
            // SAFETY: as many rows as the steps have inputs.
            weights = unsafe { weights.add(K * row) };
        }
        let floor = simd.splat_f32s(if relu { 0.0 } else { f32::NEG_INFINITY });
        for v in 0..V {
            let mut y = sums[0][v];
            for sum in &sums[1..] {
                y = simd.add_f32s(y, sum[v]);
            }
            let at = v * S::F32_LANES;
            if let Some(residual) = residual {
                // SAFETY: as long as the outputs (asserted).
                let [r] = unsafe { load::<S, 1>(simd, residual.as_ptr().add(at)) };
                y = simd.add_f32s(y, r);
            }
            // SAFETY: V vectors of outputs (asserted).
            unsafe { simd.store_f32s(out.as_mut_ptr().add(at), simd.at_least(floor, y)) };
        }
    }
}
