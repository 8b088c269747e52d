//! One layer as data: validated, printable, parseable.
//!
//! A *spec* is what someone asks for; a *shape* is a spec found valid, with its output size. Shapes
//! are canonical: two that mean the same operation are equal, and [`Problem`]'s text form parses back
//! to the same value.

mod text;

pub use text::ParseError;

use std::fmt;
use std::ops::Deref;

/// Element types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// IEEE single precision.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
    /// Signed bytes.
    S8,
    /// Unsigned bytes.
    U8,
    /// 32-bit integers.
    S32,
}

impl DType {
    const ALL: [DType; 5] = [DType::F32, DType::Bf16, DType::S8, DType::U8, DType::S32];

    /// Bytes of an element.
    pub const fn size(self) -> usize {
        match self {
            DType::F32 | DType::S32 => 4,
            DType::Bf16 => 2,
            DType::S8 | DType::U8 => 1,
        }
    }

    /// benchdnn's name.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::S8 => "s8",
            DType::U8 => "u8",
            DType::S32 => "s32",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The element types of a problem's operands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DTypes {
    /// Of the source.
    pub src: DType,
    /// Of the weights.
    pub weights: DType,
    /// Of the destination.
    pub dst: DType,
}

/// Rows and columns of zeros (of nothing, for poolings) around the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pad {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Pad {
    /// The same on all sides.
    pub const fn uniform(pad: usize) -> Self {
        Pad {
            top: pad,
            left: pad,
            bottom: pad,
            right: pad,
        }
    }
}

/// Why a shape is impossible, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(String);

/// The largest tensor, in elements, and the largest count of multiply-accumulates: far beyond any
/// layer, and no product of sizes overflows below it.
const LIMIT: u128 = 1 << 48;

fn check(fine: bool, error: impl FnOnce() -> String) -> Result<(), ShapeError> {
    if fine {
        Ok(())
    } else {
        Err(ShapeError(error()))
    }
}

fn check_sizes(names: &[(&str, usize)]) -> Result<(), ShapeError> {
    for (name, size) in names {
        check(*size >= 1, || format!("{name} is 0: it must be at least 1"))?;
        check(*size < 1 << 31, || {
            format!("{name} is {size}: it must be below 2^31")
        })?;
    }
    Ok(())
}

fn check_product(what: &str, factors: &[usize]) -> Result<(), ShapeError> {
    let mut product: u128 = 1;
    for &factor in factors {
        product = product.saturating_mul(factor as u128);
    }
    check(product < LIMIT, || {
        format!("the {what} would be {product}: it must be below 2^48")
    })
}

/// One axis of a sliding window.
#[derive(Clone, Copy)]
struct Axis {
    name: &'static str,
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    after: usize,
}

impl Axis {
    /// Input positions from a window's first tap to its last, both counted.
    fn extent(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    fn validate(&self) -> Result<(), ShapeError> {
        let Axis {
            name,
            size,
            before,
            after,
            ..
        } = *self;
        let pads = [("padding before", before), ("padding after", after)];
        for (side, pad) in pads {
            check(pad < 1 << 31, || {
                format!("{side} the {name} is {pad}: it must be below 2^31")
            })?;
        }
        let extent = (self.kernel as u128 - 1) * self.dilation as u128 + 1;
        let padded = size as u128 + before as u128 + after as u128;
        check(extent <= padded, || {
            format!(
                "the kernel spans {extent} in {name}, more than the padded input's {padded}: use a smaller kernel or dilation, or more padding"
            )
        })
    }

    /// Windows that fit wholly into the padded input.
    fn floor(&self) -> usize {
        (self.size + self.before + self.after - self.extent()) / self.stride + 1
    }

    /// And one more where some of the input would be left over.
    fn ceil(&self) -> usize {
        (self.size + self.before + self.after - self.extent()).div_ceil(self.stride) + 1
    }

    /// Trailing padding that `out` windows reach into.
    fn used_after(&self, out: usize) -> usize {
        ((out - 1) * self.stride + self.extent()).saturating_sub(self.size + self.before)
    }
}

/// A convolution as someone asks for it: cross-correlation, as in all CNNs.
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
    /// Steps from an output to the next, down and right.
    pub stride: [usize; 2],
    /// Zeros around the input.
    pub pad: Pad,
    /// Steps from a tap to the next; 1 is a dense filter.
    pub dilation: [usize; 2],
    /// Groups of channels that don't see each other.
    pub groups: usize,
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

/// A valid convolution. Trailing padding that no tap reaches is dropped, so that equal operations
/// compare equal.
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

    /// Input channels that an output sees.
    pub fn c_in_per_group(&self) -> usize {
        self.spec.c_in / self.spec.groups
    }

    /// Output channels of a group.
    pub fn c_out_per_group(&self) -> usize {
        self.spec.c_out / self.spec.groups
    }

    /// Products that an output sums up, padding counted.
    pub fn reduction_len(&self) -> usize {
        self.c_in_per_group() * self.spec.kernel[0] * self.spec.kernel[1]
    }

