//! Concatenation along the channels, on NCHW16c, of f32, bf16, u8 or s8.
//!
//! If the parts are whole channel blocks, it is a copy. For one image not even a copy is needed: the parts' producers
//! can write straight into the concatenated tensor ([`ConcatShape::in_place`]). This kernel shows the cost that they
//! save. If a part ends within a block, the channels after it move to other lanes, one by one.

use crate::cost::Accuracy;
use crate::exec::{Grid, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::concat::Gather;
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Plan, PlanCx, PlanSpec, RunArgs, Unsupported, f32_layer,
    narrow_layer,
};
use crate::problem::{ConcatShape, DTypes, Problem};
use crate::tensor::Layout;
use bytemuck::Pod;

/// Concatenation.
#[derive(Debug)]
pub struct Concat;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "concat",
    summary: "concatenation along the channels on NCHW16c, as a copy; of f32, bf16, u8 and s8",
    isas: &Isa::F32,
    accuracy: Accuracy::Exact,
};

impl Algorithm for Concat {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?.without_twins()?;
        let concat: ConcatShape = match problem.dtypes == DTypes::default() {
            true => *f32_layer(problem)?,
            false => *narrow_layer(problem)?,
        };
        let [n, c, h, w] = concat.maps().dims();
        let (rows, pixels) = (n * c.div_ceil(CHANNEL_BLOCK), h * w);
        let task = match cx.tuning.mc {
            Some(mc) => mc.min(pixels),
            None => pixels.div_ceil((4 * cx.threads).div_ceil(rows)),
        };
        let executed = (rows * pixels * CHANNEL_BLOCK) as u64;
        Ok(Box::new(ConcatPlan {
            spec: PlanSpec {
                granularity: Granularity {
                    c_in: CHANNEL_BLOCK,
                    ..Granularity::default()
                },
                ..PlanSpec::new(problem, Layout::NCHW16C, cx, executed)
            },
            // A task is some pixels of a channel block.
            grid: Grid {
                rows,
                cols: pixels * CHANNEL_BLOCK,
                block_rows: 1,
                block_cols: task * CHANNEL_BLOCK,
                band: rows,
            },
            concat,
            isa: cx.isa,
        }))
    }
}

struct ConcatPlan {
    spec: PlanSpec,
    grid: Grid,
    concat: ConcatShape,
    isa: IsaToken,
}

impl Plan for ConcatPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn run(&self, args: RunArgs<'_>) {
        args.assert_fit(&self.spec);
        match self.spec.problem.dtypes.dst.size() {
            1 => self.run_as::<u8>(args),
            2 => self.run_as::<u16>(args),
            _ => self.run_as::<f32>(args),
        }
    }
}

impl ConcatPlan {
    /// Copies elements in the form of `T`, which has their size.
    fn run_as<T: Pod + Send + Sync>(&self, args: RunArgs<'_>) {
        let RunArgs {
            src, mut dst, exec, ..
        } = args;
        let (src, cols): (&[T], _) = (bytemuck::cast_slice(src.bytes()), self.grid.cols);
        let dst: &mut [T] = bytemuck::cast_slice_mut(dst.bytes_mut());
        let [_, c, _, _] = self.concat.maps().dims();
        let blocks = c.div_ceil(CHANNEL_BLOCK);
        par_rows(exec, dst, self.grid, &mut [], |at, mut out, _| {
            let (image, first) = (at.row / blocks, at.row % blocks * CHANNEL_BLOCK);
            let used = CHANNEL_BLOCK.min(c - first);
            let mut channels = [0; CHANNEL_BLOCK];
            for (lane, channel) in channels[..used].iter_mut().enumerate() {
                let from = self.concat.source_channel(image, first + lane);
                *channel = from / CHANNEL_BLOCK * cols + from % CHANNEL_BLOCK + at.col;
            }
            self.isa.dispatch(Gather {
                src,
                channels: &channels[..used],
                out: out.row(0),
            });
        });
    }
}
