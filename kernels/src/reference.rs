//! Definition of every operation: naive loops in f64, simple enough to check by reading. All kernels are compared with
//! it.

use crate::data::uniform;
use crate::exec::{Executor, Grid, par_rows};
use crate::problem::{
    AttentionShape, BATCH_NORM_EPSILON, BilinearShape, ConvPairShape, ConvPoolShape, ConvShape,
    Epilogue, LrnShape, LrnSpec, Maps, Op, PoolKind, PoolShape, Problem,
};

/// Operands of a problem in plain NCHW (weights OIHW). `T` is f64 for chains of layers that are computed in f64.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operands<'a, T = f32> {
    /// Source, n x c x h x w; for a concatenation see [`crate::problem::ConcatShape`].
    pub src: &'a [T],
    /// Weights, c_out x c_in / groups x kh x kw. For two convolutions the second's follow the first's. 4 x c for a
    /// batch normalisation. Empty for layers without weights.
    pub weights: &'a [f32],
    /// Bias, [`Problem::biases`] elements; empty without a bias.
    pub bias: &'a [f32],
    /// Residual, of the output's shape; empty without one.
    pub residual: &'a [T],
}

/// Output of a problem in plain NCHW, in f64.
///
/// # Panics
/// If an operand is too short.
pub fn compute<T: Copy + Into<f64> + Sync>(
    problem: &Problem,
    operands: Operands<'_, T>,
    exec: &dyn Executor,
) -> Vec<f64> {
    if let Op::ConvPair(pair) = &problem.op {
        return conv_pair(problem, pair, operands, exec);
    }
    let [n, c, h, w] = problem.dst_dims();
    let mut out = vec![0.0; n * c * h * w];
    let between = match &problem.op {
        Op::ConvPool(stem) => convolved(problem, stem, operands, exec),
        _ => Vec::new(),
    };
    let epilogue = match &problem.op {
        // The convolution's epilogue is already applied.
        Op::ConvPool(_) => Epilogue {
            residual: problem.epilogue.residual,
            ..Epilogue::default()
        },
        _ => problem.epilogue,
    };
    let shares = match &problem.op {
        Op::Attention(attention) => attention_shares(attention, operands),
        _ => Vec::new(),
    };
    // A task is one map.
    let grid = Grid {
        rows: n * c,
        cols: h * w,
        block_rows: 1,
        block_cols: h * w,
        band: n * c,
    };
    par_rows(exec, &mut out, grid, &mut [], |at, mut map, _| {
        let (image, channel) = (at.row / c, at.row % c);
        for (i, y) in map.row(0).iter_mut().enumerate() {
            let pixel = [i / w, i % w];
            *y = match &problem.op {
                Op::Conv(conv) => conv_pixel(conv, operands, image, channel, pixel),
                Op::Pool(pool) => pool_pixel(pool, operands.src, image, channel, pixel),
                Op::ConvPair(_) => unreachable!("computed as two"),
                Op::ConvPool(stem) => pool_pixel(stem.pool(), &between, image, channel, pixel),
                Op::Identity(_) => operands.src[at.row * h * w + i].into(),
                Op::BatchNorm(_) => {
                    let x = operands.src[at.row * h * w + i].into();
                    batch_norm(
                        x,
                        [0, 1, 2, 3].map(|row| operands.weights[row * c + channel]),
                    )
                }
                Op::Statistics(maps) => statistics(maps, operands.src, channel)[image],
                Op::Attention(attention) => {
                    let positions = attention.positions();
                    let shares = &shares[image * positions..][..positions];
                    let map = &operands.src[at.row * positions..][..positions];
                    let weighed = map.iter().zip(shares).map(|(&x, share)| x.into() * share);
                    weighed.sum()
                }
                Op::Bilinear(bilinear) => bilinear_pool(bilinear, operands.src, image, channel),
                Op::Concat(concat) => {
                    let from = concat.source_channel(image, channel);
                    operands.src[from * h * w + i].into()
                }
                Op::Lrn(lrn) => {
                    let channel_at = |k: usize| operands.src[(image * c + k) * h * w + i];
                    normalise(lrn, |k| channel_at(k).into(), channel)
                }
                Op::Softmax(_) => {
                    let channels = || (0..c).map(|k| operands.src[(image * c + k) * h * w + i]);
                    softmax(channels().map(Into::into).collect(), channel)
                }
            };
            if epilogue.bias {
                *y += f64::from(operands.bias[channel]);
            }
            if epilogue.residual {
                *y += operands.residual[at.row * h * w + i].into();
            }
            if epilogue.relu && *y < 0.0 {
                *y = 0.0;
            }
        }
    });
    if let Op::Bilinear(bilinear) = &problem.op
        && bilinear.kind().l2
    {
        for image in out.chunks_exact_mut(c) {
            let norm = image.iter().map(|y| y * y).sum::<f64>().sqrt();
            let scale = if norm == 0.0 { 0.0 } else { 1.0 / norm };
            image.iter_mut().for_each(|y| *y *= scale);
        }
    }
    out
}

