//! The text form of a problem: benchdnn's, so that a layer pastes into oneDNN's own driver and back.
//!
//! ```text
//! mb1ic64ih56oc64oh56kh3ph1                         a plain f32 convolution
//! mb1ic64iw128oc64ow128kw3pw1                       along one axis
//! --dir=FWD_B --attr-post-ops=relu g2mb1ic96ih27oc256oh27kh5ph2
//! --pool --alg=max mb1ic64ih112oh56kh3sh2ph1
//! --eltwise --alg=relu 1x64x56x56
//! --binary --alg=add --attr-post-ops=relu 1x256x56x56:1x256x56x56
//! --bnorm --flags=GCH mb1ic64ih56
//! --softmax --axis=1 1x1000x1x1
//! --concat --axis=1 1x64x28x28:1x128x28x28
//! --lrn mb1ic96ih55ls5alpha0.0001beta0.75k1
//! ```
//!
//! A convolution and the pooling or the convolution behind it, as one layer, are both with a ` + ` between them. A text
//! has at most [`MOST_TEXT`](super::MOST_TEXT) bytes.
//!
//! Fields after benchdnn's `doc/driver_conv.md`: g groups, mb batch, i/o input and output, c h w
//! channels and sizes, k kernel, s stride, p padding (top and left), d dilation (`dh0` is dense). Left
//! out, they mean what they mean there: g, s and d 1, 1 and 0, `mb` 2, `oh` what the other sizes make
//! it (with equal padding on both sides), and `ph` what a given `oh` needs, halved. A given `oh`
//! decides how much trailing padding there is. Fields of the width are left out where all of them
//! equal the height's, and given all together otherwise; without any of the height's, the height is
//! 1: a one-dimensional convolution or pooling, `mb1ic64iw128oc64ow128kw3pw1`. A name (`n"conv1"`, `nconv1`) at the end is accepted.
//!
//! Flags: `--dir=FWD_B` adds a bias. Without it there is none (as with `FWD_D`, `FWD_I`), while
//! benchdnn's own default is `FWD_B`: say `--dir=FWD_D` there to leave the bias out.
//! `--attr-post-ops=add:f32:per_tensor+relu` residual and ReLU (`sum`, which adds to what the destination holds,
//! is read as the residual, too), `--dt=src:weights:dst` or `--dt=all` the types, `--mb=8` the batch in place of the
//! descriptor's, `--alg=direct|wino|auto` is read and makes no difference: how a convolution is computed is a
//! variant's part. `--pool --alg=max|avg_p|avg_np` a pooling (average with and without its padding).
//! `--alg=lp2`, `lp2_mean` (and so on for other p), `lpinf`, `stochastic`, `draw7` and `draw7_index` (for a
//! seed of 7) are our own kinds of pooling.
//! Layers without a window: `--eltwise --alg=relu` is a ReLU (`--alg=linear` a copy), `--binary --alg=add` adds a
//! second tensor of the same dims, or a bias where those are `1xCx1x1`, `--bnorm --flags=GCH` is a batch
//! normalisation by given statistics, scale and shift, `--softmax` one over the channels
//! (`--axis=1`), `--lrn` a local response normalisation across `ls` of them, `--concat` joins up to 8 tensors. `--ip mb1ic2048oc1000`, a fully connected layer, is read as
//! the convolution that it is, whose kernel is its whole input map.
//! Our own are also `--flip`, a true convolution, whose filters are turned around, `--attention --hidden=128 1x512x7x7`, attention pooling with 128 hidden units, `--bilinear
//! --alg=full|half` (with `_root`, `_l2` or `_root_l2` behind it), bilinear pooling, its symmetric half, signed square
//! roots and L2 norm, `--statistics`, of each channel's mean and variance, and `--overhang=HxW`, rows and
//! columns of a ceil-mode pooling that reach beyond the padding and don't count in `avg_p`'s divisor, which
//! benchdnn can't say.

use super::{BilinearKind, ConvShape, DTypes, Epilogue, LrnSpec, Maps, Op, Pad, PoolKind, Problem};
use std::fmt;

/// A pooling's kind as `--alg` has it: benchdnn's short names, and ours for what it doesn't know.
pub(super) fn pool_name(kind: PoolKind) -> String {
    match kind {
        PoolKind::Max => "max".into(),
        PoolKind::AvgIncludePad => "avg_p".into(),
        PoolKind::AvgExcludePad => "avg_np".into(),
        PoolKind::Lp { p, mean: false } => format!("lp{p}"),
        PoolKind::Lp { p, mean: true } => format!("lp{p}_mean"),
        PoolKind::LInf => "lpinf".into(),
        PoolKind::Stochastic => "stochastic".into(),
        PoolKind::Draw { seed, index: false } => format!("draw{seed}"),
        PoolKind::Draw { seed, index: true } => format!("draw{seed}_index"),
    }
}

