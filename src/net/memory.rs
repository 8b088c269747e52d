//! Memory planned ahead: where buffers that live for a while lie in one arena. Pure.
//!
//! Two buffers may share memory if no step needs both. The largest is placed first, each at the lowest offset where it
//! meets nobody that lives at the same time (Pisarchyk and Lee 2020, "greedy by size").

use std::ops::RangeInclusive;

/// A buffer that some steps need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Its size, in whatever unit the arena has.
    pub size: usize,
    /// From the step that writes it to the last that reads it.
    pub steps: RangeInclusive<usize>,
}

impl Lifetime {
    fn meets(&self, other: &Lifetime) -> bool {
        self.steps.start() <= other.steps.end() && other.steps.start() <= self.steps.end()
    }
}

/// Where everything lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arena {
    /// The offset of each buffer.
    pub offsets: Vec<usize>,
    /// The size of the whole.
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

/// What must be there at once at the least: the most that any step needs.
pub fn least(buffers: &[Lifetime]) -> usize {
    let last = buffers.iter().map(|b| *b.steps.end()).max().unwrap_or(0);
    let needs = |step: usize| {
        let live = buffers.iter().filter(|b| b.steps.contains(&step));
        live.map(|b| b.size).sum()
    };
    (0..=last).map(needs).max().unwrap_or(0)
}
