//! Tests of element types, scales and zero points: their text, their checks, and the definitions of layers with them.

use super::*;
use crate::cost::Cost;
use crate::exec::Serial;
use crate::plan::int8_conv;
use crate::reference::compute;
use proptest::prelude::*;

fn parse(text: &str) -> Problem {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}

const SIZES: &str = "mb1ic4ih5oc6oh5kh3ph1";

#[test]
fn layers_with_types_read_and_print_as_benchdnn_writes_them() {
    for text in [
        "--dt=s8:s8:f32 mb1ic64ih56oc64oh56kh3ph1",
        "--dt=bf16:bf16:f32 mb1ic64ih56oc64oh56kh3ph1",
        "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.25+wei:per_oc+dst:common:2 --attr-zero-points=src:common:3+dst:common:128 --attr-post-ops=sum:0.5:3:u8+relu mb1ic64ih56oc64oh56kh3ph1",
        "--dt=s8:s8:s8 --attr-scales=wei:common:0.1 --attr-zero-points=src:common:-128 --attr-post-ops=add:s32:per_tensor mb1ic64ih56oc64oh56kh3ph1",
        "--dt=bf16:bf16:bf16 --dir=FWD_B --attr-post-ops=add:bf16:per_tensor+relu mb1ic64ih56oc64oh56kh3ph1",
        "--pool --alg=max --dt=u8 mb1ic64ih112oh56kh3sh2ph1",
        "--pool --alg=avg_np --dt=bf16 mb1ic2048ih7oh1kh7ph0",
        "--eltwise --alg=relu --dt=s8 1x64x56x56",
        "--eltwise --alg=linear --dt=bf16 1x64x56x56",
        "--binary --alg=add --sdt=u8:s8 --ddt=u8 --attr-scales=src:common:0.5+src1:common:0.25 --attr-post-ops=relu 1x256x56x56:1x256x56x56",
        "--binary --alg=add --sdt=bf16:bf16 --ddt=bf16 1x256x56x56:1x256x56x56",
        "--binary --alg=add --sdt=u8:f32 --ddt=u8 --attr-scales=src:common:0.5 --attr-post-ops=sum:0.5:0:s8 1x256x56x56:1x256x1x1",
        "--concat --axis=1 --sdt=u8 --ddt=u8 2x64x28x14:2x128x28x14",
    ] {
        assert_eq!(parse(text).to_string(), text);
    }
}

#[test]
fn types_in_other_words() {
    for (theirs, ours) in [
        ("--dt=bf16 ", "--dt=bf16:bf16:bf16 "),
        (
            "--dt=u8:s8:u8 --attr-scales=src0:common:1 ",
            "--dt=u8:s8:u8 ",
        ),
        (
            "--dt=u8:s8:u8 --attr-scales=DST:COMMON:1e+3+wei:per_oc:f32+dst:common:1e-2 ",
            "--dt=u8:s8:u8 --attr-scales=wei:per_oc+dst:common:0.01 ",
        ),
        (
            "--attr-zero-points=dst:common:128:s32+src:common:0 --dt=u8:s8:u8 ",
            "--dt=u8:s8:u8 --attr-zero-points=dst:common:128 ",
        ),
        // A sum has the destination's type, wherever that is stated.
        (
            "--attr-post-ops=sum --dt=u8:s8:s8 ",
            "--dt=u8:s8:s8 --attr-post-ops=add:s8:per_tensor ",
        ),
        (
            "--attr-post-ops=sum:0.5 --dt=u8:s8:s8 ",
            "--dt=u8:s8:s8 --attr-post-ops=sum:0.5:0:s8 ",
        ),
        (
            "--dt=u8:s8:u8 --attr-post-ops=sum:1:0:s32 ",
            "--dt=u8:s8:u8 --attr-post-ops=add:s32:per_tensor ",
        ),
    ] {
        assert_eq!(
            parse(&format!("{theirs}{SIZES}")),
            parse(&format!("{ours}{SIZES}")),
            "{theirs}"
        );
    }
    assert_eq!(
        parse("--pool --alg=max --dt=u8:u8 mb1ic8ih8kh2sh2"),
        parse("--pool --alg=max --dt=u8 mb1ic8ih8kh2sh2")
    );
    assert_eq!(
        parse("--binary --alg=add --dt=s8 1x4x5x5:1x4x5x5"),
        parse("--binary --alg=add --sdt=s8:s8 --ddt=s8 1x4x5x5:1x4x5x5")
    );
}

