//! Standard output: text or JSON lines. A reader that closes the pipe early (`| head`) causes no error. Standard error:
//! notes of one line.

use crate::escape;
use anyhow::Result;
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};

/// Prints text. Control characters except colours are made visible.
pub(super) fn print(text: &str) -> Result<()> {
    write(&escape::lines(text, colour()))
}

fn write(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Prints one JSON object per line.
pub(super) fn print_json<T: Serialize>(rows: &[T]) -> Result<()> {
    let mut text = String::new();
    for row in rows {
        text += &escape::json(&serde_json::to_string(row)?);
        text.push('\n');
    }
    write(&text)
}

/// True if output is coloured.
pub(super) fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Prints a note on standard error, in one line.
pub(super) fn note(text: &str) {
    eprintln!("{}", escape::note(text));
}