/// The kind of a name, short or benchdnn's long one, in small letters.
pub(super) fn pool_kind(name: &str) -> Option<PoolKind> {
    Some(match name {
        "max" | "pooling_max" => PoolKind::Max,
        "avg_p" | "pooling_avg_include_padding" => PoolKind::AvgIncludePad,
        "avg_np" | "pooling_avg_exclude_padding" => PoolKind::AvgExcludePad,
        "lpinf" => PoolKind::LInf,
        "stochastic" => PoolKind::Stochastic,
        _ if name.starts_with("draw") => {
            let seed = name.strip_prefix("draw")?;
            let (seed, index) = match seed.strip_suffix("_index") {
                Some(seed) => (seed, true),
                None => (seed, false),
            };
            let seed = seed.parse().ok()?;
            PoolKind::Draw { seed, index }
        }
        _ => {
            let p = name.strip_prefix("lp")?;
            let (p, mean) = match p.strip_suffix("_mean") {
                Some(p) => (p, true),
                None => (p, false),
            };
            let p = p.parse().ok()?;
            PoolKind::Lp { p, mean }
        }
    })
}

/// A bilinear pooling's kind as `--alg` has it.
fn bilinear_name(kind: BilinearKind) -> String {
    let mut name = String::from(if kind.half { "half" } else { "full" });
    for (given, part) in [(kind.root, "_root"), (kind.l2, "_l2")] {
        name.push_str(if given { part } else { "" });
    }
    name
}

/// The kind of a name.
pub(super) fn bilinear_kind(name: &str) -> Option<BilinearKind> {
    let (half, rest) = match name.strip_prefix("half") {
        Some(rest) => (true, rest),
        None => (false, name.strip_prefix("full")?),
    };
    let (root, rest) = match rest.strip_prefix("_root") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let l2 = match rest {
        "_l2" => true,
        "" => false,
        _ => return None,
    };
    Some(BilinearKind { half, root, l2 })
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text)?;
        f.pad(&text)
    }
}

impl Problem {
    fn write(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let Problem {
            op,
            dtypes,
            epilogue,
        } = self;
        let convolution = |conv: &ConvShape, residual: bool| Problem {
            op: Op::Conv(*conv),
            epilogue: Epilogue {
                residual: residual && epilogue.residual,
                ..*epilogue
            },
            ..*self
        };
        match op {
            Op::ConvPool(stem) => {
                let (conv, pool) = (convolution(stem.conv(), true), Problem::from(*stem.pool()));
                return write!(f, "{conv} + {pool}");
            }
            Op::ConvPair(pair) => {
                let first = convolution(pair.first(), false);
                let second = convolution(pair.second(), true);
                return write!(f, "{first} + {second}");
            }
            _ => {}
        }
        let mut epilogue = *epilogue;
        let mut second = None;
        match op {
            Op::Conv(conv) => f.write_str(if conv.flip { "--flip " } else { "" })?,
            Op::Pool(pool) => {
                write!(f, "--pool --alg={} ", pool_name(pool.kind))?;
                let [over_h, over_w] = pool.overhang();
                if [over_h, over_w] != [0, 0] {
                    write!(f, "--overhang={over_h}x{over_w} ")?;
                }
            }
            Op::Identity(maps) => {
                let driver;
                (driver, second) = identity(maps, &mut epilogue);
                f.write_str(driver)?;
            }
            Op::BatchNorm(_) => f.write_str("--bnorm --flags=GCH ")?,
            Op::Statistics(_) => f.write_str("--statistics ")?,
            Op::ConvPool(_) | Op::ConvPair(_) => unreachable!("written above"),
            Op::Softmax(_) => f.write_str("--softmax --axis=1 ")?,
            Op::Lrn(_) => f.write_str("--lrn ")?,
            Op::Concat(_) => f.write_str("--concat --axis=1 ")?,
            Op::Attention(attention) => write!(f, "--attention --hidden={} ", attention.hidden())?,
            Op::Bilinear(bilinear) => {
                write!(f, "--bilinear --alg={} ", bilinear_name(bilinear.kind()))?;
            }
        }
        if *dtypes != DTypes::default() {
            write!(f, "--dt={}:{}:{} ", dtypes.src, dtypes.weights, dtypes.dst)?;
        }
        if epilogue.bias {
            f.write_str("--dir=FWD_B ")?;
        }
        match (epilogue.residual, epilogue.relu) {
            (true, true) => f.write_str("--attr-post-ops=add:f32:per_tensor+relu ")?,
            (true, false) => f.write_str("--attr-post-ops=add:f32:per_tensor ")?,
            (false, true) => f.write_str("--attr-post-ops=relu ")?,
            (false, false) => {}
        }
        match op {
            Op::Conv(c) => {
                if c.groups != 1 {
                    write!(f, "g{}", c.groups)?;
                }
                let out = [c.h_out(), c.w_out()];
                let sizes = Spatial {
                    input: [c.h, c.w],
                    out,
                    kernel: c.kernel,
                    stride: c.stride,
                    pad: c.pad,
                    dilation: c.dilation,
                };
                sizes.write(f, c.n, c.c_in, Some(c.c_out))
            }
            Op::Pool(p) => {
                let out = [p.h_out(), p.w_out()];
                let sizes = Spatial {
                    input: [p.h, p.w],
                    out,
                    kernel: p.kernel,
                    stride: p.stride,
                    pad: p.pad,
                    dilation: p.dilation,
                };
                sizes.write(f, p.n, p.c, None)
            }
            Op::Identity(maps) => {
                f.write_str(&dims(maps.dims()))?;
                second.map_or(Ok(()), |second| write!(f, ":{}", dims(second)))
            }
            Op::ConvPool(_) | Op::ConvPair(_) => unreachable!("written above"),
            Op::Softmax(maps) => f.write_str(&dims(maps.dims())),
            Op::Attention(attention) => f.write_str(&dims(attention.maps().dims())),
            Op::Bilinear(bilinear) => f.write_str(&dims(bilinear.maps().dims())),
            Op::BatchNorm(maps) | Op::Statistics(maps) => write_maps(f, maps.dims()),
            Op::Concat(concat) => {
                let [n, _, h, w] = concat.maps().dims();
                let parts = concat.parts().iter().map(|&c| dims([n, c, h, w]));
                f.write_str(&parts.collect::<Vec<_>>().join(":"))
            }
            Op::Lrn(lrn) => {
                let LrnSpec {
                    maps,
                    size,
                    alpha,
                    beta,
                    k,
                } = lrn.spec();
                write_maps(f, maps)?;
                write!(f, "ls{size}alpha{alpha}beta{beta}k{k}")
            }
        }
    }
}

