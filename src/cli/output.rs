//! Standard output: text, or rows as data (`rows.rs`). A reader that closes the pipe early (`| head`) causes no error.
//! Standard error: errors, notes and details, each on one line.

pub(super) use super::console::colour;

use super::console::{quiet, verbose};
use crate::escape;
use anyhow::Result;
use std::io::{ErrorKind, Write};

/// Prints text. Control characters except colours are made visible.
pub(super) fn print(text: &str) -> Result<()> {
    write(escape::lines(text, colour()).as_bytes())
}

/// Writes bytes to standard output.
pub(super) fn write(bytes: &[u8]) -> Result<()> {
    send(bytes).map(drop)
}

/// Writes bytes to standard output. False if the reader has closed the pipe.
pub(super) fn send(bytes: &[u8]) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
}

/// Prints an error on standard error, in one line.
pub(super) fn error(text: &str) {
    eprintln!("{}", escape::note(text));
}

/// Prints a note on standard error, in one line. `--quiet` omits it.
pub(super) fn note(text: &str) {
    if !quiet() {
        error(text);
    }
}

/// Prints a condition of the work, in one line. Only `--verbose` has it.
pub(super) fn detail(text: &str) {
    if verbose() {
        error(text);
    }
}

/// Prints the place of a file that was written: `record: PATH`. `--quiet` omits it.
pub(super) fn written(text: &str) {
    if !quiet() {
        eprintln!("{}", escape::error_line(text));
    }
}
