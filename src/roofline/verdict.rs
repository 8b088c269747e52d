//! The bounds that a layer may have: their one definition. README, `--help`, the method page and the reports show these
//! texts, and tests compare them.

use crate::record::Level;
use serde::Serialize;
use std::fmt;

/// Least fraction of a kernel's time that a bound must explain to be the verdict. A kernel is compute bound only if its
/// operations, at the measured peak of its element type, would take this fraction of its time or more.
pub const EXPLAINS: f64 = 0.5;

/// Time in ns below which a kernel that reaches no roof is overhead bound.
pub const OVERHEAD_NS: f64 = 5_000.0;

/// The bound of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Arithmetic, near the peak of the layer's element type.
    Compute,
    /// Loads and stores, or the bandwidth of the first level.
    L1,
    /// Data from the second level.
    L2,
    /// Data from the third level.
    L3,
    /// Data from main memory.
    Dram,
    /// Instructions and latencies in the core, far below the FMA peak.
    Core,
    /// Overheads of a short run: calls, starts of threads.
    Overhead,
    /// No bound that is measured here.
    Undecided,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Verdict; 8] = [
        Verdict::Compute,
        Verdict::L1,
        Verdict::L2,
        Verdict::L3,
        Verdict::Dram,
        Verdict::Core,
        Verdict::Overhead,
        Verdict::Undecided,
    ];

    /// The name in JSON and in class attributes.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Compute => "compute",
            Verdict::L1 => "l1",
            Verdict::L2 => "l2",
            Verdict::L3 => "l3",
            Verdict::Dram => "dram",
            Verdict::Core => "core",
            Verdict::Overhead => "overhead",
            Verdict::Undecided => "undecided",
        }
    }

    /// The verdict as text.
    pub fn label(self) -> &'static str {
        match self {
            Verdict::Compute => "compute bound",
            Verdict::L1 => "L1 bound",
            Verdict::L2 => "L2 bound",
            Verdict::L3 => "L3 bound",
            Verdict::Dram => "DRAM bound",
            Verdict::Core => "core bound",
            Verdict::Overhead => "overhead bound",
            Verdict::Undecided => "undecided",
        }
    }

    /// True if moving data bounds the layer, from a cache or from memory.
    pub fn is_bandwidth(self) -> bool {
        matches!(
            self,
            Verdict::L1 | Verdict::L2 | Verdict::L3 | Verdict::Dram
        )
    }

    /// Meaning of the verdict, in a clause.
    pub fn meaning(self) -> &'static str {
        match self {
            Verdict::Compute => {
                "arithmetic takes most of the time: at the measured peak of its type the operations would take at least half of it"
            }
            Verdict::L1 => {
                "loads and stores take most of the time, and their data are in L1 or come from farther levels much faster"
            }
            Verdict::L2 => "moving the data from and to L2 takes most of the time",
            Verdict::L3 => "moving the data from and to L3 takes most of the time",
            Verdict::Dram => "moving the data from and to main memory takes most of the time",
            Verdict::Core => {
                "instructions take most of the time, but the FMA units are idle for more than half of it: without loads and stores it takes as long"
            }
            Verdict::Overhead => {
                "calls and starts of threads: it takes less than 5 us, or its threads take more than half of its time to start"
            }
            Verdict::Undecided => "no bound explains half of the time, or the evidence disagrees",
        }
    }

    /// Changes that would make a layer with this verdict faster, in a clause.
    pub fn help(self) -> &'static str {
        match self {
            Verdict::Compute => {
                "fewer operations (Winograd, Strassen), smaller types, more cores; not faster memory"
            }
            Verdict::L1 => "fewer loads for each operation: larger register tiles, wider vectors",
            Verdict::L2 | Verdict::L3 => {
                "fewer bytes: smaller blocks, fusion, smaller types; prefetching"
            }
            Verdict::Dram => "fewer bytes: fusion, smaller types, larger batches",
            Verdict::Core => {
                "a better kernel: more independent operations in flight, wider vectors, fewer other instructions"
            }
            Verdict::Overhead => "fewer calls: fusion, larger batches, fewer threads",
            Verdict::Undecided => "more samples on a quiet machine, or a better kernel",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl From<Level> for Verdict {
    fn from(level: Level) -> Self {
        match level {
            Level::L1 => Verdict::L1,
            Level::L2 => Verdict::L2,
            Level::L3 => Verdict::L3,
            Level::Dram => Verdict::Dram,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows that README and the method page must have.
    fn table() -> String {
        let row = |v: Verdict| format!("| {} | {} | {} |\n", v.label(), v.meaning(), v.help());
        Verdict::ALL.into_iter().map(row).collect()
    }

    #[test]
    fn readme_has_the_definitions() {
        let readme = include_str!("../../README.md");
        let table = table();
        assert!(readme.contains(&table), "README.md lacks\n{table}");
    }

    #[test]
    fn texts_state_the_limits_that_hold() {
        assert!(Verdict::Compute.meaning().contains("at least half"));
        assert!(Verdict::Core.meaning().contains("more than half"));
        assert_eq!(EXPLAINS, 0.5);
        let limit = format!("less than {} us", OVERHEAD_NS / 1e3);
        assert!(Verdict::Overhead.meaning().contains(&limit));
    }
}
