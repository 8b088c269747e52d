//! The text form of a problem. It is benchdnn's, so that layers can be copied from and to oneDNN's driver.
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
//! A fused layer, a convolution with the pooling or convolution after it, is both texts joined by ` + `. A text has at
//! most [`MOST_TEXT`](super::MOST_TEXT) bytes.
//!
//! Fields, as in benchdnn's `doc/driver_conv.md`:
//!
//! - `g` groups, `mb` batch, `i` input, `o` output, `c` channels, `h` and `w` sizes;
//! - `k` kernel, `s` stride, `p` padding (top and left), `d` dilation (`dh0` is dense).
//!
//! Missing fields have benchdnn's defaults:
//!
//! - `g` is 1, `s` is 1, `d` is 0, `mb` is 2;
//! - `oh` follows from the other sizes, with equal padding on both sides;
//! - `ph` is half of the padding that a given `oh` needs;
//! - a given `oh` determines the trailing padding;
//! - without any width field, the width's fields equal the height's;
//! - without any height field, the layer is one-dimensional with height 1: `mb1ic64iw128oc64ow128kw3pw1`.
//!
//! A name at the end (`n"conv1"`, `nconv1`) is accepted and ignored.
//!
//! Flags:
//!
//! - `--dir=FWD_B` adds a bias. `FWD_D` and `FWD_I` have none, and neither has a text without `--dir`. benchdnn's own
//!   default is `FWD_B`: it needs `--dir=FWD_D` for a layer without bias.
//! - `--attr-post-ops=add:f32:per_tensor+relu` adds a residual and a ReLU. `sum`, which adds to the destination's old
//!   content, is read as a residual too.
//! - `--dt=src:weights:dst` or `--dt=all` sets the element types.
//! - `--mb=8` replaces the batch of the descriptor.
//! - `--alg=direct|wino|auto` is accepted and ignored for convolutions: the algorithm belongs to the variant, not to
//!   the problem.
//! - `--pool --alg=max|avg_p|avg_np` is a pooling (average with and without its padding). `--alg=lp2`, `lp2_mean`
//!   (likewise for other p), `lpinf`, `stochastic`, `draw7` and `draw7_index` (with seed 7) are extensions of this
//!   project.
//!
//! Layers without a window:
//!
//! - `--eltwise --alg=relu` is a ReLU, `--alg=linear` a copy;
//! - `--binary --alg=add` adds a second tensor of the same dims, or a bias if the second is `1xCx1x1`;
//! - `--bnorm --flags=GCH` is a batch normalisation with given statistics, scale and shift;
//! - `--softmax` is over the channels (`--axis=1`);
//! - `--lrn` is a local response normalisation across `ls` channels;
//! - `--concat` joins up to 8 tensors;
//! - `--ip mb1ic2048oc1000` is a fully connected layer, read as a convolution with a kernel of its whole input map.
//!
//! More extensions of this project:
//!
//! - `--flip` is a true convolution, with reversed filters;
//! - `--attention --hidden=128 1x512x7x7` is an attention pooling with 128 hidden units;
//! - `--bilinear --alg=full|half` is a bilinear pooling or its symmetric half. `_root`, `_l2` and `_root_l2` after it
//!   add signed square roots and the L2 norm.
//! - `--statistics` computes the mean and variance of each channel;
//! - `--overhang=HxW` is the rows and columns of a ceil-mode pooling beyond the padding. They don't count in `avg_p`'s
//!   divisor. benchdnn can't express them.

use super::{BilinearKind, ConvShape, DTypes, Epilogue, LrnSpec, Maps, Op, Pad, PoolKind, Problem};
use std::fmt;

/// Name of a pooling's kind in `--alg`: benchdnn's short name, or this project's.
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

/// Pooling kind of a lower-case name, benchdnn's short or long one.
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

/// Name of a bilinear pooling's kind in `--alg`.
fn bilinear_name(kind: BilinearKind) -> String {
    let mut name = String::from(if kind.half { "half" } else { "full" });
    for (given, part) in [(kind.root, "_root"), (kind.l2, "_l2")] {
        name.push_str(if given { part } else { "" });
    }
    name
}

/// Bilinear pooling kind of a name.
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

/// Driver of an identity layer, and the dims of the second tensor that the driver adds. Removes from the epilogue the
/// parts that the driver itself stands for.
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

/// Sizes of both axes in a descriptor, vertical first.
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
        // All width fields or none, all height fields or none: benchdnn needs all fields of an axis if it has one.
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

/// Axes whose fields are written.
#[derive(Clone, Copy, PartialEq)]
enum Axes {
    /// Height only: the width's fields are equal.
    Square,
    /// Width only: the height is 1.
    Line,
    /// Both.
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
