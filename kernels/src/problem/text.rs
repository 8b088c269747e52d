//! The text form of a problem: benchdnn's, so that a layer pastes into oneDNN's own driver and back.
//!
//! ```text
//! mb1ic64ih56oc64oh56kh3ph1                         a plain f32 convolution
//! --dir=FWD_B --attr-post-ops=relu g2mb1ic96ih27oc256oh27kh5ph2
//! --pool --alg=max mb1ic64ih112oh56kh3sh2ph1
//! ```
//!
//! Fields after benchdnn's `doc/driver_conv.md`: g groups, mb batch, i/o input and output, c h w
//! channels and sizes, k kernel, s stride, p padding (top and left), d dilation (`dh0` is dense). A
//! width that equals its height is left out; so are g1, s1 and d0. `mb` left out means 2, as there.
//! `oh` left out is derived with equal padding on both sides; given, it decides how much trailing
//! padding there is. A name (`n"conv1"`, `nconv1`) at the end is accepted.
//!
//! Flags: `--dir=FWD_B` adds a bias (and plain text means none: `FWD_D`, `FWD_I`),
//! `--attr-post-ops=add:f32:per_tensor+relu` residual and ReLU, `--dt=src:weights:dst` or `--dt=all`
//! the types, `--pool --alg=max|avg_p|avg_np` a pooling (average with and without its padding).
//! One flag is our own: `--overhang=HxW`, rows and columns of a ceil-mode pooling that reach beyond
//! the padding and don't count in `avg_p`'s divisor, which benchdnn can't say.

use super::{
    ConvShape, ConvSpec, DType, DTypes, Epilogue, Op, Pad, PoolKind, PoolShape, PoolSpec, Problem,
    ShapeError,
};
use std::fmt;
use std::str::FromStr;

/// Why a text is not a problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It can't be read.
    #[error("'{text}' is not a problem: {why} (expected something like mb1ic64ih56oc64oh56kh3ph1)")]
    Text {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// It can be read, but the shape is impossible.
    #[error("'{text}' is impossible: {why}")]
    Shape {
        /// What was given.
        text: String,
        /// Why it can't be.
        why: ShapeError,
    },
}

const ALGS: [(&str, PoolKind); 3] = [
    ("max", PoolKind::Max),
    ("avg_p", PoolKind::AvgIncludePad),
    ("avg_np", PoolKind::AvgExcludePad),
];

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text)?;
        f.pad(&text)
    }
}

impl Problem {
    fn write(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let Problem {
            op,
            dtypes,
            epilogue,
        } = self;
        if let Op::Pool(pool) = op {
            let (name, _) = ALGS[ALGS.iter().position(|a| a.1 == pool.kind).unwrap_or(0)];
            write!(f, "--pool --alg={name} ")?;
            let [over_h, over_w] = pool.overhang();
            if [over_h, over_w] != [0, 0] {
                write!(f, "--overhang={over_h}x{over_w} ")?;
            }
        }
        if *dtypes != DTypes::default() {
            write!(f, "--dt={}:{}:{} ", dtypes.src, dtypes.weights, dtypes.dst)?;
        }
        if epilogue.bias {
            f.write_str("--dir=FWD_B ")?;
        }
        match (epilogue.residual, epilogue.relu) {
            (true, true) => f.write_str("--attr-post-ops=add:f32:per_tensor+relu ")?,
            (true, false) => f.write_str("--attr-post-ops=add:f32:per_tensor ")?,
            (false, true) => f.write_str("--attr-post-ops=relu ")?,
            (false, false) => {}
        }
        match op {
            Op::Conv(c) => {
                if c.groups != 1 {
                    write!(f, "g{}", c.groups)?;
                }
                write!(f, "mb{}ic{}", c.n, c.c_in)?;
                pair(f, "i", [c.h, c.w], None)?;
                write!(f, "oc{}", c.c_out)?;
                window(
                    f,
                    [c.h_out(), c.w_out()],
                    c.kernel,
                    c.stride,
                    c.pad,
                    c.dilation,
                )
            }
            Op::Pool(p) => {
                write!(f, "mb{}ic{}", p.n, p.c)?;
                pair(f, "i", [p.h, p.w], None)?;
                window(
                    f,
                    [p.h_out(), p.w_out()],
                    p.kernel,
                    p.stride,
                    p.pad,
                    p.dilation,
                )
            }
        }
    }
}

