//! Windows over pixels whose channels lie side by side: NCHW16c and NHWC.
//!
//! Lanes are channels. Of the usual windows (3x3 at strides of 1 and 2, 2x2 at a stride of 2) four
//! neighbours are made at once: each column that they cover is folded down its rows, once, and stays in a
//! register; then each window folds its columns. Other windows, and those that reach into the padding, are
//! folded element by element.
//!
//! ```text
//! 3x3, stride 2:   column  0 1 2 3 4 5 6 7 8     nine columns of three elements for four windows,
//!                  window  [-0-]   [-2-]         where one by one they are twelve
//!                              [-1-]   [-3-]
//! ```
#![allow(unsafe_code)]

use super::fold::{Fold, Reduce, ReduceTask};
use super::gemm::load;
use super::windows::{Axis, Span, Window};
use crate::arch::KernelSimd;
use crate::blocking::CHANNEL_BLOCK;
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use std::ops::Range;

/// Some rows of the outputs of some maps.
pub struct PoolPixels<'a> {
    /// The input maps, one behind the other.
    pub maps: &'a [f32],
    /// Channels of a map: floats of a pixel.
    pub channels: usize,
    /// Down.
    pub vertical: &'a Axis,
    /// Across.
    pub horizontal: &'a Axis,
    /// The first output row.
    pub first: usize,
    /// For each map, its output rows.
    pub out: RowsMut<'a, f32>,
    /// What is made of a window.
    pub reduce: Reduce,
}

impl SimdTask for PoolPixels<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        self.reduce.run(simd, self);
    }
}

impl ReduceTask for PoolPixels<'_> {
    #[inline(always)]
    fn with<S: KernelSimd, F: Fold<P>, const P: usize>(self, simd: S, fold: F) {
        match self.channels {
            CHANNEL_BLOCK => self.rows(simd, Block, fold),
            channels => self.rows(simd, channels, fold),
        }
    }
}

impl PoolPixels<'_> {
    #[inline(always)]
    fn rows<S: KernelSimd, F: Fold<P>, const P: usize>(
        mut self,
        simd: S,
        channels: impl Channels,
        fold: F,
    ) {
        let (down, across) = (self.vertical, self.horizontal);
        let map = down.window.size * across.window.size * self.channels;
        let row = across.window.out * self.channels;
        let count = self.out.len() / row;
        let spans = &down.spans[self.first..][..count];
        for (m, map) in (0..self.out.rows()).zip(self.maps.chunks_exact(map)) {
            let rows = self.out.row(m);
            let mut watches = [simd.splat_f32s(0.0); WATCHES];
            for (o, out) in rows.chunks_exact_mut(row).enumerate() {
                let row = Row::new(map, channels, (down, across), spans[o], fold);
                row.fill(simd, out, spans.get(o + 1), &mut watches);
            }
            if F::LOSES_NAN && is_nan(simd, watches) {
                for (span, out) in spans.iter().zip(rows.chunks_exact_mut(row)) {
                    let row = Row::new(map, channels, (down, across), *span, fold);
                    row.side_by_side(simd, out);
                }
            }
        }
    }
}

/// Floats of a pixel.
pub(super) trait Channels: Copy {
    /// Their number.
    fn count(self) -> usize;
}

/// Those of NCHW16c: known to the compiler, so that a pixel's neighbours are at offsets that instructions have.
#[derive(Clone, Copy)]
struct Block;

impl Channels for Block {
    #[inline(always)]
    fn count(self) -> usize {
        CHANNEL_BLOCK
    }
}

impl Channels for usize {
    #[inline(always)]
    fn count(self) -> usize {
        self
    }
}

/// Windows that are folded side by side, so that one's operations don't wait for each other.
const SIDE_BY_SIDE: usize = 4;

/// Sums by which lost NaNs are found: several, so that they don't wait for each other.
const WATCHES: usize = 4;

#[inline(always)]
fn is_nan<S: KernelSimd>(simd: S, [a, b, c, d]: [S::f32s; WATCHES]) -> bool {
    let sum = simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d));
    simd.reduce_sum_f32s(sum).is_nan()
}

/// One row of outputs.
pub(super) struct Row<'a, C, F> {
    map: &'a [f32],
    channels: C,
    vertical: &'a Window,
    /// From a row of the window to the next.
    down: usize,
    rows: Span,
    across: &'a Axis,
    fold: F,
}

