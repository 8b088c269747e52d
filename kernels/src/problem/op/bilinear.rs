//! Bilinear pooling.

use crate::exec::Executor;
use crate::problem::attributes::{Attributes, Epilogue};
use crate::problem::axis::{ShapeError, check_product};
use crate::problem::descriptor::{dims, read_dims};
use crate::problem::maps::Maps;
use crate::problem::naive::by_maps;
use crate::problem::operation::{Effect, Names, Operands, Operation, Rounding};
use crate::problem::syntax::{Driver, Input, Named, Wrong};
use std::fmt;

/// Operations on the sums of a bilinear pooling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BilinearKind {
    /// Keeps only the upper triangle, row by row: the matrix is symmetric.
    pub half: bool,
    /// Replaces each y by sign(y) sqrt |y|.
    pub root: bool,
    /// Then divides all by their L2 norm; 0 if the norm is 0.
    pub l2: bool,
}

impl BilinearKind {
    /// Name in `--alg`.
    fn name(self) -> String {
        let mut name = String::from(if self.half { "half" } else { "full" });
        for (given, part) in [(self.root, "_root"), (self.l2, "_l2")] {
            name.push_str(if given { part } else { "" });
        }
        name
    }

    /// Kind of a name in `--alg`.
    fn of(name: &str) -> Option<Self> {
        let (half, rest) = match name.strip_prefix("half") {
            Some(rest) => (true, rest),
            None => (false, name.strip_prefix("full")?),
        };
        let (root, rest) = match rest.strip_prefix("_root") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let l2 = match rest {
            "_l2" => true,
            "" => false,
            _ => return None,
        };
        Some(BilinearKind { half, root, l2 })
    }
}

/// A valid bilinear pooling (Lin, RoyChowdhury and Maji 2015) of an image's maps with themselves. For each pair of
/// channels it sums the products over all positions. The L2 norm is correct for all sums that an f32 holds, of inputs near
/// 1e-15 and near 1e15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BilinearShape {
    maps: Maps,
    kind: BilinearKind,
}

impl BilinearShape {
    /// Bilinear pooling of maps n, c, h, w.
    ///
    /// # Errors
    /// When the number of multiply-accumulates is too large.
    pub fn new(maps: Maps, kind: BilinearKind) -> Result<Self, ShapeError> {
        let [n, c, h, w] = maps.dims();
        let channels = c.saturating_add(15);
        check_product(
            "number of multiply-accumulates",
            &[n, channels, channels, h, w],
        )?;
        Ok(BilinearShape { maps, kind })
    }

    /// n, c, h, w of the source.
    pub fn maps(&self) -> Maps {
        self.maps
    }

    /// Operations on the sums.
    pub fn kind(&self) -> BilinearKind {
        self.kind
    }

    /// Positions per image.
    pub fn positions(&self) -> usize {
        self.maps.positions()
    }

    /// Outputs per image: c x c, or c (c + 1) / 2 for the half.
    pub fn outputs(&self) -> usize {
        let [_, c, _, _] = self.maps.dims();
        if self.kind.half {
            c * (c + 1) / 2
        } else {
            c * c
        }
    }

    /// Pair of channels that an output multiplies.
    pub fn pair(&self, output: usize) -> [usize; 2] {
        let [_, c, _, _] = self.maps.dims();
        if !self.kind.half {
            return [output / c, output % c];
        }
        let (mut row, mut at) = (0, output);
        while at >= c - row {
            at -= c - row;
            row += 1;
        }
        [row, row + at]
    }
}

impl Operation for BilinearShape {
    fn names() -> Names {
        Names {
            one: "a bilinear pooling",
            many: "bilinear poolings",
        }
    }

    fn with_batch(&self, n: usize) -> Result<Self, ShapeError> {
        BilinearShape::new(self.maps.with_batch(n)?, self.kind)
    }

    fn src_dims(&self) -> [usize; 4] {
        self.maps.dims()
    }

    fn dst_dims(&self) -> [usize; 4] {
        let [n, _, _, _] = self.maps.dims();
        [n, self.outputs(), 1, 1]
    }

    fn flops(&self, _: Epilogue) -> u64 {
        let [n, _, _, _] = self.maps.dims();
        // A root for `root`. The square, its sum and the quotient for `l2`.
        let more = usize::from(self.kind.root) + 3 * usize::from(self.kind.l2);
        (n * self.outputs() * (2 * self.positions() + more)) as u64
    }

    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64> {
        let ([_, c, _, _], positions) = (self.maps.dims(), self.positions());
        let mut out = by_maps(self.dst_dims(), attributes, x, exec, |image, output, y| {
            let map = |channel: usize| &x.src[(image * c + channel) * positions..][..positions];
            let [a, b] = self.pair(output).map(map);
            let sum: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            y[0] = match self.kind.root {
                true if sum < 0.0 => -(-sum).sqrt(),
                true => sum.sqrt(),
                false => sum,
            };
        });
        if self.kind.l2 {
            for image in out.chunks_exact_mut(self.outputs()) {
                let norm = image.iter().map(|y| y * y).sum::<f64>().sqrt();
                let scale = if norm == 0.0 { 0.0 } else { 1.0 / norm };
                image.iter_mut().for_each(|y| *y *= scale);
            }
        }
        out
    }

    /// Error of a sum of products, or of the root of one.
    ///
    /// Division by the norm scales outputs and errors by one factor. The factor follows from the largest output. Before the
    /// division it was the largest sum of squares, at least a sixth of `positions` squares of `magnitude` on random data. The
    /// norm's own error grows with the root of the number of outputs. It is summed in at least 64 lanes.
    fn rounding(&self, magnitude: f64, largest: f64) -> Rounding {
        let (positions, kind) = (self.positions(), self.kind);
        let effect = if kind.root {
            Effect::Root
        } else {
            Effect::Absolute
        };
        let sum = Rounding {
            effect,
            ..Rounding::new(positions, magnitude)
        };
        if !kind.l2 {
            return sum;
        }
        let scaled = if kind.root {
            largest * largest
        } else {
            largest
        };
        Rounding {
            max_x: 6.0 * scaled / positions as f64,
            max_w: 1.0 + (self.outputs() as f64).sqrt() / 64.0,
            ..sum
        }
    }

    fn keeps_nans(&self) -> bool {
        true
    }

    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result {
        let (alg, maps) = (self.kind.name(), dims(self.maps.dims()));
        write!(f, "--bilinear --alg={alg} {attributes}{maps}")
    }
}

impl Named for BilinearShape {
    const DRIVERS: &'static [Driver] = &[Driver {
        algs: "full or half, then _root, _l2 or _root_l2",
        takes_alg: |alg| BilinearKind::of(alg).is_some(),
        ..Driver::new("--bilinear")
    }];

    fn read(input: &Input<'_>, _: &mut Epilogue) -> Result<Self, Wrong> {
        let kind = input.alg.and_then(BilinearKind::of).unwrap_or_default();
        let maps = read_dims(input.descriptor)?.try_into()?;
        Ok(BilinearShape::new(maps, kind)?)
    }
}
