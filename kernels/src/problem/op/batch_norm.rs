//! Batch normalisation, and the statistics that it needs in training.

use crate::exec::Executor;
use crate::problem::attributes::{Attributes, Epilogue};
use crate::problem::axis::ShapeError;
use crate::problem::descriptor::{Fields, write_maps};
use crate::problem::maps::Maps;
use crate::problem::naive::by_maps;
use crate::problem::operation::{Names, Operands, Operation, Rounding};
use crate::problem::syntax::{Driver, Input, Named, Wrong};
use std::fmt;

/// Epsilon of batch normalisations, 1e-5: the default of PyTorch and benchdnn. A network with another epsilon
/// (GoogLeNet's 1e-3) adds the difference to the variances.
pub const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Batch normalisation at inference: gamma (x - mean) / sqrt(variance + [`BATCH_NORM_EPSILON`]) + beta. The weights
/// are 4 rows of c elements: gamma, beta, means, variances. Their dims are 4, c, 1, 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchNormShape(pub Maps);

impl Operation for BatchNormShape {
    fn names() -> Names {
        Names {
            one: "a batch normalisation",
            many: "batch normalisations",
        }
    }

    fn takes_epilogue() -> bool {
        true
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

    fn weights_dims(&self) -> Option<[usize; 4]> {
        let [_, c, _, _] = self.0.dims();
        Some([4, c, 1, 1])
    }

    fn flops(&self, epilogue: Epilogue) -> u64 {
        // A factor and a sum.
        self.0.elements() as u64 * (2 + epilogue.flops())
    }

    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64> {
        let ([_, c, _, _], map_len) = (self.0.dims(), self.0.positions());
        by_maps(self.0.dims(), attributes, x, exec, |image, channel, map| {
            let parameter = |row: usize| f64::from(x.weights[row * c + channel]);
            let [gamma, beta, mean, variance] = [0, 1, 2, 3].map(parameter);
            let src = &x.src[(image * c + channel) * map_len..][..map_len];
            for (y, x) in map.iter_mut().zip(src) {
                *y = gamma * (x - mean) / (variance + BATCH_NORM_EPSILON).sqrt() + beta;
            }
        })
    }

    /// Variances are positive. Values near 0 would make quotients large.
    fn constrain_weights(&self, weights: &mut [f32]) {
        let [_, c, _, _] = self.0.dims();
        for variance in &mut weights[3 * c..] {
            *variance = 0.5 + variance.abs();
        }
    }

    fn rounding(&self, magnitude: f64, _: f64) -> Rounding {
        // Factor (gamma / root) times x, the mean, and beta.
        Rounding::new(3, magnitude)
    }

    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result {
        write!(f, "--bnorm --flags=GCH {attributes}")?;
        write_maps(f, self.0.dims())
    }
}

impl Named for BatchNormShape {
    const DRIVERS: &'static [Driver] = &[Driver {
        flags: &["--flags"],
        ..Driver::new("--bnorm")
    }];

    fn read(input: &Input<'_>, _: &mut Epilogue) -> Result<Self, Wrong> {
        match input.flag("--flags") {
            Some("--flags=GCH") => read_maps(input).map(Self),
            Some(flag) => Err(format!("unknown {flag}: expected --flags=GCH").into()),
            None => Err("--bnorm needs --flags=GCH: statistics, scale and shift are given".into()),
        }
    }
}

/// Statistics that a batch normalisation in training needs: mean and variance of each channel over all images. The
/// means are the output's first image, the variances its second. The variance is biased: it is divided by the number of
/// elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatisticsShape(pub Maps);

impl Operation for StatisticsShape {
    fn names() -> Names {
        Names {
            one: "a statistic",
            many: "means and variances",
        }
    }

    fn with_batch(&self, n: usize) -> Result<Self, ShapeError> {
        self.0.with_batch(n).map(Self)
    }

    fn src_dims(&self) -> [usize; 4] {
        self.0.dims()
    }

    fn dst_dims(&self) -> [usize; 4] {
        let [_, c, _, _] = self.0.dims();
        [2, c, 1, 1]
    }

    fn flops(&self, _: Epilogue) -> u64 {
        // A sum. Then a difference, its square and their sum.
        4 * self.0.elements() as u64
    }

    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64> {
        let ([n, c, _, _], map_len) = (self.0.dims(), self.0.positions());
        let count = self.0.per_channel() as f64;
        by_maps(self.dst_dims(), attributes, x, exec, |row, channel, y| {
            let maps = (0..n).map(|image| &x.src[(image * c + channel) * map_len..][..map_len]);
            let elements = || maps.clone().flatten();
            let mean = elements().sum::<f64>() / count;
            y[0] = match row {
                0 => mean,
                _ => elements().map(|x| (x - mean).powi(2)).sum::<f64>() / count,
            };
        })
    }

    fn rounding(&self, magnitude: f64, _: f64) -> Rounding {
        Rounding::new(self.0.per_channel(), magnitude)
    }

    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result {
        write!(f, "--statistics {attributes}")?;
        write_maps(f, self.0.dims())
    }
}

impl Named for StatisticsShape {
    const DRIVERS: &'static [Driver] = &[Driver::new("--statistics")];

    fn read(input: &Input<'_>, _: &mut Epilogue) -> Result<Self, Wrong> {
        read_maps(input).map(Self)
    }
}

fn read_maps(input: &Input<'_>) -> Result<Maps, Wrong> {
    let maps = Fields::read(input.descriptor)?.maps(&["mb", "ic", "ih", "iw"])?;
    Ok(maps.try_into()?)
}
