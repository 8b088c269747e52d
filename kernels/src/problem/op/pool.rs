//! Poolings.

use crate::data::uniform;
use crate::exec::Executor;
use crate::problem::attributes::{Attributes, Epilogue, TypeFlags};
use crate::problem::axis::{Axis, Pad, ShapeError, check, check_product, check_sizes};
use crate::problem::descriptor::{Fields, write_windows};
use crate::problem::naive::{by_maps, largest, tap};
use crate::problem::operation::{Names, Operands, Operation, Rounding};
use crate::problem::syntax::{Driver, Input, Named, Wrong};
use crate::window::Window;
use std::fmt;
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

impl PoolSpec {
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
        let axes = spec.axes();
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

    /// Elements of a window, including those in the padding.
    pub fn elements(&self) -> usize {
        self.spec.kernel[0] * self.spec.kernel[1]
    }

    /// Rows and columns of trailing padding that come from ceil mode. They don't count in the divisor of
    /// [`PoolKind::AvgIncludePad`] (PyTorch's rule); 0 for other kinds.
    pub fn overhang(&self) -> [usize; 2] {
        self.overhang
    }

    /// Vertical and horizontal axis of the windows. A mean's divisor counts the padding for
    /// [`PoolKind::AvgIncludePad`] only, and never the overhang.
    pub fn windows(&self) -> [Window; 2] {
        let axes = self.spec.axes();
        [0, 1].map(|i| {
            let counted = axes[i].before + axes[i].size + axes[i].after - self.overhang[i];
            Window {
                counted: (self.spec.kind == PoolKind::AvgIncludePad).then_some(counted),
                ..axes[i].windows(self.out[i])
            }
        })
    }

    /// Copy that treats so many rows and columns of the trailing padding as overhang.
    fn with_overhang(self, overhang: [usize; 2]) -> Result<Self, ShapeError> {
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
}

impl Operation for PoolShape {
    fn names() -> Names {
        Names {
            one: "a pooling",
            many: "poolings",
        }
    }

    fn check_types(&self, attributes: &Attributes) -> Result<(), String> {
        use PoolKind::{AvgExcludePad, AvgIncludePad, Max};
        match self.kind {
            Max | AvgIncludePad | AvgExcludePad => attributes.check_moves(),
            _ => attributes.check_f32(),
        }
    }

    fn with_batch(&self, n: usize) -> Result<Self, ShapeError> {
        // The spec alone doesn't tell overhang from padding.
        PoolShape::try_from(PoolSpec { n, ..self.spec })?.with_overhang(self.overhang)
    }

    fn src_dims(&self) -> [usize; 4] {
        [self.n, self.c, self.h, self.w]
    }

    fn dst_dims(&self) -> [usize; 4] {
        [self.n, self.c, self.h_out(), self.w_out()]
    }

    fn windows(&self) -> Option<[Window; 2]> {
        Some(self.windows())
    }

    fn flops(&self, _: Epilogue) -> u64 {
        let outputs = self.n * self.c * self.h_out() * self.w_out();
        (outputs * self.elements()) as u64
    }

    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64> {
        let (windows, w) = (self.windows(), self.w_out());
        by_maps(
            self.dst_dims(),
            attributes,
            x,
            exec,
            |image, channel, map| {
                for (i, y) in map.iter_mut().enumerate() {
                    *y = pixel(self, &windows, x.src, image, channel, [i / w, i % w]);
                }
            },
        )
    }

    fn rounding(&self, magnitude: f64, _: f64) -> Rounding {
        let terms = self.elements();
        let max = match self.kind {
            // Sums of powers are not divided.
            PoolKind::Lp { p, mean: false } => magnitude * (terms as f64).powf(1.0 / f64::from(p)),
            _ => magnitude,
        };
        Rounding::new(terms, max)
    }

