//! `cargo bench`: criterion over the registry and the networks' layers.
//!
//! Names are `<network>/<layer>/<variant>`, so that `cargo bench -- 'resnet50/.*winograd'` and
//! criterion's `--save-baseline` and `--baseline` work. Without a filter a small selection runs: the
//! widest instruction set of this CPU on six layers of NiN and ResNet-50. With a filter every layer
//! and variant can be reached. Throughput is in nominal flops.
//!
//! Beside criterion's own files our record is written (`results/runs/criterion.json`), marked as not
//! interleaved; `convroof report results/runs/criterion.json` draws it. `CONVROOF_MEASURE=cycles` or
//! `instructions` makes criterion count those in place of time, where there is a PMU.

use convroof::machine::calibration::{calibrate, peak_probe};
use convroof::machine::{Topology, fingerprint, pool::Workers};
use convroof::record::{
    self, CacheState, Calibration, Conditions, KIND, LayerRef, Measurement, Run, SCHEMA, Text,
};
use convroof::{measure, networks};
use convroof_kernels::conformance::{Data, tolerance};
use convroof_kernels::data::Fill;
use convroof_kernels::instance::{Deviation, Instance};
use convroof_kernels::{Isa, PlanCx, Problem, Registry, reference};
use criterion::measurement::Measurement as Quantity;
use criterion::{BenchmarkId, Criterion, Throughput};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

mod quantity;

/// Without a filter: what shows the difference between 1x1, 3x3, pooling and fully connected.
const SELECTION: [(&str, &str); 6] = [
    ("nin", "conv3"),
    ("nin", "cccp5"),
    ("resnet50", "pool1"),
    ("resnet50", "conv2_x.3x3"),
    ("resnet50", "conv4_x.1x1a"),
    ("resnet50", "fc"),
];

fn main() {
    // Cargo runs benches in the package's folder; records go where the command line puts them.
    match quantity::wanted() {
        Ok(None) => benches(quick(Criterion::default())),
        Ok(Some(quantity)) => benches(quick(Criterion::default().with_measurement(quantity))),
        Err(why) => {
            eprintln!("convroof: {why}");
            std::process::exit(2);
        }
    }
}

/// Criterion's defaults take eight seconds a benchmark; kernels repeat well enough for less.
fn quick<M: Quantity>(criterion: Criterion<M>) -> Criterion<M> {
    criterion
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args()
}

/// The filter given on the command line, if any: the first argument that is no option's.
fn filter_given() -> bool {
    let valued = [
        "--save-baseline",
        "--baseline",
        "-b",
        "--baseline-lenient",
        "--sample-size",
        "--warm-up-time",
        "--measurement-time",
        "--nresamples",
        "--noise-threshold",
        "--confidence-level",
        "--significance-level",
        "--profile-time",
        "--load-baseline",
        "--color",
        "-c",
        "--plotting-backend",
        "--output-format",
        "--format",
    ];
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if valued.contains(&arg.as_str()) {
            args.next();
        } else if !arg.starts_with('-') {
            return true;
        }
    }
    false
}

