//! What the gate and a build's worker say to each other: a line of JSON each way. The worker says
//! [`Reply::Hello`] first; then each request has one reply.
//!
//! Builds of different age talk to each other: add, never rename.

use crate::process::line;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};

/// The version of these messages.
pub const PROTOCOL: u32 = 1;

/// Bytes of a message's line at most: the longest has the ids of all variants.
pub const LINE: usize = 1 << 20;

/// From the gate. Plans are numbered in the order in which they were made, from 0.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Make a variant ready for a problem and run it: `Planned`, `Refused` or `Wrong`.
    Plan {
        /// The problem's text form.
        problem: String,
        /// `<algorithm>/<isa>/<st|mt>`.
        variant: String,
        /// Threads.
        threads: usize,
        /// Whether to compare its output with the reference.
        check: bool,
    },
    /// Run once untimed, poison the output, run `runs` times: `Took`.
    Time {
        /// Which plan.
        plan: usize,
        /// How often.
        runs: usize,
        /// Nanoseconds to lose on purpose in each run: what an audit injects.
        delay_ns: f64,
    },
    /// The FMA peak of a plan's instruction set and threads at this moment: `Peak`.
    Peak {
        /// Which plan.
        plan: usize,
    },
    /// What the plan's output is now: `Output`.
    Output {
        /// Which plan.
        plan: usize,
    },
    /// Run again and again for so long, to be looked at: `Done`.
    Linger {
        /// Which plan.
        plan: usize,
        /// Milliseconds.
        ms: u64,
    },
}

/// From the worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Reply {
    /// Who it is.
    Hello {
        /// The version of the messages it understands.
        protocol: u32,
        /// Every variant that it has for this CPU.
        variants: Vec<String>,
        /// Whether it was built without optimisation.
        debug: bool,
    },
    /// A plan was made, and has run.
    Planned {
        /// Time of a run.
        ns: f64,
        /// Memory that it takes.
        bytes: u64,
        /// A hash of its output.
        output: String,
    },
    /// The variant can't do the problem, and why.
    Refused {
        /// A phrase.
        reason: String,
    },
    /// Its result is wrong.
    Wrong {
        /// A phrase.
        reason: String,
    },
    /// Time of a run.
    Took {
        /// The mean of all.
        ns: f64,
    },
    /// The FMA peak.
    Peak {
        /// GFLOP/s.
        gflops: f64,
    },
    /// A hash of the output.
    Output {
        /// The same of the same bits.
        output: String,
    },
    /// Done.
    Done,
    /// Something went wrong that should not.
    Failed {
        /// A phrase.
        reason: String,
    },
}

/// Says a message.
///
/// # Errors
/// When the other side is gone.
pub fn say(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    to.write_all(line.as_bytes())?;
    to.flush()
}

/// The next message, of at most [`LINE`] bytes; none at the end.
///
/// # Errors
/// When it is no message.
pub fn hear<T: for<'de> Deserialize<'de>>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    match line(from, LINE)? {
        Some(line) => Ok(Some(serde_json::from_slice(&line)?)),
        None => Ok(None),
    }
}
