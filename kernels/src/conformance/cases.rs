//! Shapes that straddle the edges of a kernel: 1, g - 1, g, g + 1 and 2 g + 1 of every size in its [`Granularity`].
//! They vary strides, asymmetric padding, dilation, groups (of 1, 2, 3, 4, 8, 16 ... channels) and epilogues.

use crate::blocking::Tuning;
use crate::data::Rng;
use crate::plan::Granularity;
use crate::problem::{
    AttentionShape, BatchNormShape, BilinearKind, BilinearShape, ConcatShape, ConvPairShape,
    ConvPoolShape, ConvShape, ConvSpec, ConversionShape, DTypes, Epilogue, IdentityShape, LrnShape,
    LrnSpec, Maps, Op, Pad, PoolKind, PoolShape, PoolSpec, Problem, SoftmaxShape, StatisticsShape,
};

/// A problem, and block sizes that reach code paths which its size alone would not.
pub type Case = (Problem, Tuning);

fn around(g: usize) -> Vec<usize> {
    let mut sizes = vec![1, g.saturating_sub(1).max(1), g, g + 1, 2 * g + 1];
    sizes.dedup();
    sizes
}

/// `count` convolutions around a kernel's edges, deterministic for a seed. Half of them have the stride `plain_stride`,
/// no dilation and one group.
pub fn convolutions(
    g: &Granularity,
    kernels: &[[usize; 2]],
    plain_stride: [usize; 2],
    count: usize,
    seed: u64,
) -> Vec<Case> {
    let mut rng = Rng::new(seed);
    let mut cases = Vec::new();
    while cases.len() < count {
        let kernel = rng.pick(kernels);
        let plain = rng.below(2) == 0;
        let stride = if plain {
            plain_stride
        } else {
            rng.pick(&[plain_stride, [2, 2], [3, 2], [1, 3]])
        };
        let dilation = if plain {
            [1, 1]
        } else {
            rng.pick(&[[1, 1], [1, 1], [2, 2], [1, 3]])
        };
        let pad = if kernel == [1, 1] {
            Pad::default()
        } else {
            let same = Pad::uniform(kernel[0] / 2);
            let odd = Pad {
                top: 1,
                left: 0,
                bottom: 2,
                right: 1,
            };
            rng.pick(&[same, same, Pad::default(), odd])
        };
        let groups = if plain { 1 } else { rng.pick(&[1, 1, 2, 3]) };
        let per_group = |rng: &mut Rng, g: usize| rng.pick(&around(g)).div_ceil(groups);
        let (mut c_in, mut c_out) = (per_group(&mut rng, g.c_in), per_group(&mut rng, g.c_out));
        // One in five has groups of few channels, with as many outputs as inputs or twice as many.
        let mut groups = groups;
        if rng.below(5) == 0 {
            groups = rng.pick(&[2, 3, 7, 16, 17, 25, 33]);
            c_in = rng.pick(&[1, 1, 2, 3, 4, 8, 16, 24]);
            // 24 channels in 33 groups would take long and test nothing more.
            groups = groups.min(100 / c_in).max(2);
            c_out = c_in * rng.pick(&[1, 1, 1, 2]);
        }
        // Maps whose pixels, rows or columns straddle an edge.
        let (h_out, w_out) = match rng.below(3) {
            0 => (1, rng.pick(&around(g.pixels))),
            1 => (rng.pick(&around(g.h_out)), rng.pick(&around(g.w_out))),
            _ => (1 + rng.below(9), 1 + rng.below(9)),
        };
        let input = |out: usize, axis: usize, pads: usize| {
            ((out - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1)
                .saturating_sub(pads)
        };
        let spec = ConvSpec {
            n: 1 + rng.below(2),
            c_in: c_in * groups,
            h: input(h_out, 0, pad.top + pad.bottom).max(1),
            w: input(w_out, 1, pad.left + pad.right).max(1) + rng.below(2),
            c_out: c_out * groups,
            kernel,
            stride,
            pad,
            dilation,
            groups,
            // Not drawn, so that a change here leaves all shapes as they are.
            flip: cases.len() % 4 == 3,
        };
        let Ok(shape) = ConvShape::try_from(spec) else {
            continue;
        };
        let problem = Problem {
            epilogue: epilogue(&mut rng),
            ..Problem::from(shape)
        };
        cases.push((problem, tuning(&mut rng)));
    }
    cases
}

/// 1x1 layers with so many channels that their inputs are packed first. Sizes around a kernel's edges don't reach that
/// path.
pub const WIDE: [&str; 4] = [
    "--dir=FWD_B --attr-post-ops=relu mb1ic40ih5iw7oc520oh3ow4kh1kw1sh2sw2ph0pw0",
    "--dir=FWD_B --attr-post-ops=add:f32:per_tensor mb2ic512ih5iw6oc130oh3ow3kh1kw1sh2sw2ph0pw0",
    "mb1ic1024ih1iw16oc136oh1ow16kh1kw1ph0pw0",
    "g2mb1ic1024ih3oc288oh3kh1ph0",
];

/// Small convolutions of other types than f32: all types of destinations and residuals, zero points at and between their
/// limits, scales that are powers of two and scales that aren't.
pub const TYPED: [&str; 16] = [
    "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.25+wei:per_oc+dst:common:2 --attr-zero-points=src:common:3+dst:common:128 --attr-post-ops=sum:0.5:3:u8+relu mb1ic17ih7oc20oh7kh3ph1",
    "--dt=u8:s8:u8 --attr-scales=wei:per_oc --attr-zero-points=src:common:255 mb1ic16ih8oc16oh4kh3sh2ph1",
    "--dt=u8:s8:s8 --dir=FWD_B --attr-scales=src:common:0.1+wei:per_oc+dst:common:0.3 --attr-zero-points=src:common:128+dst:common:-128 --attr-post-ops=sum:0.7:-5:s8 mb2ic5ih6iw5oc7oh6ow5kh3kw3ph1pw1",
    "--dt=u8:s8:s8 --attr-scales=wei:common:0.002 --attr-post-ops=add:u8:per_tensor+relu mb1ic32ih5oc33oh5kh1ph0",
    "--dt=u8:s8:s32 mb1ic9ih6oc18oh6kh3ph1",
    "--dt=u8:s8:s32 --attr-zero-points=src:common:77 --attr-post-ops=relu mb1ic300ih6oc5oh4kh3ph0",
    "--dt=u8:s8:s32 --dir=FWD_B --attr-post-ops=add:s32:per_tensor mb1ic20ih5oc16oh5kh3ph1",
    "--dt=u8:s8:f32 --dir=FWD_B --attr-scales=src:common:0.1+wei:per_oc+dst:common:3 --attr-post-ops=add:f32:per_tensor+relu mb1ic17ih5oc20oh5kh3ph1",
    "--dt=s8:s8:s8 --attr-scales=wei:per_oc --attr-zero-points=src:common:-128+dst:common:127 mb1ic16ih6oc16oh6kh3ph1",
    "--dt=s8:s8:u8 --attr-scales=wei:per_oc+dst:common:0.7 --attr-post-ops=sum:0.1:250:u8 --flip mb1ic6ih6oc20oh6kh3ph1dh0",
    "--dt=s8:s8:u8 --attr-scales=wei:common:0.001 --attr-zero-points=src:common:127 g2mb1ic12ih7oc10oh5kh3ph2dh1",
    "--dt=s8:s8:f32 --attr-scales=wei:per_oc g16mb1ic16ih6oc16oh6kh3ph1",
    "--dt=bf16:bf16:f32 --dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu mb1ic17ih7oc20oh7kh3ph1",
    "--dt=bf16:bf16:bf16 --dir=FWD_B --attr-post-ops=add:bf16:per_tensor mb2ic5ih6iw5oc7oh6ow5kh3kw3ph1pw1",
    "--dt=bf16:bf16:bf16 --attr-post-ops=relu g2mb1ic12ih7oc10oh5kh3ph2dh1",
    "--dt=bf16:bf16:f32 --flip mb1ic32ih5oc33oh3kh3sh2ph1",
];

/// Small layers for [`special`](super::special) values: with padding, with inputs that no output reads, and with
/// results that must be correct for values of any size.
pub const SPECIAL: [&str; 26] = [
    "mb1ic17ih9iw7oc20oh9ow7kh3kw3sh1sw1ph1pw1",
    "--attr-post-ops=relu mb1ic16ih8oc16oh8kh5ph2",
    "--flip mb1ic16ih9oc16oh9kh3ph2dh1",
    "mb1ic20ih14iw14oc17oh6ow6kh3kw3sh2sw2ph0pw0",
    "mb1ic20ih13iw14oc17oh7ow7kh3kw3sh2sw2ph1pw1",
    "mb1ic17ih8iw8oc20oh4ow4kh1kw1sh2sw2ph0pw0",
    "mb1ic3ih14iw14oc18oh5ow5kh5kw5sh2sw2ph0pw0",
    "mb1ic4ih16iw16oc17oh5ow5kh7kw7sh2sw2ph0pw0",
    "mb1ic3ih17oc16oh8kh7sh2ph2",
    "mb1ic3ih9oc16oh9kh3ph1",
    "g16mb1ic16ih10oc16oh5kh3sh2ph1",
    "g2mb1ic32ih9oc32oh9kh3ph1",
    "mb1ic16iw15oc16ow15kw3pw1",
    "--pool --alg=max mb1ic17ih8iw8oh3ow3kh3kw3sh2sw2ph0pw0",
    "--pool --alg=avg_np mb1ic28ih2oh1kh2sh3ph2dh2",
    "--pool --alg=avg_p mb1ic17ih3iw5oh2ow2kh3kw2sh4sw5ph4pw2dh3dw1",
    "--pool --alg=max mb1ic17ih3iw3oh2ow2kh3kw3sh4sw4ph4pw4dh3dw3",
    "--lrn mb1ic17ih3ls5alpha0.0001beta0.75k1",
    "--lrn mb2ic40ih3iw5ls3alpha1beta1k2",
    "--lrn mb1ic33ih4ls7alpha10beta0.5k0.00001",
    "--lrn mb1ic17ih3ls5alpha1beta4k0.000000000000001",
    "--bilinear --alg=full_l2 1x17x3x3",
    "--bilinear --alg=half_l2 2x20x3x2",
    "--bilinear --alg=half_root_l2 1x20x3x2",
    "--bilinear --alg=full_root_l2 1x16x2x2",
    "--bilinear --alg=full_l2 1x70x3x3",
];

/// `count` poolings of these kinds around a kernel's edges, deterministic for a seed. `only_global` is for kernels that
/// pool whole maps only.
pub fn poolings(
    g: &Granularity,
    kinds: &[PoolKind],
    only_global: bool,
    count: usize,
    seed: u64,
) -> Vec<Case> {
    let mut rng = Rng::new(seed);
    let mut cases = Vec::new();
    while cases.len() < count {
        let kernel = rng.pick(&[[2, 2], [3, 3], [3, 3], [1, 4], [5, 2], [7, 7]]);
        let stride = rng.pick(&[[1, 1], [2, 2], [2, 2], [3, 1]]);
        let pad = rng.pick(&[
            Pad::default(),
            Pad::uniform(1),
            Pad {
                top: 1,
                left: 0,
                bottom: 0,
                right: 1,
            },
        ]);
        let global = only_global || rng.below(6) == 0;
        let (h, w) = (
            1 + rng.below(14),
            rng.pick(&[around(g.w_out), vec![6, 7, 13]].concat()),
        );
        let spec = PoolSpec {
            n: 1 + rng.below(2),
            c: rng.pick(&around(g.c_in)),
            h,
            w,
            kernel: if global { [h, w] } else { kernel },
            stride: if global { [1, 1] } else { stride },
            pad: if global { Pad::default() } else { pad },
            dilation: if global {
                [1, 1]
            } else {
                rng.pick(&[[1, 1], [1, 1], [2, 1]])
            },
            kind: rng.pick(kinds),
            ceil: rng.below(2) == 0,
        };
        let Ok(shape) = PoolShape::try_from(spec) else {
            continue;
        };
        cases.push((Problem::from(shape), tuning(&mut rng)));
    }
    cases
}

/// Convolutions of images, with the max poolings after them.
pub fn stems(g: &Granularity, count: usize, seed: u64) -> Vec<Case> {
    let mut rng = Rng::new(seed);
    let mut cases = Vec::new();
    while cases.len() < count {
        let kernel = rng.pick(&[[7, 7], [3, 3], [5, 2], [4, 11]]);
        let spec = ConvSpec {
            n: 1 + rng.below(2),
            c_in: 1 + rng.below(g.c_in),
            h: kernel[0] + rng.below(30),
            w: kernel[1] + rng.below(40),
            c_out: rng.pick(&around(g.c_out)),
            kernel,
            stride: rng.pick(&[[1, 1], [2, 2], [2, 2], [4, 3]]),
            pad: rng.pick(&[Pad::default(), Pad::uniform(kernel[0] / 2)]),
            dilation: rng.pick(&[[1, 1], [1, 1], [2, 1]]),
            groups: 1,
            flip: rng.below(4) == 0,
        };
        let Ok(conv) = ConvShape::try_from(spec) else {
            continue;
        };
        let pool = PoolSpec {
            n: conv.n,
            c: conv.c_out,
            h: conv.h_out(),
            w: conv.w_out(),
            kernel: rng.pick(&[[3, 3], [3, 3], [2, 2], [1, 4]]),
            stride: rng.pick(&[[2, 2], [2, 2], [1, 1], [3, 2]]),
            pad: rng.pick(&[Pad::default(), Pad::uniform(1)]),
            dilation: rng.pick(&[[1, 1], [1, 1], [2, 1]]),
            kind: PoolKind::Max,
            ceil: rng.below(2) == 0,
        };
        let Ok(pool) = PoolShape::try_from(pool) else {
            continue;
        };
        let stem = ConvPoolShape::new(conv, pool).expect("the pooling of these maps");
        let problem = Problem {
            epilogue: Epilogue {
                residual: false,
                ..epilogue(&mut rng)
            },
            ..Problem::from(stem)
        };
        cases.push((problem, tuning(&mut rng)));
    }
    cases
}

/// 1x1 convolutions, with other convolutions after them.
pub fn pairs(g: &Granularity, count: usize, seed: u64) -> Vec<Case> {
    let mut rng = Rng::new(seed);
    let mut cases = Vec::new();
    while cases.len() < count {
        let kernel = rng.pick(&[[3, 3], [3, 3], [1, 1], [5, 2], [1, 4]]);
        let first = ConvSpec {
            n: 1 + rng.below(2),
            c_in: rng.pick(&around(g.c_in)),
            h: 1 + rng.below(14),
            w: rng.pick(&[around(g.pixels), vec![7, 13]].concat()),
            c_out: rng.pick(&around(g.c_out)),
            kernel: [1, 1],
            stride: [1, 1],
            pad: Pad::default(),
            dilation: [1, 1],
            groups: 1,
            flip: false,
        };
        let second = ConvSpec {
            c_in: first.c_out,
            c_out: rng.pick(&around(g.c_out)),
            kernel,
            stride: rng.pick(&[[1, 1], [1, 1], [2, 2], [3, 1]]),
            pad: match kernel {
                [1, 1] => Pad::default(),
                _ => rng.pick(&[
                    Pad::uniform(kernel[0] / 2),
                    Pad::uniform(kernel[0] / 2),
                    Pad {
                        top: 2,
                        left: 0,
                        bottom: 0,
                        right: 1,
                    },
                ]),
            },
            dilation: rng.pick(&[[1, 1], [1, 1], [2, 2]]),
            flip: rng.below(4) == 0,
            ..first
        };
        let (Ok(first), Ok(second)) = (ConvShape::try_from(first), ConvShape::try_from(second))
        else {
            continue;
        };
        let pair = ConvPairShape::new(first, second).expect("the first's maps");
        let problem = Problem {
            epilogue: epilogue(&mut rng),
            ..Problem::from(pair)
        };
        cases.push((problem, tuning(&mut rng)));
    }
    cases
}

/// Fully connected layers of maps and of vectors, for one image and for more images than a register tile has pixels.
/// Some have more outputs than the kernel for one image computes at a time.
pub fn fully_connected(g: &Granularity, count: usize, seed: u64) -> Vec<Case> {
    let mut rng = Rng::new(seed);
    let mut cases = Vec::new();
    while cases.len() < count {
        let kernel = rng.pick(&[[1, 1], [1, 1], [2, 3], [5, 1]]);
        let spec = ConvSpec {
            n: rng.pick(&[vec![1; 5], around(g.pixels)].concat()),
            c_in: rng.pick(&around(g.c_in)),
            h: kernel[0],
            w: kernel[1],
            c_out: rng.pick(&[around(g.c_out), vec![7 * g.c_out - 1; 2]].concat()),
            kernel,
            stride: [1, 1],
            pad: Pad::default(),
            dilation: [1, 1],
            groups: 1,
            flip: rng.below(4) == 0,
        };
        let shape = ConvShape::try_from(spec).expect("a valid layer");
        let problem = Problem {
            epilogue: epilogue(&mut rng),
            ..Problem::from(shape)
        };
        cases.push((problem, tuning(&mut rng)));
    }
    cases
}

fn epilogue(rng: &mut Rng) -> Epilogue {
    Epilogue {
        bias: rng.below(2) == 0,
        relu: rng.below(2) == 0,
        residual: rng.below(3) == 0,
    }
}

/// `count` layers without windows that `layer` makes of maps around a kernel's edges.
fn without_window(
    g: &Granularity,
    count: usize,
    layer: impl Fn(Maps, &mut Rng) -> Problem,
) -> Vec<Case> {
    let mut rng = Rng::new(5);
    let case = |_| {
        let n = 1 + rng.below(3);
        let (h, w) = match rng.below(2) {
            0 => (1, rng.pick(&around(g.pixels))),
            _ => (1 + rng.below(9), 1 + rng.below(30)),
        };
        let maps = [n, rng.pick(&around(g.c_in)), h, w];
        let problem = layer(maps.try_into().expect("small maps"), &mut rng);
        (problem, tuning(&mut rng))
    };
    (0..count).map(case).collect()
}

/// A layer with a random epilogue.
fn with_epilogue(op: impl Into<Op>, rng: &mut Rng) -> Problem {
    Problem {
        epilogue: epilogue(rng),
        ..Problem::from(op)
    }
}

/// A normalisation whose windows reach into the next channel block, or the one after it.
fn lrn(maps: Maps, rng: &mut Rng) -> Problem {
    let spec = LrnSpec {
        maps: maps.dims(),
        size: rng.pick(&[1, 3, 5, 5, 9, 31, 35]),
        alpha: rng.pick(&[1e-4, 1.0]),
        beta: rng.pick(&[0.75, 0.75, 0.5, 1.0, 2.25, 0.0, 0.6]),
        k: rng.pick(&[1.0, 2.0]),
    };
    LrnShape::try_from(spec).expect("a normalisation").into()
}

/// A concatenation of up to 5 parts. Half of them have whole blocks only.
fn concat(maps: Maps, g: &Granularity, rng: &mut Rng) -> Problem {
    let [n, c, h, w] = maps.dims();
    let whole = rng.below(2) == 0;
    let mut parts = vec![[n, c, h, w]];
    for _ in 0..1 + rng.below(4) {
        parts.push([n, rng.pick(&around(g.c_in)), h, w]);
    }
    if whole {
        for [_, c, ..] in &mut parts {
            *c = c.next_multiple_of(g.c_in);
        }
    }
    ConcatShape::new(&parts).expect("a concatenation").into()
}

fn attention(maps: Maps, g: &Granularity, rng: &mut Rng) -> Problem {
    let hidden = rng.pick(&around(g.c_out));
    let shape = AttentionShape::new(maps, hidden);
    shape.expect("an attention pooling").into()
}

fn bilinear(maps: Maps, rng: &mut Rng) -> Problem {
    let kind = BilinearKind {
        half: rng.below(2) == 0,
        root: rng.below(3) == 0,
        l2: rng.below(3) == 0,
    };
    let shape = BilinearShape::new(maps, kind);
    shape.expect("a bilinear pooling").into()
}

/// Derived block sizes half of the time, tiny ones otherwise.
fn tuning(rng: &mut Rng) -> Tuning {
    if rng.below(2) == 0 {
        return Tuning::default();
    }
    Tuning {
        mc: rng.pick(&[None, Some(3), Some(17)]),
        nc: rng.pick(&[None, Some(1), Some(40)]),
    }
}

/// Kernel sizes for algorithms that support any.
pub const ANY_KERNEL: [[usize; 2]; 7] = [[1, 1], [3, 3], [3, 3], [5, 5], [1, 3], [2, 2], [4, 1]];

/// One problem per kind of kernel, and some of other types than f32. A plan for it states its edges, around which
/// [`like`] makes cases.
pub const PROBES: [&str; 61] = [
    "g16mb1ic16ih14oc16oh14kh3ph1",
    "mb1ic16ih14oc32oh14kh3ph1",
    "mb1ic32ih14oc64oh14kh1ph0",
    "mb1ic16ih14oc32oh14kh5ph2",
    "mb1ic16ih14oc32oh7kh3sh2ph1",
    "mb1ic3ih17oc32oh9kh5sh2ph2",
    "mb1ic3ih17oc32oh9kh7sh2ph3",
    "mb1ic3ih25oc32oh5kh11sh4ph1",
    "mb1ic3ih17oc32oh9kh5sh2ph2 + --pool --alg=max mb1ic32ih9oh5kh3sh2ph1",
    "mb1ic16ih14oc16oh14kh1ph0 + mb1ic16ih14oc16oh14kh3ph1",
    "--pool --alg=max mb1ic16ih14oh7kh3sh2ph1",
    "--pool --alg=avg_np mb1ic16ih7oh1kh7sh1ph0",
    "--ip mb2ic16ih2oc32",
    "--eltwise --alg=linear 1x16x7x7",
    "--eltwise --alg=relu 1x16x7x7",
    "--binary --alg=add 1x16x7x7:1x16x7x7",
    "--binary --alg=add 1x16x7x7:1x16x1x1",
    "--bnorm --flags=GCH mb1ic16ih7",
    "--statistics mb1ic16ih7",
    "--softmax --axis=1 1x16x7x7",
    "--attention --hidden=16 1x16x7x7",
    "--bilinear --alg=half 1x16x7x7",
    "--bilinear --alg=full_root 1x16x7x7",
    "--concat --axis=1 1x16x7x7:1x16x7x7",
    "--lrn mb1ic16ih7ls5alpha0.0001beta0.75k1",
    "--pool --alg=lp2 mb1ic16ih14oh7kh3sh2ph1",
    "--pool --alg=stochastic mb1ic16ih14oh7kh3sh2ph1",
    "--pool --alg=draw1 mb1ic16ih14oh7kh3sh2ph1",
    "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.1+wei:per_oc+dst:common:0.3 --attr-zero-points=src:common:3+dst:common:128 --attr-post-ops=sum:0.25:8:u8+relu mb1ic16ih14oc32oh14kh3ph1",
    "--dt=s8:s8:s8 --attr-scales=src:common:0.02+wei:per_oc --attr-zero-points=src:common:-7+dst:common:-20 mb1ic32ih14oc64oh14kh1ph0",
    "--dt=u8:s8:s32 mb1ic16ih14oc32oh7kh3sh2ph1",
    "--dt=s8:s8:f32 --dir=FWD_B --attr-scales=wei:common:0.01 --attr-post-ops=add:f32:per_tensor mb1ic16ih14oc32oh14kh3ph1",
    "--dt=u8:s8:s8 --attr-scales=wei:per_oc+dst:common:3 --attr-post-ops=relu mb1ic32ih14oc64oh14kh1ph0",
    "--dt=bf16:bf16:bf16 --dir=FWD_B --attr-post-ops=add:bf16:per_tensor+relu mb1ic16ih14oc32oh14kh3ph1",
    "--dt=bf16:bf16:f32 mb1ic32ih14oc64oh14kh1ph0",
    "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.1+wei:per_oc+dst:common:0.3 --attr-zero-points=src:common:3+dst:common:128 --attr-post-ops=sum:0.25:8:u8+relu g16mb1ic16ih14oc16oh14kh3ph1",
    "--dt=s8:s8:s8 --attr-scales=wei:per_oc --attr-zero-points=src:common:-7 g16mb1ic16ih14oc16oh7kh3sh2ph1",
    "--dt=bf16:bf16:bf16 --dir=FWD_B --attr-post-ops=add:bf16:per_tensor+relu g16mb1ic16ih14oc16oh14kh3ph1",
    "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.1+wei:per_oc+dst:common:0.3 --attr-zero-points=src:common:3+dst:common:128 --attr-post-ops=sum:0.25:8:u8+relu --ip mb1ic16ih2oc32",
    "--dt=s8:s8:s32 --ip mb1ic16ih2oc32",
    "--dt=bf16:bf16:bf16 --dir=FWD_B --attr-post-ops=relu --ip mb1ic16ih2oc32",
    "--dt=s8:s8:s32 --attr-zero-points=src:common:-128 mb1ic16ih14oc32oh14kh3ph1",
    "--pool --alg=max --dt=u8 mb1ic16ih14oh7kh3sh2ph1",
    "--pool --alg=max --dt=s8 mb1ic16ih14oh14kh3ph1",
    "--pool --alg=max --dt=bf16 mb1ic16ih14oh7kh3sh2ph1",
    "--pool --alg=avg_p --dt=u8 mb1ic16ih14oh7kh3sh2ph1",
    "--pool --alg=avg_np --dt=s8 mb1ic16ih7oh1kh7sh1ph0",
    "--pool --alg=avg_np --dt=bf16 mb1ic16ih7oh1kh7sh1ph0",
    "--eltwise --alg=linear --dt=u8 1x16x7x7",
    "--eltwise --alg=relu --dt=s8 1x16x7x7",
    "--eltwise --alg=relu --dt=bf16 1x16x7x7",
    "--binary --alg=add --sdt=u8:u8 --ddt=u8 --attr-scales=src:common:0.3+src1:common:0.7 1x16x7x7:1x16x7x7",
    "--binary --alg=add --sdt=s8:f32 --ddt=s8 --attr-scales=src:common:1.7 --attr-post-ops=relu 1x16x7x7:1x16x7x7",
    "--binary --alg=add --sdt=bf16:bf16 --ddt=bf16 --attr-post-ops=relu 1x16x7x7:1x16x7x7",
    "--concat --axis=1 --sdt=u8 --ddt=u8 1x16x7x7:1x16x7x7",
    "--concat --axis=1 --sdt=bf16 --ddt=bf16 1x16x7x7:1x16x7x7",
    "--reorder --sdt=f32 --ddt=u8 --attr-scales=dst:common:0.006 --attr-zero-points=dst:common:128 1x16x7x7",
    "--reorder --sdt=bf16 --ddt=s8 --attr-scales=dst:common:0.007 --attr-zero-points=dst:common:-3 1x16x7x7",
    "--reorder --sdt=s8 --ddt=f32 --attr-scales=src:common:0.3 --attr-zero-points=src:common:-5 1x16x7x7",
    "--reorder --sdt=u8 --ddt=s8 --attr-scales=src:common:0.02+dst:common:0.03 --attr-zero-points=src:common:7+dst:common:-8 1x16x7x7",
    "--reorder --sdt=f32 --ddt=bf16 1x16x7x7",
];

/// Cases with the operation of `probe` around some edges. If it isn't of f32, they also have its types, quantisation and
/// epilogue.
pub fn like(probe: &Problem, g: &Granularity, count: usize) -> Vec<Case> {
    let mut cases = for_op(&probe.op, g, count);
    if probe.dtypes != DTypes::default() {
        for (problem, _) in &mut cases {
            *problem = Problem::new(problem.op, probe.attributes());
        }
    }
    cases
}

/// Cases for an operation and edges.
fn for_op(op: &Op, g: &Granularity, count: usize) -> Vec<Case> {
    match op {
        Op::Conv(conv) if conv.kernel == [conv.h, conv.w] => fully_connected(g, count, 4),
        Op::Conv(conv) => {
            let kernel = [conv.kernel];
            let mut cases = convolutions(g, &kernel, conv.stride, count / 2, 1);
            cases.extend(convolutions(g, &ANY_KERNEL, conv.stride, count / 2, 2));
            cases
        }
        Op::ConvPool(_) => stems(g, count, 6),
        Op::ConvPair(_) => pairs(g, count, 7),
        Op::Pool(pool) => {
            let global = pool.kernel == [pool.h, pool.w];
            poolings(g, alike(pool.kind), global, count, 3)
        }
        // A kernel of an identity supports one epilogue and refuses the others.
        Op::Identity(_) => without_window(g, 6 * count, |maps, rng| {
            with_epilogue(IdentityShape(maps), rng)
        }),
        Op::BatchNorm(_) => without_window(g, count, |maps, rng| {
            with_epilogue(BatchNormShape(maps), rng)
        }),
        Op::Statistics(_) => without_window(g, count, |maps, _| StatisticsShape(maps).into()),
        Op::Softmax(_) => without_window(g, count, |maps, _| SoftmaxShape(maps).into()),
        Op::Lrn(_) => without_window(g, count, lrn),
        Op::Conversion(_) => without_window(g, count, |maps, _| ConversionShape(maps).into()),
        Op::Concat(_) => without_window(g, count, |maps, rng| concat(maps, g, rng)),
        Op::Attention(_) => without_window(g, count, |maps, rng| attention(maps, g, rng)),
        Op::Bilinear(_) => without_window(g, count, bilinear),
    }
}

/// Pooling kinds that a kernel for `kind` computes, too.
fn alike(kind: PoolKind) -> &'static [PoolKind] {
    const fn lp(p: u32, mean: bool) -> PoolKind {
        PoolKind::Lp { p, mean }
    }
    match kind {
        PoolKind::Max => &[PoolKind::Max],
        PoolKind::AvgIncludePad | PoolKind::AvgExcludePad => {
            &[PoolKind::AvgIncludePad, PoolKind::AvgExcludePad]
        }
        PoolKind::Lp { .. } | PoolKind::LInf => {
            const {
                &[
                    lp(1, false),
                    lp(1, true),
                    lp(2, false),
                    lp(2, false),
                    lp(2, true),
                    lp(3, false),
                    lp(3, true),
                    lp(4, true),
                    PoolKind::LInf,
                ]
            }
        }
        PoolKind::Stochastic => &[PoolKind::Stochastic],
        PoolKind::Draw { .. } => {
            const {
                &[
                    PoolKind::Draw {
                        seed: 5,
                        index: false,
                    },
                    PoolKind::Draw {
                        seed: 5,
                        index: true,
                    },
                ]
            }
        }
    }
}
