//! Operations on pixels of 16 channels: scale and shift, statistics, softmax, normalisation, attention.

use super::harness::{Fenced, Width, around, assert_exact, assert_near};
use crate::exec::RowsMut;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::attention::{Scores, Shares, WeightedSum};
use crate::micro::bilinear::{SignedRoots, SumOfSquares};
use crate::micro::lrn::{LrnPixels, scratch_len};
use crate::micro::pointwise::PointwiseRows;
use crate::micro::softmax::SoftmaxPixels;
use crate::micro::statistics::{Method, Moments};

pub(super) const TESTS: &[super::harness::Test] = tests! {
    scale_shift_and_sum
    moments
    softmax
    local_response_normalisation
    attention
    roots_and_squares
};

fn scale_shift_and_sum() {
    for width in Width::all() {
        for pixels in around(4) {
            for (add, stream) in [(false, false), (false, true), (true, false), (true, true)] {
                for floor in [0.0, f32::NEG_INFINITY] {
                    pointwise(width, pixels, add, stream, floor);
                }
            }
        }
    }
}

fn pointwise(width: Width, pixels: usize, add: bool, stream: bool, floor: f32) {
    // Two channel blocks, of which the first row is the second block: three rows.
    let (rows, row) = (3, pixels * CHANNEL_BLOCK);
    let parameters = Fenced::integers(4 * CHANNEL_BLOCK, 1);
    let (parameters, _) = parameters.as_chunks::<CHANNEL_BLOCK>();
    let (scale, shift) = parameters.split_at(2);
    let src = Fenced::integers(rows * row, 2);
    let residual = add.then(|| Fenced::integers(rows * row, 3));
    let mut out = Fenced::poisoned(rows * row);
    width.run(PointwiseRows {
        src: &src,
        residual: residual.as_deref(),
        scale,
        shift,
        block: 1,
        floor,
        stream,
        out: RowsMut::new(&mut out, row),
    });
    let expected: Vec<f32> = (0..rows * row)
        .map(|i| {
            let (block, lane) = ((1 + i / row) % 2, i % CHANNEL_BLOCK);
            let y = src[i] * scale[block][lane] + shift[block][lane];
            (y + residual.as_ref().map_or(0.0, |r| r[i])).max(floor)
        })
        .collect();
    assert_exact(&out, &expected, (width, pixels, add, stream, floor));
}

fn moments() {
    // Independent sums, sequences of an instruction set, and pixels of a stretch.
    let sizes = [around(4), around(8), vec![127, 128, 129, 257]].concat();
    for width in Width::all() {
        for &pixels in &sizes {
            for (images, method) in [
                (1, Method::TwoPass),
                (2, Method::TwoPass),
                (2, Method::Welford),
            ] {
                let (map, stride) = (pixels * CHANNEL_BLOCK, (pixels + 1) * CHANNEL_BLOCK);
                let src = Fenced::integers((images - 1) * stride + map, 1);
                let [mut mean, mut variance] = [f32::NAN; 2].map(|nan| [nan; CHANNEL_BLOCK]);
                width.run(Moments {
                    src: &src,
                    map,
                    stride,
                    images,
                    method,
                    mean: &mut mean,
                    variance: &mut variance,
                });
                let case = (width, pixels, images, method);
                for lane in 0..CHANNEL_BLOCK {
                    let elements: Vec<f64> = (0..images * pixels)
                        .map(|i| src[i / pixels * stride + i % pixels * CHANNEL_BLOCK + lane])
                        .map(f64::from)
                        .collect();
                    let count = elements.len() as f64;
                    let exact = elements.iter().sum::<f64>() / count;
                    let squares = elements.iter().map(|x| (x - exact).powi(2)).sum::<f64>();
                    // Errors are relative to the largest input, 4, and to its square.
                    let bound = 8.0 * 2f64.powi(-23);
                    assert!(
                        (f64::from(mean[lane]) - exact).abs() <= 4.0 * bound,
                        "{case:?}"
                    );
                    let error = f64::from(variance[lane]) - squares / count;
                    assert!(error.abs() <= 16.0 * bound, "{case:?}: {error}");
                }
            }
        }
    }
}

/// Rows of pixels, one for each channel block. Channels beyond the last are NaN.
fn blocks_of(channels: usize, pixels: usize, seed: u64) -> Fenced {
    let mut src = Fenced::uniform(channels.next_multiple_of(CHANNEL_BLOCK) * pixels, seed);
    let row = pixels * CHANNEL_BLOCK;
    for (i, x) in src.iter_mut().enumerate() {
        if i / row * CHANNEL_BLOCK + i % CHANNEL_BLOCK >= channels {
            *x = f32::NAN;
        }
    }
    src
}

/// Expected outputs in rows of pixels, from a pixel's channels. Channels beyond the last are zeros.
fn each_pixel(
    src: &[f32],
    channels: usize,
    pixels: usize,
    f: impl Fn(&[f64]) -> Vec<f64>,
) -> Vec<f64> {
    let place = |c: usize, pixel: usize| {
        c / CHANNEL_BLOCK * pixels * CHANNEL_BLOCK + pixel * CHANNEL_BLOCK + c % CHANNEL_BLOCK
    };
    let mut out = vec![0.0; src.len()];
    for pixel in 0..pixels {
        let x: Vec<f64> = (0..channels)
            .map(|c| f64::from(src[place(c, pixel)]))
            .collect();
        for (c, y) in f(&x).into_iter().enumerate() {
            out[place(c, pixel)] = y;
        }
    }
    out
}

