//! Blocks of GEMM-shaped kernels.

use super::caches::{Caches, MemoryLevel};
use super::tasks::task_panels;
use super::tile::RegisterTile;
use super::tuning::Tuning;
use crate::layout::CHANNEL_BLOCK;

/// Number of operations below which one thread runs the whole layer. To hand half of a smaller layer to a second
/// thread, and to wait for it, takes longer than the work. (Measured: docs/measurements.md, 'small layers on two
/// threads'.)
const SHARED_FLOPS: usize = 1 << 15;

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
        let nc = tuning.out_blocks(out_blocks).unwrap_or(blocks);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

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
    fn pixel_blocks_are_shared_out_evenly() {
        let blocking = derive(3136, 4, 64 * 4, 64 * 64 * 4, 2);
        let tasks = 3136usize.div_ceil(blocking.mc);
        assert!(tasks.is_multiple_of(2), "{blocking:?} makes {tasks} tasks");
    }
}