/// Output of two convolutions.
fn conv_pair<T: Copy + Into<f64> + Sync>(
    problem: &Problem,
    pair: &ConvPairShape,
    operands: Operands<'_, T>,
    exec: &dyn Executor,
) -> Vec<f64> {
    let [mut first, second] = [pair.first(), pair.second()].map(|conv| Problem {
        op: Op::Conv(*conv),
        ..*problem
    });
    first.epilogue.residual = false;
    let weights = first.weights_dims().map_or(0, |d| d.iter().product());
    let weights = operands.weights.split_at(weights);
    let bias = operands.bias.split_at(first.biases());
    let between = Operands {
        weights: weights.0,
        bias: bias.0,
        ..operands
    };
    let between = compute(&first, between, exec);
    let residual: Vec<f64> = operands.residual.iter().map(|&r| r.into()).collect();
    let operands = Operands {
        src: &between,
        weights: weights.1,
        bias: bias.1,
        residual: &residual,
    };
    compute(&second, operands, exec)
}

/// Input of the pooling: the convolution with its bias and ReLU.
fn convolved<T: Copy + Into<f64> + Sync>(
    problem: &Problem,
    stem: &ConvPoolShape,
    operands: Operands<'_, T>,
    exec: &dyn Executor,
) -> Vec<f64> {
    let mut conv = Problem {
        op: Op::Conv(*stem.conv()),
        ..*problem
    };
    conv.epilogue.residual = false;
    compute(&conv, operands, exec)
}

/// Input position of tap `k` of output `o` along one axis; `None` in the padding.
fn tap(
    o: usize,
    stride: usize,
    k: usize,
    dilation: usize,
    pad: usize,
    size: usize,
) -> Option<usize> {
    (o * stride + k * dilation)
        .checked_sub(pad)
        .filter(|&i| i < size)
}

/// Sum over input channels and taps of in * w: a cross-correlation, as in CNNs. For a true convolution the weights are
/// reversed. A tap in the padding adds nothing, whatever its weight. For kernels with non-finite weights see
/// [`Op::Conv`].
fn conv_pixel<T: Copy + Into<f64>>(
    conv: &ConvShape,
    x: Operands<'_, T>,
    image: usize,
    k: usize,
    [oy, ox]: [usize; 2],
) -> f64 {
    let (per_in, per_out) = (conv.c_in / conv.groups, conv.c_out / conv.groups);
    let [kh, kw] = conv.kernel;
    let mut sum = 0.0;
    for c in 0..per_in {
        let map = (image * conv.c_in + k / per_out * per_in + c) * conv.h * conv.w;
        let filter = (k * per_in + c) * kh * kw;
        for r in 0..kh {
            let iy = tap(
                oy,
                conv.stride[0],
                r,
                conv.dilation[0],
                conv.pad.top,
                conv.h,
            );
            let Some(iy) = iy else { continue };
            for s in 0..kw {
                let ix = tap(
                    ox,
                    conv.stride[1],
                    s,
                    conv.dilation[1],
                    conv.pad.left,
                    conv.w,
                );
                let Some(ix) = ix else { continue };
                let weight = match conv.flip {
                    true => (kh - 1 - r) * kw + (kw - 1 - s),
                    false => r * kw + s,
                };
                let (a, b) = (x.src[map + iy * conv.w + ix], x.weights[filter + weight]);
                sum += a.into() * f64::from(b);
            }
        }
    }
    sum
}

