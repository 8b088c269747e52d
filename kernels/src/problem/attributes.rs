//! Attributes of a layer that every operation may have: element types and the epilogue.

use crate::dtype::DType;
use std::fmt;

/// Element types of a problem's operands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DTypes {
    /// Source.
    pub src: DType,
    /// Weights.
    pub weights: DType,
    /// Destination.
    pub dst: DType,
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
    /// Operations on each output before it is stored.
    pub epilogue: Epilogue,
}

impl Attributes {
    /// Copy with another epilogue.
    pub(super) fn with(self, epilogue: Epilogue) -> Self {
        Attributes { epilogue, ..self }
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attributes { dtypes, epilogue } = self;
        if *dtypes != DTypes::default() {
            write!(f, "--dt={}:{}:{} ", dtypes.src, dtypes.weights, dtypes.dst)?;
        }
        if epilogue.bias {
            f.write_str("--dir=FWD_B ")?;
        }
        f.write_str(match (epilogue.residual, epilogue.relu) {
            (true, true) => "--attr-post-ops=add:f32:per_tensor+relu ",
            (true, false) => "--attr-post-ops=add:f32:per_tensor ",
            (false, true) => "--attr-post-ops=relu ",
            (false, false) => "",
        })
    }
}
