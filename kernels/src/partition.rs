//! How work is cut into tasks, and tasks into the shares of workers: pure functions of sizes, without threads or memory.

use crate::bounds::product;
use crate::layout::CHANNEL_BLOCK;
use std::ops::Range;

/// The `worker`-th of `width` contiguous, nearly equal shares of `0..tasks`.
pub fn share(tasks: usize, width: usize, worker: usize) -> Range<usize> {
    tasks * worker / width..tasks * (worker + 1) / width
}

/// How [`par_rows`](crate::exec::par_rows) cuts a matrix of `rows` x `cols` into blocks.
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
    /// No block crosses a multiple of this many rows, which divide `rows`: so that a block stays within one image of a
    /// batch. `rows` where it doesn't matter.
    pub band: usize,
}

impl Grid {
    /// For `images` maps of `blocks` x `pixels` x 16 channels (NCHW16c): a task is some pixels of an image, in all of
    /// its blocks.
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

/// What blocks that follow each other share, so that a worker mostly has the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Their columns: pixels, where rows are channels.
    Columns,
    /// Their rows: pixels, where columns are channels.
    Rows,
}

impl Grid {
    /// The number of blocks, so of tasks.
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

    /// How many tasks follow each other that share what they share.
    pub(crate) fn sharers(&self, sharing: Sharing) -> usize {
        let [along_rows, along_cols] = self.blocks();
        match sharing {
            Sharing::Columns => along_rows,
            Sharing::Rows => along_cols,
        }
    }

    /// The rows and columns of a task's block.
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

/// How [`par_tiles`](crate::exec::par_tiles) cuts the maps of a blocked output into square tiles and shares them out.
#[derive(Clone, Copy, Debug)]
pub struct TileGrid {
    /// Images.
    pub images: usize,
    /// Maps of an image: its channel blocks.
    pub blocks: usize,
    /// Rows and columns of a map.
    pub map: [usize; 2],
    /// Elements of a pixel.
    pub pixel: usize,
    /// Rows and columns of a tile; tiles at the far edges have fewer.
    pub tile: usize,
    /// The most tiles in a task, in the order of the rows.
    pub task_tiles: usize,
    /// Tasks begin at multiples of so many tiles, a divisor of `task_tiles`.
    pub task_step: usize,
    /// Maps in a task (fewer in the last).
    pub task_blocks: usize,
}

impl TileGrid {
    /// Tiles in a row of tiles.
    pub fn cols(&self) -> usize {
        self.map[1].div_ceil(self.tile)
    }

    /// Tiles of a map.
    pub fn tiles(&self) -> usize {
        self.map[0].div_ceil(self.tile) * self.cols()
    }

    /// The number of tasks.
    pub fn tasks(&self) -> usize {
        self.images * self.groups() * self.count()
    }

    /// Groups of maps: tasks that share tiles, and follow each other.
    pub(crate) fn groups(&self) -> usize {
        self.blocks.div_ceil(self.task_blocks)
    }

    /// How many shares of the tiles tasks have.
    fn count(&self) -> usize {
        let steps = self.tiles().div_ceil(self.task_step);
        steps.div_ceil(self.task_tiles / self.task_step)
    }

    /// The tiles that tasks have: equal shares, not a last short one.
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
