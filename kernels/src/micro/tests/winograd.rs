//! Winograd's transforms of tiles. They are compared with their matrices in f64.

use super::harness::{Fenced, Width};
use crate::arch::KernelSimd;
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::cook_toom::{F2x3, F2x3S2, F4x3, F4x3S2, F4x4, F4x5, F6x3, Matrices, Scheme};
use crate::micro::winograd::{InputTiles, OutputTiles, Transformed};
use std::marker::PhantomData;

pub(super) const TESTS: &[super::harness::Test] = tests! {
    tiles_of_inputs
    tiles_of_outputs
};

/// Input transform of all tiles of a channel block.
struct Inputs<'a, W, const M: usize, const N: usize, const T: usize> {
    tiles: InputTiles<'a, N>,
    block: usize,
    first: Vec<[isize; 2]>,
    scheme: PhantomData<W>,
}

impl<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize> SimdTask
    for Inputs<'_, W, M, N, T>
{
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(mut self, simd: S) {
        for (tile, &first) in self.first.iter().enumerate() {
            self.tiles
                .transform::<S, M, T, W>(simd, self.block, tile, first);
        }
    }
}

/// Output transform of one tile.
struct Output<'a, 'o, W, const M: usize, const N: usize, const T: usize> {
    tiles: OutputTiles<'a>,
    at: [usize; 2],
    bias: &'a [f32; CHANNEL_BLOCK],
    residual: Option<&'a [f32]>,
    out: RowsMut<'o, f32>,
    scheme: PhantomData<W>,
}

impl<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize> SimdTask
    for Output<'_, '_, W, M, N, T>
{
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(mut self, simd: S) {
        let Output {
            tiles,
            at,
            bias,
            residual,
            ..
        } = self;
        tiles.transform::<S, M, N, T, W>(simd, at, bias, residual, &mut self.out);
    }
}

/// Largest error of two transforms, relative to the sum of magnitudes of the terms: each transform rounds less than ten
/// times.
const BOUND: f64 = 20.0 * f32::EPSILON as f64;

fn inputs<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize>(width: Width) {
    // Outputs read a map up to the last row and column but one. Tiles begin before this part, and end after it.
    let (map, read, blocks, block) = ([N + 2, N + 2], [N + 1, N + 1], 2, 1);
    let first = vec![[-1, -1], [1, 2], [3, -2], [N as isize - 1, N as isize]];
    let layout = Transformed::new(blocks, first.len());
    let image = Fenced::uniform(blocks * map[0] * map[1] * CHANNEL_BLOCK, 1);
    // Products one after the other, with a line between them.
    let product = blocks * first.len() * CHANNEL_BLOCK + CHANNEL_BLOCK;
    let products: [[usize; N]; N] =
        std::array::from_fn(|i| std::array::from_fn(|j| (i * N + j) * product));
    let mut out = Fenced::poisoned(N * N * product - CHANNEL_BLOCK);
    width.run(Inputs::<W, M, N, T> {
        tiles: InputTiles {
            maps: &image,
            size: map,
            read,
            out: &mut out,
            layout,
            products,
        },
        block,
        first: first.clone(),
        scheme: PhantomData,
    });
    let b = W::MATRICES.b.map(|row| row.map(|x| x.to_f64()));
    for (tile, [y, x]) in first.into_iter().enumerate() {
        for lane in 0..CHANNEL_BLOCK {
            let sample = |i: usize, j: usize| {
                let (row, column) = (y + i as isize, x + j as isize);
                let inside = |at: isize, end: usize| (0..end as isize).contains(&at);
                if !inside(row, read[0]) || !inside(column, read[1]) {
                    return 0.0;
                }
                let pixel = (block * map[0] + row as usize) * map[1] + column as usize;
                f64::from(image[pixel * CHANNEL_BLOCK + lane])
            };
            for (r, c) in (0..N * N).map(|i| (i / N, i % N)) {
                let at = products[r][c] + (block * layout.tiles() + tile) * CHANNEL_BLOCK + lane;
                let terms = (0..N * N).map(|i| b[r][i / N] * sample(i / N, i % N) * b[c][i % N]);
                near(out[at], terms, (width, N, tile, lane, r, c));
            }
        }
    }
}

