//! Poolings of u8, s8 and bf16 on NHWC. Vectors hold the bytes of neighbouring channels as they are in memory.
//!
//! Maxima compare elements in their own type. In the usual windows each column is folded down its rows once, and kept in
//! registers for the windows that share it, as in [`mod@super::pool`].
//!
//! Means of bytes add pairs of 16 bits, which hold the sum of [`MOST_HELD`] bytes. Then the pairs are added to f32s, which
//! are exact up to 2^24. So a mean is the exact sum, divided once and rounded once, as
//! [`Requantisation`](crate::problem::Requantisation) defines it. Means of bf16 are sums of f32s.
#![allow(unsafe_code)]

use super::bytes::{Ordered, Vectors, each_vector, load, store, vector_bytes};
use super::windows::{Axis, Span};
use crate::arch::KernelSimd;
use crate::bounds::product;
use crate::dtype::{Bf16, DType};
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use crate::window::Window;
use std::marker::PhantomData;
use std::ops::Range;

/// Some outputs of some images.
pub struct PoolBytes<'a> {
    /// Element type: u8, s8 or bf16.
    pub dtype: DType,
    /// Computes means, not maxima. The spans of the axes have their divisors.
    pub means: bool,
    /// The input images, contiguous, with their channels innermost.
    pub images: &'a [u8],
    /// Bytes of a pixel.
    pub pixel: usize,
    /// Bytes of each pixel that are pooled: whole elements. They are all bytes if there are several windows.
    pub part: Range<usize>,
    /// Windows whose maxima are computed before the next channels of their pixels.
    pub strip: usize,
    /// Vertical axis.
    pub vertical: &'a Axis,
    /// Horizontal axis.
    pub horizontal: &'a Axis,
    /// The first output row.
    pub first: usize,
    /// For each image, its output rows.
    pub out: RowsMut<'a, u8>,
}

impl SimdTask for PoolBytes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let size = self.dtype.size();
        let part = &self.part;
        assert!(
            part.start <= part.end && part.end <= self.pixel && part.len().is_multiple_of(size),
            "{part:?} of {} bytes",
            self.pixel
        );
        match (self.dtype, self.means) {
            (DType::U8, false) => self.maxima::<S, u8>(simd),
            (DType::S8, false) => self.maxima::<S, i8>(simd),
            (DType::Bf16, false) => self.maxima::<S, Bf16>(simd),
            (DType::U8, true) => simd.call(Means::<u8, 4>(self, PhantomData)),
            (DType::S8, true) => simd.call(Means::<i8, 4>(self, PhantomData)),
            (DType::Bf16, true) => simd.call(Means::<Bf16, 2>(self, PhantomData)),
            (DType::F32 | DType::S32, _) => panic!("a pooling of {}", self.dtype),
        }
    }
}

impl PoolBytes<'_> {
    #[inline(always)]
    fn maxima<S: KernelSimd, E: Ordered>(self, simd: S) {
        let Window {
            kernel,
            stride,
            dilation,
            ..
        } = self.horizontal.window;
        match (kernel, stride, dilation) {
            (2, 2, 1) if const { !S::EMULATED } => simd.call(Maxima::<E, 2, 2>(self, PhantomData)),
            (3, 2, 1) => simd.call(Maxima::<E, 3, 2>(self, PhantomData)),
            (3, 1, 1) if const { !S::EMULATED } => simd.call(Maxima::<E, 3, 1>(self, PhantomData)),
            _ => simd.call(Maxima::<E, 0, 0>(self, PhantomData)),
        }
    }

    /// Calls `f` with each row of windows and its outputs.
    #[inline(always)]
    fn each_row(mut self, mut f: impl FnMut(OutputRow<'_>, &mut [u8])) {
        let (down, across) = (self.vertical, self.horizontal);
        let (width, len) = (across.window.size, self.part.len());
        let image = product([down.window.size, width, self.pixel]);
        let row = product([across.window.out, len]);
        let spans = &down.spans[self.first..][..self.out.len() / row];
        for index in 0..self.out.rows() {
            let image = &self.images[index * image..][..image];
            let out = self.out.row(index);
            for (o, &rows) in spans.iter().enumerate() {
                let windows = OutputRow {
                    image: &image[self.part.start..],
                    pixel: self.pixel,
                    len,
                    down: down.window.dilation * width * self.pixel,
                    right: across.window.dilation * self.pixel,
                    rows,
                    across,
                };
                f(windows, &mut out[o * row..][..row]);
            }
        }
    }
}

