//! The contract between kernels and their callers.
//!
//! An [`Algorithm`] turns a [`Problem`] into a [`Plan`] for one instruction set, or gives the reason why it can't. A
//! plan states its memory and its cost ([`PlanSpec`]). It packs weights once ([`Plan::prepare`]) and runs many times
//! without allocating ([`Plan::run`]). The caller owns all memory and all threads.

use crate::blocking::{Caches, Tuning};
use crate::cost::{Accuracy, Cost, Efficiency};
use crate::dtype::{Element, with_element};
use crate::exec::Executor;
use crate::isa::{Isa, IsaToken};
pub use crate::phase::{Phase, PhaseClock, PhaseCost};
use crate::problem::{
    ConvPairShape, ConvShape, DType, DTypes, Epilogue, Names, Operation, Problem,
};
use crate::tensor::{CacheLine, Layout, TensorDesc, TensorMut, TensorRef, as_f32s};
use std::borrow::Cow;
use std::fmt;

/// Properties of an algorithm that don't depend on the problem.
#[derive(Debug)]
pub struct AlgorithmMeta {
    /// First part of its variants' ids. Permanent, never reused.
    pub id: &'static str,
    /// One line for `convroof list`.
    pub summary: &'static str,
    /// Instruction sets that it supports.
    pub isas: &'static [Isa],
    /// Growth of its rounding errors.
    pub accuracy: Accuracy,
}

/// A way to compute problems. A new one is one file, and one line in the registry.
pub trait Algorithm: Sync {
    /// Its properties.
    fn meta(&self) -> &'static AlgorithmMeta;

    /// Plan for the problem. It is also the only way to find out if the algorithm supports the problem.
    ///
    /// # Errors
    /// The reason why it doesn't.
    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported>;

    /// True if register tiles compute the products of its convolutions. For the FMAs of one step, a tile loads a vector
    /// of each panel and a broadcast of each pixel from L1. Other loops load their streams once. The roofline's
    /// prediction counts these loads.
    fn has_register_tile(&self) -> bool {
        true
    }
}

/// Reason why an algorithm refuses a problem, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unsupported {
    reason: Cow<'static, str>,
    tables: Option<usize>,
}

impl Unsupported {
    /// Refusal with its reason, a phrase that follows "unsupported: ".
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Unsupported {
            reason: reason.into(),
            tables: None,
        }
    }

    /// Bytes of the plan's tables, if their limit ([`PlanCx::with_table_limit`]) is the only reason for the refusal.
    /// With a larger limit the algorithm supports the problem.
    pub fn tables(&self) -> Option<usize> {
        self.tables
    }
}

/// Unchecked target of a plan, as the caller states it. An algorithm reads it by [`PlanCx::target`], which checks it.
#[derive(Clone, Copy, Debug)]
pub struct PlanCx<'a>(Target<'a>);

/// Checked target of a plan. No size is 0 or beyond any machine, so sums and products with a problem's sizes don't
/// overflow.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Target<'a> {
    /// Instruction set, detected on this machine.
    pub isa: IsaToken,
    /// Cache sizes that determine block sizes.
    pub caches: &'a Caches,
    /// Maximum workers of an executor that runs the plan.
    pub threads: usize,
    /// Block sizes that replace the derived ones.
    pub tuning: Tuning,
    /// Maximum bytes of the plan's own tables.
    pub table_limit: usize,
}

impl<'a> PlanCx<'a> {
    /// Maximum threads of a plan.
    pub const MAX_THREADS: usize = 4096;
    /// Largest cache in bytes: 1 TB.
    pub const MAX_CACHE: usize = 1 << 40;
    /// Largest block size of a [`Tuning`]: that of any dimension.
    pub const MAX_BLOCK: usize = 1 << 31;

    /// Target with derived block sizes, one thread and tables of any size.
    pub fn new(isa: IsaToken, caches: &'a Caches) -> Self {
        PlanCx(Target {
            isa,
            caches,
            threads: 1,
            tuning: Tuning::default(),
            table_limit: usize::MAX,
        })
    }

    /// Sets the maximum number of workers.
    pub fn with_threads(self, threads: usize) -> Self {
        PlanCx(Target { threads, ..self.0 })
    }

