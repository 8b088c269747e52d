//! Poolings.

use super::axis::{Axis, Pad, ShapeError, check, check_product, check_sizes};
use std::ops::Deref;

/// Reduction of a window to an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolKind {
    /// Largest element. Padding never wins.
    Max,
    /// Sum / number of elements, including those in the padding (as zeros).
    AvgIncludePad,
    /// Sum / number of elements inside the input.
    AvgExcludePad,
    /// (sum |x|^p)^(1/p) over the elements inside the input, as in ONNX's LpPool. p = 2 is L2 pooling. For large p,
    /// |x|^p may overflow or underflow in f32: |x| up to 1e4 is safe up to p = 9.
    Lp {
        /// Exponent from 1 to [`PoolKind::MAX_P`].
        p: u32,
        /// Divides the sum by the number of elements inside the input. For p = 2 that is the root mean square, between
        /// average and maximum of |x|.
        mean: bool,
    },
    /// Largest |x|: the limit of [`PoolKind::Lp`].
    LInf,
    /// sum a^2 / sum a over the elements inside the input with a = max(x, 0); 0 if all a are 0. This is stochastic
    /// pooling at inference (Zeiler and Fergus 2013), which is defined on outputs of a ReLU.
    Stochastic,
    /// Stochastic pooling in training: draws one element inside the input with probability a / sum a, a = max(x, 0). If
    /// all a are 0, the output is 0, and the index is that of the window's first element inside the input.
    ///
    /// The draw is part of the definition, in f32. Let s_k be the running sums of a in row-major order, and u =
    /// [`uniform`](crate::data::uniform)`(seed, i)` for the i-th output in NCHW order. The drawn element is the last
    /// with a_k > 0 and s_(k-1) <= u s. So it depends on neither layout nor threads.
    Draw {
        /// Seed of the generator.
        seed: u64,
        /// Outputs the element's index in its map, row * width + column, in place of its value.
        index: bool,
    },
}

impl PoolKind {
    /// Largest p of [`PoolKind::Lp`].
    pub const MAX_P: u32 = 64;
    /// Largest map, in elements, for indices of [`PoolKind::Draw`]: f32 represents all integers up to it.
    const MAX_INDEX: usize = 1 << 24;
}

/// A requested pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolSpec {
    /// Images.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Input rows.
    pub h: usize,
    /// Input columns.
    pub w: usize,
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Input positions between neighbouring windows, down and right.
    pub stride: [usize; 2],
    /// Padding around the input.
    pub pad: Pad,
    /// Input positions between neighbouring elements of the window; 1 is dense.
    pub dilation: [usize; 2],
    /// Reduction of a window.
    pub kind: PoolKind,
    /// Rounds the output size up. A last window may overhang the padding if it starts inside the input or its leading
    /// padding (Caffe, PyTorch).
    pub ceil: bool,
}

/// A valid pooling. Its `pad` is the padding that windows reach, including ceil mode's overhang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    spec: PoolSpec,
    out: [usize; 2],
    overhang: [usize; 2],
}

impl TryFrom<PoolSpec> for PoolShape {
    type Error = ShapeError;

