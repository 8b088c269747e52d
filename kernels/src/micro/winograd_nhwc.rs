//! Winograd's transforms of narrow elements on NHWC: u8 and s8 as 16-bit integers, bf16 as f32.
//!
//! A vector holds channels of one sample. At each point, the transformed tiles are rows of words ([`TileRows`]), which
//! the register tile multiplies like pixels of a 1x1 convolution. The inverse transform writes 32-bit sums, of which
//! [`Requantise`](super::requantise::Requantise) makes outputs.
//!
//! | source | transformed in | words of V | inverse transform of |
//! |---|---|---|---|
//! | u8, s8 | 16-bit integers | two 16-bit integers | 32-bit integers, then a division by 4 |
//! | bf16 | f32 | two bf16 or an f32 | f32 |
//!
//! **Integers are exact** for schemes whose transforms are sums and differences ([`Matrices::is_exact`]). A sample less its
//! zero point is at most 255. A transformed one of F(2,3) is a sum of four, at most 4 * 255. Filters are (2 G) g (2 G)', at
//! most 9 * 128. So both fit into 16 bits. Sums may wrap around, since all operations after the products are sums, too. Only
//! the last one, four times the output, must fit into 32 bits.
#![allow(unsafe_code)]

use super::cook_toom::{Arithmetic, Constant, Matrices, Scheme, Vectors, unroll};
use crate::arch::{KernelSimd, array};
use crate::bounds::{product, sum};
use crate::isa::{IsaToken, SimdTask};
use crate::layout::CHANNEL_BLOCK;
use crate::problem::ConvShape;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Transforms of one scheme of stride 1, compiled for every instruction set.
#[derive(Clone, Copy, Debug)]
pub struct NhwcTransforms {
    matrices: &'static Matrices,
    input: fn(IsaToken, InputTransform<'_>),
    output: fn(IsaToken, OutputTransform<'_>),
}

impl NhwcTransforms {
    /// Transforms of a scheme.
    ///
    /// # Panics
    /// At compile time, if the scheme has a stride.
    pub const fn of<W: Scheme<M, T, T>, const M: usize, const T: usize>() -> Self {
        const { assert!(W::MATRICES.stride == 1) };
        NhwcTransforms {
            matrices: const { &W::MATRICES },
            input: |isa, task| isa.dispatch(ByScheme::<_, W, M, T>(task, PhantomData)),
            output: |isa, task| isa.dispatch(ByScheme::<_, W, M, T>(task, PhantomData)),
        }
    }

    /// Matrices that the transforms implement.
    pub const fn matrices(&self) -> &'static Matrices {
        self.matrices
    }

    /// Transforms the samples of some rows of tiles.
    pub(crate) fn input(&self, isa: IsaToken, task: InputTransform<'_>) {
        (self.input)(isa, task);
    }

    /// Transforms the products of a row of tiles back.
    pub(crate) fn output(&self, isa: IsaToken, task: OutputTransform<'_>) {
        (self.output)(isa, task);
    }
}

/// A task compiled for a scheme.
pub(super) struct ByScheme<K, W, const M: usize, const T: usize>(
    pub(super) K,
    pub(super) PhantomData<W>,
);

/// Matrices of transformed tiles, one for each point: a row of words or sums for each tile.
#[derive(Clone, Copy, Debug)]
pub struct TileRows {
    /// Tiles.
    pub tiles: usize,
    /// Lanes of a row: whole blocks of 16.
    pub row: usize,
}

impl TileRows {
    /// Lanes before a point, or of that many points. A cache line separates points: at a power of two, all points of a tile
    /// would map to the same cache set.
    #[inline(always)]
    pub fn before(self, point: usize) -> usize {
        point * (self.tiles * self.row + CHANNEL_BLOCK)
    }

    /// Lanes of a tile at a point.
    #[inline(always)]
    fn of(self, point: usize, tile: usize) -> Range<usize> {
        let first = self.before(point) + tile * self.row;
        first..first + self.row
    }

