//! Threads. No other folder uses them.
//!
//! Work is a number of tasks. An [`Executor`] runs each once, on one of `width()` workers. The result of a task depends
//! neither on its worker nor on the number of workers. Each worker begins with its own contiguous share, equal in every
//! run, so that its caches stay warm. An idle worker steals tasks of others (`stealing.rs`). A single task runs on the
//! calling thread.
//!
//! Kernels use [`par_rows`]: it divides an output matrix into disjoint blocks. Each task gets its block and its
//! worker's private scratch. [`par_halves`] divides both halves of each row in the same way. [`par_tiles`] divides maps
//! into square tiles.
//!
//! In reading order: [`crate::partition`] (division of work), this file (each task's part of the output), `stealing.rs`
//! (how workers share the tasks), `team.rs` (the threads of a pool as workers).
#![allow(unsafe_code)]

mod stealing;
mod sync;
mod team;

pub use crate::partition::{Grid, Sharing, TileGrid, share};
pub use team::{Team, on_each_worker, with_team};

use crate::bounds::product;
use crate::tensor::CacheLine;
use std::marker::PhantomData;
use std::ops::Range;

/// Runs tasks on workers.
///
/// # Safety
/// Within one `run`, each task index below `tasks` is called exactly once before `run` returns, with `worker <
/// width()`. No two live calls have the same worker. `before` is the task of this worker's previous call in the same
/// `run`, if any. A task never calls `run`.
pub unsafe trait Executor: Sync {
    /// The number of workers.
    fn width(&self) -> usize;
    /// Calls `f` for every task.
    fn run(&self, tasks: usize, f: &(dyn Fn(Turn) + Sync));
}

/// A task on a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The task.
    pub task: usize,
    /// The worker that runs it.
    pub worker: usize,
    /// The worker's previous task in the same run. The worker's scratch still holds what that task wrote.
    pub before: Option<usize>,
}

impl Turn {
    /// True if the worker's previous task belongs to another group. Groups are `size` consecutive tasks.
    fn begins_group(&self, size: usize) -> bool {
        self.before
            .is_none_or(|before| before / size != self.task / size)
    }
}

/// Executor without threads: the calling thread runs all tasks, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

// SAFETY: a plain loop on one thread.
unsafe impl Executor for Serial {
    fn width(&self) -> usize {
        1
    }
    fn run(&self, tasks: usize, f: &(dyn Fn(Turn) + Sync)) {
        for task in 0..tasks {
            f(Turn {
                task,
                worker: 0,
                before: task.checked_sub(1),
            });
        }
    }
}

/// A block of a matrix that one task owns: `rows` rows of `len` elements, `stride` elements apart.
#[derive(Debug)]
pub struct RowsMut<'a, T> {
    ptr: *mut T,
    rows: usize,
    stride: usize,
    len: usize,
    _owns: PhantomData<&'a mut [T]>,
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
    dst: &'a Shared<T>,
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
    let dst = Shared(dst.as_mut_ptr());
    let per_worker = scratch.len() / exec.width();
    let scratch = Shared(scratch.as_mut_ptr());
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

/// Tiles that one task owns: a range of tiles in each of a range of maps.
#[derive(Debug)]
pub struct TilesMut<'a, T> {
    ptr: *mut T,
    grid: TileGrid,
    image: usize,
    blocks: Range<usize>,
    tiles: Range<usize>,
    scratch_is_stale: bool,
    _owns: PhantomData<&'a mut [T]>,
}

// SAFETY: a `TilesMut` is an exclusive borrow of its elements, like `&mut [T]`.
unsafe impl<T: Send> Send for TilesMut<'_, T> {}

impl<T> TilesMut<'_, T> {
    /// The image.
    pub fn image(&self) -> usize {
        self.image
    }

    /// The task must fill its worker's scratch first. If false, the worker's previous task had the same tiles of other
    /// maps, and the scratch holds their data.
    pub fn scratch_is_stale(&self) -> bool {
        self.scratch_is_stale
    }

    /// The maps.
    pub fn blocks(&self) -> Range<usize> {
        self.blocks.clone()
    }

    /// The tiles.
    pub fn tiles(&self) -> Range<usize> {
        self.tiles.clone()
    }

    /// Offset of a tile's first element in the output.
    #[inline(always)]
    pub fn offset(&self, block: usize, tile: usize) -> usize {
        let TileGrid { map, pixel, .. } = self.grid;
        let (y, x) = (tile / self.grid.cols(), tile % self.grid.cols());
        let [y, x] = [y, x].map(|at| at * self.grid.tile);
        (((self.image * self.grid.blocks + block) * map[0] + y) * map[1] + x) * pixel
    }

    /// One tile, clipped to the map.
    ///
    /// # Panics
    /// If the tile isn't this task's.
    #[inline(always)]
    pub fn tile(&mut self, block: usize, tile: usize) -> RowsMut<'_, T> {
        assert!(self.blocks.contains(&block) && self.tiles.contains(&tile));
        let TileGrid { map, pixel, .. } = self.grid;
        let (y, x) = (tile / self.grid.cols(), tile % self.grid.cols());
        let [height, width] = [(y, map[0]), (x, map[1])]
            .map(|(at, size)| self.grid.tile.min(size - at * self.grid.tile));
        // SAFETY: a tile begins inside its map, and the maps of the task are inside the output.
        let ptr = unsafe { self.ptr.add(self.offset(block, tile)) };
        RowsMut {
            ptr,
            rows: height,
            stride: map[1] * pixel,
            len: width * pixel,
            _owns: PhantomData,
        }
    }
}

