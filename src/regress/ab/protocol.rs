//! Protocol between the gate and a build's worker: one line of JSON per message. The worker first sends
//! [`Reply::Hello`]. Then each request has one reply.
//!
//! Builds of different ages must understand each other: add fields, never rename any.

use crate::process::line;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};

/// Version of these messages.
pub const PROTOCOL: u32 = 1;

/// Longest line of a message, in bytes. The longest one has the ids of all variants.
pub const LINE: usize = 1 << 20;

/// Request from the gate. Plans are numbered in order of creation, from 0.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Prepares a variant for a problem and runs it: `Planned`, `Refused` or `Wrong`.
    Plan {
        /// The problem's text form.
        problem: String,
        /// `<algorithm>/<isa>/<st|mt>`.
        variant: String,
        /// Threads.
        threads: usize,
        /// True if the output shall be compared with the reference.
        check: bool,
    },
    /// Runs once untimed, poisons the output, runs `runs` times: `Took`.
    Time {
        /// Number of the plan.
        plan: usize,
        /// Number of timed runs.
        runs: usize,
        /// Delay in ns to add to each run, which an audit injects.
        delay_ns: f64,
    },
    /// Measures the present peak of a plan's arithmetic on its instruction set and threads: `Peak`.
    Peak {
        /// Number of the plan.
        plan: usize,
    },
    /// Requests a hash of the plan's present output: `Output`.
    Output {
        /// Number of the plan.
        plan: usize,
    },
    /// Runs repeatedly for some time, so that the gate can sample the process: `Done`.
    Linger {
        /// Number of the plan.
        plan: usize,
        /// Duration in ms.
        ms: u64,
    },
}

/// Reply of the worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Reply {
    /// The worker introduces itself.
    Hello {
        /// Version of its messages.
        protocol: u32,
        /// Every variant that it has for this CPU.
        variants: Vec<String>,
        /// True if it was built without optimisation.
        debug: bool,
    },
    /// The plan was made and has run.
    Planned {
        /// Time of a run, ns.
        ns: f64,
        /// Memory of the plan, bytes.
        bytes: u64,
        /// Hash of the output.
        output: String,
    },
    /// The variant can't compute the problem.
    Refused {
        /// Reason, as a phrase.
        reason: String,
    },
    /// The output is wrong.
    Wrong {
        /// Description, as a phrase.
        reason: String,
    },
    /// Time of a run.
    Took {
        /// Mean of all runs, ns.
        ns: f64,
    },
    /// The peak.
    Peak {
        /// 10^9 operations per second.
        gflops: f64,
    },
    /// Hash of the output.
    Output {
        /// Hash; equal if and only if the bits are equal.
        output: String,
    },
    /// The request is done.
    Done,
    /// An unexpected error occurred.
    Failed {
        /// Reason, as a phrase.
        reason: String,
    },
}

/// Sends a message.
///
/// # Errors
/// When the other side has closed the pipe.
pub fn say(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    to.write_all(line.as_bytes())?;
    to.flush()
}

/// Reads the next message, of at most [`LINE`] bytes; none at the end.
///
/// # Errors
/// When the line isn't a message.
pub fn hear<T: for<'de> Deserialize<'de>>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    match line(from, LINE)? {
        Some(line) => Ok(Some(serde_json::from_slice(&line)?)),
        None => Ok(None),
    }
}
