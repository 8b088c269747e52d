//! A network ready to run: packed weights, and all tensors in one arena. A run allocates nothing.

use super::layer_plans::{LayerPlans, Selection};
use super::schedule::{Schedule, Step, StepOp, View};
use super::weights::parameters;
use crate::networks::Graph;
use anyhow::Result;
use convroof_kernels::exec::{Executor, Grid, par_rows};
use convroof_kernels::plan::{Plan, RunArgs};
use convroof_kernels::reorder::reorder;
use convroof_kernels::tensor::{AlignedBuf, CacheLine, TensorMut, TensorRef, as_f32s, as_f32s_mut};
use std::ops::Range;
use std::time::{Duration, Instant};

/// A network with its memory.
pub struct Runner<'a> {
    plans: &'a LayerPlans,
    /// Steps of a run.
    pub schedule: Schedule,
    /// Packed weights of all layers in one buffer, so that they share huge pages. A run uses each weight once, and in
    /// between its TLB entry is evicted.
    weights: AlignedBuf,
    /// Range of each step's packed weights; empty where there is nothing to pack.
    packed: Vec<Range<usize>>,
    arena: AlignedBuf,
    workspace: AlignedBuf,
}

/// Times of the steps, to which a run adds its own.
type Clock<'a> = Option<&'a mut [Duration]>;

impl<'a> Runner<'a> {
    /// Plans the memory for a selection, then makes and packs the parameters.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(
        graph: &Graph,
        plans: &'a LayerPlans,
        selection: &Selection,
        seed: u64,
        exec: &dyn Executor,
    ) -> Result<Runner<'a>> {
        let schedule = Schedule::new(graph, selection);
        let mut packed = Vec::new();
        let (mut lines, mut workspace) = (0, 0);
        for step in &schedule.steps {
            let start = lines;
            if let Some((_, plan)) = planned(plans, step) {
                lines += plan.spec().packed_lines;
                workspace = workspace.max(plan.spec().workspace_lines());
            }
            packed.push(start..lines);
        }
        let mut weights = AlignedBuf::zeroed(lines)?;
        for (step, packed) in schedule.steps.iter().zip(&packed) {
            let Some((node, plan)) = planned(plans, step) else {
                continue;
            };
            let own = parameters(graph, node, seed);
            let params = plan.spec().params(&own.weights, &own.bias);
            plan.prepare(params, &mut weights[packed.clone()], exec);
        }
        Ok(Runner {
            plans,
            weights,
            packed,
            arena: AlignedBuf::zeroed(schedule.lines)?,
            workspace: AlignedBuf::zeroed(workspace)?,
            schedule,
        })
    }

    /// Copies an input, in plain NCHW, into the arena.
    ///
    /// # Panics
    /// If `input` is longer than its place in the arena.
    pub fn load(&mut self, input: &[f32]) {
        let view = &self.schedule.input;
        let lines = &mut self.arena[view.lines.clone()];
        as_f32s_mut(lines)[..input.len()].copy_from_slice(input);
    }

    /// Fills all tensors but the input with NaN: a read of an element before its write spoils the output.
    pub fn poison(&mut self) {
        let keep = self.schedule.input.lines.clone();
        let (before, rest) = self.arena.split_at_mut(keep.start);
        as_f32s_mut(before).fill(f32::NAN);
        as_f32s_mut(&mut rest[keep.len()..]).fill(f32::NAN);
        as_f32s_mut(&mut self.workspace).fill(f32::NAN);
    }

    /// Fills the output with NaN.
    pub fn poison_output(&mut self) {
        let lines = self.schedule.output.lines.clone();
        as_f32s_mut(&mut self.arena[lines]).fill(f32::NAN);
    }

    /// The output, in plain NCHW.
    pub fn output(&self) -> &[f32] {
        let view = &self.schedule.output;
        &as_f32s(&self.arena[view.lines.clone()])[..view.desc.elements()]
    }

    /// Bytes of packed weights of all layers, of the arena, and of scratch.
    pub fn bytes(&self) -> [usize; 3] {
        let buffers = [&self.weights, &self.arena, &self.workspace];
        buffers.map(|buffer| buffer.len() * CacheLine::BYTES)
    }

    /// Bytes of a step's packed weights.
    pub fn packed_bytes(&self, step: usize) -> usize {
        self.packed[step].len() * CacheLine::BYTES
    }

    /// Runs once.
    pub fn run(&mut self, exec: &dyn Executor) {
        self.run_timed(exec, None);
    }

    /// Runs once, and adds the time of each step to `times`.
    pub fn run_timed(&mut self, exec: &dyn Executor, mut times: Clock<'_>) {
        let mut start = Instant::now();
        for (i, step) in self.schedule.steps.iter().enumerate() {
            let (src, residual, dst) = views(&mut self.arena, step);
            match step.op {
                StepOp::Layer { layer, plan, .. } => {
                    self.plans.layers[layer][plan].plan.run(RunArgs {
                        src,
                        residual,
                        dst,
                        packed: &self.weights[self.packed[i].clone()],
                        workspace: &mut self.workspace,
                        exec,
                        phases: None,
                    });
                }
                StepOp::Reorder => {
                    let mut dst = dst;
                    reorder(src, &mut dst, exec);
                }
                StepOp::Join(offset) => join(src, dst, offset, exec),
            }
            if let Some(times) = times.as_deref_mut() {
                let now = Instant::now();
                times[i] += now - start;
                start = now;
            }
        }
    }
}