/// Output of [`PoolKind`] for one window. A NaN in a window makes its output NaN. The mean divides by the number of
/// elements inside the input, or inside the input and its padding. A ceil-mode window's elements beyond the padding
/// never count (PyTorch's and Caffe's rule).
fn pool_pixel<T: Copy + Into<f64>>(
    pool: &PoolShape,
    src: &[T],
    image: usize,
    c: usize,
    [oy, ox]: [usize; 2],
) -> f64 {
    let map = (image * pool.c + c) * pool.h * pool.w;
    let padded_h = pool.pad.top + pool.h + pool.pad.bottom - pool.overhang()[0];
    let padded_w = pool.pad.left + pool.w + pool.pad.right - pool.overhang()[1];
    let (mut window, mut places, mut padded) = (Vec::new(), Vec::new(), 0);
    for r in 0..pool.kernel[0] {
        for s in 0..pool.kernel[1] {
            let (y, x) = (
                oy * pool.stride[0] + r * pool.dilation[0],
                ox * pool.stride[1] + s * pool.dilation[1],
            );
            if y < padded_h && x < padded_w {
                padded += 1;
            }
            let iy = tap(
                oy,
                pool.stride[0],
                r,
                pool.dilation[0],
                pool.pad.top,
                pool.h,
            );
            let ix = tap(
                ox,
                pool.stride[1],
                s,
                pool.dilation[1],
                pool.pad.left,
                pool.w,
            );
            if let (Some(iy), Some(ix)) = (iy, ix) {
                window.push(src[map + iy * pool.w + ix].into());
                places.push(iy * pool.w + ix);
            }
        }
    }
    match pool.kind {
        PoolKind::Max => largest(&window),
        PoolKind::AvgIncludePad => window.iter().sum::<f64>() / f64::from(padded),
        PoolKind::AvgExcludePad => window.iter().sum::<f64>() / window.len() as f64,
        PoolKind::Lp { p, mean } => {
            let sum: f64 = window.iter().map(|x| x.abs().powi(p as i32)).sum();
            let count = if mean { window.len() as f64 } else { 1.0 };
            (sum / count).powf(1.0 / f64::from(p))
        }
        PoolKind::LInf => {
            let magnitudes: Vec<f64> = window.iter().map(|x| x.abs()).collect();
            largest(&magnitudes)
        }
        PoolKind::Stochastic => {
            // `f64::max` would turn a NaN into 0.
            let activations = window.iter().map(|&x| if x < 0.0 { 0.0 } else { x });
            let (sum, squares) = activations.fold((0.0, 0.0), |(s, q), a| (s + a, q + a * a));
            if sum == 0.0 { 0.0 } else { squares / sum }
        }
        PoolKind::Draw { seed, index } => {
            let output = ((image * pool.c + c) * pool.h_out() + oy) * pool.w_out() + ox;
            let drawn = draw(&window, uniform(seed, output as u64));
            match drawn {
                None => f64::NAN,
                Some(k) if index => places[k] as f64,
                Some(k) => window[k].max(0.0),
            }
        }
    }
}

/// gamma (x - mean) / sqrt(variance + epsilon) + beta.
fn batch_norm(x: f64, parameters: [f32; 4]) -> f64 {
    let [gamma, beta, mean, variance] = parameters.map(f64::from);
    gamma * (x - mean) / (variance + BATCH_NORM_EPSILON).sqrt() + beta
}

/// Mean and biased variance of a channel over all images.
fn statistics<T: Copy + Into<f64>>(maps: &Maps, src: &[T], channel: usize) -> [f64; 2] {
    let [n, c, h, w] = maps.dims();
    let elements = || {
        let maps = (0..n).map(|image| &src[(image * c + channel) * h * w..][..h * w]);
        maps.flatten().map(|&x| x.into())
    };
    let count = maps.per_channel() as f64;
    let mean = elements().sum::<f64>() / count;
    [
        mean,
        elements().map(|x| (x - mean).powi(2)).sum::<f64>() / count,
    ]
}

/// Local response normalisation of a channel. `x` is a pixel's channels.
fn normalise(lrn: &LrnShape, x: impl Fn(usize) -> f64, channel: usize) -> f64 {
    let [_, c, _, _] = lrn.maps().dims();
    let LrnSpec {
        size,
        alpha,
        beta,
        k,
        ..
    } = lrn.spec();
    let window = channel.saturating_sub(lrn.half())..(channel + lrn.half() + 1).min(c);
    let squares: f64 = window.map(|k| x(k) * x(k)).sum();
    x(channel) / (f64::from(k) + f64::from(alpha) / size as f64 * squares).powf(f64::from(beta))
}

/// Softmax of `x` at index `at`.
fn softmax(x: Vec<f64>, at: usize) -> f64 {
    let max = largest(&x);
    let sum: f64 = x.iter().map(|x| (x - max).exp()).sum();
    (x[at] - max).exp() / sum
}

