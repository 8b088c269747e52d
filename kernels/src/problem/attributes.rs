//! Attributes of a layer that every operation may have: element types, their quantisation, and the epilogue.

use super::quantisation::{Affine, Quantisation, Scale, check_zero};
use crate::dtype::DType;
use std::fmt;

/// Element types of a problem's operands. The bias is always f32, benchdnn's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DTypes {
    /// Source.
    pub src: DType,
    /// Weights; f32 for a layer without weights.
    pub weights: DType,
    /// Destination.
    pub dst: DType,
    /// Residual; f32 for a layer without one.
    pub residual: DType,
}

impl DTypes {
    /// True if the source is integers. Then the whole layer is computed as
    /// [`Requantisation`](super::Requantisation) defines it.
    pub fn are_integers(&self) -> bool {
        self.src.is_integer()
    }
}

/// Operations on an output before it is stored: `relu(x + bias + residual)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epilogue {
    /// Adds one value per output channel.
    pub bias: bool,
    /// Clamps below at zero.
    pub relu: bool,
    /// Adds a tensor of the output's shape.
    pub residual: bool,
}

impl Epilogue {
    /// Operations per output.
    pub fn flops(&self) -> u64 {
        let parts = [self.bias, self.residual, self.relu];
        parts.map(u64::from).iter().sum()
    }
}

/// Attributes of a layer. Their text has the flags that come between a driver and its descriptor, each followed by a
/// space. Attributes with their default values have no flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// Element types of the operands.
    pub dtypes: DTypes,
    /// Meaning of integer operands.
    pub quantisation: Quantisation,
    /// Operations on each output before it is stored.
    pub epilogue: Epilogue,
}

/// Flags by which a driver states element types.
#[derive(Clone, Copy)]
pub(super) enum TypeFlags {
    /// `--dt=src:weights:dst`.
    SrcWeightsDst,
    /// `--dt=type`, for source and destination.
    One,
    /// `--sdt=src --ddt=dst`.
    SrcDst,
    /// `--sdt=src:second --ddt=dst`: the second source with its scale.
    TwoSources(DType, Scale),
}

impl Attributes {
    /// Copy with another epilogue.
    pub(super) fn with(self, epilogue: Epilogue) -> Self {
        Attributes { epilogue, ..self }
    }

    /// Text of the attributes for a driver with these flags for types.
    pub(super) fn text(&self, flags: TypeFlags) -> String {
        let DTypes {
            src, weights, dst, ..
        } = self.dtypes;
        let mut stated = vec![src, weights, dst];
        let (types, second) = match flags {
            TypeFlags::SrcWeightsDst => (format!("--dt={src}:{weights}:{dst} "), Scale::ONE),
            TypeFlags::One => (format!("--dt={src} "), Scale::ONE),
            TypeFlags::SrcDst => (format!("--sdt={src} --ddt={dst} "), Scale::ONE),
            TypeFlags::TwoSources(second, scale) => {
                stated.push(second);
                (format!("--sdt={src}:{second} --ddt={dst} "), scale)
            }
        };
        let mut text = String::new();
        if stated.iter().any(|&t| t != DType::F32) {
            text += &types;
        }
        if self.epilogue.bias {
            text += "--dir=FWD_B ";
        }
        text += &self.quantisation.text(second);
        let residual = self.epilogue.residual.then(|| self.residual_text());
        let relu = self.epilogue.relu.then(|| "relu".to_string());
        let post_ops: Vec<String> = residual.into_iter().chain(relu).collect();
        if !post_ops.is_empty() {
            text += &format!("--attr-post-ops={} ", post_ops.join("+"));
        }
        text
    }

    /// Post-op that adds the residual. In benchdnn, `add` has no scale and no zero point.
    fn residual_text(&self) -> String {
        let (Affine { scale, zero }, dtype) = (self.quantisation.residual, self.dtypes.residual);
        match self.adds_unscaled() {
            true => format!("add:{dtype}:per_tensor"),
            false => format!("sum:{scale}:{zero}:{dtype}"),
        }
    }

    /// True if the residual has the scale 1 and the zero point 0.
    fn adds_unscaled(&self) -> bool {
        self.quantisation.residual == Affine::default()
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(TypeFlags::SrcWeightsDst))
    }
}

/// Checks of the element types and their quantisation, for kinds of layers. An error is one line that says what is
/// allowed.
impl Attributes {
    /// Checks a layer that is computed in f32 only.
    pub(super) fn check_f32(&self) -> Result<(), String> {
        match self.dtypes == DTypes::default() && self.quantisation == Quantisation::default() {
            true => Ok(()),
            false => Err(
                "such a layer is computed in f32 only: leave out types, scales and zero points"
                    .into(),
            ),
        }
    }

    /// Checks a layer of sums of products.
    pub(super) fn check_products(&self) -> Result<(), String> {
        use DType::{Bf16, F32, S8, S32, U8};
        let DTypes {
            src, weights, dst, ..
        } = self.dtypes;
        match (src, weights, dst) {
            (F32, F32, F32) | (Bf16, Bf16, Bf16 | F32) | (U8 | S8, S8, U8 | S8 | S32 | F32) => {}
            _ => {
                return Err(format!(
                    "the types {src}:{weights}:{dst} have no kernels: expected f32, bf16:bf16:bf16, bf16:bf16:f32, or u8:s8 or s8:s8 with u8, s8, s32 or f32"
                ));
            }
        }
        self.check_quantisation()?;
        self.check_residual()?;
        self.check_sum()
    }

