//! Winograd's transforms of narrow elements on NHWC. They are compared with their matrices: exactly for integers, in f64
//! for bf16.

use super::harness::{Fenced, Width};
use crate::data::Rng;
use crate::dtype::Bf16;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::cook_toom::{F2x3, F4x3, Matrices, Scheme};
use crate::micro::winograd_nhwc::{ByScheme, InputTransform, OutputTransform, Samples, TileRows};
use crate::problem::{ConvShape, ConvSpec, Pad};
use std::marker::PhantomData;

pub(super) const TESTS: &[super::harness::Test] = tests! {
    bytes_are_transformed_exactly
    bf16s_are_transformed_in_f32
    products_are_transformed_back
};

/// Largest error of two transforms, relative to the sum of magnitudes of the terms: each transform rounds less than ten
/// times.
const BOUND: f64 = 20.0 * f32::EPSILON as f64;

/// Largest error of rounding to bf16, relative to the result.
const ROUNDING: f64 = 1.0 / 256.0;

/// A matrix in f64.
fn f64s<const R: usize, const C: usize>(
    matrix: &[[crate::micro::surd::Surd; C]; R],
) -> [[f64; C]; R] {
    matrix.map(|row| row.map(|x| x.to_f64()))
}

/// Words of a row of `elements` elements, `group` a word.
fn row(elements: usize, group: usize) -> usize {
    elements.div_ceil(group).next_multiple_of(CHANNEL_BLOCK)
}

/// Transforms rows of tiles of an image with broken vectors of channels, and tiles that reach into the padding.
fn inputs<W: Scheme<M, T, T>, const M: usize, const T: usize>(width: Width, samples: Samples) {
    let size = match samples {
        Samples::Bytes { .. } => 1,
        Samples::Bf16 { .. } => 2,
    };
    let group = match samples {
        Samples::Bf16 { rounded: false } => 1,
        _ => 2,
    };
    for (c_in, pad) in [
        (1, [0, 0]),
        (7, [1, 1]),
        (16, [1, 0]),
        (33, [2, 1]),
        (64, [0, 1]),
    ] {
        let [top, left] = pad;
        let conv = ConvShape::try_from(ConvSpec {
            n: 1,
            c_in,
            h: 2 * M + 1,
            w: M + 3,
            c_out: 1,
            kernel: [3, 3],
            stride: [1, 1],
            pad: Pad {
                top,
                left,
                bottom: 1,
                right: 0,
            },
            dilation: [1, 1],
            groups: 1,
            flip: false,
        })
        .expect("a convolution");
        let mut rng = Rng::new(6);
        let image: Vec<u8> = match samples {
            Samples::Bytes { .. } => {
                let byte = |_| match rng.below(3) {
                    0 => rng.pick(&[0, 127, 128, 255]),
                    _ => rng.bits() as u8,
                };
                (0..conv.h * conv.w * c_in).map(byte).collect()
            }
            Samples::Bf16 { .. } => {
                let half = |_| Bf16::from_f32(rng.below(2001) as f32 / 1000.0 - 1.0);
                let halves = (0..conv.h * conv.w * c_in).map(half);
                halves.flat_map(|x| x.to_bits().to_ne_bytes()).collect()
            }
        };
        // Value of an element: less the zero point, or 0 outside of the image.
        let value = |y: isize, x: isize, channel: usize| {
            let inside = |at: isize, end: usize| (0..end as isize).contains(&at);
            if !inside(y, conv.h) || !inside(x, conv.w) {
                return 0.0;
            }
            let at = ((y as usize * conv.w + x as usize) * c_in + channel) * size;
            match samples {
                Samples::Bytes { signed, zero } => {
                    let byte = image[at];
                    let x = if signed {
                        i16::from(byte as i8)
                    } else {
                        i16::from(byte)
                    };
                    f64::from(x - zero)
                }
                Samples::Bf16 { .. } => {
                    let bits = u16::from_ne_bytes([image[at], image[at + 1]]);
                    f64::from(Bf16::from_bits(bits).to_f32())
                }
            }
        };
        let (tile_rows, cols) = (1..conv.h_out().div_ceil(M), conv.w_out().div_ceil(M));
        let tiles = tile_rows.len() * cols;
        let layout = TileRows {
            tiles,
            row: row(c_in, group),
        };
        let mut out = Fenced::poisoned(layout.before(T * T));
        let task = InputTransform {
            conv: &conv,
            image: &image,
            samples,
            rows: tile_rows.clone(),
            out: &mut out,
            layout,
        };
        width.run(ByScheme::<_, W, M, T>(task, PhantomData));
        let b = f64s(&W::MATRICES.b);
        for (tile, point, channel) in (0..tiles)
            .flat_map(|t| (0..T * T).map(move |p| (t, p)))
            .flat_map(|(t, p)| (0..c_in.next_multiple_of(group)).map(move |c| (t, p, c)))
        {
            let first = [
                ((tile_rows.start + tile / cols) * M) as isize - top as isize,
                (tile % cols * M) as isize - left as isize,
            ];
            let [r, c] = [point / T, point % T];
            let term = |i: usize, j: usize| {
                let sample = value(first[0] + i as isize, first[1] + j as isize, channel);
                b[r][i] * sample * b[c][j]
            };
            let terms = (0..T * T).map(|i| term(i / T, i % T));
            let case = (width, samples, c_in, tile, point, channel);
            let lane = layout.before(point) + tile * layout.row + channel / group;
            let half = (out[lane].to_bits() >> (channel % group * 16)) as u16;
            if channel >= c_in {
                // A word's second channel is multiplied with a zero, so it mustn't be a NaN.
                let padding = Bf16::from_bits(half).to_f32();
                let is_bf16 = matches!(samples, Samples::Bf16 { .. });
                assert!(!is_bf16 || padding == 0.0 || width.lanes() == 1, "{case:?}");
                continue;
            }
            match samples {
                Samples::Bytes { .. } => {
                    let sum: f64 = terms.sum();
                    assert_eq!(f64::from(half as i16), sum, "{case:?}");
                }
                Samples::Bf16 { rounded: false } => near(out[lane], terms, 0.0, case),
                Samples::Bf16 { rounded: true } => {
                    near(Bf16::from_bits(half).to_f32(), terms, ROUNDING, case);
                }
            }
        }
    }
}

