//! Conversions between layouts.
//!
//! In every layout, an image is blocks of channels, and a block has a row of channels for each pixel. NCHW has blocks
//! of one channel, NHWC one block of all. If both layouts have more than one channel per block, a reorder copies rows.
//! If one of them is NCHW, it transposes matrices of channels and pixels.

use crate::arch::KernelSimd;
use crate::exec::{Block, Executor, Grid, RowsMut, par_rows};
use crate::isa::{Isa, IsaToken, SimdTask};
use crate::micro::transpose::{StridedRows, copy, transpose};
use crate::tensor::{CacheLine, Layout, TensorDesc, TensorMut, TensorRef};
use bytemuck::{Pod, cast_slice, cast_slice_mut};

/// Minimum bytes, of both tensors, for non-temporal stores. Both together are then larger than most last-level caches.
/// (Measured: docs/measurements.md, 'non-temporal stores'.)
const STREAM_FROM: usize = 32 << 20;

/// Elements of a task that is not a whole map: 256 KB. It stays in L2, and its rows are long enough for the hardware
/// prefetcher.
const TASK: usize = 1 << 16;

const LINE: usize = CacheLine::F32S;

/// Copies a tensor of any element type into another layout. Channels that pad a block become zeros.
///
/// # Panics
/// If the two differ in more than the layout.
pub fn reorder(src: TensorRef<'_>, dst: &mut TensorMut<'_>, exec: &dyn Executor) {
    reorder_on(Isa::best(), src, dst, exec);
}

/// [`reorder`] on a given instruction set.
///
/// # Panics
/// If the two differ in more than the layout.
pub fn reorder_on(isa: IsaToken, src: TensorRef<'_>, dst: &mut TensorMut<'_>, exec: &dyn Executor) {
    let (from, to) = (src.desc(), dst.desc());
    assert_eq!(
        from,
        to.with_layout(from.layout()),
        "a reorder changes the layout alone"
    );
    if from.elements() == 0 {
        return;
    }
    let (src, dst) = (src.bytes(), dst.bytes_mut());
    match to.dtype().size() {
        1 => move_each(from, to, src, dst, exec),
        2 => move_each::<u16>(from, to, cast_slice(src), cast_slice_mut(dst), exec),
        // The kernels move the bits of any 4 bytes.
        _ => move_words(isa, [from, to], cast_slice(src), cast_slice_mut(dst), exec),
    }
}

/// Moves elements one by one.
fn move_each<T: Pod + Send + Sync>(
    from: TensorDesc,
    to: TensorDesc,
    src: &[T],
    dst: &mut [T],
    exec: &dyn Executor,
) {
    let ([n, channels, h, w], width) = (to.dims(), block(to));
    let blocks = channels.div_ceil(width);
    // A task is the map of a block.
    let grid = Grid {
        rows: n * blocks,
        cols: h * w * width,
        block_rows: 1,
        block_cols: h * w * width,
        band: n * blocks,
    };
    par_rows(exec, dst, grid, &mut [], |at, mut out, _| {
        let (image, first) = (at.row / blocks, at.row % blocks * width);
        for (i, y) in out.row(0).iter_mut().enumerate() {
            let (pixel, channel) = (i / width, first + i % width);
            *y = if channel < channels {
                src[from.offset([image, channel, pixel / w, pixel % w])]
            } else {
                T::zeroed()
            };
        }
    });
}

/// Moves elements of 4 bytes by vectors.
fn move_words(
    isa: IsaToken,
    [from, to]: [TensorDesc; 2],
    src: &[f32],
    dst: &mut [f32],
    exec: &dyn Executor,
) {
    let [n, channels, h, w] = to.dims();
    let maps = MapDims {
        channels,
        pixels: h * w,
        from: block(from),
        to: block(to),
    };
    if maps.from == maps.to {
        let grid = Grid {
            rows: 1,
            cols: dst.len(),
            block_rows: 1,
            block_cols: dst.len().div_ceil(exec.width()).next_multiple_of(16),
            band: 1,
        };
        par_rows(exec, dst, grid, &mut [], |at, mut out, _| {
            let part = out.row(0);
            part.copy_from_slice(&src[at.col..at.col + part.len()]);
        });
        return;
    }
    let scattered = maps.from > 1 && maps.to > maps.from;
    let bytes = std::mem::size_of_val(src) + std::mem::size_of_val(dst);
    let stream = bytes > STREAM_FROM && !scattered;
    par_rows(
        exec,
        dst,
        maps.grid(n, exec.width()),
        &mut [],
        |at, out, _| {
            isa.dispatch(Part {
                maps,
                src,
                at,
                out,
                stream,
            });
        },
    );
}

