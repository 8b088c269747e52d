//! The register tile on words of several channels: bytes, 16-bit integers and bf16. Their loads, stores and conversions.
#![allow(unsafe_code)]

use super::harness::{Fenced, Width, around};
use crate::arch::KernelSimd;
use crate::blocking::RegisterTile;
use crate::data::Rng;
use crate::exec::RowsMut;
use crate::isa::{Sets, SimdTask, Words};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::{
    Bf16s, Bytes, Dot, PanelTimesPixels, Prefetch, S16Dots, S16s, Source, TileEpilogue, U8S7s,
};
use crate::micro::matvec::{PanelsTimesVector, SIDE_BY_SIDE};
use crate::micro::outputs::Outputs;
use crate::micro::pixels::{PixelOffsets, StridedPixels};
use crate::micro::widen::{Copied, CopyPixels, CopyTaps};
use crate::problem::{ConvShape, Problem};
use std::ops::Range;

pub(super) const TESTS: &[super::harness::Test] = tests! {
    tiles_of_bytes
    weights_whose_products_may_exceed_16_bits_are_told
    tiles_of_16_bit_integers
    tiles_of_bf16
    narrow_panels_times_a_vector
    dot_products_of_vectors_and_lanes
    narrow_elements_are_loaded_stored_and_rounded
    integers_are_added_and_divided
    pixels_are_widened_and_padded
    taps_are_gathered_padded_and_widened
};

/// Words of a pixel: less than a step of four words, and more.
const WORDS: [usize; 5] = [1, 3, 4, 7, 17];

/// Tiles of rows of a matrix, for each width and size.
fn tiles<D: Dot>(dot_of: D) {
    for width in Width::of(D::SETS) {
        let tile = RegisterTile::of(width.isa());
        for pixels in around(tile.pixels) {
            for words in WORDS {
                for outputs in around(CHANNEL_BLOCK) {
                    if outputs <= tile.blocks * CHANNEL_BLOCK {
                        product(width, dot_of, [pixels, words, outputs]);
                    }
                }
            }
        }
    }
}

fn product<D: Dot>(width: Width, dot_of: D, [pixels, words, outputs]: [usize; 3]) {
    let mut rng = Rng::new(1);
    let mut fenced = |len: usize, operand: fn(Words, &mut Rng) -> u32| {
        let word = |_| f32::from_bits(operand(D::WORDS, &mut rng));
        Fenced::of(&(0..len).map(word).collect::<Vec<f32>>())
    };
    let lanes = outputs.div_ceil(CHANNEL_BLOCK) * CHANNEL_BLOCK;
    let src = fenced(pixels * words, source);
    let mut panel = fenced((words + 1) * lanes, weight);
    // The sums begin with integers or floats, which the first row holds.
    panel[..lanes].fill(f32::from_bits(if D::FLOATS { 3f32.to_bits() } else { 77 }));
    let mut out = Fenced::poisoned(pixels * outputs);
    width.run(PanelTimesPixels {
        src: Source {
            data: &src,
            block: words,
            block_stride: words,
        },
        pixels: PixelOffsets::Strided(StridedPixels {
            pixels,
            step: words,
        }),
        channels: 0..words,
        panel: &panel,
        epilogue: TileEpilogue::default(),
        prefetch: Prefetch::Nothing,
        out: Outputs::matrix(RowsMut::new(&mut out, outputs)),
        dot: dot_of,
    });
    let signed = width.isa().signed_sources();
    for (i, y) in out.iter().enumerate() {
        let (pixel, output) = (i / outputs, i % outputs);
        let wanted = (0..words).fold(panel[output].to_bits(), |sum, k| {
            let (x, w) = (src[pixel * words + k], panel[(k + 1) * lanes + output]);
            dot(D::WORDS, signed, sum, x.to_bits(), w.to_bits())
        });
        let case = (width, dot_of, pixels, words, outputs);
        assert_eq!(y.to_bits(), wanted, "{case:?}: output {i}");
    }
}

