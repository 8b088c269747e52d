//! Other people's libraries, measured beside our kernels: by the same sampler, in turns with them, and
//! verified against the same reference.
//!
//! Each library lives in a process of its own (`convroof peer-host`, or `host.py` for those that are
//! reached through Python), which holds the data, times inside itself and talks through a pipe
//! ([`protocol`]). Between its turns it is stopped, so that no spinning pool halves everyone else's
//! speed. A crash, a hang or a missing library is a line, and the rest of the run goes on.
//!
//! What is and isn't counted is in BIAS.md.
//!
//! In reading order: this file (the list of peers), [`protocol`], `client.rs` (the suite's end of the pipe),
//! `entrant.rs` (a peer as a candidate), `network.rs` (whole networks), [`host`] (the library's end).

mod client;
mod entrant;
pub mod host;
mod network;
pub mod protocol;

pub use client::{Client, Prepared};
pub use entrant::Entrant;
pub use network::NetworkRival;

use crate::record::CandidateId;
use convroof_kernels::registry::Threading;
use std::path::{Path, PathBuf};

/// A form of a library that takes part: its activations' layout, or its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What `peer-host` calls the library.
    pub library: &'static str,
    /// Which of its forms.
    pub form: &'static str,
    /// How its process is started.
    kind: Kind,
    /// Whether it can be told to use more than one thread.
    threads: bool,
    /// Whether it takes part in runs of whole networks.
    networks: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Compiled in.
    Builtin,
    /// A shared library, found under the peers' folder by this name.
    Shared(&'static str),
    /// A Python package in the peers' virtual environment.
    Python,
}

/// Every peer. Ids are `peer-<library>-<form>/auto/<st|mt>`.
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
            kind: Kind::Shared(file),
            threads: true,
            networks: false,
        }
    }

    const fn python(library: &'static str, form: &'static str) -> Self {
        Peer {
            library,
            form,
            kind: Kind::Python,
            threads: true,
            networks: false,
        }
    }

    const fn builtin(library: &'static str, form: &'static str, threads: bool) -> Self {
        Peer {
            library,
            form,
            kind: Kind::Builtin,
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

    /// Its name on one thread or more.
    pub fn id(&self, threading: Threading) -> CandidateId {
        CandidateId::peer(self.library, self.form, threading)
    }

    /// Whether it takes part in runs of whole networks.
    pub fn runs_networks(&self) -> bool {
        self.networks
    }

    /// Whether it can run on this many threads.
    pub fn runs_on(&self, threads: usize) -> bool {
        threads == 1 || self.threads
    }
}

/// The interpreter of the virtual environment in the peers' folder.
fn python(folder: &Path) -> Option<PathBuf> {
    let path = folder.join("venv/bin/python");
    path.exists().then_some(path)
}

/// A file or folder of this name, a few levels below `folder`.
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