/// Windows of one output row.
#[derive(Clone, Copy)]
struct OutputRow<'a> {
    /// The image, from the pooled bytes of its first pixel on.
    image: &'a [u8],
    /// Bytes of a pixel.
    pixel: usize,
    /// Pooled bytes of a pixel.
    len: usize,
    /// Bytes from a row of a window to the next.
    down: usize,
    /// Bytes from a column of a window to the next.
    right: usize,
    rows: Span,
    across: &'a Axis,
}

/// Some bytes of all pixels of a window, at most a few vectors.
struct Taps<'a> {
    /// From these bytes of the first pixel to those of the last one.
    from: &'a [u8],
    down: usize,
    right: usize,
    rows: usize,
    columns: usize,
}

impl<'a> OutputRow<'a> {
    /// Bytes from `byte` on, `bytes` of them, of the pixels of window `x`.
    #[inline(always)]
    fn taps(&self, x: usize, byte: usize, bytes: usize) -> Taps<'a> {
        let (rows, columns) = (self.rows, self.across.spans[x]);
        assert!(rows.len > 0 && columns.len > 0, "a window without a pixel");
        let first = (rows.first * self.across.window.size + columns.first) * self.pixel + byte;
        let reach = (rows.len - 1) * self.down + (columns.len - 1) * self.right;
        Taps {
            from: &self.image[first..][..reach + bytes],
            down: self.down,
            right: self.right,
            rows: rows.len,
            columns: columns.len,
        }
    }

    /// Computes the maxima of some windows one by one.
    #[inline(always)]
    fn singly<S: KernelSimd, E: Ordered>(&self, simd: S, windows: Range<usize>, out: &mut [u8]) {
        for x in windows {
            let mut window = MaxOfWindow::<E> {
                row: self,
                x,
                out: &mut out[x * self.len..][..self.len],
                element: PhantomData,
            };
            each_vector(simd, 0, self.len, &mut window);
        }
    }

    /// Computes the maxima of all windows of `K` columns, at a stride of `STRIDE`. Whole windows are computed by columns.
    #[inline(always)]
    fn maxima<S: KernelSimd, E: Ordered, const K: usize, const STRIDE: usize>(
        &self,
        simd: S,
        strip: usize,
        out: &mut [u8],
    ) {
        let vector = vector_bytes::<S>();
        if const { K == 0 } || self.len < vector {
            return self.singly::<S, E>(simd, 0..self.across.window.out, out);
        }
        let Range { start, end } = self.across.whole;
        let mut x = start;
        while x < end {
            let windows = x..x.saturating_add(strip).min(end);
            x = windows.end;
            for byte in (0..self.len).step_by(vector) {
                let (byte, windows) = (byte.min(self.len - vector), windows.clone());
                // A constant number of rows is unrolled.
                if self.rows.len == K {
                    self.by_columns::<S, E, K, STRIDE>(simd, K, windows, byte, out);
                } else {
                    self.by_columns::<S, E, K, STRIDE>(simd, self.rows.len, windows, byte, out);
                }
            }
        }
        for windows in [0..start, end..self.across.window.out] {
            if !windows.is_empty() {
                simd.call(Singly::<E> {
                    row: *self,
                    windows,
                    out,
                    element: PhantomData,
                });
            }
        }
    }

    /// Computes a vector of maxima from `byte` on for some whole windows.
    #[inline(always)]
    fn by_columns<S: KernelSimd, E: Ordered, const K: usize, const STRIDE: usize>(
        &self,
        simd: S,
        rows: usize,
        windows: Range<usize>,
        byte: usize,
        out: &mut [u8],
    ) {
        assert!(rows > 0 && rows == self.rows.len && STRIDE <= K && !windows.is_empty());
        let (vector, shared, pixel, down) = (
            vector_bytes::<S>(),
            const { K - STRIDE },
            self.pixel,
            self.down,
        );
        let columns = (windows.len() - 1) * STRIDE + K;
        let column = self.across.spans[windows.start].first;
        let first = (self.rows.first * self.across.window.size + column) * pixel + byte;
        let from = &self.image[first..][..(rows - 1) * down + (columns - 1) * pixel + vector];
        let to = &mut out[windows.start * self.len + byte..];
        let to = &mut to[..(windows.len() - 1) * self.len + vector];
        // Columns of a window. The first ones are shared with the window before.
        let mut folded = [simd.splat_f32s(0.0); K];
        let mut at = from.as_ptr();
        for column in &mut folded[..shared] {
            // SAFETY: the column is one of `columns`.
            *column = unsafe { fold_column::<S, E>(simd, at, rows, down) };
            at = at.wrapping_add(pixel);
        }
        for window in 0..windows.len() {
            for column in &mut folded[shared..] {
                // SAFETY: the column is one of `columns`.
                *column = unsafe { fold_column::<S, E>(simd, at, rows, down) };
                at = at.wrapping_add(pixel);
            }
            let mut y = folded[0];
            for column in &folded[1..] {
                y = E::max(simd, y, *column);
            }
            let y = E::elements(simd, y);
            // SAFETY: `to` has a vector for each window, `len` bytes after the one before.
            unsafe { simd.store_f32s(to.as_mut_ptr().add(window * self.len).cast(), y) };
            for j in 0..shared {
                folded[j] = folded[j + STRIDE];
            }
        }
    }
}