fn benches<M: quantity::FromDuration + 'static>(mut criterion: Criterion<M>) {
    let testing = std::env::args().any(|a| a == "--test");
    let listing = std::env::args().any(|a| a == "--list");
    let everything = filter_given();
    let topology = Topology::detect();
    let cores = topology.threads();
    let pools: Vec<Workers> = [1, cores]
        .into_iter()
        .take(cores.min(2))
        .map(|n| Workers::new(&topology, n).expect("as many threads as there are cores"))
        .collect();
    let threads: Vec<usize> = pools.iter().map(Workers::threads).collect();

    let here = Isa::best().isa();
    let isas: &[Isa] = if everything { &Isa::REAL } else { &[here] };
    let variants: Vec<_> = Registry::builtin()
        .variants(isas)
        .into_iter()
        .filter(|v| v.isa.detect().is_some())
        .collect();
    let candidates = measure::kernels(&variants, &threads);
    let mut run = new_run(&topology, &threads);

    for network in networks::all() {
        for layer in &network.layers {
            let selected = SELECTION.contains(&(network.name.as_str(), layer.name.as_str()));
            if !everything && !selected {
                continue;
            }
            let mut group = criterion.benchmark_group(format!("{}/{}", network.name, layer.name));
            let mut measured = false;
            for candidate in &candidates {
                let caches = topology.caches(candidate.threads);
                let isa = candidate.variant.isa.detect().expect("filtered above");
                let cx = PlanCx::new(isa, &caches).with_threads(candidate.threads);
                let Ok(plan) = candidate.variant.algorithm.plan(&layer.problem, &cx) else {
                    continue;
                };
                let cost = plan.spec().cost;
                let id = candidate.variant.id().to_string();
                let workers = &pools[usize::from(candidate.threads != 1)];
                group.throughput(Throughput::Elements(cost.flops_nominal));
                let mut samples = Vec::new();
                let mut plan = Some(plan);
                let mut ready: Option<(Instance, Data)> = None;
                // Criterion calls this only for benchmarks that its filter lets through: memory and
                // weights are made then.
                group.bench_function(BenchmarkId::from_parameter(&id), |b| {
                    let (instance, _) = ready.get_or_insert_with(|| {
                        let data = Data::new(&layer.problem, Fill::Uniform, 1);
                        let plan = plan.take().expect("made once");
                        let mut instance = Instance::new(plan).expect("memory for a layer");
                        workers.install(|exec| instance.load(data.operands(), exec));
                        (instance, data)
                    });
                    b.iter_custom(|iterations| {
                        let (value, took) = M::measure(workers, iterations, instance);
                        samples.push(took.as_nanos() as f64 / iterations as f64);
                        value
                    });
                });
                let Some((instance, data)) = ready else {
                    continue;
                };
                measured = true;
                let deviation = verify(
                    &layer.problem,
                    workers,
                    instance
                        .output_nchw(&convroof_kernels::exec::Serial)
                        .expect("memory")
                        .f32s(),
                    &data,
                );
                let accuracy = candidate.variant.algorithm.meta().accuracy;
                let allowed = tolerance(accuracy, &layer.problem, 1.0, deviation.largest);
                assert!(
                    deviation.max <= allowed,
                    "{id} is wrong on {}: {deviation:?}",
                    layer.problem
                );
                let peak = peak_probe(workers, isa, Duration::from_millis(1));
                let spec = instance.spec();
                run.measurements.push(Measurement {
                    ablation: None,
                    cold_read: None,
                    problem: Text::of(layer.problem),
                    variant: id.into(),
                    implementation: None,
                    threads: candidate.threads,
                    cache: Text::of(CacheState::Warm),
                    runs_per_sample: 1,
                    rounds: (0..samples.len() as u32).collect(),
                    peak_gflops: vec![peak; samples.len()],
                    samples_ns: samples,
                    flops_nominal: cost.flops_nominal,
                    flops_executed: cost.flops_executed,
                    bytes_read: cost.bytes_read,
                    bytes_written: cost.bytes_written,
                    packed_bytes: spec.packed_bytes() as u64,
                    workspace_bytes: instance.workspace_bytes() as u64,
                    working_set_bytes: instance.working_set() as u64,
                    error_l2: deviation.l2,
                    error_max: deviation.max,
                    tolerance: allowed,
                    errors_by_input: Vec::new(),
                    verified: true,
                    phases: Vec::new(),
                    counters: Vec::new(),
                });
            }
            group.finish();
            if measured {
                run.layers.push(LayerRef {
                    network: network.name.clone(),
                    layer: layer.name.clone(),
                    kind: layer.kind.name().into(),
                    count: layer.count,
                    problem: Text::of(layer.problem),
                });
            }
        }
    }
    criterion.final_summary();
    if !testing && !listing && !run.measurements.is_empty() {
        run.calibration = calibrate(&topology, &pools.iter().collect::<Vec<_>>(), |_| ())
            .expect("memory to calibrate with");
        // Layers of one problem were measured apart: the record has each problem and variant once.
        let mut seen = std::collections::HashSet::new();
        run.measurements
            .retain(|m| seen.insert((m.problem.clone(), m.variant.clone(), m.threads)));
        let path = Path::new("results/runs/criterion.json");
        match record::save(&run, path) {
            Ok(()) => println!(
                "record: {} (draw it with: convroof report {0})",
                path.display()
            ),
            Err(error) => eprintln!("convroof: {error}"),
        }
    }
}

/// Compares what was timed last with the reference.
fn verify(problem: &Problem, workers: &Workers, output: &[f32], data: &Data) -> Deviation {
    let expected = workers.install(|exec| reference::compute(problem, data.operands(), exec));
    Deviation::between(output, &expected)
}

fn new_run(topology: &Topology, threads: &[usize]) -> Run {
    Run {
        kind: KIND.into(),
        schema: SCHEMA,
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        tool: fingerprint::tool(),
        fingerprint: fingerprint::fingerprint(topology),
        calibration: Calibration::default(),
        conditions: Conditions {
            command: fingerprint::command_line(),
            threads: threads.to_vec(),
            batch: 1,
            cache: "warm".into(),
            seed: 1,
            cpus: topology.cores.clone(),
            quota_cpus: topology.quota,
            ..Conditions::default()
        },
        layers: Vec::new(),
        measurements: Vec::new(),
        refusals: Vec::new(),
        counters: Vec::new(),
        peers: Vec::new(),
        complete: true,
        notes: vec!["measured by criterion, one variant after another: not interleaved".into()],
    }
}

/// Runs an instance some times on a pool, and how long that took.
fn timed(workers: &Workers, iterations: u64, instance: &mut Instance) -> Duration {
    workers.install(|exec| {
        let start = Instant::now();
        for _ in 0..iterations {
            instance.run(exec);
        }
        start.elapsed()
    })
}
