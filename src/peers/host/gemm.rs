//! Matrix products of Rust crates as backends of im2col and 1x1 convolution on plain NCHW, as a user of those crates
//! would write them.
//!
//! out[k][p] = sum over j of w[k][j] * matrix[j][p]. Bias, residual and ReLU follow in a separate pass. For a 1x1
//! convolution with stride 1 the matrix is the input itself. Otherwise it is materialised in each run, and its time
//! counts. rten supports packed weights and a virtual im2col matrix. It gets both, as in its own convolution.

use super::library::{F32_ONLY, Library, Output, Prepared, Refused};
use anyhow::{Result, bail};
use convroof_kernels::Problem;
use convroof_kernels::plan::f32_conv;
use convroof_kernels::problem::{ConvShape, DTypes};
use convroof_kernels::reference::Operands;
use rten_gemm::{
    ColOffsets, GemmExecutor, GemmInputA, GemmInputB, Im2Col, PackedAMatrix, RowOffsets,
};
use rten_tensor::NdTensorView;

/// Crate that computes the product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    /// The crate `gemm`.
    Gemm,
    /// The crate `matrixmultiply`.
    MatrixMultiply,
    /// The crate `rten-gemm` of rten.
    Rten,
}

struct Gemm {
    backend: Backend,
    threads: usize,
}

/// Opens the library of a backend.
pub(super) fn open(backend: Backend, threads: usize) -> Result<Box<dyn Library>> {
    if backend == Backend::MatrixMultiply && threads > 1 {
        bail!("matrixmultiply runs on one thread: its number of threads can't be set");
    }
    Ok(Box::new(Gemm { backend, threads }))
}

impl Library for Gemm {
    fn hello(&self) -> (String, String, usize) {
        let (name, version) = match self.backend {
            Backend::Gemm => ("gemm", "0.19"),
            Backend::MatrixMultiply => ("matrixmultiply", "0.3"),
            Backend::Rten => ("rten-gemm", "0.27"),
        };
        (name.into(), version.into(), self.threads)
    }

    fn plan(&mut self, problem: &Problem, form: &str) -> Result<Box<dyn Prepared>> {
        if problem.dtypes != DTypes::default() {
            bail!(Refused(F32_ONLY.into()));
        }
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
            packed: Vec::new(),
            matrix: vec![
                0.0;
                if direct || self.backend == Backend::Rten {
                    0
                } else {
                    depth * pixels
                }
            ],
            direct,
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
    /// Packed weights of rten, one matrix for each group.
    packed: Vec<PackedAMatrix<f32>>,
    /// im2col matrix; empty where the input is the matrix, or the matrix is virtual.
    matrix: Vec<f32>,
    /// True if the input is the matrix.
    direct: bool,
    out: Vec<f32>,
}

impl Prepared for PreparedGemm {
    fn implementation(&self) -> String {
        let how = if self.direct { "1x1" } else { "im2col" };
        format!("{how} and a matrix product")
    }

    fn memory(&self) -> (u64, u64) {
        let matrix = size_of_val(&self.matrix[..]);
        (self.problem.weights_bytes(), matrix as u64)
    }

    fn load(&mut self, x: Operands<'_>) -> Result<()> {
        self.src = x.src.to_vec();
        self.residual = x.residual.to_vec();
        if !x.weights.is_empty() {
            self.weights = x.weights.to_vec();
            self.bias = x.bias.to_vec();
            if self.backend == Backend::Rten {
                let rows = self.conv.c_out / self.conv.groups;
                let filters = x.weights.chunks_exact(x.weights.len() / self.conv.groups);
                let pack = |w: &[f32]| {
                    let matrix = NdTensorView::from_data([rows, w.len() / rows], w);
                    GemmExecutor::<f32>::new().prepack_a(matrix)
                };
                self.packed = filters.map(pack).collect();
            }
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
                let out = &mut self.out[n * map + group * per_out * pixels..][..per_out * pixels];
                if let Some(weights) = self.packed.get(group) {
                    rten(&conv, weights, src, self.direct, out)?;
                    continue;
                }
                let matrix = if self.direct {
                    src
                } else {
                    im2col(&conv, src, &mut self.matrix);
                    &self.matrix
                };
                let weights = &self.weights[group * per_out * depth..][..per_out * depth];
                product(self.backend, self.threads, weights, matrix, out, depth);
            }
        }
        self.finish(pixels);
        Ok(())
    }

    fn poison(&mut self) {
        self.out.fill(f32::NAN);
    }

    fn output(&mut self) -> Result<Output> {
        Ok(Output::F32(self.out.clone()))
    }
}

impl PreparedGemm {
    /// Adds bias and residual and applies ReLU.
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

/// Fills matrix[(c, r, s)][(y, x)] for one image's channels, with zeros where a tap is in the padding.
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
        Backend::Rten => unreachable!("its weights are packed"),
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

/// rten's product of packed weights with an image's matrix. Like rten's own convolution, it computes the offset
/// tables in each run.
fn rten(
    conv: &ConvShape,
    weights: &PackedAMatrix<f32>,
    src: &[f32],
    direct: bool,
    out: &mut [f32],
) -> Result<()> {
    let executor = GemmExecutor::<f32>::new();
    let weights = GemmInputA::Packed(weights);
    let pixels = conv.h * conv.w;
    let channels = src.len() / pixels;
    if direct {
        let matrix = NdTensorView::from_data([channels, pixels], src);
        let matrix = GemmInputB::Unpacked(matrix);
        executor.gemm(out, weights, matrix, Default::default())?;
        return Ok(());
    }
    let ([kh, kw], [sh, sw], [dh, dw]) = (conv.kernel, conv.stride, conv.dilation);
    let (h, w) = (conv.h as i32, conv.w as i32);
    let (last_y, last_x) = ((h - 1) * w, w - 1);
    let (n_rows, n_cols) = (channels * kh * kw, conv.h_out() * conv.w_out());

    // Offsets beyond the last one mark padding. The filler at the end of the tables has such offsets, too.
    let rows = n_rows.next_multiple_of(executor.im2col_row_count_step());
    let mut row_offsets = RowOffsets {
        chan: vec![0; rows],
        y: vec![last_y + 1; rows],
        x: vec![last_x + 1; rows],
    };
    for j in 0..n_rows {
        let (c, r, s) = (j / (kh * kw), j / kw % kh, j % kw);
        row_offsets.chan[j] = (c * pixels) as i32;
        row_offsets.y[j] = (r * dh) as i32 * w;
        row_offsets.x[j] = (s * dw) as i32;
    }
    let cols = n_cols.next_multiple_of(executor.im2col_col_count_step());
    let mut col_offsets = ColOffsets {
        y: vec![0; cols],
        x: vec![0; cols],
    };
    for y in 0..conv.h_out() {
        let line = y * conv.w_out()..(y + 1) * conv.w_out();
        col_offsets.y[line.clone()].fill(((y * sh) as i32 - conv.pad.top as i32) * w);
        for (x, offset) in col_offsets.x[line].iter_mut().enumerate() {
            *offset = (x * sw) as i32 - conv.pad.left as i32;
        }
    }
    let matrix = Im2Col {
        image: NdTensorView::from_data([channels, conv.h, conv.w], src),
        row_offsets,
        col_offsets,
        n_cols,
        n_rows,
        max_y_offset: last_y,
        max_x_offset: last_x,
    };
    executor.gemm(
        out,
        weights,
        GemmInputB::Im2Col(&matrix),
        Default::default(),
    )?;
    Ok(())
}
