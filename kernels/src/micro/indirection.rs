//! Positions of each output pixel's taps in the input: an indirection buffer (Dukhan 2019, *The Indirect Convolution
//! Algorithm*). The plan makes it once.
//!
//! For each block of output pixels it holds
//!
//! * the order in which register tiles take the pixels, and the bounds of the tiles,
//! * for each (tap, pixel) an offset into the source, or [`PADDING`],
//! * for each (tap, tile) the spacing of these offsets ([`Spacing`]).
//!
//! A tap is skipped if it falls into padding for all pixels of a tile. `tiling.rs` chooses tiles that fit the padding. On
//! a 7x7 map, a 3x3 filter then computes 0.85 of its nominal products. On a 14x14 map it computes 0.91. The inner loop
//! has no branch.

use super::tiles::{Spacing, Tiles};
use super::tiling::{Seen, Tiling};
use crate::arch::array;
use crate::plan::Unsupported;
use crate::problem::ConvShape;
use crate::tensor::{CacheLine, as_f32s};
use std::ops::Range;

/// The offset of a tap that falls into padding.
pub const PADDING: u32 = u32::MAX;

/// Stands for a tile's step if its offsets are unevenly spaced.
const UNEVEN: u32 = u32::MAX;
/// Stands for a tile's step if all its offsets fall into padding.
const NO_OFFSETS: u32 = 0;

/// The offsets of all output pixels of an image, block by block.
#[derive(Debug)]
pub struct IndirectionBuffer {
    taps: usize,
    /// Block by block, tap by tap: an offset for each pixel, in the order of the tiles.
    offsets: Vec<u32>,
    /// The step between a tile's offsets, stored at the index of the tile's first offset.
    steps: Vec<u32>,
    /// For each pixel in that order, its index in its block.
    positions: Vec<u32>,
    /// For each block, its tiles.
    tiles: Vec<Tiles>,
    blocks: Vec<BlockAt>,
}

/// Position of a block's part in the buffer.
#[derive(Debug)]
struct BlockAt {
    pixels: Range<usize>,
    tiles: Range<usize>,
    largest: Option<u32>,
    padded: bool,
}

/// Most consecutive channels of a tap that are read from one set of pointers.
pub const ZERO_RUN: usize = 64;

/// Inputs of taps that fall into padding: as many as are read from one pointer.
#[derive(Clone, Copy, Debug)]
pub struct PaddingLine([CacheLine; ZERO_RUN / CacheLine::F32S]);

impl PaddingLine {
    /// Zeros.
    const ZEROS: PaddingLine = PaddingLine([CacheLine::ZERO; _]);

    /// Equal bytes.
    pub fn of_bytes(byte: u8) -> Self {
        PaddingLine([CacheLine::filled(byte); _])
    }
}

/// The padding of most layers.
static ZEROS: PaddingLine = PaddingLine::ZEROS;

/// One block's part of a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Indirection<'a> {
    taps: usize,
    offsets: &'a [u32],
    steps: &'a [u32],
    positions: &'a [u32],
    tiles: &'a [Tiles],
    largest: Option<u32>,
    padded: bool,
    padding: &'a PaddingLine,
    /// Taps that fall into padding for a whole tile are skipped.
    skips: bool,
}

impl IndirectionBuffer {
    /// Upper bound in bytes for a buffer of `taps` taps and `pixels` pixels, in blocks of `mc` pixels.
    ///
    /// It includes temporary allocations of the construction.
    pub fn bytes(taps: usize, pixels: usize, mc: usize) -> usize {
        let (offset, step, position) = (4, 4, 4);
        // A tile has at least one pixel. While a block is tiled, each of its pixels needs two orders with its taps, its
        // place, and the best tile that ends there.
        let of_pixel = taps * (offset + step) + position + size_of::<Tiles>();
        let of_tiling = 128;
        pixels * of_pixel + pixels.div_ceil(mc) * size_of::<BlockAt>() + mc.min(pixels) * of_tiling
    }

    /// Makes a buffer from a function that maps a tap to a function from pixels to offsets.
    ///
    /// `blocks` have `pixels` pixels in all. Tiles of at most `most` pixels take them in order.
    ///
    /// # Errors
    /// If memory is insufficient.
    pub fn new<F: Fn(usize) -> u32>(
        taps: usize,
        pixels: usize,
        blocks: impl Iterator<Item = Range<usize>>,
        most: usize,
        offset: impl Fn(usize) -> F,
    ) -> Result<Self, Unsupported> {
        let mut buffer = IndirectionBuffer::with_room(taps, pixels)?;
        let first = offset(0);
        for block in blocks {
            let place = |pixel| i64::from(first(pixel));
            let tiling = Seen::all().tiling(block.clone(), most, place);
            buffer.push(block.start, tiling, &offset);
        }
        Ok(buffer.shrunk())
    }

