use super::choose::Choice;
use super::contest::Measured;
use super::layer_plans::{By, LayerPlan, Selection};
use super::memory::{Arena, Lifetime, least, place};
use super::model::Model;
use super::plan_file::{PlanFile, Time, Tuning};
use super::regret::Case;
use super::schedule::{Schedule, StepOp};
use super::weights::{BatchNorm, fold, input};
use super::*;
use crate::machine::Topology;
use crate::machine::pool::Workers;
use crate::measure::turns::Turns;
use crate::networks::{self, Graph, NodeOp, Source};
use crate::record::CandidateId;
use crate::record::tests::sample;
use crate::stats::Estimate;
use crate::ties::Certainty;
use convroof_kernels::conformance::Deviation;
use convroof_kernels::data::{Fill, Rng};
use convroof_kernels::exec::Serial;
use convroof_kernels::reference::Operands;
use convroof_kernels::{Isa, Problem, Registry, reference as layer_reference};
use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};
use std::collections::HashMap;

/// A network with a shortcut with a layer and one without, grouped channels, and a softmax. Of its two inception
/// blocks one has parts that begin at whole channel blocks, the other has not.
const SMALL: &str = "title Small
input 3x20x20
conv1    x1 conv    --dir=FWD_B --attr-post-ops=relu mb1ic3ih20oc16oh20kh3ph1
pool1    x1 pool    --pool --alg=max mb1ic16ih20oh10kh2sh2ph0
res.a    x2 conv+bn --dir=FWD_B --attr-post-ops=relu mb1ic16ih10oc16oh10kh3ph1
res.b    x1 conv+bn --dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu mb1ic16ih10oc24oh10kh1ph0
res.down x1 conv+bn --dir=FWD_B mb1ic16ih10oc24oh10kh1ph0
res.c    x1 conv+bn --dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu mb1ic24ih10oc24oh10kh3ph1
res      block x1 res.a res.a res.b + res.down
res      block x1 res.c +
even.1   x1 conv    --dir=FWD_B --attr-post-ops=relu mb1ic24ih10oc16oh10kh1ph0
even.3a  x1 conv    --dir=FWD_B --attr-post-ops=relu mb1ic24ih10oc20oh10kh1ph0
even.3   x1 conv    --dir=FWD_B --attr-post-ops=relu mb1ic20ih10oc32oh10kh3ph1
even.p   x1 pool    --pool --alg=max mb1ic24ih10oh10kh3ph1
even.q   x1 conv    --dir=FWD_B --attr-post-ops=relu mb1ic24ih10oc18oh10kh1ph0
even     concat even.1 even.3 even.q
odd.1    x1 conv    --dir=FWD_B --attr-post-ops=relu mb1ic66ih10oc12oh10kh1ph0
odd.3    x1 conv    --dir=FWD_B --attr-post-ops=relu mb1ic66ih10oc13oh10kh3ph1
odd      concat odd.1 odd.3
avgpool  x1 pool    --pool --alg=avg_np mb1ic25ih10oh1kh10ph0
fc       x1 fc      --dir=FWD_B mb1ic25ih1oc7oh1kh1ph0
";

fn small(batch: usize) -> Graph {
    let network = networks::parse("small", SMALL).expect("a table");
    Graph::new(network.with_batch(batch).expect("images")).expect("a graph")
}

fn find(name: &str) -> Graph {
    Graph::new(networks::find(name).expect("a network")).expect("a graph")
}

fn model(threads: usize) -> Model {
    // Ceilings of a fixed model machine, so that choices do not depend on the host: those of avx2 for every
    // instruction set.
    let run = sample();
    let mut calibration = run.calibration.clone();
    let peaks = calibration.peaks.clone();
    for isa in Isa::REAL {
        for peak in &peaks {
            let mut peak = peak.clone();
            peak.gflops *= if isa == Isa::Scalar { 0.1 } else { 1.0 };
            peak.isa = isa.into();
            peak.threads = threads;
            calibration.peaks.push(peak);
        }
    }
    for bandwidth in &mut calibration.bandwidths {
        bandwidth.threads = threads;
    }
    Model::new(&calibration, &run.fingerprint, threads)
}

