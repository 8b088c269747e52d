//! Functions and loop that take a kernel's time, from samples of a worker that runs it.
//!
//! The worker is this program in a process of its own, as for `convroof ab`. So neither the sampling nor the rest of the
//! suite appears in the samples.

use crate::code::{self, Counts, Function, Instruction, function_at};
use crate::interrupt;
use crate::measure::{Candidate, Kernel, Wrong};
use crate::record::Text;
use crate::regress::ab::Pair;
use crate::regress::ab::client::{PlanAnswer, WorkerClient};
use anyhow::{Context, Result, bail};
use convroof_kernels::Problem;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time by which the worker runs longer than it is sampled.
const LONGER: Duration = Duration::from_millis(200);

/// Fewest samples in the program's own functions that suffice for an answer.
const ENOUGH: usize = 25;

/// Number of samples below which the sampling is repeated, and most repetitions. A busy machine gives few.
const PLENTY: usize = 100;
const MOST_ROUNDS: usize = 5;

/// The function in which workers wait for each other, by its name. It is never inlined.
const WAIT: &str = "convroof_kernels::exec::sync::spin_until";

/// Samples of a kernel's instruction pointers, and the functions of the program.
pub struct Profile {
    functions: Vec<Function>,
    /// Index of a function, and an address in it.
    inside: Vec<(usize, u64)>,
    /// Number of samples in no function of the program: in a library, or in the system.
    elsewhere: usize,
}

/// A function in which a kernel spends its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HotFunction {
    /// Its name without a hash.
    pub name: String,
    /// Its address in the program's file.
    #[serde(serialize_with = "hexadecimal")]
    pub address: u64,
    /// Its length in bytes.
    pub bytes: usize,
    /// Number of samples in it.
    pub samples: usize,
    /// Fraction of all samples.
    pub share: f64,
    /// True if a thread waits for other threads in it.
    pub waits: bool,
}

/// The hottest loop of a kernel's hottest function, or this whole function if more samples are in no loop.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HotLoop {
    /// Name of its function.
    pub function: String,
    /// False if this is the whole function.
    pub is_loop: bool,
    /// Address of its first instruction in the program's file.
    #[serde(serialize_with = "hexadecimal")]
    pub from: u64,
    /// Address after its last instruction.
    #[serde(serialize_with = "hexadecimal")]
    pub to: u64,
    /// Number of samples that have it as innermost loop.
    pub samples: usize,
    /// Fraction of all samples.
    pub share: f64,
    /// Counts of its instructions.
    #[serde(flatten)]
    pub counts: Counts,
    /// FMAs and dot products over all instructions.
    pub fmas_per_instruction: f64,
    /// FMAs and dot products over loads; none without loads.
    pub fmas_per_load: Option<f64>,
    /// Its instructions.
    pub code: Vec<HotInstruction>,
}

/// An instruction of the hot loop.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HotInstruction {
    /// Its address in the program's file.
    #[serde(serialize_with = "hexadecimal")]
    pub address: u64,
    /// Its text.
    pub text: String,
    /// Number of samples at it.
    pub samples: usize,
    /// Fraction of all samples.
    pub share: f64,
}

