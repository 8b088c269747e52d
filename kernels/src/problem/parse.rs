//! Reads the text form that `text.rs` describes.

use super::drivers::Wrong;
use super::text::{bilinear_kind, pool_kind};
use super::{
    BilinearKind, ConvPairShape, ConvPoolShape, ConvSpec, DType, DTypes, Epilogue, Op, Pad,
    PoolKind, PoolShape, PoolSpec, Problem, ShapeError,
};
use std::borrow::Cow;
use std::str::FromStr;

/// The longest text of a problem, in bytes: far beyond what any layer takes.
pub const MOST_TEXT: usize = 4096;

/// The most characters of a problem that an error repeats, and the most of what is wrong with it.
const MOST_QUOTED: [usize; 2] = [120, 400];

/// A text of at most `most` characters: the beginning and the end of a longer one, with an ellipsis between them.
/// It is for errors, which repeat what someone else wrote.
pub fn excerpt(text: &str, most: usize) -> Cow<'_, str> {
    // Most texts are short, and a character has at least a byte.
    if text.len() <= most || text.chars().nth(most).is_none() {
        return Cow::Borrowed(text);
    }
    let kept = most.saturating_sub(1);
    let (first, last) = (kept - kept / 3, kept / 3);
    let (head, _) = text.char_indices().nth(first).expect("a longer text");
    let tail = text.char_indices().rev().take(last).last();
    let tail = tail.map_or(text.len(), |(at, _)| at);
    Cow::Owned(format!("{}…{}", &text[..head], &text[tail..]))
}

/// Why a text is no problem. Long texts are cut ([`excerpt`]).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It can't be read.
    #[error(
        "can't read problem '{text}': {why} (expected something like mb1ic64ih56oc64oh56kh3ph1)"
    )]
    Text {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// It can be read, but the shape is impossible.
    #[error("problem '{text}' is impossible: {why}")]
    Shape {
        /// What was given.
        text: String,
        /// Why it can't be.
        why: ShapeError,
    },
}

impl FromStr for Problem {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() > MOST_TEXT {
            let why = format!("it has {} bytes: at most {MOST_TEXT} are read", text.len());
            return Err(wrong(text, why));
        }
        let parts: Vec<&str> = text.split(" + ").take(3).collect();
        match parts[..] {
            [first, second] => join(text, one_layer(first)?, one_layer(second)?),
            [one] => one_layer(one),
            _ => Err(wrong(
                text,
                "a + joins two layers, a third can't follow".into(),
            )),
        }
    }
}

fn wrong(text: &str, why: String) -> ParseError {
    let [most_text, most_why] = MOST_QUOTED;
    ParseError::Text {
        text: excerpt(text, most_text).into(),
        why: excerpt(&why, most_why).into(),
    }
}

fn impossible(text: &str, why: ShapeError) -> ParseError {
    ParseError::Shape {
        text: excerpt(text, MOST_QUOTED[0]).into(),
        why,
    }
}

/// Two layers as one.
fn join(text: &str, first: Problem, second: Problem) -> Result<Problem, ParseError> {
    match (first.op, second.op) {
        (Op::Conv(conv), Op::Pool(pool)) => {
            if second != Problem::from(pool) {
                let why = "what is pooled may have an epilogue, a pooling none";
                return Err(wrong(text, why.into()));
            }
            let op = ConvPoolShape::new(conv, pool).map_err(|why| impossible(text, why))?;
            Ok(Problem {
                op: Op::ConvPool(op),
                ..first
            })
        }
        (Op::Conv(a), Op::Conv(b)) => {
            let kept = Epilogue {
                residual: false,
                ..second.epilogue
            };
            if first.epilogue != kept || first.dtypes != second.dtypes {
                let why = "two convolutions have the same types, both or neither bias and ReLU, and only the second a residual";
                return Err(wrong(text, why.into()));
            }
            let op = ConvPairShape::new(a, b).map_err(|why| impossible(text, why))?;
            Ok(Problem {
                op: Op::ConvPair(op),
                ..second
            })
        }
        _ => {
            let why = "a + joins a convolution and the pooling or the convolution behind it";
            Err(wrong(text, why.into()))
        }
    }
}

