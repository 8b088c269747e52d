//! Convolution with small groups, of f32 and of words of several columns, and the copies that make such words.

use super::dot::{dot, source};
use super::harness::{Fenced, Width, around, assert_exact};
use crate::data::Rng;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::columns::{Columns, CopyRows};
use crate::micro::gemm::{Bf16s, Bytes, Dot, F32};
use crate::micro::grouped::{GroupedRows, TILE_PIXELS, channels};
use crate::window::Window;

pub(super) const TESTS: &[super::harness::Test] = tests! {
    tiles_of_grouped_rows
    rows_of_bytes
    rows_of_bf16
    rows_of_channels_are_copied_as_words_of_columns
};

/// Sizes along an axis: filter, stride, dilation, padding before and after.
type Axis = [usize; 5];

/// Window with `out` outputs.
fn window([kernel, stride, dilation, before, after]: Axis, out: usize) -> Option<Window> {
    let reach = (out - 1) * stride + (kernel - 1) * dilation + 1;
    let size = reach.checked_sub(before + after).filter(|&size| size > 0)?;
    Some(Window {
        size,
        out,
        kernel,
        stride,
        dilation,
        before,
        counted: None,
    })
}

fn tiles_of_grouped_rows() {
    let axes = [
        [1, 1, 1, 0, 0],
        [3, 1, 1, 1, 1],
        [3, 1, 1, 0, 2],
        [3, 2, 1, 1, 0],
        [5, 1, 1, 2, 2],
        [7, 2, 1, 3, 3],
        [3, 3, 1, 2, 1],
        [3, 1, 2, 3, 2],
    ];
    for width in Width::all() {
        for axis in axes {
            for out in around(TILE_PIXELS) {
                for per in [1, 2, 4, 8] {
                    if let Some(across) = window(axis, out) {
                        rows(width, across, per, [out % 2 == 0, out % 3 == 0]);
                    }
                }
            }
        }
    }
}

fn rows(width: Width, across: Window, per: usize, [add, relu]: [bool; 2]) {
    let down = window([2, 1, 1, 1, 0], 3).expect("rows");
    let (first, count) = (1, 2);
    let taps = down.kernel * across.kernel;
    let map = Fenced::integers(down.size * across.size * CHANNEL_BLOCK, 1);
    let weights = Fenced::integers(CHANNEL_BLOCK * per * taps, 2);
    let bias = Fenced::integers(CHANNEL_BLOCK, 3);
    let len = count * across.out * CHANNEL_BLOCK;
    let residual = add.then(|| Fenced::integers(len, 4));

    // The weight of an output channel for an input channel of its group, and a tap.
    let weight = |out: usize, c: usize, tap: usize| weights[(out * per + c) * taps + tap];
    let mut packed = Fenced::poisoned((1 + per * taps) * CHANNEL_BLOCK);
    packed[..CHANNEL_BLOCK].copy_from_slice(&bias);
    for pass in 0..per {
        for tap in 0..taps {
            for lane in 0..CHANNEL_BLOCK {
                let (o, c) = channels(width.lanes(), per, lane, pass);
                let row = 1 + pass * taps + tap;
                packed[row * CHANNEL_BLOCK + lane] = weight(lane / per * per + o, c, tap);
            }
        }
    }

    let mut out = Fenced::poisoned(len);
    width.run(GroupedRows {
        map: &map,
        vertical: down,
        horizontal: across,
        per_group: per,
        packed: &packed,
        first,
        out: &mut out,
        residual: residual.as_deref(),
        relu,
        dot: F32,
    });
    let expected: Vec<f32> = (0..len)
        .map(|i| {
            let (pixel, lane) = (i / CHANNEL_BLOCK, i % CHANNEL_BLOCK);
            let (y, x) = (first + pixel / across.out, pixel % across.out);
            let mut sum = bias[lane] + residual.as_ref().map_or(0.0, |r| r[i]);
            for r in down.inside(y) {
                for s in across.inside(x) {
                    let input = (down.at(y, r) * across.size + across.at(x, s)) * CHANNEL_BLOCK;
                    for c in 0..per {
                        let x = map[input + lane / per * per + c];
                        sum += x * weight(lane, c, r * across.kernel + s);
                    }
                }
            }
            if relu { sum.max(0.0) } else { sum }
        })
        .collect();
    assert_exact(&out, &expected, (width, across, per, add, relu));
}

/// Rows of words, whose padding is in the map.
fn words<D: Dot>(dot_of: D) {
    let axes = [
        [1, 1, 1, 0, 0],
        [1, 2, 1, 0, 0],
        [2, 1, 4, 0, 0],
        [3, 2, 4, 0, 0],
    ];
    for width in Width::of(D::SETS) {
        for axis in axes {
            for out in around(TILE_PIXELS) {
                for per in [1, 2, 4, 8] {
                    let across = window(axis, out).expect("no padding");
                    rows_of_words(width, dot_of, across, per);
                }
            }
        }
    }
}

