//! Blocks of a matrix, one for each task.

use super::executor::{Executor, SharedPtr};
use crate::bounds::product;
use crate::partition::{Grid, Sharing};
use crate::tensor::CacheLine;
use std::marker::PhantomData;
use std::ops::Range;

/// A block of a matrix that one task owns: `rows` rows of `len` elements, `stride` elements apart.
#[derive(Debug)]
pub struct RowsMut<'a, T> {
    pub(super) ptr: *mut T,
    pub(super) rows: usize,
    pub(super) stride: usize,
    pub(super) len: usize,
    pub(super) _owns: PhantomData<&'a mut [T]>,
}

// SAFETY: a `RowsMut` is an exclusive borrow of its elements, like `&mut [T]`.
unsafe impl<T: Send> Send for RowsMut<'_, T> {}

impl<'a, T> RowsMut<'a, T> {
    /// All of `data`, as rows of `len` elements.
    ///
    /// # Panics
    /// If `data` is not a whole number of rows.
    pub fn new(data: &'a mut [T], len: usize) -> Self {
        assert!(
            len > 0 && data.len().is_multiple_of(len),
            "{} elements in rows of {len}",
            data.len()
        );
        let (rows, ptr) = (data.len() / len, data.as_mut_ptr());
        RowsMut {
            ptr,
            rows,
            stride: len,
            len,
            _owns: PhantomData,
        }
    }

    /// Number of rows in the block.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements in a row of the block.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Elements from one row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Pointer to the first element. It is valid for writes of every row of the block while the block is borrowed.
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.ptr
    }

    /// One row.
    #[inline(always)]
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows);
        // SAFETY: `row` is inside the block, whose rows of `len` elements it borrows exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(row * self.stride), self.len) }
    }

    /// Part of this block.
    #[inline(always)]
    pub fn part(&mut self, rows: Range<usize>, cols: Range<usize>) -> RowsMut<'_, T> {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        assert!(cols.start <= cols.end && cols.end <= self.len);
        if rows.is_empty() || cols.is_empty() {
            return RowsMut {
                ptr: self.ptr,
                rows: 0,
                stride: 0,
                len: 0,
                _owns: PhantomData,
            };
        }
        // SAFETY: the first element is inside this block.
        let ptr = unsafe { self.ptr.add(rows.start * self.stride + cols.start) };
        RowsMut {
            ptr,
            rows: rows.len(),
            stride: self.stride,
            len: cols.len(),
            _owns: PhantomData,
        }
    }
}

/// Position of a task's block in the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The block's first row.
    pub row: usize,
    /// The block's first column.
    pub col: usize,
    /// The worker that runs the task.
    pub worker: usize,
    /// The task must fill its worker's scratch first. If false, the worker's previous task had the same shared data
    /// ([`Sharing`]), and the scratch holds it.
    pub scratch_is_stale: bool,
}

