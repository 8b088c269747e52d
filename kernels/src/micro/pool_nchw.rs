//! Windows over plain maps: lanes are pixels of a row.
//!
//! The rows of a window are folded first. Whole rows are folded at once, into a row with room for the padding. The
//! padding holds the fold's state of no element, so windows at the border need no special case. Then the columns are
//! folded with loads that overlap. At a stride of 2, even and odd columns are stored separately. Then neighbouring
//! lanes belong to neighbouring windows:
//! ```text
//! 3x3, stride 2:   even columns  0 2 4 6 8 ..      output x from even columns x and x + 1
//!                  odd columns   1 3 5 7 9 ..      and odd column x
//! ```
//!
//! On narrow maps, the work for each row dominates the work for each vector, because rows are short. So the compiler
//! knows the sizes of usual windows, also for loops over rows. The last vector of a row's outputs is stored whole. It
//! overlaps the start of the next row, which is written later.
#![allow(unsafe_code)]

use super::fold::{Fold, Reduce, ReduceTask};
use super::gemm::load;
use super::pool::{OutputRow, PixelChannels};
use super::windows::{Axis, Span};
use crate::arch::{KernelSimd, array};
use crate::bounds::product;
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use crate::window::Window;

/// Some output rows of some maps.
pub struct PoolMaps<'a> {
    /// The input maps, contiguous.
    pub maps: &'a [f32],
    /// Vertical axis.
    pub vertical: &'a Axis,
    /// Horizontal axis.
    pub horizontal: &'a Axis,
    /// For each output column, the reciprocal of the number of columns that a mean divides by ([`column_scales`]).
    pub scales: &'a [f32],
    /// The first output row.
    pub first: usize,
    /// For each map, its output rows.
    pub out: RowsMut<'a, f32>,
    /// Reduction of a window.
    pub reduce: Reduce,
    /// Scratch for folded rows, [`scratch_len`] floats.
    pub scratch: &'a mut [f32],
}

/// The most lanes.
const LANES: usize = 16;

/// The most vectors of a fold's state.
const STATES: usize = 2;

/// Rows that are folded down before they are folded across.
///
/// They are so many that stored data have left the store buffer, and can be loaded at any offset. They are so few that
/// they stay in L1.
fn group(horizontal: &Window) -> usize {
    const FLOATS: usize = 1024;
    (FLOATS / row_len(horizontal)).clamp(4, 32)
}

/// Floats of scratch for a task.
pub fn scratch_len(horizontal: &Window) -> usize {
    group(horizontal) * STATES * row_len(horizontal)
}

/// For each output column, the reciprocal of the number of columns that a mean divides by. Lanes beyond hold 1.
pub fn column_scales(horizontal: &Axis) -> Vec<f32> {
    let scales = horizontal.spans().iter().map(|span| 1.0 / span.count);
    scales.chain([1.0; LANES]).collect()
}

/// Bytes of [`column_scales`].
pub fn scales_bytes(horizontal: &Window) -> usize {
    (horizontal.out + LANES) * size_of::<f32>()
}

/// Number of parts of a stored folded row: even and odd columns, or all columns in one part.
fn parts(horizontal: &Window) -> usize {
    if horizontal.stride == 2 { 2 } else { 1 }
}

/// Floats from a part of a folded row to the next.
fn pitch(horizontal: &Window) -> usize {
    let span = (horizontal.kernel - 1) * horizontal.dilation;
    let columns = |floats: usize| floats.div_ceil(parts(horizontal));
    let read = match horizontal.stride {
        stride @ 3.. => stride * horizontal.out + span,
        _ => horizontal.out.next_multiple_of(LANES) + columns(span),
    };
    // Whole vectors are written, and two of them if even and odd columns are separated.
    let size = horizontal.size.next_multiple_of(2 * LANES);
    let written = columns(horizontal.before + size) + 1;
    read.max(written).next_multiple_of(LANES)
}

/// Floats of a folded row.
fn row_len(horizontal: &Window) -> usize {
    parts(horizontal) * pitch(horizontal)
}

/// Mask of the lanes that a row of `len` elements has in its last vector.
#[inline(always)]
pub(super) fn last_lanes<S: KernelSimd>(simd: S, len: usize) -> S::m32s {
    let lanes = (len - 1) % S::F32_LANES + 1;
    simd.first_lanes(lanes)
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
    fn with<S: KernelSimd, F: Fold<P>, const P: usize>(self, simd: S, fold: F) {
        macro_rules! by {
            ($kernel:literal, $parts:literal) => {
                simd.call(Shape::<F, P, $kernel, $parts> { task: self, fold })
            };
        }
        let Window { kernel, stride, .. } = *self.horizontal.window();
        match (kernel, stride) {
            (2, 2) if const { F::USUAL && !S::EMULATED } => by!(2, 2),
            (3, 2) if const { F::USUAL } => by!(3, 2),
            (3, 1) if const { F::USUAL && !S::EMULATED } => by!(3, 1),
            (_, 2) => by!(0, 2),
            _ => by!(0, 1),
        }
    }
}

