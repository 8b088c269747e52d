//! The register tile and its packing.

use super::harness::{Fenced, Width, around, assert_exact};
use crate::blocking::RegisterTile;
use crate::exec::RowsMut;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::{F32, PanelTimesPixels, Prefetch, Source, TileEpilogue};
use crate::micro::outputs::{Blocked, OutputLayout, Outputs};
use crate::micro::pack::Panels;
use crate::micro::pixels::{BlockedPixels, Pixels, StridedPixels};
use crate::plan::Params;
use crate::problem::{ConvShape, ConvSpec, Pad};
use crate::tensor::{CacheLine, Layout, TensorDesc, TensorRef, as_f32s};
use std::fmt::Debug;
use std::ops::Range;

pub(super) const TESTS: &[super::harness::Test] = tests! {
    tiles_of_blocked_pixels
    tiles_of_rows_of_a_matrix
    panels
};

/// Ranges of input channels: less than a step of four channels, around a channel block, and beyond the most channels
/// that are read from one address. Some begin inside a block.
const CHANNELS: [Range<usize>; 8] = [0..1, 0..4, 3..8, 0..16, 2..17, 5..33, 0..64, 1..67];

/// Parts of an epilogue: bias for each pixel, residual, ReLU.
const EPILOGUES: [[bool; 3]; 4] = [
    [false, false, false],
    [false, true, true],
    [true, false, true],
    [true, true, false],
];

/// Operands of one product.
struct Product {
    channels: Range<usize>,
    blocks: usize,
    panel: Fenced,
    bias: Option<Fenced>,
    relu: bool,
}

impl Product {
    fn new(
        channels: &Range<usize>,
        blocks: usize,
        pixels: usize,
        [bias, _, relu]: [bool; 3],
    ) -> Self {
        Product {
            channels: channels.clone(),
            blocks,
            panel: Fenced::integers((channels.len() + 1) * blocks * CHANNEL_BLOCK, 1),
            bias: bias.then(|| Fenced::integers(pixels, 2)),
            relu,
        }
    }

    fn epilogue<'a>(&'a self, residual: Option<&'a Fenced>) -> TileEpilogue<'a> {
        TileEpilogue {
            pixel_bias: self.bias.as_deref(),
            residual: residual.map(|r| &r[..]),
            relu: self.relu,
        }
    }

    /// An output. `x` gives an input channel.
    fn output(&self, pixel: usize, lane: usize, x: impl Fn(usize) -> f32, residual: f32) -> f32 {
        let row = self.blocks * CHANNEL_BLOCK;
        let mut y = self.bias.as_ref().map_or(self.panel[lane], |b| b[pixel]);
        for (k, c) in self.channels.clone().enumerate() {
            y += x(c) * self.panel[(k + 1) * row + lane];
        }
        y += residual;
        if self.relu { y.max(0.0) } else { y }
    }
}

/// Blocks of output channels that the tile of a width takes.
fn blocks(width: Width) -> Range<usize> {
    1..RegisterTile::of(width.isa()).blocks + 1
}

fn tiles_of_blocked_pixels() {
    for width in Width::all() {
        for pixels in around(RegisterTile::of(width.isa()).pixels) {
            for (channels, epilogue) in CHANNELS.iter().flat_map(|c| EPILOGUES.map(|e| (c, e))) {
                for blocks in blocks(width) {
                    let product = Product::new(channels, blocks, pixels, epilogue);
                    let strided = StridedPixels {
                        pixels,
                        step: CHANNEL_BLOCK,
                    };
                    blocked(width, BlockedPixels { pixels }, &product, epilogue);
                    blocked(width, strided, &product, epilogue);
                }
            }
        }
    }
}

/// A product of pixels whose channels are blocked, with blocked outputs.
fn blocked<I: Pixels + Debug>(width: Width, of: I, product: &Product, parts: [bool; 3])
where
    Blocked: OutputLayout<I::Place>,
{
    let (pixels, channels, blocks) = (of.pixels(), &product.channels, product.blocks);
    // The input ends with the last channel of the last pixel, and channel blocks are some pixels apart.
    let stride = (pixels + 2) * CHANNEL_BLOCK;
    let place = |pixel: usize, c: usize| {
        c / CHANNEL_BLOCK * stride + pixel * CHANNEL_BLOCK + c % CHANNEL_BLOCK
    };
    let src = Fenced::integers(place(pixels - 1, channels.end - 1) + 1, 3);
    let (row, out_stride) = (pixels * CHANNEL_BLOCK, (pixels + 1) * CHANNEL_BLOCK);
    let extent = (blocks - 1) * out_stride + row;
    let residual = parts[1].then(|| Fenced::integers(extent, 4));
    let mut out = Fenced::poisoned(blocks * out_stride);
    let mut rows = RowsMut::new(&mut out, out_stride);
    let mut rows = rows.part(0..blocks, 0..row);
    width.run(PanelTimesPixels {
        src: Source {
            data: &src,
            block: CHANNEL_BLOCK,
            block_stride: stride,
        },
        pixels: of,
        channels: channels.clone(),
        panel: &product.panel,
        epilogue: product.epilogue(residual.as_ref()),
        prefetch: Prefetch::Nothing,
        out: Blocked::outputs(&mut rows, 0..blocks).0,
        dot: F32,
    });
    let case = (width, of, channels, blocks, parts);
    for block in 0..blocks {
        let (row, beyond) = out[block * out_stride..][..out_stride].split_at(row);
        let expected: Vec<f32> = (0..row.len())
            .map(|i| {
                let (pixel, lane) = (i / CHANNEL_BLOCK, block * CHANNEL_BLOCK + i % CHANNEL_BLOCK);
                let residual = residual.as_ref().map_or(0.0, |r| r[block * out_stride + i]);
                product.output(pixel, lane, |c| src[place(pixel, c)], residual)
            })
            .collect();
        assert_exact(row, &expected, case);
        assert!(
            beyond.iter().all(|y| y.is_nan()),
            "{case:?}: written between the rows"
        );
    }
}

