//! Block sizes, derived from the caches. Pure functions: the same problem gives the same blocks on
//! the same machine, whatever runs beside it.
//!
//! # The loops around a register tile
//!
//! A convolution is a product of an indirect matrix (output pixels x taps and channels) with packed
//! weights (taps and channels x output channels). Three loops surround the register tile of
//! `P pixels x B channel blocks`:
//!
//! 1. *tasks*: blocks of `mc` pixels of one image x groups of `nc` output channels: all of them on one thread; on more
//!    as many groups as make some tasks for each;
//! 2. *panels*: the weights of B channel blocks, `K = taps * c_in` rows of `16 B` floats;
//! 3. *tiles*: the P-pixel tiles of the block, all against the same panel.
//!
//! A tile does `P * B` FMAs of 16 lanes for each `64 B` bytes of panel, so a panel may stream from L2
//! without being felt. From L3 it may be: 14 x 2 tiles at 190 GFLOP/s want 27 GB/s of weights (128 bytes
//! for each 2 x 14 x 32 FLOP), and a virtual Xeon's L3 gives a thread no more. Where few tiles share a panel,
//! each asks for its part of the next (`micro/gemm/`). What must stay near is the block's input, which every panel
//! reads again: `mc` is chosen so that it takes at most half of L2 (Goto and van de Geijn 2008,
//! section 4, with the roles of the operands as in BLIS's macro-kernel). The reduction is never
//! split: accumulators stay in registers over all of K, and each output is written once.

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
    /// Level 3: what of this core's fair share keeps from one run to the next; 0 where that is nothing.
    pub l3: usize,
}

impl Default for Caches {
    /// A small common denominator for when nothing is known: 32 KB, 512 KB, 2 MB.
    fn default() -> Self {
        Caches {
            l1d: 32 << 10,
            l2: 512 << 10,
            l3: 2 << 20,
        }
    }
}

impl Caches {
    /// Where so many bytes of weights are when a run begins: inputs and outputs have the other half of each level.
    pub fn home(&self, weight_bytes: usize) -> Home {
        if weight_bytes <= self.l2 / 2 {
            Home::Near
        } else if weight_bytes <= self.l3 / 2 {
            Home::L3
        } else {
            Home::Memory
        }
    }

    /// The caches for a layer of a network whose weights are so many bytes. If they are more than L3, each run of
    /// the others displaces all of it.
    pub fn in_network(self, weight_bytes: usize) -> Self {
        let keeps = weight_bytes <= self.l3;
        Caches {
            l3: if keeps { self.l3 } else { 0 },
            ..self
        }
    }
}

/// Where something is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// L1 or L2.
    Near,
    /// L3.
    L3,
    /// Memory.
    Memory,
}

/// Below so many operations a layer is one thread's: to hand half of it to another and to wait takes 0.3 us and more, in
/// which a thread does as much (NiN's 10-10 at 5x5, 5,000 operations: 0.19 us on one thread, 0.45 on two).
const SHARED_FLOPS: usize = 1 << 15;

/// Tasks that each of several threads has at least, if there are as many panels: its last is what it keeps the others
/// waiting for, who take over what it has not begun ([`crate::exec`]).
const TASKS_A_THREAD: usize = 4;

/// Panels of output channels in a task, where `pixel_blocks` meet `panels`: from `least` to `own`, of which no thread's share
/// is larger than it must be, and then nearest to as many as make [`TASKS_A_THREAD`].
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
    // Of very many, those near what is wanted: it takes each thread a look to rate one.
    const LOOKED_AT: usize = 512;
    let near = wanted.clamp(least.min(own), own);
    let from = near.saturating_sub(LOOKED_AT).max(least.min(own));
    (from..=own.min(near + LOOKED_AT))
        .min_by_key(|&size| (largest_share(size), size.abs_diff(wanted)))
        .unwrap_or(own)
}

/// Of blocks of pixels that each are `parts` tasks, one behind the other, how many are prepared, by whom has any of their
/// tasks in his share: all, and again where a share begins inside of one.
pub fn preparations(pixel_blocks: usize, parts: usize, threads: usize) -> usize {
    let starts = (1..threads).map(|worker| share(pixel_blocks * parts, threads, worker));
    let inside = starts.filter(|share| !share.is_empty() && !share.start.is_multiple_of(parts));
    pixel_blocks + inside.count()
}

/// `all * times / of`, where the product may be beyond 64 bits.
pub fn part(all: u64, times: u64, of: u64) -> u64 {
    (u128::from(all) * u128::from(times) / u128::from(of)) as u64
}

