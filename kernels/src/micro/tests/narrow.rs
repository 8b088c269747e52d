//! Poolings, ReLUs and sums of u8, s8 and bf16, and the operations on integers that they use.
#![allow(unsafe_code)]

use super::harness::Width;
use super::pooling::{WINDOWS, axes};
use crate::arch::KernelSimd;
use crate::data::Rng;
use crate::dtype::{Bf16, DType, Element};
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use crate::micro::pointwise_bytes::{ConvertBytes, MapBytes};
use crate::micro::pool_bytes::PoolBytes;
use crate::micro::windows::Axis;
use crate::problem::{Problem, Requantisation};
use crate::window::Window;
use std::ops::{Deref, DerefMut};

pub(super) const TESTS: &[super::harness::Test] = tests! {
    operations_on_integers
    keys_of_bf16s_are_in_order
    windows_over_bytes
    whole_maps_in_parts
    means_of_limits_are_limits
    copies_and_relus_of_bytes
    sums_and_conversions_of_bytes
};

const TYPES: [DType; 3] = [DType::U8, DType::S8, DType::Bf16];

/// Bytes between guards, which must be unchanged at the end.
struct Guarded {
    all: Vec<u8>,
    len: usize,
}

impl Guarded {
    const GUARD: usize = 64;
    const VALUE: u8 = 0xa5;

    fn new(len: usize) -> Self {
        let all = vec![Self::VALUE; len + 2 * Self::GUARD];
        Guarded { all, len }
    }

    /// Random elements. One in eight of bf16 is a NaN, an infinity or a zero of either sign. Others and bytes have any value
    /// from -128 to 255 that the type has.
    fn random(dtype: DType, elements: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut bytes = Guarded::new(elements * dtype.size());
        for element in bytes.chunks_exact_mut(dtype.size()) {
            match element {
                [byte] => *byte = rng.below(256) as u8,
                half => {
                    let special = [0x7fc0, 0xffff, 0x7f80, 0xff80, 0, 0x8000];
                    let bits = match rng.below(8) {
                        0 => rng.pick(&special),
                        _ => Bf16::from_f32(rng.below(384) as f32 - 128.0).to_bits(),
                    };
                    half.copy_from_slice(&bits.to_ne_bytes());
                }
            }
        }
        bytes
    }
}

impl Deref for Guarded {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.all[Self::GUARD..][..self.len]
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.all[Self::GUARD..][..self.len]
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let (before, rest) = self.all.split_at(Self::GUARD);
        let after = &rest[self.len..];
        let intact = [before, after].concat().iter().all(|&x| x == Self::VALUE);
        assert!(intact || std::thread::panicking(), "written outside");
    }
}

/// Values of elements.
fn values(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let value = |x: &[u8]| match (dtype, x) {
        (DType::U8, [x]) => f64::from(*x),
        (DType::S8, [x]) => f64::from(*x as i8),
        (_, [low, high]) => Bf16::from_bits(u16::from_ne_bytes([*low, *high])).to_f64(),
        _ => panic!("{dtype} in {x:?}"),
    };
    bytes.chunks_exact(dtype.size()).map(value).collect()
}

/// Checks values of elements: NaNs for NaNs, all others equal.
#[track_caller]
fn assert_same(y: &[f64], expected: &[f64], case: impl std::fmt::Debug) {
    assert_eq!(y.len(), expected.len());
    let same = |(y, e): (&f64, &f64)| y == e || y.is_nan() && e.is_nan();
    if let Some(at) = y.iter().zip(expected).position(|pair| !same(pair)) {
        panic!("{case:?}: element {at} is {} for {}", y[at], expected[at]);
    }
}

/// Operations of two vectors.
const BINARY: usize = 6;

/// An operation on a vector of each operand.
struct Operation<'a> {
    which: usize,
    operands: [&'a [u32]; 2],
    out: &'a mut [u32],
}

impl SimdTask for Operation<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let [a, b] = self.operands;
        assert!(a.len() == S::F32_LANES && b.len() == a.len() && self.out.len() == a.len());
        // SAFETY: all have the lanes of a vector.
        unsafe {
            let (a, b) = (
                simd.load_f32s(a.as_ptr().cast()),
                simd.load_f32s(b.as_ptr().cast()),
            );
            let y = match self.which {
                0 => simd.max_u8s(a, b),
                1 => simd.max_s8s(a, b),
                2 => simd.max_s16s(a, b),
                3 => simd.add_s16s(a, b),
                4 => simd.and_bits(a, b),
                5 => simd.or_bits(a, b),
                6 => simd.shift_up(a, 8),
                7 => simd.shift_down(a, 16),
                8 => simd.keys_of_bf16s(a),
                _ => simd.bf16s_of_keys(a),
            };
            simd.store_f32s(self.out.as_mut_ptr().cast(), y);
        }
    }
}