    /// Replaces the derived block sizes.
    pub fn with_tuning(self, tuning: Tuning) -> Self {
        PlanCx(Target { tuning, ..self.0 })
    }

    /// Limits the plan's own tables ([`PlanSpec::table_bytes`]) to `bytes`. A plan that needs more is refused before it
    /// allocates them ([`Unsupported::tables`]).
    pub fn with_table_limit(self, bytes: usize) -> Self {
        PlanCx(Target {
            table_limit: bytes,
            ..self.0
        })
    }

    /// Checks the target. This is the only access to it, so every algorithm checks it.
    ///
    /// # Errors
    /// When a size is 0 or beyond any machine, with its name.
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
            // The share of a core may be 0.
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
    /// Checks that the plan isn't for a twin: the algorithm's kernels have none
    /// ([`SimdTask::TWINS`](crate::isa::SimdTask::TWINS)).
    ///
    /// # Errors
    /// When the plan is for a twin.
    pub fn without_twins(self) -> Result<Self, Unsupported> {
        if self.isa.is_twin() {
            return Err(Unsupported::new("its kernels have no twins"));
        }
        Ok(self)
    }

    /// Checks that the instruction set is its own base ([`Isa::base`]): one that extends another adds nothing to a layer
    /// that multiplies `elements` which it has no dot products of.
    ///
    /// # Errors
    /// When the instruction set extends another, with its name.
    pub fn without_extension(&self, elements: impl fmt::Display) -> Result<(), Unsupported> {
        let isa = self.isa.isa();
        if isa.base() != isa {
            let reason = format!(
                "no dot products of {elements} in {isa}: choose {}",
                isa.base()
            );
            return Err(Unsupported::new(reason));
        }
        Ok(())
    }

    /// Checks that a plan may keep tables of `bytes`, and returns `bytes` for [`PlanSpec::table_bytes`]. Call it last,
    /// after all other reasons for a refusal, and before the tables are allocated.
    ///
    /// # Errors
    /// When `bytes` is more than the limit.
    pub fn tables(&self, bytes: usize) -> Result<usize, Unsupported> {
        if bytes <= self.table_limit {
            return Ok(bytes);
        }
        Err(Unsupported {
            reason: format!(
                "the plan's tables would take {} MiB, more than the {} MiB that there are for them",
                bytes.div_ceil(1 << 20),
                self.table_limit >> 20
            )
            .into(),
            tables: Some(bytes),
        })
    }
}

/// Shape of an f32 problem, if its operation is `T`. The problem has an epilogue only if the operation takes one
/// ([`Operation::takes_epilogue`]).
///
/// # Errors
/// When the problem is another one.
pub fn f32_layer<T: Operation>(problem: &Problem) -> Result<&T, Unsupported> {
    f32_only(problem)?;
    layer(problem)
}

/// Shape of a problem whose operation is `T`, with any types. The problem has an epilogue only if the operation takes one
/// ([`Operation::takes_epilogue`]).
///
/// # Errors
/// When the problem is another one.
fn layer<T: Operation>(problem: &Problem) -> Result<&T, Unsupported> {
    let Names { one, many } = T::names();
    let refused = |reason: String| Err(Unsupported::new(reason));
    match problem.op.shape() {
        None => refused(format!("computes {many} only")),
        Some(_) if !T::takes_epilogue() && problem.epilogue != Epilogue::default() => {
            refused(format!("{one} takes no bias, ReLU or residual"))
        }
        Some(shape) => Ok(shape),
    }
}

/// Shape of a problem of u8, s8 or bf16, if its operation is `T`. Its types and its epilogue are those that the operation may
/// have ([`Operation::check_types`]).
///
/// # Errors
/// When the problem is another one.
pub fn narrow_layer<T: Operation>(problem: &Problem) -> Result<&T, Unsupported> {
    let src = problem.dtypes.src;
    if ![DType::U8, DType::S8, DType::Bf16].contains(&src) {
        return Err(Unsupported::new("computes in u8, s8 and bf16 only"));
    }
    typed_layer(problem)
}

