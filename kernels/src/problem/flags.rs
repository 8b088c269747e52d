//! Parser of the flags before a descriptor: drivers, `--alg`, `--dir`, `--dt`, `--attr-post-ops` and others.

use super::attributes::{Attributes, DTypes, Epilogue};
use super::op::{Op, Read};
use super::syntax::{Driver, Input, Wrong, flag_name};
use crate::dtype::DType;

/// Flags of a layer.
#[derive(Default)]
pub(super) struct Flags<'a> {
    pub(super) attributes: Attributes,
    /// `--mb`: the batch that replaces the descriptor's. 0 keeps the descriptor's.
    pub(super) batch: Option<usize>,
    driver: Option<(&'static Driver, Read)>,
    /// Value of `--alg` in lower case. Some driver takes it.
    alg: Option<String>,
    /// Flags that only some drivers take, with their values.
    own: Vec<&'a str>,
}

/// Drivers of a layer without a driver's flag. Its `--alg` decides.
const UNNAMED: [&str; 2] = ["--conv", "--pool"];

/// Names of the flags that most drivers take, for errors.
const COMMON: &str = "--alg, --dir, --dt, --attr-post-ops, --mb";

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
const POST_OPS: &str = "sum or add:f32:per_tensor, relu, or both in this order";

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
                "FWD_B" => self.attributes.epilogue.bias = true,
                "FWD_D" | "FWD_I" => self.attributes.epilogue.bias = false,
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
            "--dt" => {
                let types: Vec<&str> = value.split(':').collect();
                let parse =
                    |s: &str| {
                        DType::ALL.into_iter().find(|t| t.name() == s).ok_or_else(|| {
                        format!("unknown type '{s}' in {flag}: expected f32, bf16, s8, u8 or s32")
                    })
                    };
                let [src, weights, dst] = match types[..] {
                    [all] => [all; 3],
                    [src, weights, dst] => [src, weights, dst],
                    _ => return Err(format!("{flag} should be --dt=all or --dt=src:weights:dst")),
                };
                self.attributes.dtypes = DTypes {
                    src: parse(src)?,
                    weights: parse(weights)?,
                    dst: parse(dst)?,
                };
            }
            "--attr-post-ops" => {
                (
                    self.attributes.epilogue.residual,
                    self.attributes.epilogue.relu,
                ) = post_ops(value)?;
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
            "--deconv" | "--rnn" | "--matmul" | "--reorder" | "--sum" | "--reduction"
            | "--resampling" | "--prelu" | "--shuffle" | "--lnorm" | "--gnorm" | "--zeropad"
            | "--brgemm" | "--graph" => {
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

/// Parses `--attr-post-ops`: (residual, final ReLU). A `sum` adds to the destination's old content, `add` adds another
/// tensor. Both are read as a residual.
fn post_ops(value: &str) -> Result<(bool, bool), String> {
    let value = value.to_ascii_lowercase();
    let unknown = |op: &str, why: &str| Err(format!("post-op '{op}'{why}: expected {POST_OPS}"));
    let (mut residual, mut relu) = (false, false);
    for op in value.split('+').filter(|_| !value.is_empty()) {
        let mut arguments = op.split(':');
        let name = arguments.next().unwrap_or_default();
        let arguments: Vec<&str> = arguments.collect();
        // Arguments with neutral values are accepted.
        let is = |at: usize, neutral: f32| match arguments.get(at) {
            Some(text) => text.parse::<f32>() == Ok(neutral),
            None => true,
        };
        let f32_at = |at: usize| arguments.get(at).is_none_or(|&t| t == "f32");
        match name {
            _ if relu => return unknown(op, " follows the ReLU"),
            "sum" | "add" | "binary_add" if residual => {
                return unknown(op, " adds a second residual");
            }
            "sum" if arguments.len() <= 3 && is(0, 1.0) && is(1, 0.0) && f32_at(2) => {
                residual = true;
            }
            "sum" => return unknown(op, " scales, shifts or converts what it adds"),
            "add" | "binary_add" => match arguments[..] {
                ["f32"] | ["f32", "per_tensor"] => residual = true,
                _ => {
                    return unknown(
                        op,
                        " adds something other than an f32 tensor like the output",
                    );
                }
            },
            "relu" | "eltwise_relu" if arguments.len() <= 3 => {
                if !(is(0, 0.0) && is(1, 0.0) && is(2, 1.0)) {
                    return unknown(op, " is a leaky or scaled ReLU");
                }
                relu = true;
            }
            _ => return unknown(op, " is unknown"),
        }
    }
    Ok((residual, relu))
}