    /// Checks that `lanes` lanes hold `points` points.
    ///
    /// # Panics
    /// If they don't, or a position would wrap.
    #[inline(always)]
    fn check(self, points: usize, lanes: usize) {
        assert!(self.row.is_multiple_of(CHANNEL_BLOCK), "whole blocks");
        let point = sum([product([self.tiles, self.row]), CHANNEL_BLOCK]);
        assert!(product([points, point]) <= lanes, "{self:?} in {lanes}");
    }
}

/// Samples of a source, and the form in which they are transformed and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samples {
    /// Bytes, as 16-bit integers less their zero point.
    Bytes {
        /// The bytes are s8, not u8.
        signed: bool,
        /// The zero point.
        zero: i16,
    },
    /// bf16, as f32.
    Bf16 {
        /// Transformed samples are rounded to bf16.
        rounded: bool,
    },
}

/// Input transform of some rows of tiles, in all channels.
pub struct InputTransform<'a> {
    /// The convolution.
    pub conv: &'a ConvShape,
    /// The image.
    pub image: &'a [u8],
    /// Its elements.
    pub samples: Samples,
    /// The rows of tiles.
    pub rows: Range<usize>,
    /// The transformed tiles.
    pub out: &'a mut [f32],
    /// Their layout.
    pub layout: TileRows,
}

impl<W: Scheme<M, T, T>, const M: usize, const T: usize> SimdTask
    for ByScheme<InputTransform<'_>, W, M, T>
{
    type Output = ();
    const TWINS: bool = false;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        match self.0.samples {
            Samples::Bf16 { rounded } => self.tiles(simd, Halves { rounded }),
            Samples::Bytes { signed, zero } => {
                if const { W::MATRICES.is_exact() } {
                    self.tiles(simd, Bytes { signed, zero });
                } else {
                    panic!("integers of a scheme that isn't exact");
                }
            }
        }
    }
}

impl<W: Scheme<M, T, T>, const M: usize, const T: usize> ByScheme<InputTransform<'_>, W, M, T> {
    /// Transforms the tiles one after the other.
    #[inline(always)]
    fn tiles<S: KernelSimd, E: Sample>(self, simd: S, sample: E) {
        let ByScheme(mut task, _) = self;
        let (conv, layout) = (task.conv, task.layout);
        let cols = conv.w_out().div_ceil(M);
        assert!(product([task.rows.len(), cols]) <= layout.tiles);
        layout.check(const { T * T }, task.out.len());
        let source = Source {
            bytes: task.image,
            channels: conv.c_in,
            columns: conv.w,
            sample,
        };
        let inside = |tile: usize, i: usize, pad: usize, end: usize| {
            let at = (tile * M + i).wrapping_sub(pad);
            (at < end).then_some(at)
        };
        let mut tile = 0;
        for row in task.rows.clone() {
            for col in 0..cols {
                let rows: [_; T] = array(|i| inside(row, i, conv.pad.top, conv.h));
                let columns: [_; T] = array(|j| inside(col, j, conv.pad.left, conv.w));
                let mut channel = 0;
                while channel < conv.c_in {
                    task.transform::<S, E, W, M, T>(simd, &source, tile, [rows, columns], channel);
                    channel += E::PER_LANE * S::F32_LANES;
                }
                tile += 1;
            }
        }
    }
}

