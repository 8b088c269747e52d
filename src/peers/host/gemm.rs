//! Matrix products of the Rust world as backends of im2col and 1x1 convolution on plain NCHW, as a
//! user of those crates would write them: out[k][p] = sum over j of w[k][j] * matrix[j][p], then bias,
//! residual and ReLU in a pass of their own. The matrix is the input itself for a 1x1 convolution of
//! stride 1; otherwise it is materialised in each run, and that is timed.

use super::{Library, Prepared, Refused};
use anyhow::{Result, bail};
use convroof_kernels::Problem;
use convroof_kernels::plan::f32_conv;
use convroof_kernels::problem::ConvShape;
use convroof_kernels::reference::Operands;

/// Whose product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    /// The crate `gemm`.
    Gemm,
    /// The crate `matrixmultiply`.
    MatrixMultiply,
}

struct Gemm {
    backend: Backend,
    threads: usize,
}

/// A library of one function.
pub(super) fn open(backend: Backend, threads: usize) -> Result<Box<dyn Library>> {
    if backend == Backend::MatrixMultiply && threads > 1 {
        bail!("matrixmultiply is measured on one thread: it can't be told how many to use");
    }
    Ok(Box::new(Gemm { backend, threads }))
}

impl Library for Gemm {
    fn hello(&self) -> (String, String, usize) {
        let (name, version) = match self.backend {
            Backend::Gemm => ("gemm", "0.19"),
            Backend::MatrixMultiply => ("matrixmultiply", "0.3"),
        };
        (name.into(), version.into(), self.threads)
    }

    fn plan(&mut self, problem: &Problem, form: &str) -> Result<Box<dyn Prepared>> {
        let conv = *f32_conv(problem).map_err(|e| Refused(e.to_string()))?;
        if form != "nchw" {
            bail!(Refused(format!("no form '{form}'")));
        }
        let direct =
            conv.kernel == [1, 1] && conv.stride == [1, 1] && conv.pad == Default::default();
        let pixels = conv.h_out() * conv.w_out();
        let depth = conv.c_in / conv.groups * conv.kernel[0] * conv.kernel[1];
        Ok(Box::new(PreparedGemm {
            problem: *problem,
            conv,
            backend: self.backend,
            threads: self.threads,
            src: Vec::new(),
            weights: Vec::new(),
            bias: Vec::new(),
            residual: Vec::new(),
            matrix: vec![0.0; if direct { 0 } else { depth * pixels }],
            out: vec![0.0; conv.n * conv.c_out * pixels],
        }))
    }
}

struct PreparedGemm {
    problem: Problem,
    conv: ConvShape,
    backend: Backend,
    threads: usize,
    src: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
    /// Empty where the input is the matrix.
    matrix: Vec<f32>,
    out: Vec<f32>,
}

impl Prepared for PreparedGemm {
    fn implementation(&self) -> String {
        let how = if self.matrix.is_empty() {
            "1x1"
        } else {
            "im2col"
        };
        format!("{how} and a matrix product")
    }

    fn memory(&self) -> (u64, u64) {
        let [k, c, kh, kw] = self.problem.weights_dims().unwrap_or_default();
        ((k * c * kh * kw * 4) as u64, (self.matrix.len() * 4) as u64)
    }

