//! The contract between kernels and whoever runs them.
//!
//! An [`Algorithm`] turns a [`Problem`] into a [`Plan`] for one instruction set, or says why it
//! can't. A plan states what memory it needs and what it will cost ([`PlanSpec`]), packs weights
//! once ([`Plan::prepare`]) and runs many times without allocating ([`Plan::run`]). The caller owns
//! all memory and all threads.

use crate::blocking::{Caches, Tuning};
use crate::cost::{Accuracy, Cost, Efficiency};
use crate::exec::Executor;
use crate::isa::{Isa, IsaToken};
pub use crate::phase::{Phase, PhaseClock, PhaseCost};
use crate::problem::{ConvPairShape, ConvShape, DType, Op, PoolShape, Problem};
use crate::tensor::{CacheLine, Layout, TensorDesc, TensorMut, TensorRef, as_f32s};
use std::borrow::Cow;

/// What an algorithm is, whatever the problem.
#[derive(Debug)]
pub struct AlgorithmMeta {
    /// The first part of its variants' ids. Permanent, never reused.
    pub id: &'static str,
    /// One line for `list`.
    pub summary: &'static str,
    /// The instruction sets it is written for.
    pub isas: &'static [Isa],
    /// How its errors grow.
    pub accuracy: Accuracy,
}

/// A way to compute problems. Adding one to the suite is one file and one line in the registry.
pub trait Algorithm: Sync {
    /// What it is.
    fn meta(&self) -> &'static AlgorithmMeta;

    /// A plan for the problem, which is also the only way to ask whether the algorithm can do it.
    ///
    /// # Errors
    /// The reason why it can't.
    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported>;

    /// True if register tiles compute the products of its convolutions. A tile loads a vector of each panel and a broadcast
    /// of each pixel from L1 for a step's FMAs; other loops load what they stream once. The roofline's prediction counts
    /// these loads.
    fn has_register_tile(&self) -> bool {
        true
    }
}

/// Why an algorithm refuses a problem, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unsupported {
    reason: Cow<'static, str>,
    tables: Option<usize>,
}

impl Unsupported {
    /// A refusal with its reason: a phrase that goes after "unsupported: ".
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Unsupported {
            reason: reason.into(),
            tables: None,
        }
    }

    /// Bytes of the plan's tables, where nothing else speaks against it than the limit on them
    /// ([`PlanCx::with_table_limit`]): under a larger limit the algorithm does the problem.
    pub fn tables(&self) -> Option<usize> {
        self.tables
    }
}

/// Target of a plan as the caller states it, beside the problem. An algorithm gets at it by [`PlanCx::target`], which checks it.
#[derive(Clone, Copy, Debug)]
pub struct PlanCx<'a>(Target<'a>);

/// Target of a plan, validated: no size in it is 0 or beyond any machine, so that sums and products
/// of it with a problem's sizes don't overflow.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Target<'a> {
    /// The instruction set, proven present.
    pub isa: IsaToken,
    /// The caches to block for.
    pub caches: &'a Caches,
    /// The most workers that an executor handed to the plan may have.
    pub threads: usize,
    /// Block sizes to use in place of the derived ones.
    pub tuning: Tuning,
    /// The most bytes that the plan's own tables may take.
    pub table_limit: usize,
}

impl<'a> PlanCx<'a> {
    /// The most threads of a plan.
    pub const MAX_THREADS: usize = 4096;
    /// The largest cache, in bytes: 1 TB.
    pub const MAX_CACHE: usize = 1 << 40;
    /// The largest block size of a [`Tuning`]: that of any dimension.
    pub const MAX_BLOCK: usize = 1 << 31;

    /// Derived block sizes, one thread, tables of any size.
    pub fn new(isa: IsaToken, caches: &'a Caches) -> Self {
        PlanCx(Target {
            isa,
            caches,
            threads: 1,
            tuning: Tuning::default(),
            table_limit: usize::MAX,
        })
    }

    /// For executors of up to `threads` workers.
    pub fn with_threads(self, threads: usize) -> Self {
        PlanCx(Target { threads, ..self.0 })
    }

    /// With block sizes in place of the derived ones.
    pub fn with_tuning(self, tuning: Tuning) -> Self {
        PlanCx(Target { tuning, ..self.0 })
    }

    /// With no more than `bytes` for the plan's own tables ([`PlanSpec::table_bytes`]). A plan that needs more is
    /// refused before it allocates them ([`Unsupported::tables`]).
    pub fn with_table_limit(self, bytes: usize) -> Self {
        PlanCx(Target {
            table_limit: bytes,
            ..self.0
        })
    }

