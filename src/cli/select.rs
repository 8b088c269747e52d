//! Selection of layers, variants, threads and time by options.

use super::output::{detail, note};
use super::similar::did_you_mean;
use crate::batch_files;
use crate::machine::{Topology, pool};
use crate::measure::refuse_huge;
use crate::networks::{self, Graph, Network};
use crate::patterns::{self, Pattern, Patterns};
use crate::record::{CacheStates, LayerRef, Text};
use anyhow::{Context, Result, anyhow, bail};
use convroof_kernels::dtype::DType;
use convroof_kernels::problem::Op;
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, Problem, Registry, Variant, VariantId};

/// Words for layers, in a subcommand without other words.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct Words {
    /// Networks, as with --network, or layers, as with --problem: resnet50 'vgg*' mb1ic64ih56oc64oh56kh3ph1
    #[arg(value_name = "NETWORK|PROBLEM")]
    words: Vec<String>,
}

/// Options for layers.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct Layers {
    /// Networks: globs, separated by commas; names without regard to case, '-' and '_' [default depends on the command]
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

impl Words {
    /// The words that name networks, and the networks of an option; none without any.
    ///
    /// # Errors
    /// When a word is a problem.
    pub(super) fn networks(&self, option: Option<&Patterns>) -> Result<Option<Patterns>> {
        let layers = Layers {
            network: option.cloned(),
            ..Layers::default()
        };
        let layers = layers.with(self)?;
        match layers.problem.first() {
            None => Ok(layers.network),
            Some(problem) => bail!("'{problem}' is a layer: expected names of networks"),
        }
    }
}

/// True if a word names a network or a layer.
pub(super) fn names_layers(word: &str) -> bool {
    is_problem(word) || patterns::meant(word, &networks::names()).is_some()
}

/// True for a layer in benchdnn's format: flags and sizes, or sizes, which begin with a key and a number.
fn is_problem(word: &str) -> bool {
    let sizes = word.trim_start_matches(|c: char| c.is_ascii_lowercase());
    let key = &word[..word.len() - sizes.len()];
    let is_key = ["mb", "g", "ic", "id", "ih", "iw"].contains(&key);
    word.contains(char::is_whitespace) || is_key && sizes.starts_with(|c: char| c.is_ascii_digit())
}

impl Layers {
    /// These options, with the networks and problems that some words name.
    ///
    /// # Errors
    /// When a word is no pattern.
    pub(super) fn with(&self, words: &Words) -> Result<Layers> {
        let words = words.words.iter().cloned();
        let (problems, named): (Vec<String>, Vec<String>) = words.partition(|w| is_problem(w));
        let mut layers = self.clone();
        layers.problem.extend(problems);
        if !named.is_empty() {
            let option = self.network.iter().map(Patterns::to_string);
            layers.network = Some(
                named
                    .into_iter()
                    .chain(option)
                    .collect::<Vec<_>>()
                    .join(",")
                    .parse()?,
            );
        }
        Ok(layers)
    }

    /// True if an option chooses layers, or their number of images.
    pub(super) fn are_chosen(&self) -> bool {
        let named = self.network.is_some() || !self.problem.is_empty();
        named || self.layer.is_some() || self.batch.is_some()
    }

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
        detail(&format!("layers: {}", chosen.len()));
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
                dt: Text::of(DType::F32),
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
        // Each pattern must match something, as with networks and variants.
        if let Some(pattern) = patterns.unmatched(&names).next() {
            let right = instead(pattern, &names, || "see convroof list --layers".into());
            bail!("no layer of {networks} matches --layer '{pattern}': {right}");
        }
        if patterns.is_empty() {
            bail!("--layer is empty: '*' selects all layers");
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
        dt: Text::of(problem.dtypes.src),
        layer: problem.to_string(),
        kind: kind.into(),
        count: 1,
        problem: Text::of(problem),
    }
}

/// A question that names patterns like one that matches no name; without any, `otherwise`.
fn instead<T: AsRef<str>>(
    pattern: &Pattern,
    names: &[T],
    otherwise: impl FnOnce() -> String,
) -> String {
    did_you_mean(&patterns::similar(pattern.text(), names)).unwrap_or_else(otherwise)
}

