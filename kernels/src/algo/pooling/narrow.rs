//! Maxima and means of u8, s8 and bf16, on NHWC.

use super::windows::{parts, strip, task};
use crate::dtype::DType;
use crate::exec::{Grid, par_rows};
use crate::isa::IsaToken;
use crate::micro::pool_bytes::PoolBytes;
use crate::micro::windows::Axis;
use crate::plan::{Granularity, Plan, PlanSpec, RunArgs, Target, Unsupported};
use crate::problem::{PoolShape, Problem};
use crate::tensor::{CacheLine, Layout};

pub(super) struct NarrowPlan {
    spec: PlanSpec,
    means: bool,
    vertical: Axis,
    horizontal: Axis,
    /// Bytes of a pixel.
    pixel: usize,
    strip: usize,
    /// Images as rows of bytes.
    grid: Grid,
    isa: IsaToken,
}

/// Most elements of a window whose sum of bytes is exact in f32: up to 2^24.
const MOST: usize = (1 << 24) / 255;

impl NarrowPlan {
    pub(super) fn new(
        problem: &Problem,
        pool: PoolShape,
        means: bool,
        cx: &Target<'_>,
    ) -> Result<Self, Unsupported> {
        let dtype = problem.dtypes.src;
        if means && dtype.is_integer() && pool.elements() > MOST {
            return Err(Unsupported::new(format!(
                "means of {} elements of {dtype}: sums in f32 are exact up to {MOST} elements",
                pool.elements()
            )));
        }
        let [down, across] = pool.windows();
        let (h_out, w_out, pixel) = (down.out, across.out, pool.c * dtype.size());
        let (task_images, task_rows) = task(cx, pool.n, h_out);
        // A single output pixel is divided into cache lines.
        let single = h_out * w_out == 1;
        let lines = pixel.div_ceil(CacheLine::BYTES);
        let task_lines = match cx.tuning.mc {
            Some(mc) => mc.min(lines),
            None => lines.div_ceil(parts(cx).div_ceil(pool.n)),
        };
        let row = w_out * pixel;
        let grid = Grid {
            rows: pool.n,
            cols: h_out * row,
            block_rows: task_images,
            block_cols: match single {
                true => task_lines * CacheLine::BYTES,
                false => task_rows * row,
            },
            band: pool.n,
        };
        let table_bytes = cx.tables(Axis::bytes(h_out) + Axis::bytes(w_out))?;
        let executed = (pool.n * pool.c) as u64 * down.elements_inside() * across.elements_inside();
        let vector = cx.isa.isa().lanes() * DType::F32.size();
        // A pixel of one vector has no next channels.
        let strip = match pixel <= vector {
            true => usize::MAX,
            false => strip(pixel, &down, &across, cx.caches.l1d),
        };
        let elements = vector / dtype.size();
        let [vertical, horizontal] = [down, across].map(|window| Axis::new(window, true));
        Ok(NarrowPlan {
            spec: PlanSpec {
                table_bytes,
                granularity: Granularity {
                    // Means are computed four vectors at a time.
                    c_in: if means { 4 * elements } else { elements },
                    ..Granularity::default()
                },
                ..PlanSpec::new(problem, Layout::Nhwc, cx, executed)
            },
            means,
            vertical,
            horizontal,
            pixel,
            strip,
            grid,
            isa: cx.isa,
        })
    }
}

impl Plan for NarrowPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn run(&self, args: RunArgs<'_>) {
        args.assert_fit(&self.spec);
        let RunArgs {
            src, mut dst, exec, ..
        } = args;
        let (down, across) = (self.vertical.window(), self.horizontal.window());
        let image = down.size * across.size * self.pixel;
        let row = across.out * self.pixel;
        par_rows(exec, dst.bytes_mut(), self.grid, &mut [], |at, out, _| {
            let start = at.col % row;
            self.isa.dispatch(PoolBytes {
                dtype: self.spec.problem.dtypes.src,
                means: self.means,
                images: &src.bytes()[at.row * image..],
                pixel: self.pixel,
                part: start..start + out.len().min(self.pixel),
                strip: self.strip,
                vertical: &self.vertical,
                horizontal: &self.horizontal,
                first: at.col / row,
                out,
            });
        });
    }
}
