//! Element types of tensors, as data ([`DType`]) and as Rust types ([`Element`]).

use bytemuck::{Pod, Zeroable};
use std::fmt;
use std::str::FromStr;

/// Element types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// IEEE single precision.
    #[default]
    F32,
    /// bfloat16 ([`Bf16`]).
    Bf16,
    /// Signed bytes.
    S8,
    /// Unsigned bytes.
    U8,
    /// 32-bit integers.
    S32,
}

/// Evaluates an expression in which a name stands for the Rust type of a [`DType`]: `with_element!(dtype, T => f::<T>())`.
macro_rules! with_element {
    ($dtype:expr, $element:ident => $value:expr) => {
        $crate::dtype::with_element!(@match $dtype, $element, $value,
            F32 f32, Bf16 $crate::dtype::Bf16, S8 i8, U8 u8, S32 i32)
    };
    (@match $dtype:expr, $element:ident, $value:expr, $($name:ident $rust:ty),*) => {
        match $dtype {
            $($crate::dtype::DType::$name => {
                type $element = $rust;
                $value
            })*
        }
    };
}
pub(crate) use with_element;

impl DType {
    /// All element types.
    pub const ALL: [DType; 5] = [DType::F32, DType::Bf16, DType::S8, DType::U8, DType::S32];

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            DType::F32 | DType::S32 => 4,
            DType::Bf16 => 2,
            DType::S8 | DType::U8 => 1,
        }
    }

    /// Name in benchdnn.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::S8 => "s8",
            DType::U8 => "u8",
            DType::S32 => "s32",
        }
    }

    /// True for bytes and 32-bit integers.
    pub const fn is_integer(self) -> bool {
        self.limits().is_some()
    }

    /// Least and largest value to which an f32 is saturated; `None` for a floating-point type. For s32 the upper limit
    /// is the largest f32 below 2^31, as in oneDNN: both limits are f32s, so a kernel saturates before it converts.
    pub const fn limits(self) -> Option<[f32; 2]> {
        match self {
            DType::F32 | DType::Bf16 => None,
            DType::S8 => Some([-128.0, 127.0]),
            DType::U8 => Some([0.0, 255.0]),
            DType::S32 => Some([-2_147_483_648.0, 2_147_483_520.0]),
        }
    }

    /// Value of `x` after it was stored as an element: rounded to f32, then as [`Element::from_f32`] does. For f32 it is
    /// `x` itself, because the definitions of f32 layers compute in f64 from layer to layer.
    pub fn stored(self, x: f64) -> f64 {
        match self {
            DType::F32 => x,
            _ => with_element!(self, T => T::from_f32(x as f32).to_f64()),
        }
    }

    /// Largest error of storing a result up to |`x`| that was computed in f32: half of the distance between neighbouring
    /// bf16s, and 0 for f32. Integers have no error: their definition includes the rounding.
    pub fn rounding(self, x: f64) -> f64 {
        match self {
            DType::Bf16 => {
                let power = f32::from_bits((x as f32).to_bits() & 0x7f80_0000);
                f64::from(power) / f64::from(2 << Bf16::FRACTION_BITS)
            }
            _ => 0.0,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = DType::ALL.into_iter().find(|t| t.name() == name);
        found.ok_or_else(|| {
            format!("unknown element type '{name}': expected f32, bf16, s8, u8 or s32")
        })
    }
}

mod sealed {
    /// Seal of [`Element`](super::Element).
    pub trait Sealed {}
}

/// Rust type of a tensor's elements.
pub trait Element: Pod + Send + Sync + sealed::Sealed {
    /// The type as data.
    const DTYPE: DType;

    /// Nearest value of this type, ties to even. Integers saturate at [`DType::limits`], and a NaN becomes 0.
    fn from_f32(x: f32) -> Self;

    /// Value, exactly.
    fn to_f64(self) -> f64;
}

impl sealed::Sealed for f32 {}

impl Element for f32 {
    const DTYPE: DType = DType::F32;

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl sealed::Sealed for Bf16 {}

impl Element for Bf16 {
    const DTYPE: DType = DType::Bf16;

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        Bf16::from_f32(x)
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self.to_f32())
    }
}