/// The networks that match some patterns. Each pattern must match one, so that a typo among several is noticed.
fn matching_networks(patterns: &Patterns) -> Result<Vec<Network>> {
    let names = networks::names();
    let patterns = &patterns.resolved(&names);
    if let Some(pattern) = patterns.unmatched(&names).next() {
        let right = instead(pattern, &names, || {
            format!("there are {}", names.join(", "))
        });
        bail!("unknown network '{pattern}': {right}");
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
        let ids = ids(&variants);
        if let Some(pattern) = patterns.unmatched(&ids).next() {
            let right = instead(pattern, &ids, || {
                let names: Vec<_> = registry.algorithms().iter().map(|a| a.meta().id).collect();
                format!(
                    "write <algorithm>/<isa>/<st|mt> with an algorithm of {} and an isa of scalar, avx2, avx512, neon, or patterns such as 'direct/*'",
                    names.join(", ")
                )
            });
            bail!("no variant matches '{pattern}': {right}");
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
        detail(&format!("variants: {}", here.len()));
        Ok(here)
    }
}

/// The variant with an id.
///
/// # Errors
/// When there is none. The error names similar ones.
pub(super) fn variant(registry: &Registry, id: &str) -> Result<Variant> {
    let found = id.parse::<VariantId>().map_err(|why| anyhow!("{why}"));
    let found = found.and_then(|id| registry.find(&id).map_err(|why| anyhow!("{why}")));
    found.map_err(|why| {
        let names = ids(&registry.variants(&Isa::REAL));
        match did_you_mean(&patterns::similar(id, &names)) {
            Some(question) => anyhow!("{why}: {question}"),
            None => why,
        }
    })
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
    let all: Vec<String> = threads.iter().map(usize::to_string).collect();
    detail(&format!("threads: {}", all.join(", ")));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_networks_or_problems() {
        for problem in [
            "mb1ic64ih56oc64",
            "g32mb1ic32",
            "ic3ih8oc4",
            "--conv mb1ic64",
            "--pool mb1 x",
        ] {
            assert!(is_problem(problem), "{problem}");
        }
        for network in ["nin", "resnet50", "googlenet", "ic*", "mb", "", "vgg16,nin"] {
            assert!(!is_problem(network), "{network}");
        }
        let words = Words {
            words: ["NIN", "mb1ic16ih8oc16oh8kh3ph1"]
                .map(String::from)
                .to_vec(),
        };
        let option = Layers {
            network: Some("lenet*".parse().expect("patterns")),
            ..Layers::default()
        };
        let chosen = option
            .with(&words)
            .expect("words")
            .choose("vgg16")
            .expect("layers");
        let mut networks: Vec<&str> = chosen.iter().map(|l| l.network.as_str()).collect();
        networks.dedup();
        assert_eq!(networks, ["nin", "lenet5", "lenet-d2l", "custom"]);
        assert!(words.networks(None).is_err(), "a layer is no network");
    }

    #[test]
    fn near_misses_of_names_are_explained() {
        let unknown = |name: &str| {
            let layers = Layers {
                network: Some(name.parse().expect("patterns")),
                ..Layers::default()
            };
            layers.choose("*").expect_err("unknown").to_string()
        };
        assert_eq!(
            unknown("resnet51"),
            "unknown network 'resnet51': did you mean 'resnet50'?"
        );
        assert!(unknown("inception").starts_with("unknown network 'inception': there are nin, "));
        let layer = Layers {
            network: Some("nin".parse().expect("patterns")),
            layer: Some("conv".parse().expect("patterns")),
            ..Layers::default()
        };
        let error = layer.choose("*").expect_err("no layer").to_string();
        assert_eq!(
            error,
            "no layer of nin matches --layer 'conv': did you mean 'conv*'?"
        );
        let variants = Variants {
            variant: "winogrd*".parse().expect("patterns"),
        };
        let error = variants
            .choose(&Registry::builtin())
            .expect_err("none")
            .to_string();
        assert_eq!(
            error,
            "no variant matches 'winogrd*': did you mean 'winograd*'?"
        );
    }
}
