//! Inputs of a problem, and the reference's outputs for them, with which outputs are compared.

use super::{Candidate, Contestant};
use crate::machine::pool::Workers;
use crate::record::{CandidateId, InputError};
use anyhow::Result;
use convroof_kernels::Problem;
use convroof_kernels::conformance::{Comparison, Data, Deviation};
use convroof_kernels::data::Fill;
use convroof_kernels::reference::{self, Operands};
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

/// Two sets of inputs with the same weights, and the reference's output for the second. The first is for the warm-up,
/// so that a kernel can't pass with an output that it made before.
pub(crate) struct Expected {
    problem: Problem,
    warm_up: Data,
    data: Data,
    /// Computed at the first use.
    output: OnceLock<Vec<f64>>,
    /// Inputs of other distributions with the reference's outputs, computed at the first use.
    others: OnceLock<Vec<(&'static str, Data, Vec<f64>)>>,
}

impl Expected {
    /// Seeded inputs of a problem. Weights of integer layers are small, so that other libraries are exact, too.
    pub(crate) fn new(problem: &Problem, seed: u64) -> Self {
        let warm_up = Data::new(problem, Fill::Uniform, seed).with_small_weights();
        Expected {
            problem: *problem,
            data: warm_up.with_other_inputs(Fill::Uniform, seed + 1),
            warm_up,
            output: OnceLock::new(),
            others: OnceLock::new(),
        }
    }

    /// Inputs of a problem, with the reference's output for the same seed.
    pub(crate) fn known(problem: &Problem, seed: u64, output: Vec<f64>) -> Self {
        Expected {
            output: output.into(),
            ..Expected::new(problem, seed)
        }
    }

    /// The reference's output; none if it was never computed.
    pub(super) fn into_output(self) -> Option<Vec<f64>> {
        self.output.into_inner()
    }

    /// The problem.
    pub(crate) fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The verified operands.
    pub(super) fn operands(&self) -> Operands<'_> {
        self.data.operands()
    }

    /// The reference's output for the verified operands.
    pub(super) fn output(&self, workers: &Workers) -> &[f64] {
        self.output
            .get_or_init(|| reference_output(&self.problem, &self.data, workers))
    }

    /// Loads a contestant with the first inputs, takes a sample of one run, and loads the second. Returns the time in
    /// nanoseconds.
    ///
    /// # Errors
    /// Those of [`Contestant::load`] and [`Contestant::sample`].
    pub(crate) fn warm_up(
        &self,
        contestant: &mut dyn Contestant,
        workers: &Workers,
    ) -> Result<f64> {
        contestant.load(self.warm_up.operands(), false, workers)?;
        let took = contestant.sample(1, workers)?;
        contestant.load(self.operands(), true, workers)?;
        Ok(took)
    }

    /// Compares the output of the timed runs with the reference.
    ///
    /// # Errors
    /// [`Wrong`] when the deviation exceeds the tolerance; another error when there is no output.
    pub(super) fn verify(
        &self,
        candidate: &dyn Candidate,
        contestant: &mut dyn Contestant,
        workers: &Workers,
    ) -> Result<Comparison> {
        let output = contestant.output(workers)?;
        Ok(self.compare(candidate, &output, workers)?)
    }

    /// Compares a candidate's output with the reference.
    ///
    /// # Errors
    /// When the deviation exceeds the tolerance, or the lengths differ.
    pub(crate) fn compare(
        &self,
        candidate: &dyn Candidate,
        output: &[f64],
        workers: &Workers,
    ) -> Result<Comparison, Wrong> {
        let wrong = |how: String| Wrong {
            candidate: candidate.id(),
            problem: Box::new(self.problem),
            how,
        };
        let expected = self.output(workers);
        if output.len() != expected.len() {
            let how = format!("{} outputs for {}", output.len(), expected.len());
            return Err(wrong(how));
        }
        let deviation = Deviation::between(output, expected);
        let (magnitude, largest) = (Fill::Uniform.magnitude(), deviation.largest);
        let compared = Comparison {
            deviation,
            tolerance: candidate.tolerance(&self.problem, magnitude, largest),
        };
        if compared.passes() {
            Ok(compared)
        } else {
            Err(wrong(compared.to_string()))
        }
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
                let output = reference_output(&self.problem, &data, workers);
                (name, data, output)
            };
            kinds.map(make).into()
        });
        others
            .iter()
            .map(|(name, data, output)| (*name, data, output.as_slice()))
    }
}

fn reference_output(problem: &Problem, data: &Data, workers: &Workers) -> Vec<f64> {
    workers.install(|exec| reference::compute(problem, data.operands(), exec))
}