impl InputTransform<'_> {
    /// Transforms a vector of channels of a tile. `rows` and `columns` of the image are none outside.
    #[inline(always)]
    fn transform<S: KernelSimd, E: Sample, W: Scheme<M, T, T>, const M: usize, const T: usize>(
        &mut self,
        simd: S,
        source: &Source<'_, E>,
        tile: usize,
        [rows, columns]: [[Option<usize>; T]; 2],
        channel: usize,
    ) {
        let zero = simd.splat_f32s(0.0);
        // Columns first: half[r][j] is row r of B' d, for column j.
        let mut half = [[MaybeUninit::<S::f32s>::uninit(); T]; T];
        let mut j = 0;
        while j < T {
            let mut column = [zero; T];
            if let Some(x) = columns[j] {
                unroll!(i < T, {
                    if let Some(y) = rows[i] {
                        column[i] = source.load(simd, [y, x], channel);
                    }
                });
                column = W::input(E::on(simd), column);
            }
            unroll!(r < T, {
                half[r][j] = MaybeUninit::new(column[r]);
            });
            j += 1;
        }
        let mut r = 0;
        while r < T {
            let mut row = [zero; T];
            unroll!(j < T, {
                // SAFETY: every column was written.
                row[j] = unsafe { half[r][j].assume_init() };
            });
            let row = W::input(E::on(simd), row);
            unroll!(c < T, {
                let to = &mut self.out[self.layout.of(r * T + c, tile)];
                source.sample.store(simd, to, channel, row[c]);
            });
            r += 1;
        }
    }
}

/// An image.
struct Source<'a, E> {
    bytes: &'a [u8],
    channels: usize,
    columns: usize,
    sample: E,
}

/// Most bytes of a vector's samples.
const VECTOR: usize = 32;

impl<E: Sample> Source<'_, E> {
    /// Vector of a sample's channels from `channel` on. Channels beyond the last one are any numbers.
    #[inline(always)]
    fn load<S: KernelSimd>(&self, simd: S, [y, x]: [usize; 2], channel: usize) -> S::f32s {
        let vector = const { E::SIZE * E::PER_LANE * S::F32_LANES };
        const { assert!(E::SIZE * E::PER_LANE * S::F32_LANES <= VECTOR) };
        let at = ((y * self.columns + x) * self.channels + channel) * E::SIZE;
        let own = vector.min((self.channels - channel) * E::SIZE);
        let own = &self.bytes[at..at + own];
        let mut whole = [0; VECTOR];
        let from = if own.len() == vector {
            own.as_ptr()
        } else {
            whole[..own.len()].copy_from_slice(own);
            whole.as_ptr()
        };
        // SAFETY: both have the bytes of a vector.
        unsafe { self.sample.load(simd, from) }
    }
}

/// Elements of a source, and the arithmetic of their transform.
trait Sample: Copy {
    /// Arithmetic on vectors.
    type On<S: KernelSimd>: Arithmetic<Value = S::f32s>;
    /// Bytes of an element of the source.
    const SIZE: usize;
    /// Elements in a lane of a vector.
    const PER_LANE: usize;

    /// Arithmetic of an instruction set.
    fn on<S: KernelSimd>(simd: S) -> Self::On<S>;

    /// Loads a vector. It may be unaligned.
    ///
    /// # Safety
    /// `at` is valid for a read of a vector's elements.
    unsafe fn load<S: KernelSimd>(self, simd: S, at: *const u8) -> S::f32s;

    /// Stores a vector of transformed elements from `channel` on, in the words of a row.
    fn store<S: KernelSimd>(self, simd: S, row: &mut [f32], channel: usize, value: S::f32s);
}

/// Stores a vector from a lane of a row on.
#[inline(always)]
fn store<S: KernelSimd>(simd: S, row: &mut [f32], lane: usize, value: S::f32s) {
    let to = &mut row[lane..lane + S::F32_LANES];
    // SAFETY: the slice has a vector.
    unsafe { simd.store_f32s(to.as_mut_ptr(), value) };
}

/// [`Samples::Bytes`].
#[derive(Clone, Copy)]
struct Bytes {
    signed: bool,
    zero: i16,
}

impl Sample for Bytes {
    type On<S: KernelSimd> = Pairs<S>;
    const SIZE: usize = 1;
    const PER_LANE: usize = 2;

    #[inline(always)]
    fn on<S: KernelSimd>(simd: S) -> Pairs<S> {
        Pairs(simd)
    }

