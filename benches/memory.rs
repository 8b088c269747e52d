//! `cargo bench --bench memory`: how near the memory-bound layers come to memory's bandwidth.
//!
//! Each is measured in turns with the plain loop of its traffic (reading for fully connected layers, pooling and
//! statistics, a copy, or a triad where two tensors are read) at the same working set, on the same threads, both on the widest
//! vectors. Printed: the loop's time a byte divided by the layer's, its quartiles over the rounds, and both GB/s.
//! The bytes are compulsory ones: the lines that ordinary stores read before they overwrite them are counted in
//! neither, so a streaming store may come to more than 1. An argument that is no flag chooses names by a part.

use convroof::machine::{Topology, pool::Workers};
use convroof_kernels::blocking::Caches;
use convroof_kernels::conformance::Data;
use convroof_kernels::data::Fill;
use convroof_kernels::exec::{on_each_worker, share};
use convroof_kernels::instance::Instance;
use convroof_kernels::probe::{self, Stream};
use convroof_kernels::tensor::{AlignedBuf, CacheLine, as_f32s_mut};
use convroof_kernels::{Isa, IsaToken, PlanCx, Problem, Registry};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What is measured in turns: layers with the algorithms that compute them, and the loop of their traffic.
struct Case {
    layers: Vec<(String, &'static str)>,
    stream: Stream,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |stream, layers: &[(&str, &'static str)]| {
        let layers = layers.iter().map(|(text, id)| (text.to_string(), *id));
        cases.push(Case {
            layers: layers.collect(),
            stream,
        });
    };
    for sizes in [
        "ic512oc1000",
        "ic2048oc1000",
        "ic4096oc4096",
        "ic512ih7oc4096",
    ] {
        case(Stream::Read, &[(&format!("--ip mb1{sizes}"), "fc")]);
    }
    // Maps of ResNet-50 with their result in L2, L3 and memory.
    for (c, hw) in [(64, 28), (256, 56), (256, 224)] {
        let dims = format!("1x{c}x{hw}x{hw}");
        let maps = format!("mb1ic{c}ih{hw}");
        let mut both = |text: &str, [plain, stream]: [&'static str; 2], as_fast_as| {
            case(as_fast_as, &[(text, plain), (text, stream)]);
        };
        both(
            &format!("--eltwise --alg=linear {dims}"),
            ["copy", "copy-stream"],
            Stream::Copy,
        );
        both(
            &format!("--eltwise --alg=relu {dims}"),
            ["relu", "relu-stream"],
            Stream::Copy,
        );
        both(
            &format!("--binary --alg=add --attr-post-ops=relu {dims}:{dims}"),
            ["add", "add-stream"],
            Stream::Triad,
        );
        both(
            &format!("--binary --alg=add {dims}:1x{c}x1x1"),
            ["bias", "bias-stream"],
            Stream::Copy,
        );
        both(
            &format!("--bnorm --flags=GCH --attr-post-ops=relu {maps}"),
            ["batchnorm", "batchnorm-stream"],
            Stream::Copy,
        );
        both(
            &format!("--statistics {maps}"),
            ["statistics", "statistics-welford"],
            Stream::Read,
        );
    }
    // GoogLeNet's first concatenation and its second normalisation.
    let concat = "--concat --axis=1 1x64x28x28:1x128x28x28:1x32x28x28:1x32x28x28";
    let lrn = "--lrn mb1ic192ih56ls5alpha0.0001beta0.75k1";
    for (text, id) in [(concat, "concat"), (lrn, "lrn")] {
        case(Stream::Copy, &[(text, id)]);
    }
    // ResNet's pooling and NiN's, on both layouts; of the first also what else is made of a window, in turns.
    let pools = [
        "mb1ic64ih112oh56kh3sh2ph1",
        "mb1ic96ih54oh26kh3sh2ph0",
        "mb1ic256ih26oh12kh3sh2ph0",
        "mb1ic384ih12oh5kh3sh2ph0",
    ];
    for sizes in pools {
        let max = format!("--pool --alg=max {sizes}");
        case(Stream::Read, &[(&max, "maxpool"), (&max, "maxpool-nchw")]);
        let [mean, squares, draws] =
            ["avg_np", "lp2", "stochastic"].map(|alg| format!("--pool --alg={alg} {sizes}"));
        let layers: [(&str, &str); 4] = [
            (&mean, "avgpool"),
            (&mean, "avgpool-nchw"),
            (&squares, "lppool"),
            (&draws, "stochastic-pool"),
        ];
        case(Stream::Read, &layers);
    }
    for sizes in ["mb1ic2048ih7oh1kh7ph0", "mb1ic1000ih6oh1kh6ph0"] {
        let text = format!("--pool --alg=avg_np {sizes}");
        case(Stream::Read, &[(&text, "global-avgpool")]);
    }
    cases
}

fn main() {
    let part = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let part = part.unwrap_or_default();
    let topology = Topology::detect();
    let isa = Isa::best();
    println!("loop / layer: quartiles; GB/s of the layer and of the loop");
    for threads in [1, topology.threads()] {
        let Ok(workers) = Workers::new(&topology, threads) else {
            continue;
        };
        for Case { layers, stream } in cases() {
            let name = |text: &str, id: &str| format!("{id}/{}/{threads} {text}", isa.isa());
            let chosen: Vec<_> = layers
                .iter()
                .filter(|(text, id)| name(text, id).contains(&part))
                .collect();
            if chosen.is_empty() {
                continue;
            }
            let caches = topology.caches(threads);
            let mut layers: Vec<Layer> = chosen
                .iter()
                .map(|(text, id)| {
                    let problem = text.parse().expect("a layer");
                    Layer::new(id, &problem, isa, &caches, threads, &workers)
                })
                .collect();
            let mut plain = Loop::new(isa, stream, layers[0].instance.working_set(), &workers);
            let found = ratios(&mut layers, &mut plain, &workers);
            for ((text, id), found) in chosen.iter().zip(found) {
                let [low, middle, high] = found.ratio;
                let [own, other] = found.gbps;
                println!(
                    "{:84} {low:.3} {middle:.3} {high:.3}  {own:6.1} {other:6.1}",
                    name(text, id)
                );
            }
        }
        if topology.threads() == 1 {
            break;
        }
    }
}

/// A layer with its memory.
struct Layer {
    instance: Instance,
    bytes: f64,
}

impl Layer {
    fn new(
        id: &str,
        problem: &Problem,
        isa: IsaToken,
        caches: &Caches,
        threads: usize,
        workers: &Workers,
    ) -> Self {
        let registry = Registry::builtin();
        let algorithm = registry.algorithms().iter().find(|a| a.meta().id == id);
        let cx = PlanCx::new(isa, caches).with_threads(threads);
        let plan = algorithm.expect("listed").plan(problem, &cx);
        let mut instance = Instance::new(plan.expect("a layer of its")).expect("memory");
        let data = Data::new(problem, Fill::Uniform, 1);
        workers.install(|exec| instance.load(data.operands(), exec));
        Layer {
            bytes: instance.spec().cost.bytes() as f64,
            instance,
        }
    }

    /// Nanoseconds a byte.
    fn sample(&mut self, runs: usize, workers: &Workers) -> f64 {
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

/// A loop over as many bytes, in shares of the workers.
struct Loop {
    isa: IsaToken,
    stream: Stream,
    buffers: Vec<Mutex<AlignedBuf>>,
}

impl Loop {
    fn new(isa: IsaToken, stream: Stream, bytes: usize, workers: &Workers) -> Self {
        let threads = workers.threads();
        let lines = |worker| share(bytes / CacheLine::BYTES, threads, worker).len();
        let buffers = workers
            .broadcast(|worker| Mutex::new(AlignedBuf::zeroed(lines(worker)).expect("memory")));
        Loop {
            isa,
            stream,
            buffers,
        }
    }

    /// Nanoseconds a byte: a pass of all workers is a run.
    fn sample(&mut self, runs: usize, workers: &Workers) -> f64 {
        let Loop {
            isa,
            stream,
            buffers,
        } = self;
        let bytes = std::sync::atomic::AtomicU64::new(0);
        let took = workers.install(|exec| {
            let pass = || {
                on_each_worker(exec, |worker| {
                    let mut buffer = buffers[worker].lock().expect("each worker has its own");
                    let passed = probe::stream(*isa, *stream, as_f32s_mut(&mut buffer), 1);
                    bytes.fetch_add(passed, std::sync::atomic::Ordering::Relaxed);
                });
            };
            pass();
            bytes.store(0, std::sync::atomic::Ordering::Relaxed);
            let start = Instant::now();
            (0..runs).for_each(|_| pass());
            start.elapsed()
        });
        took.as_nanos() as f64 / bytes.into_inner() as f64
    }
}

/// Quartiles of the loop's time over the layer's, and the medians' GB/s of both.
struct Found {
    ratio: [f64; 3],
    gbps: [f64; 2],
}

/// Rounds of all in turns.
fn ratios(layers: &mut [Layer], plain: &mut Loop, workers: &Workers) -> Vec<Found> {
    let once = plain.sample(1, workers) * layers[0].bytes;
    let runs = ((1e6 / once) as usize).clamp(1, 2000);
    let mut times = vec![Vec::new(); layers.len() + 1];
    let started = Instant::now();
    // `cargo bench -- --test` asks only whether it runs.
    let (rounds, least) = match std::env::args().any(|a| a == "--test") {
        true => (1, Duration::ZERO),
        false => (21, Duration::from_millis(300)),
    };
    while times[0].len() < rounds || started.elapsed() < least {
        times[0].push(plain.sample(runs, workers));
        for (layer, times) in layers.iter_mut().zip(&mut times[1..]) {
            times.push(layer.sample(runs, workers));
        }
    }
    let quartiles = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        [1, 2, 3].map(|q| all[all.len() * q / 4])
    };
    let (plain, layers) = times.split_first().expect("the loop");
    let found = layers.iter().map(|layer| {
        let ratio = plain.iter().zip(layer).map(|(p, l)| p / l).collect();
        let gbps = [layer, plain].map(|t| 1.0 / quartiles(t.clone())[1]);
        Found {
            ratio: quartiles(ratio),
            gbps,
        }
    });
    found.collect()
}