    /// Multiply-accumulates of the definition, padding counted.
    pub fn macs(&self) -> u64 {
        let outputs = self.spec.n * self.spec.c_out * self.out[0] * self.out[1];
        outputs as u64 * self.reduction_len() as u64
    }
}

/// What a pooling makes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolKind {
    /// The largest element; padding never wins.
    Max,
    /// The sum over the number of elements, those in the padding counted (as zeros).
    AvgIncludePad,
    /// The sum over the number of elements inside the input.
    AvgExcludePad,
}

/// A pooling as someone asks for it.
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
    /// Steps from a window to the next, down and right.
    pub stride: [usize; 2],
    /// Padding around the input.
    pub pad: Pad,
    /// Steps from an element of the window to the next; 1 is dense.
    pub dilation: [usize; 2],
    /// What is made of a window.
    pub kind: PoolKind,
    /// Round the output size up: a last window may overhang the padding, if it starts inside the
    /// input or its leading padding (Caffe, PyTorch).
    pub ceil: bool,
}

/// A valid pooling. `pad` is what the windows really reach into, ceil mode's overhang included.
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
        // The axes are those of a convolution.
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
            // Only the mean over padding tells overhang from padding.
            if spec.kind == PoolKind::AvgIncludePad {
                overhang[i] = reached.saturating_sub(axis.after);
            }
            *[&mut spec.pad.bottom, &mut spec.pad.right][i] = reached;
            // Every window has an element inside the input: the first and the last are the extremes.
            for first in [0, (out[i] - 1) * axis.stride] {
                let inside = (0..axis.kernel).any(|k| {
                    let at = first + k * axis.dilation;
                    at >= axis.before && at < axis.before + axis.size
                });
                check(inside, || {
                    format!(
                        "a window lies wholly in the padding of the {}: use less padding or a larger window",
                        axis.name
                    )
                })?;
            }
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

    /// Rows and columns of trailing padding that come from ceil mode and don't count in the divisor
    /// of [`PoolKind::AvgIncludePad`] (PyTorch's rule); zeros for other kinds.
    pub fn overhang(&self) -> [usize; 2] {
        self.overhang
    }
}

/// What is done to an output before it is stored: `relu(x + bias + residual)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epilogue {
    /// Add one value for each output channel.
    pub bias: bool,
    /// Clamp below at zero.
    pub relu: bool,
    /// Add a tensor like the output.
    pub residual: bool,
}

/// An operation with its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// A convolution.
    Conv(ConvShape),
    /// A pooling.
    Pool(PoolShape),
}

/// One layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// What is computed.
    pub op: Op,
    /// On what types.
    pub dtypes: DTypes,
    /// And what is done to the result.
    pub epilogue: Epilogue,
}

impl From<ConvShape> for Problem {
    fn from(conv: ConvShape) -> Self {
        Problem {
            op: Op::Conv(conv),
            dtypes: DTypes::default(),
            epilogue: Epilogue::default(),
        }
    }
}

impl From<PoolShape> for Problem {
    fn from(pool: PoolShape) -> Self {
        Problem {
            op: Op::Pool(pool),
            dtypes: DTypes::default(),
            epilogue: Epilogue::default(),
        }
    }
}

impl Problem {
    /// The same layer on another number of images.
    ///
    /// # Errors
    /// When that is none, or too many.
    pub fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        let op = match self.op {
            Op::Conv(conv) => Op::Conv(ConvSpec { n, ..*conv.spec() }.try_into()?),
            Op::Pool(pool) => {
                let [over_h, over_w] = pool.overhang;
                let PoolShape {
                    spec,
                    out,
                    overhang,
                } = PoolSpec { n, ..*pool.spec() }.try_into()?;
                debug_assert_eq!((overhang, out), ([0, 0], pool.out));
                Op::Pool(PoolShape {
                    spec,
                    out,
                    overhang: [over_h, over_w],
                })
            }
        };
        Ok(Problem { op, ..self })
    }

    /// n, c, h, w of the source.
    pub fn src_dims(&self) -> [usize; 4] {
        match &self.op {
            Op::Conv(conv) => [conv.n, conv.c_in, conv.h, conv.w],
            Op::Pool(pool) => [pool.n, pool.c, pool.h, pool.w],
        }
    }

    /// c_out, c_in / groups, kh, kw of the weights; none for a pooling.
    pub fn weights_dims(&self) -> Option<[usize; 4]> {
        match &self.op {
            Op::Conv(conv) => Some([
                conv.c_out,
                conv.c_in_per_group(),
                conv.kernel[0],
                conv.kernel[1],
            ]),
            Op::Pool(_) => None,
        }
    }

    /// n, c, h, w of the destination.
    pub fn dst_dims(&self) -> [usize; 4] {
        match &self.op {
            Op::Conv(conv) => [conv.n, conv.c_out, conv.h_out(), conv.w_out()],
            Op::Pool(pool) => [pool.n, pool.c, pool.h_out(), pool.w_out()],
        }
    }
}

#[cfg(test)]
mod tests;