fn window(
    f: &mut impl fmt::Write,
    out: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    pad: Pad,
    dilation: [usize; 2],
) -> fmt::Result {
    pair(f, "o", out, None)?;
    pair(f, "k", kernel, None)?;
    pair(f, "s", stride, Some(1))?;
    pair(f, "p", [pad.top, pad.left], None)?;
    pair(f, "d", dilation.map(|d| d - 1), Some(0))
}

/// Height and width of something; the width only where it differs, both left out at the default.
fn pair(
    f: &mut impl fmt::Write,
    name: &str,
    [h, w]: [usize; 2],
    default: Option<usize>,
) -> fmt::Result {
    if default == Some(h) && h == w {
        return Ok(());
    }
    write!(f, "{name}h{h}")?;
    if w != h {
        write!(f, "{name}w{w}")
    } else {
        Ok(())
    }
}

impl FromStr for Problem {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = |why: String| ParseError::Text {
            text: text.to_string(),
            why,
        };
        let impossible = |why| ParseError::Shape {
            text: text.to_string(),
            why,
        };
        let mut flags = Flags::default();
        let mut words = text.split_whitespace().peekable();
        while let Some(flag) = words.next_if(|word| word.starts_with("--")) {
            flags.read(flag).map_err(wrong)?;
        }
        let descriptor = words
            .next()
            .ok_or_else(|| wrong("no sizes follow".into()))?;
        if let Some(more) = words.next() {
            return Err(wrong(format!("'{more}' follows the sizes")));
        }
        let fields = Fields::read(descriptor).map_err(wrong)?;
        let Flags {
            dtypes,
            epilogue,
            pool,
            overhang,
        } = flags;
        let op = match pool {
            None if overhang.is_some() => return Err(wrong("--overhang is for poolings".into())),
            None => Op::Conv(
                fields
                    .conv()
                    .map_err(wrong)?
                    .try_into()
                    .map_err(impossible)?,
            ),
            Some(kind) => {
                let spec = fields.pool(kind).map_err(wrong)?;
                let shape = pool_shape(spec, overhang.unwrap_or_default()).map_err(impossible)?;
                Op::Pool(shape)
            }
        };
        let problem = Problem {
            op,
            dtypes,
            epilogue,
        };
        let [_, _, h, w] = problem.dst_dims();
        for (name, given, derived) in [("oh", fields.out_h(), h), ("ow", fields.out_w(), w)] {
            if let Some(given) = given.filter(|&given| given != derived) {
                return Err(wrong(format!(
                    "{name} is {given}, but the other sizes make it {derived}"
                )));
            }
        }
        Ok(problem)
    }
}

/// The overhang is part of the trailing padding that the spec already has.
fn pool_shape(spec: PoolSpec, overhang: [usize; 2]) -> Result<PoolShape, ShapeError> {
    let shape = PoolShape::try_from(spec)?;
    let pad = [shape.pad.bottom, shape.pad.right];
    if overhang == [0, 0] {
        return Ok(shape);
    }
    if spec.kind != PoolKind::AvgIncludePad || overhang[0] > pad[0] || overhang[1] > pad[1] {
        return Err(ShapeError(format!(
            "an overhang of {}x{} needs --alg=avg_p and as much trailing padding",
            overhang[0], overhang[1]
        )));
    }
    Ok(PoolShape { overhang, ..shape })
}

#[derive(Default)]
struct Flags {
    dtypes: DTypes,
    epilogue: Epilogue,
    pool: Option<PoolKind>,
    overhang: Option<[usize; 2]>,
}

