//! Division of work into tasks, and of tasks into shares of workers. Pure functions of sizes, without threads or
//! memory.

use crate::bounds::product;
use crate::layout::CHANNEL_BLOCK;
use std::ops::Range;

/// Share of `worker` when `0..tasks` is split into `width` contiguous, nearly equal shares.
pub fn share(tasks: usize, width: usize, worker: usize) -> Range<usize> {
    tasks * worker / width..tasks * (worker + 1) / width
}

/// Division of a matrix of `rows` x `cols` into blocks, for [`par_rows`](crate::exec::par_rows).
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Rows of the matrix.
    pub rows: usize,
    /// Elements in a row.
    pub cols: usize,
    /// Rows in a block (fewer in the last).
    pub block_rows: usize,
    /// Columns in a block (fewer in the last).
    pub block_cols: usize,
    /// Rows of a band, a divisor of `rows`. No block crosses a multiple of it, so a block stays within one image of a
    /// batch. Equal to `rows` if blocks may lie anywhere.
    pub band: usize,
}

impl Grid {
    /// Grid for `images` maps of `blocks` x `pixels` x 16 channels (NCHW16c). A task is `task` pixels of one image, in
    /// all of its channel blocks.
    pub fn of_pixels(images: usize, blocks: usize, pixels: usize, task: usize) -> Self {
        Grid {
            rows: product([images, blocks]),
            cols: product([pixels, CHANNEL_BLOCK]),
            block_rows: blocks,
            block_cols: task.saturating_mul(CHANNEL_BLOCK),
            band: blocks,
        }
    }
}

/// Data that consecutive blocks have in common, so that a worker mostly finds it in its scratch or caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Columns: pixels, if rows are channels.
    Columns,
    /// Rows: pixels, if columns are channels.
    Rows,
}

impl Grid {
    /// Number of blocks, which is the number of tasks.
    pub fn tasks(&self) -> usize {
        let bands = self.rows / self.band;
        let [along_rows, along_cols] = self.blocks();
        bands * along_rows * along_cols
    }

    /// Blocks of a band: along its rows and its columns.
    fn blocks(&self) -> [usize; 2] {
        [
            self.band.div_ceil(self.block_rows),
            self.cols.div_ceil(self.block_cols),
        ]
    }

    /// Number of consecutive tasks with the same shared data.
    pub(crate) fn sharers(&self, sharing: Sharing) -> usize {
        let [along_rows, along_cols] = self.blocks();
        match sharing {
            Sharing::Columns => along_rows,
            Sharing::Rows => along_cols,
        }
    }

    /// Rows and columns of a task's block.
    pub(crate) fn block(&self, task: usize, sharing: Sharing) -> (Range<usize>, Range<usize>) {
        let [per_band, col_blocks] = self.blocks();
        let (band, rest) = (
            task / (per_band * col_blocks),
            task % (per_band * col_blocks),
        );
        let (row, col) = match sharing {
            Sharing::Columns => (rest % per_band, rest / per_band),
            Sharing::Rows => (rest / col_blocks, rest % col_blocks),
        };
        let (row, col) = (row * self.block_rows, col * self.block_cols);
        let end = (band + 1) * self.band;
        let row = band * self.band + row;
        (
            row..row.saturating_add(self.block_rows).min(end),
            col..col.saturating_add(self.block_cols).min(self.cols),
        )
    }
}

/// Division of the maps of a blocked output into square tiles, for [`par_tiles`](crate::exec::par_tiles).
#[derive(Clone, Copy, Debug)]
pub struct TileGrid {
    /// Images.
    pub images: usize,
    /// Maps per image: its channel blocks.
    pub blocks: usize,
    /// Rows and columns of a map.
    pub map: [usize; 2],
    /// Elements per pixel.
    pub pixel: usize,
    /// Rows and columns of a tile (fewer at the bottom and right edges).
    pub tile: usize,
    /// Maximum tiles per task, in row-major order.
    pub task_tiles: usize,
    /// Divisor of `task_tiles`. Each task begins at a multiple of it.
    pub task_step: usize,
    /// Maps per task (fewer in the last).
    pub task_blocks: usize,
}

impl TileGrid {
    /// Tiles per row of tiles.
    pub fn cols(&self) -> usize {
        self.map[1].div_ceil(self.tile)
    }

    /// Tiles per map.
    pub fn tiles(&self) -> usize {
        self.map[0].div_ceil(self.tile) * self.cols()
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.images * self.groups() * self.count()
    }

    /// Groups of maps. The tasks of all groups on the same tiles are consecutive.
    pub(crate) fn groups(&self) -> usize {
        self.blocks.div_ceil(self.task_blocks)
    }

    /// Number of parts that the tiles of a map are divided into.
    fn count(&self) -> usize {
        let steps = self.tiles().div_ceil(self.task_step);
        steps.div_ceil(self.task_tiles / self.task_step)
    }

    /// Tiles of each part. Parts are nearly equal, so no short one is last.
    pub fn shares(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let grid = *self;
        (0..grid.count()).map(move |index| grid.share(index))
    }

    fn share(&self, index: usize) -> Range<usize> {
        let (tiles, step) = (self.tiles(), self.task_step);
        let steps = share(tiles.div_ceil(step), self.count(), index);
        steps.start * step..(steps.end * step).min(tiles)
    }

    pub(crate) fn task(&self, task: usize) -> (usize, Range<usize>, Range<usize>) {
        let (shares, groups) = (self.count(), self.groups());
        let (image, index, group) = (
            task / groups / shares,
            task / groups % shares,
            task % groups,
        );
        let block = group * self.task_blocks;
        (
            image,
            block..block.saturating_add(self.task_blocks).min(self.blocks),
            self.share(index),
        )
    }
}