/// A word of weights: one like those of the source, or bytes whose products with any source just fit into 16 bits.
fn weight(words: Words, rng: &mut Rng) -> u32 {
    if words != Words::U8S7 {
        return source(words, rng);
    }
    let most = [
        [127, 1],
        [1, 127],
        [64, 64],
        [-64, -64],
        [-128, 0],
        [127, -128],
    ];
    let mut pair = || match rng.below(2) {
        0 => rng.pick(&most),
        _ => [(); 2].map(|()| rng.below(128) as i8 - 64),
    };
    let ([a, b], [c, d]) = (pair(), pair());
    assert!(U8S7s::allows([a, b, c, d]));
    u32::from_le_bytes([a, b, c, d].map(i8::cast_unsigned))
}

/// A word of the source: bytes, often extreme ones, or small integers as floats. These are exact, and so are sums of their
/// products.
pub(super) fn source(words: Words, rng: &mut Rng) -> u32 {
    let byte = |rng: &mut Rng| match rng.below(4) {
        0 => rng.pick(&[0, 1, 127, 128, 255]),
        _ => rng.below(256) as u8,
    };
    let float = |rng: &mut Rng| (rng.below(33) as f32 - 16.0).to_bits();
    match words {
        Words::F32 => float(rng),
        Words::Bf16 => float(rng) >> 16 | float(rng),
        Words::S16 | Words::Bytes | Words::U8S7 => u32::from_le_bytes([(); 4].map(|()| byte(rng))),
    }
}

/// The sum plus the products of two words, by their definition. [`Words::Bytes`] of `x` may be `signed`.
pub(super) fn dot(words: Words, signed: bool, sum: u32, x: u32, w: u32) -> u32 {
    let floats = |a: f32| (f32::from_bits(sum) + a).to_bits();
    let integers = |products: i64| (i64::from(sum) + products) as u32;
    let halves = |word: u32| [word as i16, (word >> 16) as i16].map(i64::from);
    let bf16s = |word: u32| [word << 16, word & 0xffff_0000].map(f32::from_bits);
    let bytes = |value: fn(u8) -> i64| {
        let pairs = x.to_le_bytes().into_iter().zip(w.to_le_bytes());
        let product = |(x, w)| value(x) * i64::from(w as i8);
        integers(pairs.map(product).sum())
    };
    match words {
        Words::F32 => floats(f32::from_bits(x) * f32::from_bits(w)),
        Words::Bf16 => {
            let ([a, b], [c, d]) = (bf16s(x), bf16s(w));
            floats(a * c + b * d)
        }
        Words::S16 => {
            let ([a, b], [c, d]) = (halves(x), halves(w));
            integers(a * c + b * d)
        }
        Words::Bytes if signed => bytes(|x| i64::from(x as i8)),
        Words::Bytes | Words::U8S7 => bytes(i64::from),
    }
}

fn tiles_of_bytes() {
    tiles(Bytes);
    tiles(U8S7s);
}

fn weights_whose_products_may_exceed_16_bits_are_told() {
    for (word, allowed) in [
        ([127, 1, 0, 0], true),
        ([127, 2, 0, 0], false),
        ([0, 0, 2, 127], false),
        // Of different words for `vpmaddubsw`.
        ([0, 127, 127, 0], true),
        ([-128, 127, -128, 127], true),
        ([-128, -1, 0, 0], false),
        ([-64, -64, 64, 64], true),
    ] {
        assert_eq!(U8S7s::allows(word), allowed, "{word:?}");
    }
}

fn tiles_of_16_bit_integers() {
    tiles(S16s);
    tiles(S16Dots);
}

fn tiles_of_bf16() {
    tiles(Bf16s);
}

/// Panels times one vector, on each instruction set with or without dot products of the words.
fn vectors<D: Dot>(dot_of: D) {
    for width in Width::of(Sets::With(D::WORDS)) {
        for blocks in 1..RegisterTile::of(width.isa()).blocks + 1 {
            for out_blocks in around(SIDE_BY_SIDE * blocks) {
                for words in [4, 20] {
                    vector(width, dot_of, blocks, out_blocks, words);
                }
            }
        }
    }
}