/// Shape of a problem of any types, if its operation is `T`. Its types and its epilogue are those that the operation may have
/// ([`Operation::check_types`]).
///
/// # Errors
/// When the problem is another one.
pub fn typed_layer<T: Operation>(problem: &Problem) -> Result<&T, Unsupported> {
    let shape = layer(problem)?;
    let checked = problem.op.check_types(&problem.attributes());
    checked.map_err(Unsupported::new)?;
    Ok(shape)
}

/// Convolution of an f32 problem ([`f32_layer`]).
///
/// # Errors
/// When the problem isn't an f32 convolution.
pub fn f32_conv(problem: &Problem) -> Result<&ConvShape, Unsupported> {
    f32_layer(problem)
}

/// Checks that all operands of a problem are f32.
///
/// # Errors
/// When one isn't.
pub fn f32_only(problem: &Problem) -> Result<(), Unsupported> {
    if problem.dtypes != DTypes::default() {
        return Err(Unsupported::new("computes in f32 only"));
    }
    Ok(())
}

/// Convolution of a problem with bf16 sources and weights.
///
/// # Errors
/// When the problem is another one.
pub fn bf16_conv(problem: &Problem) -> Result<&ConvShape, Unsupported> {
    conv_of(problem, "bf16", |src| src == DType::Bf16)
}

/// Convolution of a problem with u8 or s8 sources and s8 weights, whose sums fit into 32 bits.
///
/// # Errors
/// When the problem is another one, or its sums could overflow ([`ConvShape::largest_sum`]).
pub fn int8_conv(problem: &Problem) -> Result<&ConvShape, Unsupported> {
    let conv = conv_of(problem, "u8 and s8", DType::is_integer)?;
    let largest = conv.largest_sum(problem.dtypes.src, problem.quantisation.src.zero);
    if largest > i32::MAX as u64 {
        let terms = conv.reduction_len();
        return Err(Unsupported::new(format!(
            "sums of {terms} products may reach {largest}, more than 32 bits hold"
        )));
    }
    Ok(conv)
}

/// Convolution of a problem whose source has one of the types `types`.
fn conv_of<'p>(
    problem: &'p Problem,
    types: &str,
    takes: impl Fn(DType) -> bool,
) -> Result<&'p ConvShape, Unsupported> {
    if !takes(problem.dtypes.src) {
        return Err(Unsupported::new(format!("computes in {types} only")));
    }
    let many = ConvShape::names().many;
    let conv = problem.op.shape();
    let conv = conv.ok_or_else(|| Unsupported::new(format!("computes {many} only")))?;
    let types = problem.op.check_types(&problem.attributes());
    types.map_err(Unsupported::new)?;
    Ok(conv)
}

/// Layouts that a plan reads and writes. Weights are always plain OIHW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layouts {
    /// Source.
    pub src: Layout,
    /// Destination and residual.
    pub dst: Layout,
}

/// Sizes at whose multiples a plan's code paths change (register tiles, blocks), so that tests can straddle them. 1
/// means no such edge.
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
    /// Output pixels of an image, counted as one row.
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

/// Properties of a plan.
#[derive(Clone, Debug)]
pub struct PlanSpec {
    /// The problem that it computes.
    pub problem: Problem,
    /// Layouts of source and destination.
    pub layouts: Layouts,
    /// Cache lines of packed weights that `prepare` fills and `run` reads.
    pub packed_lines: usize,
    /// Cache lines of scratch per worker. Their content between runs doesn't matter.
    pub workspace_lines_per_worker: usize,
    /// Upper bound on bytes of the plan's own tables that grow with the problem: positions of taps and windows.
    pub table_bytes: usize,
    /// Maximum number of workers.
    pub threads: usize,
    /// Sizes where its code paths change.
    pub granularity: Granularity,
    /// Cost of a run.
    pub cost: Cost,
    /// Fractions of the machine's ceilings that a run reaches in a network.
    pub efficiency: Efficiency,
}

impl PlanSpec {
    /// Spec with one layout for source and destination, without packed weights or scratch.
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

    /// Source in the plan's layout.
    pub fn src_desc(&self) -> TensorDesc {
        let problem = &self.problem;
        TensorDesc::new(problem.dtypes.src, self.layouts.src, problem.src_dims())
    }