    /// The offsets of a convolution whose input pixels are `pixel_stride` elements apart.
    ///
    /// # Errors
    /// If memory is insufficient.
    pub fn of_conv(
        conv: &ConvShape,
        blocks: impl Iterator<Item = Range<usize>>,
        most: usize,
        pixel_stride: usize,
    ) -> Result<Self, Unsupported> {
        let whole = blocks.map(|block| (block, 0));
        IndirectionBuffer::of_rows(conv, whole, most, pixel_stride)
    }

    /// The offsets of a convolution of which only some input rows are in memory ([`IndirectionBuffer::of_conv`]).
    ///
    /// Each block comes with the first input row in memory.
    ///
    /// # Errors
    /// If memory is insufficient.
    pub fn of_rows(
        conv: &ConvShape,
        blocks: impl Iterator<Item = (Range<usize>, usize)>,
        most: usize,
        pixel_stride: usize,
    ) -> Result<Self, Unsupported> {
        let (h_out, w_out) = (conv.h_out(), conv.w_out());
        let taps = conv.kernel[0] * conv.kernel[1];
        let mut buffer = IndirectionBuffer::with_room(taps, h_out * w_out)?;
        let seen = Seen::by(conv);
        for (block, first_row) in blocks {
            let place = |pixel| {
                let (y, x) = (pixel / w_out, pixel % w_out);
                (y * conv.stride[0] * conv.w + x * conv.stride[1]) as i64
            };
            let tiling = seen.tiling(block.clone(), most, place);
            let before = (first_row * conv.w * pixel_stride) as u32;
            buffer.push(block.start, tiling, |tap| {
                let offset = conv_offset(conv, tap, pixel_stride);
                move |pixel| match offset(pixel) {
                    PADDING => PADDING,
                    offset => offset - before,
                }
            });
        }
        Ok(buffer.shrunk())
    }

    /// An empty buffer with memory for `taps` taps of `pixels` pixels.
    fn with_room(taps: usize, pixels: usize) -> Result<Self, Unsupported> {
        let (mut offsets, mut steps, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        let room = offsets
            .try_reserve_exact(taps * pixels)
            .and_then(|()| steps.try_reserve_exact(taps * pixels))
            .and_then(|()| positions.try_reserve_exact(pixels));
        room.map_err(|_| {
            let pairs = taps * pixels;
            Unsupported::new(format!(
                "no memory for the places of {taps} taps of {pixels} pixels, 8 bytes for each of the {pairs} pairs"
            ))
        })?;
        Ok(IndirectionBuffer {
            taps,
            offsets,
            steps,
            positions,
            tiles: Vec::new(),
            blocks: Vec::new(),
        })
    }

    /// Releases unused capacity of lists whose lengths were unknown.
    fn shrunk(mut self) -> Self {
        self.tiles.shrink_to_fit();
        self.blocks.shrink_to_fit();
        self
    }

    /// Adds a block whose first pixel is `first`.
    fn push<F: Fn(usize) -> u32>(
        &mut self,
        first: usize,
        tiling: Tiling,
        offset: impl Fn(usize) -> F,
    ) {
        let mut largest = None;
        let mut padded = false;
        for tap in 0..self.taps {
            let offset = offset(tap);
            for &position in &tiling.order {
                let offset = offset(first + position as usize);
                self.offsets.push(offset);
                if offset == PADDING {
                    padded = true;
                } else {
                    largest = largest.max(Some(offset));
                }
            }
        }
        let start = self.steps.len();
        self.steps.resize(self.offsets.len(), UNEVEN);
        let taps = self.offsets[start..].chunks_exact(tiling.order.len());
        let steps = self.steps[start..].chunks_exact_mut(tiling.order.len());
        for (offsets, steps) in taps.zip(steps) {
            for tile in tiling.tiles.iter().flat_map(Tiles::bounds) {
                let first = tile.start;
                steps[first] = step_of(&offsets[tile]);
            }
        }
        let (pixel, tile) = (self.positions.len(), self.tiles.len());
        self.blocks.push(BlockAt {
            pixels: pixel..pixel + tiling.order.len(),
            tiles: tile..tile + tiling.tiles.len(),
            largest,
            padded,
        });
        self.positions.extend(tiling.order);
        self.tiles.extend(tiling.tiles);
    }

    /// The block with index `index`.
    ///
    /// # Panics
    /// If there is no such block.
    #[inline]
    pub fn block(&self, index: usize) -> Indirection<'_> {
        let BlockAt {
            pixels,
            tiles,
            largest,
            padded,
        } = &self.blocks[index];
        let offsets = pixels.start * self.taps..pixels.end * self.taps;
        Indirection {
            taps: self.taps,
            offsets: &self.offsets[offsets.clone()],
            steps: &self.steps[offsets],
            positions: &self.positions[pixels.clone()],
            tiles: &self.tiles[tiles.clone()],
            largest: *largest,
            padded: *padded,
            padding: &ZEROS,
            skips: true,
        }
    }

