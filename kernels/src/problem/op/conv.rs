//! Convolutions, and fully connected layers.

use crate::dtype::DType;
use crate::exec::Executor;
use crate::problem::attributes::{Attributes, Epilogue};
use crate::problem::axis::{Axis, Pad, ShapeError, check, check_product, check_sizes};
use crate::problem::descriptor::{Fields, write_windows};
use crate::problem::naive::{by_maps, tap};
use crate::problem::operation::{Names, Operands, Operation, Rounding};
use crate::problem::syntax::{Driver, Input, Named, Wrong};
use crate::window::Window;
use std::fmt;
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
        Axis::pair(
            [self.h, self.w],
            self.kernel,
            self.stride,
            self.dilation,
            self.pad,
        )
    }
}

/// A valid convolution. Trailing padding that no tap reaches is dropped, so that equal operations compare equal. Weights
/// are c_out, c_in / groups, kh, kw.
///
/// A tap in the padding contributes 0 if its weight is finite. An infinite or NaN weight affects only outputs of its own
/// output channel. Each output that multiplies it becomes NaN or infinite. Outputs whose tap lies in the padding may
/// become NaN: some kernels multiply by the padding's zeros, others skip them. Winograd's transforms spread it to all
/// outputs of the channel.
///
/// A non-finite input affects the outputs that read it. Winograd spreads it to all outputs of the tiles that read it. Grouped
/// convolutions may spread it to neighbouring columns and groups, whose weights in their word or panel are 0.
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

    /// Vertical and horizontal axis of the filter's positions.
    pub fn windows(&self) -> [Window; 2] {
        let [down, across] = self.spec.axes();
        [down.windows(self.out[0]), across.windows(self.out[1])]
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

    /// Elements of the weights.
    pub fn weights(&self) -> usize {
        self.spec.c_out * self.reduction_len()
    }

    /// Bound of the sums of integer sources and s8 weights: of the x w and of the (x - zero) w, and of parts of these sums.
    /// A kernel that adds in 32 bits needs it to be below 2^31. ([`int8_conv`](crate::plan::int8_conv) checks that.)
    pub fn largest_sum(&self, src: DType, zero: i32) -> u64 {
        let [least, most] = src.limits().unwrap_or_default().map(|x| x as i64);
        let zero = i64::from(zero);
        let inputs = [least, most, least - zero, most - zero].map(i64::unsigned_abs);
        let largest = inputs.into_iter().fold(0, u64::max);
        // Fewer than 2^48 products of at most 2^9 and 2^7, if the source is bytes.
        let products = largest.saturating_mul(128);
        products.saturating_mul(self.reduction_len() as u64)
    }

    /// Multiply-accumulates of the direct definition, including those with padding.
    pub fn macs(&self) -> u64 {
        let outputs = self.spec.n * self.spec.c_out * self.out[0] * self.out[1];
        outputs as u64 * self.reduction_len() as u64
    }
}

impl Operation for ConvShape {
    fn names() -> Names {
        Names {
            one: "a convolution",
            many: "convolutions",
        }
    }

    fn takes_epilogue() -> bool {
        true
    }

    fn check_types(&self, attributes: &Attributes) -> Result<(), String> {
        attributes.check_products()
    }

    fn with_batch(&self, n: usize) -> Result<Self, ShapeError> {
        ConvSpec { n, ..self.spec }.try_into()
    }

    fn src_dims(&self) -> [usize; 4] {
        [self.n, self.c_in, self.h, self.w]
    }

    fn dst_dims(&self) -> [usize; 4] {
        [self.n, self.c_out, self.h_out(), self.w_out()]
    }

    fn weights_dims(&self) -> Option<[usize; 4]> {
        let [kh, kw] = self.kernel;
        Some([self.c_out, self.c_in_per_group(), kh, kw])
    }

    fn windows(&self) -> Option<[Window; 2]> {
        Some(self.windows())
    }

    fn flops(&self, _: Epilogue) -> u64 {
        2 * self.macs()
    }

    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64> {
        let (windows, w) = (self.windows(), self.w_out());
        let zero = f64::from(attributes.quantisation.src.zero);
        by_maps(
            self.dst_dims(),
            attributes,
            x,
            exec,
            |image, channel, map| {
                let mut taps = Vec::new();
                for (i, y) in map.iter_mut().enumerate() {
                    taps_of(self, &windows, [i / w, i % w], &mut taps);
                    *y = pixel(self, x, zero, [image, channel], &taps);
                }
            },
        )
    }

