//! Block sizes, derived from the caches. The functions are pure: a problem always gets the same blocks on a machine,
//! regardless of other load.
//!
//! # The loops around a register tile
//!
//! A convolution is a product of an indirect matrix (output pixels x taps and channels) with packed weights (taps and
//! channels x output channels). Three loops surround the register tile of `P pixels x B channel blocks`:
//!
//! 1. *tasks*: blocks of `mc` pixels of one image x groups of `nc` output channels. One thread takes all channels as
//!    one group. Several threads take as many groups as make some tasks for each thread.
//! 2. *panels*: the weights of B channel blocks, `K = taps * c_in` rows of `16 B` floats.
//! 3. *tiles*: the P-pixel tiles of the block, all with the same panel.
//!
//! A tile does `P * B` FMAs of 16 lanes for each `64 B` bytes of panel. So a panel may stream from L2 at no cost. From
//! L3 it may cost time, if the tile consumes weights as fast as L3 delivers them. (Measured: docs/measurements.md,
//! 'weights from L3'.) If few tiles share a panel, each tile prefetches its part of the next panel (`micro/gemm/`).
//!
//! Every panel reads the block's input again, so the input must stay in L2. `mc` is chosen so that the input takes at
//! most half of L2 (Goto and van de Geijn 2008, section 4). The operands have the roles that they have in BLIS's
//! macro-kernel. The reduction is never split: accumulators stay in registers over all of K, and each output is written
//! once.

use crate::isa::Isa;
use crate::layout::CHANNEL_BLOCK;
use crate::partition::share;

/// Data cache sizes in bytes, of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    /// Level 1, data.
    pub l1d: usize,
    /// Level 2.
    pub l2: usize,
    /// Level 3: the part of this core's fair share that keeps data from one run to the next. 0 if there is none.
    pub l3: usize,
}

impl Default for Caches {
    /// A small common denominator for unknown machines: 32 KB, 512 KB, 2 MB.
    fn default() -> Self {
        Caches {
            l1d: 32 << 10,
            l2: 512 << 10,
            l3: 2 << 20,
        }
    }
}

impl Caches {
    /// Cache level of `weight_bytes` bytes of weights at the start of a run. Inputs and outputs take the other half of
    /// each level.
    pub fn level_of(&self, weight_bytes: usize) -> MemoryLevel {
        if weight_bytes <= self.l2 / 2 {
            MemoryLevel::L2
        } else if weight_bytes <= self.l3 / 2 {
            MemoryLevel::L3
        } else {
            MemoryLevel::Dram
        }
    }

    /// Caches for a layer of a network that has `weight_bytes` bytes of weights in all.
    ///
    /// If they exceed L3, the other layers displace all of L3 in each run.
    pub fn in_network(self, weight_bytes: usize) -> Self {
        let keeps = weight_bytes <= self.l3;
        Caches {
            l3: if keeps { self.l3 } else { 0 },
            ..self
        }
    }
}

/// Level of the memory hierarchy that data are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLevel {
    /// L1 or L2.
    L2,
    /// L3.
    L3,
    /// Main memory.
    Dram,
}

/// Number of operations below which one thread runs the whole layer. To hand half of a smaller layer to a second
/// thread, and to wait for it, takes longer than the work. (Measured: docs/measurements.md, 'small layers on two
/// threads'.)
const SHARED_FLOPS: usize = 1 << 15;

/// Least number of tasks for each of several threads, if there are as many panels. Threads wait for the last running
/// task, and an idle worker steals tasks that have not begun ([`crate::exec`]). So small tasks shorten the wait.
const TASKS_A_THREAD: usize = 4;

/// Panels of output channels in a task, if there are `pixel_blocks` blocks of pixels and `panels` panels.
///
/// The result is between `least` and `own`. It minimises the largest share of a thread. Among equal sizes it is the
/// nearest to the one that makes [`TASKS_A_THREAD`] tasks for each thread.
fn task_panels(
    panels: usize,
    [least, own]: [usize; 2],
    pixel_blocks: usize,
    threads: usize,
) -> usize {
    if threads == 1 {
        return own;
    }
    let wanted = panels.div_ceil((TASKS_A_THREAD * threads).div_ceil(pixel_blocks));
    let largest_share = |size: usize| {
        let parts = panels.div_ceil(size);
        let before = |task: usize| task / parts * panels + (task % parts * size).min(panels);
        let shares = (0..threads).map(|worker| share(pixel_blocks * parts, threads, worker));
        shares.map(|own| before(own.end) - before(own.start)).max()
    };
    // The search is limited to sizes near the wanted one, because each candidate costs a loop over all threads.
    const LOOKED_AT: usize = 512;
    let near = wanted.clamp(least.min(own), own);
    let from = near.saturating_sub(LOOKED_AT).max(least.min(own));
    (from..=own.min(near + LOOKED_AT))
        .min_by_key(|&size| (largest_share(size), size.abs_diff(wanted)))
        .unwrap_or(own)
}