    /// The validated target. There is no other way to it, so every algorithm checks it.
    ///
    /// # Errors
    /// When a size in it is 0, or beyond any machine; the refusal says which.
    pub fn target(&self) -> Result<Target<'a>, Unsupported> {
        let Target {
            caches,
            threads,
            tuning,
            ..
        } = self.0;
        let sizes = [
            ("threads", threads, 1, Self::MAX_THREADS),
            ("bytes of L1", caches.l1d, 1, Self::MAX_CACHE),
            ("bytes of L2", caches.l2, 1, Self::MAX_CACHE),
            // None of it may be left to a core.
            ("bytes of L3", caches.l3, 0, Self::MAX_CACHE),
            (
                "pixels in a block (mc)",
                tuning.mc.unwrap_or(1),
                1,
                Self::MAX_BLOCK,
            ),
            (
                "output channels in a block (nc)",
                tuning.nc.unwrap_or(1),
                1,
                Self::MAX_BLOCK,
            ),
        ];
        for (what, size, least, most) in sizes {
            if !(least..=most).contains(&size) {
                let reason = format!("a plan for {size} {what}: it takes {least} to {most}");
                return Err(Unsupported::new(reason));
            }
        }
        Ok(self.0)
    }
}

impl Target<'_> {
    /// The target of an algorithm whose kernels have no twins ([`SimdTask::TWINS`](crate::isa::SimdTask::TWINS)).
    ///
    /// # Errors
    /// When the plan is for a twin.
    pub fn without_twins(self) -> Result<Self, Unsupported> {
        if self.isa.is_twin() {
            return Err(Unsupported::new("its kernels have no twins"));
        }
        Ok(self)
    }

    /// That a plan may keep tables of so many bytes, to be asked before any of them is allocated and when nothing
    /// else speaks against the plan. Gives the bytes back, for [`PlanSpec::table_bytes`].
    ///
    /// # Errors
    /// When that is more than the limit.
    pub fn tables(&self, bytes: usize) -> Result<usize, Unsupported> {
        if bytes <= self.table_limit {
            return Ok(bytes);
        }
        Err(Unsupported {
            reason: format!(
                "the plan's tables would take {} MB, more than the {} MB that there are for them",
                bytes.div_ceil(1 << 20),
                self.table_limit >> 20
            )
            .into(),
            tables: Some(bytes),
        })
    }
}

/// The convolution in an f32 problem, or the refusal of a kernel that does nothing else.
///
/// # Errors
/// When the problem is something else.
pub fn f32_conv(problem: &Problem) -> Result<&ConvShape, Unsupported> {
    f32_only(problem)?;
    match &problem.op {
        Op::Conv(conv) => Ok(conv),
        _ => Err(Unsupported::new("computes convolutions only")),
    }
}

/// The pooling in an f32 problem, or the refusal of a kernel that does nothing else.
///
/// # Errors
/// When the problem is something else, or wants an epilogue, which poolings don't have.
pub fn f32_pool(problem: &Problem) -> Result<&PoolShape, Unsupported> {
    f32_only(problem)?;
    match &problem.op {
        Op::Pool(pool) => no_epilogue(problem, "a pooling").map(|()| pool),
        _ => Err(Unsupported::new("computes poolings only")),
    }
}

/// That a problem has no epilogue.
///
/// # Errors
/// When it has one; `layer` is what then takes none.
pub fn no_epilogue(problem: &Problem, layer: &str) -> Result<(), Unsupported> {
    if problem.epilogue == Default::default() {
        return Ok(());
    }
    let reason = format!("{layer} takes no bias, ReLU or residual");
    Err(Unsupported::new(reason))
}

/// That a problem is in f32.
///
/// # Errors
/// When it isn't.
pub fn f32_only(problem: &Problem) -> Result<(), Unsupported> {
    let types = problem.dtypes;
    if [types.src, types.weights, types.dst]
        .iter()
        .any(|&t| t != DType::F32)
    {
        return Err(Unsupported::new("computes in f32 only"));
    }
    Ok(())
}

/// The layouts that a plan reads and writes. Weights are always given as plain OIHW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layouts {
    /// Of the source.
    pub src: Layout,
    /// Of the destination, and of the residual that is added to it.
    pub dst: Layout,
}