    fn rounding(&self, magnitude: f64, _: f64) -> Rounding {
        Rounding::new(self.reduction_len(), magnitude)
    }

    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result {
        let flip = if self.flip { "--flip " } else { "" };
        write!(f, "{flip}{attributes}")?;
        if self.groups != 1 {
            write!(f, "g{}", self.groups)?;
        }
        let channels = [self.n, self.c_in];
        write_windows(f, channels, Some(self.c_out), &self.windows())
    }
}

/// Lists the taps of an output that lie in the map: the position in the map, and that in the filter of an input channel. For a
/// true convolution the weights are reversed. The taps are those of each input channel.
fn taps_of(
    conv: &ConvShape,
    [rows, columns]: &[Window; 2],
    [oy, ox]: [usize; 2],
    taps: &mut Vec<[usize; 2]>,
) {
    taps.clear();
    let [kh, kw] = conv.kernel;
    for r in 0..kh {
        let Some(iy) = tap(rows, oy, r) else { continue };
        for s in 0..kw {
            let Some(ix) = tap(columns, ox, s) else {
                continue;
            };
            let weight = match conv.flip {
                true => (kh - 1 - r) * kw + (kw - 1 - s),
                false => r * kw + s,
            };
            taps.push([iy * conv.w + ix, weight]);
        }
    }
}

/// Sum over input channels and taps of (in - zero) * w: a cross-correlation, as in CNNs. A tap in the padding adds nothing,
/// whatever its weight. For kernels with non-finite weights see [`ConvShape`]. Sums of integers are exact below 2^53, which is
/// 2^38 products.
fn pixel(
    conv: &ConvShape,
    x: Operands<'_, f64>,
    zero: f64,
    [image, k]: [usize; 2],
    taps: &[[usize; 2]],
) -> f64 {
    let (per_in, per_out) = (conv.c_in_per_group(), conv.c_out_per_group());
    let [kh, kw] = conv.kernel;
    let mut sum = 0.0;
    for c in 0..per_in {
        let map = (image * conv.c_in + k / per_out * per_in + c) * conv.h * conv.w;
        let map = &x.src[map..][..conv.h * conv.w];
        let filter = &x.weights[(k * per_in + c) * kh * kw..][..kh * kw];
        for &[at, weight] in taps {
            sum += (map[at] - zero) * f64::from(filter[weight]);
        }
    }
    sum
}

impl Named for ConvShape {
    const DRIVERS: &'static [Driver] = &[
        Driver {
            algs: "direct, wino or auto",
            takes_alg: |alg| {
                let alg = alg.strip_prefix("convolution_").unwrap_or(alg);
                ["direct", "wino", "winograd", "auto"].contains(&alg)
            },
            flags: &["--flip"],
            ..Driver::new("--conv")
        },
        Driver {
            flags: &["--flip"],
            ..Driver::new(INNER_PRODUCT)
        },
    ];

    fn read(input: &Input<'_>, _: &mut Epilogue) -> Result<Self, Wrong> {
        let flip = match input.flag("--flip") {
            None => false,
            Some("--flip") => true,
            Some(flag) => return Err(format!("{flag} should be --flip").into()),
        };
        let fields = Fields::read(input.descriptor)?;
        if input.driver == INNER_PRODUCT {
            let maps = fields.maps(&["mb", "ic", "ih", "iw", "oc"])?;
            let spec = whole_map(maps, fields.need("oc")?);
            return Ok(ConvSpec { flip, ..spec }.try_into()?);
        }
        let window = fields.windows()?;
        let [h, w] = window.size;
        let spec = ConvSpec {
            n: fields.images(),
            c_in: fields.need("ic")?,
            h,
            w,
            c_out: fields.need("oc")?,
            kernel: window.kernel,
            stride: window.stride,
            pad: window.pad,
            dilation: window.dilation,
            groups: fields.get("g").unwrap_or(1),
            flip,
        };
        let shape = ConvShape::try_from(spec)?;
        window.check_out(shape.dst_dims())?;
        Ok(shape)
    }
}

const INNER_PRODUCT: &str = "--ip";

/// Fully connected layer as a convolution with a kernel of its whole input map.
fn whole_map([n, c_in, h, w]: [usize; 4], c_out: usize) -> ConvSpec {
    ConvSpec {
        n,
        c_in,
        h,
        w,
        c_out,
        kernel: [h, w],
        stride: [1, 1],
        pad: Pad::default(),
        dilation: [1, 1],
        groups: 1,
        flip: false,
    }
}
