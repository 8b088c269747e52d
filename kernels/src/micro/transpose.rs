//! Transposes and copies of matrices of floats, with zeros where the destination's rows are longer. A
//! [`reorder`](mod@crate::reorder) consists of them.
//!
//! A vector of L lanes is L / 4 groups of four lanes. It is loaded with four floats of each of L / 4 rows. Four such
//! vectors hold four floats of L rows. A 4x4 transpose inside each group then yields four columns, which are stored as
//! vectors. That takes two shuffles per vector at any width. A transpose of L x L vectors takes log2 L.
#![allow(unsafe_code)]

use super::gemm::load;
use crate::arch::{KernelSimd, array, hidden, stream_fence};
use crate::bounds;
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use crate::tensor::CacheLine;

/// Rows of `len` floats, `stride` floats apart.
#[derive(Clone, Copy, Debug)]
pub struct StridedRows<'a> {
    data: &'a [f32],
    rows: usize,
    len: usize,
    stride: usize,
}

impl<'a> StridedRows<'a> {
    /// The first `rows` rows of `data`.
    ///
    /// # Panics
    /// If `data` is too short, or there are no rows or columns.
    pub fn new(data: &'a [f32], rows: usize, len: usize, stride: usize) -> Self {
        assert!(rows > 0 && len > 0);
        StridedRows {
            data: &data[..bounds::extent(rows, stride, len)],
            rows,
            len,
            stride,
        }
    }

    #[inline(always)]
    fn row(&self, row: usize) -> &'a [f32] {
        &self.data[row * self.stride..][..self.len]
    }
}

/// Rows and columns of a transposed tile: a cache line of each.
const TILE: usize = CacheLine::F32S;

/// Rows whose distance is a multiple of this many floats (4 KB) map to one set of L1. Their lines would evict each
/// other before the last four floats are read, so they are copied to a tile first.
const ALIAS: usize = 1024;

type Tile = [[f32; TILE]; TILE];

/// Transposes within a cache. The source's rows are prefetched by software, 128 bytes ahead: short rows end before the
/// hardware prefetcher starts. (Measured: docs/measurements.md, 'prefetch of short rows'.)
pub struct Transpose<'a, 'o> {
    /// Source.
    pub src: StridedRows<'a>,
    /// Destination.
    pub dst: RowsMut<'o, f32>,
}

impl SimdTask for Transpose<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        columns::<S, true>(simd, self.src, self.dst, false);
    }
}

/// Writes the columns of `src` as the rows of `dst`, then zeros. With `stream`, stores are non-temporal if `dst`
/// consists of whole, aligned cache lines.
///
/// # Panics
/// If `dst` doesn't have a row for each column, or its rows are too short.
#[inline(always)]
pub fn transpose<S: KernelSimd>(
    simd: S,
    src: StridedRows<'_>,
    dst: RowsMut<'_, f32>,
    stream: bool,
) {
    columns::<S, false>(simd, src, dst, stream);
}

#[inline(always)]
fn columns<S: KernelSimd, const ASK: bool>(
    simd: S,
    src: StridedRows<'_>,
    mut dst: RowsMut<'_, f32>,
    stream: bool,
) {
    assert!(src.len == dst.rows() && src.rows <= dst.len());
    if S::F32_LANES < 4 {
        scalar(src, dst);
        return;
    }
    let full = src.rows / TILE * TILE;
    if src.len < 4 {
        for row in (0..full).step_by(TILE) {
            edge(simd, src, &mut dst, row);
        }
    } else if stream && streamable(&mut dst) {
        for row in (0..full).step_by(TILE) {
            // SAFETY: `src` and `dst` have these rows and columns, and `dst` is aligned.
            unsafe { strip::<S, true, ASK>(simd, src, &mut dst, row) };
        }
        stream_fence();
    } else {
        for row in (0..full).step_by(TILE) {
            // SAFETY: `src` and `dst` have these rows and columns.
            unsafe { strip::<S, false, ASK>(simd, src, &mut dst, row) };
        }
    }
    if full > 0 && src.len >= 4 && full < src.rows && src.rows == dst.len() {
        // Computes some rows a second time.
        // SAFETY: `src` and `dst` have these rows and columns.
        unsafe { strip::<S, false, ASK>(simd, src, &mut dst, src.rows - TILE) };
    } else {
        for row in (full..dst.len()).step_by(TILE) {
            edge(simd, src, &mut dst, row);
        }
    }
}

