//! Parser of layers without a window: `--ip`, `--eltwise`, `--binary`, `--bnorm`, `--softmax` and others.

use super::fields::Fields;
use super::flags::{Alg, Driver, Flags};
use super::{
    AttentionShape, BilinearKind, BilinearShape, ConcatShape, ConvSpec, Epilogue, LrnSpec, Maps,
    Op, Pad, Problem, ShapeError,
};

/// Error without the problem's text, which [`ParseError`](super::ParseError) adds.
pub(super) enum Wrong {
    Text(String),
    Shape(ShapeError),
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Wrong::Text(why)
    }
}

impl From<&str> for Wrong {
    fn from(why: &str) -> Self {
        Wrong::Text(why.into())
    }
}

impl From<ShapeError> for Wrong {
    fn from(why: ShapeError) -> Self {
        Wrong::Shape(why)
    }
}

impl Flags {
    /// Problem of a driver whose layers have no window; `None` for other drivers.
    pub(super) fn without_window(&self, descriptor: &str) -> Option<Result<Problem, Wrong>> {
        let driver = self
            .driver
            .filter(|d| !matches!(d, Driver::Conv | Driver::Pool))?;
        let mut epilogue = self.epilogue;
        let op = self.op_without_window(driver, descriptor, &mut epilogue);
        Some(op.map(|op| Problem {
            op,
            dtypes: self.dtypes,
            epilogue,
        }))
    }

    /// Operation of the driver. Tensors that the driver itself adds are entered in the epilogue.
    fn op_without_window(
        &self,
        driver: Driver,
        descriptor: &str,
        epilogue: &mut Epilogue,
    ) -> Result<Op, Wrong> {
        if self.overhang.is_some() {
            return Err("--overhang is for poolings".into());
        }
        if self.flip && driver != Driver::InnerProduct {
            return Err("--flip is for convolutions".into());
        }
        if self.given != (driver == Driver::BatchNorm) {
            return Err(match self.given {
                true => "--flags is for --bnorm".into(),
                false => "--bnorm needs --flags=GCH: statistics, scale and shift are given".into(),
            });
        }
        if self.axis && !matches!(driver, Driver::Softmax | Driver::Concat) {
            return Err("--axis is for --softmax and --concat".into());
        }
        if self.hidden.is_some() != (driver == Driver::Attention) {
            return Err(match self.hidden {
                Some(_) => "--hidden is for --attention".into(),
                None => "--attention needs --hidden=UNITS".into(),
            });
        }
        match (driver, self.alg) {
            (Driver::InnerProduct, None) => {
                let fields = Fields::read(descriptor)?;
                let maps = fields.maps(&["mb", "ic", "ih", "iw", "oc"])?;
                let spec = ConvSpec {
                    flip: self.flip,
                    ..whole_map(maps, fields.need("oc")?)
                };
                Ok(Op::Conv(spec.try_into()?))
            }
            (Driver::BatchNorm | Driver::Statistics, None) => {
                let maps = Fields::read(descriptor)?.maps(&["mb", "ic", "ih", "iw"])?;
                let maps = maps.try_into()?;
                Ok(match driver {
                    Driver::BatchNorm => Op::BatchNorm(maps),
                    _ => Op::Statistics(maps),
                })
            }
            (Driver::Softmax, None | Some(Alg::Softmax)) => {
                Ok(Op::Softmax(read_dims(descriptor)?.try_into()?))
            }
            (Driver::Lrn, None | Some(Alg::AcrossChannels)) => {
                Ok(Op::Lrn(read_lrn(descriptor)?.try_into()?))
            }
            (Driver::Concat, None) => {
                let parts: Result<Vec<_>, _> = descriptor.split(':').map(read_dims).collect();
                Ok(Op::Concat(ConcatShape::new(&parts?)?))
            }
            (Driver::Attention, None) => {
                let maps = read_dims(descriptor)?.try_into()?;
                let hidden = self.hidden.expect("asked before");
                Ok(Op::Attention(AttentionShape::new(maps, hidden)?))
            }
            (Driver::Bilinear, None | Some(Alg::Bilinear(_))) => {
                let kind = match self.alg {
                    Some(Alg::Bilinear(kind)) => kind,
                    _ => BilinearKind::default(),
                };
                let maps = read_dims(descriptor)?.try_into()?;
                Ok(Op::Bilinear(BilinearShape::new(maps, kind)?))
            }
            (Driver::Eltwise, None | Some(Alg::Linear | Alg::Relu)) => {
                if epilogue.bias {
                    return Err("a bias is --binary --alg=add NxCxHxW:1xCx1x1".into());
                }
                if self.alg == Some(Alg::Relu) {
                    if epilogue.residual {
                        return Err(
                            "the ReLU comes last: --binary --alg=add --attr-post-ops=relu".into(),
                        );
                    }
                    epilogue.relu = true;
                }
                Ok(Op::Identity(read_dims(descriptor)?.try_into()?))
            }
            (Driver::Binary, None | Some(Alg::Add)) => {
                let (first, second) = descriptor
                    .split_once(':')
                    .ok_or("two tensors are added: NxCxHxW:NxCxHxW, or NxCxHxW:1xCx1x1")?;
                let maps = Maps::try_from(read_dims(first)?)?;
                let second = read_dims(second)?;
                let adds = match () {
                    _ if second == maps.vector() => &mut epilogue.bias,
                    _ if second == maps.dims() => &mut epilogue.residual,
                    _ => {
                        return Err("the second tensor should be like the first, or 1xCx1x1".into());
                    }
                };
                if std::mem::replace(adds, true) {
                    return Err("two tensors of the same dims are added: one at most".into());
                }
                Ok(Op::Identity(maps))
            }
            (_, Some(_)) => Err("that --alg is for another driver".into()),
            (Driver::Conv | Driver::Pool, None) => unreachable!("they have windows"),
        }
    }
}

