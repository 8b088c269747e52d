//! Parser of the flags before a descriptor: drivers, `--alg`, `--dir`, `--dt`, `--attr-post-ops` and others.

use super::attributes::{Attributes, DTypes, Epilogue};
use super::op::{IdentityShape, Op, Read};
use super::quantisation::{Affine, Quantisation, Scale, Scales, read_scale, read_zeros};
use super::syntax::{Driver, Input, Wrong, flag_name};
use crate::dtype::DType;

/// Flags of a layer.
#[derive(Default)]
pub(super) struct Flags<'a> {
    pub(super) epilogue: Epilogue,
    types: Types,
    scales: Scales,
    /// Zero points of source and destination.
    zeros: [i32; 2],
    /// Residual of a post-op.
    residual: Option<Added>,
    /// `--mb`: the batch that replaces the descriptor's. 0 keeps the descriptor's.
    pub(super) batch: Option<usize>,
    driver: Option<(&'static Driver, Read)>,
    /// Value of `--alg` in lower case. Some driver takes it.
    alg: Option<String>,
    /// Flags that only some drivers take, with their values.
    own: Vec<&'a str>,
}

/// Element types, as flags state them.
#[derive(Default)]
struct Types {
    /// `--dt`: one for all tensors, those of source and destination, or those of source, weights and destination.
    dt: Vec<DType>,
    /// `--sdt`: those of the sources.
    sdt: Vec<DType>,
    /// `--ddt`: that of the destination.
    ddt: Option<DType>,
}

/// Residual of a post-op.
#[derive(Clone, Copy, Default)]
struct Added {
    /// Its type; `None` for that of the destination.
    dtype: Option<DType>,
    affine: Affine,
}

/// Drivers of a layer without a driver's flag. Its `--alg` decides.
const UNNAMED: [&str; 2] = ["--conv", "--pool"];

/// Names of the flags that most drivers take, for errors.
const COMMON: &str =
    "--alg, --dir, --dt, --sdt, --ddt, --attr-scales, --attr-zero-points, --attr-post-ops, --mb";

/// Names of the drivers, for errors.
fn driver_names() -> String {
    let names: Vec<&str> = Op::drivers().map(|(driver, _)| driver.flag).collect();
    names.join(", ")
}