    /// Number of (pixel, tap) pairs that the tiles compute: all except taps that fall into padding for a whole tile.
    pub fn computed(&self) -> usize {
        (0..self.blocks.len())
            .map(|b| self.block(b).computed())
            .sum()
    }
}

/// The step between neighbouring offsets of a tile, if it is the same in both halves.
fn step_of(offsets: &[u32]) -> u32 {
    if offsets.iter().all(|&o| o == PADDING) {
        return NO_OFFSETS;
    }
    let (a, b) = offsets.split_at(offsets.len().div_ceil(2));
    let step = |pair: &[u32]| pair[1].checked_sub(pair[0]);
    let mut steps = a.windows(2).chain(b.windows(2)).map(step);
    match steps.next() {
        Some(Some(first)) if first > 0 && steps.all(|s| s == Some(first)) => {
            if offsets.contains(&PADDING) {
                UNEVEN
            } else {
                first
            }
        }
        _ => UNEVEN,
    }
}

/// The offset of a tap of an output pixel, or [`PADDING`], as a function of the pixel. Pixels are numbered row by row.
pub fn conv_offset(
    conv: &ConvShape,
    tap: usize,
    pixel_stride: usize,
) -> impl Fn(usize) -> u32 + use<> {
    let conv = *conv;
    let w_out = conv.w_out();
    let down = tap / conv.kernel[1] * conv.dilation[0];
    let across = tap % conv.kernel[1] * conv.dilation[1];
    move |pixel| {
        let (y, x) = (pixel / w_out, pixel % w_out);
        let iy = (y * conv.stride[0] + down).wrapping_sub(conv.pad.top);
        let ix = (x * conv.stride[1] + across).wrapping_sub(conv.pad.left);
        if iy < conv.h && ix < conv.w {
            ((iy * conv.w + ix) * pixel_stride) as u32
        } else {
            PADDING
        }
    }
}

impl<'a> Indirection<'a> {
    /// The block with other inputs than zeros in the padding. No tap is skipped then.
    pub fn with_padding(self, padding: Option<&'a PaddingLine>) -> Self {
        match padding {
            None => self,
            Some(padding) => Indirection {
                padding,
                skips: false,
                ..self
            },
        }
    }

    /// Inputs of taps that fall into padding.
    #[inline(always)]
    pub fn padding(&self) -> &'a [f32] {
        as_f32s(&self.padding.0)
    }

    /// Pixels of the block.
    #[inline(always)]
    pub fn pixels(&self) -> usize {
        self.positions.len()
    }

    /// Taps of the filter.
    #[inline(always)]
    pub fn taps(&self) -> usize {
        self.taps
    }

    /// Tells if some tap of some pixel falls into padding.
    #[inline(always)]
    pub fn padded(&self) -> bool {
        self.padded
    }

    /// The largest offset. None if every tap falls into padding.
    #[inline(always)]
    pub fn largest(&self) -> Option<u32> {
        self.largest
    }

    /// The register tiles of the block, in their order.
    #[inline(always)]
    pub fn tiles(&self) -> &'a [Tiles] {
        self.tiles
    }

    /// Indices in the block of `P` pixels from `first` on, in the order of the tiles.
    ///
    /// # Panics
    /// If they are not all in the block.
    #[inline(always)]
    pub fn positions<const P: usize>(&self, first: usize) -> &'a [u32; P] {
        self.positions[first..]
            .first_chunk()
            .expect("a tile of the block")
    }

    /// The pixels of each tile, in the order of the tiles.
    fn bounds(&self) -> impl Iterator<Item = Range<usize>> {
        self.tiles.iter().flat_map(Tiles::bounds)
    }

    fn computed(&self) -> usize {
        let live = |tile: Range<usize>| {
            let taps = self.offsets.chunks_exact(self.pixels());
            let sees = |tap: &&[u32]| tap[tile.clone()].iter().any(|&o| o != PADDING);
            taps.filter(sees).count() * tile.len()
        };
        self.bounds().map(live).sum()
    }

    /// Spacing of one tap's inputs, for a tile of `P` pixels from `first` on.
    ///
    /// # Panics
    /// If they are not all in the block.
    #[inline(always)]
    pub fn spacing<const P: usize>(&self, tap: usize, first: usize) -> Spacing {
        match self.steps[tap * self.pixels() + first] {
            UNEVEN => Spacing::Uneven,
            NO_OFFSETS if self.skips => Spacing::Padding,
            NO_OFFSETS => Spacing::Uneven,
            step => {
                let offsets = self.offsets::<P>(tap, first);
                Spacing::Even {
                    halves: array(|half| offsets[(half * P.div_ceil(2)).min(P - 1)] as usize),
                    step: step as usize,
                }
            }
        }
    }

    /// The offsets of `P` pixels from `first` on, for one tap.
    ///
    /// # Panics
    /// If they are not all in the block.
    #[inline(always)]
    pub fn offsets<const P: usize>(&self, tap: usize, first: usize) -> &'a [u32; P] {
        self.offsets[tap * self.pixels() + first..]
            .first_chunk()
            .expect("a tile of the block")
    }
}

