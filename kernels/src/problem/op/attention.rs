//! Attention pooling.

use crate::exec::Executor;
use crate::problem::attributes::{Attributes, Epilogue};
use crate::problem::axis::{ShapeError, check_product, check_sizes};
use crate::problem::descriptor::{dims, read_dims};
use crate::problem::maps::Maps;
use crate::problem::naive::{by_maps, softmax};
use crate::problem::operation::{Names, Operands, Operation, Rounding};
use crate::problem::syntax::{Driver, Input, Named, Wrong};
use std::fmt;

/// A valid attention pooling (Ilse, Tomczak and Welling 2018): the weighted sum of an image's positions h. The weights
/// are the softmax, over positions, of w^T tanh(V h).
///
/// The weight tensor has one row per hidden unit: the row of V, then the element of w. Its dims are hidden, c + 1, 1, 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionShape {
    maps: Maps,
    hidden: usize,
}

impl AttentionShape {
    /// Attention pooling of maps n, c, h, w, with `hidden` rows of V.
    ///
    /// # Errors
    /// When `hidden` is 0, or a product of sizes is too large.
    pub fn new(maps: Maps, hidden: usize) -> Result<Self, ShapeError> {
        let [n, c, h, w] = maps.dims();
        check_sizes(&[("hidden units", hidden)])?;
        let channels = c.saturating_add(16);
        check_product("weights' elements", &[hidden.saturating_add(15), channels])?;
        check_product(
            "number of multiply-accumulates",
            &[n, hidden, channels, h, w],
        )?;
        Ok(AttentionShape { maps, hidden })
    }

    /// n, c, h, w of the source.
    pub fn maps(&self) -> Maps {
        self.maps
    }

    /// Hidden units: rows of V and elements of w.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Positions per image.
    pub fn positions(&self) -> usize {
        self.maps.positions()
    }

    /// Weights of each image's positions.
    fn shares(&self, x: Operands<'_, f64>) -> Vec<f64> {
        let [n, c, _, _] = self.maps.dims();
        let positions = self.positions();
        let mut shares = Vec::new();
        for image in 0..n {
            let h = |channel: usize, at: usize| x.src[(image * c + channel) * positions + at];
            let score = |at: usize| -> f64 {
                let rows = x.weights.chunks_exact(c + 1).map(|row| {
                    let sum: f64 = (0..c).map(|k| f64::from(row[k]) * h(k, at)).sum();
                    f64::from(row[c]) * sum.tanh()
                });
                rows.sum()
            };
            let scores: Vec<f64> = (0..positions).map(score).collect();
            shares.extend(scores.iter().copied().map(softmax(&scores)));
        }
        shares
    }
}

impl Operation for AttentionShape {
    fn names() -> Names {
        Names {
            one: "an attention pooling",
            many: "attention poolings",
        }
    }

    fn with_batch(&self, n: usize) -> Result<Self, ShapeError> {
        AttentionShape::new(self.maps.with_batch(n)?, self.hidden)
    }

    fn src_dims(&self) -> [usize; 4] {
        self.maps.dims()
    }

    fn dst_dims(&self) -> [usize; 4] {
        let [n, c, _, _] = self.maps.dims();
        [n, c, 1, 1]
    }

    fn weights_dims(&self) -> Option<[usize; 4]> {
        let [_, c, _, _] = self.maps.dims();
        Some([self.hidden, c + 1, 1, 1])
    }

    fn flops(&self, _: Epilogue) -> u64 {
        let [n, c, _, _] = self.maps.dims();
        // V h, tanh and the product with w; a softmax; the weighted sum.
        let per_position = self.hidden * (2 * c + 3) + 5 + 2 * c;
        (n * self.positions() * per_position) as u64
    }

    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64> {
        let ([_, c, _, _], positions) = (self.maps.dims(), self.positions());
        let shares = self.shares(x);
        by_maps(self.dst_dims(), attributes, x, exec, |image, channel, y| {
            let shares = &shares[image * positions..][..positions];
            let map = &x.src[(image * c + channel) * positions..][..positions];
            y[0] = map.iter().zip(shares).map(|(x, share)| x * share).sum();
        })
    }

    /// Errors of the weighted sum, and of the shares, which have the absolute error of a score as their relative error.
    ///
    /// A score is a sum of w tanh(v), and v a sum of C products. Products of random numbers add up to about sqrt C, and their
    /// error is about eps sqrt C / 5 of that. tanh flattens where v is large: v tanh'(v) is below 1/2. So tanh(v) has its own
    /// error and at most eps sqrt C / 10. The bound counts more than twice that.
    fn rounding(&self, magnitude: f64, _: f64) -> Rounding {
        let [_, c, _, _] = self.maps.dims();
        let root = |terms: usize| (terms as f64).sqrt() + 1.0;
        let tangent = (c as f64).sqrt() / 4.0 + 1.0;
        let score = root(self.hidden) * magnitude * tangent;
        let max = magnitude * (1.0 + score / root(self.positions()));
        Rounding::new(self.positions(), max)
    }

    fn keeps_nans(&self) -> bool {
        true
    }

    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result {
        let (hidden, maps) = (self.hidden, dims(self.maps.dims()));
        write!(f, "--attention --hidden={hidden} {attributes}{maps}")
    }
}

impl Named for AttentionShape {
    const DRIVERS: &'static [Driver] = &[Driver {
        flags: &["--hidden"],
        ..Driver::new("--attention")
    }];

    fn read(input: &Input<'_>, _: &mut Epilogue) -> Result<Self, Wrong> {
        let flag = input.flag("--hidden");
        let flag = flag.ok_or("--attention needs --hidden=UNITS")?;
        let hidden = flag.strip_prefix("--hidden=").and_then(|n| n.parse().ok());
        let hidden = hidden.ok_or_else(|| format!("{flag} should be --hidden=UNITS"))?;
        let maps = read_dims(input.descriptor)?.try_into()?;
        Ok(AttentionShape::new(maps, hidden)?)
    }
}