/// A layer by itself.
fn one_layer(text: &str) -> Result<Problem, ParseError> {
    let mut flags = Flags::default();
    let problem = read_layer(text, &mut flags).map_err(|e| match e {
        Wrong::Text(why) => wrong(text, why),
        Wrong::Shape(why) => impossible(text, why),
    })?;
    match flags.batch {
        None | Some(0) => Ok(problem),
        Some(n) => problem.with_batch(n).map_err(|why| impossible(text, why)),
    }
}

fn read_layer(text: &str, flags: &mut Flags) -> Result<Problem, Wrong> {
    let mut words = text.split_whitespace().peekable();
    while let Some(flag) = words.next_if(|word| word.starts_with('-')) {
        flags.read(flag)?;
    }
    let descriptor = words.next().ok_or("no sizes follow")?;
    if let Some(more) = words.next() {
        return Err(format!("'{more}' follows the sizes").into());
    }
    if let Some(read) = flags.without_window(descriptor) {
        return read;
    }
    let fields = Fields::read(descriptor)?;
    let Flags {
        dtypes,
        epilogue,
        driver,
        alg,
        overhang,
        axis,
        hidden,
        flip,
        ..
    } = *flags;
    let [vertical, horizontal] = fields.axes()?;
    let pooling = match (driver, alg) {
        (Some(Driver::Pool), None) => Some(PoolKind::Max),
        (Some(Driver::Pool) | None, Some(Alg::Pool(kind))) => Some(kind),
        (Some(Driver::Conv) | None, None | Some(Alg::Conv)) => None,
        (Some(Driver::Conv), Some(Alg::Pool(_))) => {
            return Err("that --alg is for --pool, not for --conv".into());
        }
        (Some(Driver::Pool), Some(Alg::Conv)) => {
            return Err("that --alg is for --conv, not for --pool".into());
        }
        (_, Some(Alg::Linear | Alg::Relu)) => {
            return Err("that --alg is for --eltwise".into());
        }
        (_, Some(Alg::Add)) => return Err("that --alg is for --binary".into()),
        (_, Some(Alg::Bilinear(_))) => return Err("that --alg is for --bilinear".into()),
        (_, Some(Alg::AcrossChannels)) => return Err("that --alg is for --lrn".into()),
        (_, Some(Alg::Softmax)) => return Err("that --alg is for --softmax".into()),
        (Some(_), _) => unreachable!("read before: layers without a window"),
    };
    let op = match pooling {
        _ if hidden.is_some() => return Err("--hidden is for --attention".into()),
        _ if axis => return Err("--axis is for --softmax and --concat".into()),
        _ if flags.given => return Err("--flags is for --bnorm".into()),
        None if overhang.is_some() => return Err("--overhang is for poolings".into()),
        Some(_) if flip => return Err("--flip is for convolutions".into()),
        None => {
            let spec = fields.conv(vertical, horizontal)?;
            let spec = ConvSpec { flip, ..spec };
            Op::Conv(spec.try_into()?)
        }
        Some(kind) => {
            let spec = fields.pool(vertical, horizontal, kind)?;
            let shape = PoolShape::try_from(spec)?;
            Op::Pool(shape.with_overhang(overhang.unwrap_or_default())?)
        }
    };
    let problem = Problem {
        op,
        dtypes,
        epilogue,
    };
    let [_, _, h, w] = problem.dst_dims();
    for (name, given, derived) in [("oh", vertical.out, h), ("ow", horizontal.out, w)] {
        if let Some(given) = given.filter(|&given| given != derived) {
            return Err(format!("{name} is {given}, but the other sizes make it {derived}").into());
        }
    }
    Ok(problem)
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Driver {
    Conv,
    Pool,
    InnerProduct,
    Eltwise,
    Binary,
    BatchNorm,
    Statistics,
    Softmax,
    Lrn,
    Concat,
    Attention,
    Bilinear,
}

/// What `--alg` says; how a convolution is computed is no part of the problem.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Alg {
    Conv,
    Pool(PoolKind),
    Linear,
    Relu,
    Add,
    Softmax,
    AcrossChannels,
    Bilinear(BilinearKind),
}

