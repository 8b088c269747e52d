//! `convroof watch`

use super::asm;
use super::noise::{Disturbances, line_above};
use super::one::{Chosen, One};
use super::output::{colour, print, send};
use super::rows;
use super::select::seconds;
use crate::escape;
use crate::interrupt::{self, Stopped};
use crate::measure::Candidate;
use crate::measure::steady::{Pace, Steady};
use crate::profile::{HotFunction, Profile};
use crate::record::{CacheState, Calibration, CandidateId, Text};
use crate::report::terminal::percent;
use crate::stats::median;
use crate::units::{rate, threads, time};
use anyhow::{Result, anyhow};
use convroof_kernels::conformance::Comparison;
use convroof_kernels::dtype::DType;
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::{Problem, Registry};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Prints the process id, the functions that take the kernel's time, and commands that attach a profiler. Then the
/// kernel runs until Ctrl-C, with a line each second. Afterwards its output is compared with the reference.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    one: One,
    /// State of the caches: warm, weights-cold or cold
    #[arg(long, value_name = "STATE", default_value = "warm")]
    cache: String,
    /// End after some seconds [default: run until Ctrl-C]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<f64>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Duration of the sampling that finds the functions.
const SAMPLING: Duration = Duration::from_millis(400);

/// Time between two lines.
const PERIOD: Duration = Duration::from_secs(1);

/// Duration in the commands that attach a profiler, in seconds.
const ATTACHED: u32 = 5;

/// A line of output. Times of runs are in nanoseconds, rates in 10^9 per second.
#[derive(Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
enum Row {
    Start(Box<Start>),
    Period(Period),
    End(End),
}

/// Facts for the user of a profiler.
#[derive(Serialize)]
struct Start {
    variant: CandidateId,
    problem: Text<Problem>,
    /// Type of the problem's source.
    dt: Text<DType>,
    threads: usize,
    cache: Text<CacheState>,
    pid: u32,
    /// Functions that take the kernel's time, with the samples in them. Empty if they are unknown.
    functions: Vec<HotFunction>,
    /// Reason why they are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<String>,
    /// Commands that attach a profiler.
    attach: Vec<String>,
}

/// Speed within a second.
#[derive(Clone, Copy, Serialize)]
struct Period {
    /// Seconds since the first run.
    seconds: f64,
    runs: usize,
    mean_ns: f64,
    gflops_nominal: f64,
    /// Compulsory bytes per second.
    bandwidth_gbps: f64,
    peak_gflops: f64,
    fraction_of_peak: f64,
}

/// Summary of all periods.
#[derive(Serialize)]
struct End {
    seconds: f64,
    runs: usize,
    /// Median, least and largest mean of a period.
    median_ns: f64,
    min_ns: f64,
    max_ns: f64,
    /// Median of the periods.
    fraction_of_peak: f64,
    error_max: f64,
    tolerance: f64,
    /// Always true, since a wrong output is an error.
    verified: bool,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    interrupt::watch();
    let state = args.cache.parse::<CacheState>();
    let state = state.map_err(|why| anyhow!("--cache {why}"))?;
    let chosen = args.one.choose(registry)?;
    let start = Start::new(&chosen, state)?;
    let mut steady = Steady::new(chosen.kernel, &chosen.problem, &chosen.topology, state)?;
    if !show(args.json, &Row::Start(Box::new(start)))? {
        return Ok(());
    }
    // A profiler may be attached at once, so this doesn't wait for a quiet moment.
    let mut disturbances = Disturbances::begin(&chosen.topology, chosen.kernel.threads, Some(0.0));
    let periods = periods(&mut steady, args)?;
    let noise = line_above(
        &disturbances.facts("watch", &Calibration::default()),
        args.json,
    );
    if !args.json {
        print(&format!("\n{noise}"))?;
    }
    let end = End::new(&periods, steady.verify()?);
    show(args.json, &Row::End(end)).map(drop)
}

/// Runs until the time is over, Ctrl-C, or the end of the reader of the output. There is at least one period.
fn periods(steady: &mut Steady, args: &Args) -> Result<Vec<Period>> {
    let limit = args.seconds.map(Duration::from_secs_f64);
    let (begin, mut periods) = (Instant::now(), Vec::new());
    loop {
        let left = limit.map(|limit| limit.saturating_sub(begin.elapsed()));
        let pace = steady.run_for(left.unwrap_or(PERIOD).min(PERIOD))?;
        let period = Period::new(begin.elapsed(), pace, steady);
        periods.push(period);
        let read = show(args.json, &Row::Period(period))?;
        let over = limit.is_some_and(|limit| begin.elapsed() >= limit);
        if !read || over || interrupt::requested() {
            return Ok(periods);
        }
    }
}

