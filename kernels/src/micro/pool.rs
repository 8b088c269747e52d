//! Windows over pixels whose channels are contiguous: NCHW16c and NHWC.
//!
//! Lanes are channels. In the usual windows (3x3 at strides of 1 and 2, 2x2 at a stride of 2), each column is folded
//! down its rows once. The result is kept in registers for the windows that share the column. Then each window folds
//! its columns. Other windows, and windows that reach into the padding at the sides, are folded element by element.
//!
//! ```text
//! 3x3, stride 2:   column  0 1 2 3 4 5 6 7 8 ..    each window takes two new columns,
//!                  window  [-0-]   [-2-]           and the last one of the window before
//!                              [-1-]   [-3-]
//! ```
#![allow(unsafe_code)]

use super::fold::{Fold, Reduce, ReduceTask};
use super::gemm::load;
use super::windows::{Axis, Span};
use crate::arch::KernelSimd;
use crate::bounds::product;
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;
use crate::window::Window;
use std::ops::Range;

/// Some output rows of some maps.
pub struct PoolPixels<'a> {
    /// The input maps, contiguous.
    pub maps: &'a [f32],
    /// Channels of a map: floats of a pixel.
    pub channels: usize,
    /// Windows that are folded before the next channels of their pixels. With 16 channels, a strip is always a whole
    /// row.
    pub strip: usize,
    /// Vertical axis.
    pub vertical: &'a Axis,
    /// Horizontal axis.
    pub horizontal: &'a Axis,
    /// The first output row.
    pub first: usize,
    /// For each map, its output rows.
    pub out: RowsMut<'a, f32>,
    /// Reduction of a window.
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
        let Window {
            kernel,
            stride,
            dilation,
            ..
        } = self.horizontal.window;
        macro_rules! by {
            ($kernel:literal, $stride:literal) => {
                match self.channels {
                    CHANNEL_BLOCK if const { F::USUAL } => {
                        simd.call(ShapedWindows::<_, F, P, $kernel, $stride> {
                            channels: BlockChannels,
                            task: self,
                            fold,
                        })
                    }
                    count => simd.call(ShapedWindows::<_, F, P, $kernel, $stride> {
                        channels: PixelChannels {
                            count,
                            strip: self.strip,
                        },
                        task: self,
                        fold,
                    }),
                }
            };
        }
        match (kernel, stride) {
            (2, 2) if const { F::USUAL && !S::EMULATED } && dilation == 1 => by!(2, 2),
            (3, 2) if const { F::USUAL } && dilation == 1 => by!(3, 2),
            (3, 1) if const { F::USUAL && !S::EMULATED } && dilation == 1 => by!(3, 1),
            _ => by!(0, 0),
        }
    }
}

/// Windows of `K` columns at a stride of `STRIDE`, or of any shape if these are 0.
struct ShapedWindows<'a, C, F, const P: usize, const K: usize, const STRIDE: usize> {
    task: PoolPixels<'a>,
    channels: C,
    fold: F,
}

impl<C: Channels, F: Fold<P>, const P: usize, const K: usize, const STRIDE: usize> SimdTask
    for ShapedWindows<'_, C, F, P, K, STRIDE>
{
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let ShapedWindows {
            mut task,
            channels,
            fold,
        } = self;
        let (down, across) = (task.vertical, task.horizontal);
        let map = product([down.window.size, across.window.size, task.channels]);
        let row = product([across.window.out, task.channels]);
        let count = task.out.len() / row;
        let spans = &down.spans[task.first..][..count];
        for (m, map) in (0..task.out.rows()).zip(task.maps.chunks_exact(map)) {
            let rows = task.out.row(m);
            let mut watches = [simd.splat_f32s(0.0); WATCHES];
            for (o, out) in rows.chunks_exact_mut(row).enumerate() {
                let row = OutputRow::new(map, channels, down, across, spans[o], fold);
                row.fill::<S, P, K, STRIDE>(simd, out, spans.get(o + 1), &mut watches);
            }
            if F::LOSES_NAN && is_nan(simd, watches) {
                for (span, out) in spans.iter().zip(rows.chunks_exact_mut(row)) {
                    let row = OutputRow::new(map, channels, down, across, *span, fold);
                    row.element_by_element(simd, 0..across.window.out, out);
                }
            }
        }
    }
}

/// The floats of a pixel.
pub(super) trait Channels: Copy {
    /// Vectors of channels that are folded side by side in a strip.
    fn vectors<S: KernelSimd>() -> usize;

    /// Number of channels.
    fn count(self) -> usize;

