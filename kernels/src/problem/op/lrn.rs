//! Local response normalisation.

use crate::exec::Executor;
use crate::problem::attributes::{Attributes, Epilogue};
use crate::problem::axis::{ShapeError, check};
use crate::problem::descriptor::{Fields, write_maps};
use crate::problem::maps::Maps;
use crate::problem::naive::by_maps;
use crate::problem::operation::{Effect, Names, Operands, Operation, Rounding};
use crate::problem::syntax::{Driver, Input, Named, Wrong};
use std::fmt;

/// A requested local response normalisation across channels (Krizhevsky et al. 2012).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrnSpec {
    /// n, c, h, w.
    pub maps: [usize; 4],
    /// Channels in a window: the middle one, and equally many on both sides.
    pub size: usize,
    /// Factor of the window's mean square. (Krizhevsky et al. multiply the sum by alpha / `size`.)
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// Added to alpha times the mean square.
    pub k: f32,
}

/// A finite number >= 0 that compares and hashes by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Real(u32);

impl Real {
    /// Converts a number that was checked to be finite and not negative.
    fn new(x: f32) -> Self {
        // -0 becomes 0.
        Real((x + 0.0).to_bits())
    }

    fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

/// A valid local response normalisation across channels: x / (k + alpha / size * sum x^2)^beta. The sum is over the
/// window of `size` channels around x's, as far as they exist (Caffe, ONNX, oneDNN). Outputs are correct even if squares
/// or powers overflow or underflow an f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LrnShape {
    maps: Maps,
    size: usize,
    alpha: Real,
    beta: Real,
    k: Real,
}

impl TryFrom<LrnSpec> for LrnShape {
    type Error = ShapeError;

    fn try_from(spec: LrnSpec) -> Result<Self, ShapeError> {
        let LrnSpec {
            maps,
            size,
            alpha,
            beta,
            k,
        } = spec;
        check(size % 2 == 1, || {
            format!(
                "the window has {size} channels: it must be an odd number, with one in the middle"
            )
        })?;
        check(size <= LrnShape::MAX_SIZE, || {
            let most = LrnShape::MAX_SIZE;
            format!("the window has {size} channels: it must have at most {most}")
        })?;
        for (name, x) in [("alpha", alpha), ("beta", beta)] {
            check(x.is_finite() && x >= 0.0, || {
                format!("{name} is {x}: it must be at least 0")
            })?;
        }
        check(k.is_finite() && k >= f32::MIN_POSITIVE, || {
            format!(
                "k is {k}: it must be above 0, at least {:e}, or zeros would be divided by 0",
                f32::MIN_POSITIVE
            )
        })?;
        Ok(LrnShape {
            maps: maps.try_into()?,
            size,
            alpha: Real::new(alpha),
            beta: Real::new(beta),
            k: Real::new(k),
        })
    }
}

impl LrnShape {
    /// Maximum channels in a window.
    pub const MAX_SIZE: usize = 255;

    /// n, c, h, w.
    pub fn maps(&self) -> Maps {
        self.maps
    }

    /// The spec that was requested.
    pub fn spec(&self) -> LrnSpec {
        LrnSpec {
            maps: self.maps.dims(),
            size: self.size,
            alpha: self.alpha.get(),
            beta: self.beta.get(),
            k: self.k.get(),
        }
    }

    /// Channels of a window on each side of the middle.
    pub fn half(&self) -> usize {
        self.size / 2
    }
}

impl Operation for LrnShape {
    fn names() -> Names {
        Names {
            one: "a local response normalisation",
            many: "local response normalisations",
        }
    }

    fn with_batch(&self, n: usize) -> Result<Self, ShapeError> {
        let maps = self.maps.with_batch(n)?;
        Ok(LrnShape { maps, ..*self })
    }

    fn src_dims(&self) -> [usize; 4] {
        self.maps.dims()
    }

    fn dst_dims(&self) -> [usize; 4] {
        self.maps.dims()
    }