    fn try_from(mut spec: PoolSpec) -> Result<Self, ShapeError> {
        check_sizes(&[
            ("batch", spec.n),
            ("channels", spec.c),
            ("height", spec.h),
            ("width", spec.w),
            ("window height", spec.kernel[0]),
            ("window width", spec.kernel[1]),
            ("vertical stride", spec.stride[0]),
            ("horizontal stride", spec.stride[1]),
            ("vertical dilation", spec.dilation[0]),
            ("horizontal dilation", spec.dilation[1]),
        ])?;
        if let PoolKind::Lp { p, .. } = spec.kind {
            check((1..=PoolKind::MAX_P).contains(&p), || {
                format!("p is {p}: it must be from 1 to {}", PoolKind::MAX_P)
            })?;
        }
        if let PoolKind::Draw { index: true, .. } = spec.kind {
            check(spec.h.saturating_mul(spec.w) <= PoolKind::MAX_INDEX, || {
                let [h, w] = [spec.h, spec.w];
                format!(
                    "an index in a map of {h}x{w} isn't exact in f32: use one of up to 2^24 elements"
                )
            })?;
        }
        // Same axes as a convolution.
        let Pad {
            top,
            left,
            bottom,
            right,
        } = spec.pad;
        let axis = |name, i: usize, size, before, after| Axis {
            name,
            size,
            kernel: spec.kernel[i],
            stride: spec.stride[i],
            dilation: spec.dilation[i],
            before,
            after,
        };
        let axes = [
            axis("height", 0, spec.h, top, bottom),
            axis("width", 1, spec.w, left, right),
        ];
        let (mut out, mut overhang) = ([0; 2], [0; 2]);
        for (i, axis) in axes.into_iter().enumerate() {
            axis.validate()?;
            out[i] = axis.floor();
            if spec.ceil && axis.ceil() > out[i] && out[i] * axis.stride < axis.size + axis.before {
                out[i] += 1;
            }
            let reached = axis.used_after(out[i]);
            // Only `AvgIncludePad` distinguishes overhang from padding.
            if spec.kind == PoolKind::AvgIncludePad {
                overhang[i] = reached.saturating_sub(axis.after);
            }
            *[&mut spec.pad.bottom, &mut spec.pad.right][i] = reached;
            axis.check_windows(out[i])?;
        }
        spec.ceil = false;
        let channels = spec.c.saturating_add(15);
        check_product("input's elements", &[spec.n, channels, spec.h, spec.w])?;
        check_product("output's elements", &[spec.n, channels, out[0], out[1]])?;
        let [kh, kw] = spec.kernel;
        check_product(
            "number of operations",
            &[spec.n, spec.c, out[0], out[1], kh, kw],
        )?;
        Ok(PoolShape {
            spec,
            out,
            overhang,
        })
    }
}

impl Deref for PoolShape {
    type Target = PoolSpec;
    fn deref(&self) -> &PoolSpec {
        &self.spec
    }
}

impl PoolShape {
    /// The canonical spec: effective padding, floor mode.
    pub fn spec(&self) -> &PoolSpec {
        &self.spec
    }

    /// Output rows.
    pub fn h_out(&self) -> usize {
        self.out[0]
    }

    /// Output columns.
    pub fn w_out(&self) -> usize {
        self.out[1]
    }

    /// Rows and columns of trailing padding that come from ceil mode. They don't count in the divisor of
    /// [`PoolKind::AvgIncludePad`] (PyTorch's rule); 0 for other kinds.
    pub fn overhang(&self) -> [usize; 2] {
        self.overhang
    }

    /// Copy that treats so many rows and columns of the trailing padding as overhang.
    pub(super) fn with_overhang(self, overhang: [usize; 2]) -> Result<Self, ShapeError> {
        let [rows, columns] = overhang;
        let fits = rows <= self.spec.pad.bottom && columns <= self.spec.pad.right;
        let fine = overhang == [0, 0] || (self.spec.kind == PoolKind::AvgIncludePad && fits);
        check(fine, || {
            format!(
                "an overhang of {rows}x{columns} needs --alg=avg_p and as much trailing padding"
            )
        })?;
        Ok(PoolShape { overhang, ..self })
    }

    /// Copy with another number of images.
    pub(super) fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        // The spec alone doesn't tell overhang from padding.
        PoolShape::try_from(PoolSpec { n, ..self.spec })?.with_overhang(self.overhang)
    }
}

pub(super) fn pool_src(pool: &PoolShape) -> [usize; 4] {
    [pool.n, pool.c, pool.h, pool.w]
}

pub(super) fn pool_dst(pool: &PoolShape) -> [usize; 4] {
    [pool.n, pool.c, pool.h_out(), pool.w_out()]
}
