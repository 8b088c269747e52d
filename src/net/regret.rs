//! Regret of the cost model: how much longer its selection takes than the measured one.
//!
//! Both selections run as whole networks, in turns. The regret is the median of the ratios within rounds, with its
//! interval. Sums of the layers' times would not do: the fastest of several noisy times is too short by chance, and so
//! is the sum of such times.

use super::bench;
use super::layer_plans::{By, LayerPlans, Selection};
use super::model::Model;
use super::reference::tolerance;
use super::runner::Runner;
use super::weights::{SEED, input};
use crate::machine::pool::Workers;
use crate::measure::turns::{Turns, ratios};
use crate::networks::{Graph, NodeOp};
use crate::record::CandidateId;
use crate::stats::{Estimate, FEW};
use crate::ties::Certainty;
use anyhow::Result;
use convroof_kernels::conformance::Deviation;
use convroof_kernels::tensor::OutOfMemory;
use serde::Serialize;

/// The model's and the measured selection gave different outputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{network} on {threads} threads: {how}")]
pub struct Disagree {
    network: String,
    threads: usize,
    how: String,
}

/// A network whose layers were measured on some threads.
pub struct Case<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// Plans of its layers, with their times.
    pub plans: &'a LayerPlans,
    /// The cost model.
    pub model: &'a Model,
    /// The threads.
    pub workers: &'a Workers,
}

/// Regret for a network on some threads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Regret {
    /// The selections of each node.
    pub layers: Vec<LayerRegret>,
    /// Fraction by which the model's selection takes longer than the measured one: 0.05 for 5 %. It is the median over
    /// the rounds. None if it was not measured in at least five rounds.
    pub total: Option<f64>,
    /// 95 % confidence interval of `total`.
    pub total_ci: Option<(f64, f64)>,
    /// Number of rounds; 0 if both selections are the same.
    pub rounds: usize,
}

/// Model's and measured selection for a node. Times in nanoseconds, measured layer by layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerRegret {
    /// The node.
    pub name: String,
    /// The layer in the network's table.
    pub layer: String,
    /// Selection of the model.
    pub guess: CandidateId,
    /// Its time; none if the tuning left it out as too slow.
    pub guess_ns: Option<f64>,
    /// Time of the model's selection over that of the layer's fastest variant.
    pub guess_ratio: Option<Estimate>,
    /// Selection by measurements.
    pub best: CandidateId,
    /// Its time.
    pub best_ns: f64,
    /// Certainty of the fastest variant. None if the times come from an older version.
    pub sure: Option<Certainty>,
    /// Variants that can't be told from the fastest, itself included.
    pub ties: Vec<CandidateId>,
}

impl Case<'_> {
    /// Regret of the model, with a runner of the measured selection. None if a selected plan was not measured.
    ///
    /// # Errors
    /// [`Disagree`]; when there is no memory.
    pub fn regret(&self, turns: Turns) -> Result<Option<Regret>> {
        let selection = self.plans.choose(self.graph, self.model, By::Measurement);
        let Some(layers) = self.layers(&selection) else {
            return Ok(None);
        };
        let mut runner = self.runner(&selection)?;
        let ratio = self.ratio(&selection, &mut runner, turns)?;
        Ok(Some(Regret {
            layers,
            total: ratio.map(|r| r.median - 1.0),
            total_ci: ratio.map(|r| (r.ci.0 - 1.0, r.ci.1 - 1.0)),
            rounds: ratio.map_or(0, |r| r.samples),
        }))
    }

    /// Time of the model's selection over that of the measured one, in turns. `runner` runs the measured selection. If
    /// both are the same, the ratio is 1, of no rounds. None if not all layers were measured, a signal ended the rounds,
    /// or there is no memory for both.
    ///
    /// # Errors
    /// [`Disagree`] if the outputs differ by more than both tolerances together.
    pub fn ratio(
        &self,
        selection: &Selection,
        runner: &mut Runner<'_>,
        turns: Turns,
    ) -> Result<Option<Estimate>> {
        if !self.plans.all_measured() {
            return Ok(None);
        }
        let guess = self.plans.choose(self.graph, self.model, By::Model);
        if guess == *selection {
            return Ok(Some(Estimate {
                median: 1.0,
                ci: (1.0, 1.0),
                samples: 0,
            }));
        }
        let mut guessed = match self.runner(&guess) {
            Err(error) if error.is::<OutOfMemory>() => return Ok(None),
            other => other?,
        };
        let runs = bench::runs(runner, self.workers);
        let samples = turns.take(&mut [
            Box::new(|| bench::sample(&mut guessed, self.workers, runs)),
            Box::new(|| bench::sample(runner, self.workers, runs)),
        ]);
        let ratio = Estimate::of(&ratios(&samples[0], &samples[1]));
        let ratio = ratio.filter(|ratio| ratio.samples >= FEW);
        if ratio.is_some() {
            self.compare(&guessed, &guess, runner, selection)?;
        }
        Ok(ratio)
    }

    /// A runner of a selection, with its input.
    fn runner(&self, selection: &Selection) -> Result<Runner<'_>> {
        let Case { graph, plans, .. } = *self;
        let mut runner = self
            .workers
            .install(|exec| Runner::new(graph, plans, selection, SEED, exec))?;
        runner.load(&input(graph, SEED));
        Ok(runner)
    }

    /// Compares the outputs of both selections.
    fn compare(
        &self,
        guessed: &Runner<'_>,
        guess: &Selection,
        measured: &Runner<'_>,
        selection: &Selection,
    ) -> Result<(), Disagree> {
        let of = |selection| tolerance(self.graph, self.plans, selection);
        let most = of(guess) + of(selection);
        let expected: Vec<f64> = measured.output().iter().map(|&x| x.into()).collect();
        let found = Deviation::between(guessed.output(), &expected).max;
        // A NaN is no small difference.
        if found <= most {
            return Ok(());
        }
        Err(Disagree {
            network: self.graph.network.name.clone(),
            threads: self.workers.threads(),
            how: format!(
                "the outputs of the model's and the measured selection differ by {found:.1e} of the largest, allowed {most:.1e}"
            ),
        })
    }

    /// Both selections of each node. None if a measured selection has no time.
    fn layers(&self, selection: &Selection) -> Option<Vec<LayerRegret>> {
        let guess = self.plans.choose(self.graph, self.model, By::Model);
        let mut layers = Vec::new();
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let NodeOp::Layer(layer) = node.op else {
                continue;
            };
            let plans = &self.plans.layers[layer];
            let (guess, best) = (guess.nodes[i].plan?, selection.nodes[i].plan?);
            layers.push(LayerRegret {
                name: node.name.clone(),
                layer: self.graph.network.layers[layer].name.clone(),
                guess: plans[guess].variant.id().into(),
                guess_ns: plans[guess].measured.map(|m| m.ns),
                guess_ratio: plans[guess].measured.and_then(|m| m.ratio),
                best: plans[best].variant.id().into(),
                best_ns: plans[best].measured?.ns,
                sure: self.plans.certainty(layer),
                ties: self.plans.ties(layer),
            });
        }
        Some(layers)
    }
}
