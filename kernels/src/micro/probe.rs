//! Loops that measure the machine's ceilings for the roofline: arithmetic on registers, and bytes from memory.
#![allow(unsafe_code)]

use super::gemm::load;
use crate::arch::{Baseline, KernelSimd, stream_fence};
use crate::isa::{IsaToken, SimdTask};
use std::hint::black_box;

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

struct Streaming<'a> {
    stream: Stream,
    passes: usize,
    a: &'a mut [f32],
}

/// Vectors of an unrolled step: enough to hide latencies, few enough for any array.
const STEP: usize = 8;

impl SimdTask for Streaming<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) -> f32 {
        let lanes = S::F32_LANES.max(4);
        let part = self.a.len() / self.stream.arrays() / (STEP * lanes) * (STEP * lanes);
        let (a, rest) = self.a.split_at_mut(part);
        let x = simd.splat_f32s(black_box(0.5));
        let mut total = 0.0;
        let step = STEP * S::F32_LANES;
        for _ in 0..self.passes {
            match self.stream {
                Stream::Read => {
                    total += sum(simd, a);
                }
                Stream::Write => {
                    for chunk in a.chunks_exact_mut(step) {
                        for i in 0..STEP {
                            // SAFETY: a chunk is STEP vectors.
                            unsafe { simd.store_f32s(chunk.as_mut_ptr().add(i * S::F32_LANES), x) };
                        }
                    }
                }
                Stream::WriteNonTemporal => {
                    for chunk in a.chunks_exact_mut(step) {
                        for i in 0..STEP {
                            // SAFETY: a chunk is STEP vectors, aligned like the buffer (`stream` checks its alignment).
                            unsafe {
                                simd.stream_f32s(chunk.as_mut_ptr().add(i * S::F32_LANES), x);
                            };
                        }
                    }
                    stream_fence();
                }
                Stream::Copy => {
                    for (to, from) in a.chunks_exact_mut(step).zip(rest.chunks_exact(step)) {
                        // One vector at a time: an array of vectors would go through the stack, which limits the speed
                        // in L1 and L2. (Measured: docs/measurements.md, 'copies through the stack'.)
                        for at in (0..STEP).map(|i| i * S::F32_LANES) {
                            // SAFETY: chunks are STEP vectors.
                            unsafe {
                                let [v] = load::<S, 1>(simd, from.as_ptr().add(at));
                                simd.store_f32s(to.as_mut_ptr().add(at), v);
                            }
                        }
                    }
                }
                Stream::Triad => {
                    let (b, c) = rest.split_at(part);
                    let from = b.chunks_exact(step).zip(c.chunks_exact(step));
                    for (to, (b, c)) in a.chunks_exact_mut(step).zip(from) {
                        // SAFETY: chunks are STEP vectors.
                        let b: [S::f32s; STEP] = unsafe { load::<S, STEP>(simd, b.as_ptr()) };
                        // SAFETY: as above.
                        let c: [S::f32s; STEP] = unsafe { load::<S, STEP>(simd, c.as_ptr()) };
                        for i in 0..STEP {
                            let v = simd.mul_add_e_f32s(x, c[i], b[i]);
                            // SAFETY: as above.
                            unsafe { simd.store_f32s(to.as_mut_ptr().add(i * S::F32_LANES), v) };
                        }
                    }
                }
            }
            black_box(&mut *a);
        }
        total
    }
}

/// Runs `stream` over `buffer` `passes` times and returns the bytes that its definition counts.
///
/// # Panics
/// If the buffer is not aligned to 64 bytes.
pub fn stream(isa: IsaToken, stream: Stream, buffer: &mut [f32], passes: usize) -> u64 {
    assert!(
        buffer.as_ptr().addr().is_multiple_of(64),
        "streaming stores need alignment"
    );
    let lanes = isa.isa().lanes().max(4);
    let elements = buffer.len() / stream.arrays() / (STEP * lanes) * (STEP * lanes);
    black_box(isa.dispatch(Streaming {
        stream,
        passes,
        a: buffer,
    }));
    (elements * 4 * stream.arrays() * passes) as u64
}

/// Reads a buffer once, possibly without its last few vectors.
pub fn read(isa: IsaToken, buffer: &[f32]) {
    struct Read<'a>(&'a [f32]);
    impl SimdTask for Read<'_> {
        type Output = f32;
        #[inline(always)]
        fn run<S: KernelSimd>(self, simd: S) -> f32 {
            sum(simd, self.0)
        }
    }
    black_box(isa.dispatch(Read(buffer)));
}

/// Streams that are read at a time. Four reach more of memory's bandwidth than one, since a hardware prefetcher stops
/// at each page. (Measured: docs/measurements.md, 'streams of weights'.)
const PARTS: usize = 4;

/// Sum of a buffer's whole steps.
#[inline(always)]
fn sum<S: KernelSimd>(simd: S, buffer: &[f32]) -> f32 {
    let mut sums = [simd.splat_f32s(0.0); STEP];
    let (lanes, beside) = (S::F32_LANES, STEP / PARTS);
    let part = buffer.len() / (STEP * lanes) * beside * lanes;
    for at in (0..part).step_by(beside * lanes) {
        for (i, sum) in sums.iter_mut().enumerate() {
            let at = i / beside * part + at + i % beside * lanes;
            // SAFETY: a vector of one of PARTS parts of the buffer.
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
        for isa in Isa::ALL {
            let Some(token) = isa.detect() else { continue };
            let mut lines = AlignedBuf::zeroed(96).expect("memory");
            let buffer = as_f32s_mut(&mut lines);
            buffer
                .iter_mut()
                .enumerate()
                .for_each(|(i, x)| *x = i as f32);
            assert_eq!(stream(token, Stream::Triad, buffer, 1), 96 * 64);
            assert_eq!(buffer[5], 517.0 + 0.5 * 1029.0, "{isa}");
            assert_eq!(stream(token, Stream::Copy, buffer, 1), 96 * 64);
            assert_eq!(buffer[5], 773.0, "{isa}");
            assert_eq!(
                stream(token, Stream::WriteNonTemporal, buffer, 2),
                2 * 96 * 64
            );
            assert!(buffer.iter().all(|&x| x == 0.5), "{isa}");
            assert_eq!(stream(token, Stream::Read, buffer, 3), 3 * 96 * 64);
        }
    }

    #[test]
    fn flops_are_counted() {
        let token = Isa::Scalar.detect().expect("scalar");
        assert_eq!(fma(token, 10), 2 * 10 * (CHAINS * Baseline::LANES) as u64);
    }
}
