//! Windows over plain maps: lanes are pixels of a row.
//!
//! The rows of a window are folded first, whole rows at once, into a row with room for the padding, which
//! holds what is folded of nothing: so no window is a special case at the border. Its columns are then
//! folded with loads that overlap. At a stride of 2, even and odd columns are parted on the way, after
//! which windows are neighbours:
//!
//! ```text
//! 3x3, stride 2:   even columns  0 2 4 6 8 ..      output x from even columns x and x + 1
//!                  odd columns   1 3 5 7 9 ..      and odd column x
//! ```
#![allow(unsafe_code)]

use super::fold::{Fold, Reduce, ReduceTask};
use super::gemm::load;
use super::pool::{Pixel, Row};
use super::windows::{Axis, Span, Window};
use crate::arch::KernelSimd;
use crate::exec::RowsMut;
use crate::isa::SimdTask;

/// Some rows of the outputs of some maps.
pub struct PoolMaps<'a> {
    /// The input maps, one behind the other.
    pub maps: &'a [f32],
    /// Down.
    pub vertical: &'a Axis,
    /// Across.
    pub horizontal: &'a Axis,
    /// For each output column, one over the columns that a mean divides by ([`column_scales`]).
    pub scales: &'a [f32],
    /// The first output row.
    pub first: usize,
    /// For each map, its output rows.
    pub out: RowsMut<'a, f32>,
    /// What is made of a window.
    pub reduce: Reduce,
    /// Floats for folded rows, [`scratch_len`] of them.
    pub scratch: &'a mut [f32],
}

/// The most lanes.
const LANES: usize = 16;

/// Rows that are folded down before they are folded across: by then what was stored can be loaded at
/// any offset.
const ROWS: usize = 4;

/// The most vectors of a fold's state.
const STATES: usize = 2;

/// Floats of scratch for a task.
pub fn scratch_len(horizontal: &Window) -> usize {
    ROWS * STATES * row_len(horizontal)
}

/// For each output column, one over the columns that a mean divides by, and ones for the lanes beyond.
pub fn column_scales(horizontal: &Axis) -> Vec<f32> {
    let scales = horizontal.spans().iter().map(|span| 1.0 / span.count);
    scales.chain([1.0; LANES]).collect()
}

/// Floats from a part of a folded row to the next: the row's even columns, or its odd ones, or all.
fn pitch(horizontal: &Window) -> usize {
    let span = (horizontal.kernel - 1) * horizontal.dilation;
    let columns = |floats: usize| floats.div_ceil(parts(horizontal));
    let read = match horizontal.stride {
        stride @ 3.. => stride * horizontal.out + span,
        _ => horizontal.out.next_multiple_of(LANES) + columns(span),
    };
    // Whole vectors are written, two of them where even and odd columns are parted.
    let size = horizontal.size.next_multiple_of(2 * LANES);
    let written = columns(horizontal.before + size) + 1;
    read.max(written).next_multiple_of(LANES)
}

/// In how many parts a folded row is stored.
fn parts(horizontal: &Window) -> usize {
    if horizontal.stride == 2 { 2 } else { 1 }
}

/// Floats of a folded row.
fn row_len(horizontal: &Window) -> usize {
    parts(horizontal) * pitch(horizontal)
}

impl SimdTask for PoolMaps<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        self.reduce.run(simd, self);
    }
}

impl ReduceTask for PoolMaps<'_> {
    #[inline(always)]
    fn with<S: KernelSimd, F: Fold<P>, const P: usize>(mut self, simd: S, fold: F) {
        const { assert!(P <= STATES) };
        let (down, across) = (*self.vertical.window(), *self.horizontal.window());
        let (map, row) = (down.size * across.size, row_len(&across));
        let scratch = &mut self.scratch[..ROWS * P * row];
        for (i, part) in scratch.chunks_exact_mut(row).enumerate() {
            part.fill(fold.nothing(pulp::Scalar::new())[i % P]);
        }
        assert!(self.scales.len() >= across.out + LANES);
        let rows = Rows {
            down: self.vertical,
            across: self.horizontal,
            pitch: pitch(&across),
            row,
            scales: self.scales,
            last_input: last_lanes(simd, across.size),
            last_output: last_lanes(simd, across.out),
            fold,
        };
        for (m, map) in (0..self.out.rows()).zip(self.maps.chunks_exact(map)) {
            let out = self.out.row(m).chunks_mut(ROWS * across.out);
            for (first, out) in (self.first..).step_by(ROWS).zip(out) {
                rows.fill(simd, map, first, scratch, out);
            }
        }
    }
}

