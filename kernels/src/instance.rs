//! A plan with its memory: the one owner of both. Tests, suite and command line run plans through it.
//!
//! Operands and outputs are numbers in plain NCHW. Conversions to and from the plan's element types and layouts happen
//! here, outside of `run`.

use crate::dtype::{DType, Element, with_element};
use crate::exec::Executor;
use crate::phase::{PhaseClock, PhaseCost};
use crate::plan::{Params, Plan, PlanSpec, RunArgs};
use crate::problem::{Problem, Requantisation};
use crate::reference::Operands;
use crate::reorder::reorder;
use crate::tensor::{
    AlignedBuf, CacheLine, Layout, OutOfMemory, Tensor, TensorDesc, TensorMut, TensorRef,
    as_f32s_mut,
};
use std::ops::DerefMut;
use std::sync::Arc;

/// Operands that a run doesn't find in the caches. They are in a set of operands that wasn't used recently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cold {
    /// Packed weights only: the state of a layer in a network, after the other layers ran.
    Weights,
    /// Packed weights, source, residual and destination.
    Everything,
}

/// A plan and all the memory it needs, in buffers of type `B`.
pub struct Instance<B = AlignedBuf> {
    plan: Arc<dyn Plan>,
    pub(crate) src: Tensor<B>,
    pub(crate) residual: Option<Tensor<B>>,
    pub(crate) dst: Tensor<B>,
    pub(crate) packed: B,
    pub(crate) workspace: B,
    /// Byte that fills an output of integers before a run.
    poison: u8,
}

/// Bytes of poison, for outputs of integers in turn. As floating-point numbers, elements of the first byte are NaN.
pub const POISON: [u8; 2] = [0xff, 0x5a];

impl Instance {
    /// Allocates zeroed memory for `plan`. Fill it with [`Instance::load`].
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(plan: impl Into<Arc<dyn Plan>>) -> Result<Self, OutOfMemory> {
        Instance::within(plan, AlignedBuf::zeroed)
    }
}

impl<B: DerefMut<Target = [CacheLine]>> Instance<B> {
    /// Allocates memory for `plan` by `buffer`, which gets the cache lines of one buffer. Fill it with
    /// [`Instance::load`].
    ///
    /// # Errors
    /// Those of `buffer`.
    pub fn within<E>(
        plan: impl Into<Arc<dyn Plan>>,
        mut buffer: impl FnMut(usize) -> Result<B, E>,
    ) -> Result<Self, E> {
        let plan = plan.into();
        let spec = plan.spec();
        let mut tensor = |desc| Ok(Tensor::new(desc, buffer(desc.lines())?));
        Ok(Instance {
            src: tensor(spec.src_desc())?,
            residual: spec.residual_desc().map(&mut tensor).transpose()?,
            dst: tensor(spec.dst_desc())?,
            packed: buffer(spec.packed_lines)?,
            workspace: buffer(spec.workspace_lines())?,
            poison: POISON[0],
            plan,
        })
    }

    /// Memory and cost of the plan.
    pub fn spec(&self) -> &PlanSpec {
        self.plan.spec()
    }

    /// Costs of the phases of a run, in order; empty for a single phase.
    pub fn phases(&self) -> Vec<PhaseCost> {
        self.plan.phases()
    }

    /// Loads operands: packs the parameters, and loads the inputs ([`Instance::load_inputs`]).
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn load(&mut self, x: Operands<'_>, exec: &dyn Executor) {
        let spec = self.plan.spec();
        let weights = spec.weights_desc().map(|desc| Plain::new(desc, x.weights));
        let params = Params {
            weights: weights.as_ref().map(Plain::view),
            bias: spec
                .bias_desc()
                .map(|desc| TensorRef::from_f32s(desc, x.bias)),
        };
        self.plan.prepare(params, &mut self.packed, exec);
        let Problem {
            op,
            dtypes,
            quantisation,
            ..
        } = &spec.problem;
        if dtypes.are_integers() {
            let [_, channels, _, _] = op.dst_dims();
            let factors = Requantisation::factors(quantisation, x.scales, channels);
            self.plan.prepare_factors(&factors, &mut self.packed);
        }
        self.load_inputs(x, exec);
    }

