//! Scales and zero points, and the flags that state them.

use crate::dtype::DType;
use std::fmt;

/// A positive scale that compares and hashes by its bits. Its limits keep every step of a requantisation among the
/// normal numbers of f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scale(u32);

impl Scale {
    /// No scaling.
    pub const ONE: Scale = Scale(1f32.to_bits());
    /// Least scale.
    pub const LEAST: f32 = 1e-9;
    /// Largest scale.
    pub const MOST: f32 = 1e9;

    /// A scale from [`Scale::LEAST`] to [`Scale::MOST`]; `None` for other numbers.
    pub fn new(x: f32) -> Option<Self> {
        let fits = (Self::LEAST..=Self::MOST).contains(&x);
        fits.then_some(Scale(x.to_bits()))
    }

    /// The number.
    pub const fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

impl Default for Scale {
    fn default() -> Self {
        Scale::ONE
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without an exponent, whose + benchdnn would take for the end of an entry.
        fmt::Display::fmt(&self.get(), f)
    }
}

/// Values of a tensor's integers q: scale (q - zero).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Affine {
    /// Real difference between neighbouring integers.
    pub scale: Scale,
    /// Zero point: the integer that stands for 0.
    pub zero: i32,
}

/// Scale of a convolution's weights. Their zero point is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightScale {
    /// One scale for all weights.
    Common(Scale),
    /// One scale for each output channel. They are data ([`Operands::scales`](super::Operands)).
    PerChannel,
}

impl Default for WeightScale {
    fn default() -> Self {
        WeightScale::Common(Scale::ONE)
    }
}

/// Meaning of the integers of a problem's tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Quantisation {
    /// Source.
    pub src: Affine,
    /// Weights.
    pub weights: WeightScale,
    /// Destination.
    pub dst: Affine,
    /// Residual.
    pub residual: Affine,
}

impl Quantisation {
    /// True if the source, the weights or the destination have a scale.
    pub fn has_scales(&self) -> bool {
        let activations = [self.src.scale, self.dst.scale];
        activations != [Scale::ONE; 2] || self.weights != WeightScale::default()
    }

    /// Text of `--attr-scales` and `--attr-zero-points`, each followed by a space; empty for scales of 1 and zero points
    /// of 0. `second` is the scale of a second source, of which the driver makes the residual.
    pub(super) fn text(&self, second: Scale) -> String {
        let common = |name: &'static str, scale: Scale| {
            (scale != Scale::ONE).then(|| format!("{name}:common:{scale}"))
        };
        let weights = match self.weights {
            WeightScale::Common(scale) => common("wei", scale),
            WeightScale::PerChannel => Some("wei:per_oc".into()),
        };
        let scales = [
            common("src", self.src.scale),
            common("src1", second),
            weights,
            common("dst", self.dst.scale),
        ];
        let zero = |name: &str, zero: i32| (zero != 0).then(|| format!("{name}:common:{zero}"));
        let zeros = [zero("src", self.src.zero), zero("dst", self.dst.zero)];
        let flag = |name: &str, entries: &[Option<String>]| {
            let entries: Vec<&str> = entries.iter().flatten().map(String::as_str).collect();
            match entries[..] {
                [] => String::new(),
                _ => format!("{name}={} ", entries.join("+")),
            }
        };
        flag("--attr-scales", &scales) + &flag("--attr-zero-points", &zeros)
    }
}

/// Scales of `--attr-scales`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Scales {
    pub(super) src: Scale,
    /// `src1`, the second source of `--binary`.
    pub(super) second: Scale,
    pub(super) weights: WeightScale,
    pub(super) dst: Scale,
}

/// Expected entries of `--attr-scales`, for errors.
const SCALES: &str = "src:common:0.5, src1, wei and dst likewise, or wei:per_oc, joined by +";

impl Scales {
    /// Parses the value of `--attr-scales`. If a tensor is named twice, the last entry counts.
    pub(super) fn read(value: &str) -> Result<Self, String> {
        let mut scales = Scales::default();
        for entry in entries(value) {
            let wrong = |why: String| format!("scale '{entry}' {why}: expected {SCALES}");
            let parts: Vec<&str> = entry.split(':').collect();
            let (name, policy, rest) = match parts[..] {
                [name, policy, ref rest @ ..] => (name, policy, rest),
                _ => return Err(wrong("has no policy".into())),
            };
            let scale = match (policy, rest) {
                ("common", [scale] | [scale, "f32"]) => Some(read_scale(scale).map_err(wrong)?),
                ("common", _) => return Err(wrong("should have one f32".into())),
                ("per_oc", [] | ["f32"]) if name == "wei" => None,
                ("per_oc", _) if name == "wei" => {
                    return Err(wrong(
                        "has a value, but the scales of channels are data".into(),
                    ));
                }
                _ => return Err(wrong(format!("has the policy {policy}"))),
            };
            match (name, scale) {
                ("src" | "src0", Some(scale)) => scales.src = scale,
                ("src1", Some(scale)) => scales.second = scale,
                ("dst", Some(scale)) => scales.dst = scale,
                ("wei", Some(scale)) => scales.weights = WeightScale::Common(scale),
                ("wei", None) => scales.weights = WeightScale::PerChannel,
                _ => return Err(wrong(format!("is for {name}"))),
            }
        }
        Ok(scales)
    }
}

/// Parses a scale.
pub(super) fn read_scale(text: &str) -> Result<Scale, String> {
    let scale = text.parse().ok().and_then(Scale::new);
    scale.ok_or_else(|| {
        let (least, most) = (Scale::LEAST, Scale::MOST);
        format!("has '{text}' where a number from {least:e} to {most:e} should be")
    })
}

/// Parses the value of `--attr-zero-points`: the zero points of source and destination. If a tensor is named twice, the
/// last entry counts.
pub(super) fn read_zeros(value: &str) -> Result<[i32; 2], String> {
    let [mut src, mut dst] = [0; 2];
    for entry in entries(value) {
        let parts: Vec<&str> = entry.split(':').collect();
        let (name, zero) = match parts[..] {
            [name, "common", zero] | [name, "common", zero, "s32"] => (name, zero.parse()),
            _ => (entry.as_str(), "".parse()),
        };
        match (name, zero) {
            ("src" | "src0", Ok(zero)) => src = zero,
            ("dst", Ok(zero)) => dst = zero,
            _ => {
                return Err(format!(
                    "zero point '{entry}' can't be read: expected src:common:3, dst:common:128, or both joined by +"
                ));
            }
        }
    }
    Ok([src, dst])
}

/// Entries of an attribute in lower case. The + of a number's exponent separates nothing; benchdnn drops it.
fn entries(value: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for part in value
        .to_ascii_lowercase()
        .split('+')
        .filter(|_| !value.is_empty())
    {
        match entries.last_mut() {
            Some(last) if last.ends_with('e') => last.push_str(part),
            _ => entries.push(part.into()),
        }
    }
    entries
}

/// Checks the zero point of a tensor `name`.
pub(super) fn check_zero(name: &str, dtype: DType, zero: i32) -> Result<(), String> {
    let range = match dtype {
        DType::U8 => 0..=255,
        DType::S8 => -128..=127,
        _ if zero == 0 => return Ok(()),
        _ => {
            return Err(format!(
                "a zero point of {dtype} ({name}) has no meaning: zero points are for u8 and s8"
            ));
        }
    };
    if range.contains(&zero) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    Err(format!(
        "the zero point {zero} is no {dtype} ({name}): it must be from {least} to {most}"
    ))
}