fn vector<D: Dot>(width: Width, dot_of: D, blocks: usize, out_blocks: usize, words: usize) {
    let mut rng = Rng::new(5);
    let mut fenced = |len: usize| {
        let word = |_| f32::from_bits(source(D::WORDS, &mut rng));
        Fenced::of(&(0..len).map(word).collect::<Vec<f32>>())
    };
    let (panel, outputs) = (blocks * CHANNEL_BLOCK, out_blocks * CHANNEL_BLOCK);
    let (x, mut panels) = (fenced(words), fenced((words + 1) * outputs));
    // Panel, first output and width of the panel of an output. The last panel may be narrower.
    let place = |output: usize| {
        let first = output / panel * panel;
        (
            first * (words + 1),
            output - first,
            panel.min(outputs - first),
        )
    };
    // The sums begin with integers or floats, which the first row holds.
    for output in 0..outputs {
        let (at, lane, _) = place(output);
        let first = if D::FLOATS { 3f32.to_bits() } else { 77 };
        panels[at + lane] = f32::from_bits(first);
    }
    let mut out = Fenced::poisoned(outputs);
    width.run(PanelsTimesVector {
        x: &x,
        panels: &panels,
        step: (words + 1) * panel,
        blocks,
        residual: None,
        relu: false,
        out: &mut out,
        dot: dot_of,
    });
    let signed = width.isa().signed_sources();
    for (output, y) in out.iter().enumerate() {
        let (at, lane, row) = place(output);
        let weights = &panels[at + lane..];
        let wanted = (0..words).fold(weights[0].to_bits(), |sum, k| {
            let (x, w) = (x[k].to_bits(), weights[(k + 1) * row].to_bits());
            dot(D::WORDS, signed, sum, x, w)
        });
        let case = (width, dot_of, blocks, out_blocks, words);
        assert_eq!(y.to_bits(), wanted, "{case:?}: output {output}");
    }
}

fn narrow_panels_times_a_vector() {
    vectors(Bytes);
    vectors(Bf16s);
}

/// Dot products of vectors of words, and of one lane after the other with all words.
struct Products<'a, const WORDS: usize>([&'a [u32]; 3]);

impl<const WORDS: usize> SimdTask for Products<'_, WORDS> {
    type Output = Vec<Vec<u32>>;
    const SETS: Sets = Sets::With(Words::ALL[WORDS]);

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) -> Self::Output {
        let [sums, x, w] = self
            .0
            .map(|bits| simd.load_part_f32s(bytemuck::cast_slice(bits)));
        let all = match Words::ALL[WORDS] {
            Words::F32 => simd.mul_add_e_f32s(x, w, sums),
            Words::Bf16 => simd.dot_bf16s(sums, x, w),
            Words::S16 => simd.dot_s16s(sums, x, w),
            Words::Bytes => simd.dot_bytes(sums, x, w),
            Words::U8S7 => simd.dot_u8s7(sums, x, w),
        };
        let by_lane = |lane| simd.dot_by_lane(Words::ALL[WORDS], sums, x, lane, w);
        let vectors = std::iter::once(all).chain((0..S::F32_LANES).map(by_lane));
        vectors
            .map(|v| bytemuck::cast_slice(&[v]).to_vec())
            .collect()
    }
}

fn products<const WORDS: usize>() {
    let (words, mut rng) = (Words::ALL[WORDS], Rng::new(4));
    for width in Width::of(Sets::With(words)) {
        for _ in 0..100 {
            let mut vector = |operand: fn(Words, &mut Rng) -> u32| -> Vec<u32> {
                let lanes = 0..width.lanes();
                lanes.map(|_| operand(words, &mut rng)).collect()
            };
            let [sums, x, w] = [vector(source), vector(source), vector(weight)];
            let sums = match words {
                Words::F32 | Words::Bf16 => sums.iter().map(|_| 3f32.to_bits()).collect(),
                _ => sums,
            };
            let found = width.run(Products::<WORDS>([&sums, &x, &w]));
            let wanted = |lane: Option<usize>| -> Vec<u32> {
                let x = |i| x[lane.unwrap_or(i)];
                let lanes = 0..width.lanes();
                let signed = width.isa().signed_sources();
                lanes
                    .map(|i| dot(words, signed, sums[i], x(i), w[i]))
                    .collect()
            };
            let lanes = (0..width.lanes()).map(Some);
            let wanted: Vec<_> = std::iter::once(None).chain(lanes).map(wanted).collect();
            assert_eq!(found, wanted, "{width:?}: {words:?}");
        }
    }
}

