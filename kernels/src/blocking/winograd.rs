//! Blocks of a Winograd convolution.

use super::caches::{Caches, MemoryLevel};
use super::tasks::task_panels;
use super::tile::RegisterTile;
use super::tuning::Tuning;
use crate::layout::CHANNEL_BLOCK;

/// The fewest panels that a task multiplies at a point before the next point.
const POINT_PANELS: usize = 4;

/// Shape of a Winograd convolution, from which its blocks are derived.
#[derive(Clone, Copy, Debug)]
pub struct WinogradShape {
    /// Images.
    pub images: usize,
    /// Tiles of one image.
    pub tiles: usize,
    /// Points at which tiles are multiplied.
    pub points: usize,
    /// Products of a tile and channel. They are more than the points if a point sums several products.
    pub products: usize,
    /// Blocks of 16 input channels.
    pub in_blocks: usize,
    /// Blocks of 16 output channels.
    pub out_blocks: usize,
}

/// Block sizes of a Winograd convolution.
///
/// A task transforms some tiles into V, multiplies V with the weights U, and transforms the products M back. It does so
/// for a *run* of panels of output channels: first it multiplies at all points, then it transforms back.
///
/// - A run of one panel, if V, the run's M and its U fit into L2. V stays there, M is read right after it is written,
///   and U is streamed. Each task streams all of U, and t tiles do 2 t flops for each 4 bytes of U. So a thread that
///   computes c GFLOP/s reads 2 c / t GB/s.
/// - A run of all panels of the task. At each point V, which stays in L1 or L2, is multiplied with all of U. M goes to
///   L3 and comes back, but a task may have so many tiles that V and M exceed U.
///
/// The derivation takes the run that moves fewer bytes past L2. With C input and C output channels, at each point, a
/// tile moves 4 C^2 / t bytes of U. In the second case it also moves half of the 8 C bytes of V and M. The share of one
/// half comes from cases where both runs are equally fast. (Measured: docs/measurements.md, 'runs of panels'.)
///
/// Threads share the tiles, if there are 49 or more. If there are fewer, each thread takes all tiles, and the threads
/// share the panels. Then each thread transforms the input for itself, but reads only its own weights. Moving
/// transformed tiles between cores would cost more.
///
/// A thread's share is cut into tasks that idle workers can steal. If a run has several panels, no task has fewer than
/// four, because all panels of a task read V from L1. (Measured: docs/measurements.md, 'panels at a point'.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WinogradBlocking {
    /// Tiles in a task.
    pub tiles: usize,
    /// Blocks of 16 output channels in a task.
    pub out_blocks: usize,
    /// Blocks of 16 output channels in a run. At each point, all of them are multiplied before the next point.
    pub run_blocks: usize,
    /// Memory level that weights are read from.
    pub weights: MemoryLevel,
}

impl WinogradBlocking {
    /// Derives the blocks.
    pub fn derive(
        shape: &WinogradShape,
        tile: RegisterTile,
        caches: &Caches,
        threads: usize,
        tuning: Tuning,
    ) -> Self {
        let WinogradShape {
            images,
            tiles,
            points,
            products,
            in_blocks,
            out_blocks,
        } = *shape;
        let line = CHANNEL_BLOCK * size_of::<f32>();
        let weights_of = |blocks: usize| products * in_blocks * blocks * CHANNEL_BLOCK * line;
        // Bytes of V and M of a tile, for a run of `run` blocks.
        let tile_bytes = |run: usize| (products * in_blocks + points * run) * line;
        let weight_bytes = weights_of(out_blocks);

        let panels = out_blocks.div_ceil(tile.blocks);
        let split_panels = images * tiles < 49 && panels > 1;
        // Panels of a thread's share, in one task or several.
        let own = if split_panels {
            panels.div_ceil(threads)
        } else {
            panels
        };
        let nc = tuning.out_blocks(out_blocks);
        let own_blocks = nc
            .unwrap_or(own * tile.blocks)
            .next_multiple_of(tile.blocks);
        // Equal tasks of at most `most` tiles, and the same number for each thread.
        let tasks_of = |most: usize| {
            let tasks = images * tiles.div_ceil(most.max(tile.pixels));
            let tasks = if split_panels {
                tasks
            } else {
                tasks.next_multiple_of(threads)
            };
            tiles.div_ceil(tasks.div_ceil(images).min(tiles))
        };

        let by_panel = tasks_of(caches.l2 / 2 / tile_bytes(tile.blocks));
        let by_point = tasks_of(weight_bytes.max(caches.l2 / 2) / tile_bytes(own_blocks));
        let working_set = by_panel * tile_bytes(tile.blocks) + weights_of(tile.blocks);
        // Bytes that a tile moves past L2. Half of V and M stays.
        let weights = weights_of(own_blocks);
        let moved = [
            weights / by_panel,
            weights / by_point + tile_bytes(own_blocks) / 2,
        ];
        let (even, run_blocks) = if working_set <= caches.l2 / 8 * 7 && moved[0] <= moved[1] {
            (by_panel, tile.blocks)
        } else {
            (by_point, own_blocks)
        };
        let task_tiles = tuning.mc.unwrap_or(even).clamp(1, tiles);
        // At each point, V is multiplied with several panels.
        let least = if run_blocks > tile.blocks {
            POINT_PANELS
        } else {
            1
        };
        let pixel_blocks = images * tiles.div_ceil(task_tiles);
        let panels = task_panels(panels, [least, own], pixel_blocks, threads);
        let out_blocks = nc.map_or(panels * tile.blocks, |_| own_blocks);
        WinogradBlocking {
            tiles: task_tiles,
            out_blocks,
            run_blocks: run_blocks.min(out_blocks),
            weights: caches.level_of(weight_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    fn winograd(tiles: usize, channels: usize, threads: usize) -> WinogradBlocking {
        let shape = WinogradShape {
            images: 1,
            tiles,
            points: 36,
            products: 36,
            in_blocks: channels / 16,
            out_blocks: channels / 16,
        };
        let caches = Caches {
            l1d: 32 << 10,
            l2: 1 << 20,
            l3: 16 << 20,
        };
        let tile = RegisterTile::of(Isa::Avx512);
        WinogradBlocking::derive(&shape, tile, &caches, threads, Tuning::default())
    }

    #[test]
    fn transformed_tiles_stay_in_half_of_l2() {
        let blocking = winograd(196, 64, 1);
        assert!((28..=37).contains(&blocking.tiles), "{blocking:?}");
        assert_eq!((blocking.out_blocks, blocking.run_blocks), (4, 2));
    }

    #[test]
    fn weights_beyond_l2_are_streamed_once_for_many_tiles() {
        let all = WinogradBlocking {
            tiles: 49,
            out_blocks: 32,
            run_blocks: 32,
            weights: MemoryLevel::Dram,
        };
        assert_eq!(winograd(49, 512, 1), all);
    }

    #[test]
    fn threads_share_many_tiles_but_the_panels_of_few() {
        let blocking = winograd(49, 128, 2);
        let tasks = 49usize.div_ceil(blocking.tiles);
        assert!(
            tasks.is_multiple_of(2) && blocking.out_blocks == 8,
            "{blocking:?}"
        );
        let blocking = winograd(16, 256, 2);
        assert_eq!((blocking.tiles, blocking.out_blocks), (16, 8));
        assert_eq!(winograd(16, 256, 1).out_blocks, 16);
    }
}
