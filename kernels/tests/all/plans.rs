//! Random problems on random plans. Caches, block sizes and numbers of threads are extreme. Buffers have exactly the
//! sizes that the plan states, at any alignment. Some packed weights are overwritten. A plan must be refused with a
//! reason, or run without a panic, write every output, and repeat its bits. `scripts/asan` runs this test under
//! AddressSanitizer, which detects accesses outside of these buffers.
//!
//! `CONVROOF_FUZZ_SECONDS` is the duration in seconds (default 5), `CONVROOF_FUZZ_SEED` the first seed (default 1).

use convroof_kernels::blocking::{Caches, Tuning};
use convroof_kernels::data::{Fill, Rng};
use convroof_kernels::exec::{Executor, Serial, with_team};
use convroof_kernels::plan::{PlanSpec, RunArgs};
use convroof_kernels::problem::{ConvShape, ConvSpec, Epilogue, Pad, PoolShape, PoolSpec};
use convroof_kernels::problem::{PoolKind, Problem};
use convroof_kernels::tensor::{CacheLine, TensorDesc, TensorMut, TensorRef};
use convroof_kernels::{Isa, Plan, PlanCx, Registry};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// Sizes of caches and blocks, realistic and impossible.
const SIZES: [usize; 12] = [
    0,
    1,
    2,
    17,
    64,
    1000,
    32 << 10,
    1 << 20,
    1 << 31,
    1 << 40,
    usize::MAX / 2,
    usize::MAX,
];

/// Maximum memory of a plan that is run.
const MOST_LINES: usize = (32 << 20) / CacheLine::BYTES;

#[test]
fn random_plans_are_refused_or_run() {
    let number = |name: &str, or: u64| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: a number")),
        Err(_) => or,
    };
    let end = Instant::now() + Duration::from_secs(number("CONVROOF_FUZZ_SECONDS", 5));
    let mut seed = number("CONVROOF_FUZZ_SEED", 1);
    let pools = [2, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().expect("a pool")
    });
    let isas: Vec<_> = Isa::F32.into_iter().filter_map(Isa::detect).collect();
    let (mut ran, mut refused) = (0, 0);
    while Instant::now() < end || ran == 0 {
        let mut rng = Rng::new(seed);
        let problem = problem(&mut rng);
        let algorithm = rng.pick(Registry::builtin().algorithms());
        let isa = rng.pick(&isas);
        let caches = caches(&mut rng);
        let tuning = tuning(&mut rng);
        let threads = rng.pick(&[1, 1, 2, 3, 3, 5, 4096, 0, usize::MAX]);
        let case = || {
            let cx = PlanCx::new(isa, &caches);
            let cx = cx.with_threads(threads).with_tuning(tuning);
            algorithm.plan(&problem, &cx).map(|plan| {
                let pool = pools.iter().rfind(|p| p.current_num_threads() <= threads);
                Run::new(&*plan, &mut rng).is_some_and(|run| run.twice(pool, &mut rng))
            })
        };
        let id = algorithm.meta().id;
        match catch_unwind(AssertUnwindSafe(case)) {
            Ok(Ok(done)) => ran += usize::from(done),
            Ok(Err(reason)) => {
                assert!(!reason.to_string().is_empty(), "{id} refuses {problem}");
                refused += 1;
            }
            Err(panic) => {
                eprintln!(
                    "seed {seed}: {id} on {}, {problem}, {caches:?}, {tuning:?}, {threads} threads",
                    isa.isa()
                );
                resume_unwind(panic);
            }
        }
        seed = seed.wrapping_add(1);
    }
    println!("{ran} plans ran twice, {refused} were refused");
}

/// Realistic or impossible caches.
fn caches(rng: &mut Rng) -> Caches {
    if rng.below(3) == 0 {
        return Caches::default();
    }
    let [l1d, l2, l3] = [(); 3].map(|()| rng.pick(&SIZES));
    Caches { l1d, l2, l3 }
}

fn tuning(rng: &mut Rng) -> Tuning {
    let mut size = || match rng.below(4) {
        0 => Some(rng.pick(&SIZES)),
        1 => Some(1 + rng.below(40)),
        _ => None,
    };
    Tuning {
        mc: size(),
        nc: size(),
    }
}

/// Problem with few elements, of any operation.
fn problem(rng: &mut Rng) -> Problem {
    loop {
        let problem = match rng.below(4) {
            0 | 1 => convolution(rng),
            2 => pooling(rng),
            _ => text(rng).parse().ok(),
        };
        if let Some(problem) = problem {
            return problem;
        }
    }
}