    /// Loads source and residual, and poisons the output. The packed parameters are kept.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn load_inputs(&mut self, x: Operands<'_>, exec: &dyn Executor) {
        let load = |tensor: &mut Tensor<B>, from| {
            let plain = Plain::new(tensor.desc().with_layout(Layout::Nchw), from);
            reorder(plain.view(), &mut tensor.view_mut(), exec);
        };
        load(&mut self.src, x.src);
        if let Some(residual) = &mut self.residual {
            load(residual, x.residual);
        }
        self.poison_output();
    }

    /// Fills the output with poison, which reveals elements that a kernel doesn't write. Floating-point numbers become NaN.
    /// No integer is a wrong one, so integers alternate between two values from call to call. Elements that differ after two
    /// runs weren't written.
    pub fn poison_output(&mut self) {
        if self.dst.desc().dtype().is_integer() {
            let [first, second] = POISON;
            self.poison = if self.poison == first { second } else { first };
        }
        self.dst.view_mut().bytes_mut().fill(self.poison);
    }

    /// Runs the plan once.
    pub fn run(&mut self, exec: &dyn Executor) {
        self.run_timed(exec, None);
    }

    /// Runs the plan once, and adds the time of its phases to `phases`.
    pub fn run_timed(&mut self, exec: &dyn Executor, phases: Option<&PhaseClock>) {
        let (plan, args) = self.in_own_memory(exec, phases);
        plan.run(args);
    }

    /// Runs the plan once on the output of the layer before, instead of its own source.
    ///
    /// # Panics
    /// If that output isn't its source.
    pub fn run_after(&mut self, before: &Self, exec: &dyn Executor) {
        let (plan, args) = self.in_own_memory(exec, None);
        plan.run(RunArgs {
            src: before.dst.view(),
            ..args
        });
    }

    fn in_own_memory<'a>(
        &'a mut self,
        exec: &'a dyn Executor,
        phases: Option<&'a PhaseClock>,
    ) -> (&'a dyn Plan, RunArgs<'a>) {
        let args = RunArgs {
            src: self.src.view(),
            residual: self.residual.as_ref().map(Tensor::view),
            dst: self.dst.view_mut(),
            packed: &self.packed,
            workspace: &mut self.workspace,
            exec,
            phases,
        };
        (&*self.plan, args)
    }

    /// The output in plain NCHW, as f32. Values of an s32 output beyond 2^24 are rounded.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn output_nchw(&self, exec: &dyn Executor) -> Result<Vec<f32>, OutOfMemory> {
        let desc = self.dst.desc().with_layout(Layout::Nchw);
        if desc.dtype() != DType::F32 {
            return self.output_as(|y| y as f32, exec);
        }
        let mut output = reserved(desc.elements())?;
        output.resize(desc.elements(), 0.0);
        let mut plain = TensorMut::from_f32s(desc, &mut output);
        reorder(self.dst.view(), &mut plain, exec);
        Ok(output)
    }

    /// The output in plain NCHW, exactly.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn exact_output_nchw(&self, exec: &dyn Executor) -> Result<Vec<f64>, OutOfMemory> {
        self.output_as(|y| y, exec)
    }

    /// The output in plain NCHW, each value converted by `to`.
    fn output_as<T>(
        &self,
        to: impl Fn(f64) -> T,
        exec: &dyn Executor,
    ) -> Result<Vec<T>, OutOfMemory> {
        let mut plain = Tensor::zeros(self.dst.desc().with_layout(Layout::Nchw))?;
        reorder(self.dst.view(), &mut plain.view_mut(), exec);
        let mut output = reserved(plain.desc().elements())?;
        with_element!(plain.desc().dtype(), E => {
            output.extend(plain.view().elements::<E>().iter().map(|y| to(y.to_f64())));
        });
        Ok(output)
    }

    /// Memory of destination, scratch, residual and source, in this order, in words of 4 bytes. Other layers of a network
    /// write it between two runs.
    pub fn activations(&mut self) -> [&mut [f32]; 4] {
        let residual = self.residual.as_mut();
        [
            as_f32s_mut(self.dst.lines_mut()),
            as_f32s_mut(&mut self.workspace),
            residual.map_or(&mut [], |tensor| as_f32s_mut(tensor.lines_mut())),
            as_f32s_mut(self.src.lines_mut()),
        ]
    }
}

/// Runs on cold operands. A set holds packed weights, source, residual and destination, in this order, or packed
/// weights only ([`Cold`]).
impl<B: DerefMut<Target = [CacheLine]>> Instance<B> {
    /// Cache lines of a set.
    pub fn set_lines(&self, cold: Cold) -> usize {
        self.lines_of_parts(cold).iter().sum()
    }