/// Divides `dst` by `grid` and calls `f(block, its elements, the worker's scratch)` for each block. Each worker gets an
/// equal part of `scratch`.
///
/// # Panics
/// If `dst` is smaller than the grid, the grid has an empty step, or bands don't divide its rows.
pub fn par_rows<T: Send>(
    exec: &dyn Executor,
    dst: &mut [T],
    grid: Grid,
    scratch: &mut [CacheLine],
    f: impl Fn(Block, RowsMut<'_, T>, &mut [CacheLine]) + Sync,
) {
    par_rows_sharing(exec, dst, grid, Sharing::Columns, scratch, f);
}

/// [`par_rows`] with a given order of blocks.
///
/// # Panics
/// As [`par_rows`].
pub fn par_rows_sharing<T: Send>(
    exec: &dyn Executor,
    dst: &mut [T],
    grid: Grid,
    sharing: Sharing,
    scratch: &mut [CacheLine],
    f: impl Fn(Block, RowsMut<'_, T>, &mut [CacheLine]) + Sync,
) {
    let blocks = Blocks {
        grid,
        row: grid.cols,
        sharing,
    };
    par_blocks(exec, dst, blocks, scratch, |at, own, scratch| {
        f(at, own.part(0, grid.cols), scratch);
    });
}

/// Divides both halves of rows of `row` elements in the same way. `grid` divides the first halves, which may be longer
/// by less than a block. A task gets a block of the first halves, and the same columns of the second halves. Of the
/// second halves it may get fewer columns, or none.
///
/// # Panics
/// If `dst` is smaller than the grid of whole rows, the grid has an empty step, or its columns are less than half a
/// row.
pub fn par_halves<T: Send>(
    exec: &dyn Executor,
    dst: &mut [T],
    grid: Grid,
    row: usize,
    scratch: &mut [CacheLine],
    f: impl Fn(Block, [RowsMut<'_, T>; 2], &mut [CacheLine]) + Sync,
) {
    assert!(
        grid.cols <= row && row - grid.cols <= grid.cols,
        "{grid:?} for {row}"
    );
    let blocks = Blocks {
        grid,
        row,
        sharing: Sharing::Columns,
    };
    par_blocks(exec, dst, blocks, scratch, |at, own, scratch| {
        let halves = [(0, grid.cols), (grid.cols, row)];
        f(at, halves.map(|(from, to)| own.part(from, to)), scratch);
    });
}

/// A task's part of the output, from which it takes its blocks.
struct Own<'a, T> {
    dst: &'a SharedPtr<T>,
    rows: Range<usize>,
    cols: Range<usize>,
    stride: usize,
}

impl<T> Own<'_, T> {
    /// The task's columns, counted from column `from` and clipped at column `to`.
    fn part(&self, from: usize, to: usize) -> RowsMut<'_, T> {
        let cols = (from + self.cols.start).min(to)..(from + self.cols.end).min(to);
        let rows = if cols.is_empty() { 0 } else { self.rows.len() };
        RowsMut {
            // SAFETY: blocks of different tasks are disjoint and inside `dst`, whose exclusive borrow outlives `run`.
            // Each task runs once (the executor's contract). It takes each range of columns once: the ranges from
            // `from` to `to` that `par_rows` and `par_halves` use don't overlap.
            ptr: unsafe { self.dst.at(self.rows.start * self.stride + cols.start) },
            rows,
            stride: self.stride,
            len: cols.len(),
            _owns: PhantomData,
        }
    }
}

/// Division of a matrix into the blocks of tasks.
struct Blocks {
    grid: Grid,
    /// Elements in a row of the matrix.
    row: usize,
    sharing: Sharing,
}

/// Calls `f` for each block of `dst`.
fn par_blocks<T: Send>(
    exec: &dyn Executor,
    dst: &mut [T],
    blocks: Blocks,
    scratch: &mut [CacheLine],
    f: impl Fn(Block, Own<'_, T>, &mut [CacheLine]) + Sync,
) {
    let Blocks { grid, row, sharing } = blocks;
    assert!(
        product([grid.rows, row]) <= dst.len(),
        "{grid:?} of rows of {row} in {} elements",
        dst.len()
    );
    assert!(
        grid.block_rows > 0 && grid.block_cols > 0 && grid.band > 0,
        "{grid:?}"
    );
    assert!(
        grid.rows.is_multiple_of(grid.band),
        "{grid:?}: a last band with fewer rows"
    );
    let dst = SharedPtr(dst.as_mut_ptr());
    let per_worker = scratch.len() / exec.width();
    let scratch = SharedPtr(scratch.as_mut_ptr());
    exec.run(grid.tasks(), &|turn| {
        let (rows, cols) = grid.block(turn.task, sharing);
        let worker = turn.worker;
        let at = Block {
            row: rows.start,
            col: cols.start,
            worker,
            scratch_is_stale: turn.begins_group(grid.sharers(sharing)),
        };
        let own = Own {
            dst: &dst,
            rows,
            cols,
            stride: row,
        };
        // SAFETY: parts of different workers are disjoint, and no two live calls have the same worker (the executor's
        // contract).
        let scratch =
            unsafe { std::slice::from_raw_parts_mut(scratch.at(worker * per_worker), per_worker) };
        f(at, own, scratch);
    });
}

#[cfg(test)]
mod tests {
    use super::super::executor::Serial;
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn halves_are_handed_out_once_and_together() {
        for (rows, row, block_rows, block_cols, band) in [
            (4, 14usize, 2, 3, 4),
            (6, 13, 2, 3, 3),
            (3, 7, 3, 4, 3),
            (2, 1, 1, 1, 1),
        ] {
            let grid = Grid {
                rows,
                cols: row.div_ceil(2),
                block_rows,
                block_cols,
                band,
            };
            let mut seen = vec![0u32; rows * row];
            let mut scratch = vec![CacheLine::default(); 2];
            par_halves(
                &Serial,
                &mut seen,
                grid,
                row,
                &mut scratch,
                |at, halves, _| {
                    let [first, second] = &halves;
                    assert!(first.len() - second.len() <= row % 2, "{at:?}");
                    for mut half in halves {
                        for r in 0..half.rows() {
                            half.row(r).iter_mut().for_each(|x| *x += 1);
                        }
                    }
                },
            );
            assert!(seen.iter().all(|&x| x == 1), "{grid:?}: {seen:?}");
        }
    }

    #[test]
    fn every_element_is_handed_out_once() {
        for (rows, cols, block_rows, block_cols, band) in [
            (6, 10, 2, 3, 6),
            (7, 5, 2, 5, 7),
            (8, 9, 3, 4, 4),
            (9, 4, 2, 9, 3),
            (1, 1, 5, 5, 1),
        ] {
            let grid = Grid {
                rows,
                cols,
                block_rows,
                block_cols,
                band,
            };
            for sharing in [Sharing::Columns, Sharing::Rows] {
                let mut seen = vec![0u32; rows * cols];
                let mut scratch = vec![CacheLine::default(); 2];
                let before = Mutex::new(None);
                let count = |at: Block, mut block: RowsMut<'_, u32>, _: &mut [CacheLine]| {
                    let (first, last) = (at.row / band, (at.row + block.rows() - 1) / band);
                    assert_eq!(first, last, "crosses a band");
                    let shared = match sharing {
                        Sharing::Columns => (first, at.col),
                        Sharing::Rows => (first, at.row),
                    };
                    let before = before.lock().expect("no panic").replace(shared);
                    assert_eq!(
                        at.scratch_is_stale,
                        before != Some(shared),
                        "{grid:?} {sharing:?} {at:?}"
                    );
                    for r in 0..block.rows() {
                        block.row(r).iter_mut().for_each(|x| *x += 1);
                    }
                };
                par_rows_sharing(&Serial, &mut seen, grid, sharing, &mut scratch, count);
                assert!(seen.iter().all(|&x| x == 1), "{grid:?}: {seen:?}");
            }
        }
    }
}
