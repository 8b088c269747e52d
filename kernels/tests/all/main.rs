//! Tests of the kernels from another crate, a module for each subject.
//!
//! They are one program, since each program is linked with all kernels, and a short list of long tests leaves cores idle
//! at its end. `cargo test -p convroof-kernels --test all plans::` runs one module. Two tests are programs of their own:
//!
//! * `allocations` replaces the allocator of its process;
//! * `conformance` names its tests at run time, one for each variant.

mod fast;
#[cfg(emulated)]
#[path = "../problems/mod.rs"]
mod problems;

mod attacks;
mod convolutions;
mod mutants;
mod narrow;
mod narrow_layers;
mod plans;
mod properties;
mod registry;
mod small;
mod stealing;
mod strassen;
mod types;
mod vector_faults;
mod winograd;
