//! Softmax.

use crate::exec::Executor;
use crate::problem::attributes::{Attributes, Epilogue};
use crate::problem::axis::ShapeError;
use crate::problem::descriptor::{dims, read_dims};
use crate::problem::maps::Maps;
use crate::problem::naive::{by_maps, softmax};
use crate::problem::operation::{Effect, Names, Operands, Operation, Rounding};
use crate::problem::syntax::{Driver, Input, Named, Wrong};
use std::fmt;

/// Softmax over the channels of each pixel: e^x / sum of e^x. A NaN or +inf makes all outputs of its pixel NaN, and
/// so do channels that are all -inf. Beside finite channels, -inf gives 0. PyTorch gives the same results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftmaxShape(pub Maps);

impl Operation for SoftmaxShape {
    fn names() -> Names {
        Names {
            one: "softmax",
            many: "softmax",
        }
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
        // The maximum, a difference, e^x, the sum, a quotient.
        5 * self.0.elements() as u64
    }

    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64> {
        let ([_, c, _, _], map_len) = (self.0.dims(), self.0.positions());
        by_maps(self.0.dims(), attributes, x, exec, |image, channel, map| {
            for (i, y) in map.iter_mut().enumerate() {
                let channels = (0..c).map(|k| x.src[(image * c + k) * map_len + i]);
                let channels: Vec<f64> = channels.collect();
                *y = softmax(&channels)(channels[channel]);
            }
        })
    }

    /// Relative errors of e^x, of the sum of positive terms, and of the quotient. An exponent is a difference of two inputs,
    /// rounded to eps / 2 of twice the largest input. Its absolute error is a relative error of e^x.
    fn rounding(&self, magnitude: f64, _: f64) -> Rounding {
        let [_, c, _, _] = self.0.dims();
        Rounding {
            effect: Effect::Relative,
            ..Rounding::new(c, 1.0 + magnitude / 2.0)
        }
    }

    fn keeps_nans(&self) -> bool {
        true
    }

    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result {
        write!(f, "--softmax --axis=1 {attributes}{}", dims(self.0.dims()))
    }
}

impl Named for SoftmaxShape {
    const DRIVERS: &'static [Driver] = &[Driver {
        algs: "softmax",
        takes_alg: |alg| ["softmax", "softmax_accurate"].contains(&alg),
        flags: &["--axis"],
        ..Driver::new("--softmax")
    }];

    fn read(input: &Input<'_>, _: &mut Epilogue) -> Result<Self, Wrong> {
        input.check_axis()?;
        Ok(SoftmaxShape(read_dims(input.descriptor)?.try_into()?))
    }
}