    /// Checks a layer that moves or compares elements of one type, without an epilogue.
    pub(super) fn check_moves(&self) -> Result<(), String> {
        self.check_one_type()?;
        let plain = Attributes {
            dtypes: self.dtypes,
            ..Attributes::default()
        };
        if self.dtypes == DTypes::default() {
            // Kernels refuse an epilogue of their own accord.
            return self.check_quantisation();
        }
        match *self == plain {
            true => Ok(()),
            false => Err(format!(
                "such a layer of {} has no scales, zero points, bias, ReLU or residual",
                self.dtypes.src
            )),
        }
    }

    /// Checks a layer that adds elements of one type, or applies a ReLU to them. Its driver has these flags for types.
    pub(super) fn check_adds(&self, flags: TypeFlags) -> Result<(), String> {
        self.check_one_type()?;
        self.check_quantisation()?;
        self.check_residual()?;
        let Quantisation { src, residual, .. } = self.quantisation;
        let scales_of_sources = Quantisation {
            src: Affine { zero: 0, ..src },
            residual: Affine {
                zero: 0,
                ..residual
            },
            ..Quantisation::default()
        };
        if self.quantisation != scales_of_sources {
            return Err("a sum of two tensors has scales of its sources alone: leave out zero points and other scales".into());
        }
        if let TypeFlags::TwoSources(..) = flags {
            // A residual beside two sources is a post-op.
            return match self.epilogue.bias {
                true => self.check_sum(),
                false => Ok(()),
            };
        }
        if src.scale != Scale::ONE {
            return Err("a scale of the source is for --binary --alg=add".into());
        }
        self.check_sum()
    }

    /// Checks a layer that converts elements to another type.
    pub(super) fn check_conversion(&self) -> Result<(), String> {
        let DTypes {
            src, weights, dst, ..
        } = self.dtypes;
        let known = |t| [DType::F32, DType::Bf16, DType::U8, DType::S8].contains(&t);
        if !known(src) || !known(dst) || weights != DType::F32 {
            return Err(format!(
                "{src} to {dst} has no kernels: a conversion is of f32, bf16, u8 or s8"
            ));
        }
        let Quantisation { src: x, dst: y, .. } = self.quantisation;
        for (name, dtype, affine) in [("source", src, x), ("destination", dst, y)] {
            check_zero(name, dtype, affine.zero)?;
            if !dtype.is_integer() && affine != Affine::default() {
                return Err(format!(
                    "a scale of {dtype} ({name}) has no meaning: scales are for u8 and s8"
                ));
            }
        }
        let quantisation = Quantisation {
            src: x,
            dst: y,
            ..Quantisation::default()
        };
        match self.quantisation == quantisation && self.epilogue == Epilogue::default() {
            true => Ok(()),
            false => Err("a conversion has scales and zero points of source and destination alone, and no bias, ReLU or residual".into()),
        }
    }

    /// Checks that source and destination have one type, and that there are no weights.
    fn check_one_type(&self) -> Result<(), String> {
        let DTypes {
            src, weights, dst, ..
        } = self.dtypes;
        let known = [DType::F32, DType::Bf16, DType::U8, DType::S8].contains(&src);
        match known && dst == src && weights == DType::F32 {
            true => Ok(()),
            false => Err(format!(
                "{src} to {dst} has no kernels: source and destination of such a layer are both f32, bf16, u8 or s8"
            )),
        }
    }

    /// Checks that only integers have scales and zero points, and that zero points are values of their types.
    fn check_quantisation(&self) -> Result<(), String> {
        let (dtypes, quantisation) = (self.dtypes, self.quantisation);
        if !dtypes.are_integers() && quantisation != Quantisation::default() {
            let src = dtypes.src;
            return Err(format!(
                "scales and zero points are for sources of u8 and s8, not of {src}: leave them out"
            ));
        }
        check_zero("source", dtypes.src, quantisation.src.zero)?;
        check_zero("destination", dtypes.dst, quantisation.dst.zero)?;
        check_zero("residual", dtypes.residual, quantisation.residual.zero)
    }

    /// Checks the type of the residual against that of the source.
    fn check_residual(&self) -> Result<(), String> {
        let DTypes { src, residual, .. } = self.dtypes;
        let allowed: &[DType] = match src {
            _ if !self.epilogue.residual => &[DType::F32],
            DType::F32 => &[DType::F32],
            DType::Bf16 => &[DType::Bf16, DType::F32],
            _ => &[DType::U8, DType::S8, DType::S32, DType::F32],
        };
        if allowed.contains(&residual) {
            return Ok(());
        }
        let allowed: Vec<&str> = allowed.iter().map(|t| t.name()).collect();
        let allowed = allowed.join(", ");
        Err(format!(
            "a residual of {residual} can't be added to a layer of {src}: expected {allowed}"
        ))
    }

    /// Checks that a residual with a scale can overwrite the destination, as benchdnn's `sum` does.
    fn check_sum(&self) -> Result<(), String> {
        let DTypes { residual, dst, .. } = self.dtypes;
        if !self.epilogue.residual || self.adds_unscaled() || residual.size() == dst.size() {
            return Ok(());
        }
        Err(format!(
            "sum adds {residual} to a destination of {dst}: types of equal size are expected, or add:{residual}:per_tensor without a scale"
        ))
    }
}
