//! Copies, ReLUs and sums of u8, s8 and bf16, and conversions to other types. `copy`, `relu`, `add` and `convert` use this
//! plan.
//!
//! It is for NHWC, but the order of the elements doesn't matter. A task is a run of memory.

use crate::cost::Cost;
use crate::dtype::DType;
use crate::exec::{Grid, par_rows};
use crate::isa::IsaToken;
use crate::micro::pointwise_bytes::{ConvertBytes, MapBytes};
use crate::plan::{
    Granularity, Plan, PlanSpec, RunArgs, Target, Unsupported, narrow_layer, typed_layer,
};
use crate::problem::{ConversionShape, IdentityShape, Problem, Requantisation};
use crate::tensor::{CacheLine, Layout};

/// Plan of an epilogue alone, without a bias, or of a conversion.
pub(super) struct NarrowPointwise {
    spec: PlanSpec,
    steps: Requantisation,
    /// Outputs are elements of the source, or 0 in their place.
    maps: bool,
    stream: bool,
    /// Cache lines of the output in one task.
    task_lines: usize,
    isa: IsaToken,
}

impl NarrowPointwise {
    /// Plan of an epilogue alone, with ordinary or with non-temporal stores.
    ///
    /// # Errors
    /// A layer of other types, or a sum with non-temporal stores.
    pub(super) fn new(
        problem: &Problem,
        stream: bool,
        cx: &Target<'_>,
    ) -> Result<Self, Unsupported> {
        narrow_layer::<IdentityShape>(problem)?;
        let maps = !problem.epilogue.residual;
        if stream && !maps {
            let src = problem.dtypes.src;
            let reason = format!("sums of {src} have no streaming stores");
            return Err(Unsupported::new(reason));
        }
        Ok(NarrowPointwise {
            maps,
            stream,
            ..NarrowPointwise::of_elements(problem, cx)
        })
    }

    /// Plan of a conversion.
    ///
    /// # Errors
    /// Another layer.
    pub(super) fn of_conversion(problem: &Problem, cx: &Target<'_>) -> Result<Self, Unsupported> {
        typed_layer::<ConversionShape>(problem)?;
        Ok(NarrowPointwise::of_elements(problem, cx))
    }

    /// Plan with the tasks of a layer whose outputs depend on one element each.
    fn of_elements(problem: &Problem, cx: &Target<'_>) -> Self {
        let executed = Cost::new(problem, 0).flops_nominal;
        let spec = PlanSpec {
            granularity: Granularity {
                c_in: cx.isa.isa().lanes() * DType::F32.size() / problem.dtypes.dst.size(),
                ..Granularity::default()
            },
            ..PlanSpec::new(problem, Layout::Nhwc, cx, executed)
        };
        let lines = spec.dst_desc().lines();
        NarrowPointwise {
            task_lines: match cx.tuning.mc {
                Some(mc) => mc.min(lines),
                None => lines.div_ceil(cx.threads),
            },
            steps: Requantisation::new(&problem.attributes()),
            spec,
            maps: false,
            stream: false,
            isa: cx.isa,
        }
    }
}

impl Plan for NarrowPointwise {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn run(&self, args: RunArgs<'_>) {
        args.assert_fit(&self.spec);
        let RunArgs {
            src,
            residual,
            mut dst,
            exec,
            ..
        } = args;
        let (from, to) = (src.desc().dtype(), self.steps.dst());
        let grid = Grid {
            rows: 1,
            cols: dst.desc().bytes(),
            block_rows: 1,
            block_cols: self.task_lines * CacheLine::BYTES,
            band: 1,
        };
        par_rows(exec, dst.bytes_mut(), grid, &mut [], |at, mut out, _| {
            let (out, first) = (out.row(0), at.col / to.size());
            let src = &src.bytes()[first * from.size()..];
            if self.maps {
                return self.isa.dispatch(MapBytes {
                    dtype: to,
                    relu: self.steps.relu(),
                    src: &src[..out.len()],
                    stream: self.stream,
                    out,
                });
            }
            let residual = residual.map(|residual| {
                let dtype = residual.desc().dtype();
                (dtype, &residual.bytes()[first * dtype.size()..])
            });
            self.isa.dispatch(ConvertBytes {
                src: (from, src),
                residual,
                affine: self.spec.problem.quantisation.src,
                steps: &self.steps,
                out,
            });
        });
    }
}