/// The lanes that a row of `len` has in its last vector.
#[inline(always)]
pub(super) fn last_lanes<S: KernelSimd>(simd: S, len: usize) -> S::m32s {
    let lanes = (len - 1) % S::F32_LANES + 1;
    simd.first_lanes(lanes)
}

/// What all rows of outputs have in common.
struct Rows<'a, M, F> {
    down: &'a Axis,
    across: &'a Axis,
    /// Floats from a part of a folded row to the next, and of a folded row.
    pitch: usize,
    row: usize,
    scales: &'a [f32],
    last_input: M,
    last_output: M,
    fold: F,
}

impl<M: Copy, F> Rows<'_, M, F> {
    /// Up to `ROWS` rows of outputs.
    #[inline(always)]
    fn fill<S: KernelSimd<m32s = M>, const P: usize>(
        &self,
        simd: S,
        map: &[f32],
        first: usize,
        scratch: &mut [f32],
        out: &mut [f32],
    ) where
        F: Fold<P>,
    {
        let width = self.across.window().out;
        let spans = &self.down.spans()[first..][..out.len() / width];
        let mut watch = simd.splat_f32s(0.0);
        self.folded(simd, map, spans, scratch, out, &mut watch);
        if F::LOSES_NAN && simd.reduce_sum_f32s(watch).is_nan() {
            let pixel = Pixel { count: 1, strip: 1 };
            for (span, out) in spans.iter().zip(out.chunks_exact_mut(width)) {
                let row = Row::new(map, pixel, (self.down, self.across), *span, self.fold);
                row.singly(pulp::Scalar::new(), 0..width, out);
            }
        }
    }

    /// Rows of outputs by way of folded rows in memory.
    #[inline(always)]
    fn folded<S: KernelSimd<m32s = M>, const P: usize>(
        &self,
        simd: S,
        map: &[f32],
        spans: &[Span],
        scratch: &mut [f32],
        out: &mut [f32],
        watch: &mut S::f32s,
    ) where
        F: Fold<P>,
    {
        let Window {
            out: width,
            size,
            kernel,
            stride,
            ..
        } = *self.across.window();
        for (span, folded) in spans.iter().zip(scratch.chunks_exact_mut(P * self.row)) {
            let map = &map[span.first * size..];
            match span.len {
                2 => self.down::<S, P, 2>(simd, map, 2, folded, watch),
                3 => self.down::<S, P, 3>(simd, map, 3, folded, watch),
                n => self.down::<S, P, 0>(simd, map, n, folded, watch),
            }
        }
        let folded = scratch.chunks_exact(P * self.row);
        for ((span, out), folded) in spans.iter().zip(out.chunks_exact_mut(width)).zip(folded) {
            let rows = 1.0 / span.count;
            match (kernel, stride) {
                (_, 3..) => self.pick::<P>(rows, folded, out),
                (2, _) => self.across::<S, P, 2>(simd, rows, folded, out),
                (3, _) => self.across::<S, P, 3>(simd, rows, folded, out),
                _ => self.across::<S, P, 0>(simd, rows, folded, out),
            }
        }
    }

    /// Folds `n` rows, or `R` where it isn't 0, `map` being from the first on.
    #[inline(always)]
    fn down<S: KernelSimd<m32s = M>, const P: usize, const R: usize>(
        &self,
        simd: S,
        map: &[f32],
        n: usize,
        folded: &mut [f32],
        watch: &mut S::f32s,
    ) where
        F: Fold<P>,
    {
        let n = if R == 0 { n } else { R };
        let (lanes, across) = (S::F32_LANES, self.across.window());
        let (size, before) = (across.size, across.before);
        let step = self.down.window().dilation * size;
        let map = &map[..(n - 1) * step + size];
        let parts = parts(across);
        assert!(before.div_ceil(parts) + size.next_multiple_of(2 * LANES) / parts <= self.pitch);
        assert!(folded.len() >= P * self.row && self.row == parts * self.pitch);
        let mut x = 0;
        while x < size {
            let a = self.vector::<S, P, R>(simd, map, n, x, watch);
            if parts == 1 {
                for (p, a) in a.into_iter().enumerate() {
                    let at = p * self.row + before + x;
                    // SAFETY: a whole vector, beyond the row too, is in the pitch, as asserted.
                    unsafe { simd.store_f32s(folded.as_mut_ptr().add(at), a) };
                }
                x += lanes;
                continue;
            }
            let b = if x + lanes < size {
                self.vector::<S, P, R>(simd, map, n, x + lanes, watch)
            } else {
                self.fold.nothing(simd)
            };
            for (p, (a, b)) in a.into_iter().zip(b).enumerate() {
                let pair = [simd.evens_f32s(a, b), simd.odds_f32s(a, b)];
                for (i, part) in pair.into_iter().enumerate() {
                    let column = before + x + i;
                    let at = p * self.row + column % 2 * self.pitch + column / 2;
                    // SAFETY: as above, half as many in each part.
                    unsafe { simd.store_f32s(folded.as_mut_ptr().add(at), part) };
                }
            }
            x += 2 * lanes;
        }
    }

    /// A vector of columns from `x` on, folded; of nothing beyond the row.
    #[inline(always)]
    fn vector<S: KernelSimd<m32s = M>, const P: usize, const R: usize>(
        &self,
        simd: S,
        map: &[f32],
        n: usize,
        x: usize,
        watch: &mut S::f32s,
    ) -> [S::f32s; P]
    where
        F: Fold<P>,
    {
        let n = if R == 0 { n } else { R };
        let size = self.across.window().size;
        let step = self.down.window().dilation * size;
        let last = x + S::F32_LANES > size;
        let mut seen = simd.splat_f32s(0.0);
        let mut state = [seen; P];
        for r in 0..n {
            // SAFETY: `map` has `n` rows, and this one has the vector, or its lanes in the mask.
            let v = unsafe {
                let from = map.as_ptr().add(r * step + x);
                if last {
                    simd.load_masked_f32s(self.last_input, from)
                } else {
                    let [v] = load::<S, 1>(simd, from);
                    v
                }
            };
            seen = simd.add_f32s(seen, v);
            state = if r == 0 {
                self.fold.lift(simd, v)
            } else {
                self.fold.add(simd, state, v)
            };
        }
        if F::LOSES_NAN {
            *watch = simd.add_f32s(*watch, seen);
        }
        if last {
            for (state, nothing) in state.iter_mut().zip(self.fold.nothing(simd)) {
                *state = simd.select_f32s(self.last_input, *state, nothing);
            }
        }
        state
    }

    /// Folds columns at a stride of 1 or 2: the window's, or `K` where it isn't 0.
    #[inline(always)]
    fn across<S: KernelSimd<m32s = M>, const P: usize, const K: usize>(
        &self,
        simd: S,
        rows: f32,
        folded: &[f32],
        out: &mut [f32],
    ) where
        F: Fold<P>,
    {
        let across = self.across.window();
        let kernel = if K == 0 { across.kernel } else { K };
        let parts = parts(across);
        let reach = ((kernel - 1) * across.dilation).div_ceil(parts);
        assert!(across.stride == parts && kernel == across.kernel);
        assert!(out.len().next_multiple_of(LANES) + reach <= self.pitch);
        assert!(folded.len() >= P * self.row && self.row == parts * self.pitch);
        assert!(self.scales.len() >= out.len() + LANES);
        let mut x = 0;
        while x < out.len() {
            let mut state = [simd.splat_f32s(0.0); P];
            for k in 0..kernel {
                let column = k * across.dilation;
                let at = if parts == 1 {
                    column
                } else {
                    column % 2 * self.pitch + column / 2
                };
                let mut tap = state;
                for (p, tap) in tap.iter_mut().enumerate() {
                    // SAFETY: whole vectors of outputs reach at most to the pitch, as asserted.
                    [*tap] =
                        unsafe { load::<S, 1>(simd, folded.as_ptr().add(p * self.row + at + x)) };
                }
                state = if k == 0 {
                    tap
                } else {
                    self.fold.merge(simd, state, tap)
                };
            }
            // SAFETY: `scales` has a vector beyond the outputs.
            let [columns] = unsafe { load::<S, 1>(simd, self.scales.as_ptr().add(x)) };
            let scale = simd.mul_f32s(columns, simd.splat_f32s(rows));
            let y = self.fold.finish(simd, state, scale);
            // SAFETY: a vector of the outputs, or what there is of the last.
            unsafe {
                let to = out.as_mut_ptr().add(x);
                if x + S::F32_LANES > out.len() {
                    simd.store_masked_f32s(self.last_output, to, y);
                } else {
                    simd.store_f32s(to, y);
                }
            }
            x += S::F32_LANES;
        }
    }

    /// Folds columns one window at a time, at any stride.
    #[inline(always)]
    fn pick<const P: usize>(&self, rows: f32, folded: &[f32], out: &mut [f32])
    where
        F: Fold<P>,
    {
        let (across, scalar) = (self.across.window(), pulp::Scalar::new());
        for (x, out) in out.iter_mut().enumerate() {
            let mut state = self.fold.nothing(scalar);
            for k in 0..across.kernel {
                let at = x * across.stride + k * across.dilation;
                let column = std::array::from_fn(|p| folded[p * self.row + at]);
                state = self.fold.merge(scalar, state, column);
            }
            *out = self.fold.finish(scalar, state, rows * self.scales[x]);
        }
    }
}
