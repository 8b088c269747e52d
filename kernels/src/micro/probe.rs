//! Loops that measure the machine's ceilings for the roofline: arithmetic on registers, and bytes from memory.
#![allow(unsafe_code)]

use super::gemm::{Bf16s, Bytes, Dot, S16s, U8S7s, load};
use crate::arch::{Baseline, KernelSimd, stream_fence};
use crate::dtype::DType;
use crate::isa::{Isa, IsaToken, Sets, SimdTask, Words};
use std::hint::black_box;

/// Arithmetic of multiply-adds, by the types of the factors. Each has its own peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arithmetic {
    /// f32.
    #[default]
    F32,
    /// bf16, summed in f32.
    Bf16,
    /// u8 or s8 times s8, summed in 32-bit integers.
    Int8,
}

impl Arithmetic {
    /// All of them.
    pub const ALL: [Arithmetic; 3] = [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int8];

    /// Arithmetic of layers whose source has this type.
    pub const fn of(src: DType) -> Self {
        match src {
            DType::F32 => Arithmetic::F32,
            DType::Bf16 => Arithmetic::Bf16,
            DType::S8 | DType::U8 | DType::S32 => Arithmetic::Int8,
        }
    }

    /// Type of the source in its loop ([`multiply_adds`]).
    pub const fn src(self) -> DType {
        match self {
            Arithmetic::F32 => DType::F32,
            Arithmetic::Bf16 => DType::Bf16,
            Arithmetic::Int8 => DType::U8,
        }
    }

    /// Name in texts.
    pub const fn name(self) -> &'static str {
        match self {
            Arithmetic::F32 => "f32",
            Arithmetic::Bf16 => "bf16",
            Arithmetic::Int8 => "int8",
        }
    }

    /// Words that the fastest kernels for an instruction set multiply. Without dot products, bf16 is widened to f32. Bytes are
    /// multiplied as they are if their weights allow it ([`Words::U8S7`]), and otherwise widened to 16-bit integers.
    const fn words(self, isa: Isa) -> Words {
        match self {
            Arithmetic::Bf16 if isa.has_dots(Words::Bf16) => Words::Bf16,
            Arithmetic::F32 | Arithmetic::Bf16 => Words::F32,
            Arithmetic::Int8 if isa.has_dots(Words::Bytes) => Words::Bytes,
            Arithmetic::Int8 if isa.has_dots(Words::U8S7) => Words::U8S7,
            Arithmetic::Int8 => Words::S16,
        }
    }

    /// True if kernels for an instruction set do this arithmetic. One that extends another must have dot products for it.
    pub fn has_kernels_for(self, isa: Isa) -> bool {
        isa == isa.base() || isa.has_dots(self.words(isa))
    }

    /// Products that kernels for an instruction set add in a lane of 32 bits at once.
    pub const fn group(self, isa: Isa) -> usize {
        match self.words(isa) {
            Words::F32 => 1,
            Words::Bf16 => Bf16s::GROUP,
            Words::S16 => S16s::GROUP,
            Words::Bytes | Words::U8S7 => Bytes::GROUP,
        }
    }

    /// The fastest instruction set of this CPU for this arithmetic: the widest, with dot products if there are any.
    pub fn best(self) -> IsaToken {
        let rank = |token: &IsaToken| (token.isa().lanes(), self.group(token.isa()));
        let here = Isa::REAL
            .into_iter()
            .filter(|&isa| self.has_kernels_for(isa));
        let best = here.filter_map(Isa::detect).max_by_key(rank);
        best.expect("scalar code runs everywhere")
    }
}

/// Multiply-adds on registers only.
struct Fma {
    rounds: usize,
}

/// Independent sums, enough to hide the latency of an FMA: 4 to 5 cycles times 2 per cycle.
const CHAINS: usize = 12;

impl SimdTask for Fma {
    type Output = f32;
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) -> f32 {
        if S::F32_LANES == 1 {
            return scalar_fma(self.rounds);
        }
        let (x, y) = (
            simd.splat_f32s(black_box(0.999)),
            simd.splat_f32s(black_box(1e-3)),
        );
        let mut sums = [simd.splat_f32s(black_box(0.5)); CHAINS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, x, y);
            }
        }
        sums.iter().map(|&sum| simd.reduce_sum_f32s(sum)).sum()
    }
}