/// Names of the flags that only some drivers take, for errors.
fn own_names() -> String {
    let mut names: Vec<&str> = Op::drivers().flat_map(|(d, _)| d.flags).copied().collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// Supported post-ops of benchdnn, for errors.
const POST_OPS: &str =
    "sum, sum:SCALE:ZERO:TYPE or add:TYPE:per_tensor, relu, or both in this order";

impl<'a> Flags<'a> {
    pub(super) fn read(&mut self, flag: &'a str) -> Result<(), String> {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        match name {
            "--alg" => {
                let alg = value.to_ascii_lowercase();
                if !Op::drivers().any(|(driver, _)| (driver.takes_alg)(&alg)) {
                    let known = Op::drivers().filter(|(driver, _)| !driver.algs.is_empty());
                    let known = known.map(|(d, _)| format!("{} for {}", d.algs, d.flag));
                    let known = known.collect::<Vec<_>>().join("; ");
                    return Err(format!("unknown --alg={value}: expected {known}"));
                }
                self.alg = Some(alg);
            }
            "--dir" => match &*value.to_ascii_uppercase() {
                "FWD_B" => self.epilogue.bias = true,
                "FWD_D" | "FWD_I" => self.epilogue.bias = false,
                "BWD_B" | "BWD_D" | "BWD_W" | "BWD_WB" | "BWD_DW" => {
                    return Err(format!(
                        "{flag} is a backward pass: only forward ones are computed, --dir=FWD_B, FWD_D or FWD_I"
                    ));
                }
                _ => return Err(format!("unknown {flag}: expected FWD_B, FWD_D or FWD_I")),
            },
            "--mb" => {
                let batch = value.parse();
                self.batch = Some(batch.map_err(|_| format!("{flag} should be --mb=IMAGES"))?);
            }
            "--dt" => self.types.dt = read_types(flag, value, 3)?,
            "--sdt" => self.types.sdt = read_types(flag, value, 2)?,
            "--ddt" => self.types.ddt = read_types(flag, value, 1)?.first().copied(),
            "--attr-scales" => self.scales = Scales::read(value)?,
            "--attr-zero-points" => self.zeros = read_zeros(value)?,
            "--attr-post-ops" => {
                (self.residual, self.epilogue.relu) = post_ops(value)?;
                self.epilogue.residual = self.residual.is_some();
            }
            "--batch" => {
                return Err(format!(
                    "{flag} is a file of several problems, where one is wanted"
                ));
            }
            _ if let Some(driver) = Op::drivers().find(|(driver, _)| driver.flag == flag) => {
                self.driver = Some(driver);
            }
            _ if Op::drivers().any(|(driver, _)| driver.flags.contains(&name)) => {
                self.own.push(flag);
            }
            "--deconv" | "--rnn" | "--matmul" | "--sum" | "--reduction" | "--resampling"
            | "--prelu" | "--shuffle" | "--lnorm" | "--gnorm" | "--zeropad" | "--brgemm"
            | "--graph" => {
                let drivers = driver_names();
                return Err(format!(
                    "benchdnn's driver {name} has no kernels here: the drivers are {drivers}"
                ));
            }
            _ => {
                let (drivers, own) = (driver_names(), own_names());
                return Err(format!(
                    "unknown flag '{flag}': the drivers are {drivers}; the flags are {COMMON}, and for some drivers {own}"
                ));
            }
        }
        Ok(())
    }

    /// Attributes of the operation. The driver may have added a residual to the epilogue, or a bias.
    pub(super) fn attributes(&self, op: &Op, epilogue: Epilogue) -> Result<Attributes, String> {
        let [src, mut weights, dst] = self.types.of_operands()?;
        if op.weights_dims().is_none() {
            weights = DType::F32;
        } else if self.types.dt.len() == 2 {
            return Err("a layer with weights has --dt=src:weights:dst".into());
        }
        let mut residual = self
            .residual
            .map(|added| (added.dtype.unwrap_or(dst), added.affine));
        // The driver's second source is a bias or the residual.
        let second = self.types.sdt.get(1).copied();
        if epilogue.residual && residual.is_none() {
            let affine = Affine {
                scale: self.scales.second,
                zero: 0,
            };
            residual = Some((second.unwrap_or(src), affine));
        } else if second.is_some_and(|t| t != DType::F32) || self.scales.second != Scale::ONE {
            return Err("a second source is a residual, --binary --alg=add NxCxHxW:NxCxHxW, or a bias, which is f32 and has no scale".into());
        } else if second.is_some() && op.shape::<IdentityShape>().is_none() {
            return Err("such a layer has one source: --sdt=type".into());
        }
        let [zero, dst_zero] = self.zeros;
        let (residual, residual_affine) = residual.unwrap_or_default();
        Ok(Attributes {
            dtypes: DTypes {
                src,
                weights,
                dst,
                residual,
            },
            quantisation: Quantisation {
                src: Affine {
                    scale: self.scales.src,
                    zero,
                },
                weights: self.scales.weights,
                dst: Affine {
                    scale: self.scales.dst,
                    zero: dst_zero,
                },
                residual: residual_affine,
            },
            epilogue,
        })
    }

    /// Reads the operation. Tensors that its driver adds are entered in the epilogue.
    pub(super) fn op(&self, descriptor: &str, epilogue: &mut Epilogue) -> Result<Op, Wrong> {
        let (driver, read) = self.driver()?;
        let foreign = |flag: &&&str| !driver.flags.contains(&flag_name(flag));
        if let Some(flag) = self.own.iter().find(foreign) {
            let name = flag_name(flag);
            let takers = Op::drivers().filter(|(driver, _)| driver.flags.contains(&name));
            let takers: Vec<&str> = takers.map(|(driver, _)| driver.flag).collect();
            return Err(format!("{name} is for {}", takers.join(" and ")).into());
        }
        let input = Input {
            driver: driver.flag,
            alg: self.alg.as_deref(),
            flags: &self.own,
            descriptor,
        };
        read(&input, epilogue)
    }

    /// The given driver, or the one that the flags imply.
    fn driver(&self) -> Result<(&'static Driver, Read), String> {
        let takes = |(driver, _): &(&Driver, Read)| {
            let alg = self.alg.as_deref();
            alg.is_none_or(|alg| (driver.takes_alg)(alg))
        };
        let mut candidates = Op::drivers().filter(|(driver, _)| match self.driver {
            Some((given, _)) => driver.flag == given.flag,
            None => UNNAMED.contains(&driver.flag),
        });
        if let Some(found) = candidates.find(takes) {
            return Ok(found);
        }
        let (owner, _) = Op::drivers().find(takes).expect("some driver takes it");
        Err(match self.driver {
            Some((given, _)) => format!("that --alg is for {}, not for {}", owner.flag, given.flag),
            None => format!("that --alg is for {}", owner.flag),
        })
    }
}

