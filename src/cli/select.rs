//! Selection of layers, variants and threads by options.

use super::{Failed, batch};
use crate::machine::{Topology, pool};
use crate::measure::refuse_huge;
use crate::networks::{self, Graph, Network};
use crate::record::{CacheStates, LayerRef, Text};
use anyhow::{Context, Result, anyhow, bail};
use convroof_kernels::problem::Op;
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, Registry, Variant};
use globset::{Glob, GlobSet, GlobSetBuilder};

/// Options for layers.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct Layers {
    /// Networks: globs, separated by commas [default depends on the command]
    #[arg(long, value_name = "GLOBS")]
    pub(super) network: Option<String>,
    /// Layers of these networks: globs, separated by commas [default: all]
    #[arg(long, value_name = "GLOBS")]
    pub(super) layer: Option<String>,
    /// A layer in benchdnn's format (mb1ic64ih56oc64oh56kh3ph1), or a file of them with --batch=FILE (repeatable)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) problem: Vec<String>,
    /// Number of images, for the networks' layers [default: 1]
    #[arg(long, value_name = "N")]
    pub(super) batch: Option<usize>,
}

/// Option for the CPUs of the workers.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct Cpus {
    /// Run workers on these CPUs, one on each, in this order: 0,2,4-7 [default: one CPU of each physical core of the
    /// fastest kind]
    #[arg(long, value_name = "LIST")]
    pub(super) cpus: Option<String>,
}

impl Cpus {
    /// The machine with the CPUs for workers. With a list of CPUs, this process and its children stay on them.
    pub(super) fn topology(&self) -> Result<Topology> {
        match &self.cpus {
            Some(list) => on(list),
            None => Ok(Topology::detect()),
        }
    }
}

/// The machine with workers on the CPUs of a list. This process stays on them from now on.
pub(super) fn on(list: &str) -> Result<Topology> {
    let topology = Topology::on(list)?;
    pool::confine(&topology.cores).with_context(|| format!("--cpus {list}"))?;
    Ok(topology)
}

/// Option for variants.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Variants {
    /// Variants: globs over <algorithm>/<isa>/<st|mt>, separated by commas
    #[arg(long, value_name = "GLOBS", default_value = "*")]
    pub(super) variant: String,
}

/// The comma-separated patterns of an option.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|p| !p.is_empty())
}

/// A set of comma-separated patterns.
pub(super) fn globs(text: &str) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for part in parts(text) {
        set.add(Glob::new(part).with_context(|| format!("'{part}' is not a pattern"))?);
    }
    Ok(set.build()?)
}

impl Layers {
    /// The chosen layers. `default` are the networks if no network and no problem is named.
    pub(super) fn choose(&self, default: &str) -> Result<Vec<LayerRef>> {
        let mut chosen = Vec::new();
        let named = self
            .network
            .as_deref()
            .or(self.problem.is_empty().then_some(default));
        // Options without effect are errors.
        if self.batch.is_some() && !self.problem.is_empty() {
            bail!(
                "--batch is for the layers of networks: a --problem says its own, as in mb8ic64..."
            );
        }
        if self.layer.is_some() && named.is_none() {
            bail!("--layer chooses layers of networks: name them with --network, or omit --layer");
        }
        if let Some(patterns) = named {
            let layers = globs(self.layer.as_deref().unwrap_or("*"))?;
            let batch = self.images();
            for network in matching_networks(patterns)? {
                let name = network.name.clone();
                let network = network
                    .with_batch(batch)
                    .with_context(|| format!("batch {batch}"))?;
                chosen.extend(
                    network
                        .layers
                        .iter()
                        .filter(|l| layers.is_match(&l.name))
                        .map(|l| LayerRef {
                            network: name.clone(),
                            layer: l.name.clone(),
                            kind: l.kind.name().into(),
                            count: l.count,
                            problem: Text::of(l.problem),
                        }),
                );
            }
            let layer = self.layer.as_deref().unwrap_or("*");
            let missing = |part: &&str| match globs(part) {
                Ok(one) => !chosen.iter().any(|l: &LayerRef| one.is_match(&l.layer)),
                Err(_) => true,
            };
            // Each pattern must match something, as with networks and variants.
            if let Some(part) = parts(layer)
                .find(missing)
                .or(chosen.is_empty().then_some(layer))
            {
                bail!(
                    "no layer of {patterns} matches --layer '{part}': see convroof list --layers"
                );
            }
        }
        let own = self.problem.iter().map(|text| batch::problems(text));
        for problem in own.collect::<Result<Vec<_>>>()?.concat() {
            let kind = match problem.op {
                Op::Conv(_) => "conv",
                Op::Pool(_) => "pool",
                _ => "custom",
            };
            chosen.push(LayerRef {
                network: "custom".into(),
                layer: problem.to_string(),
                kind: kind.into(),
                count: 1,
                problem: Text::of(problem),
            });
        }
        Ok(chosen)
    }

