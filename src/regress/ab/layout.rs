//! Detection of alarms that come from code layout and not from the source. If the hot code is equal in both builds,
//! only its addresses can differ. They affect the alignment of loops and conflicts in the caches (Mytkowicz et al.
//! 2009).
//!
//! The hot functions are found by sampling. The worker runs the kernel and is stopped some hundred times. Each time the
//! system gives the instruction pointers of its threads (Linux, `/proc/<pid>/task/<tid>/syscall`). This needs no
//! counters, no privileges and no debugger.
//!
//! `code.rs` compares the functions.

use super::Pair;
use super::client::{PlanAnswer, Side, WorkerClient};
use super::code::{Function, functions};
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// Duration of the sampling, ms, and number of samples.
const LOOK_MS: u64 = 400;
#[cfg(target_os = "linux")]
const LOOKS: usize = 100;

/// Fewest samples in the program's own code that suffice for an answer.
const ENOUGH: usize = 25;

/// Least fraction of the samples in a hot function.
const HOT: f64 = 0.02;

/// Functions of a build, and the indices of those that take a pair's time.
struct HotCode {
    functions: Vec<Function>,
    hot: Vec<usize>,
}

/// True if the code that takes a pair's time is equal in both builds. None if that is unknown.
///
/// # Errors
/// When a worker fails.
pub fn same_code([a, b]: &[Side; 2], pair: &Pair) -> Result<Option<bool>> {
    let (Some(a), Some(b)) = (profile(a, pair)?, profile(b, pair)?) else {
        return Ok(None);
    };
    Ok(Some(a.is_within(&b) && b.is_within(&a)))
}

impl HotCode {
    /// True if the other build has every hot function of this one.
    fn is_within(&self, other: &HotCode) -> bool {
        self.hot.iter().all(|&i| {
            let own = &self.functions[i];
            let shape = own.shape();
            // Instances of a generic function share a name.
            let mut namesakes = other.functions.iter().filter(|f| f.name == own.name);
            namesakes.any(|f| f.code.len() == own.code.len() && f.shape() == shape)
        })
    }
}

fn profile(side: &Side, pair: &Pair) -> Result<Option<HotCode>> {
    let mut client = WorkerClient::start(side)?;
    let PlanAnswer::Planned(planned) = client.plan(pair, false)? else {
        bail!("{} can't do {pair} any more", side.letter);
    };
    let mut seen = Vec::new();
    client.linger(planned.plan, LOOK_MS, |process| seen = look(process))?;
    drop(client);
    let Ok(functions) = functions(&std::fs::read(&side.program)?) else {
        return Ok(None);
    };
    let hot = hot(&functions, &seen);
    Ok((!hot.is_empty()).then_some(HotCode { functions, hot }))
}

/// Hot functions among the sampled addresses; empty if too few samples hit a function.
fn hot(functions: &[Function], seen: &[u64]) -> Vec<usize> {
    let mut hits: BTreeMap<usize, usize> = BTreeMap::new();
    for &at in seen {
        let index = functions.partition_point(|f| f.from <= at).checked_sub(1);
        if let Some(index) = index
            && at - functions[index].from < functions[index].code.len() as u64
        {
            *hits.entry(index).or_default() += 1;
        }
    }
    let all: usize = hits.values().sum();
    let least = (HOT * all as f64).max(1.0);
    let hot = hits.into_iter().filter(|(_, n)| *n as f64 >= least);
    match all {
        0..ENOUGH => Vec::new(),
        _ => hot.map(|(index, _)| index).collect(),
    }
}

/// Sampled instruction pointers of a process, as addresses in its program's file. Empty if the system doesn't give
/// them.
#[cfg(target_os = "linux")]
fn look(process: u32) -> Vec<u64> {
    use rustix::process::{Pid, Signal, kill_process};
    use std::time::Duration;
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else {
        return Vec::new();
    };
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let Some(base) = base(&read(format!("/proc/{process}/maps"))) else {
        return Vec::new();
    };
    let mut seen = Vec::new();
    for _ in 0..LOOKS {
        std::thread::sleep(Duration::from_micros(
            LOOK_MS * 1000 * 2 / 3 / LOOKS as u64 / 2,
        ));
        let _ = kill_process(pid, Signal::STOP);
        // A signal takes a moment to arrive.
        std::thread::sleep(Duration::from_micros(
            LOOK_MS * 1000 * 2 / 3 / LOOKS as u64 / 2,
        ));
        let tasks = std::fs::read_dir(format!("/proc/{process}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            // For a computing thread: -1, stack pointer, instruction pointer. A waiting thread is in a system call.
            let line = read(task.path().join("syscall").display().to_string());
            let mut words = line.split_whitespace();
            if words.next() == Some("-1")
                && let Some(at) = words
                    .nth(1)
                    .and_then(|w| u64::from_str_radix(w.trim_start_matches("0x"), 16).ok())
            {
                seen.extend(at.checked_sub(base));
            }
        }
        let _ = kill_process(pid, Signal::CONT);
    }
    seen
}

#[cfg(not(target_os = "linux"))]
fn look(_: u32) -> Vec<u64> {
    Vec::new()
}

/// Load address of a program: the first mapping of its file.
#[cfg(target_os = "linux")]
fn base(maps: &str) -> Option<u64> {
    let line = maps.lines().find(|l| l.contains('/'))?;
    u64::from_str_radix(line.split('-').next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_counted_by_function() {
        let function = |from, name: &str| Function {
            from,
            code: vec![0xc3; 16],
            name: name.into(),
        };
        let functions = [function(0, "cold"), function(32, "kernel")];
        let seen: Vec<u64> = (0..200)
            .map(|i| if i == 0 { 3 } else { 32 + i % 16 })
            .collect();
        assert_eq!(hot(&functions, &seen), [1]);
        assert_eq!(
            hot(&functions, &[1000; 200]),
            [0; 0],
            "outside of any function"
        );
        assert_eq!(hot(&functions, &seen[..9]), [0; 0], "too few");
    }
}