/// Prints a line. False if the reader of the output has ended.
fn show(json: bool, row: &Row) -> Result<bool> {
    let text = match row {
        _ if json => return send(rows::line(row)?.as_bytes()),
        Row::Start(start) => start.text(),
        Row::Period(period) => period.text(),
        Row::End(end) => end.text(),
    };
    send(escape::lines(&text, colour()).as_bytes())
}

impl Start {
    /// Samples the kernel in a process of its own.
    fn new(chosen: &Chosen, state: CacheState) -> Result<Start> {
        let Chosen {
            kernel, problem, ..
        } = chosen;
        let (functions, unknown) = match Profile::of(kernel, problem, SAMPLING, false) {
            Ok(profile) => (profile.hot_functions(), None),
            Err(error) if error.is::<Stopped>() => return Err(error),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        let pid = std::process::id();
        Ok(Start {
            variant: kernel.id(),
            problem: Text::of(*problem),
            dt: Text::of(problem.dtypes.src),
            threads: kernel.threads,
            cache: Text::of(state),
            pid,
            functions,
            unknown,
            attach: attach(pid),
        })
    }

    fn text(&self) -> String {
        let functions = match &self.unknown {
            Some(why) => format!("The functions that take the time are unknown: {why}.\n"),
            None => asm::function_table(&self.functions),
        };
        format!(
            "{} on {}, {}, {}: pid {}\n\n{functions}\nTo attach a profiler for {ATTACHED} s:\n  {}\n\n{}\n",
            self.variant,
            self.problem,
            threads(self.threads),
            self.cache,
            self.pid,
            self.attach.join("\n  "),
            headings(
                self.dt
                    .value()
                    .map_or(Arithmetic::F32, |&dt| Arithmetic::of(dt))
            ),
        )
    }
}

/// Headings of the lines of periods.
fn headings(arithmetic: Arithmetic) -> String {
    format!(
        "   time       run  {:>8}      GB/s  of peak",
        rate(arithmetic)
    )
}

impl Period {
    fn new(since: Duration, pace: Pace, steady: &Steady) -> Period {
        let gflops_nominal = steady.flops_nominal() as f64 / pace.ns;
        Period {
            seconds: since.as_secs_f64(),
            runs: pace.runs,
            mean_ns: pace.ns,
            gflops_nominal,
            bandwidth_gbps: steady.bytes() as f64 / pace.ns,
            peak_gflops: pace.peak_gflops,
            fraction_of_peak: gflops_nominal / pace.peak_gflops,
        }
    }

    fn text(&self) -> String {
        format!(
            "{:>5.0} s  {:>8}  {:>8.1}  {:>8.1}  {:>7}\n",
            self.seconds,
            time(self.mean_ns),
            self.gflops_nominal,
            self.bandwidth_gbps,
            percent(self.fraction_of_peak),
        )
    }
}

impl End {
    /// Summary of at least one period.
    fn new(periods: &[Period], verified: Comparison) -> End {
        let means: Vec<f64> = periods.iter().map(|p| p.mean_ns).collect();
        let fractions: Vec<f64> = periods.iter().map(|p| p.fraction_of_peak).collect();
        End {
            seconds: periods.last().map_or(0.0, |p| p.seconds),
            runs: periods.iter().map(|p| p.runs).sum(),
            median_ns: median(&means).unwrap_or(f64::NAN),
            min_ns: means.iter().copied().fold(f64::INFINITY, f64::min),
            max_ns: means.iter().copied().fold(0.0, f64::max),
            fraction_of_peak: median(&fractions).unwrap_or(f64::NAN),
            error_max: verified.deviation.max,
            tolerance: verified.tolerance,
            verified: true,
        }
    }

    fn text(&self) -> String {
        let right = match self.tolerance {
            0.0 => "to the last bit".to_string(),
            tolerance => format!(
                "its largest error is {:.1e} of the largest output, {tolerance:.1e} is allowed",
                self.error_max
            ),
        };
        format!(
            "{} timed runs in {:.1} s: {} each ({} to {} in a second), {} of the peak.\nThe output is right: {right}.\n",
            self.runs,
            self.seconds,
            time(self.median_ns),
            time(self.min_ns),
            time(self.max_ns),
            percent(self.fraction_of_peak),
        )
    }
}

/// Commands that attach a profiler of this system to a process.
fn attach(pid: u32) -> Vec<String> {
    let vtune = format!("vtune -collect hotspots -target-pid {pid} -duration {ATTACHED}");
    let uprof = format!("AMDuProfCLI collect --config tbp -p {pid} -d {ATTACHED} -o uprof");
    if cfg!(target_os = "macos") {
        return vec![format!("sample {pid} {ATTACHED}")];
    }
    if cfg!(not(target_os = "linux")) {
        return vec![vtune, uprof];
    }
    vec![
        format!("perf stat -p {pid} -- sleep {ATTACHED}"),
        format!("perf record -g -p {pid} -- sleep {ATTACHED}"),
        vtune,
        uprof,
    ]
}
