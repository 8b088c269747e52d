//! The machine at hand: what it is, what it can do at most, and threads pinned to its cores.

pub mod calibration;
pub mod fingerprint;
pub mod memory;
pub mod pool;
pub mod topology;

pub use topology::Topology;
