//! SIMD kernels of a CNN's layers, each checked against one reference.
//!
//! The tour, in reading order:
//!
//! 1. [`problem`]: one layer as data, with a text form. Each [`Operation`](problem::Operation) (convolution, pooling and
//!    others) is one module;
//! 2. [`reference`](mod@reference): the output of a problem by its definition, in naive f64 loops;
//! 3. [`plan`]: the contract. An [`Algorithm`] turns a problem into a [`Plan`] for one instruction set, or gives the
//!    reason why it can't. A plan states memory and cost, packs weights once and runs many times;
//! 4. [`algo`]: the algorithms, one file each: thin loops over the kernels of `micro`;
//! 5. `micro`: the register tile and its packing, written once for every vector width. Private except for Winograd's
//!    transforms ([`cook_toom`], [`surd`]) and the loops that measure a machine ([`probe`]);
//! 6. [`registry`]: the list of algorithms that tests, benches and reports loop over.
//!
//! Beneath:
//!
//! * [`isa`]: instruction sets, and compilation of a task for each;
//! * [`exec`]: threads; [`partition`]: division of work;
//! * [`tensor`]: memory; [`dtype`]: types of elements; [`layout`]: their order; [`reorder`](mod@reorder): conversion
//!   between layouts;
//! * [`window`]: windows along an axis;
//! * [`blocking`]: block sizes from caches;
//! * [`cost`]: flops, bytes, tolerances; [`phase`]: parts of a run;
//! * [`arch`]: instructions that pulp lacks;
//! * [`instance`]: a plan with its own memory, to run and compare.
//!
//! To add a kernel, write a file in `algo/` with an [`Algorithm`], and a line in [`registry`]. The conformance tests,
//! `list`, `check`, `bench`, `net` and the report then use it. The cost model of `net` estimates its time from the
//! plan's [`Cost`](cost::Cost) and [`Efficiency`](cost::Efficiency).
//!
//! ```
//! use convroof_kernels::blocking::Caches;
//! use convroof_kernels::conformance::Deviation;
//! use convroof_kernels::exec::Serial;
//! use convroof_kernels::instance::Instance;
//! use convroof_kernels::reference::{self, Operands};
//! use convroof_kernels::{Isa, PlanCx, Problem, Registry};
//!
//! let problem: Problem = "mb1ic8ih10oc16oh10kh3ph1".parse()?;
//! let (src, weights) = (vec![0.5; 800], vec![0.25; 1152]);
//! let operands = Operands { src: &src, weights: &weights, ..Operands::default() };
//!
//! let direct = Registry::builtin().find(&"direct/scalar/st".parse()?)?;
//! let caches = Caches::default();
//! let plan = direct.algorithm.plan(&problem, &PlanCx::new(Isa::best(), &caches))?;
//! let mut instance = Instance::new(plan)?;
//! instance.load(operands, &Serial);
//! instance.run(&Serial);
//!
//! let output = instance.output_nchw(&Serial)?;
//! let expected = reference::compute(&problem, operands, &Serial);
//! assert_eq!(Deviation::between(&output, &expected).max, 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod algo;
pub mod arch;
#[cfg(doctest)]
mod attacks;
pub mod blocking;
mod bounds;
pub mod conformance;
pub mod cost;
pub mod data;
pub mod dtype;
pub mod exec;
pub mod instance;
pub mod isa;
pub mod layout;
// Unsafe code that relies on its callers, the algorithms. No other crate can call it.
#[allow(unreachable_pub)]
mod micro;
pub mod partition;
pub mod phase;
pub mod plan;
pub mod problem;
pub mod reference;
pub mod registry;
pub mod reorder;
pub mod tensor;
pub mod window;

#[cfg(all(kernel_tests, not(test)))]
#[doc(hidden)]
pub use micro::tests as kernel_tests;
pub use micro::{cook_toom, probe, surd};

pub use isa::{Isa, IsaToken, SimdTask};
pub use plan::{Algorithm, Plan, PlanCx, Unsupported};
pub use problem::Problem;
pub use registry::{Registry, Variant, VariantId};