/// Sizes at whose multiples a plan's code paths change (register tiles, blocks), so that tests can
/// straddle them. 1 where there is no such edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granularity {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Output rows.
    pub h_out: usize,
    /// Output columns.
    pub w_out: usize,
    /// Output pixels of an image taken as one row.
    pub pixels: usize,
}

impl Default for Granularity {
    fn default() -> Self {
        Granularity {
            c_in: 1,
            c_out: 1,
            h_out: 1,
            w_out: 1,
            pixels: 1,
        }
    }
}

/// What a plan states about itself.
#[derive(Clone, Debug)]
pub struct PlanSpec {
    /// What it computes.
    pub problem: Problem,
    /// The layouts it wants.
    pub layouts: Layouts,
    /// Cache lines of packed weights that `prepare` fills and `run` reads.
    pub packed_lines: usize,
    /// Cache lines of scratch for each worker; their content is nobody's business between runs.
    pub workspace_lines_per_worker: usize,
    /// Bytes, at most, of what the plan itself keeps that grows with the problem: where taps and windows lie.
    pub table_bytes: usize,
    /// The most workers.
    pub threads: usize,
    /// Where its code paths change.
    pub granularity: Granularity,
    /// What a run costs.
    pub cost: Cost,
    /// Fractions of the machine's ceilings that a run reaches in a network.
    pub efficiency: Efficiency,
}

impl PlanSpec {
    /// From a layout to the same, with nothing packed and no scratch.
    pub fn new(problem: &Problem, layout: Layout, cx: &Target<'_>, flops_executed: u64) -> Self {
        PlanSpec {
            problem: *problem,
            layouts: Layouts {
                src: layout,
                dst: layout,
            },
            packed_lines: 0,
            workspace_lines_per_worker: 0,
            table_bytes: 0,
            threads: cx.threads,
            granularity: Granularity::default(),
            cost: Cost::new(problem, flops_executed),
            efficiency: Efficiency::usual(&problem.op),
        }
    }

    /// Cache lines of scratch for all workers.
    pub fn workspace_lines(&self) -> usize {
        self.workspace_lines_per_worker.saturating_mul(self.threads)
    }

    /// Bytes of packed weights.
    pub fn packed_bytes(&self) -> usize {
        self.packed_lines.saturating_mul(CacheLine::BYTES)
    }

    /// Bytes of scratch for all workers.
    pub fn workspace_bytes(&self) -> usize {
        self.workspace_lines().saturating_mul(CacheLine::BYTES)
    }

    /// The source, as the plan wants it.
    pub fn src_desc(&self) -> TensorDesc {
        let problem = &self.problem;
        TensorDesc::new(problem.dtypes.src, self.layouts.src, problem.src_dims())
    }

    /// The destination, as the plan writes it.
    pub fn dst_desc(&self) -> TensorDesc {
        let problem = &self.problem;
        TensorDesc::new(problem.dtypes.dst, self.layouts.dst, problem.dst_dims())
    }

    /// The weights, as `prepare` takes them; none for a pooling.
    pub fn weights_desc(&self) -> Option<TensorDesc> {
        let dims = self.problem.weights_dims()?;
        let dtype = self.problem.dtypes.weights;
        Some(TensorDesc::new(dtype, Layout::Nchw, dims))
    }

    /// The bias, as `prepare` takes it: an f32 for each of [`Problem::biases`].
    pub fn bias_desc(&self) -> Option<TensorDesc> {
        let biases = self.problem.biases();
        (biases > 0).then(|| TensorDesc::f32(Layout::Nchw, [1, biases, 1, 1]))
    }
}

/// Weights and bias, in the layouts of [`PlanSpec::weights_desc`] and [`PlanSpec::bias_desc`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a> {
    /// None for a pooling.
    pub weights: Option<TensorRef<'a>>,
    /// None where the epilogue has no bias.
    pub bias: Option<TensorRef<'a>>,
}

