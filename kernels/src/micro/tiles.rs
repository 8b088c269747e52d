//! How a run of pixels is cut into register tiles.
//!
//! Equal tiles follow one another, so that a tile's size is chosen once for many: what is chosen for each
//! tile costs it some 50 cycles, as the first load waits for the choice.

use std::ops::Range;

/// Larger tiles gain from pixels that are evenly spaced; up to here there are registers for all their addresses.
pub const FEW_PIXELS: usize = 6;

/// Consecutive register tiles of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// The first pixel of the first.
    pub first: usize,
    /// Pixels of each.
    pub size: usize,
    /// How many.
    pub count: usize,
}

impl Tiles {
    /// The pixels of each.
    pub fn bounds(&self) -> impl Iterator<Item = Range<usize>> {
        let &Tiles { first, size, count } = self;
        (0..count).map(move |t| first + t * size..first + (t + 1) * size)
    }
}

/// How the inputs of a register tile's pixels lie for one tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// All in the padding.
    Padding,
    /// A step apart in each half of the tile: two addresses serve them all, in the next row too.
    Even {
        /// The offsets of the first pixel and of that behind the first half. The first half is the larger.
        halves: [usize; 2],
        /// Elements from a pixel to the next.
        step: usize,
    },
    /// Anywhere, or some of them in the padding.
    Uneven,
}

/// The nearly equal tiles of at most `most` pixels that `pixels` are cut into (49 pixels are 13 + 12 + 12 +
/// 12, not 14 + 14 + 14 + 7): full tiles make the most of each load of weights.
///
/// Their number may be 0 for one size or both.
#[inline(always)]
pub fn even_tiles(pixels: usize, most: usize) -> [Tiles; 2] {
    let tiles = pixels.div_ceil(most);
    let (size, larger) = (pixels / tiles.max(1), pixels % tiles.max(1));
    let large = Tiles {
        first: 0,
        size: size + 1,
        count: larger,
    };
    let small = Tiles {
        first: larger * (size + 1),
        size,
        count: tiles - larger,
    };
    [large, small]
}

/// Tiles of `sizes`, in that order.
pub fn tiles_of(sizes: impl IntoIterator<Item = usize>) -> Vec<Tiles> {
    let mut all: Vec<Tiles> = Vec::new();
    let mut first = 0;
    for size in sizes {
        match all.last_mut() {
            Some(last) if last.size == size => last.count += 1,
            _ => all.push(Tiles {
                first,
                size,
                count: 1,
            }),
        }
        first += size;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_even_and_cover_the_pixels() {
        for (pixels, most) in [(49, 14), (1, 14), (0, 6), (28, 14), (13, 6), (3136, 14)] {
            let mut tiles = even_tiles(pixels, most).to_vec();
            tiles.retain(|t| t.count > 0);
            let sizes = tiles
                .iter()
                .flat_map(|t| std::iter::repeat_n(t.size, t.count));
            assert_eq!(sizes.clone().sum::<usize>(), pixels);
            assert_eq!(sizes.clone().count(), pixels.div_ceil(most));
            assert!(sizes.clone().max() <= sizes.clone().min().map(|s| s + 1));
            assert_eq!(tiles_of(sizes), tiles);
        }
        let sizes = even_tiles(49, 14).map(|t| (t.size, t.count));
        assert_eq!(sizes, [(13, 1), (12, 3)]);
    }
}
