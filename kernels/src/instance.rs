//! A plan with its own memory, for tests, suite and command line. Operands are plain NCHW. Reorders to and from the
//! plan's layouts happen here, outside of `run`.

use crate::exec::Executor;
use crate::phase::{PhaseClock, PhaseCost};
use crate::plan::{Params, Plan, PlanSpec, RunArgs};
use crate::reference::Operands;
use crate::reorder::{reorder, to_layout};
use crate::tensor::{
    AlignedBuf, CacheLine, Layout, OutOfMemory, Tensor, TensorDesc, TensorMut, TensorRef, as_f32s,
    as_f32s_mut,
};

/// Operands that a run doesn't find in the caches. They are in a set of operands that wasn't used recently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cold {
    /// Packed weights only: the state of a layer in a network, after the other layers ran.
    Weights,
    /// Packed weights, source, residual and destination.
    Everything,
}

/// A plan and all the memory it needs.
pub struct Instance {
    plan: Box<dyn Plan>,
    src: Tensor,
    residual: Option<Tensor>,
    dst: Tensor,
    packed: AlignedBuf,
    workspace: AlignedBuf,
}

impl Instance {
    /// Allocates zeroed memory for `plan`. Fill it with [`Instance::load`].
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(plan: Box<dyn Plan>) -> Result<Self, OutOfMemory> {
        let spec = plan.spec();
        let residual = spec
            .problem
            .epilogue
            .residual
            .then(|| Tensor::zeros(spec.dst_desc()));
        Ok(Instance {
            src: Tensor::zeros(spec.src_desc())?,
            residual: residual.transpose()?,
            dst: Tensor::zeros(spec.dst_desc())?,
            packed: AlignedBuf::zeroed(spec.packed_lines)?,
            workspace: AlignedBuf::zeroed(spec.workspace_lines())?,
            plan,
        })
    }

    /// Memory and cost of the plan.
    pub fn spec(&self) -> &PlanSpec {
        self.plan.spec()
    }