impl<'a> Params<'a> {
    /// The filters of a convolution as they slide over its input: those of a true convolution are turned around, here
    /// and nowhere else.
    ///
    /// # Panics
    /// If there are no weights.
    pub fn filters(&self, conv: &ConvShape) -> Cow<'a, [f32]> {
        let weights = self.weights.expect("a convolution has weights").f32s();
        if !conv.flip {
            return weights.into();
        }
        let mut flipped = weights.to_vec();
        let filters = flipped.chunks_exact_mut(conv.kernel[0] * conv.kernel[1]);
        filters.for_each(<[f32]>::reverse);
        flipped.into()
    }

    /// Those of two convolutions, each one's.
    ///
    /// # Panics
    /// If there are no weights, or fewer than the first has.
    pub fn of_pair(&self, pair: &ConvPairShape) -> [Params<'a>; 2] {
        let dims = [pair.first(), pair.second()].map(|&conv| {
            let dims = Problem::from(conv).weights_dims();
            dims.expect("a convolution has weights")
        });
        let weights = self.weights.expect("convolutions have weights").f32s();
        let weights = weights.split_at(dims[0].iter().product());
        let bias = self.bias.map(|b| b.f32s().split_at(pair.first().c_out));
        let tensor = |dims, x| TensorRef::from_f32s(TensorDesc::f32(Layout::Nchw, dims), x);
        let of = |dims, weights, bias: Option<&'a [f32]>| Params {
            weights: Some(tensor(dims, weights)),
            bias: bias.map(|b| tensor([1, b.len(), 1, 1], b)),
        };
        [
            of(dims[0], weights.0, bias.map(|b| b.0)),
            of(dims[1], weights.1, bias.map(|b| b.1)),
        ]
    }
}

/// What one run reads and writes.
pub struct RunArgs<'a> {
    /// The source.
    pub src: TensorRef<'a>,
    /// What is added to the output, in its layout; none where the epilogue has no residual.
    pub residual: Option<TensorRef<'a>>,
    /// The destination; every element is written.
    pub dst: TensorMut<'a>,
    /// What `prepare` filled.
    pub packed: &'a [CacheLine],
    /// Scratch, at least [`PlanSpec::workspace_lines`].
    pub workspace: &'a mut [CacheLine],
    /// The threads.
    pub exec: &'a dyn Executor,
    /// Where a plan of several phases adds up what each takes; none to spare the looks at the clock.
    pub phases: Option<&'a PhaseClock>,
}

/// The arguments of a run as f32 slices, found to fit the plan.
pub struct CheckedArgs<'a> {
    /// The source.
    pub src: &'a [f32],
    /// What is added to the output.
    pub residual: Option<&'a [f32]>,
    /// The destination.
    pub dst: TensorMut<'a>,
    /// Packed weights.
    pub packed: &'a [f32],
    /// Scratch for all workers.
    pub workspace: &'a mut [CacheLine],
    /// The threads.
    pub exec: &'a dyn Executor,
    /// Where the time of each phase is added up.
    pub phases: Option<&'a PhaseClock>,
}

impl<'a> RunArgs<'a> {
    /// Checks the arguments against the plan, once per run.
    ///
    /// # Panics
    /// If a tensor, a buffer or the executor doesn't fit: a mistake of the program, not of its user.
    pub fn check(self, spec: &PlanSpec) -> CheckedArgs<'a> {
        let RunArgs {
            src,
            residual,
            dst,
            packed,
            workspace,
            exec,
            phases,
        } = self;
        assert_eq!(src.desc(), spec.src_desc(), "source");
        assert_eq!(dst.desc(), spec.dst_desc(), "destination");
        let wanted = spec.problem.epilogue.residual.then(|| spec.dst_desc());
        assert_eq!(residual.map(|r| r.desc()), wanted, "residual");
        assert!(packed.len() >= spec.packed_lines, "packed weights");
        assert!(
            exec.width() <= spec.threads,
            "{} workers for {}",
            exec.width(),
            spec.threads
        );
        assert!(workspace.len() >= spec.workspace_lines(), "workspace");
        CheckedArgs {
            src: src.f32s(),
            residual: residual.map(|r| r.f32s()),
            dst,
            packed: &as_f32s(packed)[..spec.packed_lines * CacheLine::F32S],
            workspace: &mut workspace[..spec.workspace_lines()],
            exec,
            phases,
        }
    }
}

/// One problem, made ready for one instruction set.
pub trait Plan: Send + Sync {
    /// What it needs and what it costs.
    fn spec(&self) -> &PlanSpec;

    /// What the phases of a run cost, in their order; nothing where there is but one.
    fn phases(&self) -> Vec<PhaseCost> {
        Vec::new()
    }

    /// Packs the weights and the bias in the order that `run` reads them; nothing, where there are
    /// none.
    ///
    /// # Panics
    /// If the parameters or `packed` don't fit the spec.
    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], exec: &dyn Executor) {
        let _ = (params, packed, exec);
    }

    /// Computes the destination from the source. Allocates nothing, starts no thread.
    ///
    /// # Panics
    /// If the arguments don't fit the spec ([`RunArgs::check`]).
    fn run(&self, args: RunArgs<'_>);
}
