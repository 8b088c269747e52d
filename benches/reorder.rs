//! `cargo bench --bench reorder`: speed of reorders between layouts, relative to a copy.
//!
//! Names are `reorder/<from>-<to>/<tensor>/mt<threads>`. Beside each is a `copy` of as many bytes between the same
//! buffers on the same threads. Criterion measures one after the other. With `-- --ratios`, optionally followed by a
//! part of a name, both are interleaved. Then the bench prints the copy's time divided by the reorder's (quartiles
//! over the rounds).

use convroof::machine::{Topology, pool::Workers};
use convroof::measure::turns::{Loop, Turns, ratios};
use convroof::stats::quartiles;
use convroof_kernels::exec::{Executor, Grid, par_rows};
use convroof_kernels::reorder::reorder;
use convroof_kernels::tensor::{CacheLine, Layout, Tensor, TensorDesc};
use criterion::{BenchmarkId, Criterion, Throughput};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Maps of ResNet-50 and NiN, and some whose channels fill no whole block.
const TENSORS: [[usize; 3]; 8] = [
    [64, 56, 56],
    [256, 56, 56],
    [512, 28, 28],
    [2048, 7, 7],
    [96, 54, 54],
    [100, 56, 56],
    [30, 28, 28],
    [3, 224, 224],
];

const LAYOUTS: [Layout; 3] = [Layout::Nchw, Layout::Nhwc, Layout::NCHW16C];

/// A pair of layouts, with memory for a reorder and for a copy.
struct Case {
    name: String,
    tensor: String,
    src: Tensor,
    dst: Tensor,
}

impl Case {
    fn new(from: Layout, to: Layout, dims: [usize; 4]) -> Self {
        let [n, c, h, w] = dims;
        let desc = TensorDesc::f32(from, dims);
        let mut src = Tensor::zeros(desc).expect("memory");
        for (i, x) in src.f32s_mut().iter_mut().enumerate() {
            *x = i as f32;
        }
        Case {
            name: format!("{from}-{to}").to_lowercase(),
            tensor: format!("{n}x{c}x{h}x{w}"),
            src,
            dst: Tensor::zeros(desc.with_layout(to)).expect("memory"),
        }
    }

    fn floats(&self) -> usize {
        self.src.f32s().len().min(self.dst.f32s().len())
    }

    fn bytes(&self) -> usize {
        self.floats() * size_of::<f32>()
    }

    fn reorder(&mut self, exec: &dyn Executor) {
        reorder(self.src.view(), &mut self.dst.view_mut(), exec);
    }

    /// Copies as many bytes, divided among the workers.
    fn copy(&mut self, exec: &dyn Executor) {
        let len = self.floats();
        let grid = Grid {
            rows: 1,
            cols: len,
            block_rows: 1,
            block_cols: len.div_ceil(exec.width()).next_multiple_of(CacheLine::F32S),
            band: 1,
        };
        let (src, dst) = (self.src.f32s(), self.dst.f32s_mut());
        par_rows(exec, &mut dst[..len], grid, &mut [], |at, mut out, _| {
            let out = out.row(0);
            out.copy_from_slice(&src[at.col..at.col + out.len()]);
        });
    }
}

fn dims() -> Vec<[usize; 4]> {
    let batches = |n| TENSORS.into_iter().map(move |[c, h, w]| [n, c, h, w]);
    batches(1).chain(batches(8)).collect()
}

fn pairs() -> impl Iterator<Item = (Layout, Layout)> {
    let pairs = LAYOUTS.into_iter().flat_map(|a| LAYOUTS.map(|b| (a, b)));
    pairs.filter(|(a, b)| a != b)
}

fn main() {
    let topology = Topology::detect();
    let pools: Vec<Workers> = [1, topology.threads()]
        .into_iter()
        .take(topology.threads().min(2))
        .map(|n| Workers::new(&topology, n).expect("as many threads as there are cores"))
        .collect();
    let mut args = std::env::args().skip_while(|a| a != "--ratios");
    if args.next().is_some() {
        let part = args.next().filter(|a| !a.starts_with('-'));
        in_turns(&pools, &part.unwrap_or_default());
    } else {
        criterion(&pools);
    }
}

fn criterion(pools: &[Workers]) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20)
        .configure_from_args();
    for (from, to) in pairs() {
        for dims in dims() {
            let mut case = Case::new(from, to, dims);
            let mut group = criterion.benchmark_group(format!("reorder/{}", case.name));
            group.throughput(Throughput::Bytes(2 * case.bytes() as u64));
            for workers in pools {
                let threads = workers.threads();
                for (what, run) in kinds() {
                    let id = BenchmarkId::new(&case.tensor, format!("{what}mt{threads}"));
                    group.bench_function(id, |b| {
                        b.iter_custom(|runs| timed(workers, &mut case, run, runs));
                    });
                }
            }
        }
    }
    criterion.final_summary();
}

type Run = fn(&mut Case, &dyn Executor);

fn kinds() -> [(&'static str, Run); 2] {
    [("", Case::reorder), ("copy/", Case::copy)]
}

fn timed(workers: &Workers, case: &mut Case, run: Run, runs: u64) -> Duration {
    workers.install(|exec| {
        let start = Instant::now();
        for _ in 0..runs {
            run(case, exec);
        }
        start.elapsed()
    })
}

/// Prints the ratios of interleaved rounds.
fn in_turns(pools: &[Workers], part: &str) {
    println!("copy / reorder: quartiles; GB/s of the copy, read and written");
    for (from, to) in pairs() {
        for dims in dims() {
            let [n, c, h, w] = dims;
            let name = format!("{from}-{to}/{n}x{c}x{h}x{w}").to_lowercase();
            for workers in pools {
                let name = format!("{name}/mt{}", workers.threads());
                if !name.contains(part) {
                    continue;
                }
                let mut case = Case::new(from, to, dims);
                let once = timed(workers, &mut case, Case::copy, 3).as_secs_f64() / 3.0;
                let runs = ((0.5e-3 / once) as u64).max(1);
                let (bytes, case) = (case.bytes(), RefCell::new(case));
                let sample = |run: Run| {
                    let took = timed(workers, &mut case.borrow_mut(), run, runs);
                    took.as_secs_f64()
                };
                let mut loops = kinds().map(|(_, run)| Box::new(move || sample(run)) as Loop<'_>);
                let turns = Turns {
                    rounds: 15,
                    time: Duration::from_millis(60),
                };
                let samples = turns.take(&mut loops);
                let [ours, copies] = [&samples[0], &samples[1]];
                let found = quartiles(&ratios(copies, ours)).expect("a round");
                let [_, copy, _] = quartiles(copies).expect("a round");
                println!(
                    "{name:38} {:.2} {:.2} {:.2}   {:.1}",
                    found[0],
                    found[1],
                    found[2],
                    2e-9 * bytes as f64 * runs as f64 / copy
                );
            }
        }
    }
}
