//! Tests of kernel twins: they run like the kernel, and omit what they should.
#![cfg(feature = "ablation")]

use convroof_kernels::blocking::Caches;
use convroof_kernels::exec::Serial;
use convroof_kernels::instance::{Cold, Instance};
use convroof_kernels::isa::Ablation;
use convroof_kernels::reference::Operands;
use convroof_kernels::tensor::AlignedBuf;
use convroof_kernels::{Isa, IsaToken, PlanCx, Problem, Registry};

/// Problems for each kind of kernel loop.
const PROBLEMS: [&str; 8] = [
    "mb1ic32ih14oc32oh14kh3ph1",
    "mb1ic3ih19oc16oh10kh3sh2ph1",
    "mb1ic64ih7oc48oh7kh1",
    "g4mb1ic16ih9oc16oh9kh3ph1",
    "--pool --alg=max mb1ic32ih13oh6kh3sh2ph0",
    "--pool --alg=avg_np mb1ic32ih7oh1kh7ph0",
    "--eltwise --alg=relu 1x32x9x9",
    "--ip mb1ic64oc40",
];

/// Instruction sets of this machine that have twins.
fn natives() -> impl Iterator<Item = IsaToken> {
    [Isa::Avx2, Isa::Neon].into_iter().filter_map(Isa::detect)
}

/// Calls `f` with the kernel and each of its twins, for each variant that supports a problem. All share one plan.
fn each(mut f: impl FnMut(&str, &mut Instance, Option<Ablation>)) {
    let (registry, caches) = (Registry::builtin(), Caches::default());
    for text in PROBLEMS {
        let problem: Problem = text.parse().expect("a problem");
        for token in natives() {
            for algorithm in registry.algorithms() {
                let full = algorithm.plan(&problem, &PlanCx::new(token, &caches));
                if !algorithm.meta().isas.contains(&token.isa()) || full.is_err() {
                    continue;
                }
                let twins = Ablation::ALL.map(Some);
                for ablation in std::iter::once(None).chain(twins) {
                    let isa = match ablation {
                        None => token,
                        Some(ablation) => token.without(ablation).expect("a twin"),
                    };
                    let plan = match algorithm.plan(&problem, &PlanCx::new(isa, &caches)) {
                        Ok(plan) => plan,
                        Err(reason) => {
                            assert_eq!(reason.to_string(), "its kernels have no twins");
                            continue;
                        }
                    };
                    let mut instance = Instance::new(plan).expect("memory");
                    let name = format!("{} {} {text}", algorithm.meta().id, token.isa());
                    load(&mut instance, &problem);
                    f(&name, &mut instance, ablation);
                }
            }
        }
    }
}

fn load(instance: &mut Instance, problem: &Problem) {
    let elements = |dims: [usize; 4]| dims.iter().product::<usize>();
    let some = |len: usize| (0..len).map(|i| 0.25 + (i % 7) as f32).collect::<Vec<_>>();
    let src = some(elements(problem.src_dims()));
    let weights = some(problem.weights_dims().map_or(0, elements));
    let rest = some(elements(problem.dst_dims()).max(4096));
    let operands = Operands {
        src: &src,
        weights: &weights,
        bias: &rest,
        residual: &rest,
        ..Operands::default()
    };
    instance.load(operands, &Serial);
}

/// Output of a run, after its memory was filled with NaN.
fn written(instance: &mut Instance) -> Vec<f32> {
    instance.poison_output();
    instance.run(&Serial);
    instance.output_nchw(&Serial).expect("memory")
}

#[test]
fn a_twin_without_memory_traffic_stores_nothing_and_one_without_arithmetic_all() {
    let mut kernels = 0;
    each(|name, instance, ablation| {
        let output = written(instance);
        let (nans, all) = (output.iter().filter(|y| y.is_nan()).count(), output.len());
        match ablation {
            None | Some(Ablation::LoadsOnly | Ablation::OnePanel) => {
                assert_eq!(nans, 0, "{name} {ablation:?}: {nans} of {all} not written");
            }
            // Scalar stores (edges, means of maps) aren't vector traffic, so this twin keeps them.
            Some(Ablation::ArithOnly) => kernels += usize::from(nans > 0),
        }
    });
    assert!(
        kernels > 20 || natives().next().is_none(),
        "only {kernels} kernels have a twin that stores nothing"
    );
}

#[test]
fn a_run_on_a_cold_set_is_the_same_run() {
    each(|name, instance, ablation| {
        if ablation.is_some() {
            return;
        }
        let expected = written(instance);
        for cold in [Cold::Weights, Cold::Everything] {
            let mut set = AlignedBuf::zeroed(instance.set_lines(cold)).expect("memory");
            instance.copy_to(cold, &mut set);
            instance.poison_output();
            instance.run_on(cold, &mut set, &Serial);
            instance.take_output(cold, &mut set);
            let output = instance.output_nchw(&Serial).expect("memory");
            let same = output.iter().zip(&expected).all(|(a, b)| a == b);
            assert!(same, "{name} {cold:?}");
        }
    });
}

#[test]
fn scalar_code_has_no_twin() {
    let scalar = Isa::Scalar.detect().expect("scalar");
    assert!(scalar.without(Ablation::LoadsOnly).is_none());
}