impl<'a, C: Channels, F> Row<'a, C, F> {
    /// The row of the outputs of a map whose windows have this span of rows.
    #[inline(always)]
    pub(super) fn new(
        map: &'a [f32],
        channels: C,
        (down, across): (&'a Axis, &'a Axis),
        rows: Span,
        fold: F,
    ) -> Self {
        Row {
            map,
            channels,
            vertical: &down.window,
            down: down.window.dilation * across.window.size * channels.count(),
            rows,
            across,
            fold,
        }
    }

    /// All windows of the row; where NaNs may be lost, their elements are added to `watches`, but for those that the
    /// next row of outputs, if one follows, has in its windows too.
    #[inline(always)]
    fn fill<S: KernelSimd, const P: usize>(
        &self,
        simd: S,
        out: &mut [f32],
        next: Option<&Span>,
        watches: &mut [S::f32s; WATCHES],
    ) where
        F: Fold<P>,
    {
        let Window {
            kernel,
            stride,
            dilation,
            ..
        } = self.across.window;
        let watched = match next {
            _ if !F::LOSES_NAN => 0,
            Some(next) if self.vertical.dilation == 1 => {
                (next.first - self.rows.first).min(self.rows.len)
            }
            _ => self.rows.len,
        };
        let watch = (watched, watches);
        let strips = F::STRIPS
            && dilation == 1
            && self.vertical.kernel <= kernel
            && self.channels.count() >= S::F32_LANES;
        match (kernel, stride) {
            (3, 2) if strips => self.strips::<S, P, 3, 2>(simd, out, watch),
            (3, 1) if strips => self.strips::<S, P, 3, 1>(simd, out, watch),
            (2, 2) if strips => self.strips::<S, P, 2, 2>(simd, out, watch),
            _ => self.side_by_side(simd, out),
        }
    }

    /// The last vector of channels overlaps the one before.
    #[inline(always)]
    fn vectors<S: KernelSimd>(&self) -> impl Iterator<Item = usize> {
        let last = self.channels.count() - S::F32_LANES;
        (0..self.channels.count())
            .step_by(S::F32_LANES)
            .map(move |c| c.min(last))
    }

    /// Some windows, one by one; no NaN is lost.
    #[inline(always)]
    pub(super) fn singly<S: KernelSimd, const P: usize>(
        &self,
        simd: S,
        xs: Range<usize>,
        out: &mut [f32],
    ) where
        F: Fold<P>,
    {
        for x in xs {
            for c in self.vectors::<S>() {
                self.windows::<S, P, 1>(simd, x, c, out);
            }
        }
    }

    /// All windows, element by element; no NaN is lost.
    #[inline(always)]
    fn side_by_side<S: KernelSimd, const P: usize>(&self, simd: S, out: &mut [f32])
    where
        F: Fold<P>,
    {
        let Range { start, end } = self.across.whole;
        let all = self.across.window.out;
        if self.channels.count() < S::F32_LANES {
            self.singly(pulp::Scalar::new(), 0..all, out);
            return;
        }
        let fours = start + end.saturating_sub(start) / SIDE_BY_SIDE * SIDE_BY_SIDE;
        for x in (start..fours).step_by(SIDE_BY_SIDE) {
            for c in self.vectors::<S>() {
                self.windows::<S, P, SIDE_BY_SIDE>(simd, x, c, out);
            }
        }
        self.singly(simd, 0..start, out);
        self.singly(simd, fours..all, out);
    }

    /// All windows of the row, of `K` columns at a stride of `T`: some at once.
    #[inline(always)]
    fn strips<S: KernelSimd, const P: usize, const K: usize, const T: usize>(
        &self,
        simd: S,
        out: &mut [f32],
        (watched, watches): (usize, &mut [S::f32s; WATCHES]),
    ) where
        F: Fold<P>,
    {
        let Range { start, end } = self.across.whole;
        let mut x = start;
        // Two at once of a fold of two vectors: 16 registers hold their columns.
        if P == 1 {
            while x + 4 <= end {
                self.strip::<S, P, K, T, 4>(simd, x, out, (watched, watches));
                x += 4;
            }
        }
        while x + 2 <= end {
            self.strip::<S, P, K, T, 2>(simd, x, out, (watched, watches));
            x += 2;
        }
        if x < end {
            self.strip::<S, P, K, T, 1>(simd, x, out, (watched, watches));
        }
        self.singly(simd, 0..start, out);
        self.singly(simd, end..self.across.window.out, out);
    }

