//! Wrong arguments, explained in one line. clap's own text has several.

use super::select::names_layers;
use super::similar::{did_you_mean, either};
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use convroof_kernels::problem::excerpt;
use std::error::Error as _;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};

/// Upper limit for the characters of an argument in an error.
const MOST_QUOTED: usize = 500;

/// The line: the wrong argument, and what would be right.
pub(super) fn explain(error: &Error) -> String {
    let strings = |kind| strings(error, kind);
    let first = |kind| strings(kind).first().copied().unwrap_or_default();
    let arg = excerpt(first(ContextKind::InvalidArg), MOST_QUOTED);
    let value = excerpt(first(ContextKind::InvalidValue), MOST_QUOTED);
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let right = did_you_mean(&strings(ContextKind::SuggestedArg));
            let right = right.unwrap_or_else(|| "--help lists all arguments".into());
            format!("unexpected argument '{arg}': {right}")
        }
        ErrorKind::InvalidSubcommand => {
            let name = excerpt(first(ContextKind::InvalidSubcommand), MOST_QUOTED);
            let right = match names_layers(&name) {
                true => did_you_mean(&[format!("convroof run {name}")]),
                false => did_you_mean(&strings(ContextKind::SuggestedSubcommand)),
            };
            let right = right.unwrap_or_else(|| "--help lists all subcommands".into());
            format!("unrecognized subcommand '{name}': {right}")
        }
        ErrorKind::InvalidValue => {
            let right = match either(&strings(ContextKind::ValidValue)) {
                Some(valid) => format!("expected {valid}"),
                None => "--help describes it".into(),
            };
            match &value[..] {
                "" => format!("{arg} has no value: {right}"),
                _ => format!("invalid value '{value}' for {arg}: {right}"),
            }
        }
        ErrorKind::ValueValidation => {
            let right = expected(error).unwrap_or_else(|| "--help describes it".into());
            format!("invalid value '{value}' for {arg}: {right}")
        }
        ErrorKind::TooManyValues => {
            format!("unexpected value '{value}' for {arg}: it takes no more values")
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = strings(ContextKind::InvalidArg).join(", ");
            format!("required arguments are missing: {missing}")
        }
        ErrorKind::ArgumentConflict => {
            let arg = match &arg[..] {
                "" => first(ContextKind::InvalidSubcommand),
                arg => arg,
            };
            match &strings(ContextKind::PriorArg)[..] {
                [prior] if *prior == arg => format!("{arg} is given twice: give it once"),
                [] => format!("{arg} can't be used with the other arguments: omit some of them"),
                prior => format!("{arg} can't be used with {}: omit one", prior.join(", ")),
            }
        }
        kind => kind.to_string(),
    }
}

/// The strings that an error has of a kind.
fn strings(error: &Error, kind: ContextKind) -> Vec<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text],
        Some(ContextValue::Strings(texts)) => texts.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

/// An option of the default subcommand that stands before another one, explained.
pub(super) fn misplaced(command: &Command, matches: &ArgMatches) -> Option<String> {
    let name = matches.subcommand_name()?;
    let given = |arg: &&Arg| {
        !arg.is_global_set()
            && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    let arg = command.get_arguments().find(given)?;
    Some(format!(
        "{name} can't be used with {arg} before it: write its options after {name}"
    ))
}

/// The numbers that a value's parser accepts; its own message if it parses no numbers.
fn expected(error: &Error) -> Option<String> {
    let source = error.source()?;
    if let Some(integer) = source.downcast_ref::<ParseIntError>() {
        return Some(match integer.kind() {
            IntErrorKind::PosOverflow => format!("expected at most {}", usize::MAX),
            _ => "expected a whole number, 0 or more".into(),
        });
    }
    if source.is::<ParseFloatError>() {
        return Some("expected a number".into());
    }
    Some(source.to_string())
}