/// Block sizes to use in place of the derived ones: for experiments, and for tests that reach
/// multi-block paths on tiny shapes. Rounded as the kernel needs.
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
    /// The tile for an instruction set: as many accumulators as registers allow, leaving one or two
    /// for the weights and the broadcast input.
    ///
    /// | | registers | accumulators | channels a step |
    /// |---|---|---|---|
    /// | AVX-512 | 32 of 16 lanes | 14 x 2 | 1 |
    /// | AVX2 | 16 of 8 lanes | 6 x 2 (one channel block) | 4 |
    /// | NEON | 32 of 4 lanes | 5 x 4 (one channel block) | 4 |
    /// | scalar | SSE2's 16 of 4 lanes, if LLVM finds them | 2 x 16 floats | 1 |
    /// | emulated | 16 | 6 x 2, 6 x 2, 3 x 4 | 1, 4, 4 |
    ///
    /// Measured on AMD Zen 4, one thread, all in turns in one process: fractions of the FMA peak, by nominal
    /// flops, of `gemm-1x1` and `direct` on ResNet-50's layers (the tile alone: before inputs were
    /// prefetched).
    ///
    /// | AVX2: tile, channels a step | 6x2, 1 | 6x2, 2 | 6x2, 4 | 6x2, 8 | 6x2, 16 | 5x2, 4 | 4x2, 4 | 3x4, 1 | 3x4, 4 |
    /// |---|---|---|---|---|---|---|---|---|---|
    /// | 1x1 64-64 @56 | .90 | .88 | .88 | .89 | .88 | .86 | .83 | .42 | .50 |
    /// | 1x1 512-128 @28 | .94 | .94 | .93 | .94 | .95 | .88 | .83 | .39 | .48 |
    /// | 1x1 1024-256 @14 | .93 | .91 | .93 | .94 | .94 | .89 | .84 | .39 | .48 |
    /// | 1x1 2048-512 @7 | .91 | .92 | .92 | .91 | .94 | .90 | .83 | .40 | .49 |
    /// | 3x3 64 @56 | .96 | .97 | .96 | .88 | .94 | .92 | .89 | .41 | .47 |
    /// | 3x3 128 @28 | 1.00 | 1.00 | 1.01 | .91 | .98 | .96 | .93 | .42 | .48 |
    /// | 3x3 256 @14 | 1.04 | 1.05 | 1.05 | .94 | 1.03 | 1.00 | .96 | .44 | .50 |
    /// | 3x3 512 @7 | 1.02 | 1.02 | 1.02 | 1.00 | 1.03 | 1.02 | .89 | .53 | .60 |
    /// | geometric mean of 14 layers | .93 | .93 | .93 | .90 | .93 | .90 | .85 | .41 | .49 |
    ///
    /// 3x4 spills, and so does 6x2 in steps of 8 and 16 where each pixel has its own address. Steps of 1, 2
    /// and 4 channels are the same here; 4 leaves narrower cores more room (0.57 of the instructions are FMAs,
    /// of 1 channel 0.50). AVX-512 gained nothing from longer steps: 14x2 in steps of 1, 2, 4 .986, .984,
    /// .985; 12x2 .989. To repeat it, change the arms of `PanelTimesPixels::run` (and `of`), and alternate
    /// `convroof bench --threads 1 --network resnet50 --variant gemm-1x1/avx2/st,direct/avx2/st` of the two
    /// builds.
    pub const fn of(isa: Isa) -> Self {
        RegisterTile::of_vectors(isa.lanes(), isa.registers())
    }

    /// Tile for vectors of `lanes` floats in `registers` registers, as a kernel knows its instruction set.
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

/// What a GEMM-shaped kernel is to be cut into.
#[derive(Clone, Copy, Debug)]
pub struct GemmShape {
    /// Output pixels of one image.
    pub pixels: usize,
    /// Images.
    pub images: usize,
    /// Blocks of 16 output channels.
    pub out_blocks: usize,
    /// Bytes of input (or of its transformed or materialised form) that a pixel brings into the
    /// cache.
    pub bytes_per_pixel: usize,
    /// Bytes of packed weights.
    pub weight_bytes: usize,
    /// Bytes of those that all of a block's pixels meet before the next.
    pub panel_bytes: usize,
}

/// Block sizes of the task loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// Output pixels in a task.
    pub mc: usize,
    /// Blocks of 16 output channels in a task.
    pub out_blocks: usize,
    /// Whether inputs, weights and outputs together are more than L2: then they come from further away.
    pub beyond_l2: bool,
    /// Where weights come from.
    pub weights: Home,
}

impl Blocking {
    /// Derives the blocks (see the module's text).
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
        // At least two tiles, or the panel's way through the caches is felt; at most 64, so that
        // there is something to share out.
        let mc = fits.clamp(2 * tile.pixels, 64 * tile.pixels);
        let whole = pixels.div_ceil(mc);

