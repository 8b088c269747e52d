//! One task of Strassen's algorithm: the seven products of each pair of panels.

use super::super::panels::PanelLoop;
use super::weights::{PairWeights, Product};
use crate::exec::RowsMut;
use crate::isa::IsaToken;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::{F32, PanelTimesPixels, Prefetch, Source, TileEpilogue};
use crate::micro::outputs::{Blocked, Outputs, Sums};
use crate::micro::pack::Panel;
use crate::micro::pixels::BlockedPixels;
use crate::micro::strassen::Quarters;
use std::ops::Range;

/// Sums kept in scratch: P1 (later P5), U2, U3.
pub(super) const KEPT_SUMS: usize = 3;

/// Packed weights.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    /// Weights of the pairs.
    pub(super) pairs: &'a [f32],
    /// Panels without a partner.
    pub(super) unpaired: &'a [Panel],
    /// Weights of these panels.
    pub(super) rest: &'a [f32],
}

/// Some pixels and their partners.
pub(super) struct Task<'a> {
    pub(super) isa: IsaToken,
    pub(super) weights: &'a PairWeights,
    pub(super) packed: Packed<'a>,
    pub(super) quarters: Quarters<'a>,
    /// Sums of inputs.
    pub(super) sums: &'a [f32],
    /// Elements from a sum of inputs to the next.
    pub(super) sum_apart: usize,
    /// Residual of each half, in the order of the outputs.
    pub(super) residual: Option<[&'a [f32]; 2]>,
    pub(super) relu: bool,
    pub(super) prefetch: Prefetch,
    /// Elements of an output's map.
    pub(super) map: usize,
}

/// Operands of one product of a pair, besides its weights.
struct Operands<'a, 'o> {
    src: Source<'a>,
    epilogue: TileEpilogue<'a>,
    out: RowsMut<'o, f32>,
    sums: Sums<'o>,
}