    /// Loads operands in plain NCHW: reorders the inputs, packs the parameters.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn load(&mut self, x: Operands<'_>, exec: &dyn Executor) {
        self.load_inputs(x, exec);
        let spec = self.plan.spec();
        let params = Params {
            weights: spec
                .weights_desc()
                .map(|d| TensorRef::from_f32s(d, x.weights)),
            bias: spec.bias_desc().map(|d| TensorRef::from_f32s(d, x.bias)),
        };
        self.plan.prepare(params, &mut self.packed, exec);
    }

    /// Loads source and residual only. The packed parameters are kept.
    ///
    /// # Panics
    /// If an operand is too short.
    pub fn load_inputs(&mut self, x: Operands<'_>, exec: &dyn Executor) {
        let plain = |tensor: &Tensor| tensor.desc().with_layout(Layout::Nchw);
        let from = TensorRef::from_f32s(plain(&self.src), x.src);
        reorder(from, &mut self.src.view_mut(), exec);
        if let Some(residual) = &mut self.residual {
            let from = TensorRef::from_f32s(plain(residual), x.residual);
            reorder(from, &mut residual.view_mut(), exec);
        }
    }

    /// Fills the output with a value. NaN reveals elements that a kernel doesn't write.
    pub fn poison_output(&mut self, value: f32) {
        self.dst.f32s_mut().fill(value);
    }

    /// Runs the plan once.
    pub fn run(&mut self, exec: &dyn Executor) {
        self.run_timed(exec, None);
    }

    /// Costs of the phases of a run, in order; empty for a single phase.
    pub fn phases(&self) -> Vec<PhaseCost> {
        self.plan.phases()
    }

    /// Runs the plan once, and adds the time of its phases to `phases`.
    pub fn run_timed(&mut self, exec: &dyn Executor, phases: Option<&PhaseClock>) {
        self.plan.run(RunArgs {
            src: self.src.view(),
            residual: self.residual.as_ref().map(Tensor::view),
            dst: self.dst.view_mut(),
            packed: &self.packed,
            workspace: &mut self.workspace,
            exec,
            phases,
        });
    }

    /// Cache lines of a set of operands for [`Instance::run_on`].
    pub fn set_lines(&self, cold: Cold) -> usize {
        let operands = [Some(&self.src), self.residual.as_ref(), Some(&self.dst)];
        let operands = operands.into_iter().flatten();
        let lines: usize = operands.map(|t| t.desc().lines()).sum();
        self.packed.len()
            + match cold {
                Cold::Weights => 0,
                Cold::Everything => lines,
            }
    }

    /// Copies the operands to a set.
    ///
    /// # Panics
    /// If the set is too short.
    pub fn copy_to(&self, cold: Cold, set: &mut [CacheLine]) {
        let (packed, mut rest) = set.split_at_mut(self.packed.len());
        packed.copy_from_slice(&self.packed);
        if cold == Cold::Everything {
            for tensor in [Some(&self.src), self.residual.as_ref()]
                .into_iter()
                .flatten()
            {
                let (to, behind) = rest.split_at_mut(tensor.desc().lines());
                as_f32s_mut(to)[..tensor.f32s().len()].copy_from_slice(tensor.f32s());
                rest = behind;
            }
        }
    }

    /// Runs the plan once on the operands of a set, and on its own for those that the set lacks.
    ///
    /// # Panics
    /// If the set is too short.
    pub fn run_on(&mut self, cold: Cold, set: &mut [CacheLine], exec: &dyn Executor) {
        let (packed, rest) = set.split_at_mut(self.packed.len());
        let (mut src, mut residual, mut dst) = (
            self.src.view(),
            self.residual.as_ref().map(Tensor::view),
            self.dst.view_mut(),
        );
        if cold == Cold::Everything {
            let (lines, rest) = rest.split_at_mut(src.desc().lines());
            src = TensorRef::from_f32s(src.desc(), as_f32s(lines));
            let (lines, rest) = rest.split_at_mut(residual.map_or(0, |r| r.desc().lines()));
            residual = residual.map(|r| TensorRef::from_f32s(r.desc(), as_f32s(lines)));
            dst = TensorMut::from_f32s(dst.desc(), as_f32s_mut(rest));
        }
        self.plan.run(RunArgs {
            src,
            residual,
            dst,
            packed,
            workspace: &mut self.workspace,
            exec,
            phases: None,
        });
    }

    /// Copies the output of a run from its set.
    ///
    /// # Panics
    /// If the set is too short.
    pub fn take_output(&mut self, cold: Cold, set: &[CacheLine]) {
        if cold == Cold::Everything {
            let at = set.len() - self.dst.desc().lines();
            let outputs = self.dst.f32s_mut();
            outputs.copy_from_slice(&as_f32s(&set[at..])[..outputs.len()]);
        }
    }

    /// Output in the plan's layout.
    pub fn output(&self) -> &Tensor {
        &self.dst
    }

    /// Copy of the output in plain NCHW.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn output_nchw(&self, exec: &dyn Executor) -> Result<Tensor, OutOfMemory> {
        to_layout(&self.dst, Layout::Nchw, exec)
    }

    /// Bytes that a run accesses: source, residual, packed weights and destination.
    pub fn working_set(&self) -> usize {
        let tensors = [Some(&self.src), self.residual.as_ref(), Some(&self.dst)];
        let bytes: usize = tensors
            .into_iter()
            .flatten()
            .map(|t| t.desc().bytes())
            .sum();
        bytes + self.packed.len() * CacheLine::BYTES
    }

    /// Bytes of scratch.
    pub fn workspace_bytes(&self) -> usize {
        self.workspace.len() * CacheLine::BYTES
    }
}

/// Difference between an output and the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// max |y - ref| / max |ref|. Infinite if an output is NaN and the reference is not.
    pub max: f64,
    /// L2 norm of y - ref / L2 norm of ref.
    pub l2: f64,
    /// max |ref|, to convert an absolute tolerance to a relative one.
    pub largest: f64,
}

impl Deviation {
    /// Compares an output with the reference, both in plain NCHW.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn between(output: &[f32], reference: &[f64]) -> Self {
        assert_eq!(output.len(), reference.len());
        let (mut max, mut largest, mut error2, mut norm2) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        for (&y, &r) in output.iter().zip(reference) {
            let error = (f64::from(y) - r).abs();
            let error = if error.is_nan() { f64::INFINITY } else { error };
            max = max.max(error);
            largest = largest.max(r.abs());
            error2 += error * error;
            norm2 += r * r;
        }
        let over = |x: f64, y: f64| if x == 0.0 { 0.0 } else { x / y };
        Deviation {
            max: over(max, largest),
            l2: over(error2.sqrt(), norm2.sqrt()),
            largest,
        }
    }
}

/// Description of an f32 operand in plain NCHW.
pub fn plain(dims: [usize; 4]) -> TensorDesc {
    TensorDesc::f32(Layout::Nchw, dims)
}
