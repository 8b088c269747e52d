//! convroof: a benchmark suite for SIMD convolution and pooling kernels.
//!
//! The kernels are in [`convroof_kernels`]; this crate measures them and says what bounds each layer.
//! In reading order:
//!
//! * [`networks`]: the layers of interest, as data;
//! * [`machine`]: what this machine is and can do; [`counters`]: what it can count;
//! * [`measure`]: interleaved, verified samples;
//! * [`net`]: whole networks: variants and layouts chosen, memory planned, run and verified;
//! * [`lowrank`]: convolutions as two of lower rank;
//! * [`claims`]: what is claimed of these networks, answered;
//! * `peers` (feature): other people's libraries beside our kernels;
//! * [`process`]: the processes that this takes, and their end; [`scratch`]: folders for their work; [`interrupt`]: Ctrl-C;
//! * [`record`]: everything measured, raw, on disk; [`files`]: how it gets there; [`stats`]: medians and intervals;
//! * [`roofline`]: where a layer stands, and what bounds it;
//! * [`escape`]: text from elsewhere, made safe for where it goes;
//! * [`report`]: terminal, Markdown, HTML; [`regress`]: has something become slower?
//! * [`cli`]: a file a subcommand.

pub mod claims;
pub mod cli;
pub mod counters;
pub mod escape;
pub mod files;
pub mod interrupt;
pub mod lowrank;
pub mod machine;
pub mod measure;
pub mod net;
pub mod networks;
#[cfg(feature = "peers")]
pub mod peers;
pub mod process;
pub mod record;
pub mod regress;
pub mod report;
pub mod roofline;
pub mod scratch;
pub mod stats;
pub mod verdict;
