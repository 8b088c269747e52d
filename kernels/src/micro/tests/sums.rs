//! Panels of weights times one vector, and sums of inputs for Strassen's products.

use super::harness::{Fenced, Width, around, assert_exact};
use crate::blocking::RegisterTile;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::F32;
use crate::micro::matvec::{PanelsTimesVector, SIDE_BY_SIDE};
use crate::micro::strassen::{InputSums, Quarters, SUMS};

pub(super) const TESTS: &[super::harness::Test] = tests! {
    panels_times_a_vector
    sums_of_quarters
};

fn panels_times_a_vector() {
    for width in Width::all() {
        for blocks in 1..RegisterTile::of(width.isa()).blocks + 1 {
            for out_blocks in around(SIDE_BY_SIDE * blocks) {
                for inputs in [4, 16, 20] {
                    for (add, relu) in [(false, true), (true, false)] {
                        matvec(width, blocks, out_blocks, inputs, add, relu);
                    }
                }
            }
        }
    }
}

fn matvec(width: Width, blocks: usize, out_blocks: usize, inputs: usize, add: bool, relu: bool) {
    let outputs = out_blocks * CHANNEL_BLOCK;
    let x = Fenced::integers(inputs, 1);
    let panels = Fenced::integers((inputs + 1) * outputs, 2);
    let residual = add.then(|| Fenced::integers(outputs, 3));
    let mut out = Fenced::poisoned(outputs);
    width.run(PanelsTimesVector {
        x: &x,
        panels: &panels,
        step: (inputs + 1) * blocks * CHANNEL_BLOCK,
        blocks,
        residual: residual.as_deref(),
        relu,
        out: &mut out,
        dot: F32,
    });
    let panel = blocks * CHANNEL_BLOCK;
    let expected: Vec<f32> = (0..outputs)
        .map(|o| {
            let (first, lane) = (o / panel * panel, o % panel);
            // The last panel may be narrower.
            let row = panel.min(outputs - first);
            let weights = &panels[first * (inputs + 1)..];
            let mut y = weights[lane] + residual.as_ref().map_or(0.0, |r| r[o]);
            for (k, x) in x.iter().enumerate() {
                y += x * weights[(k + 1) * row + lane];
            }
            if relu { y.max(0.0) } else { y }
        })
        .collect();
    assert_exact(
        &out,
        &expected,
        (width, blocks, out_blocks, inputs, add, relu),
    );
}

fn sums_of_quarters() {
    for width in Width::all() {
        for pixels in [1, 2, 5] {
            for paired in [pixels, pixels - 1] {
                for (blocks, odd) in [(1, false), (2, true)] {
                    quarters(width, pixels, paired, blocks, odd);
                }
            }
        }
    }
}

fn quarters(width: Width, pixels: usize, paired: usize, blocks: usize, odd: bool) {
    // Partners follow the first pixels, after a gap. Sums are apart, too.
    let apart = (pixels + 1) * CHANNEL_BLOCK;
    let stride = apart + pixels * CHANNEL_BLOCK;
    let all = 2 * blocks + usize::from(odd);
    let end = (pixels * CHANNEL_BLOCK).max(apart + paired * CHANNEL_BLOCK);
    let data = Fenced::integers((all - 1) * stride + end, 1);
    let half = pixels * CHANNEL_BLOCK;
    let sum_len = (blocks + usize::from(odd)) * half;
    let sums_apart = sum_len + CHANNEL_BLOCK;
    let mut out = Fenced::poisoned((SUMS - 1) * sums_apart + sum_len);
    width.run(InputSums {
        quarters: Quarters {
            data: &data,
            block_stride: stride,
            blocks,
            odd,
            pixels,
            paired,
            apart,
        },
        out: &mut out,
        apart: sums_apart,
    });
    let case = (width, pixels, paired, blocks, odd);
    for block in 0..blocks {
        let at = |block: usize, partner: bool, i: usize| match partner {
            true if i >= paired * CHANNEL_BLOCK => 0.0,
            true => data[block * stride + apart + i],
            false => data[block * stride + i],
        };
        let expected: Vec<[f32; SUMS]> = (0..half)
            .map(|i| {
                let [b11, b12] = [false, true].map(|partner| at(block, partner, i));
                let [b21, b22] = [false, true].map(|partner| at(blocks + block, partner, i));
                let t1 = b12 - b11;
                let t2 = b22 - t1;
                [t1, t2, b22 - b12, t2 - b21]
            })
            .collect();
        for t in 0..SUMS {
            let expected: Vec<f32> = expected.iter().map(|sums| sums[t]).collect();
            assert_exact(
                &out[t * sums_apart + block * half..][..half],
                &expected,
                (case, t),
            );
        }
    }
    if odd {
        let from = &data[2 * blocks * stride..];
        let floats = paired * CHANNEL_BLOCK;
        assert_exact(
            &out[blocks * half..][..floats],
            &from[apart..][..floats],
            case,
        );
        let last = &out[(SUMS - 1) * sums_apart + blocks * half..][..half];
        assert_exact(last, &from[..half], case);
    }
}
