//! Loops that the definitions of operations share: naive, and in f64.

use super::attributes::{Attributes, Epilogue};
use super::operation::Operands;
use super::requantise::Requantisation;
use crate::exec::{Executor, Grid, par_rows};
use crate::window::Window;

/// Output of dims n, c, h, w. `map` writes the map of an image and a channel, then the epilogue is applied.
pub(super) fn by_maps(
    [n, c, h, w]: [usize; 4],
    attributes: &Attributes,
    x: Operands<'_, f64>,
    exec: &dyn Executor,
    map: impl Fn(usize, usize, &mut [f64]) + Sync,
) -> Vec<f64> {
    let mut out = vec![0.0; n * c * h * w];
    // A task is one map.
    let grid = Grid {
        rows: n * c,
        cols: h * w,
        block_rows: 1,
        block_cols: h * w,
        band: n * c,
    };
    let Epilogue { bias, residual, .. } = attributes.epilogue;
    let finish = Finish::new(attributes, x.scales, c);
    par_rows(exec, &mut out, grid, &mut [], |at, mut block, _| {
        let (image, channel) = (at.row / c, at.row % c);
        let out = block.row(0);
        map(image, channel, out);
        let bias = bias.then(|| x.bias[channel]);
        for (i, y) in out.iter_mut().enumerate() {
            let residual = residual.then(|| x.residual[at.row * h * w + i]);
            *y = finish.output(*y, channel, bias, residual);
        }
    });
    out
}

/// Epilogue of a layer.
enum Finish {
    /// Sums or outputs that are integers, with the factors of the output channels.
    Integers(Requantisation, Vec<f32>),
    /// Floating-point numbers, in f64. The flag is the ReLU.
    Floats(bool),
}

impl Finish {
    fn new(attributes: &Attributes, scales: &[f32], channels: usize) -> Self {
        let Attributes {
            dtypes,
            quantisation,
            epilogue,
        } = attributes;
        if !dtypes.are_integers() && !dtypes.dst.is_integer() {
            return Finish::Floats(epilogue.relu);
        }
        let factors = Requantisation::factors(quantisation, scales, channels);
        Finish::Integers(Requantisation::new(attributes), factors)
    }

    fn output(&self, sum: f64, channel: usize, bias: Option<f32>, residual: Option<f64>) -> f64 {
        match self {
            Finish::Integers(requantisation, factors) => {
                requantisation.output(sum, factors[channel], bias, residual.map(|r| r as f32))
            }
            Finish::Floats(relu) => {
                let mut y = sum;
                if let Some(bias) = bias {
                    y += f64::from(bias);
                }
                if let Some(residual) = residual {
                    y += residual;
                }
                if *relu && y < 0.0 {
                    y = 0.0;
                }
                y
            }
        }
    }
}

/// Input position of tap `k` of output `o` along an axis; `None` in the padding.
pub(super) fn tap(axis: &Window, o: usize, k: usize) -> Option<usize> {
    (o * axis.stride + k * axis.dilation)
        .checked_sub(axis.before)
        .filter(|&i| i < axis.size)
}

/// Maximum, or NaN if there is one.
pub(super) fn largest(values: &[f64]) -> f64 {
    values.iter().fold(f64::NEG_INFINITY, |max, &x| {
        if x > max || x.is_nan() && !max.is_nan() {
            x
        } else {
            max
        }
    })
}

/// Softmax of some values: the function that maps each of them to its share.
pub(super) fn softmax(values: &[f64]) -> impl Fn(f64) -> f64 + use<> {
    let max = largest(values);
    let sum: f64 = values.iter().map(|x| (x - max).exp()).sum();
    move |x| (x - max).exp() / sum
}