/// Writes an address as other tools do.
fn hexadecimal<S: Serializer>(address: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{address:#x}"))
}

impl Profile {
    /// Samples a kernel while it computes a problem for some time. With `check` its output is compared with the
    /// reference first.
    ///
    /// # Errors
    /// [`Wrong`] for a wrong output, [`interrupt::Stopped`] after Ctrl-C. Otherwise when the worker fails, the program
    /// has no symbols, or the system shows too few samples.
    pub fn of(kernel: &Kernel, problem: &Problem, time: Duration, check: bool) -> Result<Profile> {
        let program = std::env::current_exe()?;
        let functions = code::functions(&std::fs::read(&program)?)
            .context("can't read the symbols of this program, which needs an ELF program")?;
        if functions.is_empty() {
            bail!("this program was stripped of its symbols: build it without `strip`");
        }
        let pair = Pair {
            problem: Text::of(*problem),
            variant: kernel.id(),
            threads: kernel.threads,
        };
        let mut worker = WorkerClient::of(&program, "the worker".into())?;
        let plan = match worker.plan(&pair, check)? {
            PlanAnswer::Planned(planned) => planned.plan,
            PlanAnswer::Refused(reason) => bail!("{} can't do '{problem}': {reason}", pair.variant),
            PlanAnswer::Wrong(how) => {
                let (candidate, problem) = (pair.variant, Box::new(*problem));
                return Err(Wrong {
                    candidate,
                    problem,
                    how,
                }
                .into());
            }
        };
        let (mut samples, runs) = (Vec::new(), (time + LONGER).as_millis() as u64);
        for _ in 0..MOST_ROUNDS {
            worker.linger(plan, runs, |process| {
                samples.extend(code::samples(process, time));
            })?;
            interrupt::check()?;
            if samples.len() >= PLENTY {
                break;
            }
        }
        Profile::new(functions, &samples)
    }

    /// Sampled addresses in the functions of a program, which are ordered by address.
    fn new(functions: Vec<Function>, samples: &[u64]) -> Result<Profile> {
        let at = |&address: &u64| Some((function_at(&functions, address)?, address));
        let inside: Vec<_> = samples.iter().filter_map(at).collect();
        if inside.len() < ENOUGH {
            bail!(
                "of {} samples {} are in a function of this program, and {ENOUGH} are needed: the system doesn't show \
                 where a child process is, or the machine is too busy",
                samples.len(),
                inside.len()
            );
        }
        Ok(Profile {
            elsewhere: samples.len() - inside.len(),
            functions,
            inside,
        })
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.inside.len() + self.elsewhere
    }

    /// Number of samples in no function of the program: in a library, or in the system.
    pub fn elsewhere(&self) -> usize {
        self.elsewhere
    }

    fn share(&self, samples: usize) -> f64 {
        samples as f64 / self.samples() as f64
    }

    /// Functions with samples, the hottest first.
    pub fn hot_functions(&self) -> Vec<HotFunction> {
        let hits = tally(self.inside.iter().map(|(function, _)| *function));
        let hot = hits.into_iter().map(|(index, samples)| {
            let Function { name, from, code } = &self.functions[index];
            HotFunction {
                name: name.clone(),
                address: *from,
                bytes: code.len(),
                samples,
                share: self.share(samples),
                waits: self.waits(index),
            }
        });
        hot.collect()
    }

    /// True if a thread waits for other threads in a function.
    fn waits(&self, function: usize) -> bool {
        self.functions[function].name == WAIT
    }

    /// The hottest loop of the function with the most samples, unless threads only wait in it. Each sample counts for the innermost loop around it. If more
    /// are in no loop than in any of them, this is the whole function. None on an architecture that this program can't
    /// disassemble.
    pub fn hot_loop(&self) -> Option<HotLoop> {
        let functions = tally(self.inside.iter().map(|(index, _)| *index));
        let computes = |(index, _): &(usize, usize)| !self.waits(*index);
        let (function, _) = functions.into_iter().find(computes)?;
        let Function { name, .. } = &self.functions[function];
        let code = code::disassemble(&self.functions[function])?;
        let loops = code::loops(&code);
        let own = self.inside.iter().filter(|(index, _)| *index == function);
        let places = own.map(|(_, address)| code.partition_point(|i| i.address <= *address) - 1);
        let innermost = |at: usize| loops.iter().position(|range| range.contains(&at));
        let (hottest, samples) = tally(places.clone().map(innermost)).into_iter().next()?;
        let range = hottest.map_or(0..code.len(), |index| loops[index].clone());

        let mut samples_at = vec![0; code.len()];
        places.for_each(|at| samples_at[at] += 1);
        let instructions = &code[range.clone()];
        let hot = |(i, &samples): (&Instruction, &usize)| HotInstruction {
            address: i.address,
            text: i.text.clone(),
            samples,
            share: self.share(samples),
        };
        let hot = instructions.iter().zip(&samples_at[range]).map(hot);
        let (first, last) = (instructions.first()?, instructions.last()?);
        let counts = Counts::of(instructions);
        let over = |n: usize| counts.fmas as f64 / n as f64;
        Some(HotLoop {
            function: name.clone(),
            is_loop: hottest.is_some(),
            from: first.address,
            to: last.address + last.bytes as u64,
            samples,
            share: self.share(samples),
            fmas_per_instruction: over(counts.instructions),
            fmas_per_load: (counts.loads > 0).then(|| over(counts.loads)),
            code: hot.collect(),
            counts,
        })
    }
}

/// Distinct items with their numbers, the most frequent first.
fn tally<T: Ord>(items: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut counts = BTreeMap::new();
    items.for_each(|item| *counts.entry(item).or_insert(0) += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// nop; nop; dec rcx; jne (the second nop); nop; ret
    const LOOP: [u8; 9] = [0x90, 0x90, 0x48, 0xff, 0xc9, 0x75, 0xfa, 0x90, 0xc3];

    fn profile(samples: &[u64]) -> Result<Profile> {
        let function = |name: &str, from, code: &[u8]| Function {
            name: name.into(),
            from,
            code: code.into(),
        };
        let functions = vec![
            function("flat", 0x100, &[0x90; 16]),
            function("looped", 0x200, &LOOP),
            function(WAIT, 0x300, &LOOP),
        ];
        Profile::new(functions, samples)
    }

    #[test]
    fn the_hottest_loop_of_the_hottest_function_is_shown() {
        // In `looped` 10 samples before the loop and 40 in it, 30 in the other function, 20 in neither.
        let samples = [
            (0x200, 10),
            (0x202, 10),
            (0x205, 30),
            (0x108, 30),
            (0x900, 20),
        ];
        let samples = samples.map(|(at, n)| vec![at; n]).concat();
        let profile = profile(&samples).expect("enough");
        assert_eq!((profile.samples(), profile.elsewhere()), (100, 20));
        let functions = profile.hot_functions();
        let shares = functions
            .iter()
            .map(|f| (f.name.as_str(), f.samples, f.share));
        assert_eq!(
            shares.collect::<Vec<_>>(),
            [("looped", 50, 0.5), ("flat", 30, 0.3)]
        );
        let hot = profile.hot_loop();
        assert_eq!(hot.is_some(), cfg!(target_arch = "x86_64"), "disassembled");
        let Some(hot) = hot else { return };
        assert!(hot.is_loop, "{hot:?}");
        assert_eq!(
            (hot.function.as_str(), hot.from, hot.to),
            ("looped", 0x201, 0x207)
        );
        assert_eq!((hot.samples, hot.counts.instructions), (40, 3));
        let samples: Vec<_> = hot.code.iter().map(|i| (i.address, i.samples)).collect();
        assert_eq!(samples, [(0x201, 0), (0x202, 10), (0x205, 30)]);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn without_a_loop_a_function_is_shown() {
        let samples = [vec![0x108; 50], vec![0x202; 49]].concat();
        let hot = profile(&samples).expect("enough").hot_loop().expect("x86");
        assert!(!hot.is_loop, "{hot:?}");
        assert_eq!((hot.from, hot.to, hot.samples), (0x100, 0x110, 50));
        assert_eq!(hot.fmas_per_load, None);
        let json = serde_json::to_value(&hot).expect("JSON");
        assert_eq!(
            (&json["from"], &json["instructions"]),
            (&"0x100".into(), &16.into())
        );
    }

    #[test]
    fn a_wait_has_no_hot_loop() {
        let samples = [vec![0x302; 90], vec![0x202; 10]].concat();
        let profile = profile(&samples).expect("enough");
        let waits = profile.hot_functions().into_iter().map(|f| f.waits);
        assert_eq!(waits.collect::<Vec<_>>(), [true, false]);
        let hot = profile.hot_loop();
        assert_eq!(hot.is_some(), cfg!(target_arch = "x86_64"), "disassembled");
        let Some(hot) = hot else { return };
        assert_eq!((hot.function.as_str(), hot.samples), ("looped", 10));
    }

    #[test]
    fn few_samples_are_no_profile() {
        let error = profile(&[0x900; 1000]).err().expect("none is inside");
        assert!(
            error.to_string().contains("of 1000 samples 0 are"),
            "{error}"
        );
    }
}
