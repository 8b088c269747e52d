//! Transposes and copies, and the panels of bilinear pooling.

use super::harness::{Fenced, Width, around, assert_exact};
use crate::arch::KernelSimd;
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::bilinear::PackPanel;
use crate::micro::concat::Gather;
use crate::micro::transpose::{StridedRows, Transpose, copy, transpose};

pub(super) const TESTS: &[super::harness::Test] = tests! {
    transposes
    copies
    panels_of_maps
    gathered_channels
};

/// Kinds of moves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Move {
    /// [`Transpose`], which prefetches.
    Prefetched,
    /// [`transpose`], with or without streaming stores.
    Transposed { stream: bool },
    /// [`copy`], with or without streaming stores.
    Copied { stream: bool },
}

struct Moved<'a, 'o>(Move, StridedRows<'a>, RowsMut<'o, f32>);

impl SimdTask for Moved<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let Moved(kind, src, dst) = self;
        match kind {
            Move::Prefetched => Transpose { src, dst }.run(simd),
            Move::Transposed { stream } => transpose(simd, src, dst, stream),
            Move::Copied { stream } => copy(simd, src, dst, stream),
        }
    }
}

/// Rows and columns around a tile of 16 and a group of 4, and between groups.
fn sizes() -> Vec<usize> {
    let mut sizes = [around(4), around(16), vec![2, 6, 18]].concat();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn transposes() {
    for width in Width::all() {
        for rows in sizes() {
            for columns in sizes() {
                // Rows of the destination end with the source's rows, or with a cache line.
                for len in [rows, rows.next_multiple_of(16)] {
                    for kind in [
                        Move::Prefetched,
                        Move::Transposed { stream: false },
                        Move::Transposed { stream: true },
                    ] {
                        moved(width, kind, [rows, columns], columns + 3, len);
                    }
                }
            }
        }
        // Rows that map to one set of L1.
        for columns in around(16) {
            moved(
                width,
                Move::Transposed { stream: false },
                [17, columns],
                1024,
                17,
            );
        }
    }
}

fn copies() {
    for width in Width::all() {
        for rows in [1, 2, 5] {
            for columns in sizes() {
                for len in [columns, columns + 1, columns.next_multiple_of(16)] {
                    for stream in [false, true] {
                        moved(
                            width,
                            Move::Copied { stream },
                            [rows, columns],
                            columns + 3,
                            len,
                        );
                    }
                }
            }
        }
    }
}

/// Moves a matrix to rows of `len` floats.
fn moved(width: Width, kind: Move, [rows, columns]: [usize; 2], stride: usize, len: usize) {
    let matrix = Fenced::uniform((rows - 1) * stride + columns, 1);
    let copied = matches!(kind, Move::Copied { .. });
    let out_rows = if copied { rows } else { columns };
    // Whole cache lines can be streamed. Other rows have a float between them, which must stay.
    let apart = if len.is_multiple_of(16) { len } else { len + 1 };
    let mut dst = Fenced::poisoned(out_rows * apart);
    let mut to = RowsMut::new(&mut dst, apart);
    let (src, to) = (
        StridedRows::new(&matrix, rows, columns, stride),
        to.part(0..out_rows, 0..len),
    );
    width.run(Moved(kind, src, to));
    let case = (width, kind, rows, columns, stride, len);
    for (r, row) in dst.chunks_exact(apart).enumerate() {
        let (row, beyond) = row.split_at(len);
        let expected: Vec<f32> = (0..len)
            .map(|i| match (copied, i) {
                (true, i) if i < columns => matrix[r * stride + i],
                (false, i) if i < rows => matrix[i * stride + r],
                _ => 0.0,
            })
            .collect();
        assert_exact(row, &expected, case);
        assert!(
            beyond.iter().all(|y| y.is_nan()),
            "{case:?}: written between the rows"
        );
    }
}

fn panels_of_maps() {
    for width in Width::all() {
        for (blocks, positions) in [(1, 1), (1, 7), (2, 3)] {
            let maps = Fenced::uniform(blocks * positions * CHANNEL_BLOCK, 1);
            let row = blocks * CHANNEL_BLOCK;
            let mut out = Fenced::poisoned((positions + 1) * row);
            width.run(PackPanel {
                maps: &maps,
                blocks,
                out: &mut out,
            });
            let expected: Vec<f32> = (0..out.len())
                .map(|i| match (i / row).checked_sub(1) {
                    None => 0.0,
                    Some(position) => {
                        let (block, lane) = (i % row / CHANNEL_BLOCK, i % CHANNEL_BLOCK);
                        maps[(block * positions + position) * CHANNEL_BLOCK + lane]
                    }
                })
                .collect();
            assert_exact(&out, &expected, (width, blocks, positions));
        }
    }
}

fn gathered_channels() {
    for width in Width::all() {
        for pixels in [1, 2, 5] {
            for count in [1, 15, 16] {
                // Neighbours, or channels of two blocks.
                for apart in [1, 2] {
                    let map = pixels * CHANNEL_BLOCK;
                    let channel = |i: usize| {
                        let c = 3 + i * apart;
                        c / CHANNEL_BLOCK * map + c % CHANNEL_BLOCK
                    };
                    // A whole block is copied. Other channels are gathered one by one.
                    let whole = count == CHANNEL_BLOCK && apart == 1;
                    let at = |i: usize| if whole { i } else { channel(i) };
                    let channels: Vec<usize> = (0..count).map(at).collect();
                    let last = channels.iter().max().expect("a channel");
                    let src = Fenced::uniform(last + (pixels - 1) * CHANNEL_BLOCK + 1, 1);
                    let mut out = Fenced::poisoned(map);
                    width.run(Gather {
                        src: &src,
                        channels: &channels,
                        out: &mut out,
                    });
                    let expected: Vec<f32> = (0..map)
                        .map(|i| match channels.get(i % CHANNEL_BLOCK) {
                            Some(at) => src[at + i / CHANNEL_BLOCK * CHANNEL_BLOCK],
                            None => 0.0,
                        })
                        .collect();
                    assert_exact(&out, &expected, (width, pixels, count, apart));
                }
            }
        }
    }
}
