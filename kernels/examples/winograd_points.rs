//! Error and operations of Winograd's transforms, for the sets of points in use and for others that a search finds.
//!
//! ```text
//! cargo run --release -p convroof-kernels --example winograd_points
//! cargo run --release -p convroof-kernels --example winograd_points -- errors mb1ic64ih56oc64oh56kh3ph1
//! ```
//!
//! The first command searches. `amplification` is derived from the matrices (`Matrices::amplification`). `l2` and `max`
//! are measured errors of two-dimensional tiles of 64 channels, in f32 against f64. They are relative to the output's
//! L2 norm and to its largest value. `in` and `out` are operations of the transforms along an axis, an FMA counted as
//! two. Sets of points and their inverses do well. Points that are close together do badly.
//!
//! The second command measures the algorithms themselves on layers, for several kinds of inputs.

use convroof_kernels::blocking::Caches;
use convroof_kernels::conformance::{Data, Deviation};
use convroof_kernels::cook_toom::{Constants, Counting, Matrices, Points, input, output};
use convroof_kernels::data::{Fill, Rng};
use convroof_kernels::exec::Serial;
use convroof_kernels::instance::compute;
use convroof_kernels::reference::{self, Operands};
use convroof_kernels::surd::Surd;
use convroof_kernels::{Isa, PlanCx, Problem, Registry};
use std::cell::Cell;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        None => search(),
        Some((command, layers)) if command == "errors" => errors(layers),
        Some(_) => eprintln!("usage: winograd_points [errors PROBLEM..]"),
    }
}

/// Schemes to search: outputs, taps, stride, whether 0 is a point, pairs of points.
const FAMILIES: [(usize, usize, usize, bool, usize); 9] = [
    (2, 3, 1, true, 1),
    (4, 3, 1, true, 2),
    (6, 3, 1, true, 3),
    (4, 4, 1, false, 3),
    (2, 5, 1, true, 2),
    (3, 5, 1, false, 3),
    (4, 5, 1, true, 3),
    (2, 3, 2, false, 1),
    (4, 3, 2, false, 2),
];

fn search() {
    for (m, r, stride, zero, pairs) in FAMILIES {
        let candidates = candidates();
        let mut sets = vec![Vec::new()];
        for _ in 0..pairs {
            let longer = |set: &Vec<Surd>| {
                let last = set.last().map_or(0.0, |p| p.to_f64());
                let larger = candidates.iter().filter(move |p| p.to_f64() > last);
                let set = set.clone();
                larger
                    .map(move |&p| [set.clone(), vec![p]].concat())
                    .collect::<Vec<_>>()
            };
            sets = sets.iter().flat_map(longer).collect();
        }
        let mut ranked: Vec<(f64, Vec<Surd>)> = sets
            .into_iter()
            .map(|set| (matrices(m, r, stride, zero, &set).amplification(), set))
            .collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        println!(
            "\nF({m}, {r}), stride {stride}: {} sets; the best, and the usual ones",
            ranked.len()
        );
        println!(
            "{:28} {:>13} {:>8} {:>8} {:>4} {:>4}",
            "points", "amplification", "l2", "max", "in", "out"
        );
        let usual = |set: &[Surd]| {
            let whole = [q(1, 1), q(2, 1), q(1, 2)];
            let root = [Surd::sqrt2(1, 2), Surd::sqrt2(1, 1)];
            set.iter().all(|p| whole[..set.len()].contains(p)) || set == root
        };
        for (rank, (amplification, set)) in ranked.iter().enumerate() {
            if rank < 6 || usual(set) {
                let m = matrices(m, r, stride, zero, set);
                let [l2, max] = measured(&m);
                let [ins, outs] = operations(&m, zero, set);
                println!(
                    "{:28} {amplification:13.2} {l2:8.1e} {max:8.1e} {ins:4} {outs:4}",
                    name(zero, set)
                );
            }
        }
    }
}