    fn keeps_nans(&self) -> bool {
        true
    }

    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result {
        write!(f, "--pool --alg={} ", name(self.kind))?;
        let [over_h, over_w] = self.overhang;
        if self.overhang != [0, 0] {
            write!(f, "--overhang={over_h}x{over_w} ")?;
        }
        f.write_str(&attributes.text(TypeFlags::One))?;
        write_windows(f, [self.n, self.c], None, &self.windows())
    }
}

/// Output of [`PoolKind`] for one window. A NaN in a window makes its output NaN. The mean divides by the number of
/// elements inside the input, or inside the input and its padding. A ceil-mode window's elements beyond the padding
/// never count (PyTorch's and Caffe's rule). A mean of integers is rounded to f32, then to an integer, ties to even.
fn pixel(
    pool: &PoolShape,
    [rows, columns]: &[Window; 2],
    src: &[f64],
    image: usize,
    c: usize,
    [oy, ox]: [usize; 2],
) -> f64 {
    let map = (image * pool.c + c) * pool.h * pool.w;
    let padded_h = pool.pad.top + pool.h + pool.pad.bottom - pool.overhang()[0];
    let padded_w = pool.pad.left + pool.w + pool.pad.right - pool.overhang()[1];
    let (mut window, mut places, mut padded) = (Vec::new(), Vec::new(), 0);
    for r in 0..pool.kernel[0] {
        for s in 0..pool.kernel[1] {
            let (y, x) = (
                oy * pool.stride[0] + r * pool.dilation[0],
                ox * pool.stride[1] + s * pool.dilation[1],
            );
            if y < padded_h && x < padded_w {
                padded += 1;
            }
            if let (Some(iy), Some(ix)) = (tap(rows, oy, r), tap(columns, ox, s)) {
                window.push(src[map + iy * pool.w + ix]);
                places.push(iy * pool.w + ix);
            }
        }
    }
    match pool.kind {
        PoolKind::Max => largest(&window),
        PoolKind::AvgIncludePad => window.iter().sum::<f64>() / f64::from(padded),
        PoolKind::AvgExcludePad => window.iter().sum::<f64>() / window.len() as f64,
        PoolKind::Lp { p, mean } => {
            let sum: f64 = window.iter().map(|x| x.abs().powi(p as i32)).sum();
            let count = if mean { window.len() as f64 } else { 1.0 };
            (sum / count).powf(1.0 / f64::from(p))
        }
        PoolKind::LInf => {
            let magnitudes: Vec<f64> = window.iter().map(|x| x.abs()).collect();
            largest(&magnitudes)
        }
        PoolKind::Stochastic => {
            // `f64::max` would turn a NaN into 0.
            let activations = window.iter().map(|&x| if x < 0.0 { 0.0 } else { x });
            let (sum, squares) = activations.fold((0.0, 0.0), |(s, q), a| (s + a, q + a * a));
            if sum == 0.0 { 0.0 } else { squares / sum }
        }
        PoolKind::Draw { seed, index } => {
            let output = ((image * pool.c + c) * pool.h_out() + oy) * pool.w_out() + ox;
            let drawn = draw(&window, uniform(seed, output as u64));
            match drawn {
                None => f64::NAN,
                Some(k) if index => places[k] as f64,
                Some(k) => window[k].max(0.0),
            }
        }
    }
}

/// Index that [`PoolKind::Draw`] draws, in the f32 arithmetic of its definition. `None` if there is a NaN.
fn draw(window: &[f64], u: f32) -> Option<usize> {
    let activations = || window.iter().map(|&x| if x < 0.0 { 0.0 } else { x as f32 });
    let threshold = u * activations().fold(0.0, |sum, a| sum + a);
    let (mut before, mut drawn) = (0.0f32, 0);
    for (k, a) in activations().enumerate() {
        if a > 0.0 && before <= threshold {
            drawn = k;
        }
        before += a;
    }
    (!before.is_nan()).then_some(drawn)
}

impl Named for PoolShape {
    const DRIVERS: &'static [Driver] = &[Driver {
        algs: "max, avg_p, avg_np, lp<p>, lp<p>_mean, lpinf, stochastic, draw<seed> or draw<seed>_index",
        takes_alg: |alg| kind(alg).is_some(),
        flags: &["--overhang"],
        ..Driver::new("--pool")
    }];

    fn read(input: &Input<'_>, _: &mut Epilogue) -> Result<Self, Wrong> {
        let overhang = match input.flag("--overhang") {
            None => [0, 0],
            Some(flag) => {
                let sizes = flag
                    .strip_prefix("--overhang=")
                    .and_then(|s| s.split_once('x'));
                let sizes = sizes.and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
                sizes.ok_or_else(|| format!("{flag} should be --overhang=HxW"))?
            }
        };
        let fields = Fields::read(input.descriptor)?;
        let window = fields.windows()?;
        let c = fields.need("ic")?;
        if let Some(oc) = fields.get("oc").filter(|&oc| oc != c) {
            return Err(format!("oc is {oc} and ic is {c}: a pooling keeps the channels").into());
        }
        if fields.get("g").is_some() {
            return Err("a pooling has no groups".into());
        }
        let [h, w] = window.size;
        let spec = PoolSpec {
            n: fields.images(),
            c,
            h,
            w,
            kernel: window.kernel,
            stride: window.stride,
            pad: window.pad,
            dilation: window.dilation,
            kind: input.alg.and_then(kind).unwrap_or(PoolKind::Max),
            ceil: false,
        };
        let shape = PoolShape::try_from(spec)?.with_overhang(overhang)?;
        window.check_out(shape.dst_dims())?;
        Ok(shape)
    }
}

/// Name of a pooling's kind in `--alg`: benchdnn's short name, or this project's.
fn name(kind: PoolKind) -> String {
    match kind {
        PoolKind::Max => "max".into(),
        PoolKind::AvgIncludePad => "avg_p".into(),
        PoolKind::AvgExcludePad => "avg_np".into(),
        PoolKind::Lp { p, mean: false } => format!("lp{p}"),
        PoolKind::Lp { p, mean: true } => format!("lp{p}_mean"),
        PoolKind::LInf => "lpinf".into(),
        PoolKind::Stochastic => "stochastic".into(),
        PoolKind::Draw { seed, index: false } => format!("draw{seed}"),
        PoolKind::Draw { seed, index: true } => format!("draw{seed}_index"),
    }
}

/// Pooling kind of a lower-case name, benchdnn's short or long one.
fn kind(name: &str) -> Option<PoolKind> {
    Some(match name {
        "max" | "pooling_max" => PoolKind::Max,
        "avg_p" | "pooling_avg_include_padding" => PoolKind::AvgIncludePad,
        "avg_np" | "pooling_avg_exclude_padding" => PoolKind::AvgExcludePad,
        "lpinf" => PoolKind::LInf,
        "stochastic" => PoolKind::Stochastic,
        _ if name.starts_with("draw") => {
            let seed = name.strip_prefix("draw")?;
            let (seed, index) = match seed.strip_suffix("_index") {
                Some(seed) => (seed, true),
                None => (seed, false),
            };
            let seed = seed.parse().ok()?;
            PoolKind::Draw { seed, index }
        }
        _ => {
            let p = name.strip_prefix("lp")?;
            let (p, mean) = match p.strip_suffix("_mean") {
                Some(p) => (p, true),
                None => (p, false),
            };
            let p = p.parse().ok()?;
            PoolKind::Lp { p, mean }
        }
    })
}