impl Types {
    /// Types of source, weights and destination. `--sdt` and `--ddt` replace those of `--dt`.
    fn of_operands(&self) -> Result<[DType; 3], String> {
        let [src, weights, dst] = match self.dt[..] {
            [] => [DType::F32; 3],
            [all] => [all; 3],
            [src, dst] => [src, DType::F32, dst],
            [src, weights, dst] => [src, weights, dst],
            _ => return Err("--dt has at most three types: --dt=src:weights:dst".into()),
        };
        let src = self.sdt.first().copied().unwrap_or(src);
        Ok([src, weights, self.ddt.unwrap_or(dst)])
    }
}

/// Parses a type.
fn read_type(name: &str) -> Option<DType> {
    name.parse().ok()
}

/// Parses up to `most` types.
fn read_types(flag: &str, value: &str, most: usize) -> Result<Vec<DType>, String> {
    let read = |name| {
        read_type(name).ok_or_else(|| {
            format!("unknown type '{name}' in {flag}: expected f32, bf16, s8, u8 or s32")
        })
    };
    let types: Vec<DType> = value.split(':').map(read).collect::<Result<_, _>>()?;
    if types.len() > most {
        return Err(format!(
            "{flag} has more types than tensors: expected {}",
            match most {
                3 => "--dt=all or --dt=src:weights:dst",
                2 => "--sdt=type, or --sdt=first:second",
                _ => "--ddt=type",
            }
        ));
    }
    Ok(types)
}

/// Parses `--attr-post-ops`: the residual, and if a ReLU ends the layer. A `sum` adds to the destination's old content,
/// `add` adds another tensor. Both are read as a residual.
fn post_ops(value: &str) -> Result<(Option<Added>, bool), String> {
    let value = value.to_ascii_lowercase();
    let unknown = |op: &str, why: &str| Err(format!("post-op '{op}'{why}: expected {POST_OPS}"));
    let (mut residual, mut relu) = (None, false);
    for op in value.split('+').filter(|_| !value.is_empty()) {
        let mut arguments = op.split(':');
        let name = arguments.next().unwrap_or_default();
        let arguments: Vec<&str> = arguments.collect();
        match name {
            _ if relu => return unknown(op, " follows the ReLU"),
            "sum" | "add" | "binary_add" if residual.is_some() => {
                return unknown(op, " adds a second residual");
            }
            "sum" => residual = Some(read_sum(op, &arguments)?),
            "add" | "binary_add" => {
                let dtype = match arguments[..] {
                    [dtype] | [dtype, "per_tensor"] => read_type(dtype),
                    _ => None,
                };
                if dtype.is_none() {
                    return unknown(op, " adds something other than a tensor like the output");
                }
                let affine = Affine::default();
                residual = Some(Added { dtype, affine });
            }
            "relu" | "eltwise_relu" => {
                // Arguments with neutral values are accepted.
                let neutral = [0.0, 0.0, 1.0];
                let same = |(text, x): (&&str, f32)| text.parse() == Ok(x);
                if arguments.len() > 3 || !arguments.iter().zip(neutral).all(same) {
                    return unknown(op, " is a leaky or scaled ReLU");
                }
                relu = true;
            }
            _ => return unknown(op, " is unknown"),
        }
    }
    Ok((residual, relu))
}

/// Parses the arguments of `sum`: scale, zero point and type.
fn read_sum(op: &str, arguments: &[&str]) -> Result<Added, String> {
    let wrong = |why: String| format!("post-op '{op}' {why}: expected {POST_OPS}");
    let mut added = Added::default();
    if let Some(scale) = arguments.first() {
        added.affine.scale = read_scale(scale).map_err(wrong)?;
    }
    if let Some(zero) = arguments.get(1) {
        let parsed = zero.parse();
        added.affine.zero = parsed.map_err(|_| wrong(format!("has no zero point '{zero}'")))?;
    }
    if let Some(dtype) = arguments.get(2) {
        let parsed = read_type(dtype);
        added.dtype = Some(parsed.ok_or_else(|| wrong(format!("has no type '{dtype}'")))?);
    }
    match arguments.len() {
        0..=3 => Ok(added),
        _ => Err(wrong(
            "has more than a scale, a zero point and a type".into(),
        )),
    }
}