    #[inline(always)]
    unsafe fn load<S: KernelSimd>(self, simd: S, at: *const u8) -> S::f32s {
        // SAFETY: the caller's promise.
        let x = unsafe {
            match self.signed {
                true => simd.load_s8_pairs(at.cast()),
                false => simd.load_u8_pairs(at),
            }
        };
        let zero = f32::from_bits(bytemuck::must_cast([self.zero; 2]));
        simd.sub_s16s(x, simd.splat_f32s(zero))
    }

    #[inline(always)]
    fn store<S: KernelSimd>(self, simd: S, row: &mut [f32], channel: usize, value: S::f32s) {
        store(simd, row, channel / Self::PER_LANE, value);
    }
}

/// [`Samples::Bf16`].
#[derive(Clone, Copy)]
struct Halves {
    rounded: bool,
}

impl Sample for Halves {
    type On<S: KernelSimd> = Vectors<S>;
    const SIZE: usize = 2;
    const PER_LANE: usize = 1;

    #[inline(always)]
    fn on<S: KernelSimd>(simd: S) -> Vectors<S> {
        Vectors(simd)
    }

    #[inline(always)]
    unsafe fn load<S: KernelSimd>(self, simd: S, at: *const u8) -> S::f32s {
        // SAFETY: the caller's promise.
        unsafe { simd.load_bf16s(at.cast()) }
    }

    #[inline(always)]
    fn store<S: KernelSimd>(self, simd: S, row: &mut [f32], channel: usize, value: S::f32s) {
        if !self.rounded {
            return store(simd, row, channel, value);
        }
        let halves: &mut [u16] = bytemuck::must_cast_slice_mut(row);
        let to = &mut halves[channel..channel + S::F32_LANES];
        // SAFETY: the slice has an element for each lane.
        unsafe { simd.store_low_halves(to.as_mut_ptr(), simd.bf16s_of_floats(value)) };
    }
}

/// Defines vectors of integers for transforms of sums and differences.
macro_rules! integers {
    ($(#[$doc:meta])* $name:ident: $add:ident, $sub:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        struct $name<S>(S);

        impl<S: KernelSimd> Arithmetic for $name<S> {
            type Value = S::f32s;
            #[inline(always)]
            fn zero(self) -> S::f32s {
                self.0.splat_f32s(0.0)
            }
            #[inline(always)]
            fn add(self, x: S::f32s, y: S::f32s) -> S::f32s {
                self.0.$add(x, y)
            }
            #[inline(always)]
            fn sub(self, x: S::f32s, y: S::f32s) -> S::f32s {
                self.0.$sub(x, y)
            }
            #[inline(always)]
            fn mul(self, c: Constant, x: S::f32s) -> S::f32s {
                if c.rounded == 1.0 {
                    x
                } else {
                    self.mul_add(c, x, self.zero())
                }
            }
            #[inline(always)]
            fn mul_add(self, c: Constant, x: S::f32s, y: S::f32s) -> S::f32s {
                // The constants are known at compile time, so no branch remains.
                if c.rounded == 1.0 {
                    self.0.$add(y, x)
                } else if c.rounded == -1.0 {
                    self.0.$sub(y, x)
                } else if c.rounded == 0.0 {
                    y
                } else {
                    unreachable!("an exact scheme has no other constants")
                }
            }
        }
    };
}

integers! {
    /// Vectors of pairs of 16-bit integers.
    Pairs: add_s16s, sub_s16s
}
integers! {
    /// Vectors of 32-bit integers.
    Integers: add_s32s, sub_s32s
}

/// Arithmetic of products and their sums.
trait Products: Arithmetic {
    /// Output of a tile, from the sum of its products.
    fn output(self, sum: Self::Value) -> Self::Value;
}

impl<S: KernelSimd> Products for Vectors<S> {
    #[inline(always)]
    fn output(self, sum: S::f32s) -> S::f32s {
        sum
    }
}

impl<S: KernelSimd> Products for Integers<S> {
    #[inline(always)]
    fn output(self, sum: S::f32s) -> S::f32s {
        self.0.quarters_of_s32s(sum)
    }
}

/// Inverse transform of a row of tiles, in some output channels.
pub struct OutputTransform<'a> {
    /// The products: 32-bit integers, or floats.
    pub products: &'a [f32],
    /// Their layout.
    pub layout: TileRows,
    /// The products are integers: those of four times the filters.
    pub integers: bool,
    /// The first tile.
    pub first: usize,
    /// Lanes of each row of products: whole blocks of 16.
    pub channels: usize,
    /// Rows of outputs, at most those of a tile, and columns.
    pub size: [usize; 2],
    /// Sums, row by row: for each output as many lanes as a row of the layout.
    pub sums: &'a mut [f32],
}

