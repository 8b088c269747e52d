//! Requantisation of rows of sums, exactly as defined ([`Requantisation::output`]): every kind of step and number of channels,
//! and operands that overflow or aren't numbers.

use super::harness::{Fenced, Width};
use crate::data::Rng;
use crate::dtype::DType;
use crate::exec::RowsMut;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::requantise::{Requantise, ResidualRows, Sum};
use crate::problem::{Problem, Requantisation};

pub(super) const TESTS: &[super::harness::Test] = tests! {
    outputs_equal_the_definition
};

const PIXELS: usize = 3;

/// Attributes of layers: all types of outputs and residuals, with each step and without.
const FLAGS: [&str; 9] = [
    "--dt=u8:s8:u8",
    "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.5+dst:common:0.1 --attr-zero-points=dst:common:100 --attr-post-ops=sum:0.3:7:u8+relu",
    "--dt=s8:s8:s8 --dir=FWD_B --attr-zero-points=dst:common:-100 --attr-post-ops=sum:0.7:-5:s8",
    "--dt=s8:s8:s8 --attr-zero-points=dst:common:120 --attr-post-ops=relu",
    "--dt=u8:s8:s8 --attr-post-ops=add:f32:per_tensor",
    "--dt=u8:s8:u8 --dir=FWD_B --attr-post-ops=add:s32:per_tensor",
    "--dt=u8:s8:s32 --dir=FWD_B",
    "--dt=u8:s8:s32 --attr-post-ops=relu",
    "--dt=u8:s8:f32 --attr-scales=src:common:0.5 --attr-post-ops=relu",
];

/// Random bits of `count` elements of a type. Floats are ordinary numbers, and sometimes a NaN.
fn elements(rng: &mut Rng, dtype: DType, count: usize) -> Vec<u8> {
    let mut element = || match dtype {
        DType::F32 if rng.below(9) == 0 => f32::NAN.to_bits(),
        DType::F32 => (rng.below(2001) as f32 / 10.0 - 100.0).to_bits(),
        _ => rng.bits() as u32,
    };
    let bytes = |bits: u32| bits.to_le_bytes().into_iter().take(dtype.size());
    (0..count).flat_map(|_| bytes(element())).collect()
}

/// Element of a type at an index, as a number.
fn number(bytes: &[u8], dtype: DType, at: usize) -> f64 {
    let word = |n: usize| std::array::from_fn(|i| bytes[at * n + i]);
    match dtype {
        DType::U8 => bytes[at].into(),
        DType::S8 => bytes[at].cast_signed().into(),
        DType::S32 => i32::from_le_bytes(word(4)).into(),
        DType::F32 => f32::from_le_bytes(word(4)).into(),
        DType::Bf16 => unreachable!("no type of these layers"),
    }
}

/// Sums at the limits and around 0.
fn sum(rng: &mut Rng, lane: Sum) -> i32 {
    match rng.below(4) {
        0 if lane == Sum::Integer => rng.pick(&[i32::MIN, i32::MAX, 0]),
        1 => rng.below(1 << 24) as i32 - (1 << 23),
        _ => rng.below(601) as i32 - 300,
    }
}

fn outputs_equal_the_definition() {
    for flags in FLAGS {
        for lane in [Sum::Integer, Sum::WholeFloat] {
            // All ordinary, an infinite product, and no number.
            for extreme in [None, Some(1e35), Some(f32::NAN)] {
                for channels in [1, 7, 8, 16, 31, 32, 33, 64, 71] {
                    layer(flags, lane, extreme, channels);
                }
            }
        }
    }
}

/// A layer whose first factor and last bias may be extreme.
fn layer(flags: &str, lane: Sum, extreme: Option<f32>, channels: usize) {
    let problem: Problem = format!("{flags} mb1ic4ih3oc2kh1")
        .parse()
        .unwrap_or_else(|e| panic!("{e}"));
    let steps = Requantisation::new(&problem.attributes());
    let mut rng = Rng::new(11);
    let row = channels.next_multiple_of(CHANNEL_BLOCK);
    let sums: Vec<i32> = (0..PIXELS * row).map(|_| sum(&mut rng, lane)).collect();
    let bits = |sum: &i32| match lane {
        Sum::Integer => f32::from_bits(sum.cast_unsigned()),
        _ => *sum as f32,
    };
    let lanes = Fenced::of(&sums.iter().map(bits).collect::<Vec<_>>());
    let mut reals = |least: f32| {
        let real = |_| least + rng.below(1000) as f32 / 1000.0;
        (0..row).map(real).collect::<Vec<_>>()
    };
    let (mut factors, mut bias) = (reals(0.001), reals(-20.0));
    if let Some(extreme) = extreme {
        factors[0] = extreme;
        bias[channels - 1] = extreme;
    }
    let (factors, bias) = (Fenced::of(&factors), Fenced::of(&bias));
    let bias: &[f32] = if problem.epilogue.bias { &bias } else { &[] };
    let dtype = problem.dtypes.residual;
    let residual = elements(&mut rng, dtype, PIXELS * channels);
    let size = steps.dst().size();
    for width in Width::all() {
        let mut out = vec![0x5a; PIXELS * channels * size];
        width.run(Requantise {
            sums: &lanes,
            row,
            lane,
            factors: &factors,
            bias,
            residual: problem.epilogue.residual.then_some(ResidualRows {
                bytes: &residual,
                dtype,
                stride: channels * dtype.size(),
            }),
            steps: &steps,
            out: RowsMut::new(&mut out, channels * size),
        });
        for pixel in 0..PIXELS {
            for channel in 0..channels {
                let at = pixel * channels + channel;
                let want = steps.output(
                    sums[pixel * row + channel].into(),
                    factors[channel],
                    bias.get(channel).copied(),
                    problem
                        .epilogue
                        .residual
                        .then(|| number(&residual, dtype, at) as f32),
                );
                let got = number(&out, steps.dst(), at);
                assert!(
                    got == want || got.is_nan() && want.is_nan(),
                    "{flags} {lane:?} {extreme:?} of {channels} channels, {width:?}: pixel {pixel} channel {channel} is {got} for {want}"
                );
            }
        }
    }
}