    /// Destination in the plan's layout.
    pub fn dst_desc(&self) -> TensorDesc {
        let problem = &self.problem;
        TensorDesc::new(problem.dtypes.dst, self.layouts.dst, problem.dst_dims())
    }

    /// Residual in the plan's layout; `None` without one.
    pub fn residual_desc(&self) -> Option<TensorDesc> {
        let problem = &self.problem;
        let (dtype, layout) = (problem.dtypes.residual, self.layouts.dst);
        let desc = || TensorDesc::new(dtype, layout, problem.dst_dims());
        problem.epilogue.residual.then(desc)
    }

    /// Bytes that a run accesses: source, residual, destination and packed weights.
    pub fn working_set_bytes(&self) -> usize {
        let residual = self.residual_desc().map_or(0, |desc| desc.bytes());
        let tensors = [self.src_desc().bytes(), residual, self.dst_desc().bytes()];
        let buffers = tensors.into_iter().chain([self.packed_bytes()]);
        buffers.fold(0, usize::saturating_add)
    }

    /// Bytes of all memory of a plan that runs: its working set, its scratch and its tables.
    pub fn memory_bytes(&self) -> usize {
        let others = self.workspace_bytes().saturating_add(self.table_bytes);
        self.working_set_bytes().saturating_add(others)
    }

    /// Weights for `prepare`; `None` for a layer without weights.
    pub fn weights_desc(&self) -> Option<TensorDesc> {
        let dims = self.problem.weights_dims()?;
        let dtype = self.problem.dtypes.weights;
        Some(TensorDesc::new(dtype, Layout::Nchw, dims))
    }

    /// Bias for `prepare`: an f32 for each of [`Problem::biases`].
    pub fn bias_desc(&self) -> Option<TensorDesc> {
        let biases = self.problem.biases();
        (biases > 0).then(|| TensorDesc::f32(Layout::Nchw, [1, biases, 1, 1]))
    }

    /// Parameters for `prepare` of an f32 layer, from weights in plain OIHW and a bias. Parameters that the layer lacks are
    /// ignored.
    ///
    /// # Panics
    /// If one is too short, or the weights are not f32.
    pub fn params<'a>(&self, weights: &'a [f32], bias: &'a [f32]) -> Params<'a> {
        Params {
            weights: self
                .weights_desc()
                .map(|d| TensorRef::from_f32s(d, weights)),
            bias: self.bias_desc().map(|d| TensorRef::from_f32s(d, bias)),
        }
    }
}

/// Weights and bias, in the layouts of [`PlanSpec::weights_desc`] and [`PlanSpec::bias_desc`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a> {
    /// `None` for a layer without weights.
    pub weights: Option<TensorRef<'a>>,
    /// `None` for an epilogue without bias.
    pub bias: Option<TensorRef<'a>>,
}

impl<'a> Params<'a> {
    /// Filters of a convolution for cross-correlation, as f32s. Filters of a true convolution are reversed here, and
    /// nowhere else.
    ///
    /// # Panics
    /// If there are no weights.
    pub fn filters(&self, conv: &ConvShape) -> Cow<'a, [f32]> {
        let weights = self.weights.expect("a convolution has weights");
        let mut filters: Cow<'a, [f32]> = match weights.desc().dtype() {
            DType::F32 => weights.f32s().into(),
            dtype => with_element!(dtype, T => {
                let elements = weights.elements::<T>().iter();
                elements.map(|w| w.to_f64() as f32).collect::<Vec<f32>>()
            })
            .into(),
        };
        if conv.flip {
            let taps = conv.kernel[0] * conv.kernel[1];
            let flipped = filters.to_mut().chunks_exact_mut(taps);
            flipped.for_each(<[f32]>::reverse);
        }
        filters
    }

    /// Parameters of each of two convolutions.
    ///
    /// # Panics
    /// If there are no weights, or fewer than the first needs.
    pub fn of_pair(&self, pair: &ConvPairShape) -> [Params<'a>; 2] {
        let dims = [pair.first(), pair.second()]
            .map(|conv| conv.weights_dims().expect("a convolution has weights"));
        let weights = self.weights.expect("convolutions have weights").f32s();
        let weights = weights.split_at(pair.first().weights());
        let bias = self.bias.map(|b| b.f32s().split_at(pair.first().biases()));
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

/// Arguments of one run.
pub struct RunArgs<'a> {
    /// The source.
    pub src: TensorRef<'a>,
    /// Tensor that is added to the output, in its layout; `None` without a residual.
    pub residual: Option<TensorRef<'a>>,
    /// The destination. Every element is written.
    pub dst: TensorMut<'a>,
    /// Weights that `prepare` packed.
    pub packed: &'a [CacheLine],
    /// Scratch of at least [`PlanSpec::workspace_lines`].
    pub workspace: &'a mut [CacheLine],
    /// The executor.
    pub exec: &'a dyn Executor,
    /// Clock that sums the time of each phase; `None` avoids the clock reads.
    pub phases: Option<&'a PhaseClock>,
}