#[test]
fn errors_say_which_types_are_allowed() {
    let conv = |flags: &str| format!("{flags} {SIZES}");
    for (text, part) in [
        (
            conv("--dt=u8:u8:u8"),
            "the types u8:u8:u8 have no kernels: expected f32, bf16:bf16:bf16, bf16:bf16:f32, or u8:s8 or s8:s8 with u8, s8, s32 or f32",
        ),
        (conv("--dt=u8:s8:bf16"), "the types u8:s8:bf16"),
        (conv("--dt=bf16:bf16:u8"), "the types bf16:bf16:u8"),
        (conv("--dt=s32"), "the types s32:s32:s32"),
        (conv("--dt=u8:s8"), "--dt=src:weights:dst"),
        (conv("--dt=u8:s8:u8:u8"), "more types than tensors"),
        (
            conv("--dt=f16"),
            "unknown type 'f16' in --dt=f16: expected f32, bf16",
        ),
        (
            conv("--ddt=u8:u8"),
            "more types than tensors: expected --ddt=type",
        ),
        (conv("--sdt=f32:f32"), "such a layer has one source"),
        (
            conv("--attr-scales=src:common:0.5"),
            "scales and zero points are for sources of u8 and s8, not of f32",
        ),
        (
            conv("--dt=bf16 --attr-zero-points=src:common:1"),
            "not of bf16",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-scales=wei:per_oc:2"),
            "scale 'wei:per_oc:2' has a value, but the scales of channels are data",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-scales=src:per_oc"),
            "has the policy per_oc",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-scales=src"),
            "scale 'src' has no policy",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-scales=src:common"),
            "should have one f32",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-scales=src:common:2:bf16"),
            "should have one f32",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-scales=msrc1:common:2"),
            "is for msrc1",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-scales=src:common:2+"),
            "scale '' has no policy",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-scales=src:common:0"),
            "has '0' where a number from 1e-9 to 1e9 should be",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-scales=src:common:NaN"),
            "has 'nan' where",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-scales=src1:common:2"),
            "a second source is a residual",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-zero-points=src:common:256"),
            "the zero point 256 is no u8 (source): it must be from 0 to 255",
        ),
        (
            conv("--dt=s8:s8:s8 --attr-zero-points=dst:common:-129"),
            "the zero point -129 is no s8 (destination): it must be from -128 to 127",
        ),
        (
            conv("--dt=u8:s8:s32 --attr-zero-points=dst:common:1"),
            "a zero point of s32 (destination) has no meaning",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-zero-points=wei:common:1"),
            "zero point 'wei:common:1' can't be read: expected src:common:3",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-zero-points=src:common:1.5"),
            "can't be read",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-zero-points=src"),
            "zero point 'src' can't be read",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-post-ops=add:bf16:per_tensor"),
            "a residual of bf16 can't be added to a layer of u8: expected u8, s8, s32, f32",
        ),
        (
            conv("--attr-post-ops=add:u8:per_tensor"),
            "can't be added to a layer of f32: expected f32",
        ),
        (conv("--dt=bf16 --attr-post-ops=sum:0.5"), "not of bf16"),
        (
            conv("--dt=u8:s8:u8 --attr-post-ops=sum:0.5:0:s32"),
            "sum adds s32 to a destination of u8: types of equal size are expected, or add:s32:per_tensor",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-post-ops=sum:-1"),
            "post-op 'sum:-1' has '-1' where",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-post-ops=sum:1:x"),
            "has no zero point 'x'",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-post-ops=sum:1:0:u4"),
            "has no type 'u4'",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-post-ops=sum:1:0:u8:9"),
            "has more than a scale",
        ),
        (
            conv("--dt=u8:s8:u8 --attr-post-ops=sum:1:300:u8"),
            "the zero point 300 is no u8 (residual)",
        ),
        (
            "--pool --alg=max --dt=u8:s8 mb1ic3ih8kh3".into(),
            "u8 to s8 has no kernels",
        ),
        (
            "--pool --alg=max --dt=u8 --attr-post-ops=relu mb1ic3ih8kh3".into(),
            "such a layer of u8 has no scales, zero points, bias, ReLU or residual",
        ),
        (
            "--pool --alg=lp2 --dt=u8 mb1ic3ih8kh3".into(),
            "computed in f32 only",
        ),
        ("--softmax --dt=bf16 1x8x5x5".into(), "computed in f32 only"),
        (
            "--bnorm --flags=GCH --dt=bf16 mb1ic8ih5".into(),
            "computed in f32 only",
        ),
        (
            "--eltwise --alg=relu --dt=s32 1x8x5x5".into(),
            "both f32, bf16, u8 or s8",
        ),
        (
            "--eltwise --alg=relu --dt=u8 --attr-scales=src:common:2 1x8x5x5".into(),
            "a scale of the source is for --binary --alg=add",
        ),
        (
            "--binary --alg=add --dt=u8 --attr-scales=dst:common:2 1x8x5x5:1x8x5x5".into(),
            "has scales of its sources alone",
        ),
        (
            "--binary --alg=add --sdt=u8:u8 --ddt=u8 1x8x5x5:1x8x1x1".into(),
            "a bias, which is f32",
        ),
        (
            "--reorder --sdt=f32 --ddt=s32 1x8x5x5".into(),
            "f32 to s32 has no kernels: a conversion is of f32, bf16, u8 or s8",
        ),
        (
            "--reorder --sdt=f32 --ddt=u8 --attr-scales=src:common:2 1x8x5x5".into(),
            "a scale of f32 (source) has no meaning",
        ),
        (
            "--reorder --sdt=u8 --ddt=f32 --attr-zero-points=dst:common:3 1x8x5x5".into(),
            "a zero point of f32 (destination) has no meaning",
        ),
        (
            "--reorder --sdt=f32 --ddt=u8 --attr-post-ops=relu 1x8x5x5".into(),
            "a conversion has scales and zero points of source and destination alone",
        ),
        (
            format!("--dt=u8:s8:u8 {SIZES} + --pool --alg=max --dt=u8 mb1ic6ih5kh3"),
            "a pooling none",
        ),
        (
            format!("--dt=u8:s8:u8 {SIZES} + --pool --alg=max mb1ic6ih5kh3"),
            "computed in f32 only",
        ),
    ] {
        let error = match text.parse::<Problem>() {
            Ok(problem) => panic!("'{text}' was read as {problem}"),
            Err(e) => e.to_string(),
        };
        assert!(error.contains(part), "{text}: {error}");
        assert!(!error.contains('\n'));
    }
}

