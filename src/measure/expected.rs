//! Inputs of a problem, and the reference's outputs for them, with which outputs are compared.

use super::{Candidate, Contestant};
use crate::machine::pool::Workers;
use crate::record::{CandidateId, InputError};
use anyhow::Result;
use convroof_kernels::conformance::{Data, tolerance};
use convroof_kernels::data::Fill;
use convroof_kernels::instance::Deviation;
use convroof_kernels::{Problem, reference};
use std::sync::OnceLock;

/// An output that deviates from the reference by more than the tolerance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{candidate} is wrong on {problem}: {how}")]
pub struct Wrong {
    /// The candidate.
    pub candidate: CandidateId,
    /// The problem.
    pub problem: Box<Problem>,
    /// The difference.
    pub how: String,
}

/// Compares an output with the reference. Returns the deviation and the tolerance.
///
/// # Errors
/// When the deviation exceeds the tolerance, or the lengths differ.
pub fn verified(
    candidate: &dyn Candidate,
    problem: &Problem,
    output: &[f32],
    expected: &[f64],
) -> Result<(Deviation, f64), Wrong> {
    let wrong = |how: String| Wrong {
        candidate: candidate.id(),
        problem: Box::new(*problem),
        how,
    };
    if output.len() != expected.len() {
        let how = format!("{} outputs for {}", output.len(), expected.len());
        return Err(wrong(how));
    }
    let deviation = Deviation::between(output, expected);
    let magnitude = Fill::Uniform.magnitude();
    let tolerance = tolerance(candidate.accuracy(), problem, magnitude, deviation.largest);
    if deviation.max.is_nan() || deviation.max > tolerance {
        let how = format!(
            "max |error| / max |reference| is {:.2e}, allowed {tolerance:.2e}",
            deviation.max
        );
        return Err(wrong(how));
    }
    Ok((deviation, tolerance))
}

/// Two sets of inputs with the same weights, and the reference's output for the second.
pub(super) struct Expected {
    problem: Problem,
    pub(super) warm_up: Data,
    pub(super) data: Data,
    output: Vec<f64>,
    /// Inputs of other distributions with the reference's outputs, computed at the first use.
    others: OnceLock<Vec<(&'static str, Data, Vec<f64>)>>,
}

impl Expected {
    pub(super) fn new(problem: &Problem, seed: u64, workers: &Workers) -> Self {
        let warm_up = Data::new(problem, Fill::Uniform, seed);
        let data = warm_up.with_other_inputs(Fill::Uniform, seed + 1);
        let output = workers.install(|exec| reference::compute(problem, data.operands(), exec));
        Expected {
            problem: *problem,
            warm_up,
            data,
            output,
            others: OnceLock::new(),
        }
    }

    /// Compares the output of the timed runs with the reference. Returns the deviation and the tolerance.
    ///
    /// # Errors
    /// [`Wrong`] when the deviation exceeds the tolerance; another error when there is no output.
    pub(super) fn verify(
        &self,
        candidate: &dyn Candidate,
        contestant: &mut dyn Contestant,
        workers: &Workers,
    ) -> Result<(Deviation, f64)> {
        let output = contestant.output(workers)?;
        Ok(verified(candidate, &self.problem, &output, &self.output)?)
    }

    /// The errors on inputs of each distribution, with the weights of the timed runs. The contestant runs on its
    /// `own` workers; the `widest` pool computes references.
    ///
    /// # Errors
    /// When the contestant can't be loaded, or has no output.
    pub(super) fn errors_by_input(
        &self,
        contestant: &mut dyn Contestant,
        (own, widest): (&Workers, &Workers),
    ) -> Result<Vec<InputError>> {
        let mut errors = Vec::new();
        for (input, data, output) in self.other_inputs(widest) {
            contestant.load(data.operands(), true, own)?;
            contestant.run(1, own);
            let Deviation { l2, max, .. } = Deviation::between(&contestant.output(widest)?, output);
            let input = input.to_string();
            errors.push(InputError { input, l2, max });
        }
        Ok(errors)
    }

    /// Inputs of other distributions: name, operands, and the reference's output.
    fn other_inputs(&self, workers: &Workers) -> impl Iterator<Item = (&str, &Data, &[f64])> {
        let others = self.others.get_or_init(|| {
            let kinds = [("gaussian", Fill::Gaussian), ("post-relu", Fill::PostRelu)];
            let make = |(name, fill)| {
                let data = self.data.with_other_inputs(fill, 3);
                let output = workers
                    .install(|exec| reference::compute(&self.problem, data.operands(), exec));
                (name, data, output)
            };
            kinds.map(make).into()
        });
        others
            .iter()
            .map(|(name, data, output)| (*name, data, output.as_slice()))
    }
}