/// Maximum of the keys of a vector's bytes in `rows` pixels, `down` bytes apart.
///
/// # Safety
/// `at` is valid for a read of a vector in each row.
#[inline(always)]
unsafe fn fold_column<S: KernelSimd, E: Ordered>(
    simd: S,
    at: *const u8,
    rows: usize,
    down: usize,
) -> S::f32s {
    let vector = vector_bytes::<S>();
    // SAFETY: the caller's promise.
    let mut y = E::keys(simd, unsafe { load(simd, at, vector) });
    for row in 1..rows {
        // SAFETY: the caller's promise.
        let x = unsafe { load(simd, at.add(row * down), vector) };
        y = E::max(simd, y, E::keys(simd, x));
    }
    y
}

impl Taps<'_> {
    /// Vector of `bytes` bytes of a pixel, from the `skip`-th on.
    ///
    /// # Safety
    /// The row and the column are the window's. There are `skip + bytes` bytes of each pixel.
    #[inline(always)]
    unsafe fn load<S: KernelSimd>(
        &self,
        simd: S,
        [row, column]: [usize; 2],
        skip: usize,
        bytes: usize,
    ) -> S::f32s {
        let at = row * self.down + column * self.right + skip;
        debug_assert!(at + bytes <= self.from.len());
        // SAFETY: `from` reaches from the first pixel to the last one, so the caller's promise is enough.
        unsafe { load(simd, self.from.as_ptr().add(at), bytes) }
    }
}

/// Maxima of a task. Windows have `K` columns and the stride `STRIDE`, or any shape if these are 0.
struct Maxima<'a, E, const K: usize, const STRIDE: usize>(PoolBytes<'a>, PhantomData<E>);

impl<E: Ordered, const K: usize, const STRIDE: usize> SimdTask for Maxima<'_, E, K, STRIDE> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let strip = self.0.strip;
        self.0
            .each_row(|row, out| row.maxima::<S, E, K, STRIDE>(simd, strip, out));
    }
}

/// Some windows of a row, which are computed one by one. All shapes share this function.
struct Singly<'a, 'o, E> {
    row: OutputRow<'a>,
    windows: Range<usize>,
    out: &'o mut [u8],
    element: PhantomData<E>,
}

impl<E: Ordered> SimdTask for Singly<'_, '_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        self.row.singly::<S, E>(simd, self.windows, self.out);
    }
}

/// Maximum of a window.
struct MaxOfWindow<'a, 'o, E> {
    row: &'a OutputRow<'a>,
    x: usize,
    /// Bytes of the output pixel.
    out: &'o mut [u8],
    element: PhantomData<E>,
}