/// True if `dst` consists of whole, aligned cache lines.
#[inline(always)]
fn streamable(dst: &mut RowsMut<'_, f32>) -> bool {
    dst.as_mut_ptr().addr().is_multiple_of(CacheLine::BYTES)
        && dst.stride().is_multiple_of(TILE)
        && dst.len().is_multiple_of(TILE)
}

/// Transposes TILE rows from `row` on, all columns. With `ASK`, it prefetches lines before it reads them.
///
/// # Safety
/// `src` has these rows and at least four columns. `dst` has a row for each column, with a float for each row. With
/// `STREAM`, `dst` is aligned.
#[inline(always)]
unsafe fn strip<S: KernelSimd, const STREAM: bool, const ASK: bool>(
    simd: S,
    src: StridedRows<'_>,
    dst: &mut RowsMut<'_, f32>,
    row: usize,
) {
    let stride = (src.stride, dst.stride());
    // SAFETY: inside, as the caller promises.
    let (from, to) = unsafe {
        (
            src.data.as_ptr().add(row * src.stride),
            dst.as_mut_ptr().add(row),
        )
    };
    let mut col = 0;
    if src.stride.is_multiple_of(ALIAS) {
        let mut tile: Tile = [[0.0; TILE]; TILE];
        while col + TILE <= src.len {
            for (i, line) in tile.iter_mut().enumerate() {
                copy_row(simd, &src.row(row + i)[col..col + TILE], line);
            }
            for c in (col..col + TILE).step_by(4) {
                // SAFETY: four columns of the tile, and as many rows, as the caller promises.
                unsafe {
                    let from = tile.as_flattened().as_ptr().add(c - col);
                    fours::<S, STREAM>(simd, from, to.add(c * stride.1), (TILE, stride.1));
                }
            }
            col += TILE;
        }
    }
    for col in (col..src.len / 4 * 4).step_by(4) {
        if ASK && col.is_multiple_of(TILE) {
            let mut at = from.wrapping_add(col + 2 * TILE);
            for _ in 0..TILE {
                simd.prefetch(at);
                at = hidden(at.wrapping_add(stride.0));
            }
        }
        // SAFETY: four columns of TILE rows, as the caller promises.
        unsafe { fours::<S, STREAM>(simd, from.add(col), to.add(col * stride.1), stride) };
    }
    if !src.len.is_multiple_of(4) {
        let col = src.len - 4;
        // SAFETY: as above. Some columns are written a second time.
        unsafe { fours::<S, STREAM>(simd, from.add(col), to.add(col * stride.1), stride) };
    }
}

/// Transposes four columns of TILE rows.
///
/// # Safety
/// `from` is valid for reads of TILE rows of four floats, `to` for writes of four rows of TILE floats. Their strides
/// are `stride`. With `STREAM`, the rows of `to` are aligned cache lines.
#[inline(always)]
unsafe fn fours<S: KernelSimd, const STREAM: bool>(
    simd: S,
    from: *const f32,
    to: *mut f32,
    stride: (usize, usize),
) {
    // Each fourth row's address is computed from the one before. Given 16 loop-invariant addresses, the compiler would
    // keep most in memory.
    let mut fourth = [from; TILE / 4];
    for q in 1..TILE / 4 {
        fourth[q] = hidden(fourth[q - 1].wrapping_add(4 * stride.0));
    }
    for v in (0..TILE).step_by(S::F32_LANES) {
        // Lane 4q + i becomes row v + 4q + i, so the i-th vector loads four floats of each of these rows.
        let mut rows = [simd.splat_f32s(0.0); 4];
        for (i, row) in rows.iter_mut().enumerate() {
            let at: [*const f32; TILE / 4] = array(|q| fourth[q].wrapping_add(i * stride.0));
            // SAFETY: rows below TILE.
            *row = unsafe { simd.load_fours(&at[v / 4..(v + S::F32_LANES) / 4]) };
        }
        let columns = simd.transpose_fours(rows);
        for (j, &column) in columns.iter().enumerate() {
            // SAFETY: one of four rows of TILE floats, aligned if it must be.
            unsafe {
                let to = to.add(j * stride.1 + v);
                if STREAM {
                    simd.stream_f32s(to, column);
                } else {
                    simd.store_f32s(to, column);
                }
            }
        }
    }
}

