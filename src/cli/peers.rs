//! `--peers`: other people's libraries beside our kernels.

use crate::machine::Topology;
use crate::measure::Candidate;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::rc::Rc;

#[derive(clap::Args, Clone, Debug)]
pub(super) struct PeerArgs {
    /// Measure other people's libraries too, in turns with the variants (a build with the feature
    /// `peers`; scripts/peers installs them)
    #[arg(long)]
    peers: bool,
    /// Where scripts/peers put them
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    peers_from: PathBuf,
}

impl PeerArgs {
    /// Whether they are.
    pub(super) fn wanted(&self) -> bool {
        self.peers
    }

    /// The folder of the libraries, if they are wanted.
    pub(super) fn folder(&self) -> Result<Option<PathBuf>> {
        if self.peers && !cfg!(feature = "peers") {
            bail!("--peers needs a build that can: cargo run --release --features peers -- ...");
        }
        Ok(self.peers.then(|| self.peers_from.clone()))
    }
}

/// Who came.
pub(super) struct Invited {
    pub(super) candidates: Vec<Rc<dyn Candidate>>,
    /// Names and versions.
    pub(super) libraries: Vec<String>,
}

/// Starts every library that is there, and says which are not.
#[cfg(feature = "peers")]
pub(super) fn invite(folder: &Path, topology: &Topology, threads: &[usize]) -> Result<Invited> {
    use crate::peers::{Entrant, PEERS};
    let mut invited = Invited {
        candidates: Vec::new(),
        libraries: Vec::new(),
    };
    for &threads in threads {
        let mut clients = std::collections::BTreeMap::new();
        for peer in PEERS.iter().filter(|p| p.runs_on(threads)) {
            // The forms of a library share a process.
            let client = clients.entry(peer.library).or_insert_with(|| {
                let client = Entrant::host(peer, folder, topology, threads);
                client.inspect_err(|e| eprintln!("convroof: without {}: {e:#}", peer.library))
            });
            let Ok(client) = client else { continue };
            let entrant = Entrant::new(*peer, threads, client.clone());
            let library = entrant.library();
            if !invited.libraries.contains(&library) {
                invited.libraries.push(library);
            }
            invited.candidates.push(Rc::new(entrant));
        }
    }
    Ok(invited)
}

#[cfg(not(feature = "peers"))]
pub(super) fn invite(_: &Path, _: &Topology, _: &[usize]) -> Result<Invited> {
    bail!("this build has no peers")
}

#[cfg(feature = "peers")]
#[derive(clap::Args)]
pub(super) struct HostArgs {
    /// Which library
    library: String,
    /// Its file
    #[arg(long)]
    path: Option<PathBuf>,
    /// How many threads it should use
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[cfg(feature = "peers")]
pub(super) fn host(args: &HostArgs) -> Result<()> {
    crate::peers::host::serve(&args.library, args.path.as_deref(), args.threads)
}