#[test]
fn costs_count_bytes_of_each_type() {
    let cost = |flags: &str| {
        let cost = Cost::new(&parse(&format!("{flags} mb1ic8ih4oc16oh4kh1ph0")), 0);
        (cost.bytes_read, cost.bytes_written)
    };
    let (src, weights, dst) = (8 * 16, 8 * 16, 16 * 16);
    assert_eq!(cost(""), (4 * (src + weights), 4 * dst));
    assert_eq!(cost("--dt=bf16"), (2 * (src + weights), 2 * dst));
    assert_eq!(cost("--dt=u8:s8:s32"), (src + weights, 4 * dst));
    assert_eq!(
        cost(
            "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=wei:per_oc --attr-post-ops=add:s32:per_tensor"
        ),
        (src + weights + 16 * 4 + 16 * 4 + 4 * dst, dst)
    );
    assert_eq!(
        cost("--dt=u8:s8:f32 --attr-post-ops=add:u8:per_tensor"),
        (src + weights + dst, 4 * dst)
    );
}

#[test]
fn sums_that_could_overflow_are_refused() {
    let refused = |flags: &str, c_in: usize| {
        let problem = parse(&format!("--dt={flags} mb1ic{c_in}ih1oc1kh1"));
        int8_conv(&problem).err().map(|e| e.to_string())
    };
    // 2^31 / (255 128) and 2^31 / (128 128), and with a zero point that makes the largest difference.
    for (flags, most) in [
        ("u8:s8:s32", 65_793),
        ("s8:s8:s32", 131_071),
        ("u8:s8:s32 --attr-zero-points=src:common:255", 65_793),
        ("s8:s8:s32 --attr-zero-points=src:common:127", 65_793),
        ("s8:s8:s32 --attr-zero-points=src:common:-128", 65_793),
    ] {
        assert_eq!(refused(flags, most), None, "{flags}");
        let reason = refused(flags, most + 1).expect("too long");
        assert!(reason.contains("more than 32 bits hold"), "{reason}");
    }
    let conv = parse("--dt=s8:s8:s32 mb1ic3ih3oc1kh3");
    let conv = *int8_conv(&conv).expect("a small layer");
    assert_eq!(conv.largest_sum(DType::S8, 0), 27 * 128 * 128);
    assert_eq!(conv.largest_sum(DType::S8, 100), 27 * 228 * 128);
    let f32s = int8_conv(&parse(SIZES)).expect_err("f32").to_string();
    assert_eq!(f32s, "computes in u8 and s8 only");
}

