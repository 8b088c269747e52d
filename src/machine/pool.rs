//! Thread pool: one pinned worker on each core of a topology.

use super::Topology;
use anyhow::{Context, Result, bail};
use convroof_kernels::exec::{Executor, Serial, with_team};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads to measure with.
pub struct Workers {
    pool: ThreadPool,
    threads: usize,
    pinned: bool,
}

impl Workers {
    /// Makes a pool of `threads` workers, each pinned to its own core if the system allows it.
    ///
    /// # Errors
    /// When the topology has fewer cores, or the system refuses the threads.
    pub fn new(topology: &Topology, threads: usize) -> Result<Self> {
        let cores = &topology.cores;
        if threads == 0 {
            bail!("0 threads can't compute anything: use 1 to {}", cores.len());
        }
        if threads > cores.len() {
            bail!(
                "{threads} threads are too many, {}: use 1 to {}",
                topology.limit(),
                cores.len()
            );
        }
        let pinned = std::sync::Arc::new(AtomicUsize::new(0));
        let (count, cores) = (pinned.clone(), cores.clone());
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("worker-{i}"))
            .start_handler(move |i| {
                if core_affinity::set_for_current(core_affinity::CoreId { id: cores[i] }) {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            })
            .build()
            .context("the system refuses the threads")?;
        // The start handlers run on the workers. This broadcast waits for all of them.
        pool.broadcast(|_| ());
        let pinned = pinned.load(Ordering::SeqCst) == threads;
        Ok(Workers {
            pool,
            threads,
            pinned,
        })
    }

    /// Number of workers.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// True if every worker is pinned to a core.
    pub fn pinned(&self) -> bool {
        self.pinned
    }

    /// Calls `f` on a worker, with an executor over all workers, or a serial one for a single worker.
    pub fn install<R: Send>(&self, f: impl FnOnce(&dyn Executor) -> R + Send) -> R {
        if self.threads == 1 {
            self.pool.install(|| f(&Serial))
        } else {
            with_team(&self.pool, |team| f(team))
        }
    }

    /// Calls `f(worker)` on every worker at the same time.
    pub fn broadcast<R: Send>(&self, f: impl Fn(usize) -> R + Sync) -> Vec<R> {
        self.pool.broadcast(|worker| f(worker.index()))
    }
}

/// The machine with workers on the CPUs of a list (`0,2,4-7`). This thread, and all threads and processes that it
/// starts later, stay on them.
///
/// # Errors
/// When it is no list of CPUs that this process may run on, or the system refuses.
pub fn confined(list: &str) -> Result<Topology> {
    let topology = Topology::on(list)?;
    confine(&topology.cores).with_context(|| format!("--cpus {list}"))?;
    Ok(topology)
}

/// Restricts this thread, and all threads and processes that it starts later, to some CPUs.
#[cfg(target_os = "linux")]
fn confine(cpus: &[usize]) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    cpus.iter().for_each(|&cpu| set.set(cpu));
    rustix::thread::sched_setaffinity(None, &set).context("the system refuses the CPUs")
}

/// Does nothing: on this system only workers are pinned.
#[cfg(not(target_os = "linux"))]
fn confine(_: &[usize]) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_and_none_are_refused() {
        let topology = Topology::detect();
        for threads in [0, topology.cores.len() + 1] {
            let error = Workers::new(&topology, threads)
                .err()
                .expect("refused")
                .to_string();
            assert!(error.contains("use 1 to"), "{error}");
        }
    }

    #[test]
    fn workers_stay_on_their_cores() {
        let topology = Topology::detect();
        let workers = Workers::new(&topology, topology.cores.len()).expect("a pool");
        if cfg!(target_os = "linux") {
            assert!(workers.pinned());
        }
        assert_eq!(workers.broadcast(|i| i).len(), topology.cores.len());
        assert_eq!(workers.install(|exec| exec.width()), topology.cores.len());
    }
}