/// How often pixel blocks are prepared, if each block is `parts` consecutive tasks. Each block is prepared once, plus
/// once per worker whose share starts inside a block.
pub fn preparations(pixel_blocks: usize, parts: usize, threads: usize) -> usize {
    let starts = (1..threads).map(|worker| share(pixel_blocks * parts, threads, worker));
    let inside = starts.filter(|share| !share.is_empty() && !share.start.is_multiple_of(parts));
    pixel_blocks + inside.count()
}

/// `all * times / of`, computed in 128 bits.
pub fn part(all: u64, times: u64, of: u64) -> u64 {
    (u128::from(all) * u128::from(times) / u128::from(of)) as u64
}

/// Block sizes that replace the derived ones, for experiments, and for tests of multi-block paths on tiny shapes. They
/// are rounded as the kernel needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Output pixels (or Winograd tiles) in a block.
    pub mc: Option<usize>,
    /// Output channels in a group.
    pub nc: Option<usize>,
}

/// The largest register tile: output pixels by channel blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterTile {
    /// Pixels.
    pub pixels: usize,
    /// Blocks of 16 output channels.
    pub blocks: usize,
}

impl RegisterTile {
    /// Tile for an instruction set. It has as many accumulators as registers allow, with one or two registers left for
    /// the weights and the broadcast input.
    ///
    /// | | registers | accumulators | channels a step |
    /// |---|---|---|---|
    /// | AVX-512 | 32 of 16 lanes | 14 x 2 | 1 |
    /// | AVX2 | 16 of 8 lanes | 6 x 2 (one channel block) | 4 |
    /// | NEON | 32 of 4 lanes | 5 x 4 (one channel block) | 4 |
    /// | scalar | SSE2's 16 of 4 lanes, if LLVM finds them | 2 x 16 floats | 1 |
    /// | emulated | 16 | 6 x 2, 6 x 2, 3 x 4 | 1, 4, 4 |
    ///
    /// On AVX2, tiles of 3 x 4 spill. So do tiles of 6 x 2 in steps of 8 and 16 channels, if each pixel has its own
    /// address. Steps of 1, 2 and 4 channels are equally fast on wide cores. With 4, a larger share of the instructions
    /// are FMAs, which suits narrow cores. AVX-512 gains nothing from longer steps. (Measured: docs/measurements.md,
    /// 'register tile'.)
    pub const fn of(isa: Isa) -> Self {
        RegisterTile::of_vectors(isa.lanes(), isa.registers())
    }

    /// Tile for vectors of `lanes` floats in `registers` registers. Kernels know their instruction set in these terms.
    pub const fn of_vectors(lanes: usize, registers: usize) -> Self {
        let (pixels, blocks) = match (lanes, registers) {
            (16, 32) => (14, 2),
            (16, _) => (6, 2),
            (8, _) => (6, 1),
            (4, 32) => (5, 1),
            (4, _) => (3, 1),
            _ => (2, 1),
        };
        RegisterTile { pixels, blocks }
    }
}

/// Shape of a GEMM-shaped kernel, from which its blocks are derived.
#[derive(Clone, Copy, Debug)]
pub struct GemmShape {
    /// Output pixels of one image.
    pub pixels: usize,
    /// Images.
    pub images: usize,
    /// Blocks of 16 output channels.
    pub out_blocks: usize,
    /// Bytes of input that a pixel brings into the cache. If the input is transformed or copied, it is the size of that
    /// form.
    pub bytes_per_pixel: usize,
    /// Bytes of packed weights.
    pub weight_bytes: usize,
    /// Bytes of a panel of weights. All pixels of a block are multiplied with one panel before the next.
    pub panel_bytes: usize,
}

