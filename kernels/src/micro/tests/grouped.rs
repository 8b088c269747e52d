//! Convolution with small groups.

use super::{Fenced, Width, around, assert_exact};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::grouped::{GroupedRows, TILE_PIXELS, channels};
use crate::window::Window;

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

#[test]
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