fn dot_products_of_vectors_and_lanes() {
    products::<0>();
    products::<1>();
    products::<2>();
    products::<3>();
    products::<4>();
}

/// Loads and stores of narrow elements between guards, and conversions. Results are the bits of a vector's lanes.
struct Conversions<'a> {
    words: &'a [u32],
    bytes: &'a mut [u8],
    halves: &'a mut [u16],
}

impl SimdTask for Conversions<'_> {
    type Output = [Vec<u32>; 6];

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) -> Self::Output {
        let lanes = S::F32_LANES;
        assert!(
            self.words.len() == lanes && self.bytes.len() == lanes && self.halves.len() == lanes
        );
        let bits = |v: S::f32s| bytemuck::cast_slice(&[v]).to_vec();
        // SAFETY: each slice has as many elements as a vector has lanes.
        unsafe {
            let x = simd.load_f32s(self.words.as_ptr().cast());
            let bytes = [
                bits(simd.load_u8s(self.bytes.as_ptr())),
                bits(simd.load_s8s(self.bytes.as_ptr().cast())),
            ];
            let bf16s = bits(simd.load_bf16s(self.halves.as_ptr()));
            simd.store_low_bytes(self.bytes.as_mut_ptr(), x);
            simd.store_low_halves(self.halves.as_mut_ptr(), x);
            let [u8s, s8s] = bytes;
            let floats = bits(simd.floats_of_s32s(x));
            // The upper bits of a 24-bit integer and a half: ties are to even.
            let ties = simd.mul_f32s(simd.floats_of_s32s(x), simd.splat_f32s(0.5f32.powi(8)));
            let rounded = bits(simd.s32s_of_floats(ties));
            [
                u8s,
                s8s,
                bf16s,
                floats,
                rounded,
                bits(simd.bf16s_of_floats(x)),
            ]
        }
    }
}

fn narrow_elements_are_loaded_stored_and_rounded() {
    let mut rng = Rng::new(2);
    let special = [0, 1, 127, 128, 255, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]
        .into_iter()
        // NaN, infinity, ties of bf16, a denormal.
        .chain([
            0x7fc0_0001,
            0x7f80_0001,
            0x7f80_0000,
            0x3f80_8000,
            0x3f81_8000,
            0x0000_8001,
        ]);
    let special: Vec<u32> = special.collect();
    for width in Width::all() {
        let lanes = width.lanes();
        for _ in 0..200 {
            let words: Vec<u32> = (0..lanes)
                .map(|_| match rng.below(3) {
                    0 => rng.pick(&special),
                    // Half-way between integers after the division by 256, or nearly.
                    1 => (rng.below(1 << 16) as u32) << 7,
                    _ => rng.bits() as u32,
                })
                .collect();
            let old: Vec<u8> = (0..lanes).map(|_| rng.bits() as u8).collect();
            let wide: Vec<u16> = (0..lanes).map(|_| rng.bits() as u16).collect();
            let (mut bytes, mut halves) = ([0xaa; 48], [0xaaaa; 48]);
            bytes[16..][..lanes].copy_from_slice(&old);
            halves[16..][..lanes].copy_from_slice(&wide);
            let found = width.run(Conversions {
                words: &words,
                bytes: &mut bytes[16..][..lanes],
                halves: &mut halves[16..][..lanes],
            });
            let signed = |word: &u32| word.cast_signed();
            let rounded = |word: &u32| (signed(word) as f32 / 256.0).round_ties_even() as i32;
            let wanted = [
                old.iter().map(|&x| u32::from(x)).collect(),
                old.iter()
                    .map(|&x| i32::from(x as i8).cast_unsigned())
                    .collect(),
                wide.iter().map(|&x| u32::from(x) << 16).collect(),
                words.iter().map(|x| (signed(x) as f32).to_bits()).collect(),
                words.iter().map(|x| rounded(x).cast_unsigned()).collect(),
                words.iter().map(|&x| nearest_bf16(x)).collect::<Vec<u32>>(),
            ];
            assert_eq!(found, wanted, "{width:?}: {words:x?}");
            let stored = |i: usize| (bytes[16 + i], halves[16 + i]);
            for (i, &word) in words.iter().enumerate() {
                assert_eq!(stored(i), (word as u8, word as u16), "{width:?}");
            }
            let outside = |i: &usize| !(16..16 + lanes).contains(i);
            for i in (0..48).filter(outside) {
                assert_eq!(
                    (bytes[i], halves[i]),
                    (0xaa, 0xaaaa),
                    "{width:?}: element {i}"
                );
            }
        }
    }
}