/// Weights of each image's positions: softmax of w^T tanh(V h).
fn attention_shares<T: Copy + Into<f64>>(
    attention: &AttentionShape,
    x: Operands<'_, T>,
) -> Vec<f64> {
    let [n, c, _, _] = attention.maps().dims();
    let positions = attention.positions();
    let mut shares = Vec::new();
    for image in 0..n {
        let h = |channel: usize, at: usize| -> f64 {
            x.src[(image * c + channel) * positions + at].into()
        };
        let score = |at: usize| -> f64 {
            let rows = x.weights.chunks_exact(c + 1).map(|row| {
                let sum: f64 = (0..c).map(|k| f64::from(row[k]) * h(k, at)).sum();
                f64::from(row[c]) * sum.tanh()
            });
            rows.sum()
        };
        let scores: Vec<f64> = (0..positions).map(score).collect();
        let max = largest(&scores);
        let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
        shares.extend(scores.iter().map(|s| (s - max).exp() / sum));
    }
    shares
}

/// Sum of products of two channels, or its signed root.
fn bilinear_pool<T: Copy + Into<f64>>(
    bilinear: &BilinearShape,
    src: &[T],
    image: usize,
    output: usize,
) -> f64 {
    let [_, c, _, _] = bilinear.maps().dims();
    let positions = bilinear.positions();
    let [a, b] = bilinear
        .pair(output)
        .map(|channel| &src[(image * c + channel) * positions..][..positions]);
    let products = a.iter().zip(b).map(|(&a, &b)| a.into() * b.into());
    let sum: f64 = products.sum();
    match bilinear.kind().root {
        true if sum < 0.0 => -(-sum).sqrt(),
        true => sum.sqrt(),
        false => sum,
    }
}

/// Index that [`PoolKind::Draw`] draws, in the f32 arithmetic of its definition. `None` if there is a NaN.
fn draw(window: &[f64], u: f32) -> Option<usize> {
    let activations = || window.iter().map(|&x| if x < 0.0 { 0.0 } else { x as f32 });
    let threshold = u * activations().fold(0.0, |sum, a| sum + a);
    let (mut before, mut drawn) = (0.0f32, 0);
    for (k, a) in activations().enumerate() {
        if a > 0.0 && before <= threshold {
            drawn = k;
        }
        before += a;
    }
    (!before.is_nan()).then_some(drawn)
}