    /// Windows that are folded before the next channels.
    fn strip(self) -> usize;
}

/// Channels of NCHW16c. Their number is a constant, so instructions address neighbouring pixels by constant offsets.
#[derive(Clone, Copy)]
struct BlockChannels;

impl Channels for BlockChannels {
    #[inline(always)]
    fn vectors<S: KernelSimd>() -> usize {
        (CHANNEL_BLOCK / S::F32_LANES).min(WATCHES)
    }

    #[inline(always)]
    fn count(self) -> usize {
        CHANNEL_BLOCK
    }

    #[inline(always)]
    fn strip(self) -> usize {
        usize::MAX
    }
}

/// Any number of channels.
#[derive(Clone, Copy)]
pub(super) struct PixelChannels {
    pub(super) count: usize,
    pub(super) strip: usize,
}

impl Channels for PixelChannels {
    #[inline(always)]
    fn vectors<S: KernelSimd>() -> usize {
        WATCHES
    }

    #[inline(always)]
    fn count(self) -> usize {
        self.count
    }

    #[inline(always)]
    fn strip(self) -> usize {
        self.strip
    }
}

/// Windows that are folded side by side, so that their operations are independent.
const SIDE_BY_SIDE: usize = 4;

/// Vectors of channels that are folded side by side. Each has a sum that detects lost NaNs.
const WATCHES: usize = 2;

/// The most columns of a window that is folded by columns.
const MOST_COLUMNS: usize = 3;

/// Adds two arrays, vector by vector.
#[inline(always)]
fn added<S: KernelSimd, const V: usize>(simd: S, a: [S::f32s; V], b: [S::f32s; V]) -> [S::f32s; V] {
    let mut sums = a;
    for (sum, &b) in sums.iter_mut().zip(&b) {
        *sum = simd.add_f32s(*sum, b);
    }
    sums
}

#[inline(always)]
fn is_nan<S: KernelSimd>(simd: S, [a, b]: [S::f32s; WATCHES]) -> bool {
    simd.reduce_sum_f32s(simd.add_f32s(a, b)).is_nan()
}

/// One row of outputs.
#[derive(Clone, Copy)]
pub(super) struct OutputRow<'a, C, F> {
    map: &'a [f32],
    channels: C,
    vertical: &'a Window,
    /// Floats from a row of the window to the next.
    down: usize,
    rows: Span,
    across: &'a Axis,
    fold: F,
}

impl<'a, C: Channels, F> OutputRow<'a, C, F> {
    /// The output row of a map whose windows have the span `rows` of input rows.
    #[inline(always)]
    pub(super) fn new(
        map: &'a [f32],
        channels: C,
        down: &'a Axis,
        across: &'a Axis,
        rows: Span,
        fold: F,
    ) -> Self {
        OutputRow {
            map,
            channels,
            vertical: &down.window,
            down: down.window.dilation * across.window.size * channels.count(),
            rows,
            across,
            fold,
        }
    }

    /// Computes all windows of the row.
    ///
    /// If the fold may lose NaNs, the elements of the windows are added to `watches`. Elements that the windows of the
    /// next output row share are left to that row.
    #[inline(always)]
    fn fill<S: KernelSimd, const P: usize, const K: usize, const STRIDE: usize>(
        &self,
        simd: S,
        out: &mut [f32],
        next: Option<&Span>,
        watches: &mut [S::f32s; WATCHES],
    ) where
        F: Fold<P>,
    {
        if const { K == 0 } {
            // This function has nothing else: a call would take longer than a small map.
            let (row, windows) = (*self, 0..self.across.window.out);
            return ElementByElement { row, windows, out }.run(simd);
        }
        let enough = self.channels.count() >= C::vectors::<S>() * S::F32_LANES;
        let usual = |rows: &Span| enough && (rows.len == 2 || rows.len == K);
        if !usual(&self.rows) {
            return self.element_by_element(simd, 0..self.across.window.out, out);
        }
        // Windows that are folded element by element need no watch.
        let watched = match next {
            Some(next) if self.vertical.dilation == 1 && usual(next) => {
                (next.first - self.rows.first).min(self.rows.len)
            }
            _ => self.rows.len,
        };
        // The number of watched rows is a constant for the compiler. If a row is watched twice, no harm is done.
        macro_rules! strip {
            ($rows:expr) => {{
                let shape = [K, $rows, STRIDE];
                if F::LOSES_NAN && watched > STRIDE {
                    self.strip(simd, shape, $rows, out, watches);
                } else {
                    self.strip(simd, shape, STRIDE, out, watches);
                }
            }};
        }
        if K == 3 && self.rows.len == 3 {
            strip!(3);
        } else if K > 0 {
            strip!(2);
        }
    }

