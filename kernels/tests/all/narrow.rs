//! Convolutions of bf16, u8 and s8 against their definitions: every type, every part of the epilogue, with and without groups,
//! on shapes that straddle the edges of words, panels and tiles, on every instruction set and several numbers of threads.

use convroof_kernels::blocking::{Caches, Tuning};
use convroof_kernels::conformance::{Data, Outcome, check};
use convroof_kernels::data::Fill;
use convroof_kernels::exec::Serial;
use convroof_kernels::instance::Instance;
use convroof_kernels::problem::Operands;
use convroof_kernels::{Isa, IsaToken, PlanCx, Problem, Registry, reference};

/// Algorithms that compute them.
const ALGORITHMS: [&str; 4] = ["implicit-gemm", "gemm-1x1-nhwc", "im2col", "fc"];

/// Types and attributes of integer layers.
const INTEGERS: [&str; 9] = [
    "--dt=u8:s8:s32",
    "--dt=s8:s8:s32 --attr-post-ops=relu",
    "--dt=u8:s8:s32 --attr-zero-points=src:common:255",
    "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.1+wei:per_oc+dst:common:0.3 --attr-zero-points=src:common:3+dst:common:128 --attr-post-ops=sum:0.25:8:u8+relu",
    "--dt=s8:s8:s8 --attr-scales=src:common:0.02+wei:per_oc --attr-zero-points=src:common:-7+dst:common:-20 --attr-post-ops=sum:0.3:-4:s8",
    "--dt=s8:s8:u8 --dir=FWD_B --attr-scales=wei:common:0.01+dst:common:3 --attr-post-ops=add:s32:per_tensor+relu",
    "--dt=u8:s8:s8 --attr-scales=wei:per_oc --attr-post-ops=add:f32:per_tensor",
    "--dt=u8:s8:f32 --dir=FWD_B --attr-scales=wei:common:0.01 --attr-zero-points=src:common:128",
    "--dt=s8:s8:s32 --dir=FWD_B --attr-scales=src:common:0.5 --attr-zero-points=src:common:-128",
];

/// Types and attributes of bf16 layers.
const BF16: [&str; 4] = [
    "--dt=bf16:bf16:f32",
    "--dt=bf16:bf16:bf16 --dir=FWD_B --attr-post-ops=relu",
    "--dt=bf16:bf16:bf16 --attr-post-ops=add:bf16:per_tensor+relu",
    "--dt=bf16:bf16:f32 --dir=FWD_B --attr-post-ops=add:f32:per_tensor",
];

/// Shapes: whole and broken words, panels and tiles; taps in the padding, strides, dilation, true convolution; joined taps of
/// filter rows; fully connected layers. Groups of 1, 2, 4 and 8 channels, with whole and broken blocks; of 8 channels and so
/// many taps that f32 can't hold the sums of integers; of other numbers, in whole words and in broken ones.
///
/// In two of them, blocks of pixels read nothing but padding.
const SHAPES: [&str; 38] = [
    "mb1ic4ih5oc16kh1",
    "mb1ic16ih4iw40oc16kh1kw1ph1pw0",
    "mb1ic18ih7iw20oc16kh3kw1ph3pw0",
    "mb2ic8ih7oc33kh1",
    "mb1ic64ih4oc15kh1",
    "mb1ic3ih5oc17kh1",
    "mb1ic6ih9oc31kh1sh2",
    "mb2ic4ih6oc16kh3ph1",
    "mb1ic16ih7oc40kh3ph1",
    "mb1ic68ih5iw9oc18kh3kw3ph1pw1",
    "mb1ic5ih8oc16kh3ph1sh2",
    "mb1ic3ih19oc20kh7ph3sh2",
    "mb1ic1ih6iw6oc1kh2kw3ph0pw2",
    "mb1ic8ih9oc48kh3ph2dh1",
    "mb1ic2ih3oc5kh5ph4",
    "--flip mb1ic7ih6oc9kh3ph1",
    "g16mb1ic16ih9oc16kh3ph1",
    "g21mb2ic21ih7iw19oc21kh5kw3sh2sw2ph2pw1",
    "g40mb1ic40ih6oc40kh7ph3",
    "g1mb1ic1ih5oc1kh3ph1",
    "g24mb1ic48ih6oc48kh3ph2dh1",
    "g9mb1ic36ih5iw12oc36kh1kw7ph0pw3",
    "g5mb1ic40ih8oc40kh3sh2ph1",
    "--flip g17mb2ic17ih6iw9oc17kh2kw4ph1pw2",
    "g3mb1ic24ih5oc24kh11ph5",
    "g4mb1ic12ih6oc24kh3sh2ph1",
    "g3mb1ic15ih5oc21kh3ph1",
    "g2mb1ic64ih5oc40kh1",
    "g6mb2ic12ih5oc18kh1",
    "--flip g2mb1ic72ih4oc36kh3ph1",
    "--flip mb1ic3ih8oc9kh5ph2",
    "mb2ic1ih13iw9oc17kh5kw5ph2pw2sh2sw2",
    "mb1ic3ih14oc18kh5ph4dh1",
    "mb1ic16ih2oc65kh2",
    "mb1ic21ih1oc300kh1",
    "--flip mb1ic5ih3oc20kh3",
    "mb3ic7ih3iw2oc130kh3kw2",
    "mb16ic3ih1oc1kh1",
];

/// Blocks: derived, and small ones, so that there are several.
const TUNINGS: [Tuning; 2] = [
    Tuning { mc: None, nc: None },
    Tuning {
        mc: Some(7),
        nc: Some(16),
    },
];