/// Runs a network with `isas` on some threads. Returns the error and its tolerance.
fn run(graph: &Graph, isas: &[Isa], threads: usize) -> (f64, f64) {
    let topology = Topology::detect();
    let workers = Workers::new(&topology, threads).expect("workers");
    let model = model(threads);
    let variants = Registry::builtin().variants(isas);
    let plans = LayerPlans::new(graph, &variants, &topology, &model).expect("plans");
    let selection = plans.choose(graph, &model, By::Model);
    let input = input(graph, 7);
    let output = workers.install(|exec| {
        let mut runner = Runner::new(graph, &plans, &selection, 7, exec).expect("memory");
        runner.load(&input);
        runner.poison();
        runner.run(exec);
        let first = runner.output().to_vec();
        runner.poison();
        runner.run(exec);
        assert_eq!(first, runner.output(), "the same bits again");
        first
    });
    let expected = workers
        .install(|exec| reference::compute(graph, 7, &input, exec, || ()))
        .expect("not stopped");
    let largest = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!(
        (0.05..50.0).contains(&largest),
        "outputs of order 1: {largest}"
    );
    let deviation = Deviation::between(&output, &expected);
    (
        deviation.max,
        reference::tolerance(graph, &plans, &selection),
    )
}

#[test]
fn small_networks_are_their_references() {
    let best = Isa::best().isa();
    for (graph, isas, threads) in [
        (small(1), vec![best], 1),
        (small(2), vec![best], 1),
        (small(1), vec![Isa::Scalar], 1),
        (small(3), vec![Isa::Scalar], 1),
        (find("lenet5"), vec![best], 1),
        (find("lenet-d2l"), vec![best], 1),
        (
            find("nin-cifar10"),
            vec![best],
            Topology::detect().cores.len(),
        ),
    ] {
        let (error, tolerance) = run(&graph, &isas, threads);
        let name = &graph.network.name;
        assert!(
            error <= tolerance,
            "{name} by {isas:?}: {error:.1e} > {tolerance:.1e}"
        );
        assert!(
            tolerance < 1e-3,
            "{name}: {tolerance:.1e} would find nothing"
        );
    }
}

/// An error in one weight of a middle layer is found.
#[test]
fn another_seed_is_another_network() {
    let graph = find("lenet5");
    let input = input(&graph, 1);
    let output = |seed| reference::compute(&graph, seed, &input, &Serial, || ());
    let [a, b] = [1, 2].map(|seed| output(seed).expect("not stopped"));
    let largest = a.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!(a.iter().zip(&b).any(|(x, y)| (x - y).abs() > 0.1 * largest));
}

fn selection(graph: &Graph) -> (LayerPlans, Selection) {
    let variants = Registry::builtin().variants(&Isa::REAL);
    let model = model(1);
    let plans = LayerPlans::new(graph, &variants, &Topology::detect(), &model);
    let plans = plans.expect("plans");
    let selection = plans.choose(graph, &model, By::Model);
    (plans, selection)
}

#[test]
fn parts_are_written_where_they_are_joined() {
    let graph = small(1);
    let (_, chosen) = selection(&graph);
    let schedule = Schedule::new(&graph, &chosen);
    assert!(schedule.in_place >= 3, "{}", schedule.in_place);
    for step in &schedule.steps {
        assert!(
            !matches!(step.op, StepOp::Join(_)),
            "{}: one image is not copied",
            step.name
        );
    }
    // Several images lie apart.
    let graph = small(2);
    let (_, chosen) = selection(&graph);
    let joins = Schedule::new(&graph, &chosen).steps;
    assert_eq!(
        joins
            .iter()
            .filter(|s| matches!(s.op, StepOp::Join(_)))
            .count(),
        5
    );
}

