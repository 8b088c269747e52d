//! Division of a block of output pixels into register tiles that fit the padding and the spacing of the inputs.
//!
//! A tap is skipped if it falls into padding for all pixels of a tile. So tiles are cut to fit the padding. Pixels of a
//! block are taken row by row, or grouped by the filter columns that they see, whichever costs less. Dynamic
//! programming over the modelled cost (`TileCost`) gives the tiles' bounds. In this model evenly spaced pixels are
//! cheaper than others.

use super::tiles::{FEW_PIXELS, Tiles, tiles_of};
use crate::problem::ConvShape;
use std::ops::Range;

/// Cost model of a register tile, for each tap that it doesn't skip.
#[derive(Clone, Copy)]
struct TileCost {
    /// The most pixels in a tile, P.
    most: usize,
}

impl TileCost {
    /// Cost of a tile of `len` pixels, `len + (P - len)^2 / 4 P`, times 4 P to stay with integers.
    ///
    /// The second term is a penalty for a tile that isn't full. Such a tile has fewer FMAs for each load of weights,
    /// and too few chains of FMAs to hide their latency. In this model, a half-full tile has 0.89 of the efficiency of
    /// a full one. A quarter-full one has 0.64.
    fn of(self, len: usize) -> u64 {
        (4 * self.most * len + (self.most - len).pow(2)) as u64
    }

    /// Cost of all taps. A tap that is not evenly spaced costs a tenth more. (Measured: docs/measurements.md, 'uneven
    /// taps'.)
    fn taps(self, len: usize, all: u64, even: u64) -> u64 {
        let even = if len > FEW_PIXELS { even } else { all };
        (10 * even + 11 * (all - even)) * self.of(len)
    }
}

/// An order of a block's pixels, and the tiles that take them in that order.
pub(super) struct Tiling {
    /// Indices of the pixels in their block.
    pub(super) order: Vec<u32>,
    /// The tiles, one after the other.
    pub(super) tiles: Vec<Tiles>,
}

/// Filter rows that each output row sees, and filter columns that each output column sees, as bits.
///
/// In filters of more than 64 rows or columns, the last bit stands for all others. Then a possible skip may be missed.
pub(super) struct Seen {
    filter_rows: usize,
    w_out: usize,
    /// For each output row and column. Empty if all see the whole filter.
    rows: Vec<u64>,
    cols: Vec<u64>,
}

/// Filter rows and columns that one pixel sees.
#[derive(Clone, Copy, PartialEq)]
struct Sees {
    rows: u64,
    cols: u64,
}

impl Seen {
    /// For convolutions without padding.
    pub(super) fn all() -> Self {
        Seen {
            filter_rows: 1,
            w_out: 1,
            rows: Vec::new(),
            cols: Vec::new(),
        }
    }

    /// For a convolution.
    pub(super) fn by(conv: &ConvShape) -> Self {
        let [rows, cols] = conv.windows().map(|axis| {
            let seen = |o: usize| {
                let inside = axis.inside(o);
                if inside.is_empty() {
                    return 0;
                }
                let (first, last) = (inside.start.min(63), (inside.end - 1).min(63));
                u64::MAX << first & u64::MAX >> (63 - last)
            };
            (0..axis.out).map(seen).collect()
        });
        Seen {
            filter_rows: conv.kernel[0].min(64),
            w_out: conv.w_out(),
            rows,
            cols,
        }
    }

    fn by_pixel(&self, pixel: usize) -> Sees {
        let of = |axis: &[u64], at: usize| axis.get(at).copied().unwrap_or(1);
        Sees {
            rows: of(&self.rows, pixel / self.w_out),
            cols: of(&self.cols, pixel % self.w_out),
        }
    }