#[test]
fn integer_convolutions_equal_their_definition() {
    INTEGERS.iter().for_each(|types| conform(types, &SHAPES));
}

#[test]
fn bf16_convolutions_are_within_their_bounds() {
    BF16.iter().for_each(|types| conform(types, &SHAPES));
}

/// Weights of 7 bits, whose products some CPUs multiply in another form.
#[test]
fn integer_convolutions_with_small_weights_equal_their_definition() {
    for types in INTEGERS {
        for shape in SHAPES.iter().filter(|shape| !shape.starts_with("--flip")) {
            let text = format!("{types} {shape}");
            let problem: Problem = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            let data = Data::new(&problem, Fill::Uniform, 5).with_small_weights();
            let expected = reference::compute(&problem, data.operands(), &Serial);
            for isa in Isa::ALL.into_iter().filter_map(Isa::detect) {
                let output = computed(&problem, isa, data.operands());
                let right = output.is_none_or(|output| output == expected);
                assert!(right, "{text} on {}", isa.isa());
            }
        }
    }
}

/// Rows of 4 KiB are copied one line further apart.
#[test]
fn rows_that_share_a_set_of_l1_are_copied() {
    conform(INTEGERS[3], &["mb9ic4096ih1oc128kh1"]);
    conform(BF16[1], &["mb9ic2048ih1oc128kh1"]);
}

/// 255 times these weights comes to the limits of 16 bits, and beyond.
#[test]
fn sums_are_exact_with_weights_at_the_limit_and_beyond() {
    at_the_limit("--dt=u8:s8:s32 mb1ic6ih5oc17oh3kh3ph0", 255.0);
    // Flipped, that is 255, too.
    at_the_limit("--dt=s8:s8:s32 mb1ic6ih5oc17oh3kh3ph0", 127.0);
    at_the_limit("--dt=s8:s8:s32 mb1ic6ih5oc17oh3kh3ph0", -128.0);
}

/// Computes a layer with weights around the limit. All its inputs are equal.
fn at_the_limit(text: &str, input: f32) {
    let problem: Problem = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    let data = Data::new(&problem, Fill::Uniform, 1);
    let src = vec![input; data.operands().src.len()];
    for isa in Isa::ALL.into_iter().filter_map(Isa::detect) {
        for (at, weight) in [
            (0, 64.0),
            (0, 65.0),
            (53, -65.0),
            (900, 127.0),
            (917, -128.0),
        ] {
            let mut weights = vec![64.0; data.operands().weights.len()];
            weights[at] = weight;
            let operands = Operands {
                src: &src,
                weights: &weights,
                ..data.operands()
            };
            let expected = reference::compute(&problem, operands, &Serial);
            let output = computed(&problem, isa, operands);
            let right = output.is_none_or(|output| output == expected);
            assert!(right, "{text} on {}: weight {weight}", isa.isa());
        }
    }
}

/// Output of implicit GEMM. None on an instruction set that extends another by other dot products.
fn computed(problem: &Problem, isa: IsaToken, operands: Operands<'_>) -> Option<Vec<f64>> {
    let algorithm = Registry::builtin().algorithm("implicit-gemm").expect("it");
    let caches = Caches::default();
    let plan = match algorithm.plan(problem, &PlanCx::new(isa, &caches)) {
        Err(refused) if refused.to_string().starts_with("no dot products") => return None,
        plan => plan.unwrap_or_else(|e| panic!("{problem}: {e}")),
    };
    let mut instance = Instance::new(plan).expect("memory");
    instance.load(operands, &Serial);
    instance.run(&Serial);
    Some(instance.exact_output_nchw(&Serial).expect("memory"))
}

/// Checks some shapes with some types.
fn conform(types: &str, shapes: &[&str]) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
    let pool = pool.expect("a pool");
    for &shape in shapes {
        let (flip, shape) = match shape.strip_prefix("--flip ") {
            Some(shape) => ("--flip ", shape),
            None => ("", shape),
        };
        let text = format!("{flip}{types} {shape}");
        let problem: Problem = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        let mut passed = 0;
        for isa in Isa::ALL.into_iter().filter_map(Isa::detect) {
            for (id, tuning) in ALGORITHMS.iter().flat_map(|id| TUNINGS.map(|t| (id, t))) {
                let algorithm = Registry::builtin().algorithm(id).expect(id);
                match check(algorithm, isa, &problem, tuning, &[&pool]) {
                    Ok(Outcome::Passed { .. }) => passed += 1,
                    Ok(Outcome::Refused(why)) => {
                        let reasons = ["1x1", "fully connected", "no dot products", "groups of"];
                        assert!(reasons.iter().any(|r| why.contains(r)), "{id}: {why}");
                    }
                    Err(wrong) => panic!("{id}: {wrong}"),
                }
            }
        }
        assert!(passed > 0, "{text}: nothing computes it");
    }
}

#[test]
fn what_no_kernel_computes_is_refused_with_a_reason() {
    let isa = Isa::best();
    let caches = Default::default();
    let cx = convroof_kernels::PlanCx::new(isa, &caches);
    for (text, reason) in [
        ("--dt=u8:s8:s32 g2mb1ic200000ih1oc2kh1", "more than 32 bits"),
        ("--dt=u8:s8:s32 mb1ic100000ih1oc1kh1", "more than 32 bits"),
    ] {
        let problem: Problem = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        let algorithm = Registry::builtin().algorithm("implicit-gemm").expect("it");
        let refused = algorithm.plan(&problem, &cx).err().expect(text).to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}
