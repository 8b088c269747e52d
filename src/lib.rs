//! convroof: a benchmark suite for SIMD convolution and pooling kernels.
//!
//! The kernels are in [`convroof_kernels`]. This crate measures them and states which ceiling bounds each layer.
//! In reading order:
//!
//! * [`networks`]: the layers of interest, as data; [`batch_files`]: more of them, from files;
//! * [`machine`]: this machine's cores, caches and ceilings; [`counters`]: its hardware counters;
//! * [`measure`]: interleaved, verified samples; [`check`]: outputs against the reference, without a clock;
//! * [`net`]: whole networks: selection of variants and layouts, memory planning, execution, verification;
//! * [`lowrank`]: convolutions as two of lower rank;
//! * [`claims`]: claims about these networks, and their answers;
//! * `peers` (feature): other libraries, measured beside our kernels;
//! * [`process`]: child processes and their end; [`scratch`]: temporary folders; [`interrupt`]: Ctrl-C;
//! * [`record`]: raw measurements on disk; [`files`]: atomic writes; [`npy`]: NumPy arrays; [`stats`]: medians and
//!   intervals; [`ties`]: choice among equally fast candidates;
//! * [`noise`]: how much a run was disturbed;
//! * [`roofline`]: a layer's position in the roofline, and its bound;
//! * [`escape`]: untrusted text, escaped for its destination; [`units`]: quantities as text; [`patterns`]: globs;
//! * [`report`]: terminal, Markdown, HTML; [`fleet`]: pages about many records; [`regress`]: detection of slowdowns;
//! * [`code`]: functions and loops of a program; [`profile`]: those that take a kernel's time;
//! * [`cli`]: one file per subcommand; [`progress`]: what sessions report to it.

pub mod batch_files;
pub mod check;
pub mod claims;
pub mod cli;
pub mod code;
pub mod counters;
pub mod escape;
pub mod files;
pub mod fleet;
pub mod interrupt;
pub mod lowrank;
pub mod machine;
pub mod measure;
pub mod net;
pub mod networks;
pub mod noise;
pub mod npy;
pub mod patterns;
#[cfg(feature = "peers")]
pub mod peers;
pub mod process;
pub mod profile;
pub mod progress;
pub mod record;
pub mod regress;
pub mod report;
pub mod roofline;
pub mod scratch;
pub mod stats;
pub mod ties;
pub mod units;
pub mod verdict;
