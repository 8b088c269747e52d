//! Algorithms, one file each: thin loops over the kernels of `micro/`.
//!
//! In reading order:
//!
//! * [`direct`], [`implicit_gemm`] and [`gemm_1x1`]: convolutions by one register tile. They share two plans:
//!   `indirect.rs` (taps through an indirection buffer) and `blocked.rs` (blocks of pixels). `panels.rs` multiplies a
//!   block with its panels of weights;
//! * [`im2col`], [`gemm_1x1_nchw`], [`image`] and [`fc`]: other layouts, images of few channels, fully connected
//!   layers;
//! * `narrow.rs`: convolutions of bf16 and of bytes, by the same tile; `joined.rs`: their taps; `by_weights.rs`: a choice of
//!   two forms. `form.rs`: the forms in which their
//!   elements are multiplied. `per_channel.rs` packs their bias and factors;
//! * [`winograd`] and [`strassen`]: fewer multiplications;
//! * `grouped.rs`: groups of up to 8 channels, and `narrow_grouped.rs`: those of bf16 and of bytes;
//! * [`direct_nchw`]: the scalar loops of the definition;
//! * [`pooling`], [`attention`], [`bilinear`];
//! * [`pointwise`], [`statistics`], [`softmax`], [`lrn`], [`concat`](mod@concat) and [`convert`]: layers between
//!   convolutions. `pointwise_narrow.rs` has those of bf16 and of bytes;
//! * [`stem`] and [`pair`]: two fused layers, by the strips of `rows.rs`.

pub mod attention;
pub mod bilinear;
mod blocked;
mod by_weights;
pub mod concat;
pub mod convert;
pub mod direct;
pub mod direct_nchw;
pub mod fc;
mod form;
pub mod gemm_1x1;
pub mod gemm_1x1_nchw;
mod grouped;
pub mod im2col;
pub mod image;
pub mod implicit_gemm;
mod indirect;
mod joined;
pub mod lrn;
mod narrow;
mod narrow_grouped;
pub mod pair;
mod panels;
mod per_channel;
pub mod pointwise;
mod pointwise_narrow;
pub mod pooling;
mod rows;
pub mod softmax;
pub mod statistics;
pub mod stem;
pub mod strassen;
pub mod winograd;
