//! Element types of tensors.

use std::fmt;

/// Element types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// IEEE single precision.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
    /// Signed bytes.
    S8,
    /// Unsigned bytes.
    U8,
    /// 32-bit integers.
    S32,
}

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
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