#[test]
fn every_network_has_a_schedule_with_few_reorders() {
    for network in networks::all() {
        let name = network.name.clone();
        let graph = Graph::new(network).expect("a graph");
        let (_, chosen) = selection(&graph);
        let schedule = Schedule::new(&graph, &chosen);
        let reorders = schedule
            .steps
            .iter()
            .filter(|s| s.op == StepOp::Reorder)
            .count();
        assert!(reorders <= 4, "{name}: {reorders} reorders");
        assert!(
            schedule.lines <= schedule.least_lines * 3 / 2,
            "{name}: memory"
        );
        assert!(schedule.lines <= schedule.all_lines);
        let layers = schedule
            .steps
            .iter()
            .filter(|s| matches!(s.op, StepOp::Layer { .. }));
        let nodes = graph
            .nodes
            .iter()
            .filter(|n| matches!(n.op, NodeOp::Layer(_)));
        assert_eq!(layers.count(), nodes.count(), "{name}");
        assert_eq!(
            schedule.output.desc.dims(),
            graph.dims(Source::Node(graph.nodes.len() - 1))
        );
    }
}

#[test]
fn a_folded_normalisation_is_the_two_layers() {
    let (c, pixels) = (6, 25);
    let mut rng = Rng::new(3);
    let mut row = |middle: f32| -> Vec<f32> {
        rng.vec(Fill::Uniform, c)
            .iter()
            .map(|x| middle + 0.5 * x)
            .collect()
    };
    let norm = BatchNorm {
        gamma: row(1.0),
        beta: row(0.0),
        mean: row(0.0),
        variance: row(1.0),
        epsilon: convroof_kernels::problem::BATCH_NORM_EPSILON,
    };
    let (src, weights) = (
        rng.vec(Fill::Uniform, 3 * 25),
        rng.vec(Fill::Uniform, c * 27),
    );
    let conv: Problem = "mb1ic3ih5oc6oh5kh3ph1".parse().expect("a problem");
    let x = Operands {
        src: &src[..],
        weights: &weights,
        ..Operands::default()
    };
    let before = layer_reference::compute(&conv, x, &Serial);
    let rows = [&norm.gamma, &norm.beta, &norm.mean, &norm.variance]
        .map(|r| r.clone())
        .concat();
    let bnorm: Problem = "--bnorm --flags=GCH mb1ic6ih5".parse().expect("a problem");
    let x2 = Operands {
        src: &before[..],
        weights: &rows,
        ..Operands::default()
    };
    let two = layer_reference::compute(&bnorm, x2, &Serial);
    let folded = fold(weights.clone(), &norm);
    let biased: Problem = "--dir=FWD_B mb1ic3ih5oc6oh5kh3ph1"
        .parse()
        .expect("a problem");
    let x1 = Operands {
        weights: &folded.weights,
        bias: &folded.bias,
        ..x
    };
    let one = layer_reference::compute(&biased, x1, &Serial);
    assert_eq!(one.len(), c * pixels);
    // Weights are rounded once more.
    assert!(one.iter().zip(&two).all(|(a, b)| (a - b).abs() < 1e-5));
    assert!(two.iter().zip(&before).any(|(a, b)| (a - b).abs() > 0.1));
}

