//! Parser of the flags before a descriptor: drivers, `--alg`, `--dir`, `--dt`, `--attr-post-ops` and others.

use super::text::{bilinear_kind, pool_kind};
use super::{BilinearKind, DType, DTypes, Epilogue, PoolKind};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Driver {
    Conv,
    Pool,
    InnerProduct,
    Eltwise,
    Binary,
    BatchNorm,
    Statistics,
    Softmax,
    Lrn,
    Concat,
    Attention,
    Bilinear,
}

/// Meaning of `--alg`. The algorithm of a convolution is not part of the problem.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Alg {
    Conv,
    Pool(PoolKind),
    Linear,
    Relu,
    Add,
    Softmax,
    AcrossChannels,
    Bilinear(BilinearKind),
}

#[derive(Default)]
pub(super) struct Flags {
    pub(super) dtypes: DTypes,
    pub(super) epilogue: Epilogue,
    pub(super) driver: Option<Driver>,
    pub(super) alg: Option<Alg>,
    pub(super) overhang: Option<[usize; 2]>,
    /// `--flags=GCH` of a batch normalisation: statistics, scale and shift are given.
    pub(super) given: bool,
    /// `--axis=1` is given: the channels.
    pub(super) axis: bool,
    /// `--flip`: filters are reversed.
    pub(super) flip: bool,
    /// Hidden units of an attention pooling.
    pub(super) hidden: Option<usize>,
    /// `--mb`: the batch that replaces the descriptor's. 0 keeps the descriptor's.
    pub(super) batch: Option<usize>,
}

/// Names of the drivers, for errors.
const DRIVERS: &str = "--conv, --pool, --ip, --eltwise, --binary, --bnorm, --softmax, --lrn, --concat, --statistics, --attention, --bilinear";

/// Supported post-ops of benchdnn, for errors.
const POST_OPS: &str = "sum or add:f32:per_tensor, relu, or both in this order";

impl Flags {
    pub(super) fn read(&mut self, flag: &str) -> Result<(), String> {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        match name {
            "--conv" if value.is_empty() => self.driver = Some(Driver::Conv),
            "--pool" if value.is_empty() => self.driver = Some(Driver::Pool),
            "--ip" if value.is_empty() => self.driver = Some(Driver::InnerProduct),
            "--eltwise" if value.is_empty() => self.driver = Some(Driver::Eltwise),
            "--binary" if value.is_empty() => self.driver = Some(Driver::Binary),
            "--bnorm" if value.is_empty() => self.driver = Some(Driver::BatchNorm),
            "--statistics" if value.is_empty() => self.driver = Some(Driver::Statistics),
            "--softmax" if value.is_empty() => self.driver = Some(Driver::Softmax),
            "--lrn" if value.is_empty() => self.driver = Some(Driver::Lrn),
            "--concat" if value.is_empty() => self.driver = Some(Driver::Concat),
            "--attention" if value.is_empty() => self.driver = Some(Driver::Attention),
            "--bilinear" if value.is_empty() => self.driver = Some(Driver::Bilinear),
            "--hidden" => {
                let hidden = value.parse();
                self.hidden = Some(hidden.map_err(|_| format!("{flag} should be --hidden=UNITS"))?);
            }
            "--flip" if value.is_empty() => self.flip = true,
            "--axis" => match value {
                "1" => self.axis = true,
                _ => return Err(format!("unknown {flag}: expected --axis=1, the channels")),
            },
            "--flags" => match value {
                "GCH" => self.given = true,
                _ => return Err(format!("unknown {flag}: expected --flags=GCH")),
            },
            "--alg" => {
                let word = value.to_ascii_lowercase();
                let is = |name: &str| word.strip_prefix("convolution_").unwrap_or(&word) == name;
                self.alg = Some(match pool_kind(&word) {
                    Some(kind) => Alg::Pool(kind),
                    None if let Some(kind) = bilinear_kind(&word) => Alg::Bilinear(kind),
                    None if ["direct", "wino", "winograd", "auto"].into_iter().any(is) => Alg::Conv,
                    None if ["linear", "eltwise_linear"].contains(&&*word) => Alg::Linear,
                    None if ["relu", "eltwise_relu"].contains(&&*word) => Alg::Relu,
                    None if ["add", "binary_add"].contains(&&*word) => Alg::Add,
                    None if ["softmax", "softmax_accurate"].contains(&&*word) => Alg::Softmax,
                    None if ["across", "lrn_across_channels"].contains(&&*word) => {
                        Alg::AcrossChannels
                    }
                    None => {
                        return Err(format!(
                            "unknown --alg={value}: expected max, avg_p, avg_np, lp<p>, lp<p>_mean, lpinf, stochastic, draw<seed> or draw<seed>_index for --pool; direct, wino or auto for --conv; relu or linear for --eltwise; add for --binary"
                        ));
                    }
                });
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
                self.dtypes = DTypes {
                    src: parse(src)?,
                    weights: parse(weights)?,
                    dst: parse(dst)?,
                };
            }
            "--attr-post-ops" => {
                (self.epilogue.residual, self.epilogue.relu) = post_ops(value)?;
            }
            "--overhang" => {
                let parsed = value
                    .split_once('x')
                    .and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
                self.overhang =
                    Some(parsed.ok_or_else(|| format!("{flag} should be --overhang=HxW"))?);
            }
            "--batch" => {
                return Err(format!(
                    "{flag} is a file of several problems, where one is wanted"
                ));
            }
            _ => {
                let known = match name {
                    "--deconv" | "--rnn" | "--matmul" | "--reorder" | "--sum" | "--reduction"
                    | "--resampling" | "--prelu" | "--shuffle" | "--lnorm" | "--gnorm"
                    | "--zeropad" | "--brgemm" | "--graph" => {
                        return Err(format!(
                            "benchdnn's driver {name} has no kernels here: the drivers are {DRIVERS}"
                        ));
                    }
                    _ => {
                        "--alg, --axis, --dir, --dt, --attr-post-ops, --flags, --mb; and our own --flip, --hidden, --overhang"
                    }
                };
                return Err(format!(
                    "unknown flag '{flag}': the drivers are {DRIVERS}; the flags are {known}"
                ));
            }
        }
        Ok(())
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