impl Flags {
    fn read(&mut self, flag: &str) -> Result<(), String> {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        match name {
            "--conv" if value.is_empty() => self.pool = None,
            "--pool" if value.is_empty() => self.pool = self.pool.or(Some(PoolKind::Max)),
            "--alg" => {
                let known = ALGS.iter().find(|(alg, _)| *alg == value);
                let direct = ["direct", "auto"].contains(&value);
                match known {
                    Some((_, kind)) => self.pool = Some(*kind),
                    None if direct => {}
                    None => {
                        return Err(format!(
                            "unknown --alg={value}: expected max, avg_p or avg_np"
                        ));
                    }
                }
            }
            "--dir" => match value {
                "FWD_B" => self.epilogue.bias = true,
                "FWD_D" | "FWD_I" => self.epilogue.bias = false,
                _ => {
                    return Err(format!(
                        "unknown --dir={value}: expected FWD_B, FWD_D or FWD_I"
                    ));
                }
            },
            "--dt" => {
                let types: Vec<&str> = value.split(':').collect();
                let parse =
                    |s: &str| {
                        DType::ALL.into_iter().find(|t| t.name() == s).ok_or_else(|| {
                        format!("unknown type '{s}' in {flag}: expected f32, bf16, s8, u8 or s32")
                    })
                    };
                let [src, weights, dst] = match types[..] {
                    [all] => [all; 3],
                    [src, weights, dst] => [src, weights, dst],
                    _ => return Err(format!("{flag} should be --dt=all or --dt=src:weights:dst")),
                };
                self.dtypes = DTypes {
                    src: parse(src)?,
                    weights: parse(weights)?,
                    dst: parse(dst)?,
                };
            }
            "--attr-post-ops" => {
                let mut ops = value.split('+').peekable();
                if let Some(op) = ops.next_if(|op| op.starts_with("add:")) {
                    if !["add:f32", "add:f32:per_tensor"].contains(&op) {
                        return Err(format!(
                            "unknown post-op '{op}': expected add:f32:per_tensor"
                        ));
                    }
                    self.epilogue.residual = true;
                }
                self.epilogue.relu = ops.next_if_eq(&"relu").is_some();
                if let Some(op) = ops.next() {
                    return Err(format!(
                        "unknown post-op '{op}': expected add:f32:per_tensor, relu, or both in this order"
                    ));
                }
            }
            "--overhang" => {
                let parsed = value
                    .split_once('x')
                    .and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
                self.overhang =
                    Some(parsed.ok_or_else(|| format!("{flag} should be --overhang=HxW"))?);
            }
            _ => return Err(format!("unknown flag '{flag}'")),
        }
        Ok(())
    }
}

/// Field names, in the order in which benchdnn writes them.
const NAMES: [&str; 16] = [
    "g", "mb", "ic", "ih", "iw", "oc", "oh", "ow", "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw",
];

/// The sizes as given.
struct Fields([Option<usize>; NAMES.len()]);

impl Fields {
    fn read(descriptor: &str) -> Result<Self, String> {
        let mut values = [None; NAMES.len()];
        let mut rest = descriptor;
        while !rest.is_empty() {
            // A name ends the sizes.
            if rest.starts_with('n') || rest.starts_with("_n") {
                break;
            }
            let digits = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            let (name, tail) = rest.split_at(digits);
            let end = tail
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(tail.len());
            let (number, tail) = tail.split_at(end);
            let name = name.trim_start_matches('_');
            let index = NAMES.iter().position(|n| *n == name).ok_or_else(|| {
                format!(
                    "unknown field '{name}': the fields are {}",
                    NAMES.join(", ")
                )
            })?;
            let value = number.parse().map_err(|_| match number {
                "" => format!("{name} has no number"),
                _ => format!("{name}{number} is too large"),
            })?;
            if values[index].replace(value).is_some() {
                return Err(format!("{name} is given twice"));
            }
            rest = tail;
        }
        Ok(Fields(values))
    }

