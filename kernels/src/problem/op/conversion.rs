//! Conversion to another element type: quantisation and dequantisation.

use crate::exec::Executor;
use crate::problem::attributes::{Attributes, Epilogue, TypeFlags};
use crate::problem::axis::ShapeError;
use crate::problem::descriptor::{dims, read_dims};
use crate::problem::maps::Maps;
use crate::problem::naive::by_maps;
use crate::problem::operation::{Names, Operands, Operation, Rounding};
use crate::problem::syntax::{Driver, Input, Named, Wrong};
use std::fmt;

/// Elements of one type as elements of another: f32, bf16, u8 or s8. Integers q of source and destination have the values
/// scale (q - zero), each with its own scale and zero point.
///
/// If one type is integers, [`Requantisation`](crate::problem::Requantisation) defines each bit of an output. Its sum is
/// x - zero of the source, or x of a floating-point source. Its factor is the source's scale, or 1. Other outputs are the
/// source, rounded to their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConversionShape(pub Maps);

impl Operation for ConversionShape {
    fn names() -> Names {
        Names {
            one: "a conversion",
            many: "conversions",
        }
    }

    fn check_types(&self, attributes: &Attributes) -> Result<(), String> {
        attributes.check_conversion()
    }

    fn with_batch(&self, n: usize) -> Result<Self, ShapeError> {
        self.0.with_batch(n).map(Self)
    }

    fn src_dims(&self) -> [usize; 4] {
        self.0.dims()
    }

    fn dst_dims(&self) -> [usize; 4] {
        self.0.dims()
    }

    fn flops(&self, _: Epilogue) -> u64 {
        self.0.elements() as u64
    }

    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64> {
        let ([_, c, _, _], map_len) = (self.0.dims(), self.0.positions());
        let zero = f64::from(attributes.quantisation.src.zero);
        by_maps(self.0.dims(), attributes, x, exec, |image, channel, map| {
            let from = &x.src[(image * c + channel) * map_len..][..map_len];
            for (y, x) in map.iter_mut().zip(from) {
                *y = x - zero;
            }
        })
    }

    fn rounding(&self, magnitude: f64, _: f64) -> Rounding {
        Rounding::new(1, magnitude)
    }

    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result {
        let attributes = attributes.text(TypeFlags::SrcDst);
        write!(f, "--reorder {attributes}{}", dims(self.0.dims()))
    }
}

impl Named for ConversionShape {
    const DRIVERS: &'static [Driver] = &[Driver::new("--reorder")];

    fn read(input: &Input<'_>, _: &mut Epilogue) -> Result<Self, Wrong> {
        Ok(ConversionShape(read_dims(input.descriptor)?.try_into()?))
    }
}
