//! Memory of a checked run: poisoned buffers between guard lines.

use crate::exec::{Executor, Serial};
use crate::plan::{Params, Plan, RunArgs};
use crate::reference::Operands;
use crate::reorder::reorder;
use crate::tensor::{
    AlignedBuf, CacheLine, Layout, Tensor, TensorDesc, TensorMut, TensorRef, as_f32s, as_f32s_mut,
};

/// A buffer between two guard lines.
struct Fenced {
    lines: AlignedBuf,
}

const GUARD: f32 = 1.25e30;

impl Fenced {
    fn new(lines: usize) -> Self {
        let mut lines = AlignedBuf::zeroed(lines + 2).expect("memory for a test");
        as_f32s_mut(&mut lines).fill(f32::NAN);
        let last = lines.len() - 1;
        for guard in [0, last] {
            as_f32s_mut(&mut lines[guard..=guard]).fill(GUARD);
        }
        Fenced { lines }
    }

    fn inner(&self) -> &[CacheLine] {
        &self.lines[1..self.lines.len() - 1]
    }

    fn inner_mut(&mut self) -> &mut [CacheLine] {
        let last = self.lines.len() - 1;
        &mut self.lines[1..last]
    }

    fn intact(&self, name: &str) -> Result<(), String> {
        let lines = [&self.lines[..1], &self.lines[self.lines.len() - 1..]];
        let intact = lines
            .iter()
            .all(|line| as_f32s(line).iter().all(|&x| x == GUARD));
        if intact {
            Ok(())
        } else {
            Err(format!("it wrote beyond the {name}"))
        }
    }
}

/// A plan in fenced, poisoned memory.
pub(super) struct Guarded<'a> {
    plan: &'a dyn Plan,
    src: Fenced,
    residual: Option<Fenced>,
    dst: Fenced,
    packed: Fenced,
    workspace: Fenced,
}

impl<'a> Guarded<'a> {
    pub(super) fn new(plan: &'a dyn Plan, x: Operands<'_>) -> Self {
        let spec = plan.spec();
        let load = |desc: TensorDesc, from: &[f32]| {
            let mut buffer = Fenced::new(desc.lines());
            let plain = TensorRef::from_f32s(desc.with_layout(Layout::Nchw), from);
            let mut to = TensorMut::from_f32s(desc, as_f32s_mut(buffer.inner_mut()));
            reorder(plain, &mut to, &Serial);
            buffer
        };
        let mut packed = Fenced::new(spec.packed_lines);
        let params = Params {
            weights: spec
                .weights_desc()
                .map(|d| TensorRef::from_f32s(d, x.weights)),
            bias: spec.bias_desc().map(|d| TensorRef::from_f32s(d, x.bias)),
        };
        plan.prepare(params, packed.inner_mut(), &Serial);
        Guarded {
            src: load(spec.src_desc(), x.src),
            residual: spec
                .problem
                .epilogue
                .residual
                .then(|| load(spec.dst_desc(), x.residual)),
            dst: Fenced::new(spec.dst_desc().lines()),
            packed,
            workspace: Fenced::new(spec.workspace_lines()),
            plan,
        }
    }

    /// Runs on a poisoned output and returns it in plain NCHW. The workspace is poisoned once, in `new`. Later runs
    /// find the previous run's content.
    pub(super) fn run(&mut self, exec: &dyn Executor) -> Result<Vec<f32>, String> {
        let spec = self.plan.spec();
        let before: Vec<CacheLine> = [self.src.inner(), self.packed.inner()].concat();
        as_f32s_mut(self.dst.inner_mut()).fill(f32::NAN);
        let (src, dst) = (spec.src_desc(), spec.dst_desc());
        self.plan.run(RunArgs {
            src: TensorRef::from_f32s(src, as_f32s(self.src.inner())),
            residual: self
                .residual
                .as_ref()
                .map(|r| TensorRef::from_f32s(dst, as_f32s(r.inner()))),
            dst: TensorMut::from_f32s(dst, as_f32s_mut(self.dst.inner_mut())),
            packed: self.packed.inner(),
            workspace: self.workspace.inner_mut(),
            exec,
            phases: None,
        });
        self.dst.intact("output")?;
        self.packed.intact("packed weights")?;
        self.workspace.intact("workspace")?;
        self.src.intact("source")?;
        let after = [self.src.inner(), self.packed.inner()].concat();
        if bytemuck::cast_slice::<_, u8>(&before) != bytemuck::cast_slice::<_, u8>(&after) {
            return Err("it changed its source or its packed weights".into());
        }
        let stored = as_f32s(self.dst.inner());
        padding_is_zero(dst, stored)?;
        let mut plain = Tensor::zeros(dst.with_layout(Layout::Nchw)).expect("memory for a test");
        reorder(
            TensorRef::from_f32s(dst, stored),
            &mut plain.view_mut(),
            &Serial,
        );
        Ok(plain.f32s().to_vec())
    }
}

fn padding_is_zero(desc: TensorDesc, stored: &[f32]) -> Result<(), String> {
    let Layout::NchwC(block) = desc.layout() else {
        return Ok(());
    };
    let [n, c, h, w] = desc.dims();
    // Channels of the padding are elements, too.
    let stored_channels = c.next_multiple_of(usize::from(block));
    let padded = TensorDesc::new(desc.dtype(), desc.layout(), [n, stored_channels, h, w]);
    for image in 0..n {
        for channel in c..stored_channels {
            for pixel in 0..h * w {
                let value = stored[padded.offset([image, channel, pixel / w, pixel % w])];
                if value != 0.0 {
                    return Err(format!(
                        "channel {channel}, beyond the {c} there are, is {value}"
                    ));
                }
            }
        }
    }
    Ok(())
}