    fn lines_of_parts(&self, cold: Cold) -> [usize; 4] {
        let lines = |tensor: &Tensor<B>| match cold {
            Cold::Weights => 0,
            Cold::Everything => tensor.desc().lines(),
        };
        [
            self.packed.len(),
            lines(&self.src),
            self.residual.as_ref().map_or(0, lines),
            lines(&self.dst),
        ]
    }

    /// Parts of a set. Those that it lacks are empty.
    fn parts<'a>(&self, cold: Cold, mut set: &'a mut [CacheLine]) -> [&'a mut [CacheLine]; 4] {
        self.lines_of_parts(cold).map(|lines| {
            let part = set.split_off_mut(..lines);
            part.expect("a set of Instance::set_lines")
        })
    }

    /// Copies the operands to a set.
    ///
    /// # Panics
    /// If the set is too short.
    pub fn copy_to(&self, cold: Cold, set: &mut [CacheLine]) {
        let [packed, src, residual, _] = self.parts(cold, set);
        packed.copy_from_slice(&self.packed);
        if cold == Cold::Everything {
            src.copy_from_slice(self.src.lines());
            if let Some(own) = &self.residual {
                residual.copy_from_slice(own.lines());
            }
        }
    }

    /// Runs the plan once on the operands of a set, and on its own for those that the set lacks.
    ///
    /// # Panics
    /// If the set is too short.
    pub fn run_on(&mut self, cold: Cold, set: &mut [CacheLine], exec: &dyn Executor) {
        let [packed, src, residual, dst] = self.parts(cold, set);
        let (plan, mut args) = self.in_own_memory(exec, None);
        args.packed = packed;
        if cold == Cold::Everything {
            args.src = TensorRef::in_lines(args.src.desc(), src);
            args.residual = args
                .residual
                .map(|own| TensorRef::in_lines(own.desc(), residual));
            args.dst = TensorMut::in_lines(args.dst.desc(), dst);
        }
        plan.run(args);
    }

    /// Copies the output of a run from its set.
    ///
    /// # Panics
    /// If the set is too short.
    pub fn take_output(&mut self, cold: Cold, set: &mut [CacheLine]) {
        if cold == Cold::Everything {
            let [.., dst] = self.parts(cold, set);
            self.dst.lines_mut().copy_from_slice(dst);
        }
    }
}

/// An operand in plain layout. Numbers of another type than f32 are converted to it.
struct Plain<'a> {
    desc: TensorDesc,
    numbers: &'a [f32],
    /// The converted elements; none for f32.
    converted: Vec<CacheLine>,
}

impl<'a> Plain<'a> {
    fn new(desc: TensorDesc, numbers: &'a [f32]) -> Self {
        let mut converted = Vec::new();
        if desc.dtype() != DType::F32 {
            converted = vec![CacheLine::ZERO; desc.lines()];
            let numbers = &numbers[..desc.elements()];
            let mut tensor = TensorMut::in_lines(desc, &mut converted);
            with_element!(desc.dtype(), E => {
                for (y, &x) in tensor.elements_mut::<E>().iter_mut().zip(numbers) {
                    *y = E::from_f32(x);
                }
            });
        }
        Plain {
            desc,
            numbers,
            converted,
        }
    }

    fn view(&self) -> TensorRef<'_> {
        match self.desc.dtype() {
            DType::F32 => TensorRef::from_f32s(self.desc, self.numbers),
            _ => TensorRef::in_lines(self.desc, &self.converted),
        }
    }
}

/// An empty vector with room for `elements`.
fn reserved<T>(elements: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut vector = Vec::new();
    let memory = vector.try_reserve_exact(elements);
    memory.map_err(|_| OutOfMemory {
        bytes: elements.saturating_mul(size_of::<T>()),
    })?;
    Ok(vector)
}

/// The output of a plan for some operands, all in plain NCHW.
///
/// # Errors
/// When there is not enough memory.
///
/// # Panics
/// If an operand is too short, or `exec` has more workers than the plan.
pub fn compute(
    plan: impl Into<Arc<dyn Plan>>,
    x: Operands<'_>,
    exec: &dyn Executor,
) -> Result<Vec<f32>, OutOfMemory> {
    let mut instance = Instance::new(plan)?;
    instance.load(x, exec);
    instance.run(exec);
    instance.output_nchw(exec)
}