/// Channels per block. Equal for two layouts that are identical in memory.
fn block(desc: TensorDesc) -> usize {
    let [_, c, h, w] = desc.dims();
    match desc.layout() {
        Layout::Nchw if h * w > 1 => 1,
        Layout::Nchw | Layout::Nhwc => c,
        Layout::NchwC(block) => usize::from(block),
    }
}

/// Dims of an image's maps, and the channels per block of both layouts.
#[derive(Clone, Copy, Debug)]
struct MapDims {
    channels: usize,
    pixels: usize,
    from: usize,
    to: usize,
}

impl MapDims {
    /// Division of the destination, whose rows are blocks of channels.
    fn grid(&self, n: usize, width: usize) -> Grid {
        let (blocks, wide) = (self.channels.div_ceil(self.to), self.from.max(self.to));
        let (rows, pixels) = if wide < self.channels {
            // Whole maps of some blocks. If there are few blocks, parts of maps, unless workers would then share cache
            // lines.
            let per_block = wide.div_ceil(self.to);
            let all = (TASK / 8 / self.pixels / wide).max(1);
            let share = blocks.div_ceil(2 * width * per_block);
            let rows = all.min(share) * per_block;
            let parts = match self.to {
                1 => 1,
                _ => (4 * width).div_ceil(n * blocks.div_ceil(rows)),
            };
            (
                rows,
                if parts == 1 {
                    self.pixels
                } else {
                    self.pixels.div_ceil(parts).max(256)
                },
            )
        } else if self.to == 1 {
            // In a division by pixels, workers write neighbouring lines of each map. In small maps such lines are
            // frequent, so they are divided by channels.
            if self.pixels < 1024 {
                let share = self.channels.div_ceil(if n < width { width } else { 1 });
                (share.next_multiple_of(LINE), self.pixels)
            } else {
                let parts = self.pixels.div_ceil(256 * width) * width;
                (blocks, self.pixels.div_ceil(parts))
            }
        } else {
            let task = if self.from == 1 { TASK / 4 } else { TASK };
            let chunk = (task / self.channels).clamp(64, self.pixels.max(64));
            let parts = self.pixels.div_ceil(chunk * width) * width;
            (blocks, self.pixels.div_ceil(parts))
        };
        let pixels = if pixels < 64 {
            pixels
        } else {
            pixels.next_multiple_of(16)
        };
        Grid {
            rows: n * blocks,
            cols: self.pixels * self.to,
            block_rows: rows.min(blocks),
            block_cols: pixels.min(self.pixels) * self.to,
            band: blocks,
        }
    }
}

/// A task: one block of the destination.
struct Part<'t> {
    maps: MapDims,
    src: &'t [f32],
    at: Block,
    out: RowsMut<'t, f32>,
    stream: bool,
}