impl Task<'_> {
    /// Computes all products, for the output blocks of `out`.
    pub(super) fn multiply(
        &self,
        blocks: Range<usize>,
        mut out: [RowsMut<'_, f32>; 2],
        kept: &mut [f32],
    ) {
        let panel = self.panel_blocks();
        let paired = (self.weights.pairs * 2 * panel).clamp(blocks.start, blocks.end);
        for first in (blocks.start..paired).step_by(2 * panel) {
            let pair = first / (2 * panel);
            self.pair(pair, first - blocks.start, &mut out, kept);
        }
        if paired < blocks.end {
            self.unpaired(paired - blocks.start, out);
        }
    }

    /// Blocks of output channels per panel.
    fn panel_blocks(&self) -> usize {
        self.weights.width / CHANNEL_BLOCK
    }

    /// Computes the seven products of one pair of panels. The pair begins `at` blocks into the task.
    fn pair(&self, pair: usize, at: usize, out: &mut [RowsMut<'_, f32>; 2], kept: &mut [f32]) {
        let Quarters {
            blocks,
            block_stride,
            pixels,
            paired,
            apart,
            data,
            odd: _,
        } = self.quarters;
        let lower = blocks * block_stride;
        let [b11, b21, b22] = [0, lower, lower + apart].map(|at| Source {
            data: data.get(at..).unwrap_or_default(),
            block: CHANNEL_BLOCK,
            block_stride,
        });
        let stride = pixels * CHANNEL_BLOCK;
        let [t1, t2, t3, t4] = [0, 1, 2, 3].map(|t| Source {
            data: &self.sums[t * self.sum_apart..],
            block: CHANNEL_BLOCK,
            block_stride: stride,
        });
        let panel = self.panel_blocks();
        let mut kept = kept.chunks_exact_mut(panel * stride);
        let [p, u2, u3] = std::array::from_fn(|_| kept.next().expect("room for three"));
        // Epilogue for a panel and a half of the pixels, and the panel's blocks.
        let epilogue = |of: usize, half: usize| self.epilogue(half, at + of * panel);
        let rows = [0, 1].map(|of| at + of * panel..at + (of + 1) * panel);
        let [left, right] = out;

        self.keep(pair, Product::P1, b11, None, RowsMut::new(p, stride));
        let all = 0..left.len();
        let c11 = Operands {
            src: b21,
            epilogue: epilogue(0, 0),
            out: left.part(rows[0].clone(), all.clone()),
            sums: added([Some(&*p), None], stride),
        };
        self.product(pair, Product::C11, c11);
        self.keep(pair, Product::U2, t2, Some(&*p), RowsMut::new(u2, stride));
        self.keep(pair, Product::U3, t3, Some(&*u2), RowsMut::new(u3, stride));
        if paired > 0 {
            let all = 0..right.len();
            let c22 = Operands {
                src: t1,
                epilogue: epilogue(1, 1),
                out: right.part(rows[1].clone(), all.clone()),
                sums: Sums {
                    kept: Some(&mut *p),
                    ..added([Some(&*u3), None], stride)
                },
            };
            self.product(pair, Product::C22, c22);
            let c12 = Operands {
                src: b22,
                epilogue: epilogue(0, 1),
                out: right.part(rows[0].clone(), all),
                sums: added([Some(&*u2), Some(&*p)], stride),
            };
            self.product(pair, Product::C12, c12);
        }
        let c21 = Operands {
            src: t4,
            epilogue: epilogue(1, 0),
            out: left.part(rows[1].clone(), all),
            sums: added([Some(&*u3), None], stride),
        };
        self.product(pair, Product::C21, c21);
    }

    /// Computes a product that completes a kept sum.
    fn keep(
        &self,
        pair: usize,
        product: Product,
        src: Source<'_>,
        sum: Option<&[f32]>,
        out: RowsMut<'_, f32>,
    ) {
        let sums = Sums {
            in_cache: true,
            ..added([sum, None], out.stride())
        };
        let epilogue = TileEpilogue::default();
        let operands = Operands {
            src,
            epilogue,
            out,
            sums,
        };
        self.product(pair, product, operands);
    }

    /// Computes a product of a pair.
    fn product(&self, pair: usize, product: Product, operands: Operands<'_, '_>) {
        let pixels = operands.out.len() / CHANNEL_BLOCK;
        let weights = self.isa.panel(&self.weights.at(pair, product));
        self.isa.dispatch(PanelTimesPixels {
            src: operands.src,
            pixels: BlockedPixels { pixels },
            channels: 0..self.weights.terms(product),
            panel: &self.packed.pairs[weights],
            epilogue: operands.epilogue,
            prefetch: self.prefetch,
            out: Outputs::summed(operands.out, operands.sums),
            dot: F32,
        });
    }

    /// Epilogue for a half of the pixels, from the task's block `at` on.
    fn epilogue(&self, half: usize, at: usize) -> TileEpilogue<'_> {
        TileEpilogue {
            pixel_bias: None,
            residual: self.residual.map(|r| &r[half][at * self.map..]),
            relu: self.relu,
        }
    }

    /// Multiplies the panels without a partner, from the `at`-th block of the task on.
    fn unpaired(&self, at: usize, out: [RowsMut<'_, f32>; 2]) {
        for (half, mut out) in out.into_iter().enumerate() {
            let pixels = out.len() / CHANNEL_BLOCK;
            if pixels == 0 {
                continue;
            }
            let panels = PanelLoop {
                isa: self.isa,
                panels: self.packed.unpaired,
                packed: self.packed.rest,
                epilogue: self.epilogue(half, at),
                prefetch: self.prefetch.into(),
            };
            let src = Source {
                data: &self.quarters.data[half * self.quarters.apart..],
                block: CHANNEL_BLOCK,
                block_stride: self.quarters.block_stride,
            };
            let (blocks, all) = (at..out.rows(), 0..out.len());
            let out = out.part(blocks, all);
            panels.multiply::<Blocked, _>(src, BlockedPixels { pixels }, out);
        }
    }
}

/// Sums to add, none of them kept.
fn added<'s>(added: [Option<&'s [f32]>; 2], stride: usize) -> Sums<'s> {
    Sums {
        added,
        kept: None,
        stride,
        in_cache: false,
    }
}