impl<W: Scheme<M, T, T>, const M: usize, const T: usize> SimdTask
    for ByScheme<OutputTransform<'_>, W, M, T>
{
    type Output = ();
    const TWINS: bool = false;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let ByScheme(task, _) = self;
        if !task.integers {
            task.tiles::<S, _, W, M, T>(simd, Vectors(simd));
        } else if const { W::MATRICES.is_exact() } {
            task.tiles::<S, _, W, M, T>(simd, Integers(simd));
        } else {
            panic!("integers of a scheme that isn't exact");
        }
    }
}

impl OutputTransform<'_> {
    /// Transforms the tiles one after the other.
    #[inline(always)]
    fn tiles<
        S: KernelSimd,
        A: Products<Value = S::f32s>,
        W: Scheme<M, T, T>,
        const M: usize,
        const T: usize,
    >(
        mut self,
        simd: S,
        on: A,
    ) {
        let [height, width] = self.size;
        let tiles = width.div_ceil(M);
        self.layout.check(const { T * T }, self.products.len());
        assert!(self.channels.is_multiple_of(CHANNEL_BLOCK) && self.channels <= self.layout.row);
        assert!(height <= M && self.first + tiles <= self.layout.tiles);
        assert!(product([height, width, self.layout.row]) <= self.sums.len());
        for tile in 0..tiles {
            let columns = M.min(width - tile * M);
            let mut lane = 0;
            while lane < self.channels {
                self.transform::<S, A, W, M, T>(simd, on, tile, [height, columns], lane);
                lane += S::F32_LANES;
            }
        }
    }

    /// Transforms a vector of channels of a tile, and stores its outputs inside of the map.
    #[inline(always)]
    fn transform<
        S: KernelSimd,
        A: Products<Value = S::f32s>,
        W: Scheme<M, T, T>,
        const M: usize,
        const T: usize,
    >(
        &mut self,
        simd: S,
        on: A,
        tile: usize,
        [height, columns]: [usize; 2],
        lane: usize,
    ) {
        let (layout, [_, width]) = (self.layout, self.size);
        let mut half = [[MaybeUninit::<S::f32s>::uninit(); T]; M];
        let mut j = 0;
        while j < T {
            let mut column = [on.zero(); T];
            unroll!(i < T, {
                let products = &self.products[layout.of(i * T + j, self.first + tile)];
                column[i] = load(simd, products, lane);
            });
            let column = W::output(on, column);
            unroll!(r < M, {
                half[r][j] = MaybeUninit::new(column[r]);
            });
            j += 1;
        }
        let mut r = 0;
        while r < height {
            let mut row = [on.zero(); T];
            unroll!(j < T, {
                // SAFETY: every column was written.
                row[j] = unsafe { half[r][j].assume_init() };
            });
            let values = W::output(on, row);
            unroll!(c < M, {
                if c < columns {
                    let at = (r * width + tile * M + c) * layout.row;
                    let sums = &mut self.sums[at..at + layout.row];
                    store(simd, sums, lane, on.output(values[c]));
                }
            });
            r += 1;
        }
    }
}

/// Loads a vector from a lane of a row on.
#[inline(always)]
fn load<S: KernelSimd>(simd: S, row: &[f32], lane: usize) -> S::f32s {
    let from = &row[lane..lane + S::F32_LANES];
    // SAFETY: the slice has a vector.
    unsafe { simd.load_f32s(from.as_ptr()) }
}
