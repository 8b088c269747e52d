//! Selection of one variant and one problem, for `watch`, `asm` and `exec`.

use super::select::{self, Cpus};
use crate::machine::Topology;
use crate::measure::{Candidate, Kernel, refuse_huge};
use anyhow::{Result, bail};
use convroof_kernels::registry::Threading;
use convroof_kernels::{Problem, Registry, Variant};

/// Arguments for a variant on a problem.
#[derive(clap::Args)]
pub(super) struct One {
    /// The variant: <algorithm>/<isa>/<st|mt>
    #[arg(value_name = "VARIANT")]
    variant: String,
    /// The layer in benchdnn's format (mb1ic64ih56oc64oh56kh3ph1)
    #[arg(value_name = "PROBLEM", allow_hyphen_values = true)]
    problem: String,
    /// Threads of a multi-threaded variant [default: all physical cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    cpus: Cpus,
}

/// A kernel, a problem that it can do, and the machine.
pub(super) struct Chosen {
    pub(super) kernel: Kernel,
    pub(super) problem: Problem,
    pub(super) topology: Topology,
}

impl One {
    /// The chosen kernel.
    ///
    /// # Errors
    /// When there is no such variant or problem, or the variant can't do the problem here.
    pub(super) fn choose(&self, registry: &Registry) -> Result<Chosen> {
        let variant = select::variant(registry, &self.variant)?;
        let problem: Problem = self.problem.parse()?;
        refuse_huge(&problem)?;
        let topology = self.cpus.topology()?;
        let threads = threads(&variant, self.threads, &topology)?;
        select::threads(&[threads], &topology)?;
        select::check_threads(&[threads], &[variant])?;
        let kernel = Kernel { variant, threads };
        if let Err(reason) = kernel.plan(&problem, &topology) {
            bail!("{} can't do '{problem}': {reason}", kernel.id());
        }
        Ok(Chosen {
            kernel,
            problem,
            topology,
        })
    }
}

/// Number of threads of a variant: the given one, or the largest.
pub(super) fn threads(
    variant: &Variant,
    given: Option<usize>,
    topology: &Topology,
) -> Result<usize> {
    let id = variant.id();
    match (variant.threading, given) {
        (Threading::St, None | Some(1)) => Ok(1),
        (Threading::St, Some(n)) => {
            bail!("--threads {n}: {id} is single-threaded; use its mt form")
        }
        (Threading::Mt, None) => Ok(topology.threads()),
        (Threading::Mt, Some(n)) => Ok(n),
    }
}
