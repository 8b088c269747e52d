//! Tests of the suite, a module for each subject.
//!
//! They are one program, since each program is linked with all kernels, and a short list of long tests leaves cores idle
//! at its end. `cargo test -p convroof --test all layout::` runs one module. Some tests are programs of their own:
//!
//! * `gate`, `planning` and `verdicts` assert times or limits of time, so each runs without the tests here;
//! * `noise` keeps every core busy;
//! * `faults` and `fuzz` have a main function of their own: they are also the processes that they start;
//! * `peers` needs a feature.

#[path = "../command/mod.rs"]
mod command;

mod architecture;
mod audit;
mod cli;
mod committed;
mod exec;
mod files;
mod gates;
mod inputs;
mod layout;
mod net;
mod records;
mod revision;
mod schemas;
mod supply;
mod terminal;
mod tutorial;
mod twins;
mod watch;