/// Sums, differences and quarters of integers, and loads of pairs of bytes. Results are the bits of a vector's lanes.
struct Integers<'a> {
    words: [&'a [u32]; 2],
    bytes: &'a [u8],
}

impl SimdTask for Integers<'_> {
    type Output = [Vec<u32>; 7];

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) -> Self::Output {
        let ([a, b], lanes) = (self.words, S::F32_LANES);
        assert!(a.len() == lanes && b.len() == lanes && self.bytes.len() == 2 * lanes);
        let bits = |v: S::f32s| bytemuck::cast_slice(&[v]).to_vec();
        // SAFETY: each slice has as many elements as a vector has lanes, or twice as many.
        unsafe {
            let (a, b) = (
                simd.load_f32s(a.as_ptr().cast()),
                simd.load_f32s(b.as_ptr().cast()),
            );
            [
                bits(simd.add_s32s(a, b)),
                bits(simd.sub_s32s(a, b)),
                bits(simd.quarters_of_s32s(a)),
                bits(simd.add_s16s(a, b)),
                bits(simd.sub_s16s(a, b)),
                bits(simd.load_u8_pairs(self.bytes.as_ptr())),
                bits(simd.load_s8_pairs(self.bytes.as_ptr().cast())),
            ]
        }
    }
}

fn integers_are_added_and_divided() {
    let mut rng = Rng::new(5);
    let halves = |a: u32, b: u32, f: fn(i16, i16) -> i16| {
        let half = |shift: u32| u32::from(f((a >> shift) as i16, (b >> shift) as i16) as u16);
        half(0) | half(16) << 16
    };
    for width in Width::all() {
        for _ in 0..100 {
            let mut words = || -> Vec<u32> {
                let special = [0, 3, 0xffff_fffd, 0x7fff_ffff, 0x8000_0000, 0x8000_7fff];
                let word = |_| match rng.below(3) {
                    0 => rng.pick(&special),
                    _ => rng.bits() as u32,
                };
                (0..width.lanes()).map(word).collect()
            };
            let (a, b) = (words(), words());
            let bytes: Vec<u8> = (0..2 * width.lanes()).map(|_| rng.bits() as u8).collect();
            let found = width.run(Integers {
                words: [&a, &b],
                bytes: &bytes,
            });
            let of_both = |f: &dyn Fn(u32, u32) -> u32| -> Vec<u32> {
                a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect()
            };
            let of_pairs = |f: fn(u8) -> u16| -> Vec<u32> {
                let pairs = bytes.chunks_exact(2);
                let word = |pair: &[u8]| u32::from(f(pair[0])) | u32::from(f(pair[1])) << 16;
                pairs.map(word).collect()
            };
            let wanted = [
                of_both(&u32::wrapping_add),
                of_both(&u32::wrapping_sub),
                of_both(&|a, _| a.cast_signed().div_euclid(4).cast_unsigned()),
                of_both(&|a, b| halves(a, b, i16::wrapping_add)),
                of_both(&|a, b| halves(a, b, i16::wrapping_sub)),
                of_pairs(u16::from),
                of_pairs(|x| i16::from(x as i8) as u16),
            ];
            assert_eq!(found, wanted, "{width:?}: {a:x?}, {b:x?}");
        }
    }
}