/// Products rounded before the sums, on vectors of the target's baseline: the ceiling of plain code. (Plain code itself
/// is no probe: LLVM may vectorise it in one build and not in the next.)
#[inline(always)]
fn scalar_fma(rounds: usize) -> f32 {
    let (x, y) = (
        Baseline::splat(black_box(0.999)),
        Baseline::splat(black_box(1e-3)),
    );
    let mut sums = [Baseline::splat(black_box(0.5)); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sum.mul_then_add(x, y);
        }
    }
    sums.iter().map(|sum| sum.first()).sum()
}

/// Runs `rounds` rounds of independent multiply-adds and returns their flops, two per multiply-add.
pub fn fma(isa: IsaToken, rounds: usize) -> u64 {
    black_box(isa.dispatch(Fma { rounds }));
    let lanes = isa.isa().lanes();
    let lanes = if lanes == 1 { Baseline::LANES } else { lanes };
    2 * (rounds * CHAINS * lanes) as u64
}

/// Dot products as in a register tile without its loads: each of some inputs times each of two vectors of weights.
struct Dots<D> {
    rounds: usize,
    dot: D,
}

impl<D: Dot> SimdTask for Dots<D> {
    type Output = f32;
    const TWINS: bool = false;
    const SETS: Sets = D::SETS;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) -> f32 {
        // As bf16 the products of a lane cancel, so that sums stay normal numbers. As bytes they fit into 16 bits.
        let (x, w) = (f32::from_bits(0x3f80_3f80), f32::from_bits(0xbf80_3f80));
        let x = simd.splat_f32s(x);
        let weights = [
            simd.opaque(simd.splat_f32s(w)),
            simd.opaque(simd.splat_f32s(w)),
        ];
        let mut sums = [simd.opaque(simd.splat_f32s(0.5)); CHAINS];
        for _ in 0..self.rounds {
            for i in 0..CHAINS / 2 {
                // Hidden, so that no product is computed before the loop.
                let x = simd.opaque(x);
                sums[2 * i] = self.dot.dot(simd, sums[2 * i], x, weights[0]);
                sums[2 * i + 1] = self.dot.dot(simd, sums[2 * i + 1], x, weights[1]);
            }
        }
        let mut total = 0.0;
        for sum in sums {
            total += simd.reduce_sum_f32s(sum);
        }
        total
    }
}

/// Runs `rounds` rounds of independent multiply-adds, and returns their operations: two per multiply-add. They are in the form
/// of the fastest kernels.
pub fn multiply_adds(isa: IsaToken, arithmetic: Arithmetic, rounds: usize) -> u64 {
    match arithmetic.words(isa.isa()) {
        Words::F32 => fma(isa, rounds),
        Words::Bf16 => count(isa, Bf16s, rounds),
        Words::S16 => count(isa, S16s, rounds),
        Words::Bytes => count(isa, Bytes, rounds),
        Words::U8S7 => count(isa, U8S7s, rounds),
    }
}

fn count<D: Dot>(isa: IsaToken, dot: D, rounds: usize) -> u64 {
    black_box(isa.dispatch(Dots { rounds, dot }));
    2 * (rounds * CHAINS * isa.isa().lanes() * D::GROUP) as u64
}

/// A loop over memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// x = sum of a: 4 bytes per element.
    Read,
    /// a = x: 4 bytes per element. Another 4 bytes per element are read for ownership and not counted.
    Write,
    /// a = x with non-temporal stores: 4 bytes per element.
    WriteNonTemporal,
    /// a = b: 8 bytes per element.
    Copy,
    /// a = b + x c: 12 bytes per element (McCalpin's STREAM).
    Triad,
}

impl Stream {
    /// All streams.
    pub const ALL: [Stream; 5] = [
        Stream::Read,
        Stream::Write,
        Stream::WriteNonTemporal,
        Stream::Copy,
        Stream::Triad,
    ];