impl<E: Ordered> Vectors for MaxOfWindow<'_, '_, E> {
    #[inline(always)]
    fn vector<S: KernelSimd>(&mut self, simd: S, at: usize, bytes: usize) {
        let taps = self.row.taps(self.x, at, bytes);
        // SAFETY: a window has a pixel.
        let mut y = E::keys(simd, unsafe { taps.load(simd, [0, 0], 0, bytes) });
        for row in 0..taps.rows {
            for column in 0..taps.columns {
                // SAFETY: the pixel is the window's.
                let x = unsafe { taps.load(simd, [row, column], 0, bytes) };
                y = E::max(simd, y, E::keys(simd, x));
            }
        }
        store(simd, &mut self.out[at..at + bytes], E::elements(simd, y));
    }
}

/// Elements whose pairs of sums hold so many of them: 256 bytes in 16 bits.
const MOST_HELD: usize = 256;

/// Elements whose means are computed in f32: `P` vectors of floats for a vector of elements.
trait Averaged<const P: usize>: Send + Sync {
    /// Adds a vector of elements to a pair of sums. They hold at most [`MOST_HELD`] elements.
    fn hold<S: KernelSimd>(simd: S, held: [S::f32s; 2], x: S::f32s) -> [S::f32s; 2];

    /// Sum in part `part` of a pair of sums of `count` elements.
    fn part<S: KernelSimd>(simd: S, held: [S::f32s; 2], count: usize, part: usize) -> S::f32s;

    /// Elements that are nearest to a part's floats, each in its place among zeros.
    fn element<S: KernelSimd>(simd: S, means: S::f32s, part: usize) -> S::f32s;
}

/// Vector of equal words.
#[inline(always)]
fn words<S: KernelSimd>(simd: S, bits: u32) -> S::f32s {
    simd.splat_f32s(f32::from_bits(bits))
}

/// Defines means of bytes. Signed ones have 128 added, which the sums are corrected for.
macro_rules! bytes {
    ($($element:ident $added:literal;)*) => {
        $(impl Averaged<4> for $element {
            #[inline(always)]
            fn hold<S: KernelSimd>(simd: S, held: [S::f32s; 2], x: S::f32s) -> [S::f32s; 2] {
                let x = if $added == 0.0 { x } else { simd.flip_bytes(x) };
                let low = words(simd, 0x00ff_00ff);
                let even = simd.and_bits(x, low);
                let odd = simd.and_bits(simd.shift_down(x, 8), low);
                [simd.add_s16s(held[0], even), simd.add_s16s(held[1], odd)]
            }

            #[inline(always)]
            fn part<S: KernelSimd>(simd: S, held: [S::f32s; 2], count: usize, part: usize) -> S::f32s {
                let sums = match part / 2 {
                    0 => simd.and_bits(held[part % 2], words(simd, 0xffff)),
                    _ => simd.shift_down(held[part % 2], 16),
                };
                let added = simd.splat_f32s($added * count as f32);
                simd.sub_f32s(simd.floats_of_s32s(sums), added)
            }

            #[inline(always)]
            fn element<S: KernelSimd>(simd: S, means: S::f32s, part: usize) -> S::f32s {
                let byte = simd.and_bits(simd.s32s_of_floats(means), words(simd, 0xff));
                simd.shift_up(byte, 8 * part as u32)
            }
        })*
    };
}

bytes! {
    u8 0.0;
    i8 128.0;
}

impl Averaged<2> for Bf16 {
    #[inline(always)]
    fn hold<S: KernelSimd>(simd: S, held: [S::f32s; 2], x: S::f32s) -> [S::f32s; 2] {
        // A bf16 is the upper half of an f32.
        let low = simd.shift_up(x, 16);
        let high = simd.and_bits(x, words(simd, 0xffff_0000));
        [simd.add_f32s(held[0], low), simd.add_f32s(held[1], high)]
    }

    #[inline(always)]
    fn part<S: KernelSimd>(_: S, held: [S::f32s; 2], _: usize, part: usize) -> S::f32s {
        held[part]
    }

