//! Plain loops over memory, beside which layers are measured.

use crate::machine::pool::Workers;
use anyhow::Result;
use convroof_kernels::IsaToken;
use convroof_kernels::exec::{on_each_worker, share};
use convroof_kernels::probe::{self, Parts, Stream};
use convroof_kernels::tensor::{AlignedBuf, CacheLine, as_f32s_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

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
        // Reads of several parts at a time are the fastest ones.
        let parts = match stream {
            Stream::Read => Parts::Four,
            _ => Parts::One,
        };
        let bytes = AtomicU64::new(0);
        let took = workers.install(|exec| {
            let pass = || {
                on_each_worker(exec, |worker| {
                    let mut buffer = buffers[worker].lock().expect("each worker has its own");
                    let floats = as_f32s_mut(&mut buffer);
                    let passed = probe::stream(*isa, *stream, parts, floats, 1);
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