#[derive(Default)]
pub(super) struct Flags {
    pub(super) dtypes: DTypes,
    pub(super) epilogue: Epilogue,
    pub(super) driver: Option<Driver>,
    pub(super) alg: Option<Alg>,
    pub(super) overhang: Option<[usize; 2]>,
    /// Of a batch normalisation: whether statistics, scale and shift are given.
    pub(super) given: bool,
    /// Whether an axis is given: that of the channels.
    pub(super) axis: bool,
    /// Whether filters are turned around.
    pub(super) flip: bool,
    /// Hidden units of an attention pooling.
    pub(super) hidden: Option<usize>,
    /// Images in place of the descriptor's; 0 is the descriptor's own number.
    pub(super) batch: Option<usize>,
}

/// Name of a driver, for errors and for readers of several problems.
const DRIVERS: &str = "--conv, --pool, --ip, --eltwise, --binary, --bnorm, --softmax, --lrn, --concat, --statistics, --attention, --bilinear";

/// benchdnn's post-ops that we compute, with what may follow their names.
const POST_OPS: &str = "sum or add:f32:per_tensor, relu, or both in this order";

impl Flags {
    fn read(&mut self, flag: &str) -> Result<(), String> {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        match name {
            "--conv" if value.is_empty() => self.driver = Some(Driver::Conv),
            "--pool" if value.is_empty() => self.driver = Some(Driver::Pool),
            "--ip" if value.is_empty() => self.driver = Some(Driver::InnerProduct),
            "--eltwise" if value.is_empty() => self.driver = Some(Driver::Eltwise),
            "--binary" if value.is_empty() => self.driver = Some(Driver::Binary),
            "--bnorm" if value.is_empty() => self.driver = Some(Driver::BatchNorm),
            "--statistics" if value.is_empty() => self.driver = Some(Driver::Statistics),
            "--softmax" if value.is_empty() => self.driver = Some(Driver::Softmax),
            "--lrn" if value.is_empty() => self.driver = Some(Driver::Lrn),
            "--concat" if value.is_empty() => self.driver = Some(Driver::Concat),
            "--attention" if value.is_empty() => self.driver = Some(Driver::Attention),
            "--bilinear" if value.is_empty() => self.driver = Some(Driver::Bilinear),
            "--hidden" => {
                let hidden = value.parse();
                self.hidden = Some(hidden.map_err(|_| format!("{flag} should be --hidden=UNITS"))?);
            }
            "--flip" if value.is_empty() => self.flip = true,
            "--axis" => match value {
                "1" => self.axis = true,
                _ => return Err(format!("unknown {flag}: expected --axis=1, the channels")),
            },
            "--flags" => match value {
                "GCH" => self.given = true,
                _ => return Err(format!("unknown {flag}: expected --flags=GCH")),
            },
            "--alg" => {
                let word = value.to_ascii_lowercase();
                let is = |name: &str| word.strip_prefix("convolution_").unwrap_or(&word) == name;
                self.alg = Some(match pool_kind(&word) {
                    Some(kind) => Alg::Pool(kind),
                    None if let Some(kind) = bilinear_kind(&word) => Alg::Bilinear(kind),
                    None if ["direct", "wino", "winograd", "auto"].into_iter().any(is) => Alg::Conv,
                    None if ["linear", "eltwise_linear"].contains(&&*word) => Alg::Linear,
                    None if ["relu", "eltwise_relu"].contains(&&*word) => Alg::Relu,
                    None if ["add", "binary_add"].contains(&&*word) => Alg::Add,
                    None if ["softmax", "softmax_accurate"].contains(&&*word) => Alg::Softmax,
                    None if ["across", "lrn_across_channels"].contains(&&*word) => {
                        Alg::AcrossChannels
                    }
                    None => {
                        return Err(format!(
                            "unknown --alg={value}: expected max, avg_p, avg_np, lp<p>, lp<p>_mean, lpinf, stochastic, draw<seed> or draw<seed>_index for --pool; direct, wino or auto for --conv; relu or linear for --eltwise; add for --binary"
                        ));
                    }
                });
            }
            "--dir" => match &*value.to_ascii_uppercase() {
                "FWD_B" => self.epilogue.bias = true,
                "FWD_D" | "FWD_I" => self.epilogue.bias = false,
                "BWD_B" | "BWD_D" | "BWD_W" | "BWD_WB" | "BWD_DW" => {
                    return Err(format!(
                        "{flag} is a backward pass: only forward ones are computed, --dir=FWD_B, FWD_D or FWD_I"
                    ));
                }
                _ => return Err(format!("unknown {flag}: expected FWD_B, FWD_D or FWD_I")),
            },
            "--mb" => {
                let batch = value.parse();
                self.batch = Some(batch.map_err(|_| format!("{flag} should be --mb=IMAGES"))?);
            }
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
                (self.epilogue.residual, self.epilogue.relu) = post_ops(value)?;
            }
            "--overhang" => {
                let parsed = value
                    .split_once('x')
                    .and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
                self.overhang =
                    Some(parsed.ok_or_else(|| format!("{flag} should be --overhang=HxW"))?);
            }
            "--batch" => {
                return Err(format!(
                    "{flag} is a file of several problems, where one is wanted"
                ));
            }
            _ => {
                let known = match name {
                    "--deconv" | "--rnn" | "--matmul" | "--reorder" | "--sum" | "--reduction"
                    | "--resampling" | "--prelu" | "--shuffle" | "--lnorm" | "--gnorm"
                    | "--zeropad" | "--brgemm" | "--graph" => {
                        return Err(format!(
                            "benchdnn's driver {name} has no kernels here: the drivers are {DRIVERS}"
                        ));
                    }
                    _ => {
                        "--alg, --axis, --dir, --dt, --attr-post-ops, --flags, --mb; and our own --flip, --hidden, --overhang"
                    }
                };
                return Err(format!(
                    "unknown flag '{flag}': the drivers are {DRIVERS}; the flags are {known}"
                ));
            }
        }
        Ok(())
    }
}

