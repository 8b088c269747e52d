//! Folds of pooling windows, and means of whole maps.

use super::harness::{Fenced, Width, around, assert_exact, assert_near};
use crate::data::uniform;
use crate::exec::RowsMut;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::draw::DrawPixels;
use crate::micro::fold::Reduce;
use crate::micro::map_means::{ChannelMeans, MapMeans, PlainMeans};
use crate::micro::pool::PoolPixels;
use crate::micro::pool_nchw::{PoolMaps, column_scales, scratch_len};
use crate::micro::windows::Axis;
use crate::window::Window;

pub(super) const TESTS: &[super::harness::Test] = tests! {
    windows_over_channels
    windows_over_plain_maps
    draws_from_windows
    means_of_whole_maps
};

const REDUCTIONS: [Reduce; 6] = [
    Reduce::Max,
    Reduce::Mean,
    Reduce::Powers(2),
    Reduce::Powers(3),
    Reduce::Magnitude,
    Reduce::Expectation,
];

/// Windows along a row: kernel, stride, dilation, padding before and after. The first ones have kernels of their own.
pub(super) const WINDOWS: [[usize; 5]; 7] = [
    [3, 1, 1, 1, 1],
    [3, 2, 1, 1, 0],
    [2, 2, 1, 0, 0],
    [3, 2, 1, 0, 1],
    [4, 3, 1, 1, 2],
    [2, 2, 3, 1, 1],
    [5, 1, 2, 2, 3],
];

/// Images or maps of a task.
const MAPS: usize = 2;

/// A window along each axis, with `out` outputs in a row.
pub(super) fn axes(
    [kernel, stride, dilation, before, after]: [usize; 5],
    out: usize,
) -> Option<[Window; 2]> {
    let span = (kernel - 1) * dilation + 1;
    let axis = |out: usize| {
        let size = ((out - 1) * stride + span).checked_sub(before + after)?;
        let inside = |o: usize| o * stride < size + before && o * stride + span > before;
        (size > 0 && (0..out).all(inside)).then_some(Window {
            size,
            out,
            kernel,
            stride,
            dilation,
            before,
            counted: None,
        })
    };
    let windows = [axis(3)?, axis(out)?];
    // Each window has an element.
    let filled = |w: &Window| (0..w.out).all(|o| !w.inside(o).is_empty());
    windows.iter().all(filled).then_some(windows)
}

/// Reduction of a window's elements.
fn reduced(reduce: Reduce, elements: &[f64]) -> f64 {
    let sum = |f: &dyn Fn(f64) -> f64| elements.iter().map(|&x| f(x)).sum::<f64>();
    let count = elements.len() as f64;
    match reduce {
        Reduce::Max => elements.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Reduce::Magnitude => elements.iter().fold(0.0, |max, x| x.abs().max(max)),
        Reduce::Mean => sum(&|x| x) / count,
        Reduce::Powers(p) => (sum(&|x| x.abs().powi(p as i32)) / count).powf(1.0 / f64::from(p)),
        Reduce::Expectation => {
            let positive = sum(&|x| x.max(0.0));
            let squares = sum(&|x| x.max(0.0).powi(2));
            if positive == 0.0 {
                0.0
            } else {
                squares / positive
            }
        }
    }
}

fn is_divided(reduce: Reduce) -> bool {
    matches!(reduce, Reduce::Mean | Reduce::Powers(_))
}

/// Reduction of all windows of rows from `first` on. `x` gives an input of a map: row, column and channel.
fn expected(
    reduce: Reduce,
    [down, across]: &[Window; 2],
    (first, channels): (usize, usize),
    x: impl Fn([usize; 3]) -> f32,
) -> Vec<f64> {
    let mut all = Vec::new();
    for y in first..down.out {
        for o in 0..across.out {
            for c in 0..channels {
                let mut window = Vec::new();
                for r in down.inside(y) {
                    let row = down.at(y, r);
                    window.extend(
                        across
                            .inside(o)
                            .map(|s| f64::from(x([row, across.at(o, s), c]))),
                    );
                }
                all.push(reduced(reduce, &window));
            }
        }
    }
    all
}