/// A 3x3 box filter whose padding holds the zero point: outputs count neighbours.
#[test]
fn padding_holds_the_zero_point() {
    let p = parse("--dt=u8:s8:s32 --attr-zero-points=src:common:100 mb1ic1ih3oc1oh3kh3ph1");
    let x = Operands {
        src: &[101.0; 9],
        weights: &[2.0; 9],
        ..Operands::default()
    };
    let expected = [8., 12., 8., 12., 18., 12., 8., 12., 8.];
    assert_eq!(compute(&p, x, &Serial), expected);
}

#[test]
fn operands_are_converted_to_their_types() {
    let p = parse("--dt=u8:s8:s32 mb1ic4ih1oc1kh1");
    let x = Operands {
        src: &[300.0, 2.5, -7.0, 1.0],
        weights: &[1.0, 10.0, 1.0, -1000.0],
        ..Operands::default()
    };
    // 255 + 2 10 + 0 - 128
    assert_eq!(compute(&p, x, &Serial), [147.0]);
    let p = parse("--dt=bf16:bf16:f32 mb1ic2ih1oc1kh1");
    let x = Operands {
        src: &[1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0],
        weights: &[1.0; 2],
        ..Operands::default()
    };
    // Ties: 1 and 1 + 4/256.
    assert_eq!(compute(&p, x, &Serial), [2.0 + 1.0 / 64.0]);
    let p = parse("--dt=bf16 mb1ic2ih1oc1kh1");
    assert_eq!(compute(&p, x, &Serial), [2.015_625]);
    // Outputs are not rounded, but the checks round them.
    let x = Operands {
        src: &[256.0, 1.0],
        ..x
    };
    assert_eq!(compute(&p, x, &Serial), [257.0]);
    assert_eq!(DType::Bf16.stored(257.0), 256.0);
}

#[test]
fn channels_have_their_own_scales() {
    let p = parse("--dt=u8:s8:f32 --attr-scales=src:common:0.5+wei:per_oc g2mb1ic2ih1oc4kh1");
    let x = Operands {
        src: &[10.0, 20.0],
        weights: &[1.0, 2.0, 3.0, 4.0],
        scales: &[1.0, 2.0, 4.0, 8.0],
        ..Operands::default()
    };
    assert_eq!(compute(&p, x, &Serial), [5.0, 20.0, 120.0, 320.0]);
}

#[test]
fn means_of_bytes_are_rounded_to_even() {
    let mean = |dt: &str, src: &[f32]| {
        let p = parse(&format!(
            "--pool --alg=avg_np --dt={dt} mb1ic1ih1iw2oh1ow1kh1kw2ph0pw0"
        ));
        let x = Operands {
            src,
            ..Operands::default()
        };
        compute(&p, x, &Serial)[0]
    };
    for (pair, rounded) in [
        ([0.0, 1.0], 0.0),
        ([1.0, 2.0], 2.0),
        ([254.0, 255.0], 254.0),
    ] {
        assert_eq!(mean("u8", &pair), rounded);
    }
    assert_eq!(mean("s8", &[-1.0, -2.0]), -2.0);
    assert_eq!(mean("bf16", &[256.0, 258.0]), 257.0);
}

#[test]
fn sums_of_two_tensors_have_a_scale_each() {
    let p = parse(
        "--binary --alg=add --sdt=u8:s8 --ddt=u8 --attr-scales=src:common:0.5+src1:common:2 --attr-post-ops=relu 1x4x1x2:1x4x1x2",
    );
    let x = Operands {
        src: &[10.0, 11.0, 255.0, 0.0, 5.0, 5.0, 7.0, 8.0],
        residual: &[3.0, 3.0, 127.0, -1.0, 0.0, -1.0, -1.0, -2.0],
        ..Operands::default()
    };
    // 5 + 6, 5.5 + 6, 127.5 + 254, 0 - 2, 2.5, 2.5 - 2, 3.5 - 2, 4 - 4
    assert_eq!(
        compute(&p, x, &Serial),
        [11., 12., 255., 0., 2., 0., 2., 0.]
    );
}

