//! Parser of the text form that `text.rs` describes.

use super::Problem;
use super::axis::ShapeError;
use super::flags::Flags;
use super::op::Op;
use super::syntax::Wrong;
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
        let read = |text: &str| one_layer(text).map_err(|why| ParseError::new(text, why));
        let wrong = |why: Wrong| ParseError::new(text, why);
        if text.len() > MOST_TEXT {
            let why = format!("it has {} bytes: at most {MOST_TEXT} are read", text.len());
            return Err(wrong(why.into()));
        }
        let parts: Vec<&str> = text.split(" + ").take(3).collect();
        match parts[..] {
            [first, second] => join(read(first)?, read(second)?).map_err(wrong),
            [one] => read(one),
            _ => Err(wrong("a + joins two layers, a third can't follow".into())),
        }
    }
}

impl ParseError {
    fn new(text: &str, why: Wrong) -> Self {
        let [most_text, most_why] = MOST_QUOTED;
        let text = excerpt(text, most_text).into();
        match why {
            Wrong::Text(why) => {
                let why = excerpt(&why, most_why).into();
                ParseError::Text { text, why }
            }
            Wrong::Shape(why) => ParseError::Shape { text, why },
        }
    }
}

/// Fuses two layers.
fn join(first: Problem, second: Problem) -> Result<Problem, Wrong> {
    let attributes = [first.attributes(), second.attributes()];
    let joined = Op::join([&*first.op, &*second.op], attributes)?;
    let (op, attributes) =
        joined.ok_or("a + joins a convolution and the pooling or the convolution behind it")?;
    op.check_types(&attributes)?;
    Ok(Problem::new(op, attributes))
}

/// Parses a text without ` + `.
fn one_layer(text: &str) -> Result<Problem, Wrong> {
    let mut flags = Flags::default();
    let mut words = text.split_whitespace().peekable();
    while let Some(flag) = words.next_if(|word| word.starts_with('-')) {
        flags.read(flag)?;
    }
    let descriptor = words.next().ok_or("no sizes follow")?;
    if let Some(more) = words.next() {
        return Err(format!("'{more}' follows the sizes").into());
    }
    let mut epilogue = flags.epilogue;
    let op = flags.op(descriptor, &mut epilogue)?;
    let attributes = flags.attributes(&op, epilogue)?;
    op.check_types(&attributes)?;
    let problem = Problem::new(op, attributes);
    match flags.batch {
        None | Some(0) => Ok(problem),
        Some(n) => Ok(problem.with_batch(n)?),
    }
}
