//! Comparison of the machine code that takes a kernel's time. If that code is equal in both builds, only its addresses
//! can differ. They affect the alignment of loops and conflicts in the caches (Mytkowicz et al. 2009), which doesn't
//! come from the source.
//!
//! The hot functions are found by sampling a worker that runs the kernel ([`samples`]).

use super::Pair;
use super::client::{PlanAnswer, Planned, Side, WorkerClient};
use crate::code::{Function, function_at, functions, samples, unmatched};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::time::Duration;

/// Duration of a sampling.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Time for which the kernel runs, ms.
    pub run_ms: u64,
    /// Time within it in which samples are taken.
    pub time: Duration,
}

/// Sampling of every pair before the measurement, to choose among them.
pub const QUICK: Sampling = Sampling {
    run_ms: 60,
    time: Duration::from_millis(45),
};

/// Sampling of a pair on whose result a verdict depends.
pub const CAREFUL: Sampling = Sampling {
    run_ms: 400,
    time: Duration::from_millis(300),
};

/// Fewest samples in the program's own code that suffice for an answer.
const ENOUGH: usize = 25;

/// Most repetitions of a sampling that gives fewer: a busy machine gives few.
const MOST_ROUNDS: usize = 5;

/// Least fraction of the samples in a hot function.
const HOT: f64 = 0.02;

/// The functions of both builds.
pub struct Programs {
    functions: [Vec<Function>; 2],
    /// For each function: true if the other build doesn't have it.
    unmatched: [Vec<bool>; 2],
}

impl Programs {
    /// Reads the programs of both builds. None if the functions of one aren't known.
    ///
    /// # Errors
    /// When a program can't be read.
    pub fn read(sides: &[Side; 2]) -> Result<Option<Programs>> {
        let [a, b] = [&sides[0].program, &sides[1].program].map(std::fs::read);
        let (a, b) = (a?, b?);
        if a == b {
            let functions = [Vec::new(), Vec::new()];
            let unmatched = [Vec::new(), Vec::new()];
            return Ok(Some(Programs {
                functions,
                unmatched,
            }));
        }
        let known = |program: &[u8]| functions(program).ok().filter(|f| !f.is_empty());
        let (Some(a), Some(b)) = (known(&a), known(&b)) else {
            return Ok(None);
        };
        Ok(Some(Programs {
            unmatched: [unmatched(&a, &b), unmatched(&b, &a)],
            functions: [a, b],
        }))
    }

    /// True if each function of one build is also in the other.
    pub fn are_equal(&self) -> bool {
        !self.unmatched.iter().flatten().any(|u| *u)
    }

    /// True if both builds have the functions that take a pair's time, and plan the same memory for it. None if the
    /// system doesn't show which functions these are.
    ///
    /// # Errors
    /// When a worker fails.
    pub fn same_code(
        &self,
        clients: &mut [WorkerClient; 2],
        pair: &Pair,
        sampling: Sampling,
    ) -> Result<Option<bool>> {
        if self.are_equal() {
            return Ok(Some(true));
        }
        let mut bytes = Vec::new();
        for (side, client) in clients.iter_mut().enumerate() {
            let PlanAnswer::Planned(planned) = client.plan(pair, false)? else {
                bail!("{} can't do {pair} any more", ['A', 'B'][side]);
            };
            bytes.push(planned.bytes);
            match self.hot_code_matches(side, client, &planned, sampling)? {
                Some(true) => {}
                other => return Ok(other),
            }
        }
        // Other block sizes may run the same code, in another memory.
        Ok(Some(bytes[0] == bytes[1]))
    }

    /// True if the other build has all functions that take a plan's time in this one; none if these aren't known.
    fn hot_code_matches(
        &self,
        side: usize,
        client: &mut WorkerClient,
        planned: &Planned,
        sampling: Sampling,
    ) -> Result<Option<bool>> {
        let (mut seen, mut hot) = (Vec::new(), Vec::new());
        for _ in 0..MOST_ROUNDS {
            client.linger(planned.plan, sampling.run_ms, |process| {
                seen.extend(samples(process, sampling.time));
            })?;
            hot = self::hot(&self.functions[side], &seen);
            if !hot.is_empty() {
                break;
            }
        }
        let matched = |i: &usize| !self.unmatched[side][*i];
        Ok((!hot.is_empty()).then(|| hot.iter().all(matched)))
    }
}

/// Hot functions among the sampled addresses; empty if too few samples hit a function.
fn hot(functions: &[Function], seen: &[u64]) -> Vec<usize> {
    let mut hits: BTreeMap<usize, usize> = BTreeMap::new();
    for index in seen.iter().filter_map(|&at| function_at(functions, at)) {
        *hits.entry(index).or_default() += 1;
    }
    let all: usize = hits.values().sum();
    let least = (HOT * all as f64).max(1.0);
    let hot = hits.into_iter().filter(|(_, n)| *n as f64 >= least);
    match all {
        0..ENOUGH => Vec::new(),
        _ => hot.map(|(index, _)| index).collect(),
    }
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