/// An operation on words by its definition.
fn defined(which: usize, a: u32, b: u32) -> u32 {
    let bytes = |f: fn(u8, u8) -> u8| {
        let (a, b) = (a.to_ne_bytes(), b.to_ne_bytes());
        u32::from_ne_bytes(std::array::from_fn(|i| f(a[i], b[i])))
    };
    let halves = |f: fn(i16, i16) -> i16| {
        let low = f(a as i16, b as i16) as u16;
        let high = f((a >> 16) as i16, (b >> 16) as i16) as u16;
        u32::from(low) | u32::from(high) << 16
    };
    /// Position of a bf16 among all, in order from negative infinity, then NaNs.
    fn key(bits: i16) -> i16 {
        let magnitude = i32::from(bits & 0x7fff);
        let order = if bits < 0 { -1 - magnitude } else { magnitude };
        let order = order - 127;
        (if order < -32768 { order + 65536 } else { order }) as i16
    }
    /// Bits of the bf16 with a key.
    fn of_key(key: i16) -> i16 {
        let order = i32::from(key) + 127;
        let order = if order > 32767 { order - 65536 } else { order };
        (if order < 0 { -32769 - order } else { order }) as i16
    }
    match which {
        0 => bytes(|a, b| a.max(b)),
        1 => bytes(|a, b| (a as i8).max(b as i8) as u8),
        2 => halves(i16::max),
        3 => halves(i16::wrapping_add),
        4 => a & b,
        5 => a | b,
        6 => a << 8,
        7 => a >> 16,
        8 => halves(|a, _| key(a)),
        _ => halves(|key, _| of_key(key)),
    }
}

fn operations_on_integers() {
    for width in Width::all() {
        let mut rng = Rng::new(3);
        let extremes = [
            0u16, 1, 0x7f, 0x80, 0xff, 0x7f80, 0x7fff, 0x8000, 0xff80, 0xffff,
        ];
        for which in 0..10 {
            for _ in 0..20 {
                let mut word = || -> u32 {
                    let mut half = || match rng.below(2) {
                        0 => rng.pick(&extremes),
                        _ => rng.below(1 << 16) as u16,
                    };
                    u32::from(half()) | u32::from(half()) << 16
                };
                let mut operand = || -> Vec<u32> { (0..width.lanes()).map(|_| word()).collect() };
                let (a, b) = (operand(), operand());
                let mut out = vec![0; width.lanes()];
                width.run(Operation {
                    which,
                    operands: [&a, &b],
                    out: &mut out,
                });
                for (i, y) in out.iter().enumerate() {
                    let (a, b) = (a[i], if which < BINARY { b[i] } else { 0 });
                    let wanted = defined(which, a, b);
                    assert_eq!(*y, wanted, "{width:?}: operation {which} of {a:x}, {b:x}");
                }
            }
        }
    }
}

/// Keys are in the order of their bf16s, and NaNs are above all others.
fn keys_of_bf16s_are_in_order() {
    let key = |bits: u16| defined(8, bits.into(), 0) as i16;
    let value = |bits: u16| Bf16::from_bits(bits).to_f32();
    let mut numbers: Vec<u16> = (0..=u16::MAX).filter(|&b| !value(b).is_nan()).collect();
    numbers.sort_by_key(|&bits| key(bits));
    assert!(numbers.windows(2).all(|w| value(w[0]) <= value(w[1])));
    let largest = key(*numbers.last().expect("numbers"));
    assert!((0..=u16::MAX).all(|b| !value(b).is_nan() || key(b) > largest));
}

/// A pooling of two images.
struct Case {
    dtype: DType,
    means: bool,
    windows: [Window; 2],
    channels: usize,
    /// Pooled channels.
    part: [usize; 2],
    strip: usize,
    first: usize,
}

const IMAGES: usize = 2;

