//! Peers: other libraries, measured by the same sampler as our kernels, in interleaved rounds, and verified against
//! the same reference.
//!
//! Each library runs in its own process: `convroof peer-host`, or `host.py` for libraries with a Python interface.
//! The process holds the data, measures its own times and communicates through a pipe ([`protocol`]). Between its
//! samples the process is stopped, so that its spinning thread pool slows nothing else down. If it crashes, hangs or
//! lacks its library, the run reports that in a line and continues.
//!
//! BIAS.md lists what the times include and what they don't.
//!
//! In reading order: this file (the list of peers), [`protocol`], `client.rs` (our end of the pipe), `candidate.rs` (a
//! peer as a candidate), `network.rs` (whole networks), `libraries.rs` (the libraries of a run), [`host`] (the
//! library's end).

mod candidate;
mod client;
pub mod host;
mod libraries;
mod network;
pub mod protocol;

pub use candidate::PeerCandidate;
pub use client::{HostClient, HostPlan};
pub use libraries::Libraries;
pub use network::NetworkRival;

use crate::record::CandidateId;
use convroof_kernels::registry::Threading;
use std::path::{Path, PathBuf};

/// A library in one form: a layout of activations, or an algorithm of its own choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The library's name for `peer-host`.
    pub library: &'static str,
    /// The form.
    pub form: &'static str,
    /// Kind of its process.
    kind: ProcessKind,
    /// True if its number of threads can be set.
    threads: bool,
    /// True if it takes part in runs of whole networks.
    networks: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProcessKind {
    /// Compiled into this program.
    Builtin,
    /// A shared library with this file name in the peers' folder.
    Shared(&'static str),
    /// A Python package in the peers' virtual environment.
    Python,
}

/// All peers. Ids are `peer-<library>-<form>/auto/<st|mt>`.
pub const PEERS: [Peer; 10] = [
    Peer::shared("onednn", "any", "libdnnl.so.3"),
    Peer::shared("onednn", "nchw16c", "libdnnl.so.3"),
    Peer::shared("onednn", "nhwc", "libdnnl.so.3"),
    Peer::python("onnxruntime", "nchw").with_networks(),
    Peer::python("openvino", "nchw").with_networks(),
    Peer::python("ncnn", "nchw"),
    Peer::python("mnn", "nchw"),
    Peer::builtin("gemm", "nchw", true),
    Peer::builtin("matrixmultiply", "nchw", false),
    Peer::builtin("rten", "nchw", true),
];

impl Peer {
    const fn shared(library: &'static str, form: &'static str, file: &'static str) -> Self {
        Peer {
            library,
            form,
            kind: ProcessKind::Shared(file),
            threads: true,
            networks: false,
        }
    }

    const fn python(library: &'static str, form: &'static str) -> Self {
        Peer {
            library,
            form,
            kind: ProcessKind::Python,
            threads: true,
            networks: false,
        }
    }

    const fn builtin(library: &'static str, form: &'static str, threads: bool) -> Self {
        Peer {
            library,
            form,
            kind: ProcessKind::Builtin,
            threads,
            networks: false,
        }
    }

    const fn with_networks(self) -> Self {
        Peer {
            networks: true,
            ..self
        }
    }

    /// Its id on one thread or on more.
    pub fn id(&self, threading: Threading) -> CandidateId {
        CandidateId::peer(self.library, self.form, threading)
    }

    /// True if it takes part in runs of whole networks.
    pub fn runs_networks(&self) -> bool {
        self.networks
    }

    /// True if it can run on this many threads.
    pub fn runs_on(&self, threads: usize) -> bool {
        threads == 1 || self.threads
    }
}

/// The interpreter of the virtual environment in the peers' folder.
fn python(folder: &Path) -> Option<PathBuf> {
    let path = folder.join("venv/bin/python");
    path.exists().then_some(path)
}

/// A file or folder with this name, at most five levels below `folder`.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    fn search(folder: &Path, name: &str, depth: usize) -> Option<PathBuf> {
        let mut below = Vec::new();
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            if entry.file_name() == name {
                return Some(entry.path());
            }
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                below.push(entry.path());
            }
        }
        if depth == 0 {
            return None;
        }
        below.iter().find_map(|f| search(f, name, depth - 1))
    }
    search(folder, name, 5)
}