/// Block sizes of the task loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// Output pixels in a task.
    pub mc: usize,
    /// Blocks of 16 output channels in a task.
    pub out_blocks: usize,
    /// Inputs, weights and outputs together exceed L2, so some of them come from L3 or memory.
    pub beyond_l2: bool,
    /// Memory level that weights are read from.
    pub weights: MemoryLevel,
}

impl Blocking {
    /// Derives the blocks, as the module's documentation explains.
    pub fn derive(
        shape: &GemmShape,
        tile: RegisterTile,
        caches: &Caches,
        threads: usize,
        tuning: Tuning,
    ) -> Self {
        let GemmShape {
            pixels,
            images,
            out_blocks,
            bytes_per_pixel,
            weight_bytes,
            panel_bytes,
        } = *shape;
        let flops = 2 * images * pixels * (weight_bytes / size_of::<f32>());
        let threads = if flops < SHARED_FLOPS { 1 } else { threads };
        let room = (caches.l2 / 2)
            .saturating_sub(panel_bytes)
            .max(caches.l2 / 3);
        let fits = room / bytes_per_pixel.max(1);
        // At least two tiles, or streaming the panel through the caches costs time. At most 64, so that there are tasks
        // to share.
        let mc = fits.clamp(2 * tile.pixels, 64 * tile.pixels);
        let whole = pixels.div_ceil(mc);

        // Threads share the output channels if there are more threads than pixel blocks, or if weights are larger than
        // inputs. Then each thread reads its own weights and all of the input. The exception is too few panels to
        // divide evenly, as one or three panels on two threads.
        let groups = out_blocks.div_ceil(tile.blocks);
        let even = 8 * groups.next_multiple_of(threads) <= 9 * groups;
        let split_channels = threads > 1
            && even
            && (images * whole < threads || weight_bytes > images * pixels * bytes_per_pixel);
        let mc = if split_channels {
            pixels.div_ceil(whole)
        } else {
            // Equal blocks, and a multiple of the number of threads, so that no thread waits for a last short block.
            let blocks = (images * whole).next_multiple_of(threads);
            pixels.div_ceil(blocks.div_ceil(images).min(pixels))
        };
        let own = if split_channels {
            groups.div_ceil(threads)
        } else {
            groups
        };
        let pixel_blocks = images * pixels.div_ceil(mc);
        let blocks = task_panels(groups, [1, own], pixel_blocks, threads) * tile.blocks;
        let nc = tuning
            .nc
            .map(|nc| nc.div_ceil(CHANNEL_BLOCK).min(out_blocks));
        let nc = nc.unwrap_or(blocks);
        let output_bytes = out_blocks * CHANNEL_BLOCK * size_of::<f32>();
        let working_set = weight_bytes + images * pixels * (bytes_per_pixel + output_bytes);
        Blocking {
            beyond_l2: working_set > caches.l2,
            weights: caches.level_of(weight_bytes),
            mc: tuning.mc.unwrap_or(mc).clamp(1, pixels),
            out_blocks: nc.next_multiple_of(tile.blocks),
        }
    }
}

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
        let nc = tuning
            .nc
            .map(|nc| nc.div_ceil(CHANNEL_BLOCK).min(out_blocks));
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
        let near = by_panel * tile_bytes(tile.blocks) + weights_of(tile.blocks);
        // Bytes that a tile moves past L2. Half of V and M stays.
        let weights = weights_of(own_blocks);
        let moved = [
            weights / by_panel,
            weights / by_point + tile_bytes(own_blocks) / 2,
        ];
        let (even, run_blocks) = if near <= caches.l2 / 8 * 7 && moved[0] <= moved[1] {
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

    fn derive(
        pixels: usize,
        out_blocks: usize,
        bytes: usize,
        weights: usize,
        threads: usize,
    ) -> Blocking {
        let shape = GemmShape {
            pixels,
            images: 1,
            out_blocks,
            bytes_per_pixel: bytes,
            weight_bytes: weights,
            panel_bytes: weights / out_blocks.div_ceil(2),
        };
        let tile = RegisterTile::of(Isa::Avx512);
        Blocking::derive(&shape, tile, &Caches::default(), threads, Tuning::default())
    }

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
    fn a_network_beyond_l3_leaves_nothing_of_it() {
        let alone = Caches::default();
        assert_eq!(alone.level_of(alone.l2 / 2), MemoryLevel::L2);
        assert_eq!(alone.level_of(alone.l3 / 2), MemoryLevel::L3);
        assert_eq!(alone.level_of(alone.l3), MemoryLevel::Dram);
        assert_eq!(alone.in_network(alone.l3), alone);
        let among_others = alone.in_network(alone.l3 + 1);
        assert_eq!(among_others.level_of(alone.l2 / 2), MemoryLevel::L2);
        assert_eq!(among_others.level_of(alone.l2 / 2 + 1), MemoryLevel::Dram);
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

    #[test]
    fn a_blocks_input_stays_in_half_of_l2() {
        let blocking = derive(3136, 4, 64 * 4 * 9, 64 * 64 * 9 * 4, 1);
        assert!(
            blocking.mc * 64 * 4 * 9 <= 256 << 10 && blocking.mc >= 28,
            "{blocking:?}"
        );
        assert_eq!(blocking.out_blocks, 4);
    }

    #[test]
    fn small_maps_with_many_weights_split_the_channels() {
        let blocking = derive(49, 32, 512 * 4, 512 * 512 * 9 * 4, 2);
        assert_eq!((blocking.mc, blocking.out_blocks), (49, 4));
        assert!(blocking.beyond_l2, "9 MB of weights");
    }

    #[test]
    fn a_panel_is_shared_out_by_pixels() {
        for out_blocks in [1, 2, 6] {
            let blocking = derive(25, out_blocks, 384 * 4, 384 * 16 * out_blocks * 9 * 4, 2);
            assert_eq!((blocking.mc, blocking.out_blocks), (13, 2));
        }
    }

    #[test]
    fn what_fits_in_l2_is_near() {
        assert!(!derive(196, 4, 64 * 4, 64 * 64 * 4, 1).beyond_l2);
        assert!(
            derive(3136, 4, 64 * 4, 64 * 64 * 4, 1).beyond_l2,
            "800 KB in, 800 KB out"
        );
    }

    #[test]
    fn each_thread_has_some_tasks() {
        for (pixels, out_blocks, threads) in [(3136, 4, 2), (784, 8, 2), (196, 64, 2), (49, 128, 3)]
        {
            let blocking = derive(pixels, out_blocks, 256, 1 << 18, threads);
            let tasks = pixels.div_ceil(blocking.mc) * out_blocks.div_ceil(blocking.out_blocks);
            // Tasks may be fewer and larger if all threads still have equal shares.
            assert!(tasks >= 3 * threads, "{blocking:?} makes {tasks} tasks");
        }
    }

    #[test]
    fn no_thread_has_more_panels_than_another() {
        for (panels, least, pixel_blocks, threads, size) in [
            (16_usize, 1, 1, 2, 2),
            (10, 1, 1, 2, 1),
            (12, 4, 1, 2, 6),
            (16, 4, 1, 2, 4),
            (4, 4, 2, 2, 4),
            (8, 1, 2, 2, 2),
            (8, 1, 64, 2, 8),
            (2, 1, 1, 4, 1),
            (7, 1, 1, 1, 7),
        ] {
            let own = if pixel_blocks < threads {
                panels.div_ceil(threads)
            } else {
                panels
            };
            let chosen = task_panels(panels, [least, own], pixel_blocks, threads);
            assert_eq!(chosen, size, "{panels} x {pixel_blocks} on {threads}");
        }
    }

    #[test]
    fn who_shares_a_block_prepares_it() {
        for (pixel_blocks, parts, threads, prepared) in [
            (1, 8, 1, 1),
            (1, 8, 2, 2),
            (4, 2, 2, 4),
            (3, 4, 2, 4),
            (1, 2, 4, 2),
            (1, 1, 4, 1),
            (2, 6, 4, 4),
        ] {
            let counted = preparations(pixel_blocks, parts, threads);
            assert_eq!(counted, prepared, "{pixel_blocks} of {parts} on {threads}");
        }
    }

    #[test]
    fn pixel_blocks_are_shared_out_evenly() {
        let blocking = derive(3136, 4, 64 * 4, 64 * 64 * 4, 2);
        let tasks = 3136usize.div_ceil(blocking.mc);
        assert!(tasks.is_multiple_of(2), "{blocking:?} makes {tasks} tasks");
    }
}