#[cfg(test)]
mod tests {
    use super::super::tiling::Spaced;
    use super::*;
    use crate::problem::{ConvSpec, Pad};

    fn conv(
        size: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        pad: Pad,
        dilation: [usize; 2],
    ) -> ConvShape {
        let spec = ConvSpec {
            n: 1,
            c_in: 1,
            h: size[0],
            w: size[1],
            c_out: 1,
            kernel,
            stride,
            pad,
            dilation,
            groups: 1,
            flip: false,
        };
        ConvShape::try_from(spec).expect("a valid shape")
    }

    fn blocks(conv: &ConvShape, mc: usize) -> impl Iterator<Item = Range<usize>> {
        let all = conv.h_out() * conv.w_out();
        (0..all)
            .step_by(mc)
            .map(move |start| start..(start + mc).min(all))
    }

    #[test]
    fn every_pixel_has_its_place_and_its_offsets() {
        let odd = Pad {
            top: 2,
            left: 0,
            bottom: 1,
            right: 3,
        };
        for conv in [
            conv([5, 7], [3, 3], [1, 1], Pad::uniform(1), [1, 1]),
            conv([7, 7], [3, 3], [1, 1], Pad::uniform(1), [1, 1]),
            conv([6, 4], [1, 1], [2, 2], Pad::default(), [1, 1]),
            conv([9, 8], [3, 2], [2, 3], odd, [2, 3]),
            conv([1, 3], [5, 5], [1, 1], Pad::uniform(4), [1, 1]),
            conv([3, 70], [1, 69], [1, 1], Pad::uniform(34), [1, 1]),
        ] {
            let [kh, kw] = conv.kernel;
            for (mc, most) in [(1000, 14), (7, 6), (5, 2)] {
                let buffer =
                    IndirectionBuffer::of_conv(&conv, blocks(&conv, mc), most, 16).expect("room");
                for (index, pixels) in blocks(&conv, mc).enumerate() {
                    let block = buffer.block(index);
                    assert_eq!((block.taps(), block.pixels()), (kh * kw, pixels.len()));
                    let mut positions: Vec<_> = (0..block.pixels())
                        .map(|i| block.positions::<1>(i)[0] as usize)
                        .collect();
                    for tap in 0..block.taps() {
                        for (i, position) in positions.iter().enumerate() {
                            let pixel = pixels.start + position;
                            let at = |axis: usize, o: usize, k: usize, before: usize| {
                                (o * conv.stride[axis] + k * conv.dilation[axis]) as isize
                                    - before as isize
                            };
                            let y = at(0, pixel / conv.w_out(), tap / kw, conv.pad.top);
                            let x = at(1, pixel % conv.w_out(), tap % kw, conv.pad.left);
                            let inside = (0..conv.h as isize).contains(&y)
                                && (0..conv.w as isize).contains(&x);
                            let want = if inside {
                                (y as u32 * conv.w as u32 + x as u32) * 16
                            } else {
                                PADDING
                            };
                            assert_eq!(
                                *block.offsets::<1>(tap, i),
                                [want],
                                "{conv:?} tap {tap} pixel {pixel}"
                            );
                        }
                    }
                    positions.sort_unstable();
                    assert!(positions.into_iter().eq(0..pixels.len()), "a permutation");
                    let tiles: Vec<_> = block.bounds().collect();
                    assert!(tiles.iter().all(|t| !t.is_empty() && t.len() <= most));
                    assert!(
                        tiles.into_iter().flatten().eq(0..pixels.len()),
                        "all of them"
                    );
                }
            }
        }
    }