    /// `N` whole windows from `x` on, of `K` columns at a stride of `T` and up to `K` rows. The elements of their first `watched` rows are
    /// added to `watches`.
    #[inline(always)]
    fn strip<S: KernelSimd, const P: usize, const K: usize, const T: usize, const N: usize>(
        &self,
        simd: S,
        x: usize,
        out: &mut [f32],
        (watched, watches): (usize, &mut [S::f32s; WATCHES]),
    ) where
        F: Fold<P>,
    {
        // The columns that they cover together.
        const MOST: usize = 9;
        const { assert!((N - 1) * T + K <= MOST) };
        let cover = (N - 1) * T + K;
        let (fold, pixel, down, rows) = (self.fold, self.channels.count(), self.down, self.rows);
        let columns = self.across.spans[x];
        let scale = simd.splat_f32s(1.0 / (rows.count * columns.count) as f32);
        let at = (rows.first * self.across.window.size + self.across.window.at(x, 0)) * pixel;
        let from = &self.map[at..][..(rows.len - 1) * down + cover * pixel];
        let to = &mut out[x * pixel..][..N * pixel];
        for c in self.vectors::<S>() {
            let mut columns = [[simd.splat_f32s(0.0); P]; MOST];
            // Written out, as a window has at most as many rows as columns.
            for r in 0..K {
                if r == rows.len {
                    break;
                }
                for j in 0..cover {
                    // SAFETY: the last row's last pixel is inside `from`, and the vector in its pixel.
                    let [x] =
                        unsafe { load::<S, 1>(simd, from.as_ptr().add(r * down + j * pixel + c)) };
                    if F::LOSES_NAN && r < watched {
                        watches[j % WATCHES] = simd.add_f32s(watches[j % WATCHES], x);
                    }
                    columns[j] = match r {
                        0 => fold.lift(simd, x),
                        _ => fold.add(simd, columns[j], x),
                    };
                }
            }
            for n in 0..N {
                let mut window = columns[n * T];
                for column in &columns[n * T + 1..n * T + K] {
                    window = fold.merge(simd, window, *column);
                }
                let y = fold.finish(simd, window, scale);
                // SAFETY: the vector is in one of the pixels of `to`.
                unsafe { simd.store_f32s(to.as_mut_ptr().add(n * pixel + c), y) };
            }
        }
    }

    /// One vector of channels of `N` windows from `x` on; more than one only where all are whole.
    #[inline(always)]
    fn windows<S: KernelSimd, const P: usize, const N: usize>(
        &self,
        simd: S,
        x: usize,
        c: usize,
        out: &mut [f32],
    ) where
        F: Fold<P>,
    {
        let (fold, pixel, rows) = (self.fold.careful(), self.channels.count(), self.rows);
        let Window {
            size,
            stride,
            dilation,
            ..
        } = self.across.window;
        let columns = self.across.spans[x];
        let scale = simd.splat_f32s(1.0 / (rows.count * columns.count) as f32);
        let (step, right) = (stride * pixel, dilation * pixel);
        let first = (rows.first * size + columns.first) * pixel;
        let reach = (rows.len - 1) * self.down + (columns.len - 1) * right + (N - 1) * step + pixel;
        let from = &self.map[first..][..reach];
        let out = &mut out[x * pixel..][..N * pixel];
        assert!(c + S::F32_LANES <= pixel);
        let mut states = [fold.nothing(simd); N];
        for r in 0..rows.len {
            for s in 0..columns.len {
                let at = r * self.down + s * right + c;
                for (n, state) in states.iter_mut().enumerate() {
                    // SAFETY: in the last pixel of `from` at most.
                    let [v] = unsafe { load::<S, 1>(simd, from.as_ptr().add(at + n * step)) };
                    *state = fold.add(simd, *state, v);
                }
            }
        }
        for (n, state) in states.into_iter().enumerate() {
            let out = &mut out[n * pixel + c..][..S::F32_LANES];
            // SAFETY: a slice of as many lanes.
            unsafe { simd.store_f32s(out.as_mut_ptr(), fold.finish(simd, state, scale)) };
        }
    }
}
