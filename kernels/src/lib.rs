//! SIMD convolution and pooling kernels.