    /// Name in records.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Read => "read",
            Stream::Write => "write",
            Stream::WriteNonTemporal => "write-nt",
            Stream::Copy => "copy",
            Stream::Triad => "triad",
        }
    }

    /// Number of arrays in the working set.
    pub fn arrays(self) -> usize {
        match self {
            Stream::Read | Stream::Write | Stream::WriteNonTemporal => 1,
            Stream::Copy => 2,
            Stream::Triad => 3,
        }
    }
}

/// Parts of an array that a loop goes through at the same time. Which is the fastest depends on the level of the
/// memory: hardware prefetchers stop at each page, which several parts hide, and near caches need none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// The whole array.
    One,
    /// Its halves.
    Two,
    /// Its quarters.
    Four,
}

impl Parts {
    /// All numbers of parts.
    pub const ALL: [Parts; 3] = [Parts::One, Parts::Two, Parts::Four];
}

struct Streaming<'a> {
    stream: Stream,
    parts: Parts,
    passes: usize,
    a: &'a mut [f32],
}

/// Vectors of an unrolled step: enough to hide latencies, few enough for any array.
const STEP: usize = 8;

impl SimdTask for Streaming<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) -> f32 {
        match self.parts {
            Parts::One => self.pass::<S, 1>(simd),
            Parts::Two => self.pass::<S, 2>(simd),
            Parts::Four => self.pass::<S, 4>(simd),
        }
    }
}

impl Streaming<'_> {
    #[inline(always)]
    fn pass<S: KernelSimd, const PARTS: usize>(self, simd: S) -> f32 {
        let lanes = S::F32_LANES.max(4);
        let length = self.a.len() / self.stream.arrays() / (STEP * lanes) * (STEP * lanes);
        let (a, rest) = self.a.split_at_mut(length);
        let x = simd.splat_f32s(black_box(0.5));
        let mut total = 0.0;
        /// Runs the body for the place of each vector.
        macro_rules! each_vector {
            ($at:ident => $body:expr) => {
                let beside = STEP / PARTS * S::F32_LANES;
                for at in (0..length / PARTS).step_by(beside) {
                    for i in 0..STEP {
                        let $at = place::<S, PARTS>(length, at, i);
                        $body
                    }
                }
            };
        }
        for _ in 0..self.passes {
            match self.stream {
                Stream::Read => total += sum::<S, PARTS>(simd, a),
                Stream::Write => {
                    let a = a.as_mut_ptr();
                    // SAFETY: a vector of a.
                    each_vector!(at => unsafe { simd.store_f32s(a.add(at), x) });
                }
                Stream::WriteNonTemporal => {
                    let a = a.as_mut_ptr();
                    // SAFETY: a vector of a, aligned like the buffer (`stream` checks its alignment).
                    each_vector!(at => unsafe { simd.stream_f32s(a.add(at), x) });
                    stream_fence();
                }
                Stream::Copy => {
                    let (to, from) = (a.as_mut_ptr(), rest[..length].as_ptr());
                    // One vector at a time: an array of vectors would go through the stack, which limits the speed in L1
                    // and L2. (Measured: docs/measurements.md, 'copies through the stack'.)
                    each_vector!(at => {
                        // SAFETY: a vector of both arrays.
                        unsafe {
                            let [v] = load::<S, 1>(simd, from.add(at));
                            simd.store_f32s(to.add(at), v);
                        }
                    });
                }
                Stream::Triad => {
                    let (b, c) = rest[..2 * length].split_at(length);
                    let (to, b, c) = (a.as_mut_ptr(), b.as_ptr(), c.as_ptr());
                    each_vector!(at => {
                        // SAFETY: a vector of all three arrays.
                        unsafe {
                            let [b] = load::<S, 1>(simd, b.add(at));
                            let [c] = load::<S, 1>(simd, c.add(at));
                            simd.store_f32s(to.add(at), simd.mul_add_e_f32s(x, c, b));
                        }
                    });
                }
            }
            black_box(&mut *a);
        }
        total
    }
}

