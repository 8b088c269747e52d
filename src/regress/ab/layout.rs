//! Detection of alarms that come from code layout and not from the source. If the hot code is equal in both builds,
//! only its addresses can differ. They affect the alignment of loops and conflicts in the caches (Mytkowicz et al.
//! 2009).
//!
//! The hot functions are found by sampling a worker that runs the kernel ([`samples`]).

use super::Pair;
use super::client::{PlanAnswer, Side, WorkerClient};
use crate::code::{Function, function_at, functions, samples};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::time::Duration;

/// Duration of the run that is sampled, ms.
const RUN_MS: u64 = 400;

/// Duration of the sampling.
const SAMPLING: Duration = Duration::from_millis(300);

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
    client.linger(planned.plan, RUN_MS, |process| {
        seen = samples(process, SAMPLING);
    })?;
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
