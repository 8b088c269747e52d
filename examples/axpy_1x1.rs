//! A kernel from outside of convroof's own list: a 1x1 convolution of stride 1 on plain NCHW.

use convroof_kernels::arch::KernelSimd;
use convroof_kernels::cost::Accuracy;
use convroof_kernels::exec::{Executor, Grid, par_rows};
use convroof_kernels::plan::{AlgorithmMeta, Granularity, Params, PlanSpec, RunArgs, f32_conv};
use convroof_kernels::problem::ConvShape;
use convroof_kernels::tensor::{CacheLine, Layout, as_f32s_mut};
use convroof_kernels::{
    Algorithm, Isa, IsaToken, Plan, PlanCx, Problem, Registry, SimdTask, Unsupported,
};
use std::process::ExitCode;

/// 1x1 convolution of stride 1 on plain NCHW.
struct Axpy1x1;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "axpy-1x1",
    summary: "1x1 convolution of stride 1 on plain NCHW, a weighted sum of maps",
    isas: &Isa::F32,
    accuracy: Accuracy::Sum,
};

struct Axpy1x1Plan {
    spec: PlanSpec,
    conv: ConvShape,
    isa: IsaToken,
}

impl Algorithm for Axpy1x1 {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let target = cx.target()?;
        let conv = *f32_conv(problem)?;
        if conv.kernel != [1, 1] || conv.stride != [1, 1] || conv.groups != 1 {
            return Err(Unsupported::new(
                "computes 1x1 kernels of stride 1 and one group only",
            ));
        }
        if [conv.h_out(), conv.w_out()] != [conv.h, conv.w] {
            return Err(Unsupported::new("takes no padding"));
        }
        let spec = PlanSpec {
            // The bias, then the weights.
            packed_lines: CacheLine::for_f32s(conv.c_out * (1 + conv.c_in)),
            // The last vector of a map may be a part of one: tests try sizes on both sides of this edge.
            granularity: Granularity {
                pixels: target.isa.isa().lanes(),
                ..Granularity::default()
            },
            ..PlanSpec::new(problem, Layout::Nchw, &target, 2 * conv.macs())
        };
        let isa = target.isa;
        Ok(Box::new(Axpy1x1Plan { spec, conv, isa }))
    }
}

impl Plan for Axpy1x1Plan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    /// The bias or zeros, then the weights as they are.
    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let weights = params.filters(&self.conv);
        let (bias, rest) = as_f32s_mut(packed).split_at_mut(self.conv.c_out);
        bias.fill(0.0);
        if let Some(given) = params.bias {
            bias.copy_from_slice(given.f32s());
        }
        rest[..weights.len()].copy_from_slice(&weights);
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let conv = &self.conv;
        let pixels = conv.h * conv.w;
        let (bias, weights) = io.packed.split_at(conv.c_out);
        // A task is one output map.
        let grid = Grid {
            rows: conv.n * conv.c_out,
            cols: pixels,
            block_rows: 1,
            block_cols: pixels,
            band: conv.c_out,
        };
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            io.workspace,
            |at, mut out, _| {
                let (n, k) = (at.row / conv.c_out, at.row % conv.c_out);
                self.isa.dispatch(WeightedSum {
                    maps: &io.src[n * conv.c_in * pixels..][..conv.c_in * pixels],
                    weights: &weights[k * conv.c_in..][..conv.c_in],
                    bias: bias[k],
                    residual: io.residual.map(|r| &r[at.row * pixels..][..pixels]),
                    relu: self.spec.problem.epilogue.relu,
                    out: out.row(0),
                });
            },
        );
    }
}

/// One output map.
struct WeightedSum<'a, 'o> {
    /// The input maps of one image.
    maps: &'a [f32],
    /// A weight for each of them.
    weights: &'a [f32],
    bias: f32,
    residual: Option<&'a [f32]>,
    relu: bool,
    out: &'o mut [f32],
}

impl SimdTask for WeightedSum<'_, '_> {
    type Output = ();

    // Code that is not inlined here is compiled without the instruction set.
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let WeightedSum {
            maps,
            weights,
            bias,
            residual,
            relu,
            out,
        } = self;
        let pixels = out.len();
        for (i, out) in out.chunks_mut(S::F32_LANES).enumerate() {
            let lanes = i * S::F32_LANES..i * S::F32_LANES + out.len();
            let mut sum = simd.splat_f32s(bias);
            for (map, &weight) in maps.chunks_exact(pixels).zip(weights) {
                let x = simd.load_part_f32s(&map[lanes.clone()]);
                sum = simd.mul_add_e_f32s(x, simd.splat_f32s(weight), sum);
            }
            if let Some(residual) = residual {
                sum = simd.add_f32s(sum, simd.load_part_f32s(&residual[lanes]));
            }
            if relu {
                sum = simd.at_least(simd.splat_f32s(0.0), sum);
            }
            simd.store_part_f32s(out, sum);
        }
    }
}

fn main() -> ExitCode {
    convroof::cli::main(&Registry::builtin().with(&Axpy1x1), std::env::args_os())
}
