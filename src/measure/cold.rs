//! Cold operands: copies of a kernel's operands, used in turn from a buffer larger than the caches.

use crate::machine::Topology;
use crate::machine::fingerprint::fingerprint;
use crate::machine::pool::Workers;
use convroof_kernels::instance::{Cold, Instance};
use convroof_kernels::tensor::{AlignedBuf, CacheLine, OutOfMemory};

/// A buffer of three times the last cache, divided into sets of a kernel's operands. Runs cycle through the sets:
/// before a set is used again, all others have passed through the caches.
pub(super) struct ColdSets {
    buffer: AlignedBuf,
    /// Cache lines of a set, and the index of the next one.
    set: usize,
    next: usize,
}

/// Upper limit of the buffer's bytes, however large the caches. A quarter of the machine's memory is another.
const LARGEST_BYTES: usize = 4 << 30;

impl ColdSets {
    /// Memory for the caches of a machine.
    pub(super) fn new(topology: &Topology) -> Result<Self, OutOfMemory> {
        let caches = topology.caches.iter().map(|c| c.bytes);
        let bytes = 3 * caches.max().unwrap_or(8 << 20);
        let memory = fingerprint(topology).memory_bytes.unwrap_or(u64::MAX);
        let most = LARGEST_BYTES.min(usize::try_from(memory / 4).unwrap_or(usize::MAX));
        let lines = bytes.min(most) / CacheLine::BYTES;
        Ok(ColdSets {
            buffer: AlignedBuf::zeroed(lines)?,
            set: lines,
            next: 0,
        })
    }

    /// Bytes between two uses of the same set.
    pub(super) fn bytes(&self) -> usize {
        self.sets() * self.set * CacheLine::BYTES
    }

    /// Fills the buffer with copies of the operands that `instance` is to find cold. False if not even two sets fit.
    pub(super) fn fill(&mut self, instance: &Instance, cold: Cold, workers: &Workers) -> bool {
        self.set = instance.set_lines(cold).max(1);
        self.next = 0;
        if 2 * self.set > self.buffer.len() {
            return false;
        }
        let sets = self.buffer.chunks_exact_mut(self.set);
        workers.install(|_| sets.for_each(|set| instance.copy_to(cold, set)));
        true
    }

    /// The set that was used longest ago; it becomes the last used.
    pub(super) fn coldest(&mut self) -> &mut [CacheLine] {
        let at = self.skip(1) * self.set;
        &mut self.buffer[at..at + self.set]
    }

    /// The set that was used last.
    pub(super) fn last(&mut self) -> &mut [CacheLine] {
        let at = (self.next + self.sets() - 1) % self.sets() * self.set;
        &mut self.buffer[at..at + self.set]
    }

    /// Reserves the next `n` sets and returns the number of the first, for [`ColdSets::set`].
    pub(super) fn skip(&mut self, n: usize) -> usize {
        let first = self.next;
        self.next = (self.next + n) % self.sets();
        first
    }

    /// The set of a number, modulo the number of sets.
    pub(super) fn set(&self, number: usize) -> &[CacheLine] {
        &self.buffer[number % self.sets() * self.set..][..self.set]
    }

    fn sets(&self) -> usize {
        self.buffer.len() / self.set
    }
}
