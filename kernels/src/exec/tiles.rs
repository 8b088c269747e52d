//! Tiles of maps, some for each task.

use super::executor::{Executor, SharedPtr};
use super::rows::RowsMut;
use crate::bounds::product;
use crate::partition::TileGrid;
use crate::tensor::CacheLine;
use std::marker::PhantomData;
use std::ops::Range;

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
    let dst = SharedPtr(dst.as_mut_ptr());
    let per_worker = scratch.len() / exec.width();
    let scratch = SharedPtr(scratch.as_mut_ptr());
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

#[cfg(test)]
mod tests {
    use super::super::executor::Serial;
    use super::*;

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
}