fn tiles_of_rows_of_a_matrix() {
    for width in Width::all() {
        let tile = RegisterTile::of(width.isa());
        for pixels in around(tile.pixels) {
            for channels in CHANNELS {
                for outputs in around(CHANNEL_BLOCK) {
                    if outputs <= tile.blocks * CHANNEL_BLOCK {
                        let parts = EPILOGUES[(pixels + outputs) % EPILOGUES.len()];
                        matrix(width, pixels, &channels, outputs, parts);
                    }
                }
            }
        }
    }
}

fn matrix(width: Width, pixels: usize, channels: &Range<usize>, outputs: usize, parts: [bool; 3]) {
    let product = Product::new(channels, outputs.div_ceil(CHANNEL_BLOCK), pixels, parts);
    let (step, stride) = (channels.end + 3, outputs + 2);
    let src = Fenced::integers((pixels - 1) * step + channels.end, 3);
    let residual = parts[1].then(|| Fenced::integers((pixels - 1) * stride + outputs, 4));
    let mut out = Fenced::poisoned(pixels * stride);
    width.run(PanelTimesPixels {
        src: Source {
            data: &src,
            block: channels.end,
            block_stride: channels.end,
        },
        pixels: StridedPixels { pixels, step },
        channels: channels.clone(),
        panel: &product.panel,
        epilogue: product.epilogue(residual.as_ref()),
        prefetch: Prefetch::Nothing,
        out: Outputs::matrix(RowsMut::new(&mut out, stride).part(0..pixels, 0..outputs)),
        dot: F32,
    });
    let case = (width, pixels, channels, outputs, parts);
    for pixel in 0..pixels {
        let (row, beyond) = out[pixel * stride..][..stride].split_at(outputs);
        let expected: Vec<f32> = (0..outputs)
            .map(|lane| {
                let residual = residual.as_ref().map_or(0.0, |r| r[pixel * stride + lane]);
                product.output(pixel, lane, |c| src[pixel * step + c], residual)
            })
            .collect();
        assert_exact(row, &expected, case);
        assert!(
            beyond.iter().all(|y| y.is_nan()),
            "{case:?}: written between the rows"
        );
    }
}

/// Weights and bias have their places in the panels, and all other places are zeros.
fn panels() {
    for (c_in, c_out, groups) in [
        (1, 1, 1),
        (3, 15, 1),
        (5, 16, 1),
        (4, 17, 1),
        (2, 33, 1),
        (6, 34, 2),
        (21, 21, 21),
    ] {
        for (blocks, bias) in [(1, true), (2, true), (2, false)] {
            packed(c_in, c_out, groups, blocks, bias);
        }
    }
}

fn packed(c_in: usize, c_out: usize, groups: usize, blocks: usize, bias: bool) {
    let [kh, kw] = [2, 3];
    let conv = ConvShape::try_from(ConvSpec {
        n: 1,
        c_in,
        h: 4,
        w: 4,
        c_out,
        kernel: [kh, kw],
        stride: [1, 1],
        pad: Pad::default(),
        dilation: [1, 1],
        groups,
        flip: false,
    });
    let (conv, taps) = (conv.expect("a convolution"), kh * kw);
    let panels = Panels::new(&conv, RegisterTile { pixels: 1, blocks });
    let (per_in, per_out) = (c_in / groups, c_out / groups);
    let weights = Fenced::integers(c_out * per_in * taps, 1);
    let biases = Fenced::integers(c_out, 2);
    let plain = |dims, data| TensorRef::from_f32s(TensorDesc::f32(Layout::Nchw, dims), data);
    let params = Params {
        weights: Some(plain([c_out, per_in, kh, kw], &weights)),
        bias: bias.then(|| plain([1, c_out, 1, 1], &biases)),
    };
    let mut packed = vec![CacheLine::ZERO; panels.lines()];
    crate::tensor::as_f32s_mut(&mut packed).fill(f32::NAN);
    panels.pack(&conv, params, &mut packed);
    let mut covered = 0;
    for panel in panels.all() {
        let floats = &as_f32s(&packed)[panel.floats.clone()];
        let width = panel.blocks * CHANNEL_BLOCK;
        assert_eq!(floats.len(), (taps * panel.channels.len() + 1) * width);
        covered += floats.len();
        for (i, &float) in floats.iter().enumerate() {
            let (row, out) = (i / width, panel.block * CHANNEL_BLOCK + i % width);
            let expected = match row.checked_sub(1) {
                _ if out >= c_out => 0.0,
                None if bias => biases[out],
                None => 0.0,
                Some(row) => {
                    let tap = row / panel.channels.len();
                    let c = panel.channels.start + row % panel.channels.len();
                    if c / per_in == out / per_out {
                        weights[(out * per_in + c % per_in) * taps + tap]
                    } else {
                        0.0
                    }
                }
            };
            assert_eq!(float, expected, "{conv:?} {panel:?}: float {i}");
        }
    }
    assert_eq!(CacheLine::for_f32s(covered), panels.lines());
}