fn softmax_of(x: &[f64]) -> Vec<f64> {
    let sum = x.iter().map(|x| x.exp()).sum::<f64>();
    x.iter().map(|x| x.exp() / sum).collect()
}

fn softmax() {
    for width in Width::all() {
        for channels in around(CHANNEL_BLOCK) {
            for pixels in [1, 2, 3] {
                let mut src = blocks_of(channels, pixels, 1);
                let infinite = |x: &mut f32| *x = if x.is_nan() { 0.0 } else { *x };
                src.iter_mut().for_each(infinite);
                let mut out = Fenced::poisoned(src.len());
                let rows = RowsMut::new(&mut out, pixels * CHANNEL_BLOCK);
                width.run(SoftmaxPixels {
                    src: &src,
                    channels,
                    out: rows,
                });
                let expected = each_pixel(&src, channels, pixels, softmax_of);
                assert_near(&out, &expected, 8.0, (width, channels, pixels));
            }
        }
    }
}

fn local_response_normalisation() {
    for width in Width::all() {
        for channels in around(CHANNEL_BLOCK) {
            // Four pixels are normalised together.
            for pixels in around(4) {
                for (half, quarters) in [(2, 3), (0, 4), (1, 2), (3, 9), (17, 1)] {
                    let (scale, k) = (0.5, 1.0);
                    let src = blocks_of(channels, pixels, 1);
                    let mut out = Fenced::poisoned(src.len());
                    let blocks = channels.div_ceil(CHANNEL_BLOCK);
                    let mut scratch = Fenced::poisoned(scratch_len(blocks, half));
                    width.run(LrnPixels {
                        src: &src,
                        channels,
                        half,
                        scale,
                        k,
                        quarters,
                        scratch: &mut scratch,
                        out: RowsMut::new(&mut out, pixels * CHANNEL_BLOCK),
                    });
                    let expected = each_pixel(&src, channels, pixels, |x| {
                        let normalise = |c: usize| {
                            let window = &x[c.saturating_sub(half)..(c + half + 1).min(x.len())];
                            let squares = window.iter().map(|x| x * x).sum::<f64>();
                            let base = f64::from(k) + f64::from(scale) * squares;
                            x[c] / base.powf(f64::from(quarters) / 4.0)
                        };
                        (0..channels).map(normalise).collect()
                    });
                    assert_near(
                        &out,
                        &expected,
                        16.0,
                        (width, channels, pixels, half, quarters),
                    );
                }
            }
        }
    }
}

fn attention() {
    for width in Width::all() {
        for positions in [around(4), around(CHANNEL_BLOCK)].concat() {
            let case = (width, positions);
            for blocks in [1, 2] {
                let hidden = Fenced::uniform(blocks * positions * CHANNEL_BLOCK, 1);
                let w = Fenced::uniform(blocks * CHANNEL_BLOCK, 2);
                let mut scores = Fenced::poisoned(positions);
                width.run(Scores {
                    hidden: &hidden,
                    w: &w,
                    scores: &mut scores,
                });
                for (position, &score) in scores.iter().enumerate() {
                    let term = |unit: usize| {
                        let (block, lane) = (unit / CHANNEL_BLOCK, unit % CHANNEL_BLOCK);
                        let at = (block * positions + position) * CHANNEL_BLOCK + lane;
                        f64::from(w[unit]) * f64::from(hidden[at]).tanh()
                    };
                    let exact = (0..w.len()).map(term).sum::<f64>();
                    let error = (f64::from(score) - exact).abs();
                    assert!(
                        error <= w.len() as f64 * 2f64.powi(-23),
                        "{case:?}: {error}"
                    );
                }
            }

            let x = Fenced::uniform(positions, 3);
            let mut shares = Fenced::of(&x);
            width.run(Shares {
                scores: &mut shares,
            });
            let x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
            assert_near(&shares, &softmax_of(&x), 8.0, case);

            let map = Fenced::integers(positions * CHANNEL_BLOCK, 4);
            let shares = Fenced::integers(positions, 5);
            let mut out = Fenced::poisoned(CHANNEL_BLOCK);
            width.run(WeightedSum {
                map: &map,
                shares: &shares,
                out: &mut out,
            });
            let sum = |lane: usize| {
                let term = |p: usize| shares[p] * map[p * CHANNEL_BLOCK + lane];
                (0..positions).map(term).sum()
            };
            let expected: Vec<f32> = (0..CHANNEL_BLOCK).map(sum).collect();
            assert_exact(&out, &expected, case);
        }
    }
}

fn roots_and_squares() {
    for width in Width::all() {
        for len in [
            around(width.lanes()),
            around(CHANNEL_BLOCK),
            around(4 * CHANNEL_BLOCK),
        ]
        .concat()
        {
            let x = Fenced::integers(len, 1);
            let sum = width.run(SumOfSquares { y: &x });
            assert_eq!(sum, x.iter().map(|x| x * x).sum(), "{width:?}, {len}");
            let mut roots = Fenced::of(&x);
            width.run(SignedRoots { y: &mut roots });
            let expected: Vec<f32> = x.iter().map(|x| x.abs().sqrt().copysign(*x)).collect();
            assert_exact(&roots, &expected, (width, len));
        }
    }
}
