//! Forms in which convolutions of bf16, u8 and s8 multiply their elements: as they are, or converted when they are copied.
//!
//! Dot products of bytes have signed weights, and a source of one sign only ([`Isa::signed_sources`]). A source of the other
//! sign is *flipped*: the highest bit of each byte is inverted. So a byte x of s8 becomes x + 128 of u8, and one of u8 becomes
//! x - 128 of s8. The zero point moves with it ([`Form::zero`]), so sums differ by a constant, with which they begin.
//!
//! Such sums may wrap around 32 bits on the way. The final ones don't: [`int8_conv`] refuses layers whose sums could.

use crate::dtype::{Bf16, DType};
use crate::isa::{Isa, Words};
use crate::micro::columns::Columns;
use crate::micro::gemm::{Bf16s, Bytes, Dot, F32, S16s, U8S7s};
use crate::micro::widen::Copied;
use crate::plan::{Target, Unsupported, bf16_conv, int8_conv};
use crate::problem::{ConvShape, Problem};
use crate::tensor::TensorRef;

/// Largest integer up to which all are exact in f32.
const EXACT: u64 = 1 << f32::MANTISSA_DIGITS;

/// Bit that is flipped in each byte of a source with the other sign.
const SIGN: u8 = 0x80;

/// Form in which the elements of a layer are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Two bf16.
    Bf16,
    /// An f32: a bf16, or a byte of a small group less its zero point.
    F32,
    /// Four bytes.
    Bytes,
    /// Two bytes less their zero point, widened to 16 bits.
    S16,
    /// Four unsigned bytes, with weights that allow it ([`U8S7s::allows`]).
    U8S7,
}

/// Properties of a form's products.
struct Products {
    words: Words,
    group: usize,
    has_twins: bool,
}

impl Products {
    const fn of<D: Dot>() -> Self {
        Products {
            words: D::WORDS,
            group: D::GROUP,
            has_twins: D::TWINS,
        }
    }
}