/// Place of vector `i` of a step in an array of `length` elements, a multiple of a step. `at` is the place of the step in
/// each part.
#[inline(always)]
fn place<S: KernelSimd, const PARTS: usize>(length: usize, at: usize, i: usize) -> usize {
    let beside = STEP / PARTS;
    i / beside * (length / PARTS) + at + i % beside * S::F32_LANES
}

/// Runs `stream` over `buffer` `passes` times, in some parts at a time, and returns the bytes that its definition counts.
///
/// # Panics
/// If the buffer is not aligned to 64 bytes.
pub fn stream(
    isa: IsaToken,
    stream: Stream,
    parts: Parts,
    buffer: &mut [f32],
    passes: usize,
) -> u64 {
    assert!(
        buffer.as_ptr().addr().is_multiple_of(64),
        "streaming stores need alignment"
    );
    let lanes = isa.isa().lanes().max(4);
    let elements = buffer.len() / stream.arrays() / (STEP * lanes) * (STEP * lanes);
    black_box(isa.dispatch(Streaming {
        stream,
        parts,
        passes,
        a: buffer,
    }));
    (elements * 4 * stream.arrays() * passes) as u64
}

/// Reads a buffer once, possibly without its last few vectors, in four parts at a time. From memory these are faster than
/// one. (Measured: docs/measurements.md, 'streams of weights'.)
pub fn read(isa: IsaToken, buffer: &[f32]) {
    struct Read<'a>(&'a [f32]);
    impl SimdTask for Read<'_> {
        type Output = f32;
        #[inline(always)]
        fn run<S: KernelSimd>(self, simd: S) -> f32 {
            let step = STEP * S::F32_LANES;
            sum::<S, 4>(simd, &self.0[..self.0.len() / step * step])
        }
    }
    black_box(isa.dispatch(Read(buffer)));
}

