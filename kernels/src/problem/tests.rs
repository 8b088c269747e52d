use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Problem {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}

fn error(text: &str) -> String {
    match text.parse::<Problem>() {
        Ok(problem) => panic!("'{text}' was read as {problem}"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn layers_read_and_print_as_benchdnn_writes_them() {
    for text in [
        "mb1ic64ih56oc64oh56kh3ph1",
        "mb1ic3ih224oc64oh112kh7sh2ph3",
        "g2mb8ic96ih27oc256oh27kh5ph2",
        "mb1ic256ih56oc512oh28kh1sh2ph0",
        "mb1ic8iw30oc4ow28kw3pw0",
        "mb1ic64iw128oc64ow64kw7sw2pw3dw1",
        "--pool --alg=max mb1ic64iw128ow64kw3sw2pw1",
        "mb1ic8ih1iw30oc4oh1ow28kh1kw3sh2sw1ph0pw0",
        "--dir=FWD_B --attr-post-ops=relu mb1ic3ih224oc64oh112kh7sh2ph3 + --pool --alg=max mb1ic64ih112oh56kh3sh2ph1",
        "--flip --dir=FWD_B mb1ic8ih32oc8oh32kh3ph1",
        "--flip mb1ic8iw30oc4ow28kw3pw0",
        "mb1ic8ih10iw20oc4oh5ow20kh3kw3sh2sw1ph1pw1",
        "mb1ic8ih32oc8oh28kh3ph0dh1",
        "--dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu mb1ic64ih56oc256oh56kh1ph0",
        "--dt=u8:s8:s32 mb1ic64ih56oc64oh56kh3ph1",
        "--pool --alg=max mb1ic64ih112oh56kh3sh2ph1",
        "--pool --alg=avg_np mb1ic2048ih7oh1kh7ph0",
        "--pool --alg=avg_p --overhang=1x1 mb1ic4ih6oh3kh3sh2ph0",
        "--eltwise --alg=linear 1x64x56x56",
        "--eltwise --alg=relu 1x64x56x56",
        "--binary --alg=add 1x256x56x56:1x256x56x56",
        "--binary --alg=add --attr-post-ops=relu 1x256x56x56:1x256x56x56",
        "--binary --alg=add --attr-post-ops=add:f32:per_tensor+relu 2x8x5x7:1x8x1x1",
        "--bnorm --flags=GCH mb1ic64ih56",
        "--bnorm --flags=GCH --attr-post-ops=relu mb1ic64ih5iw7",
        "--statistics mb1ic64ih56",
        "--softmax --axis=1 1x1000x1x1",
        "--attention --hidden=128 1x512x7x7",
        "--bilinear --alg=full 1x512x28x28",
        "--bilinear --alg=half_root_l2 1x512x28x28",
        "--bilinear --alg=full_l2 1x512x28x28",
        "--concat --axis=1 2x64x28x14:2x128x28x14:2x32x28x14",
        "--lrn mb1ic96ih55ls5alpha0.0001beta0.75k1",
        "--lrn mb2ic64ih5iw7ls3alpha1.5beta0.6k0.000002",
    ] {
        assert_eq!(parse(text).to_string(), text);
    }
}

#[test]
fn what_is_left_out_follows_benchdnn() {
    assert_eq!(parse("ic3ih8oc4kh3ph1"), parse("mb2ic3ih8oc4oh8kh3ph1"));
    assert_eq!(parse("--flip mb1ic8ih9oc4kh1"), parse("mb1ic8ih9oc4kh1"));
    assert_eq!(
        parse("mb1ic8iw30oc4kw3"),
        parse("mb1ic8ih1iw30oc4oh1ow28kh1kw3ph0pw0")
    );
    assert_eq!(
        parse("mb1ic3ih8oc4kh3ph1n\"conv1\""),
        parse("mb1ic3ih8oc4kh3ph1")
    );
    assert_eq!(
        parse("mb1_ic3ih8_oc4kh3_ph1_nconv1"),
        parse("mb1ic3ih8oc4kh3ph1")
    );
    // If any field of an axis is given, defaults apply to the rest: sw is 1 here, not sh.
    assert_eq!(
        parse("mb1ic8ih10iw20oc4kh3kw3sh2ph1pw1"),
        parse("mb1ic8ih10iw20oc4oh5ow20kh3kw3sh2sw1ph1pw1")
    );
    // Padding is half of what the given output size needs.
    assert_eq!(
        parse("mb1ic64ih56oc64oh56kh3"),
        parse("mb1ic64ih56oc64oh56kh3ph1")
    );
    assert_eq!(parse("ic3ih8oc4kh3"), parse("mb2ic3ih8oc4oh6kh3ph0"));
    assert_eq!(
        parse("--pool --alg=AVG_NP mb1ic8ih8kh2sh2"),
        parse("--alg=pooling_avg_exclude_padding mb1ic8ih8oh4kh2sh2ph0")
    );
}

#[test]
fn a_fully_connected_layer_is_a_convolution_over_the_whole_map() {
    assert_eq!(
        parse("--dir=FWD_B --ip mb1ic2048oc1000"),
        parse("--dir=FWD_B mb1ic2048ih1oc1000oh1kh1ph0")
    );
    assert_eq!(
        parse("--ip mb8ic512ih7oc4096"),
        parse("mb8ic512ih7oc4096oh1kh7ph0")
    );
    assert_eq!(
        parse("--ip mb1ic8ih2iw3oc4"),
        parse("mb1ic8ih2iw3oc4oh1ow1kh2kw3ph0pw0")
    );
}

#[test]
fn a_normalisation_is_read_as_benchdnn_reads_it() {
    assert_eq!(
        parse("--lrn ic8ih5"),
        parse("--lrn --alg=ACROSS mb2ic8ih5_ls5_alpha0.0001220703125_beta.75_k1n\"norm1\"")
    );
    assert_eq!(
        parse("--lrn mb1ic8ih5alpha1e-4beta+75E-2"),
        parse("--lrn mb1ic8ih5iw5ls5alpha0.0001beta0.75k1")
    );
}

#[test]
fn output_size_decides_the_trailing_padding() {
    let Op::Conv(conv) = parse("mb1ic3ih224oc64oh112kh7sh2ph3").op else {
        panic!("a convolution")
    };
    assert_eq!((conv.pad.top, conv.pad.bottom), (3, 2));
    let Op::Conv(conv) = parse("mb1ic1ih4oc1oh5kh3ph1").op else {
        panic!("a convolution")
    };
    assert_eq!((conv.pad.top, conv.pad.bottom), (1, 2));
}

#[test]
fn errors_say_what_is_wrong() {
    for (text, part) in [
        ("", "no sizes"),
        ("mb1", "ih is missing"),
        ("mb1ic3ih8kh3", "oc is missing"),
        ("mb1ic3ih8oc4kh3zz4", "unknown field 'zz'"),
        ("mb1ic3ih8oc4khph1", "unknown field 'khph'"),
        ("mb1ic3ic4ih8oc4kh3", "ic is given twice"),
        ("mb1ic3ih8oc4kh", "kh has no number"),
        ("mb1ic99999999999999999999ih8oc4kh3", "too large"),
        ("mb0ic3ih8oc4kh3ph1", "batch is 0"),
        ("mb1ic3ih8oc4oh2kh3ph1", "make it 7"),
        (
            "mb1ic3ih2oc4kh3",
            "the kernel spans 3 in height, more than the padded input's 2",
        ),
        (
            "g2mb1ic3ih8oc4kh3ph1",
            "2 groups don't divide 3 input channels",
        ),
        ("mb1ic1000000ih1000000oc4kh3ph1", "must be below 2^48"),
        (
            "--alg=min mb1ic3ih8kh3",
            "max, avg_p, avg_np, lp<p>, lp<p>_mean, lpinf, stochastic, draw<seed> or draw<seed>_index for --pool",
        ),
        ("--alg=lp0 mb1ic3ih8kh3", "p is 0: it must be from 1 to 64"),
        (
            "--alg=draw1_index mb1ic1ih5000kh3",
            "of up to 2^24 elements",
        ),
        ("--pool --alg=max mb1ic3ih8kh3ph3", "wholly in the padding"),
        ("--what mb1ic3ih8oc4kh3ph1", "unknown flag '--what'"),
        (
            "--stag=axb mb1ic3ih8oc4kh3ph1",
            "the flags are --alg, --dir, --dt, --sdt, --ddt, --attr-scales, --attr-zero-points, --attr-post-ops, --mb, and for some drivers --axis, --flags, --flip",
        ),
        ("-v1 mb1ic3ih8oc4kh3ph1", "the flags are --alg"),
        (
            "--deconv mb1ic3ih8oc4kh3",
            "the drivers are --conv, --ip, --pool",
        ),
        (
            "--batch=shapes mb1ic3ih8oc4kh3",
            "a file of several problems",
        ),
        ("--mb=x mb1ic3ih8oc4kh3", "should be --mb=IMAGES"),
        ("--dir=BWD_D mb1ic3ih8oc4kh3", "only forward ones"),
        (
            "--dir=FWD mb1ic3ih8oc4kh3",
            "expected FWD_B, FWD_D or FWD_I",
        ),
        (
            "--alg=fft mb1ic3ih8oc4kh3",
            "direct, wino or auto for --conv",
        ),
        (
            "--pool --alg=wino mb1ic3ih8kh3",
            "for --conv, not for --pool",
        ),
        ("--flags=GCH mb1ic3ih8oc4kh3", "--flags is for --bnorm"),
        (
            "--attr-post-ops=relu:0.1 mb1ic3ih8oc4kh3",
            "post-op 'relu:0.1' is a leaky or scaled ReLU: expected sum, sum:SCALE:ZERO:TYPE or add:TYPE:per_tensor",
        ),
        (
            "--attr-post-ops=sum:0.5 mb1ic3ih8oc4kh3",
            "scales and zero points are for sources of u8 and s8, not of f32",
        ),
        (
            "--attr-post-ops=relu+sum mb1ic3ih8oc4kh3",
            "follows the ReLU",
        ),
        (
            "--attr-post-ops=sum+add:f32 mb1ic3ih8oc4kh3",
            "a second residual",
        ),
        (
            "--attr-post-ops=add:s32:common mb1ic3ih8oc4kh3",
            "something other than a tensor like the output",
        ),
        (
            "--attr-post-ops=tanh mb1ic3ih8oc4kh3",
            "post-op 'tanh' is unknown: expected sum",
        ),
        (
            "--attr-post-ops=relu++ mb1ic3ih8oc4kh3",
            "post-op '' follows the ReLU",
        ),
        ("--lrn mb1ic8ih5k1e-40", "it must be above 0, at least"),
        (
            "mb1ic3ih8oc8kh3ph1 + mb1ic8ih8oc8kh3ph1 + mb1ic8ih8oc8kh3ph1",
            "a third can't follow",
        ),
        (
            "--overhang=1x1 mb1ic3ih8oc4kh3ph1",
            "--overhang is for --pool",
        ),
        (
            "--pool --overhang=1 mb1ic3ih8kh3",
            "--overhang=1 should be --overhang=HxW",
        ),
        (
            "--alg=max --conv mb1ic3ih8oc4kh3ph1",
            "that --alg is for --pool, not for --conv",
        ),
        ("--pool --alg=direct mb1ic3ih8kh3ph1", "not for --pool"),
        ("mb1ic8ih10iw20oc4kh3", "kw is missing"),
        ("mb1ic8iw30oc4kw3kh5", "ih is missing"),
        ("mb1ic8iw30oc4kw3oh7", "ih is missing"),
        ("--ip mb1ic8kh3oc4", "kh has no meaning here"),
        ("--ip mb1oc4", "ic is missing"),
        ("--eltwise --alg=relu 1x64x56", "should be NxCxHxW"),
        ("--eltwise --alg=relu 1x0x5x5", "channels is 0"),
        (
            "--eltwise --alg=max 1x6x5x5",
            "that --alg is for --pool, not for --eltwise",
        ),
        ("--alg=relu mb1ic3ih8oc4kh3", "that --alg is for --eltwise"),
        ("--binary 1x6x5x5", "two tensors are added"),
        ("--binary 1x6x5x5:1x6x5x1", "should be like the first"),
        (
            "--binary --attr-post-ops=add:f32 1x6x5x5:1x6x5x5",
            "one at most",
        ),
        ("--bnorm mb1ic64ih56", "needs --flags=GCH"),
        ("--bnorm --flags=G mb1ic64ih56", "expected --flags=GCH"),
        ("--statistics mb1ic64ih56oc3", "oc has no meaning here"),
        ("--lrn mb1ic8ih5ls4", "it must be an odd number"),
        ("--lrn mb1ic8ih5ls5.5", "it must be a whole number"),
        ("--lrn mb1ic8ih5alpha1.2.3", "a number should follow alpha"),
        (
            "--lrn mb1ic8ih5alpha-1",
            "alpha is -1: it must be at least 0",
        ),
        ("--lrn mb1ic8ih5alpha1e99", "alpha is inf"),
        ("--lrn mb1ic8ih5k0", "k is 0: it must be above 0"),
        ("--lrn mb1ic8ih5k1k2", "k is given twice"),
        ("--lrn mb1ic8kh5", "kh has no meaning here"),
        ("--lrn --alg=within mb1ic8ih5", "unknown --alg=within"),
        ("--attention 1x8x5x5", "--attention needs --hidden=UNITS"),
        ("--attention --hidden=0 1x8x5x5", "hidden units is 0"),
        ("--attention --hidden=x 1x8x5x5", "should be --hidden=UNITS"),
        ("--hidden=8 mb1ic3ih8oc4kh3", "--hidden is for --attention"),
        (
            "--bilinear --alg=half_l2_root 1x8x5x5",
            "unknown --alg=half_l2_root",
        ),
        ("--alg=half mb1ic3ih8oc4kh3", "that --alg is for --bilinear"),
        (
            "--flip --alg=max mb1ic3ih8kh3",
            "--flip is for --conv and --ip",
        ),
        ("--flip --softmax 1x8x5x5", "--flip is for --conv and --ip"),
        ("--flip=1 mb1ic3ih8oc4kh3", "--flip=1 should be --flip"),
        (
            "mb1ic3ih8oc8kh3ph1 + --softmax 1x8x8x8",
            "a + joins a convolution and the pooling or the convolution behind it",
        ),
        (
            "mb1ic3ih8oc8kh3ph1 + --alg=max mb1ic8ih7kh3ph1",
            "the pooling takes 1x8x7x7, but the convolution before it makes 1x8x8x8",
        ),
        (
            "mb1ic3ih8oc8kh3ph1 + --alg=max --attr-post-ops=relu mb1ic8ih8kh3ph1",
            "a pooling none",
        ),
        ("mb1ic3ih8oc8kh3ph1 + ", "no sizes follow"),
        ("--concat 1x8x5x5", "there are 1 parts: from 2 to 8"),
        (
            "--concat 1x8x5x5:1x8x5x6",
            "a part is 1x8x5x6: next to the first, it must be 1x8x5x5",
        ),
        ("--concat 1x8x5x5:1x0x5x5", "channels is 0"),
        ("--softmax --axis=2 1x6x5x5", "expected --axis=1"),
        (
            "--axis=1 mb1ic3ih8oc4kh3",
            "--axis is for --softmax and --concat",
        ),
        (
            "--alg=softmax mb1ic3ih8oc4kh3",
            "that --alg is for --softmax",
        ),
        // The middle one of three windows would cover no input.
        (
            "--pool --alg=avg_np mb1ic1ih1oh3kh2ph2dh1",
            "the dilation of 2 steps over the whole height of 1 in a window",
        ),
    ] {
        let error = error(text);
        assert!(error.contains(part), "{text}: {error}");
        assert!(!error.contains('\n'));
    }
}

/// Texts from benchdnn's own files and command lines, each next to the canonical text.
#[test]
fn what_benchdnn_writes_in_other_ways_is_read() {
    for (theirs, ours) in [
        (
            "--attr-post-ops=sum ",
            "--attr-post-ops=add:f32:per_tensor ",
        ),
        (
            "--attr-post-ops=sum+relu ",
            "--attr-post-ops=add:f32:per_tensor+relu ",
        ),
        (
            "--attr-post-ops=SUM:1:0:f32+eltwise_relu:0:0:1 ",
            "--attr-post-ops=add:f32:per_tensor+relu ",
        ),
        (
            "--attr-post-ops=binary_add:f32+relu:0 ",
            "--attr-post-ops=add:f32:per_tensor+relu ",
        ),
        ("--attr-post-ops=relu:0 ", "--attr-post-ops=relu "),
        ("--attr-post-ops=eltwise_relu ", "--attr-post-ops=relu "),
        ("--attr-post-ops=relu:0.0:-0 ", "--attr-post-ops=relu "),
        // The last one counts.
        ("--attr-post-ops=sum+relu --attr-post-ops= ", ""),
        ("--dir=FWD_B --dir=fwd_d ", ""),
        ("--conv --alg=WINO ", ""),
        ("--alg=convolution_winograd ", ""),
        ("--alg=AUTO --mb=0 ", ""),
    ] {
        let sizes = "mb1ic16ih8oc16oh8kh3ph1";
        let [theirs, ours] = [theirs, ours].map(|flags| format!("{flags}{sizes}"));
        assert_eq!(parse(&theirs), parse(&ours), "{theirs}");
    }
    assert_eq!(
        parse("--mb=5 mb1ic16ih8oc16kh3ph1"),
        parse("mb5ic16ih8oc16kh3ph1")
    );
    assert_eq!(
        parse("--pool --mb=5 --alg=max ic16ih8kh2sh2"),
        parse("--alg=max mb5ic16ih8kh2sh2")
    );
}

/// Longest text, one byte more, and deep nesting.
#[test]
fn long_texts_are_refused_in_a_short_line() {
    let sizes = "mb1ic16ih8oc16oh8kh3ph1n";
    let named = |bytes: usize| format!("{sizes}{}", "x".repeat(bytes - sizes.len()));
    assert_eq!(parse(&named(MOST_TEXT)), parse(sizes));
    let too_long = error(&named(MOST_TEXT + 1));
    assert!(too_long.contains("it has 4097 bytes: at most 4096 are read"));
    let part = "mb1ic1ih1oc1kh1";
    for text in [
        vec![part; 100_000].join(" + "),
        vec![part; 200].join(" + "),
        format!("--alg={}", "ü€𝄞".repeat(400)),
        format!("mb1{}", "ü€𝄞".repeat(400)),
        "--eltwise ".repeat(300) + &"1x".repeat(500),
        "\u{1F600}".repeat(1024),
    ] {
        let error = error(&text);
        assert!(error.chars().count() < 700, "{error}");
    }
}

#[test]
fn an_excerpt_keeps_both_ends() {
    assert_eq!(excerpt("abcdefghij", 10), "abcdefghij");
    assert_eq!(excerpt("abcdefghijk", 10), "abcdef…ijk");
    assert_eq!(excerpt("äöüÄÖÜßéèê", 10), "äöüÄÖÜßéèê");
    assert_eq!(excerpt("äöüÄÖÜßéèêë", 10), "äöüÄÖÜ…èêë");
    assert_eq!((&*excerpt("abc", 1), &*excerpt("abc", 0)), ("…", "…"));
}

/// Compares with a check of each tap of each window, for all small sizes.
#[test]
fn a_pooling_is_refused_if_a_window_has_no_element_and_only_then() {
    let (mut taken, mut refused) = (0, 0);
    for size in 1..6 {
        for (kernel, stride, dilation) in
            (0..4 * 6 * 9).map(|i| (1 + i % 4, 1 + i / 4 % 6, 1 + i / 24))
        {
            for (before, after) in (0..10 * 6).map(|i| (i % 10, i / 10)) {
                let axis = axis::Axis {
                    name: "height",
                    size,
                    kernel,
                    stride,
                    dilation,
                    before,
                    after,
                };
                if axis.validate().is_err() {
                    continue;
                }
                let out = axis.floor();
                let has_element = |o: usize| {
                    let mut taps = (0..kernel).map(|k| o * stride + k * dilation);
                    taps.any(|at| (before..before + size).contains(&at))
                };
                let expected = (0..out).all(has_element);
                let found = axis.check_windows(out);
                assert_eq!(
                    found.is_ok(),
                    expected,
                    "{size} {kernel} {stride} {dilation} {before}+{after}: {found:?}"
                );
                *if expected { &mut taken } else { &mut refused } += 1;
            }
        }
    }
    assert!(taken > 5000 && refused > 5000, "{taken} {refused}");
    let pool = parse("--pool --alg=avg_np mb1ic28ih2oh1kh2sh3ph2dh2");
    assert_eq!(pool.dst_dims(), [1, 28, 1, 1]);
    // At the largest sizes, the answer must be immediate.
    let large = axis::Axis {
        name: "width",
        size: (1 << 30) + 7,
        kernel: 3,
        stride: 1,
        dilation: (1 << 30) + 8,
        before: 1 << 30,
        after: 1 << 30,
    };
    let start = std::time::Instant::now();
    assert!(large.check_windows(large.floor()).is_ok());
    for dilation in [3, 65_536, 65_537, 1 << 20] {
        let many = axis::Axis {
            size: dilation - 1,
            kernel: (1 << 31) / dilation,
            stride: dilation / 2 + 1,
            dilation,
            before: (1 << 31) - 2 * dilation,
            ..large
        };
        let _ = many.check_windows(many.floor());
    }
    assert!(start.elapsed().as_secs() < 1);
}

#[test]
fn ceil_mode_follows_caffe_and_pytorch() {
    let pool = |h, kernel, stride, pad, ceil| {
        let spec = PoolSpec {
            n: 1,
            c: 1,
            h,
            w: h,
            kernel: [kernel; 2],
            stride: [stride; 2],
            pad: Pad::uniform(pad),
            dilation: [1, 1],
            kind: PoolKind::AvgIncludePad,
            ceil,
        };
        PoolShape::try_from(spec).expect("a valid pooling")
    };
    // NiN's 54 -> 27 -> 13 -> 6.
    for (h, floor, ceil) in [(54, 26, 27), (27, 13, 13), (13, 6, 6)] {
        assert_eq!(pool(h, 3, 2, 0, false).h_out(), floor);
        assert_eq!(pool(h, 3, 2, 0, true).h_out(), ceil);
    }
    // The last window must start inside the input. A third would start at 4, in the trailing padding.
    assert_eq!(pool(3, 2, 2, 1, true).h_out(), 2);
    assert_eq!(pool(54, 3, 2, 0, true).overhang(), [1, 1]);
}

fn conv_specs() -> impl Strategy<Value = ConvSpec> {
    let pair = |max: usize| (1..=max, 1..=max).prop_map(|(a, b)| [a, b]);
    let pad = (0..4usize, 0..4usize, 0..4usize, 0..4usize);
    let pad = pad.prop_map(|(top, left, bottom, right)| Pad {
        top,
        left,
        bottom,
        right,
    });
    let channels = (1..5usize, 1..9usize, 1..9usize);
    let flat = (any::<bool>(), any::<bool>());
    (
        1..4usize,
        channels,
        pair(40),
        pair(7),
        pair(4),
        pad,
        pair(3),
        flat,
    )
        .prop_map(
            |(n, (groups, c_in, c_out), [h, w], kernel, stride, pad, dilation, (flat, flip))| {
                let spec = ConvSpec {
                    n,
                    c_in: c_in * groups,
                    h,
                    w,
                    c_out: c_out * groups,
                    kernel,
                    stride,
                    pad,
                    dilation,
                    groups,
                    flip,
                };
                if flat { along_one_axis(spec) } else { spec }
            },
        )
}

fn along_one_axis(mut spec: ConvSpec) -> ConvSpec {
    (spec.h, spec.kernel[0], spec.stride[0], spec.dilation[0]) = (1, 1, 1, 1);
    (spec.pad.top, spec.pad.bottom) = (0, 0);
    spec
}

fn problems() -> impl Strategy<Value = Problem> {
    let epilogue = (any::<bool>(), any::<bool>(), any::<bool>());
    let kinds = [
        PoolKind::Max,
        PoolKind::AvgIncludePad,
        PoolKind::AvgExcludePad,
        PoolKind::Lp { p: 2, mean: false },
        PoolKind::Lp { p: 3, mean: true },
        PoolKind::LInf,
        PoolKind::Stochastic,
        PoolKind::Draw {
            seed: u64::MAX,
            index: false,
        },
        PoolKind::Draw {
            seed: 0,
            index: true,
        },
    ];
    let kind = prop::sample::select(kinds.to_vec());
    (conv_specs(), epilogue, any::<bool>(), kind, any::<bool>()).prop_filter_map(
        "an impossible shape",
        |(spec, (bias, relu, residual), is_pool, kind, ceil)| {
            if !is_pool {
                let conv = ConvShape::try_from(spec).ok()?;
                let epilogue = Epilogue {
                    bias,
                    relu,
                    residual,
                };
                return Some(Problem {
                    epilogue,
                    ..Problem::from(conv)
                });
            }
            let ConvSpec {
                n,
                c_in: c,
                h,
                w,
                kernel,
                stride,
                pad,
                dilation,
                ..
            } = spec;
            let spec = PoolSpec {
                n,
                c,
                h,
                w,
                kernel,
                stride,
                pad,
                dilation,
                kind,
                ceil,
            };
            Some(Problem::from(PoolShape::try_from(spec).ok()?))
        },
    )
}

/// Layers without a window, on maps so small that some look like a vector.
fn without_window() -> impl Strategy<Value = Problem> {
    let dims = (1..4usize, 1..5usize, 1..4usize, 1..4usize);
    let epilogue = (any::<bool>(), any::<bool>(), any::<bool>());
    let lrn = |maps: Maps| {
        let [_, c, h, w] = maps.dims();
        let spec = LrnSpec {
            maps: maps.dims(),
            size: 2 * c - 1,
            alpha: 1e-4 * h as f32,
            beta: 0.75,
            k: f32::MIN_POSITIVE * w as f32,
        };
        LrnShape::try_from(spec).expect("a normalisation").into()
    };
    let concat = |maps: Maps| {
        let [n, c, h, w] = maps.dims();
        let parts: Vec<_> = (0..=h).map(|part| [n, c + 16 * part, h, w]).collect();
        ConcatShape::new(&parts).expect("a concatenation").into()
    };
    let attention = |maps: Maps| {
        let shape = AttentionShape::new(maps, maps.dims()[2]);
        shape.expect("an attention pooling").into()
    };
    let bilinear = |maps: Maps| {
        let [_, _, h, w] = maps.dims();
        let kind = BilinearKind {
            half: h == 1,
            root: h == 2,
            l2: w == 2,
        };
        let shape = BilinearShape::new(maps, kind);
        shape.expect("a bilinear pooling").into()
    };
    let ops: [fn(Maps) -> Op; 8] = [
        |maps| IdentityShape(maps).into(),
        |maps| BatchNormShape(maps).into(),
        |maps| StatisticsShape(maps).into(),
        |maps| SoftmaxShape(maps).into(),
        lrn,
        concat,
        attention,
        bilinear,
    ];
    let op = prop::sample::select(ops.to_vec());
    (dims, epilogue, op).prop_map(|((n, c, h, w), (bias, relu, residual), op)| Problem {
        epilogue: Epilogue {
            bias,
            relu,
            residual,
        },
        ..Problem::from(op([n, c, h, w].try_into().expect("small maps")))
    })
}

/// Input, output, kernel, stride, padding and dilation - 1 of both axes, as benchdnn parses them: `str2desc` and
/// `sanitize_desc` of its sources, for two spatial dimensions.
fn as_benchdnn_reads(descriptor: &str) -> [[i64; 6]; 2] {
    let field = |name: &str| {
        let at = descriptor.find(name)? + name.len();
        let digits = descriptor[at..]
            .split(|c: char| !c.is_ascii_digit())
            .next()?;
        digits.parse::<i64>().ok()
    };
    let axis = |a: &str| {
        // One-dimensional.
        if a == "h" && field("ih").is_none() {
            return [1, 1, 1, 1, 0, 0];
        }
        let read = |kind: &str, default| field(&format!("{kind}{a}")).unwrap_or(default);
        let (size, kernel, stride, holes) =
            (read("i", 0), read("k", 0), read("s", 1), read("d", 0));
        let (mut out, mut pad) = (read("o", 0), read("p", -1));
        if (size | kernel | out | holes) != 0 || stride != 1 || pad >= 1 {
            assert!(size != 0 && kernel != 0, "{descriptor}: refused");
            let extent = (kernel - 1) * (holes + 1) + 1;
            if out == 0 {
                pad = pad.max(0);
                out = (size - extent + 2 * pad) / stride + 1;
            } else if pad < 0 {
                pad = ((out - 1) * stride - size + extent) / 2;
            }
        }
        [size, out, kernel, stride, pad, holes]
    };
    let (h, w) = (axis("h"), axis("w"));
    if w[1] == 0 { [h, h] } else { [h, w] }
}

fn as_we_mean(problem: &Problem) -> [[i64; 6]; 2] {
    let [_, _, h, w] = problem.src_dims();
    let [_, _, h_out, w_out] = problem.dst_dims();
    let (kernel, stride, pad, dilation) = match problem.op {
        Op::Conv(c) => (c.kernel, c.stride, c.pad, c.dilation),
        Op::Pool(p) => (p.kernel, p.stride, p.pad, p.dilation),
        _ => panic!("{problem} has no window"),
    };
    let axis = |i: usize, size, out, pad| {
        [size, out, kernel[i], stride[i], pad, dilation[i] - 1].map(|n| n as i64)
    };
    [axis(0, h, h_out, pad.top), axis(1, w, w_out, pad.left)]
}

/// For statistics and concatenations, source and destination differ in their number of elements.
fn images(problem: &Problem) -> usize {
    match problem.op {
        Op::Concat(_) => problem.dst_dims()[0],
        _ => problem.src_dims()[0],
    }
}

/// GoogLeNet's inception 3a, and a concatenation whose second part isn't whole blocks.
#[test]
fn parts_of_whole_blocks_are_joined_where_they_lie() {
    let concat = |text: &str| match parse(text).op {
        Op::Concat(concat) => concat,
        op => panic!("{op:?}"),
    };
    let inception = concat("--concat 1x64x28x28:1x128x28x28:1x32x28x28:1x32x28x28");
    assert!(inception.in_place());
    assert_eq!(inception.src_dims(), [1, 256, 28, 28]);
    assert_eq!(inception.first_channel(2), 192);
    assert!((0..256).all(|c| inception.source_channel(0, c) == c));
    // The last part may end within a block.
    assert!(concat("--concat 1x64x28x28:1x8x28x28").in_place());

    let odd = concat("--concat 2x16x3x3:2x20x3x3:2x1x3x3");
    assert!(!odd.in_place());
    assert_eq!(odd.src_dims(), [1, 2 * (16 + 32 + 16), 3, 3]);
    let channels = [(0, 15), (0, 16), (1, 15), (1, 16), (1, 35), (1, 36)];
    let sources = channels.map(|(image, channel)| odd.source_channel(image, channel));
    assert_eq!(sources, [15, 32, 31, 64, 83, 112]);
}

#[test]
fn two_layers_are_one_where_the_second_takes_what_the_first_makes() {
    let relu = "--dir=FWD_B --attr-post-ops=relu ";
    let both = "--dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu ";
    let (narrow, wide) = ("mb1ic64ih56oc16oh56kh1ph0", "mb1ic16ih56oc32oh28kh3sh2ph1");
    for text in [
        format!("{narrow} + {wide}"),
        format!("{relu}{narrow} + {both}{wide}"),
        format!("{relu}{narrow} + --pool --alg=max mb1ic16ih56oh28kh3sh2ph1"),
    ] {
        let problem = parse(&text);
        assert_eq!(problem.to_string(), text);
        let twice = problem.with_batch(2).expect("two images");
        assert_eq!(twice.dst_dims()[0], 2);
    }
    let pair = parse(&format!("{relu}{narrow} + {both}{wide}"));
    assert_eq!(pair.src_dims(), [1, 64, 56, 56]);
    assert_eq!(pair.weights_dims(), Some([1, 1, 1, 64 * 16 + 16 * 32 * 9]));
    assert_eq!((pair.biases(), pair.dst_dims()), (16 + 32, [1, 32, 28, 28]));
    for (text, why) in [
        (
            format!("{narrow} + {narrow}"),
            "the second convolution takes 1x64x56x56, but the convolution before it makes 1x16x56x56",
        ),
        (
            format!("{relu}{narrow} + {wide}"),
            "both or neither bias and ReLU",
        ),
        (
            format!("{both}{narrow} + {both}{wide}"),
            "only the second a residual",
        ),
        (
            format!("{narrow} + --eltwise --alg=relu 1x16x56x56"),
            "a + joins",
        ),
    ] {
        let error = text.parse::<Problem>().expect_err(&text).to_string();
        assert!(error.contains(why) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn a_half_has_each_pair_once() {
    let kind = BilinearKind {
        half: true,
        ..BilinearKind::default()
    };
    let maps = [1, 4, 2, 2].try_into().expect("maps");
    let half = BilinearShape::new(maps, kind).expect("a pooling");
    let pairs: Vec<_> = (0..half.outputs()).map(|i| half.pair(i)).collect();
    let all = (0..4).flat_map(|i| (i..4).map(move |j| [i, j]));
    assert_eq!(pairs, all.collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn benchdnn_reads_what_we_print(problem in problems()) {
        let text = problem.to_string();
        let descriptor = text.rsplit(' ').next().expect("one word at least");
        prop_assert_eq!(as_benchdnn_reads(descriptor), as_we_mean(&problem), "{}", text);
    }

    #[test]
    fn every_pooling_window_sees_the_input(problem in problems()) {
        let Op::Pool(pool) = problem.op else { return Ok(()) };
        let axes = [
            (pool.h, pool.h_out(), pool.pad.top),
            (pool.w, pool.w_out(), pool.pad.left),
        ];
        for (i, (size, out, before)) in axes.into_iter().enumerate() {
            for o in 0..out {
                let mut taps = (0..pool.kernel[i]).map(|k| o * pool.stride[i] + k * pool.dilation[i]);
                prop_assert!(taps.any(|t| (before..before + size).contains(&t)), "{}", problem);
            }
        }
    }

    #[test]
    fn parse_after_print_is_identity(problem in prop_oneof![problems(), without_window()]) {
        let text = problem.to_string();
        prop_assert_eq!(text.parse::<Problem>(), Ok(problem), "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
        let _ = text.parse::<Problem>();
    }

    #[test]
    fn any_fields_are_read_or_refused(
        fields in prop::collection::vec((prop::sample::select(vec!["g", "mb", "ic", "ih", "iw", "oc", "oh", "kh", "kw", "sh", "ph", "dh"]), any::<u64>()), 0..12),
        pool in any::<bool>(),
    ) {
        let text: String = fields.iter().map(|(name, n)| format!("{name}{}", n >> (n % 64))).collect();
        let text = if pool { format!("--pool --alg=avg_p {text}") } else { text };
        let _ = text.parse::<Problem>();
    }

    #[test]
    fn batch_changes_only_the_batch(
        problem in prop_oneof![problems(), without_window()],
        n in 1..9usize,
    ) {
        let other = problem.with_batch(n).expect("a small batch");
        prop_assert_eq!(other.with_batch(images(&problem)).expect("as before"), problem);
        prop_assert_eq!(&other.dst_dims()[1..], &problem.dst_dims()[1..]);
    }

    #[test]
    fn output_size_is_how_often_the_kernel_fits(spec in conv_specs()) {
        let Ok(conv) = ConvShape::try_from(spec) else { return Ok(()) };
        let extent = (spec.kernel[0] - 1) * spec.dilation[0] + 1;
        let padded = spec.h + spec.pad.top + spec.pad.bottom;
        let fits = (0..padded).step_by(spec.stride[0]).filter(|y| y + extent <= padded).count();
        prop_assert_eq!(conv.h_out(), fits);
    }
}