impl SimdTask for Part<'_> {
    type Output = ();
    const TWINS: bool = false;
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let Part {
            maps,
            src,
            at,
            mut out,
            stream,
        } = self;
        let MapDims {
            channels,
            pixels: all,
            from,
            to,
        } = maps;
        let blocks = channels.div_ceil(to);
        let image = channels.div_ceil(from) * from * all;
        let src = &src[at.row / blocks * image..][..image];
        let (first, pixel, pixels) = (at.row % blocks * to, at.col / to, out.len() / to);
        // `n` channels from `c` on, all in one block of the source, for some pixels.
        let rows = |c: usize, n: usize, pixel: usize, pixels: usize| {
            let place = c / from * from * all + pixel * from + c % from;
            StridedRows::new(&src[place..], pixels, n, from)
        };
        if to == 1 {
            let mut row = 0;
            while row < out.rows() {
                let c = first + row;
                let n = (from - c % from).min(out.rows() - row);
                let part = out.part(row..row + n, 0..pixels);
                transpose(simd, rows(c, n, pixel, pixels), part, stream);
                row += n;
            }
            return;
        }
        if from == 1 {
            for row in 0..out.rows() {
                let c = first + row * to;
                let n = to.min(channels - c);
                let planes = StridedRows::new(&src[c * all + pixel..], n, pixels, all);
                transpose(simd, planes, RowsMut::new(out.row(row), to), stream);
            }
            return;
        }
        // Lines of the wider layout are a stride apart. At a stride of 2 KB they map to so few sets of L1 that eight
        // lines fit.
        let group = match from.max(to) {
            _ if stream => pixels,
            wide if wide.is_multiple_of(1024) && to > from => 4,
            wide if wide.is_multiple_of(512) => 8,
            _ => 16,
        };
        for start in (0..pixels).step_by(group) {
            let group = group.min(pixels - start);
            for row in 0..out.rows() {
                let c = first + row * to;
                let end = (c + to).min(channels);
                let mut out = RowsMut::new(&mut out.row(row)[start * to..][..group * to], to);
                let mut at = c;
                while at < end {
                    // End of the source's block, of the cache line, or of the channels.
                    let next = (at / from * from + from).min(at + LINE).min(end);
                    let to = if next == end { to } else { next - c };
                    let part = out.part(0..group, at - c..to);
                    copy(
                        simd,
                        rows(at, next - at, pixel + start, group),
                        part,
                        stream,
                    );
                    at = next;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::exec::{Serial, with_team};
    use crate::tensor::Tensor;

    const LAYOUTS: [Layout; 4] = [
        Layout::Nchw,
        Layout::Nhwc,
        Layout::NCHW16C,
        Layout::NchwC(8),
    ];

    fn tokens() -> impl Iterator<Item = IsaToken> {
        Isa::F32.into_iter().filter_map(Isa::detect)
    }

    /// Different bits in each element of 2 bytes or more. All f32s are NaNs, so any operation other than a move could
    /// change them.
    fn numbered(desc: TensorDesc) -> Tensor {
        let mut tensor = Tensor::zeros(desc).expect("memory");
        let size = desc.dtype().size();
        for (i, at) in positions(desc.dims()).enumerate() {
            let number = (0x7f80_0001 + i as u32).to_le_bytes();
            let place = desc.offset(at) * size;
            tensor.view_mut().bytes_mut()[place..][..size].copy_from_slice(&number[..size]);
        }
        tensor
    }

    fn positions([n, c, h, w]: [usize; 4]) -> impl Iterator<Item = [usize; 4]> {
        (0..n * c * h * w).map(move |i| [i / (c * h * w), i / (h * w) % c, i / w % h, i % w])
    }

    /// Reorders from each layout to each, over a poisoned destination.
    fn check_type(isa: IsaToken, dtype: DType, dims: [usize; 4], exec: &dyn Executor) {
        for from in LAYOUTS {
            let src = numbered(TensorDesc::new(dtype, from, dims));
            for to in LAYOUTS {
                let expected = numbered(TensorDesc::new(dtype, to, dims));
                let mut dst = Tensor::zeros(expected.desc()).expect("memory");
                dst.view_mut().bytes_mut().fill(0x7f);
                reorder_on(isa, src.view(), &mut dst.view_mut(), exec);
                assert!(
                    dst.view().bytes() == expected.view().bytes(),
                    "{}: {dtype} {dims:?} {from} -> {to}",
                    isa.isa()
                );
            }
        }
    }

    fn check(isa: IsaToken, dims: [usize; 4], exec: &dyn Executor) {
        check_type(isa, DType::F32, dims, exec);
    }

    #[test]
    fn elements_of_any_size_find_their_place() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        with_team(&pool.expect("a pool"), |team| {
            for dtype in DType::ALL {
                for dims in [[2, 17, 3, 2], [1, 3, 1, 1], [1, 16, 1, 5], [0, 5, 2, 2]] {
                    check_type(Isa::best(), dtype, dims, team);
                }
            }
        });
    }

    #[test]
    fn each_element_finds_its_place_bit_for_bit() {
        let (channels, maps): (&[usize], &[[usize; 2]]) = if cfg!(miri) {
            (&[3, 17], &[[1, 1], [5, 4]])
        } else {
            (
                &[1, 2, 3, 4, 7, 8, 15, 16, 17, 30, 32, 33, 100],
                &[
                    [1, 1],
                    [1, 2],
                    [1, 3],
                    [2, 2],
                    [5, 7],
                    [7, 7],
                    [4, 4],
                    [17, 3],
                    [13, 20],
                ],
            )
        };
        for isa in tokens() {
            for &c in channels {
                for &[h, w] in maps {
                    check(isa, [2, c, h, w], &Serial);
                }
            }
        }
    }

    #[test]
    fn any_number_of_workers() {
        for threads in [2, 3, 7] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("a pool");
            with_team(&pool, |team| {
                let dims: &[[usize; 4]] = if cfg!(miri) {
                    &[[1, 17, 3, 3]]
                } else {
                    &[
                        [1, 33, 7, 7],
                        [3, 16, 1, 5],
                        [1, 1, 1, 1],
                        [1, 300, 20, 13],
                        [0, 5, 2, 2],
                    ]
                };
                for &dims in dims {
                    check(Isa::best(), dims, team);
                }
            });
        }
    }
}