/// The driver of a layer that is its epilogue alone, and the dims of the second tensor that the driver adds. What
/// it does is taken from the epilogue.
fn identity(maps: &Maps, epilogue: &mut Epilogue) -> (&'static str, Option<[usize; 4]>) {
    let vector = maps.vector();
    if epilogue.bias {
        epilogue.bias = false;
        ("--binary --alg=add ", Some(vector))
    } else if epilogue.residual && maps.dims() != vector {
        epilogue.residual = false;
        ("--binary --alg=add ", Some(maps.dims()))
    } else if epilogue.relu && !epilogue.residual {
        epilogue.relu = false;
        ("--eltwise --alg=relu ", None)
    } else {
        ("--eltwise --alg=linear ", None)
    }
}

fn write_maps(f: &mut impl fmt::Write, [n, c, h, w]: [usize; 4]) -> fmt::Result {
    write!(f, "mb{n}ic{c}")?;
    let axes = if h == w { Axes::Square } else { Axes::Both };
    write_pair(f, "i", [h, w], axes)
}

fn dims([n, c, h, w]: [usize; 4]) -> String {
    format!("{n}x{c}x{h}x{w}")
}

/// What a descriptor says of both axes, vertical first.
struct Spatial {
    input: [usize; 2],
    out: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    pad: Pad,
    dilation: [usize; 2],
}

impl Spatial {
    fn write(
        &self,
        f: &mut impl fmt::Write,
        n: usize,
        c_in: usize,
        c_out: Option<usize>,
    ) -> fmt::Result {
        let pad = [self.pad.top, self.pad.left];
        let holes = self.dilation.map(|d| d - 1);
        let all = [self.input, self.out, self.kernel, self.stride, pad, holes];
        // All widths or none, all heights or none: benchdnn wants all of an axis where it is given any of it.
        let axes = if all.iter().all(|[h, w]| h == w) {
            Axes::Square
        } else if all.map(|[h, _]| h) == [1, 1, 1, 1, 0, 0] {
            Axes::Line
        } else {
            Axes::Both
        };
        let pair = |f: &mut _, name, sizes| write_pair(f, name, sizes, axes);
        write!(f, "mb{n}ic{c_in}")?;
        pair(f, "i", self.input)?;
        if let Some(c_out) = c_out {
            write!(f, "oc{c_out}")?;
        }
        pair(f, "o", self.out)?;
        pair(f, "k", self.kernel)?;
        if self.stride != [1, 1] {
            pair(f, "s", self.stride)?;
        }
        pair(f, "p", pad)?;
        if holes != [0, 0] {
            pair(f, "d", holes)?;
        }
        Ok(())
    }
}

/// Which fields are written.
#[derive(Clone, Copy, PartialEq)]
enum Axes {
    /// The height's, which the width's equal.
    Square,
    /// The width's: the height is 1.
    Line,
    /// Both's.
    Both,
}

fn write_pair(f: &mut impl fmt::Write, name: &str, [h, w]: [usize; 2], axes: Axes) -> fmt::Result {
    if axes != Axes::Line {
        write!(f, "{name}h{h}")?;
    }
    if axes != Axes::Square {
        write!(f, "{name}w{w}")?;
    }
    Ok(())
}