fn pool(width: Width, case: &Case, src: &[u8]) -> Guarded {
    let Case {
        dtype,
        means,
        windows: [down, across],
        part: [start, end],
        ..
    } = *case;
    let size = dtype.size();
    let row = across.out * (end - start) * size;
    let rows = down.out - case.first;
    let mut out = Guarded::new(IMAGES * rows * row);
    width.run(PoolBytes {
        dtype,
        means,
        images: src,
        pixel: case.channels * size,
        part: start * size..end * size,
        strip: case.strip,
        vertical: &Axis::new(down, true),
        horizontal: &Axis::new(across, true),
        first: case.first,
        out: RowsMut::new(&mut out, rows * row),
    });
    out
}

/// Outputs by the definition: those of bytes as they are stored, those of bf16 in f64.
fn pooled(case: &Case, src: &[f64]) -> Vec<f64> {
    let [down, across] = &case.windows;
    let mut all = Vec::new();
    for image in 0..IMAGES {
        for y in case.first..down.out {
            for x in 0..across.out {
                for c in case.part[0]..case.part[1] {
                    let mut window = Vec::new();
                    for row in down.inside(y).map(|r| down.at(y, r)) {
                        for column in across.inside(x).map(|s| across.at(x, s)) {
                            let pixel = (image * down.size + row) * across.size + column;
                            window.push(src[pixel * case.channels + c]);
                        }
                    }
                    all.push(reduced(case, &window));
                }
            }
        }
    }
    all
}

fn reduced(case: &Case, window: &[f64]) -> f64 {
    if case.means {
        let mean = window.iter().sum::<f64>() / window.len() as f64;
        return match case.dtype {
            DType::Bf16 => mean,
            dtype => dtype.stored(mean),
        };
    }
    match window.iter().any(|x| x.is_nan()) {
        true => f64::NAN,
        false => window.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b)),
    }
}

fn check(width: Width, case: &Case, seed: u64) {
    let [down, across] = &case.windows;
    let elements = IMAGES * down.size * across.size * case.channels;
    let mut src = Guarded::random(case.dtype, elements, seed);
    if case.means && case.dtype == DType::Bf16 {
        // Small integers, whose sums are exact.
        for (i, x) in src.chunks_exact_mut(2).enumerate() {
            let number = Bf16::from_f32((i * 7 % 31) as f32 - 15.0);
            x.copy_from_slice(&number.to_bits().to_ne_bytes());
        }
    }
    let out = pool(width, case, &src);
    let (y, expected) = (
        values(case.dtype, &out),
        pooled(case, &values(case.dtype, &src)),
    );
    let name = (
        width,
        case.dtype,
        case.means,
        case.windows[1],
        case.channels,
    );
    if case.means && case.dtype == DType::Bf16 {
        // Half of the distance between bf16s, and the rounding of the quotient.
        let near = |(y, e): (&f64, &f64)| (y - e).abs() <= DType::Bf16.rounding(*e) + 1e-5;
        assert!(y.iter().zip(&expected).all(near), "{name:?}");
    } else {
        assert_same(&y, &expected, name);
    }
}

/// Channels around one vector and around four.
fn channels(width: Width, dtype: DType) -> Vec<usize> {
    let vector = 4 * width.lanes() / dtype.size();
    let mut all = vec![1, 2, 3, 5];
    for edge in [vector, 4 * vector] {
        all.extend([edge - 1, edge, edge + 1]);
    }
    all.push(2 * vector + 3);
    all.retain(|&c| c > 0);
    all.sort_unstable();
    all.dedup();
    if cfg!(miri) {
        all.truncate(4);
    }
    all
}

fn windows_over_bytes() {
    for width in Width::all() {
        for dtype in TYPES {
            for channels in channels(width, dtype) {
                for window in WINDOWS {
                    let Some(windows) = axes(window, 6) else {
                        continue;
                    };
                    for (means, strip, first) in
                        [(false, usize::MAX, 0), (false, 2, 1), (true, usize::MAX, 1)]
                    {
                        let case = Case {
                            dtype,
                            means,
                            windows,
                            channels,
                            part: [0, channels],
                            strip,
                            first,
                        };
                        check(width, &case, 7);
                    }
                }
            }
        }
    }
}

