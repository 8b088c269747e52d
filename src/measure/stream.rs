//! Layers beside plain loops over as many bytes: both in nanoseconds per byte.

use crate::machine::Topology;
use crate::machine::pool::Workers;
use anyhow::{Context, Result};
use convroof_kernels::conformance::Data;
use convroof_kernels::data::Fill;
use convroof_kernels::exec::{on_each_worker, share};
use convroof_kernels::instance::Instance;
use convroof_kernels::probe::{self, Stream};
use convroof_kernels::tensor::{AlignedBuf, CacheLine, as_f32s_mut};
use convroof_kernels::{IsaToken, PlanCx, Problem, Registry};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A layer with its memory.
pub struct StreamedLayer {
    instance: Instance,
    bytes: f64,
}

impl StreamedLayer {
    /// A layer computed by an algorithm, on seeded operands.
    ///
    /// # Errors
    /// When there is no such algorithm, it can't do the layer, or there is no memory.
    pub fn new(
        algorithm: &str,
        problem: &Problem,
        isa: IsaToken,
        topology: &Topology,
        workers: &Workers,
    ) -> Result<StreamedLayer> {
        let threads = workers.threads();
        let (registry, caches) = (Registry::builtin(), topology.caches(threads));
        let found = registry.algorithm(algorithm);
        let found = found.with_context(|| format!("there is no algorithm {algorithm}"))?;
        let cx = PlanCx::new(isa, &caches).with_threads(threads);
        let mut instance = Instance::new(found.plan(problem, &cx)?)?;
        let data = Data::new(problem, Fill::Uniform, 1);
        workers.install(|exec| instance.load(data.operands(), exec));
        Ok(StreamedLayer {
            bytes: instance.spec().cost.bytes() as f64,
            instance,
        })
    }

    /// Compulsory bytes of a run.
    pub fn bytes(&self) -> f64 {
        self.bytes
    }

    /// Bytes that a run touches.
    pub fn working_set(&self) -> usize {
        self.instance.working_set()
    }

    /// Runs once untimed, then returns nanoseconds per compulsory byte, the mean of `runs`.
    pub fn sample(&mut self, runs: usize, workers: &Workers) -> f64 {
        let instance = &mut self.instance;
        let took = workers.install(|exec| {
            instance.run(exec);
            let start = Instant::now();
            (0..runs).for_each(|_| instance.run(exec));
            start.elapsed()
        });
        took.as_nanos() as f64 / runs as f64 / self.bytes
    }
}

/// A plain loop over memory, divided among the workers.
pub struct PlainLoop {
    isa: IsaToken,
    stream: Stream,
    buffers: Vec<Mutex<AlignedBuf>>,
}

impl PlainLoop {
    /// A loop over `bytes` bytes.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(isa: IsaToken, stream: Stream, bytes: usize, workers: &Workers) -> Result<Self> {
        let threads = workers.threads();
        let lines = |worker| share(bytes / CacheLine::BYTES, threads, worker).len();
        let buffers = workers.broadcast(|worker| AlignedBuf::zeroed(lines(worker)).map(Mutex::new));
        Ok(PlainLoop {
            isa,
            stream,
            buffers: buffers.into_iter().collect::<Result<_, _>>()?,
        })
    }

    /// Runs once untimed, then returns nanoseconds per byte, the mean of `runs`. In a run each worker makes one pass
    /// over its share.
    pub fn sample(&mut self, runs: usize, workers: &Workers) -> f64 {
        let PlainLoop {
            isa,
            stream,
            buffers,
        } = self;
        let bytes = AtomicU64::new(0);
        let took = workers.install(|exec| {
            let pass = || {
                on_each_worker(exec, |worker| {
                    let mut buffer = buffers[worker].lock().expect("each worker has its own");
                    let passed = probe::stream(*isa, *stream, as_f32s_mut(&mut buffer), 1);
                    bytes.fetch_add(passed, Ordering::Relaxed);
                });
            };
            pass();
            bytes.store(0, Ordering::Relaxed);
            let start = Instant::now();
            (0..runs).for_each(|_| pass());
            start.elapsed()
        });
        took.as_nanos() as f64 / bytes.into_inner() as f64
    }
}