fn channels(rng: &mut Rng) -> usize {
    rng.pick(&[1, 2, 3, 4, 5, 8, 12, 15, 16, 17, 31, 32, 33, 48, 64, 100])
}

fn pad(rng: &mut Rng) -> Pad {
    let mut side = || rng.pick(&[0, 0, 1, 1, 2, 5]);
    Pad {
        top: side(),
        left: side(),
        bottom: side(),
        right: side(),
    }
}

fn convolution(rng: &mut Rng) -> Option<Problem> {
    let kernel = rng.pick(&[
        [1, 1],
        [1, 1],
        [3, 3],
        [3, 3],
        [2, 2],
        [5, 5],
        [7, 7],
        [1, 7],
        [5, 2],
    ]);
    let groups = rng.pick(&[1, 1, 1, 2, 3, 16, 17]);
    let per_group = |rng: &mut Rng| channels(rng).div_ceil(groups);
    let spec = ConvSpec {
        n: 1 + rng.below(3),
        c_in: per_group(rng) * groups,
        h: 1 + rng.below(24),
        w: 1 + rng.below(40),
        c_out: per_group(rng) * groups,
        kernel,
        stride: rng.pick(&[[1, 1], [1, 1], [2, 2], [3, 1], [4, 4]]),
        pad: pad(rng),
        dilation: rng.pick(&[[1, 1], [1, 1], [2, 2], [1, 3]]),
        groups,
        flip: rng.below(5) == 0,
    };
    let epilogue = Epilogue {
        bias: rng.below(2) == 0,
        relu: rng.below(2) == 0,
        residual: rng.below(3) == 0,
    };
    let conv = ConvShape::try_from(spec).ok()?;
    Some(Problem {
        epilogue,
        ..Problem::from(conv)
    })
}

fn pooling(rng: &mut Rng) -> Option<Problem> {
    let spec = PoolSpec {
        n: 1 + rng.below(3),
        c: channels(rng),
        h: 1 + rng.below(24),
        w: 1 + rng.below(40),
        kernel: rng.pick(&[[2, 2], [3, 3], [3, 3], [1, 4], [5, 2], [7, 7]]),
        stride: rng.pick(&[[1, 1], [2, 2], [2, 2], [3, 1], [5, 4]]),
        pad: pad(rng),
        dilation: rng.pick(&[[1, 1], [1, 1], [2, 1], [3, 3]]),
        kind: rng.pick(&[
            PoolKind::Max,
            PoolKind::Max,
            PoolKind::AvgIncludePad,
            PoolKind::AvgExcludePad,
        ]),
        ceil: rng.below(2) == 0,
    };
    Some(PoolShape::try_from(spec).ok()?.into())
}

/// Text of a problem with another operation.
fn text(rng: &mut Rng) -> String {
    let (n, c, other) = (1 + rng.below(3), channels(rng), channels(rng));
    let (h, w) = (1 + rng.below(16), 1 + rng.below(24));
    let dims = format!("{n}x{c}x{h}x{w}");
    match rng.below(16) {
        0 => format!("--ip mb{n}ic{c}ih{h}iw{w}oc{other}"),
        1 => format!("--eltwise --alg=relu {dims}"),
        2 => format!("--eltwise --alg=linear {dims}"),
        3 => format!("--binary --alg=add --attr-post-ops=relu {dims}:{dims}"),
        4 => format!("--binary --alg=add {dims}:1x{c}x1x1"),
        5 => format!("--bnorm --flags=GCH mb{n}ic{c}ih{h}iw{w}"),
        6 => format!("--statistics mb{n}ic{c}ih{h}iw{w}"),
        7 => format!("--softmax --axis=1 {dims}"),
        8 => format!("--attention --hidden={other} {dims}"),
        9 => format!("--bilinear --alg=half {n}x{}x{h}x{w}", 2 * c),
        10 => format!("--bilinear --alg=full_root {dims}"),
        11 => format!("--concat --axis=1 {dims}:{n}x{other}x{h}x{w}"),
        12 => format!(
            "--lrn mb{n}ic{c}ih{h}iw{w}ls{}alpha0.1beta0.75k1",
            1 + 2 * rng.below(4)
        ),
        13 => format!("--pool --alg=stochastic mb{n}ic{c}ih{h}iw{w}kh3sh2ph1"),
        14 => format!("--pool --alg=lp3 mb{n}ic{c}ih{h}iw{w}kh3sh1ph1"),
        _ => format!("mb{n}ic{c}ih{h}iw{w}oc{other}kh1ph0 + mb{n}ic{other}ih{h}iw{w}oc{c}kh3ph1"),
    }
}