/// Compares with a sum in f64. `rounding` is the error of a last rounding, relative to the sum.
#[track_caller]
fn near(y: f32, terms: impl Iterator<Item = f64>, rounding: f64, case: impl std::fmt::Debug) {
    let (mut sum, mut magnitudes) = (0.0f64, 0.0);
    for term in terms {
        sum += term;
        magnitudes += term.abs();
    }
    let error = (f64::from(y) - sum).abs();
    let bound = 2.0 * BOUND * magnitudes + rounding * sum.abs();
    assert!(error <= bound, "{case:?}: {y} for {sum}");
}

/// Transforms the second row of tiles, whose last tile is clipped, in some of the channels.
fn outputs<W: Scheme<M, T, T>, const M: usize, const T: usize>(width: Width, integers: bool) {
    let (cols, w_out, channels) = (3, 2 * M + 1, CHANNEL_BLOCK);
    let layout = TileRows {
        tiles: 2 * cols,
        row: 2 * CHANNEL_BLOCK,
    };
    let mut rng = Rng::new(7);
    let product = |_| match integers {
        true => f32::from_bits(rng.bits() as u32),
        false => rng.below(2001) as f32 / 1000.0 - 1.0,
    };
    let products: Vec<f32> = (0..layout.before(T * T)).map(product).collect();
    let products = Fenced::of(&products);
    let Matrices { a, .. } = W::MATRICES;
    let a = f64s(&a);
    for height in [M, 1] {
        let mut sums = Fenced::poisoned(height * w_out * layout.row);
        let before = sums.to_vec();
        let task = OutputTransform {
            products: &products,
            layout,
            integers,
            first: cols,
            channels,
            size: [height, w_out],
            sums: &mut sums,
        };
        width.run(ByScheme::<_, W, M, T>(task, PhantomData));
        for (i, (y, before)) in sums.iter().zip(&before).enumerate() {
            let (pixel, lane) = (i / layout.row, i % layout.row);
            let case = (width, M, integers, height, pixel, lane);
            if lane >= channels {
                assert_eq!(y.to_bits(), before.to_bits(), "{case:?}: written");
                continue;
            }
            let (row, x) = (pixel / w_out, pixel % w_out);
            let weight = |p: usize| a[row][p / T] * a[x % M][p % T];
            let product =
                |p: usize| products[layout.before(p) + (cols + x / M) * layout.row + lane];
            if integers {
                let sum = (0..T * T).fold(0i32, |sum, p| {
                    let product = product(p).to_bits().cast_signed();
                    sum.wrapping_add(product.wrapping_mul(weight(p) as i32))
                });
                assert_eq!(y.to_bits().cast_signed(), sum >> 2, "{case:?}");
            } else {
                let terms = (0..T * T).map(|p| weight(p) * f64::from(product(p)));
                near(*y, terms, 0.0, case);
            }
        }
    }
}

fn bytes_are_transformed_exactly() {
    for width in Width::all() {
        for (signed, zero) in [(false, 0), (false, 255), (true, -128), (true, 127)] {
            inputs::<F2x3, 2, 4>(width, Samples::Bytes { signed, zero });
        }
    }
}

fn bf16s_are_transformed_in_f32() {
    for width in Width::all() {
        for rounded in [false, true] {
            inputs::<F2x3, 2, 4>(width, Samples::Bf16 { rounded });
            inputs::<F4x3, 4, 6>(width, Samples::Bf16 { rounded });
        }
    }
}

fn products_are_transformed_back() {
    for width in Width::all() {
        outputs::<F2x3, 2, 4>(width, true);
        outputs::<F2x3, 2, 4>(width, false);
        outputs::<F4x3, 4, 6>(width, false);
    }
}