/// The node that a step computes, and its plan; none if the step only copies.
fn planned<'a>(plans: &'a LayerPlans, step: &Step) -> Option<(usize, &'a dyn Plan)> {
    match step.op {
        StepOp::Layer { node, layer, plan } => Some((node, &*plans.layers[layer][plan].plan)),
        StepOp::Reorder | StepOp::Join(_) => None,
    }
}

/// A step's tensors in the arena. The destination overlaps no source.
fn views<'a>(
    arena: &'a mut [CacheLine],
    step: &Step,
) -> (TensorRef<'a>, Option<TensorRef<'a>>, TensorMut<'a>) {
    const APART: &str = "source and destination overlap";
    fn see<'a>(view: &View, lines: &'a [CacheLine]) -> TensorRef<'a> {
        TensorRef::from_f32s(view.desc, as_f32s(lines))
    }
    let (src, dst) = (step.src.lines.clone(), step.dst.lines.clone());
    let written =
        |lines: &'a mut [CacheLine]| TensorMut::from_f32s(step.dst.desc, as_f32s_mut(lines));
    match &step.residual {
        Some(added) if added.lines != src => {
            let all = arena.get_disjoint_mut([src, added.lines.clone(), dst]);
            let [src, residual, dst] = all.expect(APART);
            (
                see(&step.src, src),
                Some(see(added, residual)),
                written(dst),
            )
        }
        same => {
            let [src, dst] = arena.get_disjoint_mut([src, dst]).expect(APART);
            let src: &'a [CacheLine] = src;
            let residual = same.as_ref().map(|added| see(added, src));
            (see(&step.src, src), residual, written(dst))
        }
    }
}

/// Copies each image of a part into its place in the image of the concatenation.
fn join(src: TensorRef<'_>, mut dst: TensorMut<'_>, offset: usize, exec: &dyn Executor) {
    let [n, ..] = src.desc().dims();
    let (part, whole) = (src.desc().elements() / n, dst.desc().elements() / n);
    let images = Grid {
        rows: n,
        cols: whole,
        block_rows: 1,
        block_cols: whole,
        band: n,
    };
    let src = src.f32s();
    par_rows(exec, dst.f32s_mut(), images, &mut [], |at, mut image, _| {
        image.row(0)[offset..offset + part].copy_from_slice(&src[at.row * part..][..part]);
    });
}