fn q(n: i128, d: i128) -> Surd {
    Surd::rational(n, d)
}

/// Candidate points: fractions with few bits, which f32 represents exactly, and multiples of sqrt2.
fn candidates() -> Vec<Surd> {
    let mut all: Vec<Surd> = (2..=20).map(|n| q(n, 8)).collect();
    all.extend([q(3, 1), q(4, 1), q(1, 3), q(2, 3), q(4, 3)]);
    all.extend([(1, 4), (1, 2), (1, 1), (2, 1)].map(|(n, d)| Surd::sqrt2(n, d)));
    all.sort_by(|a, b| a.to_f64().total_cmp(&b.to_f64()));
    all
}

fn name(zero: bool, set: &[Surd]) -> String {
    let pairs = set.iter().map(|p| format!("+-{p}"));
    let all: Vec<String> = zero.then(|| "0".into()).into_iter().chain(pairs).collect();
    format!("{}, inf", all.join(", "))
}

fn points(zero: bool, pairs: &[Surd]) -> Points<'_> {
    Points {
        zero,
        pairs,
        infinity: true,
    }
}

fn matrices(m: usize, r: usize, stride: usize, zero: bool, set: &[Surd]) -> Matrices {
    Matrices::new(points(zero, set), m, r, stride)
}

/// Operations of the transforms along an axis, as the kernels perform them.
fn operations(m: &Matrices, zero: bool, set: &[Surd]) -> [usize; 2] {
    let constants = Constants::new(points(zero, set));
    let count = |f: &dyn Fn(Counting<'_>)| {
        let cell = Cell::new(0);
        f(Counting(&cell));
        cell.get()
    };
    macro_rules! shape {
        ($zero:literal $pairs:literal $m:literal $t:literal) => {
            [
                m.stride
                    * count(&|on| {
                        input::<_, $zero, $pairs, true, $t>(on, &constants, [(); $t]);
                    }),
                count(&|on| {
                    output::<_, $zero, $pairs, true, $m, $t>(on, &constants, [(); $t]);
                }),
            ]
        };
    }
    match (zero, set.len(), m.outputs) {
        (true, 1, 2) => shape!(true 1 2 4),
        (true, 2, 4) => shape!(true 2 4 6),
        (true, 3, 6) => shape!(true 3 6 8),
        (true, 2, 2) => shape!(true 2 2 6),
        (false, 3, 3) => shape!(false 3 3 7),
        (true, 3, 4) => shape!(true 3 4 8),
        (false, 3, 4) => shape!(false 3 4 7),
        (false, 1, 2) => shape!(false 1 2 3),
        (false, 2, 4) => shape!(false 2 4 5),
        other => unreachable!("{other:?}"),
    }
}