    fn flops(&self, _: Epilogue) -> u64 {
        // A multiply-add per channel of the window. Scale and shift, the power and the quotient.
        (self.maps.elements() * (2 * self.size + 4)) as u64
    }

    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64> {
        let ([_, c, _, _], map_len) = (self.maps.dims(), self.maps.positions());
        let [alpha, beta, k] = [self.alpha, self.beta, self.k].map(|x| f64::from(x.get()));
        by_maps(
            self.maps.dims(),
            attributes,
            x,
            exec,
            |image, channel, map| {
                let window =
                    channel.saturating_sub(self.half())..(channel + self.half() + 1).min(c);
                for (i, y) in map.iter_mut().enumerate() {
                    let x = |channel: usize| x.src[(image * c + channel) * map_len + i];
                    let squares: f64 = window.clone().map(|k| x(k) * x(k)).sum();
                    *y = x(channel) / (k + alpha / self.size as f64 * squares).powf(beta);
                }
            },
        )
    }

    /// The relative error of a power is beta times that of its base, a sum of squares. The roots that it is made of add as
    /// much again.
    fn rounding(&self, _: f64, _: f64) -> Rounding {
        let beta = f64::from(self.beta.get());
        Rounding {
            effect: Effect::Relative,
            ..Rounding::new(self.size, 2.0 * beta.max(1.0))
        }
    }

    fn largest_input(&self) -> f32 {
        1e25
    }

    fn keeps_nans(&self) -> bool {
        true
    }

    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result {
        write!(f, "--lrn {attributes}")?;
        write_maps(f, self.maps.dims())?;
        let LrnSpec {
            size,
            alpha,
            beta,
            k,
            ..
        } = self.spec();
        write!(f, "ls{size}alpha{alpha}beta{beta}k{k}")
    }
}

impl Named for LrnShape {
    const DRIVERS: &'static [Driver] = &[Driver {
        algs: "across",
        takes_alg: |alg| ["across", "lrn_across_channels"].contains(&alg),
        ..Driver::new("--lrn")
    }];

    fn read(input: &Input<'_>, _: &mut Epilogue) -> Result<Self, Wrong> {
        Ok(read_spec(input.descriptor)?.try_into()?)
    }
}

/// Parses `mb1ic96ih55ls5alpha0.0001beta0.75k1`. Defaults of the last four are benchdnn's: 5, 1/8192, 0.75 and 1.
fn read_spec(descriptor: &str) -> Result<LrnSpec, String> {
    let (mut maps, mut rest) = (String::new(), descriptor);
    let mut reals: [(&str, Option<f32>); 4] =
        [("ls", None), ("alpha", None), ("beta", None), ("k", None)];
    while !rest.is_empty() && !rest.trim_start_matches('_').starts_with('n') {
        let digits = rest.find(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        let (name, tail) = rest.split_at(digits.unwrap_or(rest.len()));
        let end = real_len(tail);
        let (number, tail) = tail.split_at(end);
        rest = tail;
        let name = name.trim_start_matches('_');
        let Some((_, value)) = reals.iter_mut().find(|(real, _)| *real == name) else {
            maps.push_str(name);
            maps.push_str(number);
            continue;
        };
        let read = number
            .parse()
            .map_err(|_| format!("{name}{number}: a number should follow {name}"))?;
        if value.replace(read).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    let [size, alpha, beta, k] = reals.map(|(_, value)| value);
    let size = size.unwrap_or(5.0);
    if size < 0.0 || size.fract() != 0.0 {
        return Err(format!("ls is {size}: it must be a whole number"));
    }
    Ok(LrnSpec {
        maps: Fields::read(&maps)?.maps(&["mb", "ic", "ih", "iw"])?,
        size: size as usize,
        alpha: alpha.unwrap_or(1.0 / 8192.0),
        beta: beta.unwrap_or(0.75),
        k: k.unwrap_or(1.0),
    })
}

/// Length in bytes of the number that begins a text: digits, a point, signs, and an e before a digit or sign.
fn real_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let part = |&(i, c): &(usize, &u8)| {
        let exponent = matches!(c, b'e' | b'E')
            && bytes
                .get(i + 1)
                .is_some_and(|c| c.is_ascii_digit() || b"+-".contains(c));
        c.is_ascii_digit() || b"+-.".contains(c) || exponent
    };
    bytes.iter().enumerate().take_while(part).count()
}