impl Form {
    /// Forms for the convolution of a problem, and that convolution. The first form is that of the register tile. The second is
    /// that of the elements themselves, which any instruction set multiplies with a vector.
    ///
    /// # Errors
    /// No convolution of narrow elements, or an instruction set that extends another by nothing for this layer.
    pub(super) fn of<'p>(
        problem: &'p Problem,
        cx: &Target<'_>,
    ) -> Result<([Form; 2], &'p ConvShape), Unsupported> {
        let (src, weights) = (problem.dtypes.src, problem.dtypes.weights);
        let (native, widened, conv) = match (src, weights) {
            (DType::Bf16, DType::Bf16) => (Form::Bf16, Form::F32, bf16_conv(problem)?),
            (DType::U8 | DType::S8, DType::S8) => (Form::Bytes, Form::S16, int8_conv(problem)?),
            _ => {
                let reason = format!("{src} sources with {weights} weights");
                return Err(Unsupported::new(reason));
            }
        };
        if cx.isa.isa().has_dots(native.words()) {
            return Ok(([native; 2], conv));
        }
        cx.without_extension(src)?;
        Ok(([widened, native], conv))
    }

    /// Form for a convolution with small groups on an instruction set, and that convolution. `None` if another plan suits it
    /// better.
    pub(super) fn of_small_groups(problem: &Problem, isa: Isa) -> Option<(Form, &ConvShape)> {
        let (src, weights) = (problem.dtypes.src, problem.dtypes.weights);
        let (form, conv) = match (src, weights) {
            (DType::Bf16, DType::Bf16) => (Form::Bf16, bf16_conv(problem).ok()?),
            (DType::U8 | DType::S8, DType::S8) => (Form::Bytes, int8_conv(problem).ok()?),
            _ => return None,
        };
        if isa.has_dots(form.words()) && conv.dilation[1] == 1 {
            return Some((form, conv));
        }
        let largest = conv.largest_sum(src, problem.quantisation.src.zero);
        let exact = form == Form::Bf16 || largest <= EXACT;
        (exact && isa.base() == isa).then_some((Form::F32, conv))
    }

    const fn products(self) -> Products {
        match self {
            Form::Bf16 => Products::of::<Bf16s>(),
            Form::F32 => Products::of::<F32>(),
            Form::Bytes => Products::of::<Bytes>(),
            Form::S16 => Products::of::<S16s>(),
            Form::U8S7 => Products::of::<U8S7s>(),
        }
    }

    /// Contents of a word.
    pub(super) const fn words(self) -> Words {
        self.products().words
    }

    /// Elements in a word: of neighbouring channels, or of neighbouring columns.
    pub(super) const fn group(self) -> usize {
        self.products().group
    }

    /// True if kernels in this form have twins.
    pub(super) const fn has_twins(self) -> bool {
        self.products().has_twins
    }

    /// True if source bytes are flipped, because products take those of the other sign.
    const fn flips(self, src: DType, isa: Isa) -> bool {
        let signed = matches!(src, DType::S8);
        match self {
            Form::Bf16 | Form::F32 | Form::S16 => false,
            Form::Bytes => signed != isa.signed_sources(),
            Form::U8S7 => signed,
        }
    }

    /// Integer in place of 0 in the words that are multiplied, for a source with a zero point. Its low byte is that of a tap in
    /// the padding. If it isn't 0, such a tap adds to the sums.
    pub(super) const fn zero(self, src: DType, zero: i32, isa: Isa) -> i32 {
        match self {
            Form::Bf16 | Form::F32 | Form::S16 => 0,
            Form::Bytes | Form::U8S7 => match (self.flips(src, isa), src) {
                (false, _) => zero,
                (true, DType::S8) => zero + SIGN as i32,
                (true, _) => zero - SIGN as i32,
            },
        }
    }

    /// Conversion of the source for a register tile, if it must be copied for that. Otherwise tiles multiply the source itself.
    pub(super) fn copied(self, src: DType, zero: i32, isa: Isa) -> Option<Copied> {
        match (self, src) {
            (Form::Bf16, _) => None,
            (Form::F32, _) => Some(Copied::F32),
            (Form::Bytes | Form::U8S7, _) => {
                let flip = Copied::Bytes { flip: SIGN };
                self.flips(src, isa).then_some(flip)
            }
            (Form::S16, DType::U8) => Some(Copied::U8 { zero: zero as i16 }),
            (Form::S16, _) => Some(Copied::S8 { zero: zero as i16 }),
        }
    }

    /// Words of neighbouring columns, for a source with a zero point.
    pub(super) fn columns(self, src: DType, zero: i32, isa: Isa) -> Columns {
        match (self, src) {
            (Form::F32, DType::U8) => Columns::F32OfU8 { zero: zero as u8 },
            (Form::F32, DType::S8) => Columns::F32OfS8 { zero: zero as i8 },
            (Form::F32, _) => Columns::F32,
            (Form::Bf16, _) => Columns::Bf16s,
            (Form::Bytes | Form::U8S7, _) => Columns::Bytes {
                zero: zero as u8,
                flipped: self.flips(src, isa),
            },
            (Form::S16, _) => unreachable!("small groups aren't multiplied in 16 bits"),
        }
    }

    /// Bits of a weight in its part of a word.
    pub(super) fn weight(self, weights: TensorRef<'_>, at: usize) -> u32 {
        let bf16 = || weights.elements::<Bf16>()[at];
        let byte = || weights.elements::<i8>()[at];
        match (self, weights.desc().dtype()) {
            (Form::Bf16, _) => bf16().to_bits().into(),
            (Form::F32, DType::Bf16) => bf16().to_f32().to_bits(),
            (Form::F32, _) => f32::from(byte()).to_bits(),
            (Form::Bytes | Form::U8S7, _) => byte().cast_unsigned().into(),
            (Form::S16, _) => i16::from(byte()).cast_unsigned().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A byte of the source less its zero point is the byte that is multiplied less the integer in place of 0.
    #[test]
    fn flipped_bytes_have_the_sign_of_the_products() {
        for (isa, src, form) in Isa::ALL.into_iter().flat_map(|isa| {
            let cases = [DType::U8, DType::S8].map(|src| [(src, Form::Bytes), (src, Form::U8S7)]);
            cases
                .into_iter()
                .flatten()
                .map(move |(src, form)| (isa, src, form))
        }) {
            // Products of bytes that saturate at 16 bits have unsigned sources on each set that has them.
            if form == Form::U8S7 && !isa.has_dots(Words::U8S7) {
                continue;
            }
            let value = |byte: u8, signed: bool| match signed {
                true => i32::from(byte.cast_signed()),
                false => i32::from(byte),
            };
            let is_signed = src == DType::S8;
            for (byte, zero) in [(0, 0), (255, 128), (128, 255), (127, 1), (3, 3)] {
                let zero = value(zero, is_signed);
                let flip = match form.copied(src, zero, isa) {
                    None => 0,
                    Some(Copied::Bytes { flip }) => flip,
                    Some(other) => panic!("{isa} {src}: {other:?}"),
                };
                let multiplied = value(byte ^ flip, isa.signed_sources());
                let shifted = form.zero(src, zero, isa);
                assert_eq!(
                    multiplied - shifted,
                    value(byte, is_signed) - zero,
                    "{isa} {src} {form:?}: {byte}, zero point {zero}"
                );
                // A tap in the padding holds the zero point.
                assert_eq!(zero as u8 ^ flip, shifted as u8);
                let columns = Columns::Bytes {
                    zero: zero as u8,
                    flipped: flip != 0,
                };
                assert_eq!(form.columns(src, zero, isa), columns);
            }
        }
    }
}