/// A plan with buffers of exactly the sizes that it states.
struct Run<'p> {
    plan: &'p dyn Plan,
    src: Floats,
    residual: Option<Floats>,
    dst: Floats,
    packed: Vec<CacheLine>,
    workspace: Vec<CacheLine>,
    corrupted: bool,
}

/// Floats that begin `skip` elements after the start of their allocation, and end with it.
struct Floats {
    data: Vec<f32>,
    skip: usize,
}

impl Floats {
    fn new(rng: &mut Rng, fill: Option<Fill>, desc: TensorDesc) -> Self {
        let skip = rng.pick(&[0, 0, 1, 3, 16]);
        let len = skip + desc.elements();
        let data = match fill {
            Some(fill) => rng.vec(fill, len),
            None => vec![f32::NAN; len],
        };
        Floats { data, skip }
    }

    fn all(&self) -> &[f32] {
        &self.data[self.skip..]
    }
}

fn lines(spec: &PlanSpec) -> Option<usize> {
    let tensors = [spec.src_desc(), spec.dst_desc()].map(|desc| desc.lines());
    let buffers = [spec.packed_lines, spec.workspace_lines()];
    let mut all = tensors.into_iter().chain(buffers);
    all.try_fold(0usize, |sum, lines| sum.checked_add(lines))
}

impl<'p> Run<'p> {
    /// Allocates the buffers. `None` if they would take too much memory, such as scratch for thousands of threads.
    fn new(plan: &'p dyn Plan, rng: &mut Rng) -> Option<Self> {
        let spec = plan.spec();
        lines(spec).filter(|&lines| lines <= MOST_LINES)?;
        let residual = spec.residual_desc();
        // All positive, which batch normalisation requires of variances.
        let elements = |desc: Option<TensorDesc>| desc.map_or(0, |desc| desc.elements());
        let weights = rng.vec(Fill::PostRelu, elements(spec.weights_desc()));
        let bias = rng.vec(Fill::Uniform, elements(spec.bias_desc()));
        let mut packed = vec![CacheLine::ZERO; spec.packed_lines];
        plan.prepare(spec.params(&weights, &bias), &mut packed, &Serial);
        let corrupted = rng.below(3) == 0;
        if corrupted {
            let floats = convroof_kernels::tensor::as_f32s_mut(&mut packed);
            floats.fill_with(|| f32::from_bits(rng.bits() as u32));
        }
        Some(Run {
            plan,
            src: Floats::new(rng, Some(Fill::Uniform), spec.src_desc()),
            residual: residual.map(|desc| Floats::new(rng, Some(Fill::Uniform), desc)),
            dst: Floats::new(rng, None, spec.dst_desc()),
            packed,
            workspace: vec![CacheLine::ZERO; spec.workspace_lines()],
            corrupted,
        })
    }

    /// Runs on one worker, then on those of a pool, with the scratch as the first run left it.
    fn twice(mut self, pool: Option<&rayon::ThreadPool>, rng: &mut Rng) -> bool {
        self.run(&Serial);
        let written = self.dst.all().iter().all(|y| !y.is_nan());
        assert!(
            written || self.corrupted,
            "an output is not written, or NaN"
        );
        let bits = |y: &Floats| y.all().iter().map(|y| y.to_bits()).collect::<Vec<_>>();
        let once = bits(&self.dst);
        self.dst = Floats::new(rng, None, self.plan.spec().dst_desc());
        match pool {
            Some(pool) => with_team(pool, |team| self.run(team)),
            None => self.run(&Serial),
        }
        // The NaN that two NaNs produce depends on the instruction.
        assert!(self.corrupted || once == bits(&self.dst), "other bits");
        true
    }

    fn run(&mut self, exec: &dyn Executor) {
        let spec = self.plan.spec();
        let Floats { data, skip } = &mut self.dst;
        self.plan.run(RunArgs {
            src: TensorRef::from_f32s(spec.src_desc(), self.src.all()),
            residual: self
                .residual
                .as_ref()
                .map(|r| TensorRef::from_f32s(spec.dst_desc(), r.all())),
            dst: TensorMut::from_f32s(spec.dst_desc(), &mut data[*skip..]),
            packed: &self.packed,
            workspace: &mut self.workspace,
            exec,
            phases: None,
        });
    }
}