    /// Folds some windows element by element. No NaN is lost. All shapes share this function.
    #[inline(always)]
    pub(super) fn element_by_element<S: KernelSimd, const P: usize>(
        &self,
        simd: S,
        windows: Range<usize>,
        out: &mut [f32],
    ) where
        F: Fold<P>,
    {
        simd.call(ElementByElement {
            row: *self,
            windows,
            out,
        });
    }
}

/// Some windows of a row, which are folded element by element.
struct ElementByElement<'a, 'o, C, F, const P: usize> {
    row: OutputRow<'a, C, F>,
    windows: Range<usize>,
    out: &'o mut [f32],
}

impl<C: Channels, F: Fold<P>, const P: usize> SimdTask for ElementByElement<'_, '_, C, F, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let ElementByElement { row, windows, out } = self;
        if row.channels.count() < S::F32_LANES {
            row.singly(pulp::Scalar::new(), windows, out);
        } else {
            row.side_by_side(simd, windows, out);
        }
    }
}

impl<C: Channels, F> OutputRow<'_, C, F> {
    /// First channels of all vectors of a pixel. The last vector overlaps the one before.
    #[inline(always)]
    fn vectors<S: KernelSimd>(&self) -> impl Iterator<Item = usize> {
        let last = self.channels.count() - S::F32_LANES;
        (0..self.channels.count())
            .step_by(S::F32_LANES)
            .map(move |c| c.min(last))
    }

    /// Folds some windows one by one. No NaN is lost.
    #[inline(always)]
    fn singly<S: KernelSimd, const P: usize>(&self, simd: S, xs: Range<usize>, out: &mut [f32])
    where
        F: Fold<P>,
    {
        for x in xs {
            for c in self.vectors::<S>() {
                self.windows::<S, P, 1>(simd, x, c, out);
            }
        }
    }

    /// Folds some windows, four side by side if they are whole. No NaN is lost.
    #[inline(always)]
    fn side_by_side<S: KernelSimd, const P: usize>(
        &self,
        simd: S,
        windows: Range<usize>,
        out: &mut [f32],
    ) where
        F: Fold<P>,
    {
        let Range { start, end } = windows;
        let whole = self.across.whole.start.clamp(start, end);
        let fours = self.across.whole.end.clamp(whole, end);
        let fours = whole + (fours - whole) / SIDE_BY_SIDE * SIDE_BY_SIDE;
        for x in (whole..fours).step_by(SIDE_BY_SIDE) {
            for c in self.vectors::<S>() {
                self.windows::<S, P, SIDE_BY_SIDE>(simd, x, c, out);
            }
        }
        for windows in [start..whole, fours..end] {
            self.singly(simd, windows, out);
        }
    }

    /// Computes all windows of the row, which have a usual shape. Whole windows are folded by columns.
    ///
    /// The elements of their first `watched` rows are added to `watches`.
    #[inline(always)]
    fn strip<S: KernelSimd, const P: usize>(
        &self,
        simd: S,
        shape: [usize; 3],
        watched: usize,
        out: &mut [f32],
        watches: &mut [S::f32s; WATCHES],
    ) where
        F: Fold<P>,
    {
        let Range { start, end } = self.across.whole;
        let mut x = start;
        while x < end {
            let windows = x..x.saturating_add(self.channels.strip()).min(end);
            x = windows.end;
            if C::vectors::<S>() == 2 {
                self.by_columns::<S, P, 2>(simd, shape, watched, windows, out, watches);
            } else {
                self.by_columns::<S, P, 1>(simd, shape, watched, windows, out, watches);
            }
        }
        for windows in [0..start, end..self.across.window.out] {
            if !windows.is_empty() {
                self.element_by_element(simd, windows, out);
            }
        }
    }

    /// Folds some whole windows of usual shape, `V` vectors of channels at a time.
    #[inline(always)]
    fn by_columns<S: KernelSimd, const P: usize, const V: usize>(
        &self,
        simd: S,
        shape: [usize; 3],
        watched: usize,
        windows: Range<usize>,
        out: &mut [f32],
        watches: &mut [S::f32s; WATCHES],
    ) where
        F: Fold<P>,
    {
        let [kernel, rows, stride] = shape;
        assert!(stride <= kernel && kernel <= MOST_COLUMNS && rows == self.rows.len);
        let (fold, pixel, across) = (self.fold, self.channels.count(), self.across);
        let count = self.rows.count * across.spans[windows.start].count;
        let scale = simd.splat_f32s(1.0 / count);
        let columns = (windows.len() - 1) * stride + kernel;
        let first = self.rows.first * across.window.size + across.window.at(windows.start, 0);
        let from = &self.map[first * pixel..][..(rows - 1) * self.down + columns * pixel];
        let to = &mut out[windows.start * pixel..windows.end * pixel];
        let last = pixel - V * S::F32_LANES;
        for c in (0..pixel).step_by(V * S::F32_LANES).map(|c| c.min(last)) {
            let mut sums = [simd.splat_f32s(0.0); V];
            let (mut at, mut to) = (from[c..].as_ptr(), to[c..].as_mut_ptr());
            // Columns of a window. The first ones are shared with the window before.
            let mut folded = [[[simd.splat_f32s(0.0); P]; V]; MOST_COLUMNS];
            let shared = kernel - stride;
            for column in &mut folded[..shared] {
                // SAFETY: the column is one of `columns`, and each pixel has `V` vectors from `c` on.
                let (state, seen) = unsafe { self.column(simd, at, rows, watched) };
                *column = state;
                sums = added(simd, sums, seen);
                at = at.wrapping_add(pixel);
            }
            for _ in 0..windows.len() {
                let mut new = [simd.splat_f32s(0.0); V];
                for (j, column) in folded[shared..kernel].iter_mut().enumerate() {
                    // SAFETY: as above.
                    let (state, seen) = unsafe { self.column(simd, at, rows, watched) };
                    *column = state;
                    new = if j == 0 { seen } else { added(simd, new, seen) };
                    at = at.wrapping_add(pixel);
                }
                // Added once per window, to keep the chain of dependent sums short.
                sums = added(simd, sums, new);
                for v in 0..V {
                    let mut window = folded[0][v];
                    for column in &folded[1..kernel] {
                        window = fold.merge(simd, window, column[v]);
                    }
                    let y = fold.finish(simd, window, scale);
                    // SAFETY: one of the windows' pixels, which has `V` vectors from `c` on.
                    unsafe { simd.store_f32s(to.wrapping_add(v * S::F32_LANES), y) };
                }
                for j in 0..shared {
                    folded[j] = folded[j + stride];
                }
                to = to.wrapping_add(pixel);
            }
            if F::LOSES_NAN {
                for (watch, &sum) in watches.iter_mut().zip(&sums) {
                    *watch = simd.add_f32s(*watch, sum);
                }
            }
        }
    }

    /// `V` vectors of a column of `rows` rows, folded, and the sum of the first `watched` rows.
    ///
    /// # Safety
    ///
    /// The column's rows can be read from `at` on.
    #[inline(always)]
    unsafe fn column<S: KernelSimd, const P: usize, const V: usize>(
        &self,
        simd: S,
        at: *const f32,
        rows: usize,
        watched: usize,
    ) -> ([[S::f32s; P]; V], [S::f32s; V])
    where
        F: Fold<P>,
    {
        let mut column = [[simd.splat_f32s(0.0); P]; V];
        let mut seen = [simd.splat_f32s(0.0); V];
        for v in 0..V {
            let at = at.wrapping_add(v * S::F32_LANES);
            for r in 0..rows {
                // SAFETY: the caller's promise.
                let [x] = unsafe { load::<S, 1>(simd, at.wrapping_add(r * self.down)) };
                column[v] = match r {
                    0 => self.fold.lift(simd, x),
                    _ => self.fold.add(simd, column[v], x),
                };
                if F::LOSES_NAN && r < watched {
                    seen[v] = if r == 0 { x } else { simd.add_f32s(seen[v], x) };
                }
            }
        }
        (column, seen)
    }

    /// Folds one vector of channels of `N` windows from `x` on. With `N` above 1, all windows must be whole.
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
        let scale = simd.splat_f32s(1.0 / (rows.count * columns.count));
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
                    // SAFETY: at most in the last pixel of `from`.
                    let [v] = unsafe { load::<S, 1>(simd, from.as_ptr().add(at + n * step)) };
                    *state = fold.add(simd, *state, v);
                }
            }
        }
        for (n, &state) in states.iter().enumerate() {
            let out = &mut out[n * pixel + c..][..S::F32_LANES];
            // SAFETY: a slice of as many lanes.
            unsafe { simd.store_f32s(out.as_mut_ptr(), fold.finish(simd, state, scale)) };
        }
    }
}