/// A residual and a final ReLU, as benchdnn's `--attr-post-ops` state them. A `sum` adds to what the
/// destination holds, `add` another tensor: the residual is either.
fn post_ops(value: &str) -> Result<(bool, bool), String> {
    let value = value.to_ascii_lowercase();
    let unknown = |op: &str, why: &str| Err(format!("post-op '{op}'{why}: expected {POST_OPS}"));
    let (mut residual, mut relu) = (false, false);
    for op in value.split('+').filter(|_| !value.is_empty()) {
        let mut arguments = op.split(':');
        let name = arguments.next().unwrap_or_default();
        let arguments: Vec<&str> = arguments.collect();
        // Numbers that make no difference may be there.
        let is = |at: usize, neutral: f32| match arguments.get(at) {
            Some(text) => text.parse::<f32>() == Ok(neutral),
            None => true,
        };
        let f32_at = |at: usize| arguments.get(at).is_none_or(|&t| t == "f32");
        match name {
            _ if relu => return unknown(op, " follows the ReLU"),
            "sum" | "add" | "binary_add" if residual => {
                return unknown(op, " adds a second residual");
            }
            "sum" if arguments.len() <= 3 && is(0, 1.0) && is(1, 0.0) && f32_at(2) => {
                residual = true;
            }
            "sum" => return unknown(op, " scales, shifts or converts what it adds"),
            "add" | "binary_add" => match arguments[..] {
                ["f32"] | ["f32", "per_tensor"] => residual = true,
                _ => {
                    return unknown(
                        op,
                        " adds something other than an f32 tensor like the output",
                    );
                }
            },
            "relu" | "eltwise_relu" if arguments.len() <= 3 => {
                if !(is(0, 0.0) && is(1, 0.0) && is(2, 1.0)) {
                    return unknown(op, " is a leaky or scaled ReLU");
                }
                relu = true;
            }
            _ => return unknown(op, " is unknown"),
        }
    }
    Ok((residual, relu))
}

/// Field names, in the order in which benchdnn writes them.
const NAMES: [&str; 16] = [
    "g", "mb", "ic", "ih", "iw", "oc", "oh", "ow", "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw",
];

/// The sizes as given.
pub(super) struct Fields([Option<usize>; NAMES.len()]);