/// Roots and quotients of small integers, and reciprocals that multiply them.
const ULPS: f64 = 4.0;

fn windows_over_channels() {
    for width in Width::all() {
        let lanes = width.lanes();
        let mut channels = around(lanes);
        // Two vectors are folded side by side in a strip, four windows elsewhere.
        channels.extend([CHANNEL_BLOCK, 2 * lanes + 1, 4 * lanes + 1]);
        for shape in WINDOWS {
            for out in around(4) {
                let Some(windows) = axes(shape, out) else {
                    continue;
                };
                for &channels in &channels {
                    for reduce in REDUCTIONS {
                        over_channels(width, reduce, windows, channels);
                    }
                }
            }
        }
    }
}

fn over_channels(width: Width, reduce: Reduce, windows: [Window; 2], channels: usize) {
    let (first, [down, across]) = (1, windows);
    let [vertical, horizontal] = windows.map(|w| Axis::new(w, is_divided(reduce)));
    let map = down.size * across.size * channels;
    let maps = Fenced::integers(MAPS * map, 1);
    let len = (down.out - first) * across.out * channels;
    let mut out = Fenced::poisoned(MAPS * len);
    width.run(PoolPixels {
        maps: &maps,
        channels,
        strip: 3,
        vertical: &vertical,
        horizontal: &horizontal,
        first,
        out: RowsMut::new(&mut out, len),
        reduce,
    });
    for (map, out) in maps.chunks_exact(map).zip(out.chunks_exact(len)) {
        let x = |[y, x, c]: [usize; 3]| map[(y * across.size + x) * channels + c];
        let expected = expected(reduce, &windows, (first, channels), x);
        assert_near(out, &expected, ULPS, (width, reduce, across, channels));
    }
}

fn windows_over_plain_maps() {
    for width in Width::all() {
        for shape in WINDOWS {
            for out in around(width.lanes()) {
                let Some(windows) = axes(shape, out) else {
                    continue;
                };
                for reduce in REDUCTIONS {
                    over_maps(width, reduce, windows);
                }
            }
        }
    }
}

fn over_maps(width: Width, reduce: Reduce, windows: [Window; 2]) {
    let (first, [down, across]) = (1, windows);
    let [vertical, horizontal] = windows.map(|w| Axis::new(w, is_divided(reduce)));
    let map = down.size * across.size;
    let maps = Fenced::integers(MAPS * map, 1);
    let len = (down.out - first) * across.out;
    let mut out = Fenced::poisoned(MAPS * len);
    let scales = Fenced::of(&column_scales(&horizontal));
    let mut scratch = Fenced::poisoned(scratch_len(&across));
    width.run(PoolMaps {
        maps: &maps,
        vertical: &vertical,
        horizontal: &horizontal,
        scales: &scales,
        first,
        out: RowsMut::new(&mut out, len),
        reduce,
        scratch: &mut scratch,
    });
    for (map, out) in maps.chunks_exact(map).zip(out.chunks_exact(len)) {
        let x = |[y, x, _]: [usize; 3]| map[y * across.size + x];
        let expected = expected(reduce, &windows, (first, 1), x);
        assert_near(out, &expected, ULPS, (width, reduce, across));
    }
}

