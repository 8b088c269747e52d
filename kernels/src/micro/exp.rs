//! e^x in f32, for every vector width.
//!
//! x = n ln 2 + r, with n the nearest integer and |r| <= ln 2 / 2. n ln 2 is subtracted in two parts (Cody and Waite
//! 1980). The first part has so few bits that its products with n are exact. e^r is its Taylor polynomial of degree 7.
//! The truncation error is below r^8 / 8!, at most 7.3e-9 of e^r. That is an eighth of half an ulp (6e-8), the rounding
//! error of any result. n is then added to the exponent.
//!
//! The error is below 1.5 units in the last place. (Measured: docs/measurements.md, 'error of e^x'.) e^NaN is NaN.
//! Results below the smallest normal number, 1.2e-38, become 0. Results above the largest number become infinite.

use crate::arch::KernelSimd;

/// Largest allowed error, in units in the last place.
#[cfg(test)]
const ULPS: f64 = 1.5;

/// Operations of one [`exp`].
pub const FLOPS: u64 = 22;

/// 1.5 x 2^23: floats of this size are integers, held in their last bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 = `LN_2_HIGH` + `LN_2_LOW`. The first has 10 bits.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = (core::f64::consts::LN_2 - 355.0 / 512.0) as f32;
/// Smallest x for which e^x is a normal number: -126 ln 2, rounded up.
const LEAST: f32 = -87.336_54;
/// Largest x for which e^x is finite.
const LARGEST: f32 = 88.722_83;
/// 1 / 7!, 1 / 6! .. 1 / 0!.
const TAYLOR: [f32; 8] = [
    1.0 / 5040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

/// e^x of every lane.
#[inline(always)]
pub fn exp<S: KernelSimd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |x| simd.splat_f32s(x);
    // Adding `ROUND` rounds to an integer n, the last bits of the sum.
    let shifted = simd.mul_add_e_f32s(x, splat(core::f32::consts::LOG2_E), splat(ROUND));
    let n = simd.sub_f32s(shifted, splat(ROUND));
    let r = simd.mul_add_e_f32s(n, splat(-LN_2_HIGH), x);
    let r = simd.mul_add_e_f32s(n, splat(-LN_2_LOW), r);
    let mut power = splat(TAYLOR[0]);
    for term in &TAYLOR[1..] {
        power = simd.mul_add_e_f32s(power, r, splat(*term));
    }
    let y = simd.raise_f32s(power, shifted);
    let y = simd.select_f32s(simd.less_than_f32s(x, splat(LEAST)), splat(0.0), y);
    let infinity = splat(f32::INFINITY);
    let y = simd.select_f32s(simd.less_than_f32s(splat(LARGEST), x), infinity, y);
    // A NaN stays NaN.
    simd.select_f32s(simd.equal_f32s(x, x), y, x)
}

/// Operations of one [`tanh`].
pub const TANH_FLOPS: u64 = FLOPS + 6;