macro_rules! integers {
    ($($rust:ident $dtype:ident,)*) => {$(
        impl sealed::Sealed for $rust {}

        impl Element for $rust {
            const DTYPE: DType = DType::$dtype;

            #[inline(always)]
            fn from_f32(x: f32) -> Self {
                const LIMITS: [f32; 2] = DType::$dtype.limits().expect("an integer");
                // Both limits are integers, so the order of rounding and saturation doesn't matter.
                x.round_ties_even().clamp(LIMITS[0], LIMITS[1]) as $rust
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
        }
    )*};
}

integers! {
    i8 S8,
    u8 U8,
    i32 S32,
}

/// bfloat16: the upper half of an IEEE f32, with 8 bits of exponent and 7 of fraction. It has infinities, NaNs and
/// denormals. Equality is that of the bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Bf16 {
    /// Bits of the fraction, without the implicit one.
    const FRACTION_BITS: u32 = 7;

    /// Bit that tells quiet NaNs from signalling ones.
    const QUIET: u16 = 1 << (Self::FRACTION_BITS - 1);

    /// Value with these bits: sign, exponent, fraction.
    pub const fn from_bits(bits: u16) -> Self {
        Bf16(bits)
    }

    /// Its bits.
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// Nearest bf16, ties to the one with an even fraction:
    ///
    /// * values that round beyond the largest bf16 become infinite;
    /// * infinities stay;
    /// * denormals stay denormals, rounded like other values;
    /// * a NaN becomes a quiet NaN with its sign and the upper bits of its payload.
    ///
    /// The CPU's own conversion (`vcvtneps2bf16`) differs in denormals, which it takes for zeros.
    #[inline(always)]
    pub const fn from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        let upper = (bits >> 16) as u16;
        if x.is_nan() {
            return Bf16(upper | Self::QUIET);
        }
        // Half of the last kept bit, less one unit if the kept part is even: a tie then carries only into odd ones.
        // The bits of an infinity are the largest, so the sum can't wrap.
        let rounded = bits + 0x7fff + (upper & 1) as u32;
        Bf16((rounded >> 16) as u16)
    }

    /// Value, exactly.
    #[inline(always)]
    pub const fn to_f32(self) -> f32 {
        f32::from_bits((self.0 as u32) << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Bf16> {
        (0..=u16::MAX).map(Bf16::from_bits)
    }

    #[test]
    fn each_bf16_survives_a_round_trip() {
        for x in all() {
            let back = Bf16::from_f32(x.to_f32());
            if x.to_f32().is_nan() {
                assert_eq!(back.to_bits(), x.to_bits() | Bf16::QUIET);
            } else {
                assert_eq!(back, x);
            }
        }
    }

    /// The definition by distances, with f64 arithmetic: for each pair of neighbours, values between them, both ends of
    /// each half, and the tie.
    #[test]
    fn a_bf16_is_the_nearest_one() {
        for low in all().filter(|x| x.to_bits() & 0x7fff < 0x7f7f) {
            let high = Bf16::from_bits(low.to_bits() + 1);
            let first = low.to_f32().to_bits();
            for step in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(first + step);
                let distance = |to: Bf16| (to.to_f64() - f64::from(x)).abs();
                let even = if low.to_bits().is_multiple_of(2) {
                    low
                } else {
                    high
                };
                let nearest = match distance(low).total_cmp(&distance(high)) {
                    std::cmp::Ordering::Less => low,
                    std::cmp::Ordering::Equal => even,
                    std::cmp::Ordering::Greater => high,
                };
                assert_eq!(Bf16::from_f32(x), nearest, "{x:e}");
            }
        }
    }

    #[test]
    fn special_values_of_bf16() {
        let bits = |x: f32| Bf16::from_f32(x).to_bits();
        assert_eq!(
            [bits(f32::INFINITY), bits(f32::NEG_INFINITY)],
            [0x7f80, 0xff80]
        );
        // The largest f32 is nearer to 2^128, which is infinite. The tie below it is, too: its even neighbour.
        assert_eq!([bits(f32::MAX), bits(f32::MIN)], [0x7f80, 0xff80]);
        assert_eq!(bits(f32::from_bits(0x7f7f_8000)), 0x7f80);
        assert_eq!(bits(f32::from_bits(0x7f7f_7fff)), 0x7f7f);
        assert_eq!([bits(0.0), bits(-0.0)], [0, 0x8000]);
        // Denormals: the least of bf16 is 2^-133. Its half is a tie with 0.
        let least = f32::from_bits(1 << 16);
        assert_eq!(
            [bits(least), bits(-least), bits(least / 2.0)],
            [1, 0x8001, 0]
        );
        assert_eq!([bits(least * 0.75), bits(least * 1.5)], [1, 2]);
        // Quiet, signalling in the lower half alone, and negative.
        assert_eq!(bits(f32::NAN), 0x7fc0);
        assert_eq!(bits(f32::from_bits(0x7f80_0001)), 0x7fc0);
        assert_eq!(bits(f32::from_bits(0xffa1_2345)), 0xffe1);
    }

    #[test]
    fn integers_round_to_even_and_saturate() {
        let bytes = [
            -3.0,
            -0.5,
            0.5,
            1.5,
            2.5,
            254.5,
            254.51,
            255.5,
            f32::INFINITY,
        ];
        assert_eq!(bytes.map(u8::from_f32), [0, 0, 0, 2, 2, 254, 255, 255, 255]);
        let bytes = [-129.0, -128.5, -1.5, -0.5, 126.5, 127.5, 1e9];
        assert_eq!(bytes.map(i8::from_f32), [-128, -128, -2, 0, 126, 127, 127]);
        assert_eq!(i32::from_f32(-3e9), i32::MIN);
        assert_eq!(i32::from_f32(3e9), 2_147_483_520);
        assert_eq!(i32::from_f32(16_777_218.0), 16_777_218);
        assert_eq!((u8::from_f32(f32::NAN), i8::from_f32(f32::NAN)), (0, 0));
    }

    #[test]
    fn a_stored_value_is_that_of_its_element() {
        assert_eq!(DType::F32.stored(0.1), 0.1);
        assert_eq!(DType::Bf16.stored(0.1), 0.100_097_656_25);
        assert_eq!(DType::U8.stored(300.0), 255.0);
        assert_eq!(DType::S8.stored(-0.75), -1.0);
        for (x, rounding) in [(1.0, 1.0 / 256.0), (-1.99, 1.0 / 256.0), (2.0, 1.0 / 128.0)] {
            assert_eq!(DType::Bf16.rounding(x), rounding);
        }
        assert_eq!(DType::F32.rounding(1.0), 0.0);
    }

    #[test]
    fn types_as_data_and_as_rust_types_agree() {
        assert!("f16".parse::<DType>().unwrap_err().contains("bf16"));
        for dtype in DType::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
            let (found, size) = with_element!(dtype, T => (T::DTYPE, size_of::<T>()));
            assert_eq!((found, size), (dtype, dtype.size()));
            assert_eq!(
                dtype.is_integer(),
                !matches!(dtype, DType::F32 | DType::Bf16)
            );
        }
    }
}
