//! The libraries that take part in a run.

use super::{NetworkRival, PEERS, PeerCandidate};
use crate::interrupt::{self, Stopped};
use crate::machine::Topology;
use crate::measure::bench::Guests;
use crate::net::bench::Rival;
use crate::networks::Graph;
use crate::patterns::Patterns;
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Libraries that take part in a run, and the folder in which they are installed.
pub struct Libraries {
    names: Patterns,
    folder: PathBuf,
}

impl Libraries {
    /// The libraries that match some patterns.
    ///
    /// # Errors
    /// When a pattern matches no library.
    pub fn new(patterns: &Patterns, folder: &Path) -> Result<Libraries> {
        let mut names: Vec<_> = PEERS.iter().map(|p| p.library).collect();
        names.dedup();
        if let Some(pattern) = patterns.unmatched(&names).next() {
            bail!(
                "unknown library '{pattern}': there are {}",
                names.join(", ")
            );
        }
        Ok(Libraries {
            names: patterns.clone(),
            folder: folder.into(),
        })
    }

    /// Starts every library that runs on these numbers of threads. `note` gets those that fail to start.
    ///
    /// # Errors
    /// After a signal.
    pub fn candidates(
        &self,
        topology: &Topology,
        threads: &[usize],
        note: impl Fn(&str),
    ) -> Result<Guests> {
        let mut guests = Guests {
            candidates: Vec::new(),
            libraries: Vec::new(),
        };
        for &threads in threads {
            let mut hosts = BTreeMap::new();
            for peer in PEERS {
                if !(self.names.is_match(peer.library) && peer.runs_on(threads)) {
                    continue;
                }
                // The forms of a library share a process.
                let host = hosts.entry(peer.library).or_insert_with(|| {
                    let host = PeerCandidate::host(&peer, &self.folder, topology, threads);
                    host.inspect_err(|error| without(peer.library, error, &note))
                });
                interrupt::check()?;
                let Ok(host) = host else { continue };
                let candidate = PeerCandidate::new(peer, threads, host.clone());
                let library = candidate.library();
                if !guests.libraries.contains(&library) {
                    guests.libraries.push(library);
                }
                guests.candidates.push(Rc::new(candidate));
            }
        }
        Ok(guests)
    }

    /// Starts every library that runs whole networks and sends it a network. `note` gets those that fail.
    ///
    /// # Errors
    /// After a signal.
    pub fn rivals(
        &self,
        topology: &Topology,
        threads: usize,
        (graph, seed, input): (&Graph, u64, &[f32]),
        note: impl Fn(&str),
    ) -> Result<Vec<Box<dyn Rival>>> {
        let mut rivals: Vec<Box<dyn Rival>> = Vec::new();
        for peer in PEERS {
            if !(self.names.is_match(peer.library) && peer.runs_networks()) {
                continue;
            }
            match NetworkRival::new(&peer, &self.folder, topology, threads, graph, seed, input) {
                Ok(rival) => rivals.push(Box::new(rival)),
                Err(error) => without(peer.library, &error, &note),
            }
            interrupt::check()?;
        }
        Ok(rivals)
    }
}

/// Notes that a library takes no part, unless a signal ended it.
fn without(library: &str, error: &anyhow::Error, note: impl Fn(&str)) {
    if !error.is::<Stopped>() {
        note(&format!("without {library}: {error:#}"));
    }
}