/// Hyperbolic tangent of every lane: (1 - e^-2|x|) / (1 + e^-2|x|) with x's sign. The absolute error is at most 2^-23.
/// Near 0 the relative error is larger. tanh NaN is NaN.
#[inline(always)]
pub fn tanh<S: KernelSimd>(simd: S, x: S::f32s) -> S::f32s {
    let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
    let power = exp(simd, simd.mul_f32s(simd.splat_f32s(-2.0), simd.abs_f32s(x)));
    let y = simd.div_f32s(simd.sub_f32s(one, power), simd.add_f32s(one, power));
    simd.select_f32s(simd.less_than_f32s(x, zero), simd.neg_f32s(y), y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, SimdTask};

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Tanh,
    }

    struct All<'a>(Function, &'a mut [f32]);

    impl SimdTask for All<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: KernelSimd>(self, simd: S) {
            for lanes in self.1.chunks_exact_mut(S::F32_LANES) {
                let x = simd.load_part_f32s(lanes);
                let y = match self.0 {
                    Function::Exp => exp(simd, x),
                    Function::Tanh => tanh(simd, x),
                };
                simd.store_part_f32s(lanes, y);
            }
        }
    }

    /// Applies the function to 16 floats, on every instruction set of this machine.
    fn each(function: Function, x: [f32; 16], check: impl Fn(Isa, [f32; 16])) {
        for token in Isa::F32.into_iter().filter_map(Isa::detect) {
            let mut y = x;
            token.dispatch(All(function, &mut y));
            check(token.isa(), y);
        }
    }

    #[test]
    fn errors_are_small_on_all_of_the_range() {
        // Every 1009th float, of both signs: all of them would take too long.
        let step = 1009;
        let mut bits = 0u32;
        while f32::from_bits(bits) < 89.0 {
            let x: [f32; 16] = std::array::from_fn(|i| {
                let x = f32::from_bits(bits + i as u32 / 2 * step);
                if i % 2 == 0 { x } else { -x }
            });
            each(Function::Exp, x, |isa, y| {
                for (x, y) in x.into_iter().zip(y) {
                    let exact = f64::from(x).exp();
                    if exact < f64::from(f32::MIN_POSITIVE) {
                        assert!(y == 0.0 || y == f32::MIN_POSITIVE, "{isa}: e^{x} = {y}");
                    } else if exact > f64::from(f32::MAX) {
                        assert_eq!(y, f32::INFINITY, "{isa}: e^{x}");
                    } else {
                        let nearest = exact as f32;
                        let ulp = f64::from(nearest.next_up()) - f64::from(nearest);
                        let ulps = (f64::from(y) - exact).abs() / ulp;
                        assert!(ulps <= ULPS, "{isa}: e^{x} = {y}, {ulps} ulps off");
                    }
                }
            });
            bits += 8 * step;
        }
    }

    #[test]
    fn what_is_no_ordinary_number_is_defined() {
        let nan = f32::from_bits(0x7f80_0001);
        let x = [
            f32::NAN,
            -f32::NAN,
            nan,
            f32::INFINITY,
            f32::MAX,
            89.0,
            f32::NEG_INFINITY,
            f32::MIN,
            -88.0,
            0.0,
            -0.0,
            f32::MIN_POSITIVE,
            -1e-45,
            LARGEST,
            LEAST,
            1.0,
        ];
        each(Function::Exp, x, |isa, y| {
            assert!(y[..3].iter().all(|y| y.is_nan()), "{isa}: {y:?}");
            assert_eq!(y[3..6], [f32::INFINITY; 3], "{isa}");
            assert_eq!(y[6..9], [0.0; 3], "{isa}");
            assert_eq!(y[9..13], [1.0; 4], "{isa}");
            assert!(
                y[13].is_finite() && y[14] >= f32::MIN_POSITIVE,
                "{isa}: {y:?}"
            );
            assert_eq!(y[15], std::f32::consts::E, "{isa}");
        });
    }

    #[test]
    fn tangents_are_near_f64s() {
        for i in 0..40_000 {
            let x: [f32; 16] =
                std::array::from_fn(|lane| (i as f32 - 20_000.0) / 1e3 + lane as f32 * 6e-5);
            each(Function::Tanh, x, |isa, y| {
                for (x, y) in x.into_iter().zip(y) {
                    let error = (f64::from(y) - f64::from(x).tanh()).abs();
                    assert!(error <= 2f64.powi(-23), "{isa}: tanh {x} = {y}");
                }
            });
        }
        let mut x = [0.0; 16];
        x[..4].copy_from_slice(&[f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN]);
        each(Function::Tanh, x, |isa, y| {
            assert_eq!(y[..2], [1.0, -1.0], "{isa}");
            assert!(
                y[2].is_nan() && y[3].is_nan() && y[4] == 0.0,
                "{isa}: {y:?}"
            );
        });
    }
}