/// Windows of `K` columns, or of any number if `K` is 0. Their folded rows have `PARTS` parts.
struct Shape<'a, F, const P: usize, const K: usize, const PARTS: usize> {
    task: PoolMaps<'a>,
    fold: F,
}

impl<F: Fold<P>, const P: usize, const K: usize, const PARTS: usize> SimdTask
    for Shape<'_, F, P, K, PARTS>
{
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        const { assert!(P <= STATES) };
        let Shape { mut task, fold } = self;
        let (down, across) = (*task.vertical.window(), *task.horizontal.window());
        let (map, row, group) = (
            product([down.size, across.size]),
            row_len(&across),
            group(&across),
        );
        let scratch = &mut task.scratch[..group * P * row];
        for (i, part) in scratch.chunks_exact_mut(row).enumerate() {
            part.fill(fold.nothing(pulp::Scalar::new())[i % P]);
        }
        let rows = Rows::<_, F, P, K, PARTS> {
            down,
            across,
            pitch: pitch(&across),
            row,
            scales: task.scales,
            last_input: last_lanes(simd, across.size),
            last_output: last_lanes(simd, across.out),
            fold,
        };
        let count = task.out.len() / across.out;
        let spans = &task.vertical.spans()[task.first..][..count];
        for (m, map) in (0..task.out.rows()).zip(task.maps.chunks_exact(map)) {
            let outputs = task.out.row(m);
            let mut watch = simd.splat_f32s(0.0);
            let mut out = &mut *outputs;
            for spans in spans.chunks(group) {
                rows.down(simd, map, spans, scratch, &mut watch);
                if across.stride > 2 {
                    rows.pick(spans, scratch, out);
                } else {
                    rows.across(simd, spans, scratch, out);
                }
                out = &mut out[spans.len() * across.out..];
            }
            if F::LOSES_NAN && simd.reduce_sum_f32s(watch).is_nan() {
                let pixel = PixelChannels { count: 1, strip: 1 };
                let (vertical, horizontal) = (task.vertical, task.horizontal);
                for (span, out) in spans.iter().zip(outputs.chunks_exact_mut(across.out)) {
                    let row = OutputRow::new(map, pixel, vertical, horizontal, *span, fold);
                    row.element_by_element(simd, 0..across.out, out);
                }
            }
        }
    }
}

/// Data that all output rows share.
struct Rows<'a, M, F, const P: usize, const K: usize, const PARTS: usize> {
    // Copies: the compiler would load data behind a reference again after each store.
    down: Window,
    across: Window,
    /// Floats from a part of a folded row to the next, and of a folded row.
    pitch: usize,
    row: usize,
    scales: &'a [f32],
    last_input: M,
    last_output: M,
    fold: F,
}