    fn load(&mut self, x: Operands<'_>) -> Result<()> {
        self.src = x.src.to_vec();
        self.residual = x.residual.to_vec();
        if !x.weights.is_empty() {
            self.weights = x.weights.to_vec();
            self.bias = x.bias.to_vec();
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let conv = self.conv;
        let (per_in, per_out) = (conv.c_in / conv.groups, conv.c_out / conv.groups);
        let pixels = conv.h_out() * conv.w_out();
        let depth = per_in * conv.kernel[0] * conv.kernel[1];
        let (image, map) = (conv.c_in * conv.h * conv.w, conv.c_out * pixels);
        for n in 0..conv.n {
            for group in 0..conv.groups {
                let src = &self.src[n * image + group * per_in * conv.h * conv.w..]
                    [..per_in * conv.h * conv.w];
                let matrix = if self.matrix.is_empty() {
                    src
                } else {
                    im2col(&conv, src, &mut self.matrix);
                    &self.matrix
                };
                let weights = &self.weights[group * per_out * depth..][..per_out * depth];
                let out = &mut self.out[n * map + group * per_out * pixels..][..per_out * pixels];
                product(self.backend, self.threads, weights, matrix, out, depth);
            }
        }
        self.finish(pixels);
        Ok(())
    }

    fn poison(&mut self) {
        self.out.fill(f32::NAN);
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        Ok(self.out.clone())
    }
}

impl PreparedGemm {
    /// Bias, residual, ReLU.
    fn finish(&mut self, pixels: usize) {
        let epilogue = self.problem.epilogue;
        if epilogue.bias {
            for (row, plane) in self.out.chunks_exact_mut(pixels).enumerate() {
                let bias = self.bias[row % self.conv.c_out];
                plane.iter_mut().for_each(|y| *y += bias);
            }
        }
        if epilogue.residual {
            let pairs = self.out.iter_mut().zip(&self.residual);
            pairs.for_each(|(y, r)| *y += r);
        }
        if epilogue.relu {
            self.out.iter_mut().for_each(|y| *y = y.max(0.0));
        }
    }
}

/// matrix[(c, r, s)][(y, x)] of one image's channels, zeros where a tap is in the padding.
fn im2col(conv: &ConvShape, src: &[f32], matrix: &mut [f32]) {
    let ([kh, kw], [sh, sw], [dh, dw]) = (conv.kernel, conv.stride, conv.dilation);
    let (h_out, w_out) = (conv.h_out(), conv.w_out());
    for (j, row) in matrix.chunks_exact_mut(h_out * w_out).enumerate() {
        let (c, r, s) = (j / (kh * kw), j / kw % kh, j % kw);
        let plane = &src[c * conv.h * conv.w..][..conv.h * conv.w];
        for (y, line) in row.chunks_exact_mut(w_out).enumerate() {
            let iy = (y * sh + r * dh).wrapping_sub(conv.pad.top);
            if iy >= conv.h {
                line.fill(0.0);
                continue;
            }
            let from = &plane[iy * conv.w..][..conv.w];
            for (x, to) in line.iter_mut().enumerate() {
                let ix = (x * sw + s * dw).wrapping_sub(conv.pad.left);
                *to = from.get(ix).copied().unwrap_or(0.0);
            }
        }
    }
}

/// out = weights (m x depth) * matrix (depth x n), all row-major.
#[allow(unsafe_code)]
fn product(
    backend: Backend,
    threads: usize,
    weights: &[f32],
    matrix: &[f32],
    out: &mut [f32],
    depth: usize,
) {
    let (m, n) = (weights.len() / depth, matrix.len() / depth);
    assert_eq!(
        (weights.len(), matrix.len(), out.len()),
        (m * depth, depth * n, m * n)
    );
    let (k_stride, n_stride) = (depth as isize, n as isize);
    match backend {
        // SAFETY: the lengths of the three row-major matrices were just checked, and `out` is
        // borrowed exclusively.
        Backend::Gemm => unsafe {
            gemm::gemm(
                m,
                n,
                depth,
                out.as_mut_ptr(),
                1,
                n_stride,
                false,
                weights.as_ptr(),
                1,
                k_stride,
                matrix.as_ptr(),
                1,
                n_stride,
                0.0,
                1.0,
                false,
                false,
                false,
                if threads == 1 {
                    gemm::Parallelism::None
                } else {
                    gemm::Parallelism::Rayon(threads)
                },
            );
        },
        // SAFETY: as above.
        Backend::MatrixMultiply => unsafe {
            matrixmultiply::sgemm(
                m,
                depth,
                n,
                1.0,
                weights.as_ptr(),
                k_stride,
                1,
                matrix.as_ptr(),
                n_stride,
                1,
                0.0,
                out.as_mut_ptr(),
                n_stride,
                1,
            );
        },
    }
}
