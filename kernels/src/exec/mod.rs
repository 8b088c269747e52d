//! Threads. No other folder uses them.
//!
//! Work is a number of tasks. An [`Executor`] runs each once, on one of `width()` workers. The result of a task depends
//! neither on its worker nor on the number of workers. Each worker begins with its own contiguous share, equal in every
//! run, so that its caches stay warm. An idle worker steals tasks of others (`stealing.rs`). A single task runs on the
//! calling thread.
//!
//! Kernels use [`par_rows`]: it divides an output matrix into disjoint blocks. Each task gets its block and its
//! worker's private scratch. [`par_halves`] divides both halves of each row in the same way. [`par_tiles`] divides maps
//! into square tiles.
//!
//! In reading order: [`crate::partition`] (division of work), `executor.rs` (the contract of executors), `rows.rs` and
//! `tiles.rs` (each task's part of the output), `stealing.rs` (how workers share the tasks), `team.rs` (the threads of a
//! pool as workers).
#![allow(unsafe_code)]

mod executor;
mod rows;
mod stealing;
mod sync;
mod team;
mod tiles;

pub use crate::partition::{Grid, Sharing, TileGrid, share};
pub use executor::{Executor, Serial, Turn};
pub use rows::{Block, RowsMut, par_halves, par_rows, par_rows_sharing};
pub use team::{Team, on_each_worker, with_team};
pub use tiles::{TilesMut, par_tiles};