    /// The cheaper of two orders of a block: row by row, or grouped by the filter columns that pixels see.
    ///
    /// Tiles have at most `most` pixels. `place` is the position of a pixel's first tap, in any unit.
    pub(super) fn tiling(
        &self,
        block: Range<usize>,
        most: usize,
        place: impl Fn(usize) -> i64,
    ) -> Tiling {
        let cost = TileCost { most };
        let by_rows: Vec<u32> = (0..block.len() as u32).collect();
        let sees: Vec<Sees> = block.clone().map(|pixel| self.by_pixel(pixel)).collect();
        let mut by_columns = by_rows.clone();
        // The sort is stable: pixels stay in row order within a group.
        by_columns.sort_by_key(|&p| sees[p as usize].cols);
        let place = |p: u32| place(block.start + p as usize);
        let (row_tiles, row_cost) = self.tiles(&sees, &by_rows, cost, place);
        if by_columns != by_rows {
            let (column_tiles, column_cost) = self.tiles(&sees, &by_columns, cost, place);
            if column_cost < row_cost {
                return Tiling {
                    order: by_columns,
                    tiles: column_tiles,
                };
            }
        }
        Tiling {
            order: by_rows,
            tiles: row_tiles,
        }
    }

    /// The cheapest tiles for pixels in a given order, and their cost.
    fn tiles(
        &self,
        sees: &[Sees],
        order: &[u32],
        cost: TileCost,
        place: impl Fn(u32) -> i64,
    ) -> (Vec<Tiles>, u64) {
        let spaced = Spaced::of(order.iter().map(|&p| place(p)));
        // best[end]: the cost of the pixels before `end`, and the start of their last tile.
        let mut best = vec![(0, 0)];
        // For each filter row: the columns that some pixel of the tile sees, and those that all its pixels see.
        let (mut some, mut every) = (vec![0u64; self.filter_rows], vec![0u64; self.filter_rows]);
        let count = |seen: &[u64]| -> u64 { seen.iter().map(|c| u64::from(c.count_ones())).sum() };
        // Away from the padding, all pixels see the same taps, and so do all tiles.
        let first = sees
            .first()
            .filter(|first| sees.iter().all(|s| s == *first));
        let same = first.map(|s| u64::from(s.rows.count_ones() * s.cols.count_ones()));
        for end in 1..=order.len() {
            some.fill(0);
            every.fill(u64::MAX);
            let mut cheapest = (u64::MAX, 0);
            for start in (end.saturating_sub(cost.most)..end).rev() {
                if same.is_none() {
                    let Sees { rows, cols } = sees[order[start] as usize];
                    for (r, (some, every)) in some.iter_mut().zip(&mut every).enumerate() {
                        let cols = if rows >> r & 1 == 1 { cols } else { 0 };
                        *some |= cols;
                        *every &= cols;
                    }
                }
                let even = if spaced.evenly(start..end) {
                    same.unwrap_or_else(|| count(&every))
                } else {
                    0
                };
                let all = same.unwrap_or_else(|| count(&some));
                let total = best[start].0 + cost.taps(end - start, all, even);
                cheapest = cheapest.min((total, start));
            }
            best.push(cheapest);
        }
        let mut sizes = Vec::new();
        let mut end = order.len();
        while end > 0 {
            sizes.push(end - best[end].1);
            end = best[end].1;
        }
        (tiles_of(sizes.into_iter().rev()), best[order.len()].0)
    }
}

/// Lengths of equal steps in a sequence of numbers.
pub(super) struct Spaced {
    steps: Vec<i64>,
    /// For each step, the number of equal steps from it on.
    equal: Vec<usize>,
}

impl Spaced {
    pub(super) fn of(places: impl Iterator<Item = i64>) -> Self {
        let places: Vec<i64> = places.collect();
        let steps: Vec<i64> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mut equal = vec![1; steps.len()];
        for i in (1..steps.len()).rev() {
            if steps[i - 1] == steps[i] {
                equal[i - 1] = equal[i] + 1;
            }
        }
        Spaced { steps, equal }
    }

    /// Tells if each half of a range is evenly spaced, with the same positive step in both.
    pub(super) fn evenly(&self, range: Range<usize>) -> bool {
        let middle = range.start + range.len().div_ceil(2);
        let half = |half: Range<usize>| half.len() < 2 || self.equal[half.start] + 1 >= half.len();
        let step = |half: Range<usize>| (half.len() > 1).then(|| self.steps[half.start]);
        let halves = [range.start..middle, middle..range.end];
        halves.iter().cloned().all(half)
            && step(halves[0].clone()).is_some_and(|first| {
                first > 0 && step(halves[1].clone()).is_none_or(|second| second == first)
            })
    }
}