/// Maximum, or NaN if there is one.
fn largest(values: &[f64]) -> f64 {
    values.iter().fold(f64::NEG_INFINITY, |max, &x| {
        if x > max || x.is_nan() && !max.is_nan() {
            x
        } else {
            max
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Serial;

    fn problem(text: &str) -> Problem {
        text.parse().expect("a valid problem")
    }

    /// 3x3 over 3x3 with padding 1: sums that can be checked by hand.
    #[test]
    fn a_box_filter_counts_its_neighbours() {
        let p = problem("mb1ic1ih3oc1oh3kh3ph1");
        let x = Operands {
            src: &[1.0; 9],
            weights: &[1.0; 9],
            ..Operands::default()
        };
        assert_eq!(
            compute(&p, x, &Serial),
            [4., 6., 4., 6., 9., 6., 4., 6., 4.]
        );
    }

    /// Windows of 1, 2, 3 and 4. The frequency of each draw is in proportion to its value, and the index matches.
    #[test]
    fn draws_have_their_probabilities() {
        let src: Vec<f32> = [1.0, 2.0]
            .repeat(100)
            .into_iter()
            .chain([3.0, 4.0].repeat(100))
            .collect();
        let src = src.repeat(50);
        let drawn = |alg: &str| {
            let p = problem(&format!(
                "--pool --alg={alg} mb1ic50ih2iw200oh1ow100kh2kw2sh2sw2ph0pw0"
            ));
            let x = Operands {
                src: &src,
                ..Operands::default()
            };
            compute(&p, x, &Serial)
        };
        let (values, indices) = (drawn("draw3"), drawn("draw3_index"));
        assert_ne!(values, drawn("draw4"));
        for (y, i) in values.iter().zip(&indices) {
            assert_eq!(*y, f64::from(src[*i as usize]));
        }
        let outputs = values.len() as f64;
        for a in [1.0, 2.0, 3.0, 4.0] {
            let p: f64 = a / 10.0;
            let times = values.iter().filter(|&&y| y == a).count() as f64;
            let deviations = (times - outputs * p) / (outputs * p * (1.0 - p)).sqrt();
            assert!(
                deviations.abs() < 4.0,
                "{a}: {times} times, {deviations} off"
            );
        }
    }

    #[test]
    fn it_is_a_cross_correlation() {
        let p = problem("mb1ic1ih1iw3oc1oh1ow2kh1kw2ph0pw0");
        let x = Operands {
            src: &[1.0, 2.0, 4.0],
            weights: &[10.0, 1.0],
            ..Operands::default()
        };
        assert_eq!(compute(&p, x, &Serial), [12.0, 24.0]);
    }

    #[test]
    fn a_true_convolution_turns_its_filters_around() {
        let p = problem("--flip mb1ic1iw3oc1kw2");
        let x = Operands {
            src: &[1.0, 2.0, 4.0],
            weights: &[10.0, 1.0],
            ..Operands::default()
        };
        assert_eq!(compute(&p, x, &Serial), [21.0, 42.0]);
        let p = problem("--flip mb1ic1ih2oc1kh2");
        let x = Operands {
            src: &[1.0, 10.0, 100.0, 1000.0],
            weights: &[1.0, 2.0, 3.0, 4.0],
            ..Operands::default()
        };
        assert_eq!(compute(&p, x, &Serial), [1234.0]);
    }

    #[test]
    fn statistics_are_those_of_all_images() {
        let x = Operands {
            src: &[1.0, 3.0, 10.0, 10.0, 5.0, 7.0, 10.0, 14.0],
            ..Operands::default()
        };
        let p = problem("--statistics mb2ic2ih1iw2");
        assert_eq!(compute(&p, x, &Serial), [4.0, 11.0, 5.0, 3.0]);
    }

    #[test]
    fn a_window_ends_where_channels_do() {
        let x = Operands {
            src: &[3.0, 0.0, 2.0, 1.0],
            ..Operands::default()
        };
        let p = problem("--lrn mb1ic4ih1ls3alpha3beta0.5k7");
        let y = compute(&p, x, &Serial);
        assert_eq!(y[..3], [3.0 / 4.0, 0.0, 2.0 / 12f64.sqrt()]);
    }

    /// Positions (1, 0) and (0, 2). V selects the first channel, so the scores are ln 3 tanh 1 / tanh 1 and 0.
    #[test]
    fn attention_weighs_positions() {
        let w = 3f64.ln() / 1f64.tanh();
        let x = Operands {
            src: &[1.0, 0.0, 0.0, 2.0],
            weights: &[1.0, 0.0, w as f32],
            ..Operands::default()
        };
        let y = compute(&problem("--attention --hidden=1 1x2x1x2"), x, &Serial);
        assert!(
            (y[0] - 0.75).abs() < 1e-7 && (y[1] - 0.5).abs() < 1e-7,
            "{y:?}"
        );
    }

    #[test]
    fn bilinear_pooling_sums_products() {
        let x = Operands {
            src: &[1.0, 2.0, -3.0, 1.0],
            ..Operands::default()
        };
        let pool = |alg: &str| {
            let p = problem(&format!("--bilinear --alg={alg} 1x2x2x1"));
            compute(&p, x, &Serial)
        };
        assert_eq!(pool("full"), [5.0, -1.0, -1.0, 10.0]);
        assert_eq!(pool("half"), [5.0, -1.0, 10.0]);
        assert_eq!(pool("half_root"), [5f64.sqrt(), -1.0, 10f64.sqrt()]);
        let norm = pool("half_root_l2").iter().map(|y| y * y).sum::<f64>();
        assert!((norm - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_softmax_is_a_distribution() {
        let x = Operands {
            src: &[1000.0, 1000.0, f32::NEG_INFINITY, -1000.0],
            ..Operands::default()
        };
        let y = compute(&problem("--softmax 1x4x1x1"), x, &Serial);
        assert_eq!(y, [0.5, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn a_batch_normalised_mean_is_beta() {
        let x = Operands {
            src: &[3.0, 5.0],
            weights: &[2.0, 0.5, 3.0, 4.0 - BATCH_NORM_EPSILON as f32],
            ..Operands::default()
        };
        let y = compute(&problem("--bnorm --flags=GCH mb1ic1ih1iw2"), x, &Serial);
        assert_eq!(y[0], 0.5);
        assert!((y[1] - 2.5).abs() < 1e-6);
    }
}