/// The bf16 that is nearest to a float, by comparison with its neighbours in f64. The one with an even last bit of two.
fn nearest_bf16(bits: u32) -> u32 {
    let x = f32::from_bits(bits);
    if x.is_nan() {
        return bits >> 16 | 0x40;
    }
    let value = |half: u32| match half & 0x7fff {
        // The next value after the largest, were it no infinity.
        0x7f80 => {
            f64::from(f32::from_bits(half << 16 & 0x8000_0000 | 0x3f80_0000)) * 2f64.powi(128)
        }
        _ => f64::from(f32::from_bits(half << 16)),
    };
    if x.is_infinite() {
        return bits >> 16;
    }
    let (near, far) = (bits >> 16, (bits >> 16) + 1);
    let [near_by, far_by] = [near, far].map(|half| (value(half) - f64::from(x)).abs());
    if near_by < far_by || near_by == far_by && near.is_multiple_of(2) {
        near
    } else {
        far
    }
}

fn pixels_are_widened_and_padded() {
    let mut rng = Rng::new(3);
    for width in Width::all() {
        for (pixels, channels) in [(1, 1), (3, 5), (2, 8), (7, 3), (5, 32), (4, 33)] {
            let bytes: Vec<u8> = (0..2 * pixels * channels)
                .map(|_| rng.bits() as u8)
                .collect();
            let ints = &bytes[..pixels * channels];
            let zero = rng.below(256) as i16 - 128;
            let copy = |how, from: &[u8], group: usize| {
                let mut to = Fenced::poisoned(pixels * channels.div_ceil(group));
                width.run(CopyPixels {
                    how,
                    from,
                    pixel: from.len() / pixels,
                    to: &mut to,
                });
                to.iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
            };
            // Each element is shifted to its place in a word.
            let words = |group: usize, element: &dyn Fn(usize) -> u32| {
                let word = |pixel: usize, word: usize| {
                    let channels = (word * group..(word + 1) * group).filter(|c| *c < channels);
                    let place = |c: usize| {
                        element(pixel * (bytes.len() / 2 / pixels) + c)
                            << (c % group * (32 / group))
                    };
                    channels.map(place).fold(0, |all, bits| all | bits)
                };
                let all =
                    (0..pixels).flat_map(|p| (0..channels.div_ceil(group)).map(move |w| (p, w)));
                all.map(|(p, w)| word(p, w)).collect::<Vec<u32>>()
            };
            let half = |x: i16| u32::from(x as u16);
            let case = (width, pixels, channels);
            for flip in [0, 0x80] {
                let bytes = |i: usize| u32::from(ints[i] ^ flip);
                let copied = copy(Copied::Bytes { flip }, ints, 4);
                assert_eq!(copied, words(4, &bytes), "{case:?}: {flip}");
            }
            let u8s = |i: usize| half(i16::from(ints[i]) - zero);
            assert_eq!(
                copy(Copied::U8 { zero }, ints, 2),
                words(2, &u8s),
                "{case:?}"
            );
            let s8s = |i: usize| half(i16::from(ints[i] as i8) - zero);
            assert_eq!(
                copy(Copied::S8 { zero }, ints, 2),
                words(2, &s8s),
                "{case:?}"
            );
            let bf16s = |i: usize| u32::from_le_bytes([0, 0, bytes[2 * i], bytes[2 * i + 1]]);
            assert_eq!(copy(Copied::F32, &bytes, 1), words(1, &bf16s), "{case:?}");
        }
    }
}

/// Bytes of an element in a form.
fn in_form(how: Copied, element: &[u8]) -> Vec<u8> {
    match how {
        Copied::Bytes { flip } => element.iter().map(|x| x ^ flip).collect(),
        Copied::F32 => [&[0, 0], element].concat(),
        Copied::U8 { zero } => (i16::from(element[0]) - zero).to_le_bytes().into(),
        Copied::S8 { zero } => (i16::from(element[0] as i8) - zero).to_le_bytes().into(),
    }
}

