//! Layers that are an epilogue alone: copy, ReLU, residual add, bias.

use crate::dtype::DType;
use crate::exec::Executor;
use crate::problem::attributes::{Attributes, Epilogue, TypeFlags};
use crate::problem::axis::ShapeError;
use crate::problem::descriptor::{dims, read_dims};
use crate::problem::maps::Maps;
use crate::problem::naive::by_maps;
use crate::problem::operation::{Names, Operands, Operation, Rounding};
use crate::problem::quantisation::Scale;
use crate::problem::syntax::{Driver, Input, Named, Wrong};
use std::fmt;

/// The unchanged input. The epilogue is the layer: bias, residual add, ReLU. Without an epilogue it is a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdentityShape(pub Maps);

impl IdentityShape {
    /// Dims of a tensor with one value per channel.
    fn vector(&self) -> [usize; 4] {
        let [_, c, _, _] = self.0.dims();
        [1, c, 1, 1]
    }

    /// The driver that states a part of the epilogue.
    fn driver(&self, attributes: &Attributes) -> Stated {
        let (maps, vector) = (self.0.dims(), self.vector());
        let mut rest = attributes.epilogue;
        let (driver, types, second) = if rest.bias {
            rest.bias = false;
            let second = TypeFlags::TwoSources(DType::F32, Scale::ONE);
            ("--binary --alg=add", second, Some(vector))
        } else if rest.residual && maps != vector {
            rest.residual = false;
            let scale = attributes.quantisation.residual.scale;
            let second = TypeFlags::TwoSources(attributes.dtypes.residual, scale);
            ("--binary --alg=add", second, Some(maps))
        } else if rest.relu && !rest.residual {
            rest.relu = false;
            ("--eltwise --alg=relu", TypeFlags::One, None)
        } else {
            ("--eltwise --alg=linear", TypeFlags::One, None)
        };
        Stated {
            driver,
            types,
            second,
            rest,
        }
    }
}

/// Text of a driver, and what it doesn't state.
struct Stated {
    driver: &'static str,
    types: TypeFlags,
    /// Dims of the second source.
    second: Option<[usize; 4]>,
    /// Parts of the epilogue that flags must state.
    rest: Epilogue,
}

impl Operation for IdentityShape {
    fn names() -> Names {
        Names {
            one: "an epilogue alone",
            many: "epilogues alone",
        }
    }

    fn takes_epilogue() -> bool {
        true
    }

    fn check_types(&self, attributes: &Attributes) -> Result<(), String> {
        attributes.check_adds(self.driver(attributes).types)
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

    fn flops(&self, epilogue: Epilogue) -> u64 {
        // A copy counts as one operation.
        self.0.elements() as u64 * epilogue.flops().max(1)
    }

    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64> {
        let ([_, c, _, _], map_len) = (self.0.dims(), self.0.positions());
        by_maps(self.0.dims(), attributes, x, exec, |image, channel, map| {
            map.copy_from_slice(&x.src[(image * c + channel) * map_len..][..map_len]);
        })
    }

    fn rounding(&self, magnitude: f64, _: f64) -> Rounding {
        Rounding::new(1, magnitude)
    }

    /// The driver itself stands for a part of the epilogue.
    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result {
        let Stated {
            driver,
            types,
            second,
            rest,
        } = self.driver(&attributes);
        let attributes = attributes.with(rest).text(types);
        write!(f, "{driver} {attributes}{}", dims(self.0.dims()))?;
        second.map_or(Ok(()), |second| write!(f, ":{}", dims(second)))
    }
}

impl Named for IdentityShape {
    const DRIVERS: &'static [Driver] = &[
        Driver {
            algs: "relu or linear",
            takes_alg: |alg| is_relu(alg) || ["linear", "eltwise_linear"].contains(&alg),
            ..Driver::new("--eltwise")
        },
        Driver {
            algs: "add",
            takes_alg: |alg| ["add", "binary_add"].contains(&alg),
            ..Driver::new(BINARY)
        },
    ];

    fn read(input: &Input<'_>, epilogue: &mut Epilogue) -> Result<Self, Wrong> {
        if input.driver == BINARY {
            return read_sum(input.descriptor, epilogue);
        }
        if epilogue.bias {
            return Err("a bias is --binary --alg=add NxCxHxW:1xCx1x1".into());
        }
        if input.alg.is_some_and(is_relu) {
            if epilogue.residual {
                return Err("the ReLU comes last: --binary --alg=add --attr-post-ops=relu".into());
            }
            epilogue.relu = true;
        }
        Ok(IdentityShape(read_dims(input.descriptor)?.try_into()?))
    }
}

const BINARY: &str = "--binary";

fn is_relu(alg: &str) -> bool {
    ["relu", "eltwise_relu"].contains(&alg)
}

/// Reads the sum of two tensors. The second is a residual or a bias.
fn read_sum(descriptor: &str, epilogue: &mut Epilogue) -> Result<IdentityShape, Wrong> {
    let (first, second) = descriptor
        .split_once(':')
        .ok_or("two tensors are added: NxCxHxW:NxCxHxW, or NxCxHxW:1xCx1x1")?;
    let shape = IdentityShape(read_dims(first)?.try_into()?);
    let second = read_dims(second)?;
    let adds = match () {
        _ if second == shape.vector() => &mut epilogue.bias,
        _ if second == shape.0.dims() => &mut epilogue.residual,
        _ => return Err("the second tensor should be like the first, or 1xCx1x1".into()),
    };
    if std::mem::replace(adds, true) {
        return Err("two tensors of the same dims are added: one at most".into());
    }
    Ok(shape)
}