/// Quantisation rounds to even and saturates. Dequantisation is its inverse on the values of integers.
#[test]
fn conversions_are_those_of_scales_and_zero_points() {
    let converted = |flags: &str, src: &[f32]| {
        let p = parse(&format!("--reorder {flags} 1x1x1x{}", src.len()));
        let x = Operands {
            src,
            ..Operands::default()
        };
        compute(&p, x, &Serial)
    };
    let quantised =
        "--sdt=f32 --ddt=u8 --attr-scales=dst:common:0.5 --attr-zero-points=dst:common:3";
    assert_eq!(
        converted(quantised, &[0.0, 0.25, 0.75, -1.5, -9.0, 1e9, f32::NAN]),
        [3., 4., 4., 0., 0., 255., 0.]
    );
    let back = "--sdt=u8 --ddt=f32 --attr-scales=src:common:0.5 --attr-zero-points=src:common:3";
    assert_eq!(converted(back, &[3., 5., 0., 255.]), [0., 1., -1.5, 126.]);
    let again = "--sdt=u8 --ddt=s8 --attr-scales=src:common:0.5+dst:common:2 --attr-zero-points=src:common:128+dst:common:-1";
    assert_eq!(
        converted(again, &[128., 132., 134., 0.]),
        [-1., 0., 0., -33.]
    );
    assert_eq!(converted("--sdt=bf16 --ddt=f32", &[257.0]), [256.0]);
}

/// Layers of each kind, with all types, scales and zero points that they take.
fn typed() -> impl Strategy<Value = Problem> {
    use DType::{Bf16, F32, S8, S32, U8};
    let ops = [
        SIZES,
        "g2mb1ic4ih5oc6oh5kh3ph1",
        "--ip mb2ic5ih2oc17",
        "--pool --alg=max mb1ic3ih8oh4kh2sh2ph0",
        "--pool --alg=avg_p --overhang=1x1 mb1ic4ih6oh3kh3sh2ph0",
        "--eltwise --alg=linear 2x3x4x5",
        "--eltwise --alg=linear 1x3x1x1",
        "--concat --axis=1 1x3x2x2:1x17x2x2",
        "--reorder 2x3x4x5",
    ];
    let op = prop::sample::select(ops.map(|text| parse(text).op).to_vec());
    let types = [
        [F32, F32, F32],
        [Bf16, Bf16, Bf16],
        [Bf16, Bf16, F32],
        [F32, F32, U8],
        [Bf16, Bf16, S8],
        [U8, S8, U8],
        [U8, S8, S8],
        [U8, S8, S32],
        [U8, S8, F32],
        [S8, S8, U8],
        [S8, S8, S8],
    ];
    let types = prop::sample::select(types.to_vec());
    let scale = || prop::sample::select(vec![1.0, 1.0, 0.5, 0.1, 1.0 / 3.0, 1e-9, 1e9, 12.75]);
    let scale = || scale().prop_map(|x: f32| Scale::new(x).expect("a scale"));
    let zero = || prop::sample::select(vec![0, 0, 3, 127, -128, 255]);
    let affine = || (scale(), zero()).prop_map(|(scale, zero)| Affine { scale, zero });
    let residual = (prop::sample::select(DType::ALL.to_vec()), affine());
    let weights = prop_oneof![
        scale().prop_map(WeightScale::Common),
        Just(WeightScale::PerChannel)
    ];
    let epilogue = (any::<bool>(), any::<bool>(), any::<bool>());
    let plain = any::<bool>();
    (
        op,
        types,
        affine(),
        weights,
        affine(),
        residual,
        epilogue,
        plain,
    )
        .prop_filter_map(
            "not allowed",
            |(op, [src, weights, dst], x, w, y, (residual, r), (bias, relu, adds), plain)| {
                let none = Affine::default();
                let attributes = Attributes {
                    dtypes: DTypes {
                        src,
                        weights: if op.weights_dims().is_some() {
                            weights
                        } else {
                            F32
                        },
                        dst,
                        residual: if adds { residual } else { F32 },
                    },
                    quantisation: match plain {
                        true => Quantisation::default(),
                        false => Quantisation {
                            src: x,
                            weights: w,
                            dst: y,
                            residual: if adds { r } else { none },
                        },
                    },
                    epilogue: Epilogue {
                        bias,
                        relu,
                        residual: adds,
                    },
                };
                op.check_types(&attributes).ok()?;
                Some(Problem::new(op, attributes))
            },
        )
}