/// Sum of a buffer of whole steps.
#[inline(always)]
fn sum<S: KernelSimd, const PARTS: usize>(simd: S, buffer: &[f32]) -> f32 {
    let mut sums = [simd.splat_f32s(0.0); STEP];
    for at in (0..buffer.len() / PARTS).step_by(STEP / PARTS * S::F32_LANES) {
        for (i, sum) in sums.iter_mut().enumerate() {
            let at = place::<S, PARTS>(buffer.len(), at, i);
            // SAFETY: a vector of the buffer.
            let [x] = unsafe { load::<S, 1>(simd, buffer.as_ptr().add(at)) };
            *sum = simd.add_f32s(*sum, x);
        }
    }
    sums.iter().map(|&sum| simd.reduce_sum_f32s(sum)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::tensor::{AlignedBuf, as_f32s_mut};

    #[test]
    fn streams_do_what_they_say() {
        for (isa, parts) in Isa::F32
            .into_iter()
            .flat_map(|isa| Parts::ALL.map(|p| (isa, p)))
        {
            let Some(token) = isa.detect() else { continue };
            let mut lines = AlignedBuf::zeroed(96).expect("memory");
            let buffer = as_f32s_mut(&mut lines);
            buffer
                .iter_mut()
                .enumerate()
                .for_each(|(i, x)| *x = i as f32);
            let what = format!("{isa} {parts:?}");
            assert_eq!(stream(token, Stream::Triad, parts, buffer, 1), 96 * 64);
            for (i, &x) in buffer[..512].iter().enumerate() {
                let [b, c] = [512.0, 1024.0].map(|first| first + i as f32);
                assert_eq!(x, b + 0.5 * c, "{what}");
            }
            assert_eq!(stream(token, Stream::Copy, parts, buffer, 1), 96 * 64);
            assert!(buffer[..768] == buffer[768..], "{what}");
            let bytes = stream(token, Stream::WriteNonTemporal, parts, buffer, 2);
            assert_eq!(bytes, 2 * 96 * 64);
            assert!(buffer.iter().all(|&x| x == 0.5), "{what}");
            assert_eq!(stream(token, Stream::Read, parts, buffer, 3), 3 * 96 * 64);
            buffer.fill(1.0);
            stream(token, Stream::Write, parts, buffer, 1);
            assert!(buffer.iter().all(|&x| x == 0.5), "{what}");
        }
    }

    #[test]
    fn sums_take_each_vector_once() {
        struct Sum<'a, const PARTS: usize>(&'a [f32]);
        impl<const PARTS: usize> SimdTask for Sum<'_, PARTS> {
            type Output = f32;
            #[inline(always)]
            fn run<S: KernelSimd>(self, simd: S) -> f32 {
                sum::<S, PARTS>(simd, self.0)
            }
        }
        // Integers, so that their sum is exact in any order.
        let numbers: Vec<f32> = (0..512).map(|i| (i % 97) as f32).collect();
        let wanted: f32 = numbers.iter().sum();
        for token in Isa::F32.into_iter().filter_map(Isa::detect) {
            assert_eq!(token.dispatch(Sum::<1>(&numbers)), wanted);
            assert_eq!(token.dispatch(Sum::<2>(&numbers)), wanted);
            assert_eq!(token.dispatch(Sum::<4>(&numbers)), wanted);
        }
    }

    #[test]
    fn flops_are_counted() {
        let token = Isa::Scalar.detect().expect("scalar");
        assert_eq!(fma(token, 10), 2 * 10 * (CHAINS * Baseline::LANES) as u64);
    }

    #[test]
    fn dot_products_count_each_multiply_add() {
        for token in Isa::ALL.into_iter().filter_map(Isa::detect) {
            let of = |arithmetic| multiply_adds(token, arithmetic, 10);
            let isa = token.isa();
            let lanes = (2 * 10 * CHAINS * isa.lanes()) as u64;
            let f32s = fma(token, 10);
            assert_eq!(of(Arithmetic::F32), f32s);
            let [one, bf16s, bytes] = Arithmetic::ALL.map(|a| a.group(isa) as u64);
            assert_eq!(one, 1);
            let wanted = if bf16s == 1 { f32s } else { bf16s * lanes };
            assert_eq!(of(Arithmetic::Bf16), wanted, "{isa}");
            assert_eq!(of(Arithmetic::Int8), bytes * lanes, "{isa}");
        }
    }

    #[test]
    fn dot_products_are_added_in_each_round() {
        let token = Isa::Scalar.detect().expect("scalar");
        // Halves of the factors: 0x3f80 twice, and 0x3f80 and -0x4080.
        let product = 0x3f80 * 0x3f80 - 0x3f80 * 0x4080;
        for rounds in [0, 1, 7] {
            let sum = 0.5f32.to_bits().wrapping_add_signed(product * rounds);
            let sum = f32::from_bits(sum);
            let expected: f32 = (0..CHAINS).map(|_| sum).sum();
            let (rounds, dot) = (rounds as usize, S16s);
            assert_eq!(token.dispatch(Dots { rounds, dot }), expected);
        }
    }

    #[test]
    fn the_best_set_has_kernels_of_the_arithmetic() {
        for arithmetic in Arithmetic::ALL {
            let best = arithmetic.best().isa();
            assert!(arithmetic.has_kernels_for(best));
            assert_eq!(best.lanes(), Isa::best().isa().lanes());
            for isa in Isa::ALL.into_iter().filter(|isa| isa.base() != *isa) {
                let own = match arithmetic {
                    Arithmetic::F32 => false,
                    Arithmetic::Bf16 => isa.has_dots(Words::Bf16),
                    Arithmetic::Int8 => isa.has_dots(Words::Bytes),
                };
                assert_eq!(arithmetic.has_kernels_for(isa), own, "{isa}");
            }
        }
        assert_eq!(Arithmetic::F32.best().isa(), Isa::best().isa());
    }

    #[test]
    fn a_type_has_the_arithmetic_that_is_measured_with_it() {
        for arithmetic in Arithmetic::ALL {
            assert_eq!(Arithmetic::of(arithmetic.src()), arithmetic);
        }
        assert_eq!(Arithmetic::of(DType::S8), Arithmetic::Int8);
    }
}