#[test]
fn plans_are_kept_for_their_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = PlanFile::path(folder.path(), "here-2c").expect("an id");
    assert_eq!(PlanFile::load(&path, "here-2c").expect("no file"), None);
    let graph = find("lenet5");
    let time = |layer: &str, problem: &str, ns: f64| Time {
        network: "lenet5".into(),
        batch: 1,
        threads: 1,
        layer: layer.into(),
        problem: problem.into(),
        variant: "direct/avx2/st".into(),
        ns,
        estimate_ns: 1.0,
        ratio: Some(ratio(1.01, 1.02, 1.04)),
    };
    let problem = graph.network.layers[0].problem.to_string();
    let mut file = PlanFile::new("here-2c");
    let tuning = || Tuning::of(&graph, 1);
    let both = |first| {
        let second = time("conv2", "of another table", 6.0);
        vec![time("conv1", &problem, first), second]
    };
    file.replace(tuning(), both(5.0), true);
    // Interrupted after a layer: the other one keeps its time, and the network is listed as incomplete.
    file.replace(tuning(), vec![time("conv1", &problem, 8.0)], false);
    let times = |file: &PlanFile| file.times.iter().map(|t| t.ns).collect::<Vec<_>>();
    assert_eq!(
        (times(&file), &file.incomplete),
        (vec![6.0, 8.0], &vec![tuning()])
    );
    let write = |file: &PlanFile| {
        PlanFile::update(&path, "here-2c", |new| *new = file.clone()).expect("written");
    };
    write(&file);
    let read = PlanFile::load(&path, "here-2c").expect("read");
    assert_eq!(read.expect("there").incomplete, [tuning()]);
    file.replace(tuning(), both(7.0), true);
    assert!(file.incomplete.is_empty());
    write(&file);
    let read = PlanFile::load(&path, "here-2c")
        .expect("read")
        .expect("there");
    assert_eq!(read, file);
    let times = read.of(&graph, 1);
    assert_eq!(times.len(), 1, "what is no longer true is left out");
    let conv1 = times[&("conv1".into(), "direct/avx2/st".into())];
    assert_eq!((conv1.ns, conv1.ratio.map(|r| r.median)), (7.0, Some(1.02)));
    assert!(read.of(&graph, 2).is_empty());
    let error = PlanFile::load(&path, "there-4c")
        .expect_err("another's")
        .to_string();
    assert!(error.contains("convroof tune"), "{error}");
    std::fs::write(&path, "{").expect("written");
    assert!(PlanFile::load(&path, "here-2c").is_err());
}

/// Plan files of older versions have no ratios.
#[test]
fn older_plan_files_load() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = PlanFile::path(folder.path(), "here-2c").expect("an id");
    let graph = find("lenet5");
    let problem = graph.network.layers[0].problem.to_string();
    let text = format!(
        r#"{{"kind": "convroof-plan", "schema": 1, "fingerprint": "here-2c", "times": [{{"network": "lenet5", "batch": 1,
        "threads": 1, "layer": "conv1", "problem": "{problem}", "variant": "direct/avx2/st", "ns": 5.0,
        "estimate_ns": 4.0}}]}}"#
    );
    std::fs::write(&path, text).expect("written");
    let file = PlanFile::load(&path, "here-2c").expect("read");
    let times = file.expect("there").of(&graph, 1);
    let conv1 = times[&("conv1".into(), "direct/avx2/st".into())];
    assert_eq!((conv1.ns, conv1.ratio), (5.0, None));
}

fn ratio(low: f64, median: f64, high: f64) -> Estimate {
    Estimate {
        median,
        ci: (low, high),
        samples: 45,
    }
}

/// Times of all plans of a network: `time(estimate)` in nanoseconds, without ratios.
fn times(
    graph: &Graph,
    plans: &LayerPlans,
    time: impl Fn(f64) -> f64,
) -> HashMap<(String, CandidateId), Measured> {
    let mut times = HashMap::new();
    for (layer, all) in graph.network.layers.iter().zip(&plans.layers) {
        for plan in all {
            let measured = Measured {
                ns: time(plan.estimate_ns),
                ratio: None,
            };
            times.insert((layer.name.clone(), plan.variant.id().into()), measured);
        }
    }
    times
}

