//! One file an algorithm: a thin loop over what `micro/` computes.

pub mod attention;
pub mod bilinear;
mod blocked;
pub mod concat;
pub mod direct;
pub mod direct_nchw;
pub mod fc;
pub mod gemm_1x1;
pub mod gemm_1x1_nchw;
mod grouped;
pub mod im2col;
pub mod image;
pub mod implicit_gemm;
mod indirect;
pub mod lrn;
pub mod pair;
pub mod pointwise;
pub mod pooling;
mod rows;
pub mod softmax;
mod space_to_depth;
pub mod statistics;
pub mod stem;
pub mod strassen;
pub mod winograd;
