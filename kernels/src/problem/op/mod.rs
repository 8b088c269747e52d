//! Operations, one module each: shape, text, definition, cost and error bound. A new operation is a module that
//! implements [`Operation`] and [`Named`] (or [`Fused`]), and a line in this file.
//!
//! In reading order: `conv.rs` and `pool.rs`, which have windows; `identity.rs`, `batch_norm.rs`, `softmax.rs`, `lrn.rs`,
//! `concat.rs`, `conversion.rs`, `attention.rs` and `bilinear.rs`, which have none; `fused.rs`, which joins two layers; this file.

mod attention;
mod batch_norm;
mod bilinear;
mod concat;
mod conv;
mod conversion;
mod fused;
mod identity;
mod lrn;
mod pool;
mod softmax;

pub use attention::AttentionShape;
pub use batch_norm::{BATCH_NORM_EPSILON, BatchNormShape, StatisticsShape};
pub use bilinear::{BilinearKind, BilinearShape};
pub use concat::ConcatShape;
pub use conv::{ConvShape, ConvSpec};
pub use conversion::ConversionShape;
pub use fused::{ConvPairShape, ConvPoolShape};
pub use identity::IdentityShape;
pub use lrn::{LrnShape, LrnSpec};
pub use pool::{PoolKind, PoolShape, PoolSpec};
pub use softmax::SoftmaxShape;

use super::attributes::{Attributes, Epilogue};
use super::axis::ShapeError;
use super::operation::Operation;
use super::syntax::{Driver, Fused, Input, Named, Wrong};
use std::any::Any;
use std::ops::Deref;

/// Reader of a driver's layers.
pub(super) type Read = fn(&Input<'_>, &mut Epilogue) -> Result<Op, Wrong>;

/// Defines [`Op`] from the list of operations: those that drivers name, then those that join two layers.
macro_rules! operations {
    (named { $($named:tt)* } fused { $($fused:tt)* }) => {
        operations!(@all $($named)* $($fused)*);
        operations!(@named $($named)*);
        operations!(@fused $($fused)*);
    };
    (@all $($name:ident($shape:ident),)*) => {
        /// An operation with its shape. It dereferences to its [`Operation`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Op {
            $(#[doc = concat!("See [`", stringify!($shape), "`].")] $name($shape),)*
        }

        $(impl From<$shape> for Op {
            fn from(shape: $shape) -> Self {
                Op::$name(shape)
            }
        })*

        impl Deref for Op {
            type Target = dyn Operation;

            fn deref(&self) -> &Self::Target {
                match self {
                    $(Op::$name(shape) => shape,)*
                }
            }
        }

        impl Op {
            /// Copy with another number of images.
            ///
            /// # Errors
            /// When `n` is 0, or too large.
            pub fn with_batch(&self, n: usize) -> Result<Self, ShapeError> {
                Ok(match self {
                    $(Op::$name(shape) => shape.with_batch(n)?.into(),)*
                })
            }
        }
    };
    (@named $($name:ident($shape:ident),)*) => {
        impl Op {
            /// All drivers, with their readers.
            pub(super) fn drivers() -> impl Iterator<Item = (&'static Driver, Read)> {
                let all: [(&[Driver], Read); _] = [$((
                    <$shape>::DRIVERS,
                    |input, epilogue| Ok(<$shape>::read(input, epilogue)?.into()),
                ),)*];
                let each = |(drivers, read): (&'static [Driver], _)| {
                    drivers.iter().map(move |driver| (driver, read))
                };
                all.into_iter().flat_map(each)
            }
        }
    };
    (@fused $($name:ident($shape:ident),)*) => {
        impl Op {
            /// Joins two layers with their attributes; `None` if no operation joins such layers.
            pub(super) fn join(
                layers: [&dyn Operation; 2],
                attributes: [Attributes; 2],
            ) -> Result<Option<(Self, Attributes)>, Wrong> {
                $(if let Some((shape, attributes)) = <$shape>::join(layers, attributes)? {
                    return Ok(Some((shape.into(), attributes)));
                })*
                Ok(None)
            }
        }
    };
}

operations! {
    named {
        Conv(ConvShape),
        Pool(PoolShape),
        Identity(IdentityShape),
        BatchNorm(BatchNormShape),
        Statistics(StatisticsShape),
        Softmax(SoftmaxShape),
        Lrn(LrnShape),
        Conversion(ConversionShape),
        Concat(ConcatShape),
        Attention(AttentionShape),
        Bilinear(BilinearShape),
    }
    fused {
        ConvPool(ConvPoolShape),
        ConvPair(ConvPairShape),
    }
}

impl Op {
    /// Shape of the operation, if it is one of `T`.
    pub fn shape<T: Operation>(&self) -> Option<&T> {
        let operation: &dyn Any = &**self;
        operation.downcast_ref()
    }
}
