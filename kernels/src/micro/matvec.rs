//! A panel of weights against one vector: a fully connected layer on one image.
//!
//! Each weight is read once, for one multiply-add: what counts is that lines arrive without a pause. So there are
//! several sums of each output, or additions would wait for each other, and each goes through a part of the inputs of
//! its own: several streams of lines keep more of memory's banks and of the prefetchers busy than one, which stop at
//! each page. On Zen 3 four streams read weights from memory 1.15 to 1.3 times as fast as one that was asked for ahead,
//! at the distance that suited it best; asking ahead adds nothing to four.
#![allow(unsafe_code)]

use super::gemm::load;
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
    /// 16 or 32 outputs.
    pub out: &'o mut [f32],
}

impl SimdTask for PanelTimesVector<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        // Vectors of outputs, and sums of each.
        match (S::F32_LANES, self.out.len() / CHANNEL_BLOCK) {
            (16, 2) => self.panel::<S, 2, 4>(simd),
            (16, 1) => self.panel::<S, 1, 4>(simd),
            (8, 1) => self.panel::<S, 2, 4>(simd),
            (4, 1) => self.panel::<S, 4, 4>(simd),
            (1, 1) => self.panel::<S, 16, 1>(simd),
            (lanes, blocks) => panic!("no panel of {blocks} channel blocks for {lanes} lanes"),
        }
    }
}

impl PanelTimesVector<'_, '_> {
    #[inline(always)]
    fn panel<S: KernelSimd, const V: usize, const K: usize>(self, simd: S) {
        let PanelTimesVector {
            x,
            panel,
            residual,
            relu,
            out,
        } = self;
        let row = V * S::F32_LANES;
        assert_eq!(out.len(), row);
        assert!(residual.is_none_or(|r| r.len() == row));
        let part = x.len() / K;
        assert!(x.len() == K * part && panel.len() >= (x.len() + 1) * row);
        let mut sums = [[simd.splat_f32s(0.0); V]; K];
        // SAFETY: the panel's first row.
        sums[0] = unsafe { load::<S, V>(simd, panel.as_ptr()) };
        // SAFETY: inside the panel, of one row for each input behind the first.
        let weights = unsafe { panel.as_ptr().add(row) };
        for i in 0..part {
            for (k, sums) in sums.iter_mut().enumerate() {
                let input = k * part + i;
                // SAFETY: an input's row, and below K parts.
                let (w, x) = unsafe {
                    (
                        load::<S, V>(simd, weights.add(input * row)),
                        simd.splat_f32s(*x.get_unchecked(input)),
                    )
                };
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = simd.mul_add_e_f32s(x, w, *sum);
                }
            }
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