/// Byte of taps in the padding.
const PADDING: u8 = 0x4d;

/// Row of an im2col matrix by its definition, with zeros after its last element. Elements have `size` bytes.
fn row_of_taps(how: Copied, conv: &ConvShape, image: &[u8], size: usize, pixel: usize) -> Vec<u8> {
    let [y, x] = [pixel / conv.w_out(), pixel % conv.w_out()];
    let mut row = Vec::new();
    for tap in 0..conv.kernel[0] * conv.kernel[1] {
        let at = |out: usize, tap: usize, axis: usize, pad: usize, end: usize| {
            let at = out * conv.stride[axis] + tap * conv.dilation[axis];
            at.checked_sub(pad).filter(|at| *at < end)
        };
        let input = [
            at(y, tap / conv.kernel[1], 0, conv.pad.top, conv.h),
            at(x, tap % conv.kernel[1], 1, conv.pad.left, conv.w),
        ];
        for channel in 0..conv.c_in {
            row.extend(match input {
                [Some(y), Some(x)] => {
                    let first = ((y * conv.w + x) * conv.c_in + channel) * size;
                    in_form(how, &image[first..first + size])
                }
                _ if matches!(how, Copied::Bytes { .. }) => vec![PADDING; size],
                _ => vec![0; in_form(how, &[0, 0][..size]).len()],
            });
        }
    }
    row.resize(row.len().next_multiple_of(4), 0);
    row
}

/// Gathers some output pixels' inputs. Rows are `extra` words longer than their inputs.
fn gather(
    how: Copied,
    conv: &ConvShape,
    [size, extra]: [usize; 2],
    pixels: Range<usize>,
    image: &[u8],
) {
    let rows = pixels.clone();
    let rows = rows.map(|pixel| row_of_taps(how, conv, image, size, pixel));
    let rows: Vec<Vec<u8>> = rows.collect();
    let row = rows[0].len() / 4 + extra;
    for width in Width::all() {
        let mut to = Fenced::poisoned(rows.len() * row);
        width.run(CopyTaps {
            how,
            image,
            pixel: conv.c_in * size,
            conv,
            pixels: pixels.clone(),
            padding: PADDING,
            to: &mut to,
        });
        for (found, wanted) in to.chunks_exact(row).zip(&rows) {
            let found = &bytemuck::cast_slice::<_, u8>(found)[..wanted.len()];
            assert_eq!(found, wanted, "{width:?} {how:?} {conv:?} {pixels:?}");
        }
    }
}

fn taps_are_gathered_padded_and_widened() {
    let mut rng = Rng::new(6);
    let forms = [
        (Copied::Bytes { flip: 0 }, 1),
        (Copied::Bytes { flip: 0x80 }, 1),
        (Copied::Bytes { flip: 0 }, 2),
        (Copied::F32, 2),
        (Copied::U8 { zero: 3 }, 1),
        (Copied::S8 { zero: -7 }, 1),
    ];
    for text in [
        "mb1ic3ih9iw8oc1kh1kw7ph0pw3sh1sw2",
        "mb1ic5ih7iw4oc1kh3kw3ph1pw1",
        "mb1ic33ih4iw5oc1kh2kw3ph1pw1dh1dw1",
        "mb1ic1ih3iw2oc1kh5kw5ph4pw4",
        "mb1ic16ih6iw3oc1kh1kw1",
    ] {
        let problem: Problem = text.parse().expect(text);
        let conv: &ConvShape = problem.op.shape().expect("a convolution");
        let all = conv.h_out() * conv.w_out();
        for (how, size) in forms {
            let image = (0..conv.h * conv.w * conv.c_in * size).map(|_| rng.bits() as u8);
            let image: Vec<u8> = image.collect();
            for (pixels, extra) in [(0..all, 0), (1..all, 16), (all / 2..all / 2 + 1, 0)] {
                gather(how, conv, [size, extra], pixels, &image);
            }
        }
    }
}
