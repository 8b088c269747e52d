//! `convroof asm`

use super::one::{Chosen, One};
use super::output::print;
use super::rows::Format;
use super::select::seconds;
use crate::interrupt;
use crate::measure::Candidate;
use crate::profile::{HotFunction, HotLoop, Profile};
use crate::record::{CandidateId, Text};
use crate::report::terminal::percent;
use crate::units::threads;
use anyhow::Result;
use convroof_kernels::dtype::DType;
use convroof_kernels::{Problem, Registry};
use serde::Serialize;
use std::fmt::Write;
use std::time::Duration;

/// Runs the variant in a process of its own, and interrupts it some hundred times a second to see where it is. This needs
/// Linux, but neither privileges nor hardware counters. The output of the variant is compared with the reference first.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    one: One,
    /// Seconds of sampling
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1")]
    seconds: f64,
    #[command(flatten)]
    format: Format,
}

/// Least share of a function in the text.
const LEAST_SHARE: f64 = 0.01;

/// Output of the command.
#[derive(Serialize)]
struct Row {
    variant: CandidateId,
    problem: Text<Problem>,
    /// Type of the problem's source.
    dt: Text<DType>,
    threads: usize,
    /// Always true, since a wrong output is an error.
    verified: bool,
    /// Number of samples.
    samples: usize,
    /// Number of samples in a library or in the system.
    elsewhere: usize,
    /// Functions with samples.
    functions: Vec<HotFunction>,
    /// The hottest loop of the first function in which no thread waits. None on an architecture that convroof can't disassemble.
    hot_loop: Option<HotLoop>,
    /// Command that disassembles the loop, or without one the hottest function.
    objdump: String,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    interrupt::watch();
    let Chosen {
        kernel, problem, ..
    } = args.one.choose(registry)?;
    let time = Duration::from_secs_f64(args.seconds);
    let profile = Profile::of(&kernel, &problem, time, true)?;
    let (functions, hot_loop) = (profile.hot_functions(), profile.hot_loop());
    let row = Row {
        variant: kernel.id(),
        problem: Text::of(problem),
        dt: Text::of(problem.dtypes.src),
        threads: kernel.threads,
        verified: true,
        samples: profile.samples(),
        elsewhere: profile.elsewhere(),
        objdump: objdump(&functions, hot_loop.as_ref())?,
        functions,
        hot_loop,
    };
    match args.format.rows() {
        Some(rows) => rows.print(&[row]),
        None => print(&row.text()),
    }
}

/// Command that disassembles a loop, or without one the hottest function that computes.
fn objdump(functions: &[HotFunction], hot_loop: Option<&HotLoop>) -> Result<String> {
    let program = std::env::current_exe()?;
    let range = hot_loop.map(|hot| hot.from..hot.to);
    let whole = |f: &HotFunction| f.address..f.address + f.bytes as u64;
    let range = range
        .or(functions.iter().find(|f| !f.waits).map(whole))
        .unwrap_or(0..0);
    Ok(format!(
        "objdump -dC --start-address={:#x} --stop-address={:#x} {}",
        range.start,
        range.end,
        program.display()
    ))
}

impl Row {
    fn text(&self) -> String {
        let elsewhere = match self.elsewhere {
            0 => String::new(),
            n => format!(
                ", {} of them in a library or in the system",
                percent(n as f64 / self.samples as f64)
            ),
        };
        let hot_loop = match &self.hot_loop {
            Some(hot) => loop_table(hot, self.dt.is(&DType::F32)),
            None => format!(
                "convroof disassembles only x86-64. This command shows the code of the hottest function:\n  {}\n",
                self.objdump
            ),
        };
        format!(
            "{} on {}, {}: {} samples{elsewhere}. The output is right.\n\n{}\n{hot_loop}",
            self.variant,
            self.problem,
            threads(self.threads),
            self.samples,
            function_table(&self.functions),
        )
    }
}

/// Table of the functions that take a kernel's time.
pub(super) fn function_table(hot: &[HotFunction]) -> String {
    let mut text = String::from(" share     address   bytes  function\n");
    for f in hot.iter().filter(|f| f.share >= LEAST_SHARE) {
        let share = percent(f.share);
        let name = match f.waits {
            true => "(waits for other threads)",
            false => &f.name,
        };
        let _ = writeln!(
            text,
            "{share:>6}  {:>#10x}  {:>6}  {name}",
            f.address, f.bytes
        );
    }
    text + "A function that was inlined has no symbol: its time is in its caller.\n"
}

/// The loop with the share of each instruction, and its counts.
fn loop_table(hot: &HotLoop, is_f32: bool) -> String {
    let (share, name) = (percent(hot.share), &hot.function);
    let mut text = match hot.is_loop {
        true => format!("The hottest loop of {name} has {share} of the samples:\n"),
        false => format!("{name} has {share} of the samples outside of loops:\n"),
    };
    for i in &hot.code {
        let share = match i.samples {
            0 => String::new(),
            _ => format!("{:.1} %", 100.0 * i.share),
        };
        let _ = writeln!(text, "{share:>7}  {:>#10x}  {}", i.address, i.text);
    }
    text + &counts(hot, is_f32)
}

/// Counts of a loop's instructions. Only code for f32 has no dot products.
fn counts(hot: &HotLoop, is_f32: bool) -> String {
    let c = &hot.counts;
    let [products, others] = match is_f32 {
        true => [
            "FMAs",
            "other floating-point arithmetic in vector registers",
        ],
        false => [
            "FMAs and dot products",
            "other arithmetic in vector registers: floating-point, and sums of 32-bit integers",
        ],
    };
    let per_load = hot.fmas_per_load.map(|n| format!(", {n:.2} a load"));
    let per_load = per_load.unwrap_or_default();
    format!(
        "\n{} instructions, {} bytes\n\
         {:>6}  {}: {:.2} an instruction{per_load}\n\
         {:>6}  {}\n\
         {:>6}  loads, operands in memory included\n\
         {:>6}  stores\n\
         {:>6}  loads and stores on the stack (spills)\n\
         {:>6}  jumps\n\
         {:>6}  calls\n\
         The share of an instruction includes the wait for its operands.\n",
        c.instructions,
        c.bytes,
        c.fmas,
        products,
        hot.fmas_per_instruction,
        c.other_arithmetic,
        others,
        c.loads,
        c.stores,
        c.spills,
        c.jumps,
        c.calls,
    )
}