    #[test]
    fn padding_is_skipped_where_it_pays() {
        let share = |size: usize, mc: usize| {
            let conv = conv([size, size], [3, 3], [1, 1], Pad::uniform(1), [1, 1]);
            let buffer =
                IndirectionBuffer::of_conv(&conv, blocks(&conv, mc), 14, 16).expect("room");
            buffer.computed() as f64 / (size * size * 9) as f64
        };
        // If no product were wasted, the shares would be (3 n - 2)^2 / 9 n^2: 0.82, 0.91, 0.95, 0.98.
        assert!(share(7, 49) < 0.86, "{}", share(7, 49));
        assert!(share(14, 196) < 0.92, "{}", share(14, 196));
        assert!(share(28, 196) < 0.965, "{}", share(28, 196));
        assert!(share(56, 224) < 0.99, "{}", share(56, 224));
    }

    #[test]
    fn rows_are_paired_where_that_is_evenly_spaced() {
        let conv = conv([14, 14], [1, 1], [2, 2], Pad::default(), [1, 1]);
        let buffer = IndirectionBuffer::of_conv(&conv, blocks(&conv, 49), 14, 16).expect("room");
        let block = buffer.block(0);
        let tiles: Vec<_> = block.bounds().collect();
        let pairs = tiles.iter().filter(|tile| tile.len() == 14);
        assert_eq!((tiles.len(), pairs.clone().count()), (4, 3), "{tiles:?}");
        for pair in pairs {
            let y = pair.start / 7;
            let halves = [0, 1].map(|half| 2 * (y + half) * 14 * 16);
            let spacing = block.spacing::<14>(0, pair.start);
            assert_eq!(spacing, Spacing::Even { halves, step: 32 });
        }
    }

    #[test]
    fn spacing_is_what_the_offsets_say() {
        let pad = Pad::uniform(1);
        let conv = conv([9, 14], [3, 3], [1, 1], pad, [1, 1]);
        // The last block is smaller.
        let buffer = IndirectionBuffer::of_conv(&conv, blocks(&conv, 84), 14, 16).expect("room");
        let tiles = [0, 1].map(|index| buffer.block(index));
        let tiles = tiles
            .iter()
            .flat_map(|b| b.bounds().map(move |tile| (b, tile)));
        let (mut even, mut all) = (0, 0);
        for (block, tile) in tiles.filter(|(_, tile)| tile.len() == 12) {
            for tap in 0..9 {
                let offsets = block.offsets::<12>(tap, tile.start);
                all += 1;
                match block.spacing::<12>(tap, tile.start) {
                    Spacing::Padding => assert!(offsets.iter().all(|&o| o == PADDING)),
                    Spacing::Uneven => {}
                    Spacing::Even { halves, step } => {
                        even += 1;
                        for (p, &offset) in offsets.iter().enumerate() {
                            assert_eq!(offset as usize, halves[p / 6] + p % 6 * step);
                        }
                    }
                }
            }
        }
        assert!(even * 10 >= all * 8, "{even} of {all}");
    }

    #[test]
    fn modelled_and_stored_spacing_agree() {
        for places in [
            [0, 1, 2, 3, 4, 5, 6, 7],
            [0, 2, 4, 9, 11, 13, 14, 15],
            [5, 4, 3, 2, 1, 0, 9, 10],
        ] {
            let spaced = Spaced::of(places.iter().map(|&p| i64::from(p)));
            for (start, end) in (0..8).flat_map(|s| (s + 2..=8).map(move |e| (s, e))) {
                let step = step_of(&places[start..end]);
                let stored = step != UNEVEN && step < 1 << 31;
                assert_eq!(
                    spaced.evenly(start..end),
                    stored,
                    "{:?}",
                    &places[start..end]
                );
            }
        }
    }

    #[test]
    fn tiles_are_even_where_nothing_is_padded() {
        let conv = conv([7, 7], [1, 1], [1, 1], Pad::default(), [1, 1]);
        let buffer = IndirectionBuffer::of_conv(&conv, blocks(&conv, 49), 14, 16).expect("room");
        let block = buffer.block(0);
        let mut lens: Vec<_> = block.bounds().map(|t| t.len()).collect();
        lens.sort_unstable();
        assert_eq!(lens, [12, 12, 12, 13]);
    }
}
