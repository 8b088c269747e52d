//! The bounds that a layer may have.

use crate::record::Level;
use serde::Serialize;
use std::fmt;

/// The bound of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Arithmetic.
    Compute,
    /// Bandwidth of the first level.
    L1,
    /// Bandwidth of the second level.
    L2,
    /// Bandwidth of the third level.
    L3,
    /// Bandwidth of main memory.
    Dram,
    /// Overheads of a short run: calls, synchronisation, latency.
    Overhead,
    /// No bound that is measured here.
    Undecided,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Verdict; 7] = [
        Verdict::Compute,
        Verdict::L1,
        Verdict::L2,
        Verdict::L3,
        Verdict::Dram,
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
            Verdict::Overhead => "overhead bound",
            Verdict::Undecided => "undecided",
        }
    }

    /// Explanation of the verdict for readers of a report.
    pub fn meaning(self) -> &'static str {
        match self {
            Verdict::Compute => {
                "the arithmetic units are busy most of the time: only fewer operations would help"
            }
            Verdict::L1 => "moving data between registers and L1 takes most of the time",
            Verdict::L2 => {
                "its data live in L2, and reading them from there takes most of the time"
            }
            Verdict::L3 => {
                "its data live in the last-level cache, and reading them from there takes most of the time"
            }
            Verdict::Dram => {
                "its data come from main memory, and reading them takes most of the time"
            }
            Verdict::Overhead => {
                "so little work that calls, thread synchronisation and latency weigh more"
            }
            Verdict::Undecided => {
                "it reaches neither roof: the kernel limits its speed, not the machine"
            }
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