    fn get(&self, name: &str) -> Option<usize> {
        NAMES
            .iter()
            .position(|n| *n == name)
            .and_then(|i| self.0[i])
    }

    fn need(&self, name: &str) -> Result<usize, String> {
        self.get(name).ok_or_else(|| format!("{name} is missing"))
    }

    /// Only widths given: a one-dimensional problem, of height 1.
    fn flat(&self) -> bool {
        self.get("ih").is_none() && self.get("iw").is_some()
    }

    /// Height and width of something: a missing width is the height. In one dimension the height is
    /// what leaves it alone.
    fn pair(&self, kind: char, default: Option<usize>, flat: usize) -> Result<[usize; 2], String> {
        let (h, w) = (format!("{kind}h"), format!("{kind}w"));
        if self.flat() {
            return match self.get(&w).or(default) {
                Some(width) => Ok([flat, width]),
                None => Err(format!("{w} is missing")),
            };
        }
        match (self.get(&h).or(default), self.get(&w)) {
            (Some(height), width) => Ok([height, width.unwrap_or(height)]),
            (None, _) => Err(format!("{h} is missing")),
        }
    }

    fn out_h(&self) -> Option<usize> {
        if self.flat() { None } else { self.get("oh") }
    }

    fn out_w(&self) -> Option<usize> {
        self.get("ow")
            .or(if self.flat() { None } else { self.get("oh") })
    }

    /// Padding: trailing as much as leading, or as much as the given output size needs.
    fn pad(
        &self,
        size: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
    ) -> Result<Pad, String> {
        let leading = self.pair('p', Some(0), 0)?;
        let trailing = |axis: usize, out: Option<usize>| {
            let Some(out) = out else { return leading[axis] };
            let extent = (kernel[axis].max(1) - 1)
                .saturating_mul(dilation[axis])
                .saturating_add(1);
            let reach = (out.max(1) - 1)
                .saturating_mul(stride[axis])
                .saturating_add(extent);
            reach.saturating_sub(size[axis].saturating_add(leading[axis]))
        };
        let [top, left] = leading;
        Ok(Pad {
            top,
            left,
            bottom: trailing(0, self.out_h()),
            right: trailing(1, self.out_w()),
        })
    }

    fn dilation(&self) -> Result<[usize; 2], String> {
        Ok(self.pair('d', Some(0), 0)?.map(|d| d.saturating_add(1)))
    }

    fn conv(&self) -> Result<ConvSpec, String> {
        let [h, w] = self.pair('i', None, 1)?;
        let (kernel, stride) = (self.pair('k', None, 1)?, self.pair('s', Some(1), 1)?);
        let dilation = self.dilation()?;
        Ok(ConvSpec {
            n: self.get("mb").unwrap_or(2),
            c_in: self.need("ic")?,
            h,
            w,
            c_out: self.need("oc")?,
            kernel,
            stride,
            pad: self.pad([h, w], kernel, stride, dilation)?,
            dilation,
            groups: self.get("g").unwrap_or(1),
        })
    }

    fn pool(&self, kind: PoolKind) -> Result<PoolSpec, String> {
        let c = self.need("ic")?;
        if let Some(oc) = self.get("oc").filter(|&oc| oc != c) {
            return Err(format!(
                "oc is {oc} and ic is {c}: a pooling keeps the channels"
            ));
        }
        if self.get("g").is_some() {
            return Err("a pooling has no groups".into());
        }
        let [h, w] = self.pair('i', None, 1)?;
        let (kernel, stride) = (self.pair('k', None, 1)?, self.pair('s', Some(1), 1)?);
        let dilation = self.dilation()?;
        let pad = self.pad([h, w], kernel, stride, dilation)?;
        let n = self.get("mb").unwrap_or(2);
        Ok(PoolSpec {
            n,
            c,
            h,
            w,
            kernel,
            stride,
            pad,
            dilation,
            kind,
            ceil: false,
        })
    }
}

impl From<ConvShape> for Op {
    fn from(conv: ConvShape) -> Self {
        Op::Conv(conv)
    }
}