/// Errors [L2, largest] of two-dimensional tiles of 64 channels, with transforms and sums in f32.
fn measured(m: &Matrices) -> [f64; 2] {
    const CHANNELS: usize = 64;
    let (n, r) = (m.products, m.taps);
    let single = |row: &[Surd]| row.iter().map(|x| x.to_f64() as f32).collect::<Vec<_>>();
    let double = |row: &[Surd]| row.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    let b: Vec<_> = m.b[..n].iter().map(|row| single(&row[..n])).collect();
    let g: Vec<_> = m.g[..n].iter().map(|row| double(&row[..r])).collect();
    let points: Vec<_> = m.a[..m.outputs]
        .iter()
        .map(|row| single(&row[..n]))
        .collect();
    let mut rng = Rng::new(1);
    let (mut error2, mut norm2, mut worst, mut largest) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for _ in 0..20 {
        let mut sums = vec![vec![0.0f32; n]; n];
        let mut expected = vec![vec![0.0f64; m.outputs]; m.outputs];
        for _ in 0..CHANNELS {
            let d: Vec<_> = (0..n).map(|_| rng.vec(Fill::Uniform, n)).collect();
            let w: Vec<_> = (0..r).map(|_| rng.vec(Fill::Uniform, r)).collect();
            let half: Vec<Vec<f32>> = b.iter().map(|row| combine(row, &d)).collect();
            for i in 0..n {
                for j in 0..n {
                    let v = dot(&b[j], &half[i]);
                    let mut u = 0.0;
                    for (y, row) in w.iter().enumerate() {
                        for (x, &w) in row.iter().enumerate() {
                            u += g[i][y] * f64::from(w) * g[j][x];
                        }
                    }
                    sums[i][j] = v.mul_add(u as f32, sums[i][j]);
                }
            }
            for (y, row) in expected.iter_mut().enumerate() {
                for (x, sum) in row.iter_mut().enumerate() {
                    for (i, taps) in w.iter().enumerate() {
                        for (j, &w) in taps.iter().enumerate() {
                            let d = d[y * m.stride + i][x * m.stride + j];
                            *sum += f64::from(w) * f64::from(d);
                        }
                    }
                }
            }
        }
        let half: Vec<Vec<f32>> = points.iter().map(|row| combine(row, &sums)).collect();
        for (half, row) in half.iter().zip(&expected) {
            for (points, &want) in points.iter().zip(row) {
                let error = (f64::from(dot(points, half)) - want).abs();
                error2 += error * error;
                norm2 += want * want;
                worst = worst.max(error);
                largest = largest.max(want.abs());
            }
        }
    }
    [(error2 / norm2).sqrt(), worst / largest]
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (&a, &b)| a.mul_add(b, sum))
}

/// Weighted sum of the rows of a matrix.
fn combine(weights: &[f32], rows: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0f32; rows[0].len()];
    for (&w, row) in weights.iter().zip(rows) {
        for (sum, &x) in sum.iter_mut().zip(row) {
            *sum = w.mul_add(x, *sum);
        }
    }
    sum
}

/// Prints errors of every algorithm that supports a layer: on normal and post-ReLU inputs, and on inputs that are hard
/// for transforms.
fn errors(layers: &[String]) {
    println!(
        "{:42} {:18} {:10} {:>8} {:>8}",
        "layer", "algorithm", "input", "l2", "max"
    );
    for text in layers {
        let problem: Problem = match text.parse() {
            Ok(problem) => problem,
            Err(error) => {
                eprintln!("{text}: {error}");
                continue;
            }
        };
        let [_, channels, h, w] = problem.src_dims();
        let data = Data::new(&problem, Fill::PostRelu, 1);
        let relu = data.operands().src.to_vec();
        let mut rng = Rng::new(2);
        let normal: Vec<f32> = (0..relu.len())
            .map(|_| rng.vec(Fill::Uniform, 12).iter().sum::<f32>() / 2.0)
            .collect();
        let offset = normal.iter().map(|x| x + 100.0).collect();
        let mut channel = normal.clone();
        let one = channels / 2 * h * w;
        channel[one..one + h * w].iter_mut().for_each(|x| *x *= 1e4);
        let inputs = [
            ("normal", normal),
            ("post-ReLU", relu),
            ("offset 100", offset),
            ("a channel x 10000", channel),
        ];
        for (name, src) in &inputs {
            let operands = Operands {
                src,
                ..data.operands()
            };
            let expected = reference::compute(&problem, operands, &Serial);
            for algorithm in Registry::builtin().algorithms() {
                let id = algorithm.meta().id;
                let caches = Caches::default();
                let plan = algorithm.plan(&problem, &PlanCx::new(Isa::best(), &caches));
                let (true, Ok(plan)) = (id == "direct" || id.starts_with("winograd"), plan) else {
                    continue;
                };
                let Ok(output) = compute(plan, operands, &Serial) else {
                    eprintln!("{text}: no memory");
                    continue;
                };
                let deviation = Deviation::between(&output, &expected);
                println!(
                    "{text:42} {id:18} {name:18} {:8.1e} {:8.1e}",
                    deviation.l2, deviation.max
                );
            }
        }
    }
}