    #[inline(always)]
    fn element<S: KernelSimd>(simd: S, means: S::f32s, part: usize) -> S::f32s {
        simd.shift_up(simd.bf16s_of_floats(means), 16 * part as u32)
    }
}

/// Means of a task.
struct Means<'a, E, const P: usize>(PoolBytes<'a>, PhantomData<E>);

/// Vectors of a pixel that are added side by side: the next pixel may be on another page.
const SIDE_BY_SIDE: usize = 4;

impl<E: Averaged<P>, const P: usize> SimdTask for Means<'_, E, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        self.0.each_row(|row, out| {
            let some = SIDE_BY_SIDE * vector_bytes::<S>();
            for x in 0..row.across.window.out {
                let mut window = MeanOfWindow::<E, P> {
                    row: &row,
                    x,
                    out: &mut out[x * row.len..][..row.len],
                    element: PhantomData,
                };
                let done = row.len / some * some;
                for at in (0..done).step_by(some) {
                    window.vectors::<S, SIDE_BY_SIDE>(simd, at, vector_bytes::<S>());
                }
                each_vector(simd, done, row.len, &mut window);
            }
        });
    }
}

/// Mean of a window.
struct MeanOfWindow<'a, 'o, E, const P: usize> {
    row: &'a OutputRow<'a>,
    x: usize,
    /// Bytes of the output pixel.
    out: &'o mut [u8],
    element: PhantomData<E>,
}

impl<E: Averaged<P>, const P: usize> Vectors for MeanOfWindow<'_, '_, E, P> {
    #[inline(always)]
    fn vector<S: KernelSimd>(&mut self, simd: S, at: usize, bytes: usize) {
        self.vectors::<S, 1>(simd, at, bytes);
    }
}

impl<E: Averaged<P>, const P: usize> MeanOfWindow<'_, '_, E, P> {
    /// Computes the means of `V` vectors of `bytes` bytes from `at` on.
    #[inline(always)]
    fn vectors<S: KernelSimd, const V: usize>(&mut self, simd: S, at: usize, bytes: usize) {
        let taps = self.row.taps(self.x, at, V * bytes);
        let zero = simd.splat_f32s(0.0);
        let (mut held, mut sums, mut count) = ([[zero; 2]; V], [[zero; P]; V], 0);
        for row in 0..taps.rows {
            let mut column = 0;
            while column < taps.columns {
                let next = taps.columns.min(column + MOST_HELD - count);
                count += next - column;
                for column in column..next {
                    for (v, held) in held.iter_mut().enumerate() {
                        // SAFETY: the pixel is the window's, and there are V vectors of it.
                        let x = unsafe { taps.load(simd, [row, column], v * bytes, bytes) };
                        *held = E::hold(simd, *held, x);
                    }
                }
                column = next;
                if count == MOST_HELD {
                    add_held::<S, E, P, V>(simd, &mut sums, &mut held, count);
                    count = 0;
                }
            }
        }
        add_held::<S, E, P, V>(simd, &mut sums, &mut held, count);
        let divisor = self.row.rows.count * self.row.across.spans[self.x].count;
        let divisor = simd.splat_f32s(divisor);
        for (v, sums) in sums.iter().enumerate() {
            let mut y = zero;
            for (part, sum) in sums.iter().enumerate() {
                let mean = simd.div_f32s(*sum, divisor);
                y = simd.or_bits(y, E::element(simd, mean, part));
            }
            store(simd, &mut self.out[at + v * bytes..][..bytes], y);
        }
    }
}

/// Adds pairs of sums of `count` elements to the floats, and clears them.
#[inline(always)]
fn add_held<S: KernelSimd, E: Averaged<P>, const P: usize, const V: usize>(
    simd: S,
    sums: &mut [[S::f32s; P]; V],
    held: &mut [[S::f32s; 2]; V],
    count: usize,
) {
    for (sums, held) in sums.iter_mut().zip(held) {
        for (part, sum) in sums.iter_mut().enumerate() {
            *sum = simd.add_f32s(*sum, E::part(simd, *held, count, part));
        }
        *held = [simd.splat_f32s(0.0); 2];
    }
}
