//! Parser of the text form that `text.rs` describes.

use super::drivers::Wrong;
use super::fields::Fields;
use super::flags::{Alg, Driver, Flags};
use super::{
    ConvPairShape, ConvPoolShape, ConvSpec, Epilogue, Op, PoolKind, PoolShape, Problem, ShapeError,
};
use std::borrow::Cow;
use std::str::FromStr;

/// Maximum length of a problem's text in bytes, far more than any layer needs.
pub const MOST_TEXT: usize = 4096;

/// Maximum characters that an error quotes: of the problem, and of the reason.
const MOST_QUOTED: [usize; 2] = [120, 400];

/// Shortens a text to at most `most` characters: beginning, ellipsis, end. Errors use it to quote foreign text.
pub fn excerpt(text: &str, most: usize) -> Cow<'_, str> {
    // Most texts are short. A character has at least one byte.
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

/// Reason why a text is not a problem. Long texts are shortened by [`excerpt`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text can't be parsed.
    #[error(
        "can't read problem '{text}': {why} (expected something like mb1ic64ih56oc64oh56kh3ph1)"
    )]
    Text {
        /// The given text.
        text: String,
        /// The syntax error.
        why: String,
    },
    /// The text can be parsed, but the shape is impossible.
    #[error("problem '{text}' is impossible: {why}")]
    Shape {
        /// The given text.
        text: String,
        /// The violated rule.
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

/// Fuses two layers.
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

/// Parses a text without ` + `.
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
