//! Which layers, variants and threads a command is about.

use crate::machine::Topology;
use crate::measure::CacheState;
use crate::networks::{self, Network};
use crate::record::LayerRef;
use anyhow::{Context, Result, anyhow, bail};
use convroof_kernels::problem::Op;
use convroof_kernels::{Isa, Problem, Registry, Variant};
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::collections::HashSet;

/// Layers.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct Layers {
    /// Networks: globs, several with commas [default depends on the command]
    #[arg(long, value_name = "GLOBS")]
    pub(super) network: Option<String>,
    /// Layers of these networks: globs, several with commas
    #[arg(long, value_name = "GLOBS", default_value = "*")]
    pub(super) layer: String,
    /// A layer of your own, as benchdnn writes it: mb1ic64ih56oc64oh56kh3ph1 (repeatable)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) problem: Vec<String>,
    /// Images at a time, for the networks' layers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) batch: usize,
}

/// Variants.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Variants {
    /// Variants: globs over <algorithm>/<isa>/<st|mt>, several with commas
    #[arg(long, value_name = "GLOBS", default_value = "*")]
    pub(super) variant: String,
}

/// A layer with its problem.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) layer: LayerRef,
    pub(super) problem: Problem,
}

/// Patterns, several with commas.
pub(super) fn globs(text: &str) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        set.add(Glob::new(part).with_context(|| format!("'{part}' is not a pattern"))?);
    }
    Ok(set.build()?)
}

impl Layers {
    /// The chosen layers; `default` are the networks if none is named and there is no problem.
    pub(super) fn choose(&self, default: &str) -> Result<Vec<Chosen>> {
        let mut chosen = Vec::new();
        let named = self
            .network
            .as_deref()
            .or(self.problem.is_empty().then_some(default));
        if let Some(patterns) = named {
            for network in matching_networks(patterns)? {
                let name = network.name.clone();
                let network = network
                    .with_batch(self.batch)
                    .with_context(|| format!("batch {}", self.batch))?;
                let layers = globs(&self.layer)?;
                chosen.extend(
                    network
                        .layers
                        .iter()
                        .filter(|l| layers.is_match(&l.name))
                        .map(|l| Chosen {
                            layer: LayerRef {
                                network: name.clone(),
                                layer: l.name.clone(),
                                kind: l.kind.name().into(),
                                count: l.count,
                                problem: l.problem.to_string(),
                            },
                            problem: l.problem,
                        }),
                );
            }
            if chosen.is_empty() {
                bail!(
                    "no layer of {patterns} matches --layer '{}': see convroof list --layers",
                    self.layer
                );
            }
        }
        for text in &self.problem {
            let problem: Problem = text.parse()?;
            let kind = match problem.op {
                Op::Conv(_) => "conv",
                Op::Pool(_) => "pool",
                _ => "custom",
            };
            let text = problem.to_string();
            let layer = LayerRef {
                network: "custom".into(),
                layer: text.clone(),
                kind: kind.into(),
                count: 1,
                problem: text,
            };
            chosen.push(Chosen { layer, problem });
        }
        Ok(chosen)
    }
}

/// The networks that some patterns name.
pub(super) fn matching_networks(patterns: &str) -> Result<Vec<Network>> {
    // Each pattern must find something: a typo among several is not passed over.
    for part in patterns.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let one = globs(part)?;
        if !networks::names().iter().any(|n| one.is_match(n)) {
            bail!(
                "unknown network '{part}': there are {}",
                networks::names().join(", ")
            );
        }
    }
    let set = globs(patterns)?;
    if set.is_empty() {
        bail!(
            "--network names none: there are {}",
            networks::names().join(", ")
        );
    }
    Ok(networks::all()
        .into_iter()
        .filter(|n| set.is_match(&n.name))
        .collect())
}

/// The problems of some layers, each once.
pub(super) fn problems(chosen: &[Chosen]) -> Vec<Problem> {
    let mut seen = HashSet::new();
    chosen
        .iter()
        .map(|c| c.problem)
        .filter(|p| seen.insert(*p))
        .collect()
}

impl Variants {
    /// The chosen variants of `registry`; emulated widths only where a pattern names them.
    pub(super) fn choose(&self, registry: &Registry) -> Result<Vec<Variant>> {
        let wants_emulated = self.variant.contains("emu");
        let isas: &[Isa] = if wants_emulated {
            &Isa::ALL
        } else {
            &Isa::REAL
        };
        let all = registry.variants(isas);
        for part in self
            .variant
            .split(',')
            .map(str::trim)
            .filter(|p| !p.is_empty())
        {
            let one = globs(part)?;
            if !all.iter().any(|v| one.is_match(v.id().to_string())) {
                let names: Vec<_> = registry.algorithms().iter().map(|a| a.meta().id).collect();
                return Err(anyhow!(
                    "no variant matches '{part}': write <algorithm>/<isa>/<st|mt> with an algorithm of {} and an isa of scalar, avx2, avx512, neon, or patterns such as 'direct/*'",
                    names.join(", ")
                ));
            }
        }
        let set = globs(&self.variant)?;
        let chosen: Vec<Variant> = all
            .into_iter()
            .filter(|v| set.is_match(v.id().to_string()))
            .collect();
        if chosen.is_empty() {
            bail!("--variant names none: '*' is all of them");
        }
        Ok(chosen)
    }
}

/// Numbers of threads: as given, or one and as many as there are cores.
pub(super) fn threads(given: &[usize], topology: &Topology) -> Result<Vec<usize>> {
    let cores = topology.cores.len();
    let mut threads = if given.is_empty() {
        vec![1, cores]
    } else {
        given.to_vec()
    };
    for &n in &threads {
        if n == 0 || n > cores {
            bail!("--threads {n}: this machine has {cores} physical cores, so use 1 to {cores}");
        }
    }
    threads.sort_unstable();
    threads.dedup();
    Ok(threads)
}
/// States of the caches by their names; warm is always among them, since the others are set beside it.
///
/// # Errors
/// When a name is none of theirs.
pub(super) fn states(names: &str) -> Result<Vec<CacheState>> {
    let mut states = vec![CacheState::Warm];
    for name in names.split(',').map(str::trim) {
        let state = CacheState::ALL.into_iter().find(|s| s.name() == name);
        let Some(state) = state else {
            bail!("--cache {name}: expected warm, weights-cold or cold, several with commas");
        };
        if !states.contains(&state) {
            states.push(state);
        }
    }
    Ok(states)
}

/// Their names.
pub(super) fn names(states: &[CacheState]) -> String {
    let names: Vec<_> = states.iter().map(|s| s.name()).collect();
    names.join(",")
}