impl<M: Copy, F: Fold<P>, const P: usize, const K: usize, const PARTS: usize>
    Rows<'_, M, F, P, K, PARTS>
{
    /// Position of a column in a folded row. Columns of the padding count.
    #[inline(always)]
    fn at(&self, column: usize) -> usize {
        column % PARTS * self.pitch + column / PARTS
    }

    /// Folds the rows of each of these windows, and adds their elements to `watch`.
    #[inline(always)]
    fn down<S: KernelSimd<m32s = M>>(
        &self,
        simd: S,
        map: &[f32],
        spans: &[Span],
        folded: &mut [f32],
        watch: &mut S::f32s,
    ) {
        let Window { size, before, .. } = self.across;
        let written = before + size.next_multiple_of(2 * LANES);
        assert!(written.div_ceil(PARTS) <= self.pitch && self.row == PARTS * self.pitch);
        assert!(folded.len() >= product([spans.len(), P, self.row]));
        let step = self.down.dilation * size;
        // Rows that a window shares with the next one are watched there.
        let shared = F::LOSES_NAN && self.down.dilation == 1 && self.down.stride == PARTS;
        let mut to = folded.as_mut_ptr();
        for (i, span) in spans.iter().enumerate() {
            let rows = &map[span.first * size..][..(span.len - 1) * step + size];
            // SAFETY: these are the rows. A folded row has room for whole vectors, as asserted.
            unsafe {
                match span.len {
                    3 if K == 3 && shared && i + 1 < spans.len() => {
                        self.rows::<S, 3, PARTS>(simd, rows, 3, to, watch);
                    }
                    3 if K == 3 => self.rows::<S, 3, 3>(simd, rows, 3, to, watch),
                    2 if K > 0 => self.rows::<S, 2, 2>(simd, rows, 2, to, watch),
                    n => self.rows::<S, 0, 0>(simd, rows, n, to, watch),
                }
            }
            to = to.wrapping_add(P * self.row);
        }
    }

    /// Folds `n` rows, and adds the first `W` of them to `watch`. `R` is `n`, or 0 if all rows are added.
    ///
    /// # Safety
    /// `map` has the rows, and `to` has room for a folded one.
    #[inline(always)]
    unsafe fn rows<S: KernelSimd<m32s = M>, const R: usize, const W: usize>(
        &self,
        simd: S,
        map: &[f32],
        n: usize,
        mut to: *mut f32,
        watch: &mut S::f32s,
    ) {
        let lanes = S::F32_LANES;
        let mut from = map.as_ptr();
        for _ in 0..self.across.size / (PARTS * lanes) {
            let mut columns = [self.fold.nothing(simd); PARTS];
            let mut sums = simd.splat_f32s(0.0);
            for (i, column) in columns.iter_mut().enumerate() {
                let from = from.wrapping_add(i * lanes);
                // SAFETY: a whole vector of the rows.
                let (state, sum) = unsafe { self.column::<S, R, W, false>(simd, from, n) };
                *column = state;
                sums = if i == 0 {
                    sum
                } else {
                    simd.add_f32s(sums, sum)
                };
            }
            *watch = simd.add_f32s(*watch, sums);
            // SAFETY: the caller's promise.
            unsafe { self.store(simd, to, columns) };
            from = from.wrapping_add(PARTS * lanes);
            to = to.wrapping_add(lanes);
        }
        let rest = self.across.size % (PARTS * lanes);
        if rest == 0 {
            return;
        }
        let mut columns = [self.fold.nothing(simd); PARTS];
        for (i, column) in columns.iter_mut().enumerate() {
            if i * lanes >= rest {
                break;
            }
            let from = from.wrapping_add(i * lanes);
            let sum;
            // SAFETY: a whole vector of the rows, or their lanes in the last vector.
            (*column, sum) = unsafe {
                if (i + 1) * lanes <= rest {
                    self.column::<S, R, W, false>(simd, from, n)
                } else {
                    self.column::<S, R, W, true>(simd, from, n)
                }
            };
            *watch = simd.add_f32s(*watch, sum);
        }
        // SAFETY: the caller's promise.
        unsafe { self.store(simd, to, columns) };
    }

    /// A vector of columns of `n` rows, folded, and the sum of the first `W` rows ([`Rows::rows`]).
    ///
    /// In the row's `LAST` vector, lanes beyond the row get the state of no element.
    ///
    /// # Safety
    /// `n` rows can be read from `from` on. Of the last vector, only the lanes in the row are read.
    #[inline(always)]
    unsafe fn column<S: KernelSimd<m32s = M>, const R: usize, const W: usize, const LAST: bool>(
        &self,
        simd: S,
        from: *const f32,
        n: usize,
    ) -> ([S::f32s; P], S::f32s) {
        let n = if R == 0 { n } else { R };
        let step = self.down.dilation * self.across.size;
        let mut sum = simd.splat_f32s(0.0);
        let mut state = [sum; P];
        for r in 0..n {
            let at = from.wrapping_add(r * step);
            // SAFETY: the caller's promise.
            let x = unsafe {
                if LAST {
                    simd.load_masked_f32s(self.last_input, at)
                } else {
                    let [x] = load::<S, 1>(simd, at);
                    x
                }
            };
            state = match r {
                0 => self.fold.lift(simd, x),
                _ => self.fold.add(simd, state, x),
            };
            if F::LOSES_NAN && (R == 0 || r < W) {
                sum = if r == 0 { x } else { simd.add_f32s(sum, x) };
            }
        }
        if LAST {
            for (state, &nothing) in state.iter_mut().zip(&self.fold.nothing(simd)) {
                *state = simd.select_f32s(self.last_input, *state, nothing);
            }
        }
        (state, sum)
    }

    /// Stores vectors of columns after the padding of a folded row.
    ///
    /// # Safety
    /// The folded row has room for them.
    #[inline(always)]
    unsafe fn store<S: KernelSimd<m32s = M>>(
        &self,
        simd: S,
        to: *mut f32,
        columns: [[S::f32s; P]; PARTS],
    ) {
        let before = self.across.before;
        let pairs = columns[0].iter().zip(&columns[PARTS - 1]);
        for (p, (&a, &b)) in pairs.enumerate() {
            let to = to.wrapping_add(p * self.row);
            // SAFETY: the caller's promise.
            unsafe {
                if PARTS == 1 {
                    simd.store_f32s(to.wrapping_add(before), a);
                } else {
                    simd.store_f32s(to.wrapping_add(self.at(before)), simd.evens_f32s(a, b));
                    simd.store_f32s(to.wrapping_add(self.at(before + 1)), simd.odds_f32s(a, b));
                }
            }
        }
    }

    /// Folds the columns of folded rows at a stride of `PARTS`, 1 or 2. `out` is the part of the map's outputs from
    /// these rows on.
    #[inline(always)]
    fn across<S: KernelSimd<m32s = M>>(
        &self,
        simd: S,
        spans: &[Span],
        folded: &[f32],
        out: &mut [f32],
    ) {
        let (lanes, width) = (S::F32_LANES, self.across.out);
        let reach = ((self.across.kernel - 1) * self.across.dilation).div_ceil(PARTS);
        assert!(self.across.stride == PARTS && (K == 0 || K == self.across.kernel));
        assert!(width.next_multiple_of(LANES) + reach <= self.pitch);
        assert!(self.row == PARTS * self.pitch);
        assert!(folded.len() >= product([spans.len(), P, self.row]));
        assert!(out.len() >= product([spans.len(), width]) && self.scales.len() >= width + LANES);
        let (mut from, mut to, mut left) = (folded.as_ptr(), out.as_mut_ptr(), out.len());
        for span in spans {
            let rows = simd.splat_f32s(1.0 / span.count);
            let mut x = 0;
            while x < width {
                // SAFETY: whole vectors of outputs reach at most to the pitch, as asserted. After the row comes the
                // next one, which is not written yet, or the end of the outputs, where stores are masked.
                unsafe {
                    let y = self.windows(simd, from.wrapping_add(x), x, rows);
                    if x + lanes <= left {
                        simd.store_f32s(to.wrapping_add(x), y);
                    } else {
                        simd.store_masked_f32s(self.last_output, to.wrapping_add(x), y);
                    }
                }
                x += lanes;
            }
            left -= width;
            from = from.wrapping_add(P * self.row);
            to = to.wrapping_add(width);
        }
    }

    /// The outputs of a vector of windows from window `x` on. Their first columns are at `from`.
    ///
    /// `rows` is the reciprocal of the number of rows that a mean divides by.
    ///
    /// # Safety
    /// The windows' columns and a vector of `scales` can be read.
    #[inline(always)]
    unsafe fn windows<S: KernelSimd<m32s = M>>(
        &self,
        simd: S,
        from: *const f32,
        x: usize,
        rows: S::f32s,
    ) -> S::f32s {
        let kernel = if K == 0 { self.across.kernel } else { K };
        let mut state = [simd.splat_f32s(0.0); P];
        for k in 0..kernel {
            let from = from.wrapping_add(self.at(k * self.across.dilation));
            let mut column = state;
            for (p, column) in column.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                [*column] = unsafe { load::<S, 1>(simd, from.wrapping_add(p * self.row)) };
            }
            state = match k {
                0 => column,
                _ => self.fold.merge(simd, state, column),
            };
        }
        // SAFETY: the caller's promise.
        let [columns] = unsafe { load::<S, 1>(simd, self.scales.as_ptr().wrapping_add(x)) };
        let scale = simd.mul_f32s(columns, rows);
        self.fold.finish(simd, state, scale)
    }

    /// Folds the columns of folded rows one window at a time, at any stride.
    #[inline(always)]
    fn pick(&self, spans: &[Span], folded: &[f32], out: &mut [f32]) {
        let (across, scalar) = (&self.across, pulp::Scalar::new());
        let rows = folded.chunks_exact(P * self.row);
        for ((span, folded), out) in spans.iter().zip(rows).zip(out.chunks_exact_mut(across.out)) {
            for (x, out) in out.iter_mut().enumerate() {
                let mut state = self.fold.nothing(scalar);
                for k in 0..across.kernel {
                    let at = x * across.stride + k * across.dilation;
                    let column = array(|p| folded[p * self.row + at]);
                    state = self.fold.merge(scalar, state, column);
                }
                let scale = self.scales[x] / span.count;
                *out = self.fold.finish(scalar, state, scale);
            }
        }
    }
}
