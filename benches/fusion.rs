//! `cargo bench --bench fusion`: what it gains to compute two layers as one.
//!
//! The two and the one are measured in turns, on the widest vectors: each of the two reads what the one before has
//! just written. Printed: the two's time divided by the one's, its quartiles over the rounds, and both medians in
//! microseconds. An argument that is no flag chooses names by a part.

use convroof::machine::{Topology, pool::Workers};
use convroof_kernels::conformance::Data;
use convroof_kernels::data::Fill;
use convroof_kernels::exec::Executor;
use convroof_kernels::plan::{Params, RunArgs};
use convroof_kernels::reorder::to_layout;
use convroof_kernels::tensor::{AlignedBuf, Layout, Tensor, TensorDesc, TensorRef};
use convroof_kernels::{Isa, Plan, PlanCx, Problem, Registry};
use std::time::{Duration, Instant};

/// A name, the one algorithm, and the two; layers are split at their ` + `.
const CASES: [(&str, &str, [&str; 2], &str); 7] = [
    (
        "resnet50/conv1+pool1",
        "direct-maxpool",
        ["direct", "maxpool"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic3ih224oc64oh112kh7sh2ph3 + --pool --alg=max mb1ic64ih112oh56kh3sh2ph1",
    ),
    (
        "alexnet/conv1+pool1",
        "direct-maxpool",
        ["direct", "maxpool"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic3ih224oc64oh55kh11sh4ph2 + --pool --alg=max mb1ic64ih55oh27kh3sh2ph0",
    ),
    (
        "11x11s4-96+pool",
        "direct-maxpool",
        ["direct", "maxpool"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic3ih227oc96oh55kh11sh4ph0 + --pool --alg=max mb1ic96ih55oh27kh3sh2ph0",
    ),
    (
        "resnet50/conv2_x.1x1+3x3",
        "gemm-1x1-direct",
        ["gemm-1x1", "direct"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic256ih56oc64oh56kh1ph0 + --dir=FWD_B --attr-post-ops=relu mb1ic64ih56oc64oh56kh3ph1",
    ),
    (
        "resnet50/conv3_1.1x1+3x3s2",
        "gemm-1x1-direct",
        ["gemm-1x1", "direct"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic256ih56oc128oh56kh1ph0 + --dir=FWD_B --attr-post-ops=relu mb1ic128ih56oc128oh28kh3sh2ph1",
    ),
    (
        "resnet50/conv3_x.1x1+3x3",
        "gemm-1x1-direct",
        ["gemm-1x1", "direct"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic512ih28oc128oh28kh1ph0 + --dir=FWD_B --attr-post-ops=relu mb1ic128ih28oc128oh28kh3ph1",
    ),
    (
        "resnet50/conv4_x.1x1+3x3",
        "gemm-1x1-direct",
        ["gemm-1x1", "direct"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic1024ih14oc256oh14kh1ph0 + --dir=FWD_B --attr-post-ops=relu mb1ic256ih14oc256oh14kh3ph1",
    ),
];

fn main() {
    let part = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let part = part.unwrap_or_default();
    let topology = Topology::detect();
    println!("two layers / one: quartiles; microseconds of the two and of the one");
    for threads in [1, topology.threads()] {
        let Ok(workers) = Workers::new(&topology, threads) else {
            continue;
        };
        for (name, one, two, text) in CASES {
            let name = format!("{name}/{threads}");
            if !name.contains(&part) {
                continue;
            }
            let chain = |ids: &[&str], texts: &[&str]| {
                let parts = ids.iter().zip(texts);
                Chain::new(parts, &topology, threads, &workers)
            };
            let (first, second) = text.split_once(" + ").expect("two layers");
            let mut chains = [chain(&two, &[first, second]), chain(&[one], &[text])];
            let ([low, middle, high], [two, one]) = ratios(&mut chains, &workers);
            println!("{name:32} {low:.3} {middle:.3} {high:.3}  {two:8.1} {one:8.1}");
        }
        if topology.threads() == 1 {
            break;
        }
    }
}

/// Layers, each on what the one before makes.
struct Chain {
    plans: Vec<(Box<dyn Plan>, AlignedBuf)>,
    /// The first one's source, and what each makes.
    tensors: Vec<Tensor>,
    workspace: AlignedBuf,
}

impl Chain {
    fn new<'a>(
        layers: impl Iterator<Item = (&'a &'a str, &'a &'a str)>,
        topology: &Topology,
        threads: usize,
        workers: &Workers,
    ) -> Self {
        let (registry, caches) = (Registry::builtin(), topology.caches(threads));
        let cx = PlanCx::new(Isa::best(), &caches).with_threads(threads);
        let (mut plans, mut tensors, mut lines) = (Vec::new(), Vec::new(), 0);
        for (id, text) in layers {
            let problem: Problem = text.parse().expect("a layer");
            let algorithm = registry.algorithms().iter().find(|a| a.meta().id == *id);
            let plan = algorithm.expect("listed").plan(&problem, &cx);
            let plan = plan.expect("a layer of its");
            let (spec, data) = (plan.spec(), Data::new(&problem, Fill::Uniform, 1));
            let x = data.operands();
            if tensors.is_empty() {
                let plain = TensorDesc::f32(Layout::Nchw, problem.src_dims());
                let mut src = Tensor::zeros(plain).expect("memory");
                src.f32s_mut().copy_from_slice(x.src);
                let src = workers.install(|exec| to_layout(&src, spec.layouts.src, exec));
                tensors.push(src.expect("memory"));
            }
            tensors.push(Tensor::zeros(spec.dst_desc()).expect("memory"));
            let params = Params {
                weights: spec
                    .weights_desc()
                    .map(|d| TensorRef::from_f32s(d, x.weights)),
                bias: spec.bias_desc().map(|d| TensorRef::from_f32s(d, x.bias)),
            };
            let mut packed = AlignedBuf::zeroed(spec.packed_lines).expect("memory");
            workers.install(|exec| plan.prepare(params, &mut packed, exec));
            lines = lines.max(spec.workspace_lines());
            plans.push((plan, packed));
        }
        Chain {
            plans,
            tensors,
            workspace: AlignedBuf::zeroed(lines).expect("memory"),
        }
    }

    fn run(&mut self, exec: &dyn Executor) {
        for (at, (plan, packed)) in self.plans.iter().enumerate() {
            let (before, behind) = self.tensors.split_at_mut(at + 1);
            plan.run(RunArgs {
                src: before[at].view(),
                residual: None,
                dst: behind[0].view_mut(),
                packed,
                workspace: &mut self.workspace,
                exec,
                phases: None,
            });
        }
    }

    /// Microseconds a run.
    fn sample(&mut self, runs: usize, workers: &Workers) -> f64 {
        let took = workers.install(|exec| {
            self.run(exec);
            let start = Instant::now();
            (0..runs).for_each(|_| self.run(exec));
            start.elapsed()
        });
        took.as_secs_f64() * 1e6 / runs as f64
    }
}

/// Rounds of both in turns: quartiles of the first's time over the second's, and the medians of both.
fn ratios(chains: &mut [Chain; 2], workers: &Workers) -> ([f64; 3], [f64; 2]) {
    // `cargo bench -- --test` asks only whether it runs.
    let (rounds, least) = match std::env::args().any(|a| a == "--test") {
        true => (1, Duration::ZERO),
        false => (21, Duration::from_secs(2)),
    };
    let runs = (5e3 / chains[0].sample(1, workers)).clamp(1.0, 1e3) as usize;
    let mut times = [Vec::new(), Vec::new()];
    let started = Instant::now();
    while times[0].len() < rounds || started.elapsed() < least {
        for (chain, times) in chains.iter_mut().zip(&mut times) {
            times.push(chain.sample(runs, workers));
        }
    }
    let quartiles = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        [1, 2, 3].map(|q| all[all.len() * q / 4])
    };
    let ratio = times[0].iter().zip(&times[1]).map(|(two, one)| two / one);
    let ratio = quartiles(ratio.collect());
    (ratio, times.map(|times| quartiles(times)[1]))
}