#[test]
fn measurements_overrule_the_model() {
    let graph = find("lenet5");
    let (mut plans, _) = selection(&graph);
    let (model, workers) = (model(1), Workers::new(&Topology::detect(), 1));
    let workers = workers.expect("a worker");
    let regret = |plans: &LayerPlans| {
        let case = Case {
            graph: &graph,
            plans,
            model: &model,
            workers: &workers,
        };
        case.regret(Turns {
            rounds: 5,
            ..Turns::ONE
        })
    };
    let none = regret(&plans).expect("no failure");
    assert_eq!(none, None, "nothing was measured");
    // The plan with the worst estimate gets the best measured time.
    let slow_first = times(&graph, &plans, |estimate| 1e9 / estimate);
    plans.measured(&graph, &slow_first);
    let found = regret(&plans).expect("equal outputs").expect("measured");
    assert_eq!(found.rounds, 5);
    let (total, ci) = (
        found.total.expect("rounds"),
        found.total_ci.expect("rounds"),
    );
    assert!(total > -1.0 && ci.0 <= total && total <= ci.1, "{found:?}");
    for layer in &found.layers {
        let guess_ns = layer.guess_ns.expect("all plans have a time");
        assert!(layer.best_ns <= guess_ns, "{}", layer.name);
    }
    // The same selection needs no rounds.
    let guess = plans.choose(&graph, &model, By::Model);
    let mut as_guessed = times(&graph, &plans, |_| 1e6);
    for (node, chosen) in graph.nodes.iter().zip(&guess.nodes) {
        let NodeOp::Layer(layer) = node.op else {
            continue;
        };
        let plan = &plans.layers[layer][chosen.plan.expect("a layer's")];
        let key = (
            graph.network.layers[layer].name.clone(),
            plan.variant.id().into(),
        );
        let measured = Measured {
            ns: 1.0,
            ratio: None,
        };
        as_guessed.insert(key, measured);
    }
    plans.measured(&graph, &as_guessed);
    let found = regret(&plans).expect("equal outputs").expect("measured");
    assert_eq!((found.total, found.rounds), (Some(0.0), 0));
}

#[test]
fn a_tie_goes_to_the_more_exact_plan() {
    const LAYER: &str = "conv2_x.3x3a";
    let (graph, model) = (find("resnet18"), model(1));
    let variants = Registry::builtin().variants(&[Isa::best().isa()]);
    let plans = LayerPlans::new(&graph, &variants, &Topology::detect(), &model);
    let mut plans = plans.expect("plans");
    let layers = &graph.network.layers;
    let layer = layers.iter().position(|l| l.name == LAYER).expect("listed");
    let node = |n: &networks::Node| n.op == NodeOp::Layer(layer);
    let node = graph.nodes.iter().position(node).expect("a node");
    let id = |plan: &LayerPlan| plan.variant.algorithm.meta().id;
    let mut choose = |winograd: Estimate, direct: Estimate| {
        let mut found = times(&graph, &plans, |estimate| estimate);
        for plan in &plans.layers[layer] {
            let ratio = match id(plan) {
                "winograd-f4x3" => winograd,
                "direct" => direct,
                _ => ratio(3.0, 4.0, 5.0),
            };
            let measured = Measured {
                ns: 1e6 * ratio.median,
                ratio: Some(ratio),
            };
            found.insert((LAYER.into(), plan.variant.id().into()), measured);
        }
        plans.measured(&graph, &found);
        let chosen = plans.choose(&graph, &model, By::Measurement).nodes[node];
        let plan = &plans.layers[layer][chosen.plan.expect("a layer's")];
        (id(plan), plans.certainty(layer).expect("ratios"))
    };
    let fastest = ratio(1.0, 1.0, 1.0);
    let as_fast = ratio(0.99, 1.01, 1.02);
    assert_eq!(choose(fastest, as_fast), ("direct", Certainty::Tie));
    // The same choice if noise makes the other one the fastest.
    assert_eq!(choose(as_fast, fastest), ("direct", Certainty::Tie));
    let slower = choose(fastest, ratio(1.02, 1.03, 1.04));
    assert_eq!(slower, ("winograd-f4x3", Certainty::Sure));
    // Noise hides no slow plan.
    let hidden = choose(fastest, ratio(0.9, 1.2, 1.5));
    assert_eq!(hidden, ("winograd-f4x3", Certainty::CantTell));
}