fn draws_from_windows() {
    for width in Width::all() {
        for channels in around(width.lanes()) {
            for (shape, index) in [(WINDOWS[0], false), (WINDOWS[1], true), (WINDOWS[5], true)] {
                let windows = axes(shape, 3).expect("windows");
                let (first, image, seed, [down, across]) = (1, 2, 7, windows);
                let [vertical, horizontal] = windows.map(|w| Axis::new(w, false));
                let map = down.size * across.size * channels;
                let images = Fenced::integers(MAPS * map, 1);
                let len = (down.out - first) * across.out * channels;
                let mut out = Fenced::poisoned(MAPS * len);
                width.run(DrawPixels {
                    images: &images,
                    channels,
                    vertical: &vertical,
                    horizontal: &horizontal,
                    image,
                    first,
                    out: RowsMut::new(&mut out, len),
                    seed,
                    index,
                });
                let expected: Vec<f32> = (0..MAPS * len)
                    .map(|i| {
                        let (m, c, pixel) = (i / len, i % channels, i % len / channels);
                        let (y, x) = (first + pixel / across.out, pixel % across.out);
                        // NCHW index of the output.
                        let plane = (image + m) * channels + c;
                        let output = (plane * down.out + y) * across.out + x;
                        let elements = down.inside(y).flat_map(|r| {
                            let row = down.at(y, r) * across.size;
                            across.inside(x).map(move |s| row + across.at(x, s))
                        });
                        let elements: Vec<usize> = elements.collect();
                        let activation = |at: usize| images[m * map + at * channels + c].max(0.0);
                        let total: f32 = elements.iter().map(|&at| activation(at)).sum();
                        let threshold = uniform(seed, output as u64) * total;
                        let (mut before, mut drawn) = (0.0, (elements[0], 0.0));
                        for at in elements {
                            if activation(at) > 0.0 && before <= threshold {
                                drawn = (at, activation(at));
                            }
                            before += activation(at);
                        }
                        if index { drawn.0 as f32 } else { drawn.1 }
                    })
                    .collect();
                assert_exact(&out, &expected, (width, channels, index));
            }
        }
    }
}

/// Means of integers are rounded once, or twice if the sum is multiplied by a reciprocal.
fn mean(elements: impl ExactSizeIterator<Item = f32>) -> f64 {
    let count = elements.len() as f64;
    elements.map(f64::from).sum::<f64>() / count
}

fn means_of_whole_maps() {
    for width in Width::all() {
        for pixels in around(4) {
            let maps = Fenced::integers(MAPS * pixels * CHANNEL_BLOCK, 1);
            let mut out = Fenced::poisoned(MAPS * CHANNEL_BLOCK);
            width.run(MapMeans {
                maps: &maps,
                out: &mut out,
            });
            let expected: Vec<f64> = (0..out.len())
                .map(|i| {
                    let (map, lane) = (i / CHANNEL_BLOCK, i % CHANNEL_BLOCK);
                    mean((0..pixels).map(|p| maps[(map * pixels + p) * CHANNEL_BLOCK + lane]))
                })
                .collect();
            assert_near(&out, &expected, 1.0, (width, pixels));
        }
        for pixels in around(2 * width.lanes()) {
            let maps = Fenced::integers(MAPS * pixels, 2);
            let mut out = Fenced::poisoned(MAPS);
            width.run(PlainMeans {
                maps: &maps,
                out: &mut out,
            });
            let expected: Vec<f64> = maps
                .chunks_exact(pixels)
                .map(|map| mean(map.iter().copied()))
                .collect();
            assert_near(&out, &expected, 1.0, (width, pixels));
        }
        let lanes = width.lanes();
        for count in [around(lanes), around(8 * lanes)].concat() {
            let (pixels, first, channels) = (5, 2, count + 3);
            // The image ends with the last channel of the last pixel.
            let image = Fenced::integers(pixels * channels, 3);
            let mut out = Fenced::poisoned(count);
            width.run(ChannelMeans {
                image: &image,
                channels,
                first,
                out: &mut out,
            });
            let expected: Vec<f64> = (first..first + count)
                .map(|c| mean((0..pixels).map(|p| image[p * channels + c])))
                .collect();
            assert_near(&out, &expected, 1.0, (width, count));
        }
    }
}
