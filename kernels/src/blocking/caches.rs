//! Caches of a core, and the level that data come from.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
