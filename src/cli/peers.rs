//! `--peers`: other libraries beside our kernels.

use super::select::globs;
#[cfg(feature = "peers")]
use crate::interrupt;
use crate::machine::Topology;
use crate::measure::bench;
use crate::net::bench::Rival;
use crate::networks::Graph;
use anyhow::{Result, bail};
use globset::GlobSet;
use std::path::PathBuf;

#[derive(clap::Args, Clone, Debug)]
pub(super) struct PeerArgs {
    /// Measure other libraries too, interleaved with the variants: all, or those that match, as in --peers=onednn,mnn
    /// (needs the feature `peers`; scripts/peers installs the libraries)
    #[arg(
        long,
        value_name = "GLOBS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "*"
    )]
    peers: Option<String>,
    /// Folder in which scripts/peers installed them
    #[arg(
        long,
        value_name = "DIR",
        default_value = "target/peers",
        requires = "peers"
    )]
    peers_from: PathBuf,
}

/// The libraries that take part, and their folder.
#[cfg_attr(not(feature = "peers"), allow(dead_code))]
pub(super) struct Guests {
    folder: PathBuf,
    libraries: GlobSet,
}

impl PeerArgs {
    /// True if peers were requested.
    pub(super) fn wanted(&self) -> bool {
        self.peers.is_some()
    }

    /// The requested libraries; none without `--peers`.
    pub(super) fn guests(&self) -> Result<Option<Guests>> {
        let Some(patterns) = &self.peers else {
            return Ok(None);
        };
        if !cfg!(feature = "peers") {
            bail!(
                "--peers needs a build with the feature `peers`: cargo run --release --features peers -- ..."
            );
        }
        check_names(patterns)?;
        Ok(Some(Guests {
            folder: self.peers_from.clone(),
            libraries: globs(patterns)?,
        }))
    }
}

/// Fails if a pattern matches no library, so that a typo among several is noticed.
#[cfg(feature = "peers")]
fn check_names(patterns: &str) -> Result<()> {
    let mut names: Vec<_> = crate::peers::PEERS.iter().map(|p| p.library).collect();
    names.dedup();
    for part in patterns.split(',').map(str::trim) {
        let one = globs(part)?;
        if !names.iter().any(|name| one.is_match(name)) {
            bail!("unknown library '{part}': there are {}", names.join(", "));
        }
    }
    Ok(())
}

#[cfg(not(feature = "peers"))]
fn check_names(_: &str) -> Result<()> {
    Ok(())
}

/// Starts every requested library. Those that fail to start are reported on standard error.
#[cfg(feature = "peers")]
pub(super) fn invite(
    guests: &Guests,
    topology: &Topology,
    threads: &[usize],
) -> Result<bench::Guests> {
    use crate::peers::{Entrant, PEERS};
    let wanted = PEERS
        .iter()
        .filter(|p| guests.libraries.is_match(p.library));
    let mut invited = bench::Guests {
        candidates: Vec::new(),
        libraries: Vec::new(),
    };
    for &threads in threads {
        let mut clients = std::collections::BTreeMap::new();
        for peer in wanted.clone().filter(|p| p.runs_on(threads)) {
            // The forms of a library share a process.
            let client = clients.entry(peer.library).or_insert_with(|| {
                let client = Entrant::host(peer, &guests.folder, topology, threads);
                client.inspect_err(|e| without(peer.library, e))
            });
            interrupt::check()?;
            let Ok(client) = client else { continue };
            let entrant = Entrant::new(*peer, threads, client.clone());
            let library = entrant.library();
            if !invited.libraries.contains(&library) {
                invited.libraries.push(library);
            }
            invited.candidates.push(std::rc::Rc::new(entrant));
        }
    }
    Ok(invited)
}

/// Reports that a library takes no part, unless Ctrl-C ended it.
#[cfg(feature = "peers")]
fn without(library: &str, error: &anyhow::Error) {
    if !error.is::<interrupt::Stopped>() {
        let text = format!("without {library}: {error:#}");
        eprintln!("{}", crate::escape::note(&text));
    }
}

#[cfg(not(feature = "peers"))]
pub(super) fn invite(_: &Guests, _: &Topology, _: &[usize]) -> Result<bench::Guests> {
    bail!("this build has no peers")
}

/// Starts every requested library that runs whole networks and sends it a network. Those that fail are reported on
/// standard error.
#[cfg(feature = "peers")]
pub(super) fn rivals(
    guests: &Guests,
    topology: &Topology,
    threads: usize,
    graph: &Graph,
    seed: u64,
    input: &[f32],
) -> Result<Vec<Box<dyn Rival>>> {
    use crate::peers::{NetworkRival, PEERS};
    let wanted = PEERS
        .iter()
        .filter(|p| p.runs_networks() && guests.libraries.is_match(p.library));
    let mut rivals: Vec<Box<dyn Rival>> = Vec::new();
    for peer in wanted {
        match NetworkRival::new(peer, &guests.folder, topology, threads, graph, seed, input) {
            Ok(rival) => rivals.push(Box::new(rival)),
            Err(error) => without(peer.library, &error),
        }
        interrupt::check()?;
    }
    Ok(rivals)
}

#[cfg(not(feature = "peers"))]
pub(super) fn rivals(
    _: &Guests,
    _: &Topology,
    _: usize,
    _: &Graph,
    _: u64,
    _: &[f32],
) -> Result<Vec<Box<dyn Rival>>> {
    bail!("this build has no peers")
}

#[cfg(feature = "peers")]
#[derive(clap::Args)]
pub(super) struct HostArgs {
    /// Name of the library
    library: String,
    /// File of the library
    #[arg(long)]
    path: Option<PathBuf>,
    /// Number of threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[cfg(feature = "peers")]
pub(super) fn host(args: &HostArgs) -> Result<()> {
    crate::peers::host::serve(&args.library, args.path.as_deref(), args.threads)
}