/// Windows with more elements than a pair of sums holds, and with more columns. Parts of a pixel are one task each.
fn whole_maps_in_parts() {
    for width in Width::all() {
        for dtype in TYPES {
            for (means, [h, w]) in [(true, [17, 17]), (true, [2, 300]), (false, [3, 5])] {
                let axis = |size: usize| Window {
                    size,
                    out: 1,
                    kernel: size,
                    stride: 1,
                    dilation: 1,
                    before: 0,
                    counted: None,
                };
                let vector = 4 * width.lanes() / dtype.size();
                let channels = 2 * vector + 1;
                for part in [[0, channels], [0, vector], [vector, channels], [1, 2]] {
                    let case = Case {
                        dtype,
                        means,
                        windows: [axis(h), axis(w)],
                        channels,
                        part,
                        strip: 2,
                        first: 0,
                    };
                    check(width, &case, 5);
                }
            }
        }
    }
}

/// The largest sums: each byte at its limit.
fn means_of_limits_are_limits() {
    for width in Width::all() {
        for (dtype, byte) in [(DType::U8, 255), (DType::S8, 0x80), (DType::S8, 0x7f)] {
            let axis = |size: usize| Window {
                size,
                out: 1,
                kernel: size,
                stride: 1,
                dilation: 1,
                before: 0,
                counted: None,
            };
            let case = Case {
                dtype,
                means: true,
                windows: [axis(19), axis(41)],
                channels: 5,
                part: [0, 5],
                strip: 2,
                first: 0,
            };
            let out = pool(width, &case, &vec![byte; IMAGES * 19 * 41 * 5]);
            assert_eq!(out[..], [byte; IMAGES * 5], "{width:?} {dtype}");
        }
    }
}

/// Numbers of elements around one vector of bytes.
fn lengths(width: Width) -> Vec<usize> {
    let vector = 4 * width.lanes();
    let mut all = vec![
        1,
        2,
        3,
        7,
        vector / 2,
        vector - 1,
        vector,
        vector + 1,
        3 * vector + 2,
    ];
    all.retain(|&len| len > 0);
    all
}

fn copies_and_relus_of_bytes() {
    for width in Width::all() {
        for (dtype, len) in TYPES
            .into_iter()
            .flat_map(|t| lengths(width).into_iter().map(move |len| (t, len)))
        {
            for (relu, stream) in [(false, false), (true, false), (false, true), (true, true)] {
                let src = Guarded::random(dtype, len, 11);
                let mut out = Guarded::new(src.len());
                width.run(MapBytes {
                    dtype,
                    relu,
                    src: &src,
                    stream,
                    out: &mut out,
                });
                let expected = values(dtype, &src);
                let rectified = |x: f64| if relu && x < 0.0 { 0.0 } else { x };
                let expected: Vec<f64> = expected.into_iter().map(rectified).collect();
                assert_same(&values(dtype, &out), &expected, (width, dtype, len, stream));
            }
        }
    }
}

fn sums_and_conversions_of_bytes() {
    for text in [
        "--reorder --sdt=u8 --ddt=s8 --attr-scales=src:common:0.02+dst:common:0.03 --attr-zero-points=src:common:7+dst:common:-8 1x1x1x1",
        "--binary --alg=add --sdt=u8:u8 --ddt=u8 --attr-scales=src:common:0.3+src1:common:0.7 1x1x1x2:1x1x1x2",
        "--binary --alg=add --sdt=u8:s8 --ddt=u8 --attr-post-ops=relu 1x1x1x2:1x1x1x2",
        "--binary --alg=add --sdt=s8:s8 --ddt=s8 --attr-scales=src1:common:1.5 1x1x1x2:1x1x1x2",
    ] {
        let problem: Problem = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        let attributes = problem.attributes();
        let steps = Requantisation::new(&attributes);
        let src_type = attributes.dtypes.src;
        let added = match attributes.epilogue.residual {
            true => attributes.dtypes.residual,
            false => DType::U8,
        };
        let (affine, adds) = (attributes.quantisation.src, attributes.epilogue.residual);
        for width in Width::all() {
            for len in lengths(width) {
                let src = Guarded::random(src_type, len, 1);
                let residual = Guarded::random(added, len, 2);
                let mut out = Guarded::new(len);
                width.run(ConvertBytes {
                    src: (src_type, &src),
                    residual: adds.then_some((added, &*residual)),
                    affine,
                    steps: &steps,
                    out: &mut out,
                });
                let (x, r) = (values(src_type, &src), values(added, &residual));
                let output = |i: usize| {
                    let difference = x[i] - f64::from(affine.zero);
                    let residual = adds.then_some(r[i] as f32);
                    steps.output(difference, affine.scale.get(), None, residual)
                };
                let expected: Vec<f64> = (0..len).map(output).collect();
                assert_same(&values(steps.dst(), &out), &expected, (text, width, len));
            }
        }
    }
}