impl Fields {
    pub(super) fn read(descriptor: &str) -> Result<Self, String> {
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

    pub(super) fn need(&self, name: &str) -> Result<usize, String> {
        self.get(name).ok_or_else(|| format!("{name} is missing"))
    }

    /// Height and width. Widths wholly left out are the heights, as in benchdnn; heights left out are
    /// those of a one-dimensional problem.
    fn axes(&self) -> Result<[AxisFields; 2], String> {
        match (self.axis('h')?, self.axis('w')?) {
            (Some(h), Some(w)) => Ok([h, w]),
            (Some(h), None) => Ok([h, h]),
            (None, Some(w)) => Ok([AxisFields::FLAT, w]),
            (None, None) => Err("ih is missing".into()),
        }
    }

    /// The axis `name`; none if none of its fields is given.
    fn axis(&self, name: char) -> Result<Option<AxisFields>, String> {
        let field = |kind: char| format!("{kind}{name}");
        if "iokspd"
            .chars()
            .all(|kind| self.get(&field(kind)).is_none())
        {
            return Ok(None);
        }
        let size = self.need(&field('i'))?;
        let kernel = self.need(&field('k'))?;
        let stride = self.get(&field('s')).unwrap_or(1);
        let dilation = self.get(&field('d')).unwrap_or(0).saturating_add(1);
        let out = self.get(&field('o'));
        let reach = |out: usize| {
            let extent = kernel.saturating_sub(1).saturating_mul(dilation);
            let last = out.saturating_sub(1).saturating_mul(stride);
            last.saturating_add(extent).saturating_add(1)
        };
        // Left out, the padding is what the output size needs, halved.
        let needed = |out| reach(out).saturating_sub(size) / 2;
        let before = self
            .get(&field('p'))
            .unwrap_or_else(|| out.map_or(0, needed));
        let after = out.map_or(before, |out| {
            reach(out).saturating_sub(size.saturating_add(before))
        });
        Ok(Some(AxisFields {
            size,
            kernel,
            stride,
            dilation,
            before,
            after,
            out,
        }))
    }

    fn conv(&self, v: AxisFields, h: AxisFields) -> Result<ConvSpec, String> {
        Ok(ConvSpec {
            n: self.get("mb").unwrap_or(2),
            c_in: self.need("ic")?,
            h: v.size,
            w: h.size,
            c_out: self.need("oc")?,
            kernel: [v.kernel, h.kernel],
            stride: [v.stride, h.stride],
            pad: pad(v, h),
            dilation: [v.dilation, h.dilation],
            groups: self.get("g").unwrap_or(1),
            flip: false,
        })
    }

    /// n, c, h, w of a layer with no fields but `names`. Left out, the height is 1 and the width the height.
    pub(super) fn maps(&self, names: &[&str]) -> Result<[usize; 4], String> {
        let mut given = NAMES.iter().zip(self.0).filter(|(_, v)| v.is_some());
        if let Some((name, _)) = given.find(|(name, _)| !names.contains(name)) {
            let names = names.join(", ");
            return Err(format!(
                "{name} has no meaning here: the fields are {names}"
            ));
        }
        let h = self.get("ih").unwrap_or(1);
        let w = self.get("iw").unwrap_or(h);
        Ok([self.get("mb").unwrap_or(2), self.need("ic")?, h, w])
    }

    fn pool(&self, v: AxisFields, h: AxisFields, kind: PoolKind) -> Result<PoolSpec, String> {
        let c = self.need("ic")?;
        if let Some(oc) = self.get("oc").filter(|&oc| oc != c) {
            return Err(format!(
                "oc is {oc} and ic is {c}: a pooling keeps the channels"
            ));
        }
        if self.get("g").is_some() {
            return Err("a pooling has no groups".into());
        }
        Ok(PoolSpec {
            n: self.get("mb").unwrap_or(2),
            c,
            h: v.size,
            w: h.size,
            kernel: [v.kernel, h.kernel],
            stride: [v.stride, h.stride],
            pad: pad(v, h),
            dilation: [v.dilation, h.dilation],
            kind,
            ceil: false,
        })
    }
}

/// What is said of one axis, with what is left out filled in.
#[derive(Clone, Copy)]
struct AxisFields {
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    after: usize,
    out: Option<usize>,
}

impl AxisFields {
    /// The height of a one-dimensional problem.
    const FLAT: AxisFields = AxisFields {
        size: 1,
        kernel: 1,
        stride: 1,
        dilation: 1,
        before: 0,
        after: 0,
        out: None,
    };
}

fn pad(vertical: AxisFields, horizontal: AxisFields) -> Pad {
    Pad {
        top: vertical.before,
        left: horizontal.before,
        bottom: vertical.after,
        right: horizontal.after,
    }
}
