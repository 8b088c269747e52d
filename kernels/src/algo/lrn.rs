//! Local response normalisation across channels, on NCHW16c.
//!
//! The window's sum and the power limit the speed, not memory. A NaN makes the channels NaN whose windows contain it,
//! and no others. Pixels with squares beyond an f32 (values from about 1e19) are computed in f64, which takes longer.

use crate::cost::Accuracy;
use crate::exec::{Grid, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::lrn::{LrnPixels, scratch_len};
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Plan, PlanCx, PlanSpec, RunArgs, Unsupported, f32_layer,
};
use crate::problem::{LrnShape, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};

/// Local response normalisation, with powers that are multiples of 1/4.
#[derive(Debug)]
pub struct Lrn;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "lrn",
    summary: "local response normalisation across channels on NCHW16c, beta a multiple of 1/4 up to 4",
    isas: &Isa::F32,
    accuracy: Accuracy::Mean,
};

impl Algorithm for Lrn {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?.without_twins()?;
        let lrn = *f32_layer::<LrnShape>(problem)?;
        let quarters = 4.0 * lrn.spec().beta;
        if quarters.fract() != 0.0 || quarters > 16.0 {
            return Err(Unsupported::new(
                "beta is no multiple of 1/4 up to 4: powers are made of square roots",
            ));
        }
        let [n, c, h, w] = lrn.maps().dims();
        let (blocks, pixels) = (c.div_ceil(CHANNEL_BLOCK), h * w);
        let task = match cx.tuning.mc {
            Some(mc) => mc.min(pixels),
            None => pixels.div_ceil(cx.threads.div_ceil(n)),
        };
        // Per channel: one square, a sum over the window, and 6 more: scale, shift, three for the power, and the
        // division.
        let flops = 1 + lrn.spec().size + 6;
        let executed = (flops * n * blocks * CHANNEL_BLOCK * pixels) as u64;
        Ok(Box::new(LrnPlan {
            spec: PlanSpec {
                workspace_lines_per_worker: CacheLine::for_f32s(scratch_len(blocks, lrn.half())),
                granularity: Granularity {
                    c_in: CHANNEL_BLOCK,
                    pixels: 4,
                    ..Granularity::default()
                },
                ..PlanSpec::new(problem, Layout::NCHW16C, cx, executed)
            },
            grid: Grid::of_pixels(n, blocks, pixels, task),
            lrn,
            quarters: quarters as u32,
            isa: cx.isa,
        }))
    }
}

struct LrnPlan {
    spec: PlanSpec,
    grid: Grid,
    lrn: LrnShape,
    quarters: u32,
    isa: IsaToken,
}

impl Plan for LrnPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let (src, cols, spec) = (io.src, self.grid.cols, self.lrn.spec());
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            self.grid,
            io.workspace,
            |at, out, scratch| {
                self.isa.dispatch(LrnPixels {
                    src: &src[at.row * cols + at.col..],
                    channels: self.lrn.maps().dims()[1],
                    half: self.lrn.half(),
                    scale: spec.alpha / spec.size as f32,
                    k: spec.k,
                    quarters: self.quarters,
                    scratch: as_f32s_mut(scratch),
                    out,
                });
            },
        );
    }
}
