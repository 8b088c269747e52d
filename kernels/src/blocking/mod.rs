//! Block sizes, derived from the caches. The functions are pure: a problem always gets the same blocks on a machine,
//! regardless of other load.
//!
//! # The loops around a register tile
//!
//! A convolution is a product of an indirect matrix (output pixels x taps and channels) with packed weights (taps and
//! channels x output channels). Three loops surround the register tile of `P pixels x B channel blocks`:
//!
//! 1. *tasks*: blocks of `mc` pixels of one image x groups of `nc` output channels. One thread takes all channels as
//!    one group. Several threads take as many groups as make some tasks for each thread.
//! 2. *panels*: the weights of B channel blocks, `K = taps * c_in` rows of `16 B` floats.
//! 3. *tiles*: the P-pixel tiles of the block, all with the same panel.
//!
//! A tile does `P * B` FMAs of 16 lanes for each `64 B` bytes of panel. So a panel may stream from L2 at no cost. From
//! L3 it may cost time, if the tile consumes weights as fast as L3 delivers them. (Measured: docs/measurements.md,
//! 'weights from L3'.) If few tiles share a panel, each tile prefetches its part of the next panel (`micro/gemm/`).
//!
//! Every panel reads the block's input again, so the input must stay in L2. `mc` is chosen so that the input takes at
//! most half of L2 (Goto and van de Geijn 2008, section 4). The operands have the roles that they have in BLIS's
//! macro-kernel. The reduction is never split: accumulators stay in registers over all of K, and each output is written
//! once.
//!
//! In reading order: `caches.rs`, `tile.rs` and `tuning.rs` (what blocks are derived from), `tasks.rs` (how many tasks
//! threads get), `gemm.rs` and `winograd.rs` (the derivations).

mod caches;
mod gemm;
mod tasks;
mod tile;
mod tuning;
mod winograd;

pub use caches::{Caches, MemoryLevel};
pub use gemm::{Blocking, GemmShape};
pub use tasks::{part, preparations};
pub use tile::RegisterTile;
pub use tuning::Tuning;
pub use winograd::{WinogradBlocking, WinogradShape};
