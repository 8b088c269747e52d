//! Placement of buffers with known lifetimes in one arena. Pure.
//!
//! Two buffers may share memory if no step needs both. Buffers are placed from the largest to the smallest. Each
//! takes the lowest offset that overlaps no buffer with a common step (Pisarchyk and Lee 2020, "greedy by size").

use std::ops::RangeInclusive;

/// Size of a buffer, and the steps that need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Size in units of the arena.
    pub size: usize,
    /// All steps from the one that writes it to the last that reads it.
    pub steps: RangeInclusive<usize>,
}

impl Lifetime {
    fn meets(&self, other: &Lifetime) -> bool {
        self.steps.start() <= other.steps.end() && other.steps.start() <= self.steps.end()
    }
}

/// Offsets of all buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arena {
    /// The offset of each buffer.
    pub offsets: Vec<usize>,
    /// Size of the arena.
    pub size: usize,
}

/// Places buffers.
pub fn place(buffers: &[Lifetime]) -> Arena {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(buffers[i].size));
    let mut arena = Arena {
        offsets: vec![0; buffers.len()],
        size: 0,
    };
    let mut placed: Vec<usize> = Vec::new();
    for &i in &order {
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&j| buffers[i].meets(&buffers[j]))
            .map(|&j| (arena.offsets[j], arena.offsets[j] + buffers[j].size))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if start >= offset + buffers[i].size {
                break;
            }
            offset = offset.max(end);
        }
        arena.offsets[i] = offset;
        arena.size = arena.size.max(offset + buffers[i].size);
        placed.push(i);
    }
    arena
}

/// Lower bound of the arena's size: the most that any single step needs.
pub fn least(buffers: &[Lifetime]) -> usize {
    let last = buffers.iter().map(|b| *b.steps.end()).max().unwrap_or(0);
    let needs = |step: usize| {
        let live = buffers.iter().filter(|b| b.steps.contains(&step));
        live.map(|b| b.size).sum()
    };
    (0..=last).map(needs).max().unwrap_or(0)
}
