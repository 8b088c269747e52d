//! Selection of layers, variants, threads and time by options.

use super::output::note;
use crate::batch_files;
use crate::machine::{Topology, pool};
use crate::measure::refuse_huge;
use crate::networks::{self, Graph, Network};
use crate::patterns::Patterns;
use crate::record::{CacheStates, LayerRef, Text};
use anyhow::{Context, Result, anyhow, bail};
use convroof_kernels::problem::Op;
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, Problem, Registry, Variant};

/// Options for layers.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct Layers {
    /// Networks: globs, separated by commas [default depends on the command]
    #[arg(long, value_name = "GLOBS")]
    network: Option<Patterns>,
    /// Layers of these networks: globs, separated by commas [default: all]
    #[arg(long, value_name = "GLOBS")]
    layer: Option<Patterns>,
    /// A layer in benchdnn's format (mb1ic64ih56oc64oh56kh3ph1), or a file of them with --batch=FILE (repeatable)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    problem: Vec<String>,
    /// Number of images, for the networks' layers [default: 1]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
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
            Some(list) => pool::confined(list),
            None => Ok(Topology::detect()),
        }
    }
}

/// Option for variants.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Variants {
    /// Variants: globs over <algorithm>/<isa>/<st|mt>, separated by commas
    #[arg(long, value_name = "GLOBS", default_value = "*")]
    pub(super) variant: Patterns,
}

impl Layers {
    /// The chosen layers. `default` are the networks if no network and no problem is named.
    pub(super) fn choose(&self, default: &str) -> Result<Vec<LayerRef>> {
        let networks = match &self.network {
            None if self.problem.is_empty() => Some(default.parse()?),
            named => named.clone(),
        };
        // Options without effect are errors.
        if self.batch.is_some() && !self.problem.is_empty() {
            bail!(
                "--batch is for the layers of networks: a --problem says its own, as in mb8ic64..."
            );
        }
        if self.layer.is_some() && networks.is_none() {
            bail!("--layer chooses layers of networks: name them with --network, or omit --layer");
        }
        let mut chosen = match networks {
            Some(networks) => self.of_networks(&networks)?,
            None => Vec::new(),
        };
        let own = self.problem.iter().map(|text| batch_files::problems(text));
        let own = own.collect::<Result<Vec<_>>>()?.concat();
        chosen.extend(own.into_iter().map(custom));
        Ok(chosen)
    }

    /// The chosen layers of some networks.
    fn of_networks(&self, networks: &Patterns) -> Result<Vec<LayerRef>> {
        let batch = self.images();
        let mut layers = Vec::new();
        for network in matching_networks(networks)? {
            let name = network.name.clone();
            let network = network
                .with_batch(batch)
                .with_context(|| format!("batch {batch}"))?;
            layers.extend(network.layers.into_iter().map(|l| LayerRef {
                network: name.clone(),
                layer: l.name,
                kind: l.kind.name().into(),
                count: l.count,
                problem: Text::of(l.problem),
            }));
        }
        let Some(patterns) = &self.layer else {
            return Ok(layers);
        };
        let names: Vec<&str> = layers.iter().map(|l| l.layer.as_str()).collect();
        let unmatched = patterns.unmatched(&names).next().map(ToString::to_string);
        // Each pattern must match something, as with networks and variants.
        if let Some(pattern) = unmatched.or(patterns.is_empty().then(String::new)) {
            bail!("no layer of {networks} matches --layer '{pattern}': see convroof list --layers");
        }
        layers.retain(|l| patterns.is_match(&l.layer));
        Ok(layers)
    }

    /// Number of images.
    pub(super) fn images(&self) -> usize {
        self.batch.unwrap_or(1)
    }
}

/// A layer of no network.
fn custom(problem: Problem) -> LayerRef {
    let kind = match problem.op {
        Op::Conv(_) => "conv",
        Op::Pool(_) => "pool",
        _ => "custom",
    };
    LayerRef {
        network: "custom".into(),
        layer: problem.to_string(),
        kind: kind.into(),
        count: 1,
        problem: Text::of(problem),
    }
}

/// The networks that match some patterns. Each pattern must match one, so that a typo among several is noticed.
fn matching_networks(patterns: &Patterns) -> Result<Vec<Network>> {
    let names = networks::names();
    if let Some(pattern) = patterns.unmatched(&names).next() {
        bail!(
            "unknown network '{pattern}': there are {}",
            names.join(", ")
        );
    }
    if patterns.is_empty() {
        bail!("--network names none: there are {}", names.join(", "));
    }
    let mut networks = networks::all();
    networks.retain(|network| patterns.is_match(&network.name));
    Ok(networks)
}

/// The graphs of the networks that match some patterns, on `batch` images.
///
/// # Errors
/// When a pattern matches no network, or the batch is 0 or too large.
pub(super) fn graphs(patterns: &Patterns, batch: usize) -> Result<Vec<Graph>> {
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
    /// The chosen variants of `registry`. Emulated widths are included only if a pattern matches nothing else.
    pub(super) fn choose(&self, registry: &Registry) -> Result<Vec<Variant>> {
        let patterns = &self.variant;
        if patterns.is_empty() {
            bail!("--variant is empty: '*' selects all variants");
        }
        let mut variants = registry.variants(&Isa::REAL);
        if patterns.unmatched(&ids(&variants)).next().is_some() {
            variants = registry.variants(&Isa::ALL);
        }
        if let Some(pattern) = patterns.unmatched(&ids(&variants)).next() {
            let names: Vec<_> = registry.algorithms().iter().map(|a| a.meta().id).collect();
            bail!(
                "no variant matches '{pattern}': write <algorithm>/<isa>/<st|mt> with an algorithm of {} and an isa of scalar, avx2, avx512, neon, or patterns such as 'direct/*'",
                names.join(", ")
            );
        }
        variants.retain(|v| patterns.is_match(&v.id().to_string()));
        Ok(variants)
    }

    /// The chosen variants that this machine can run. Patterns without such a variant are named on standard error.
    ///
    /// # Errors
    /// When no variant remains.
    pub(super) fn here(&self, registry: &Registry) -> Result<Vec<Variant>> {
        let (here, lacking): (Vec<Variant>, Vec<Variant>) = self
            .choose(registry)?
            .into_iter()
            .partition(|v| v.isa.detect().is_some());
        let ids = ids(&here);
        let lost: Vec<String> = self
            .variant
            .unmatched(&ids)
            .filter_map(|pattern| {
                let own = |v: &&Variant| pattern.is_match(&v.id().to_string());
                let why = lacking.iter().find(own)?.isa.missing_reason();
                Some(format!(
                    "no variant of '{pattern}' runs on this machine: {why}"
                ))
            })
            .collect();
        if here.is_empty() {
            bail!("{}", lost.join("; "));
        }
        lost.iter().for_each(|line| note(line));
        Ok(here)
    }
}

/// The ids of some variants.
fn ids(variants: &[Variant]) -> Vec<String> {
    variants.iter().map(|v| v.id().to_string()).collect()
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

/// Parses a number of seconds for measuring.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e6 => Ok(seconds),
        _ => Err("expected seconds, more than 0 and at most 1000000".into()),
    }
}

/// Parses states of the caches.
///
/// # Errors
/// When there is no state of such a name.
pub(super) fn states(names: &str) -> Result<CacheStates> {
    names.parse().map_err(|why| anyhow!("--cache {why}"))
}