        // With more threads than pixel blocks, or weights that outweigh the pixels, threads share out
        // the output channels: then each reads its own weights and all of the input. Unless too few
        // panels would leave threads waiting: of one or three panels two threads can't make two halves.
        let groups = out_blocks.div_ceil(tile.blocks);
        let even = 8 * groups.next_multiple_of(threads) <= 9 * groups;
        let split_channels = threads > 1
            && even
            && (images * whole < threads || weight_bytes > images * pixels * bytes_per_pixel);
        let mc = if split_channels {
            pixels.div_ceil(whole)
        } else {
            // Equal blocks, a multiple of the threads, so that no thread waits for a last short one.
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
            weights: caches.home(weight_bytes),
            mc: tuning.mc.unwrap_or(mc).clamp(1, pixels),
            out_blocks: nc.next_multiple_of(tile.blocks),
        }
    }
}

/// The fewest panels that a task multiplies at a point before the next.
const POINT_PANELS: usize = 4;

/// What a Winograd convolution is to be cut into.
#[derive(Clone, Copy, Debug)]
pub struct WinogradShape {
    /// Images.
    pub images: usize,
    /// Tiles of one image.
    pub tiles: usize,
    /// Points at which tiles are multiplied.
    pub points: usize,
    /// Products of a tile and channel; more than points where several are summed at one.
    pub products: usize,
    /// Blocks of 16 input channels.
    pub in_blocks: usize,
    /// Blocks of 16 output channels.
    pub out_blocks: usize,
}

/// Block sizes of a Winograd convolution.
///
/// A task transforms some tiles, V, multiplies them with the weights U, and transforms the products M back: for
/// a *run* of panels of output channels first at all points, then back.
///
/// - A run of one panel, where V, its M and its U fit into L2: V stays, M is written and read at once, U streams
///   past. Each task streams all of U, and t tiles do 2 t flops for each 4 bytes of it: at 200 GFLOP/s 400 / t GB/s.
/// - A run of all the task's panels: at each point V, which stays in L1 or L2, meets all of U. M goes to L3 and
///   comes back, but a task may take so many tiles that V and M outweigh U.
///
/// The one that moves less past L2. Of C channels in and out, at each point, a tile moves 4 C^2 / t bytes of U, and
/// in the second case half of its V and M's 8 C (measured: where the two are equally fast).
///
/// A virtual Xeon (2 MB of L2, 27 GB/s from L3), F(4,3), one thread, fractions of the peak, first and second: 512
/// channels at 28x28 1.97 with 14 tiles, 2.82 with all 49; 256 at 56x56 2.19 with 28, 3.02 with 196; 192 at 28x28 2.60
/// with 25, 2.75 with 49; 128 to 256 at 56x56 2.72 with 40, 2.86 with 66; but 128 to 128 2.76 with 40, 2.62 with 49.
/// On Zen 4 (1 MB), 64 channels at 56x56, panel by panel: 3.03 with 14 tiles, 3.12 with 28, 3.17 with 33.
///
/// Threads share out the tiles, if there are 49 or more. Of fewer each takes all and they share out the
/// panels: then each transforms the input for itself, but reads its own weights only. Transformed tiles
/// handed from core to core would cost more.
///
/// A thread's share is cut into tasks that others can take over. Of a run of panels at each point no task has less than
/// four, which meet V in L1 (128 channels at 28x28, in tasks of one panel: 1.09 times as long).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WinogradBlocking {
    /// Tiles in a task.
    pub tiles: usize,
    /// Blocks of 16 output channels in a task.
    pub out_blocks: usize,
    /// Blocks of 16 output channels in a run, which are multiplied at a point before the next.
    pub run_blocks: usize,
    /// Where weights come from.
    pub weights: Home,
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
        // V and M of a tile, with a run of so many blocks.
        let tile_bytes = |run: usize| (products * in_blocks + points * run) * line;
        let weight_bytes = weights_of(out_blocks);

        let panels = out_blocks.div_ceil(tile.blocks);
        let split_panels = images * tiles < 49 && panels > 1;
        // A thread's share of them, in one task or several.
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
        // Equal tasks of at most so many tiles, and as many for each thread.
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
        // What a tile moves past L2; of V and M half stays.
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
        // What meets V at each point is more than a panel.
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
            weights: caches.home(weight_bytes),
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
        assert_eq!(alone.home(alone.l2 / 2), Home::Near);
        assert_eq!(alone.home(alone.l3 / 2), Home::L3);
        assert_eq!(alone.home(alone.l3), Home::Memory);
        assert_eq!(alone.in_network(alone.l3), alone);
        let among_others = alone.in_network(alone.l3 + 1);
        assert_eq!(among_others.home(alone.l2 / 2), Home::Near);
        assert_eq!(among_others.home(alone.l2 / 2 + 1), Home::Memory);
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
            weights: Home::Memory,
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
            // Or fewer that are larger, if then no thread has more than another.
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