/// Arguments of a run as f32 slices, checked against the plan.
pub struct CheckedArgs<'a> {
    /// The source.
    pub src: &'a [f32],
    /// Tensor that is added to the output.
    pub residual: Option<&'a [f32]>,
    /// The destination.
    pub dst: TensorMut<'a>,
    /// Packed weights.
    pub packed: &'a [f32],
    /// Scratch for all workers.
    pub workspace: &'a mut [CacheLine],
    /// The executor.
    pub exec: &'a dyn Executor,
    /// Clock that sums the time of each phase.
    pub phases: Option<&'a PhaseClock>,
}

impl<'a> RunArgs<'a> {
    /// Checks the arguments against the plan, once per run.
    ///
    /// # Panics
    /// If a tensor, a buffer or the executor doesn't fit, or the source isn't aligned to 4 bytes, of which kernels read words.
    /// That is a bug in the caller, not wrong user input.
    pub fn assert_fit(&self, spec: &PlanSpec) {
        let residual = self.residual.map(|r| r.desc());
        assert_eq!(self.src.desc(), spec.src_desc(), "source");
        let address = self.src.bytes().as_ptr().addr();
        assert!(
            address.is_multiple_of(size_of::<f32>()),
            "source at {address:#x}, not aligned to 4 bytes"
        );
        assert_eq!(self.dst.desc(), spec.dst_desc(), "destination");
        assert_eq!(residual, spec.residual_desc(), "residual");
        assert!(self.packed.len() >= spec.packed_lines, "packed weights");
        assert!(
            self.exec.width() <= spec.threads,
            "{} workers for {}",
            self.exec.width(),
            spec.threads
        );
        assert!(self.workspace.len() >= spec.workspace_lines(), "workspace");
    }

    /// Checks the arguments of an f32 plan ([`RunArgs::assert_fit`]).
    ///
    /// # Panics
    /// If an argument doesn't fit, or is not f32.
    pub fn check(self, spec: &PlanSpec) -> CheckedArgs<'a> {
        self.assert_fit(spec);
        let RunArgs {
            src,
            residual,
            dst,
            packed,
            workspace,
            exec,
            phases,
        } = self;
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

/// One problem, planned for one instruction set.
pub trait Plan: Send + Sync {
    /// Its memory and cost.
    fn spec(&self) -> &PlanSpec;

    /// Costs of the phases of a run, in order; empty for a single phase.
    fn phases(&self) -> Vec<PhaseCost> {
        Vec::new()
    }

    /// Packs the weights and the bias in the order that `run` reads them. Does nothing for a layer without parameters.
    ///
    /// # Panics
    /// If the parameters or `packed` don't fit the spec.
    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], exec: &dyn Executor) {
        let _ = (params, packed, exec);
    }

    /// Packs the factors of an integer layer's sums, one for each output channel
    /// ([`Requantisation::factors`](crate::problem::Requantisation::factors)). It is called after [`Plan::prepare`]. Plans
    /// of other layers get none.
    ///
    /// # Panics
    /// If the factors or `packed` don't fit the spec.
    fn prepare_factors(&self, factors: &[f32], packed: &mut [CacheLine]) {
        let _ = (factors, packed);
    }

    /// Computes the destination from the source. Allocates nothing, starts no thread.
    ///
    /// # Panics
    /// If the arguments don't fit the spec ([`RunArgs::check`]).
    fn run(&self, args: RunArgs<'_>);
}
