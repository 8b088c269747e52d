//! `cargo bench`: criterion over the registry and the networks' layers.
//!
//! Names are `<network>/<layer>/<variant>`, so that `cargo bench -- 'resnet50/.*winograd'` and criterion's
//! `--save-baseline` and `--baseline` work. Without a filter a small selection runs: six layers of NiN and ResNet-50
//! on this CPU's widest instruction set. A filter reaches every layer and variant. Throughput is in nominal flops.
//!
//! `CONVROOF_DT=f32,bf16,u8` requests the layers in these element types. Names in other types than f32 are
//! `<network>/<layer>/<type>/<variant>`.
//!
//! The bench also writes our record (`results/runs/criterion.json`), marked as not interleaved. `convroof report
//! results/runs/criterion.json` shows it. With `CONVROOF_MEASURE=cycles` or `instructions`, criterion counts those
//! instead of time, if the CPU has a PMU.

use convroof::machine::calibration::{calibrate, peak_probe};
use convroof::machine::{Topology, fingerprint, pool::Workers};
use convroof::measure::{self, solo::Solo};
use convroof::networks::{self, Layer, Network};
use convroof::record::{self, Conditions, LayerRef, Run, Text};
use convroof_kernels::dtype::DType;
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::{Isa, Registry};
use criterion::measurement::Measurement as Quantity;
use criterion::{BenchmarkId, Criterion, Throughput};
use std::path::Path;
use std::time::Duration;

mod quantity;

/// Layers without a filter: they show the differences between 1x1, 3x3, pooling and fully connected layers.
const SELECTION: [(&str, &str); 6] = [
    ("nin", "conv3"),
    ("nin", "cccp5"),
    ("resnet50", "pool1"),
    ("resnet50", "conv2_x.3x3"),
    ("resnet50", "conv4_x.1x1a"),
    ("resnet50", "fc"),
];

fn main() {
    // Cargo runs benches in the package's folder, so the record's relative path is the same as on the command line.
    let wanted = types().and_then(|types| Ok((types, quantity::wanted()?)));
    match wanted {
        Ok((types, None)) => benches(quick(Criterion::default()), &types),
        Ok((types, Some(quantity))) => {
            let criterion = Criterion::default().with_measurement(quantity);
            benches(quick(criterion), &types);
        }
        Err(why) => {
            eprintln!("convroof: {why}");
            std::process::exit(2);
        }
    }
}

/// The element types that `CONVROOF_DT` requests.
fn types() -> Result<Vec<DType>, String> {
    let names = std::env::var("CONVROOF_DT").unwrap_or_default();
    let names = if names.is_empty() { "f32" } else { &names };
    let mut types = Vec::new();
    for name in names.split(',') {
        let dtype = networks::requested_type(name);
        let dtype = dtype.map_err(|why| format!("CONVROOF_DT={names}: {why}"))?;
        if !types.contains(&dtype) {
            types.push(dtype);
        }
    }
    Ok(types)
}

/// Shorter times than criterion's defaults of eight seconds per benchmark: kernels repeat well enough.
fn quick<M: Quantity>(criterion: Criterion<M>) -> Criterion<M> {
    criterion
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args()
}

/// True if the command line has a filter: an argument that belongs to no option.
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

fn benches<M: quantity::FromDuration + 'static>(mut criterion: Criterion<M>, types: &[DType]) {
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

    let variants: Vec<_> = Registry::builtin()
        .variants(&Isa::REAL)
        .into_iter()
        .filter(|v| v.isa.detect().is_some())
        .collect();
    let kernels = measure::kernels(&variants, &threads);
    let mut run = Run {
        complete: true,
        notes: vec!["measured by criterion, one variant after another: not interleaved".into()],
        ..fingerprint::begun(&topology, conditions(&threads))
    };

    for (network, layer) in layers(everything) {
        for &dtype in types {
            // An operation without a form in this type is left out.
            let Ok(problem) = networks::in_type(&layer.problem, dtype) else {
                continue;
            };
            let arithmetic = Arithmetic::of(problem.dtypes.src);
            let best = arithmetic.best().isa();
            let mut group = criterion.benchmark_group(group_name(&network, &layer.name, dtype));
            let mut measured = false;
            for &kernel in &kernels {
                if !everything && kernel.variant.isa != best {
                    continue;
                }
                let Some(mut solo) = Solo::new(kernel, &problem, &topology) else {
                    continue;
                };
                let workers = &pools[usize::from(kernel.threads != 1)];
                group.throughput(Throughput::Elements(solo.flops_nominal()));
                let mut samples = Vec::new();
                // Criterion calls this only for benchmarks that pass its filter: memory and weights are allocated
                // then.
                group.bench_function(BenchmarkId::from_parameter(solo.id()), |b| {
                    let instance = solo.loaded(workers).expect("memory for a layer");
                    b.iter_custom(|iterations| {
                        let (value, took) = M::measure(workers, iterations, instance);
                        samples.push(took.as_nanos() as f64 / iterations as f64);
                        value
                    });
                });
                if !solo.is_loaded() {
                    continue;
                }
                measured = true;
                let isa = kernel.variant.isa.detect().expect("filtered above");
                let peak = peak_probe(workers, isa, arithmetic, Duration::from_millis(1));
                let measurement = solo.measurement(samples, peak, workers);
                run.measurements
                    .push(measurement.unwrap_or_else(|e| panic!("{e:#}")));
            }
            group.finish();
            if measured {
                run.layers.push(LayerRef {
                    network: network.clone(),
                    dt: Text::of(dtype),
                    layer: layer.name.clone(),
                    kind: layer.kind.name().into(),
                    count: layer.count,
                    problem: Text::of(problem),
                });
            }
        }
    }
    criterion.final_summary();
    if !testing && !listing && !run.measurements.is_empty() {
        let pools: Vec<_> = pools.iter().collect();
        let arithmetics: Vec<_> = types.iter().map(|&dtype| Arithmetic::of(dtype)).collect();
        run.calibration =
            calibrate(&topology, &pools, &arithmetics, |_| ()).expect("memory to calibrate with");
        // Layers with the same problem were measured separately. The record has each problem and variant once.
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

/// All layers with their networks, or the selection.
fn layers(everything: bool) -> Vec<(String, Layer)> {
    let mut layers = Vec::new();
    for Network {
        name, layers: own, ..
    } in networks::all()
    {
        layers.extend(own.into_iter().map(|layer| (name.clone(), layer)));
    }
    let selected = |network: &str, layer: &str| SELECTION.contains(&(network, layer));
    layers.retain(|(network, layer)| everything || selected(network, &layer.name));
    layers
}

/// Name of the group of a layer's benchmarks in an element type.
fn group_name(network: &str, layer: &str, dtype: DType) -> String {
    match dtype {
        DType::F32 => format!("{network}/{layer}"),
        other => format!("{network}/{layer}/{other}"),
    }
}

fn conditions(threads: &[usize]) -> Conditions {
    Conditions {
        threads: threads.to_vec(),
        batch: 1,
        cache: "warm".into(),
        seed: 1,
        ..Conditions::default()
    }
}
