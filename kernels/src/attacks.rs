//! Code that must not compile in another crate, because it would reach undefined behaviour without `unsafe`. Each
//! example is compiled as a crate of its own, and must fail with the error of its fence. Attacks that compile, and
//! panic with a message when they run, are in `tests/all/attacks.rs`.
//!
//! Loops over memory that rely on their callers (`micro`) are private, such as Winograd's input transform:
//!
//! ```compile_fail,E0603
//! use convroof_kernels::micro::winograd::InputTransform;
//! ```
//!
//! So is the register tile, whose `block_stride` could step outside of its input:
//!
//! ```compile_fail,E0603
//! use convroof_kernels::micro::gemm::PanelTimesPixels;
//! ```
//!
//! So are rows, tiles and windows, whose sizes could wrap:
//!
//! ```compile_fail,E0603
//! use convroof_kernels::micro::{grouped, matvec, pixels, strassen, transpose, windows};
//! ```
//!
//! A foreign instruction set, which might state a wrong number of lanes:
//!
//! ```compile_fail,E0277
//! use convroof_kernels::arch::KernelSimd;
//!
//! #[derive(Clone, Copy, Debug)]
//! struct Liar;
//!
//! impl KernelSimd for Liar {
//!     const F32_LANES: usize = 1 << 20;
//! }
//! ```
//!
//! A proof of an instruction set that this CPU may not have:
//!
//! ```compile_fail,E0451
//! use convroof_kernels::{Isa, IsaToken};
//!
//! let best = Isa::best();
//! let forged = IsaToken { ablation: None, ..best };
//! ```
//!
//! A descriptor whose size was never checked:
//!
//! ```compile_fail,E0451
//! use convroof_kernels::tensor::{Layout, TensorDesc};
//!
//! let desc = TensorDesc::f32(Layout::Nchw, [1, 1, 1, 1]);
//! let wraps = TensorDesc { dims: [1, (1 << 60) + 1, 4, 4], ..desc };
//! ```
//!
//! A tensor that is larger than its memory:
//!
//! ```compile_fail,E0451
//! use convroof_kernels::tensor::{Layout, TensorDesc, TensorRef};
//!
//! let desc = TensorDesc::f32(Layout::Nchw, [1, 1, 1, 1]);
//! let other = TensorDesc::f32(Layout::Nchw, [1, 1, 1 << 20, 1]);
//! let x = TensorRef::from_f32s(desc, &[0.0]);
//! let larger = TensorRef { desc: other, ..x };
//! ```
//!
//! Rows of a task that another task owns, too:
//!
//! ```compile_fail,E0451
//! use convroof_kernels::exec::RowsMut;
//!
//! let mut data = [0.0; 16];
//! let longer = RowsMut { rows: 2, ..RowsMut::new(&mut data, 16) };
//! ```
//!
//! An executor without the promise that it keeps tasks and workers apart:
//!
//! ```compile_fail,E0200
//! use convroof_kernels::exec::{Executor, Turn};
//!
//! struct Twice;
//!
//! impl Executor for Twice {
//!     fn width(&self) -> usize {
//!         1
//!     }
//!     fn run(&self, tasks: usize, f: &(dyn Fn(Turn) + Sync)) {}
//! }
//! ```