/// Fully connected layer as a convolution with a kernel of its whole input map.
fn whole_map([n, c_in, h, w]: [usize; 4], c_out: usize) -> ConvSpec {
    ConvSpec {
        n,
        c_in,
        h,
        w,
        c_out,
        kernel: [h, w],
        stride: [1, 1],
        pad: Pad::default(),
        dilation: [1, 1],
        groups: 1,
        flip: false,
    }
}

/// Parses `NxCxHxW`.
fn read_dims(text: &str) -> Result<[usize; 4], String> {
    let dims: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    let dims = dims.ok().and_then(|dims| dims.try_into().ok());
    dims.ok_or_else(|| format!("'{text}' should be NxCxHxW, such as 1x64x56x56"))
}

/// Parses `mb1ic96ih55ls5alpha0.0001beta0.75k1`. Defaults of the last four are benchdnn's: 5, 1/8192, 0.75 and 1.
fn read_lrn(descriptor: &str) -> Result<LrnSpec, String> {
    let (mut maps, mut rest) = (String::new(), descriptor);
    let mut reals: [(&str, Option<f32>); 4] =
        [("ls", None), ("alpha", None), ("beta", None), ("k", None)];
    while !rest.is_empty() && !rest.trim_start_matches('_').starts_with('n') {
        let digits = rest.find(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        let (name, tail) = rest.split_at(digits.unwrap_or(rest.len()));
        let end = real_len(tail);
        let (number, tail) = tail.split_at(end);
        rest = tail;
        let name = name.trim_start_matches('_');
        let Some((_, value)) = reals.iter_mut().find(|(real, _)| *real == name) else {
            maps.push_str(name);
            maps.push_str(number);
            continue;
        };
        let read = number
            .parse()
            .map_err(|_| format!("{name}{number}: a number should follow {name}"))?;
        if value.replace(read).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    let [size, alpha, beta, k] = reals.map(|(_, value)| value);
    let size = size.unwrap_or(5.0);
    if size < 0.0 || size.fract() != 0.0 {
        return Err(format!("ls is {size}: it must be a whole number"));
    }
    Ok(LrnSpec {
        maps: Fields::read(&maps)?.maps(&["mb", "ic", "ih", "iw"])?,
        size: size as usize,
        alpha: alpha.unwrap_or(1.0 / 8192.0),
        beta: beta.unwrap_or(0.75),
        k: k.unwrap_or(1.0),
    })
}

/// Length in bytes of the number that begins a text: digits, a point, signs, and an e before a digit or sign.
fn real_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let part = |&(i, c): &(usize, &u8)| {
        let exponent = matches!(c, b'e' | b'E')
            && bytes
                .get(i + 1)
                .is_some_and(|c| c.is_ascii_digit() || b"+-".contains(c));
        c.is_ascii_digit() || b"+-.".contains(c) || exponent
    };
    bytes.iter().enumerate().take_while(part).count()
}