#[test]
fn weights_come_from_the_level_that_holds_all_packed_ones() {
    let graph = find("nin");
    let (plans, chosen) = selection(&graph);
    let packed = graph.nodes.iter().zip(&chosen.nodes).map(|(node, chosen)| {
        let (NodeOp::Layer(layer), Some(plan)) = (node.op, chosen.plan) else {
            return 0;
        };
        plans.layers[layer][plan].plan.spec().packed_bytes() as u64
    });
    let weights = graph.network.parameter_bytes();
    assert!(
        plans.network_bytes >= weights,
        "{} {weights}",
        plans.network_bytes
    );
    // The selection may change once, as its weights come from another level.
    assert!(packed.sum::<u64>() >= weights);
}

/// The optimum by exhaustive search.
fn brute(choice: &Choice, options: &[usize]) -> f64 {
    let mut at = vec![0; options.len()];
    let mut best = f64::INFINITY;
    loop {
        best = best.min(choice.cost(&at));
        let Some(place) = (0..at.len()).find(|&i| at[i] + 1 < options[i]) else {
            return best;
        };
        at[..place].fill(0);
        at[place] += 1;
    }
}

proptest! {
    /// A chain of blocks, each a chain, a shortcut or branches that meet again, as in networks.
    #[test]
    fn the_choice_is_the_best(seed in 0u64..1000, blocks in 1usize..4) {
        let mut rng = Rng::new(seed);
        let (mut choice, mut options) = (Choice::default(), Vec::new());
        let mut add = |choice: &mut Choice, rng: &mut Rng| {
            let count = 1 + rng.below(3);
            options.push(count);
            choice.node((0..count).map(|_| rng.below(20) as f64).collect())
        };
        let costs = |rng: &mut Rng| -> Vec<f64> { (0..9).map(|_| rng.below(10) as f64).collect() };
        let link = |choice: &mut Choice, rng: &mut Rng, a: usize, b: usize| {
            let costs = costs(rng);
            choice.edge(a, b, |i, j| costs[3 * i + j]);
        };
        let mut at = add(&mut choice, &mut rng);
        for _ in 0..blocks {
            let start = at;
            let ends: Vec<usize> = (0..1 + rng.below(2)).map(|_| {
                let node = add(&mut choice, &mut rng);
                link(&mut choice, &mut rng, start, node);
                node
            }).collect();
            at = add(&mut choice, &mut rng);
            for end in ends {
                link(&mut choice, &mut rng, end, at);
            }
            if rng.below(2) == 0 {
                link(&mut choice, &mut rng, start, at);
            }
        }
        let solved = choice.clone().solve();
        prop_assert_eq!(choice.cost(&solved), brute(&choice, &options));
    }

    #[test]
    fn buffers_that_live_together_lie_apart(
        buffers in prop::collection::vec((1usize..50, 0usize..20, 0usize..6), 1..30)
    ) {
        let buffers: Vec<Lifetime> = buffers
            .into_iter()
            .map(|(size, start, long)| Lifetime { size, steps: start..=start + long })
            .collect();
        let Arena { offsets, size } = place(&buffers);
        for (i, a) in buffers.iter().enumerate() {
            prop_assert!(offsets[i] + a.size <= size);
            for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                let together = a.steps.start() <= b.steps.end() && b.steps.start() <= a.steps.end();
                let apart = offsets[i] + a.size <= offsets[j] || offsets[j] + b.size <= offsets[i];
                prop_assert!(!together || apart);
            }
        }
        prop_assert!(least(&buffers) <= size);
    }
}

/// Four nodes that all depend on each other are no series-parallel graph. The solver still chooses, and at no higher
/// cost than the best option of each node alone.
#[test]
fn knots_are_cut() {
    let mut choice = Choice::default();
    for _ in 0..5 {
        choice.node(vec![1.0, 0.0]);
    }
    for a in 0..5 {
        for b in a + 1..5 {
            choice.edge(a, b, |i, j| if i == j { 0.0 } else { 3.0 });
        }
    }
    assert_eq!(choice.clone().solve(), [1; 5]);
}