/// Compares with a sum in f64.
#[track_caller]
fn near(y: f32, terms: impl Iterator<Item = f64>, case: impl std::fmt::Debug) {
    let (mut sum, mut magnitudes) = (0.0, 0.0);
    for term in terms {
        sum += term;
        magnitudes += term.abs();
    }
    let error = (f64::from(y) - sum).abs();
    assert!(error <= BOUND * magnitudes, "{case:?}: {y} for {sum}");
}

fn outputs<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize>(width: Width) {
    let (blocks, tiles, at) = (2, 2, [1, 1]);
    let layout = Transformed::new(blocks, tiles);
    let products = Fenced::uniform(
        layout.before(T * T - 1, T * T - 1) + blocks * tiles * CHANNEL_BLOCK,
        1,
    );
    let bias = Fenced::uniform(CHANNEL_BLOCK, 2);
    let bias: &[f32; CHANNEL_BLOCK] = (&*bias).try_into().expect("16 floats");
    let Matrices { a, .. } = W::MATRICES;
    let a = a.map(|row| row.map(|x| x.to_f64()));
    // A whole tile, and tiles clipped at the end of a map.
    for [height, columns] in [[M, M], [1, M], [M, 1], [1, 1]] {
        for (add, relu) in [(true, false), (false, true)] {
            let (row, stride) = (columns * CHANNEL_BLOCK, (columns + 1) * CHANNEL_BLOCK);
            let residual = add.then(|| Fenced::uniform((height - 1) * stride + row, 3));
            let mut out = Fenced::poisoned(height * stride);
            width.run(Output::<W, M, N, T> {
                tiles: OutputTiles {
                    products: &products,
                    layout,
                    relu,
                },
                at,
                bias,
                residual: residual.as_deref(),
                out: RowsMut::new(&mut out, stride).part(0..height, 0..row),
                scheme: PhantomData,
            });
            let case = (width, M, T, height, columns, add);
            for (y, out) in out.chunks_exact(stride).enumerate() {
                let (row, beyond) = out.split_at(row);
                assert!(
                    beyond.iter().all(|y| y.is_nan()),
                    "{case:?}: written between the rows"
                );
                for (i, &value) in row.iter().enumerate() {
                    let (x, lane) = (i / CHANNEL_BLOCK, i % CHANNEL_BLOCK);
                    let product = |p: usize| {
                        let at = layout.before(p, p) + (tiles + 1) * CHANNEL_BLOCK + lane;
                        f64::from(products[at])
                    };
                    let terms = (0..T * T).map(|p| a[y][p / T] * product(p) * a[x][p % T]);
                    let residual = residual
                        .as_ref()
                        .map_or(0.0, |r| f64::from(r[y * stride + i]));
                    let more = [f64::from(bias[lane]), residual];
                    if relu && value == 0.0 {
                        let sum: f64 = terms.chain(more).sum();
                        assert!(sum < 1e-5, "{case:?}: 0 for {sum}");
                    } else {
                        near(value, terms.chain(more), case);
                    }
                }
            }
        }
    }
}

/// Runs a test for schemes of each kind: with and without the point 0, with strides of 1 and 2.
macro_rules! each_scheme {
    ($test:ident) => {
        for width in Width::all() {
            $test::<F2x3, 2, 4, 4>(width);
            $test::<F4x3, 4, 6, 6>(width);
            $test::<F6x3, 6, 8, 8>(width);
            $test::<F4x4, 4, 7, 7>(width);
            $test::<F4x5, 4, 8, 8>(width);
            $test::<F2x3S2, 2, 5, 3>(width);
            $test::<F4x3S2, 4, 9, 5>(width);
        }
    };
}

fn tiles_of_inputs() {
    each_scheme!(inputs);
}

fn tiles_of_outputs() {
    each_scheme!(outputs);
}