/// Reads the flags of types and attributes as benchdnn does (`tests/benchdnn/utils/parser.cpp`, `dnn_types.cpp`, and the
/// drivers' checks of `--dt`).
fn benchdnn_reads(text: &str) -> Result<(), String> {
    let (mut driver, mut dst, mut sum) = ("--conv", "f32", None);
    let known = |dtype: &str| DType::ALL.iter().any(|t| t.name() == dtype);
    for word in text.split(' ') {
        let (flag, value) = word.split_once('=').unwrap_or((word, ""));
        let parts: Vec<&str> = value.split(':').collect();
        let fine = match (flag, driver) {
            (
                "--pool" | "--eltwise" | "--binary" | "--concat" | "--bnorm" | "--softmax"
                | "--reorder",
                _,
            ) => {
                driver = flag;
                true
            }
            ("--dt", _) => {
                dst = parts.last().expect("a part");
                let counts: &[usize] = match driver {
                    "--conv" => &[1, 3],
                    "--pool" => &[1, 2],
                    "--eltwise" => &[1],
                    _ => &[],
                };
                counts.contains(&parts.len()) && parts.iter().all(|t| known(t))
            }
            ("--sdt", "--binary") => parts.len() == 2 && parts.iter().all(|t| known(t)),
            ("--sdt", "--concat" | "--reorder") => known(value),
            ("--ddt", "--binary" | "--concat" | "--reorder") => {
                dst = value;
                known(value)
            }
            ("--attr-scales", _) => value.split('+').all(|entry| {
                let parts: Vec<&str> = entry.split(':').collect();
                match parts[..] {
                    ["src" | "src1" | "wei" | "dst", "common", scale] => {
                        scale.parse::<f32>().is_ok_and(|x| x > 0.0)
                    }
                    ["wei", "per_oc"] => driver == "--conv",
                    _ => false,
                }
            }),
            ("--attr-zero-points", _) => value.split('+').all(|entry| {
                let parts: Vec<&str> = entry.split(':').collect();
                matches!(parts[..], ["src" | "dst", "common", zero] if zero.parse::<i32>().is_ok())
            }),
            ("--attr-post-ops", _) => value.split('+').all(|op| {
                let parts: Vec<&str> = op.split(':').collect();
                match parts[..] {
                    ["relu"] => true,
                    ["add", dtype, "per_tensor"] => known(dtype),
                    ["sum", scale, zero, dtype] => {
                        sum = Some(dtype.to_string());
                        let numbers = scale.parse::<f32>().is_ok() && zero.parse::<i32>().is_ok();
                        numbers && known(dtype)
                    }
                    _ => false,
                }
            }),
            _ => true,
        };
        if !fine {
            return Err(format!("{word} of {driver}"));
        }
    }
    // oneDNN: `post_ops_t::check_sum_consistent_dt`.
    let size = |name: &str| {
        DType::ALL
            .iter()
            .find(|t| t.name() == name)
            .map(|t| t.size())
    };
    match sum {
        Some(sum) if size(&sum) != size(dst) => Err(format!("sum of {sum} into {dst}")),
        _ => Ok(()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn parse_after_print_is_identity(problem in typed()) {
        let text = problem.to_string();
        prop_assert_eq!(text.parse::<Problem>(), Ok(problem), "{}", text);
    }

    #[test]
    fn benchdnn_reads_what_we_print(problem in typed()) {
        let text = problem.to_string();
        prop_assert_eq!(benchdnn_reads(&text), Ok(()), "{}", text);
    }

    #[test]
    fn any_attributes_are_read_or_refused(
        flag in prop::sample::select(vec!["dt", "sdt", "ddt", "attr-scales", "attr-zero-points", "attr-post-ops"]),
        words in prop::collection::vec(
            prop::sample::select(vec!["src", "wei", "dst", "common", "per_oc", "1e", "-1", "255", ":", ":", "+", "u8", "s8", "sum", "relu", "é"]),
            0..12,
        ),
    ) {
        let text = format!("--dt=u8:s8:u8 --{flag}={} {SIZES}", words.concat());
        if let Ok(problem) = text.parse::<Problem>() {
            prop_assert_eq!(problem.to_string().parse::<Problem>(), Ok(problem));
        }
    }
}