/// Divides `dst` by `grid` and calls `f(the task's tiles, the worker's scratch)` for each task. Each worker gets an
/// equal part of `scratch`.
///
/// # Panics
/// If `dst` is smaller than the grid, or the grid has an empty step.
pub fn par_tiles<T: Send>(
    exec: &dyn Executor,
    dst: &mut [T],
    grid: TileGrid,
    scratch: &mut [CacheLine],
    f: impl Fn(TilesMut<'_, T>, &mut [CacheLine]) + Sync,
) {
    let [height, width] = grid.map;
    let elements = product([grid.images, grid.blocks, height, width, grid.pixel]);
    assert!(elements <= dst.len(), "{grid:?} in {} elements", dst.len());
    assert!(
        grid.tile > 0 && grid.task_tiles > 0 && grid.task_blocks > 0,
        "{grid:?}"
    );
    assert!(grid.task_step > 0 && grid.task_tiles.is_multiple_of(grid.task_step));
    let dst = Shared(dst.as_mut_ptr());
    let per_worker = scratch.len() / exec.width();
    let scratch = Shared(scratch.as_mut_ptr());
    exec.run(grid.tasks(), &|turn| {
        let (image, blocks, tiles) = grid.task(turn.task);
        let worker = turn.worker;
        let owned = TilesMut {
            // SAFETY: the output's start. Tasks reach only tiles of their own maps from it, which are disjoint. Each
            // task runs once (the executor's contract).
            ptr: unsafe { dst.at(0) },
            grid,
            image,
            blocks,
            tiles,
            scratch_is_stale: turn.begins_group(grid.groups()),
            _owns: PhantomData,
        };
        // SAFETY: parts of different workers are disjoint, and no two live calls have the same worker (the executor's
        // contract).
        let own =
            unsafe { std::slice::from_raw_parts_mut(scratch.at(worker * per_worker), per_worker) };
        f(owned, own);
    });
}

/// A pointer that tasks share. Each use states why its access is exclusive.
struct Shared<T>(*mut T);
// SAFETY: only a base address. Each access has its own SAFETY comment.
unsafe impl<T: Send> Sync for Shared<T> {}
impl<T> Shared<T> {
    /// # Safety
    /// `index` is inside the allocation.
    unsafe fn at(&self, index: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn every_tile_is_handed_out_once() {
        for (images, blocks, map, tile, task_tiles, task_step, task_blocks) in [
            (1, 3, [7, 9], 4, 5, 1, 2),
            (2, 2, [4, 4], 2, 1, 1, 2),
            (2, 5, [1, 13], 6, 9, 3, 3),
            (1, 1, [5, 3], 3, 2, 1, 1),
            (1, 2, [14, 5], 2, 6, 3, 2),
        ] {
            let grid = TileGrid {
                images,
                blocks,
                map,
                pixel: 2,
                tile,
                task_tiles,
                task_step,
                task_blocks,
            };
            let mut seen = vec![0u32; images * blocks * map[0] * map[1] * 2];
            let mut scratch = vec![CacheLine::default(); 2];
            par_tiles(&Serial, &mut seen, grid, &mut scratch, |mut own, _| {
                assert!(own.tiles().len() <= task_tiles && own.blocks().len() <= task_blocks);
                assert!(own.tiles().start.is_multiple_of(task_step));
                for block in own.blocks() {
                    for at in own.tiles() {
                        let mut rows = own.tile(block, at);
                        for r in 0..rows.rows() {
                            rows.row(r).iter_mut().for_each(|x| *x += 1);
                        }
                    }
                }
            });
            assert!(seen.iter().all(|&x| x == 1), "{grid:?}: {seen:?}");
        }
    }

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