fn rows_of_words<D: Dot>(width: Width, dot_of: D, across: Window, per: usize) {
    let mut rng = Rng::new(5);
    let mut fenced = |len: usize| {
        let word = |_| f32::from_bits(source(D::WORDS, &mut rng));
        Fenced::of(&(0..len).map(word).collect::<Vec<f32>>())
    };
    let down = window([2, 2, 1, 0, 0], 3).expect("rows");
    let (first, count) = (1, 2);
    let taps = down.kernel * across.kernel;
    let map = fenced(down.size * across.size * CHANNEL_BLOCK);
    let weights = fenced(CHANNEL_BLOCK * per * taps);
    let head = f32::from_bits(if D::FLOATS { 3f32.to_bits() } else { 77 });

    let weight = |out: usize, c: usize, tap: usize| weights[(out * per + c) * taps + tap];
    let mut packed = Fenced::poisoned((1 + per * taps) * CHANNEL_BLOCK);
    packed[..CHANNEL_BLOCK].fill(head);
    for pass in 0..per {
        for tap in 0..taps {
            for lane in 0..CHANNEL_BLOCK {
                let (o, c) = channels(width.lanes(), per, lane, pass);
                let row = 1 + pass * taps + tap;
                packed[row * CHANNEL_BLOCK + lane] = weight(lane / per * per + o, c, tap);
            }
        }
    }

    let mut out = Fenced::poisoned(count * across.out * CHANNEL_BLOCK);
    width.run(GroupedRows {
        map: &map,
        vertical: down,
        horizontal: across,
        per_group: per,
        packed: &packed,
        first,
        out: &mut out,
        residual: None,
        relu: false,
        dot: dot_of,
    });
    let signed = width.isa().signed_sources();
    for (i, found) in out.iter().enumerate() {
        let (pixel, lane) = (i / CHANNEL_BLOCK, i % CHANNEL_BLOCK);
        let (y, x) = (first + pixel / across.out, pixel % across.out);
        let mut sum = head.to_bits();
        for tap in 0..taps {
            let (r, s) = (tap / across.kernel, tap % across.kernel);
            let input = (down.at(y, r) * across.size + across.at(x, s)) * CHANNEL_BLOCK;
            for c in 0..per {
                let x = map[input + lane / per * per + c].to_bits();
                sum = dot(D::WORDS, signed, sum, x, weight(lane, c, tap).to_bits());
            }
        }
        let case = (width, dot_of, across, per);
        assert_eq!(found.to_bits(), sum, "{case:?}: output {i}");
    }
}

fn rows_of_bytes() {
    words(Bytes);
}

fn rows_of_bf16() {
    words(Bf16s);
}

/// An image, and where a copy begins in it.
struct Image {
    bytes: Vec<u8>,
    /// Rows, columns and channels.
    size: [usize; 3],
    /// Rows of padding above, and columns of padding to the left.
    before: [usize; 2],
}

impl Image {
    /// An element's bits at its place in a word. `y` and `x` count from the padding.
    fn element(&self, columns: Columns, y: usize, x: usize, channel: usize) -> u32 {
        let [height, width, channels] = self.size;
        let (y, x) = (
            y.wrapping_sub(self.before[0]),
            x.wrapping_sub(self.before[1]),
        );
        let at = (y < height && x < width).then(|| (y * width + x) * channels + channel);
        let byte = at.map(|at| self.bytes[at]);
        // An image of bytes has none at this place.
        let half = at.and_then(|at| self.bytes.get(2 * at..)?.first_chunk().copied());
        let half = half.map_or(0, u16::from_ne_bytes);
        match columns {
            Columns::F32 => u32::from(half) << 16,
            Columns::F32OfU8 { zero } => {
                let x = f32::from(byte.unwrap_or(zero));
                (x - f32::from(zero)).to_bits()
            }
            Columns::F32OfS8 { zero } => {
                let x = f32::from(byte.map_or(zero, |x| x as i8));
                (x - f32::from(zero)).to_bits()
            }
            Columns::Bf16s => half.into(),
            Columns::Bytes { zero, flipped } => {
                let flip = if flipped { 0x80 } else { 0 };
                u32::from(byte.unwrap_or(zero) ^ flip)
            }
        }
    }
}

fn rows_of_channels_are_copied_as_words_of_columns() {
    let mut rng = Rng::new(6);
    let bytes = |zero, flipped| Columns::Bytes { zero, flipped };
    let forms = [
        (Columns::F32, 1, 2),
        (Columns::F32OfU8 { zero: 255 }, 1, 1),
        (Columns::F32OfS8 { zero: -7 }, 1, 1),
        (Columns::Bf16s, 2, 2),
        (bytes(200, false), 4, 1),
        (bytes(0x80, true), 4, 1),
    ];
    for isa in Width::all() {
        for size in [[1, 1, 1], [3, 5, 16], [4, 7, 21], [2, 9, 40]] {
            for (columns, group, bytes) in forms {
                let [height, across, channels] = size;
                let len = bytes * height * across * channels;
                let image = Image {
                    bytes: (0..len).map(|_| rng.bits() as u8).collect(),
                    size,
                    before: [rng.below(3), rng.below(4)],
                };
                let (first, rows, width) = (rng.below(3), 4, 1 + rng.below(12));
                for block in (0..channels).step_by(CHANNEL_BLOCK) {
                    let mut to = Fenced::poisoned(rows * width * CHANNEL_BLOCK);
                    isa.run(CopyRows {
                        columns,
                        image: &image.bytes,
                        size: [height, across],
                        pixel: bytes * channels,
                        block: bytes * block,
                        before: image.before,
                        first,
                        width,
                        to: &mut to,
                    });
                    for (i, word) in to.iter().enumerate() {
                        let (pixel, channel) = (i / CHANNEL_BLOCK, block + i % CHANNEL_BLOCK);
                        if channel >= channels {
                            continue;
                        }
                        let (y, x) = (first + pixel / width, pixel % width);
                        let wanted = (0..group).fold(0, |word, k| {
                            word | image.element(columns, y, x + k, channel) << (k * 32 / group)
                        });
                        let case = (isa, columns, size, image.before, first, width);
                        assert_eq!(word.to_bits(), wanted, "{case:?}: word {i}");
                    }
                }
            }
        }
    }
}
