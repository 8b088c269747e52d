//! Convolutions.

use super::axis::{Axis, Pad, ShapeError, check, check_product, check_sizes};
use std::ops::Deref;

/// A requested convolution. It is a cross-correlation, as in CNNs, unless [`ConvSpec::flip`] is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvSpec {
    /// Images.
    pub n: usize,
    /// Input channels.
    pub c_in: usize,
    /// Input rows.
    pub h: usize,
    /// Input columns.
    pub w: usize,
    /// Output channels.
    pub c_out: usize,
    /// Rows and columns of the filter.
    pub kernel: [usize; 2],
    /// Input positions between neighbouring outputs, down and right.
    pub stride: [usize; 2],
    /// Zeros around the input.
    pub pad: Pad,
    /// Input positions between neighbouring taps; 1 is a dense filter.
    pub dilation: [usize; 2],
    /// Number of channel groups. An output channel reads only the input channels of its group.
    pub groups: usize,
    /// True convolution: filters are reversed on both spatial axes.
    pub flip: bool,
}

impl ConvSpec {
    fn axes(&self) -> [Axis; 2] {
        let Pad {
            top,
            left,
            bottom,
            right,
        } = self.pad;
        let axis = |name, i: usize, size, before, after| Axis {
            name,
            size,
            kernel: self.kernel[i],
            stride: self.stride[i],
            dilation: self.dilation[i],
            before,
            after,
        };
        [
            axis("height", 0, self.h, top, bottom),
            axis("width", 1, self.w, left, right),
        ]
    }
}

/// A valid convolution. Trailing padding that no tap reaches is dropped, so that equal operations compare equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    spec: ConvSpec,
    out: [usize; 2],
}

impl TryFrom<ConvSpec> for ConvShape {
    type Error = ShapeError;

    fn try_from(mut spec: ConvSpec) -> Result<Self, ShapeError> {
        check_sizes(&[
            ("batch", spec.n),
            ("input channels", spec.c_in),
            ("height", spec.h),
            ("width", spec.w),
            ("output channels", spec.c_out),
            ("kernel height", spec.kernel[0]),
            ("kernel width", spec.kernel[1]),
            ("vertical stride", spec.stride[0]),
            ("horizontal stride", spec.stride[1]),
            ("vertical dilation", spec.dilation[0]),
            ("horizontal dilation", spec.dilation[1]),
            ("groups", spec.groups),
        ])?;
        let (c_in, c_out, groups) = (spec.c_in, spec.c_out, spec.groups);
        for (name, channels) in [("input", c_in), ("output", c_out)] {
            check(channels.is_multiple_of(groups), || {
                format!("{groups} groups don't divide {channels} {name} channels")
            })?;
        }
        let axes = spec.axes();
        for axis in axes {
            axis.validate()?;
        }
        let out = axes.map(|axis| axis.floor());
        spec.pad.bottom = axes[0].used_after(out[0]);
        spec.pad.right = axes[1].used_after(out[1]);
        let [kh, kw] = spec.kernel;
        // Reversing a single tap changes nothing.
        spec.flip &= [kh, kw] != [1, 1];
        let channels = |c: usize| c.saturating_add(15);
        check_product(
            "input's elements",
            &[spec.n, channels(c_in), spec.h, spec.w],
        )?;
        check_product(
            "output's elements",
            &[spec.n, channels(c_out), out[0], out[1]],
        )?;
        check_product(
            "weights' elements",
            &[channels(c_out), channels(c_in), kh, kw],
        )?;
        let outputs = [spec.n, c_out, out[0], out[1], c_in / groups, kh, kw];
        check_product("number of multiply-accumulates", &outputs)?;
        Ok(ConvShape { spec, out })
    }
}

impl Deref for ConvShape {
    type Target = ConvSpec;
    fn deref(&self) -> &ConvSpec {
        &self.spec
    }
}

impl ConvShape {
    /// The canonical spec.
    pub fn spec(&self) -> &ConvSpec {
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

    /// Input channels that an output reads.
    pub fn c_in_per_group(&self) -> usize {
        self.spec.c_in / self.spec.groups
    }

    /// Output channels of a group.
    pub fn c_out_per_group(&self) -> usize {
        self.spec.c_out / self.spec.groups
    }

    /// Products per output, including those with padding.
    pub fn reduction_len(&self) -> usize {
        self.c_in_per_group() * self.spec.kernel[0] * self.spec.kernel[1]
    }

    /// Multiply-accumulates of the direct definition, including those with padding.
    pub fn macs(&self) -> u64 {
        let outputs = self.spec.n * self.spec.c_out * self.out[0] * self.out[1];
        outputs as u64 * self.reduction_len() as u64
    }
}

pub(super) fn conv_src(conv: &ConvShape) -> [usize; 4] {
    [conv.n, conv.c_in, conv.h, conv.w]
}

pub(super) fn conv_weights(conv: &ConvShape) -> [usize; 4] {
    let [kh, kw] = conv.kernel;
    [conv.c_out, conv.c_in_per_group(), kh, kw]
}

pub(super) fn conv_dst(conv: &ConvShape) -> [usize; 4] {
    [conv.n, conv.c_out, conv.h_out(), conv.w_out()]
}
