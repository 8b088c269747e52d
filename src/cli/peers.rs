//! `--peers`: other libraries beside our kernels.

use crate::patterns::Patterns;
#[cfg(not(feature = "peers"))]
use crate::{machine::Topology, measure::bench::Guests, net::bench::Rival, networks::Graph};
use anyhow::Result;
use std::path::PathBuf;

#[cfg(feature = "peers")]
pub(super) use crate::peers::Libraries;

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
    peers: Option<Patterns>,
    /// Folder in which scripts/peers installed them
    #[arg(
        long,
        value_name = "DIR",
        default_value = "target/peers",
        requires = "peers"
    )]
    peers_from: PathBuf,
}

impl PeerArgs {
    /// True if peers were requested.
    pub(super) fn wanted(&self) -> bool {
        self.peers.is_some()
    }

    /// The requested libraries; none without `--peers`.
    pub(super) fn libraries(&self) -> Result<Option<Libraries>> {
        let names = self.peers.as_ref();
        names
            .map(|names| Libraries::new(names, &self.peers_from))
            .transpose()
    }
}

/// The libraries of a build without the feature `peers`: it has none.
#[cfg(not(feature = "peers"))]
pub(super) enum Libraries {}

#[cfg(not(feature = "peers"))]
impl Libraries {
    fn new(_: &Patterns, _: &std::path::Path) -> Result<Self> {
        anyhow::bail!(
            "--peers needs a build with the feature `peers`: cargo run --release --features peers -- ..."
        )
    }

    pub(super) fn candidates(&self, _: &Topology, _: &[usize], _: impl Fn(&str)) -> Result<Guests> {
        match *self {}
    }

    pub(super) fn rivals(
        &self,
        _: &Topology,
        _: usize,
        _: (&Graph, u64, &[f32]),
        _: impl Fn(&str),
    ) -> Result<Vec<Box<dyn Rival>>> {
        match *self {}
    }
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
