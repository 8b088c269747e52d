//! Kernels on layers of their own, measured in the same rounds. So times of several layers can be added, and the sums
//! compared within rounds.

use super::candidate::{Candidate, Kernel};
use super::expected::Expected;
use super::turns::{Loop, Turns};
use crate::interrupt;
use crate::machine::Topology;
use crate::machine::pool::Workers;
use anyhow::{Result, anyhow};
use std::time::Duration;

/// Samples of each kernel on its layer: nanoseconds of a run, one a round. A sample repeats runs until it takes
/// `sample`. After the last round the outputs are compared with the reference.
///
/// # Errors
/// When a kernel can't compute its layer, its output is wrong, there is no memory, or a signal ended the rounds.
pub(crate) fn together(
    kernels: &[(Kernel, &Expected)],
    sample: Duration,
    turns: Turns,
    topology: &Topology,
    workers: &Workers,
) -> Result<Vec<Vec<f64>>> {
    let mut loaded = Vec::new();
    for (kernel, expected) in kernels {
        let problem = expected.problem();
        let planned = kernel.plan(problem, topology);
        let mut contestant =
            planned.map_err(|why| anyhow!("{} can't compute {problem}: {why}", kernel.id()))?;
        let took = expected.warm_up(contestant.as_mut(), workers)?;
        let runs = (sample.as_nanos() as f64 / took.max(100.0)) as usize;
        loaded.push((contestant, runs.clamp(1, 10_000)));
    }
    let mut loops: Vec<Loop<'_>> = Vec::new();
    for (contestant, runs) in &mut loaded {
        loops.push(Box::new(move || {
            let ns = contestant.sample(*runs, workers);
            ns.expect("only other processes fail")
        }));
    }
    let samples = turns.take(&mut loops);
    drop(loops);
    interrupt::check()?;
    for ((kernel, expected), (contestant, _)) in kernels.iter().zip(&mut loaded) {
        expected.verify(kernel, contestant.as_mut(), workers)?;
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::kernels;
    use convroof_kernels::{Isa, Registry};

    #[test]
    fn each_kernel_has_a_sample_a_round_and_a_verified_output() {
        let topology = Topology::detect();
        let workers = Workers::new(&topology, 1).expect("a worker");
        let variants = Registry::builtin().variants(&[Isa::Scalar]);
        let kernel = |id: &str| {
            let mut all = kernels(&variants, &[1]).into_iter();
            all.find(|k| k.id().algorithm() == id).expect(id)
        };
        let expected = |text: &str| Expected::new(&text.parse().expect("a problem"), 1);
        let (conv, pool) = (
            expected("mb1ic16ih6oc16oh6kh3ph1"),
            expected("--pool --alg=max mb1ic16ih6oh3kh2sh2ph0"),
        );
        let turns = Turns {
            rounds: 5,
            ..Turns::ONE
        };
        let run = |kernels: &[(Kernel, &Expected)]| {
            together(kernels, Duration::ZERO, turns, &topology, &workers)
        };
        let both = [(kernel("direct"), &conv), (kernel("maxpool"), &pool)];
        let samples = run(&both).expect("both are right");
        assert_eq!(samples.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5]);
        assert!(samples.iter().flatten().all(|&ns| ns > 0.0));

        let wrong = Expected::known(conv.problem(), 1, vec![0.0; 16 * 36]);
        let error = run(&[(kernel("direct"), &wrong)]).expect_err("wrong");
        assert!(error.is::<super::super::Wrong>(), "{error:#}");
        let error = run(&[(kernel("maxpool"), &conv)]).expect_err("no pooling");
        assert!(
            error
                .to_string()
                .contains("maxpool/scalar/st can't compute")
        );
    }
}