/// Transposes up to TILE rows from `row` on, all columns. Writes zeros for rows beyond those of `src`.
#[inline(always)]
fn edge<S: KernelSimd>(simd: S, src: StridedRows<'_>, dst: &mut RowsMut<'_, f32>, row: usize) {
    let rows = row..(row + TILE).min(src.rows).max(row);
    let width = TILE.min(dst.len() - row);
    let mut tile: Tile = [[0.0; TILE]; TILE];
    let mut turned: Tile = [[0.0; TILE]; TILE];
    for col in (0..src.len).step_by(TILE) {
        let cols = col..(col + TILE).min(src.len);
        for (to, row) in tile.iter_mut().zip(rows.clone()) {
            copy_row(simd, &src.row(row)[cols.clone()], to);
        }
        for c in (0..cols.len()).step_by(4) {
            let (from, to) = (tile.as_flattened().as_ptr(), turned.as_flattened_mut());
            // SAFETY: four columns from `c` on, and as many rows.
            unsafe {
                let (from, to) = (from.add(c), to.as_mut_ptr().add(c * TILE));
                fours::<S, false>(simd, from, to, (TILE, TILE));
            }
        }
        for (from, c) in turned.iter().zip(cols) {
            copy_row(simd, &from[..width], &mut dst.row(c)[row..row + width]);
        }
    }
}

fn scalar(src: StridedRows<'_>, mut dst: RowsMut<'_, f32>) {
    for row in (0..dst.len()).step_by(TILE) {
        for col in 0..src.len {
            let width = TILE.min(dst.len() - row);
            for (i, to) in dst.row(col)[row..row + width].iter_mut().enumerate() {
                let from = src.data.get((row + i) * src.stride + col);
                *to = if row + i < src.rows {
                    *from.expect("inside")
                } else {
                    0.0
                };
            }
        }
    }
}

/// Copies rows, each followed by zeros.
///
/// # Panics
/// If `dst` has another number of rows, or its rows are too short.
#[inline(always)]
pub fn copy<S: KernelSimd>(simd: S, src: StridedRows<'_>, mut dst: RowsMut<'_, f32>, stream: bool) {
    assert!(src.rows == dst.rows() && src.len <= dst.len());
    if src.len == TILE && dst.len() == TILE {
        if stream && streamable(&mut dst) {
            // SAFETY: rows of TILE floats, aligned.
            unsafe { lines::<S, true>(simd, src, &mut dst) };
            stream_fence();
        } else {
            // SAFETY: rows of TILE floats.
            unsafe { lines::<S, false>(simd, src, &mut dst) };
        }
    } else {
        for row in 0..src.rows {
            copy_row(simd, src.row(row), dst.row(row));
        }
    }
}

/// Copies rows of TILE floats.
///
/// # Safety
/// Both have the same number of rows, of TILE floats each. With `STREAM`, `dst` is aligned.
#[inline(always)]
unsafe fn lines<S: KernelSimd, const STREAM: bool>(
    simd: S,
    src: StridedRows<'_>,
    dst: &mut RowsMut<'_, f32>,
) {
    for row in 0..src.rows {
        for v in (0..TILE).step_by(S::F32_LANES) {
            // SAFETY: inside a row, as the caller promises.
            unsafe {
                let [x] = load::<S, 1>(simd, src.data.as_ptr().add(row * src.stride + v));
                let to = dst.as_mut_ptr().add(row * dst.stride() + v);
                if STREAM {
                    simd.stream_f32s(to, x);
                } else {
                    simd.store_f32s(to, x);
                }
            }
        }
    }
}

/// Copies a row and fills the rest of `dst` with zeros.
#[inline(always)]
fn copy_row<S: KernelSimd>(simd: S, src: &[f32], dst: &mut [f32]) {
    let lanes = S::F32_LANES;
    let (whole, rest) = src.split_at(src.len() / lanes * lanes);
    let (to, behind) = dst.split_at_mut(whole.len());
    for (from, to) in whole.chunks_exact(lanes).zip(to.chunks_exact_mut(lanes)) {
        // SAFETY: chunks are vectors.
        unsafe {
            let [x] = load::<S, 1>(simd, from.as_ptr());
            simd.store_f32s(to.as_mut_ptr(), x);
        }
    }
    let mut last = simd.load_part_f32s(rest);
    for to in behind.chunks_mut(lanes) {
        simd.store_part_f32s(to, last);
        last = simd.splat_f32s(0.0);
    }
}