    /// Number of images.
    pub(super) fn images(&self) -> usize {
        self.batch.unwrap_or(1)
    }
}

/// The networks that match some patterns.
fn matching_networks(patterns: &str) -> Result<Vec<Network>> {
    // Each pattern must match something, so that a typo among several is noticed.
    for part in parts(patterns) {
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

/// The graphs of the networks that match some patterns, on `batch` images.
///
/// # Errors
/// When a pattern matches no network, or the batch is 0 or too large.
pub(super) fn graphs(patterns: &str, batch: usize) -> Result<Vec<Graph>> {
    let networks = matching_networks(patterns)?;
    networks.into_iter().map(|n| graph(n, batch)).collect()
}

/// A network's graph on some images.
fn graph(network: Network, batch: usize) -> Result<Graph> {
    let name = network.name.clone();
    let network = network
        .with_batch(batch)
        .with_context(|| format!("batch {batch}"))?;
    for layer in &network.layers {
        refuse_huge(&layer.problem)?;
    }
    match Graph::new(network) {
        Ok(graph) => Ok(graph),
        Err(error) => bail!("table {name}: {error}"),
    }
}

impl Variants {
    /// The chosen variants of `registry`. Emulated widths are included only if a pattern names them.
    pub(super) fn choose(&self, registry: &Registry) -> Result<Vec<Variant>> {
        let wants_emulated = self.variant.contains("emu");
        let isas: &[Isa] = if wants_emulated {
            &Isa::ALL
        } else {
            &Isa::REAL
        };
        let all = registry.variants(isas);
        for part in parts(&self.variant) {
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
            bail!("--variant is empty: '*' selects all variants");
        }
        Ok(chosen)
    }

    /// The chosen variants that this machine can run. Patterns without such a variant are named on standard error.
    ///
    /// # Errors
    /// When no variant remains.
    pub(super) fn here(&self, registry: &Registry) -> Result<Vec<Variant>> {
        let chosen = self.choose(registry)?;
        let runs = |v: &&Variant| v.isa.detect().is_some();
        let mut lost = Vec::new();
        for part in parts(&self.variant) {
            let one = globs(part)?;
            let own = || chosen.iter().filter(|v| one.is_match(v.id().to_string()));
            if let Some(first) = own().next().filter(|_| !own().any(|v| runs(&v))) {
                let why = first.isa.missing_reason();
                lost.push(format!(
                    "no variant of '{part}' runs on this machine: {why}"
                ));
            }
        }
        let here: Vec<Variant> = chosen.iter().filter(runs).copied().collect();
        if here.is_empty() {
            bail!("{}", lost.join("; "));
        }
        lost.iter()
            .for_each(|line| eprintln!("{}", crate::escape::note(line)));
        Ok(here)
    }
}

/// Fails if none of the variants runs on one of the numbers of threads.
pub(super) fn check_threads(threads: &[usize], variants: &[Variant]) -> Result<()> {
    for &n in threads {
        if !variants
            .iter()
            .any(|v| (v.threading == Threading::St) == (n == 1))
        {
            bail!(
                "--threads {n}: none of the chosen variants runs on {n}: st variants run on 1 thread, mt variants on 2 or more"
            );
        }
    }
    Ok(())
}

/// Upper limit for the names in an error.
const NAMES: usize = 5;

/// Fails, with exit code 1, if the old side of a comparison has something that the new one lacks.
pub(super) fn none_gone(gone: &[String], what: &str, old: &str, new: &str) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let more = match gone.len().saturating_sub(NAMES) {
        0 => String::new(),
        n => format!("; and {n} more"),
    };
    Err(Failed(format!(
        "{} {what} of {old} are missing in {new}: {}{more}; if this is intended, use --allow-missing",
        gone.len(),
        gone[..gone.len().min(NAMES)].join("; ")
    ))
    .into())
}

/// Numbers of threads. The default is 1 and the number of cores, limited by a CPU quota.
pub(super) fn threads(given: &[usize], topology: &Topology) -> Result<Vec<usize>> {
    let cores = topology.cores.len();
    let mut threads = if given.is_empty() {
        vec![1, topology.threads()]
    } else {
        given.to_vec()
    };
    for &n in &threads {
        if n == 0 || n > cores {
            bail!("--threads {n}: {}, so use 1 to {cores}", topology.limit());
        }
    }
    threads.sort_unstable();
    threads.dedup();
    Ok(threads)
}

/// Parses states of the caches.
///
/// # Errors
/// When there is no state of such a name.
pub(super) fn states(names: &str) -> Result<CacheStates> {
    names.parse().map_err(|why| anyhow!("--cache {why}"))
}
