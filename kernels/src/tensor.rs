//! Tensors: aligned memory and how a 4-d tensor lies in it.
#![allow(unsafe_code)]

pub use crate::layout::Layout;
use crate::problem::DType;
use std::alloc;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The unit of all buffers: 64 bytes on a 64-byte boundary, so that alignment is part of the type.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub struct CacheLine([u8; CacheLine::BYTES]);

impl CacheLine {
    /// A line of zeros.
    pub const ZERO: CacheLine = CacheLine([0; Self::BYTES]);
    /// Bytes in a line.
    pub const BYTES: usize = 64;
    /// f32 elements in a line.
    pub const F32S: usize = 16;

    /// Lines that hold `elements` f32s.
    pub const fn for_f32s(elements: usize) -> usize {
        elements.div_ceil(Self::F32S)
    }
}

impl Default for CacheLine {
    fn default() -> Self {
        Self::ZERO
    }
}

/// The lines as f32 elements.
#[inline(always)]
pub fn as_f32s(lines: &[CacheLine]) -> &[f32] {
    bytemuck::must_cast_slice(lines)
}

/// The lines as f32 elements.
#[inline(always)]
pub fn as_f32s_mut(lines: &mut [CacheLine]) -> &mut [f32] {
    bytemuck::must_cast_slice_mut(lines)
}

/// There was no memory for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a buffer of {bytes} bytes: choose a smaller problem or batch")]
pub struct OutOfMemory {
    /// The size asked for.
    pub bytes: usize,
}

/// Zeroed memory in cache lines. Buffers of 64 KB and more are made of whole huge pages of 2 MB, for which Linux is asked:
/// streams of weights otherwise spend a tenth of their time on TLB misses, and smaller buffers up to 2 % where others
/// are used between two runs (Zen 3). Smaller pages also lie anywhere in the sets of L2.
pub struct AlignedBuf {
    ptr: NonNull<CacheLine>,
    lines: usize,
}

// SAFETY: the buffer owns its memory, which is plain data.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared access is only through `&[CacheLine]`.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    const HUGE_PAGE: usize = 2 << 20;

    /// From how many bytes on a buffer is worth the rest of a huge page.
    const LARGE: usize = 64 << 10;

    fn layout(lines: usize) -> Option<alloc::Layout> {
        let bytes = lines.checked_mul(CacheLine::BYTES)?;
        let (bytes, align) = if bytes >= Self::LARGE {
            let whole = bytes.checked_next_multiple_of(Self::HUGE_PAGE)?;
            (whole, Self::HUGE_PAGE)
        } else {
            (bytes, CacheLine::BYTES)
        };
        alloc::Layout::from_size_align(bytes, align).ok()
    }

    /// Zeroed memory of `lines` cache lines.
    ///
    /// # Errors
    /// When the system refuses the memory.
    pub fn zeroed(lines: usize) -> Result<Self, OutOfMemory> {
        if lines == 0 {
            return Ok(AlignedBuf {
                ptr: NonNull::dangling(),
                lines,
            });
        }
        let refused = OutOfMemory {
            bytes: lines.saturating_mul(CacheLine::BYTES),
        };
        let layout = Self::layout(lines).ok_or(refused)?;
        // SAFETY: the layout is not empty.
        let ptr = unsafe { alloc::alloc(layout) };
        let ptr = NonNull::new(ptr.cast::<CacheLine>()).ok_or(refused)?;
        if layout.align() == Self::HUGE_PAGE {
            advise_huge_pages(ptr.as_ptr().cast(), layout.size());
        }
        // SAFETY: freshly allocated for `lines` lines; all-zero bytes are valid lines.
        unsafe { ptr.as_ptr().write_bytes(0, lines) };
        Ok(AlignedBuf { ptr, lines })
    }
}

/// Before the first touch, so that the kernel hands out huge pages at once.
fn advise_huge_pages(ptr: *mut u8, bytes: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    // SAFETY: advice on memory we own; a refusal (no huge pages) is harmless.
    unsafe {
        libc::madvise(ptr.cast(), bytes, libc::MADV_HUGEPAGE);
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = (ptr, bytes);
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if self.lines > 0 {
            let layout = Self::layout(self.lines).expect("it was allocated with this layout");
            // SAFETY: allocated in `zeroed` with this layout.
            unsafe { alloc::dealloc(self.ptr.as_ptr().cast(), layout) };
        }
    }
}

impl Deref for AlignedBuf {
    type Target = [CacheLine];
    fn deref(&self) -> &[CacheLine] {
        // SAFETY: `lines` initialised lines that we own (none, for the dangling pointer).
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.lines) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [CacheLine] {
        // SAFETY: as in `deref`, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.lines) }
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.lines * CacheLine::BYTES)
    }
}

/// Description of a tensor: element type, layout, and dims (n, c, h, w). Its size is checked when it is made: at most
/// [`TensorDesc::MOST_BYTES`], so that no size or offset computed from it wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorDesc {
    dtype: DType,
    layout: Layout,
    dims: [usize; 4],
}

/// A tensor larger than any memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tensor of {n}x{c}x{h}x{w} is too large: at most {most} bytes can be addressed", most = TensorDesc::MOST_BYTES)]
pub struct TooLarge {
    n: usize,
    c: usize,
    h: usize,
    w: usize,
}

impl TensorDesc {
    /// The most bytes of a tensor: what one allocation may have.
    pub const MOST_BYTES: usize = isize::MAX as usize;

    /// A tensor of dims (n, c, h, w).
    ///
    /// # Errors
    /// When it would take more than [`TensorDesc::MOST_BYTES`], also where channels are padded to whole blocks.
    pub fn try_new(dtype: DType, layout: Layout, dims: [usize; 4]) -> Result<Self, TooLarge> {
        let [n, c, h, w] = dims;
        let desc = TensorDesc {
            dtype,
            layout,
            dims,
        };
        // Each dimension counts as 1 at least: that some other is 0 must not hide a product that wraps.
        let stored = layout.stored_channels(c).unwrap_or(usize::MAX);
        let bytes = [n, stored, h, w]
            .into_iter()
            .try_fold(dtype.size(), |bytes, dim| bytes.checked_mul(dim.max(1)));
        match bytes {
            Some(bytes) if bytes <= Self::MOST_BYTES => Ok(desc),
            _ => Err(TooLarge { n, c, h, w }),
        }
    }

    /// [`TensorDesc::try_new`] for dims that are known to fit, such as a problem's.
    ///
    /// # Panics
    /// If the tensor is too large.
    pub fn new(dtype: DType, layout: Layout, dims: [usize; 4]) -> Self {
        TensorDesc::try_new(dtype, layout, dims).unwrap_or_else(|e| panic!("{e}"))
    }

    /// An f32 tensor.
    ///
    /// # Panics
    /// If it is too large ([`TensorDesc::try_new`]).
    pub fn f32(layout: Layout, dims: [usize; 4]) -> Self {
        TensorDesc::new(DType::F32, layout, dims)
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Order in memory.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// n, c, h, w; for weights c_out, c_in / groups, kh, kw.
    pub fn dims(&self) -> [usize; 4] {
        self.dims
    }

    /// Elements stored, those that pad the last channel block included.
    pub fn elements(&self) -> usize {
        let [n, c, h, w] = self.dims;
        n * self.layout.stored_channels(c).unwrap_or(0) * h * w
    }

    /// Bytes stored.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }

    /// Cache lines that hold the tensor.
    pub fn lines(&self) -> usize {
        self.bytes().div_ceil(CacheLine::BYTES)
    }

    /// The same tensor in another layout.
    ///
    /// # Panics
    /// If it is too large there, where channels are padded to whole blocks.
    pub fn with_layout(self, layout: Layout) -> Self {
        TensorDesc::new(self.dtype, layout, self.dims)
    }

    /// The position of element (n, c, h, w), in elements.
    #[inline(always)]
    pub fn offset(&self, [n, c, h, w]: [usize; 4]) -> usize {
        let [_, dc, dh, dw] = self.dims;
        match self.layout {
            Layout::Nchw => ((n * dc + c) * dh + h) * dw + w,
            Layout::Nhwc => ((n * dh + h) * dw + w) * dc + c,
            Layout::NchwC(block) => {
                let block = usize::from(block);
                (((n * dc.div_ceil(block) + c / block) * dh + h) * dw + w) * block + c % block
            }
        }
    }
}

impl fmt::Display for TensorDesc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [n, c, h, w] = self.dims;
        write!(f, "{} {n}x{c}x{h}x{w} {}", self.dtype, self.layout)
    }
}

/// A tensor in someone's memory.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    desc: TensorDesc,
    bytes: &'a [u8],
}

/// A tensor in someone's memory, to be written.
#[derive(Debug)]
pub struct TensorMut<'a> {
    desc: TensorDesc,
    bytes: &'a mut [u8],
}

impl<'a> TensorRef<'a> {
    /// Sees `data` as the tensor `desc`.
    ///
    /// # Panics
    /// If `data` is shorter than the tensor, or its elements are not f32.
    pub fn from_f32s(desc: TensorDesc, data: &'a [f32]) -> Self {
        assert_eq!(desc.dtype, DType::F32);
        assert!(
            data.len() >= desc.elements(),
            "{desc} in {} elements",
            data.len()
        );
        TensorRef {
            desc,
            bytes: bytemuck::cast_slice(&data[..desc.elements()]),
        }
    }

    /// What the tensor is.
    pub fn desc(&self) -> TensorDesc {
        self.desc
    }

    /// The elements, in memory order.
    pub fn f32s(&self) -> &'a [f32] {
        bytemuck::cast_slice(self.bytes)
    }
}

impl<'a> TensorMut<'a> {
    /// Sees `data` as the tensor `desc`.
    ///
    /// # Panics
    /// If `data` is shorter than the tensor, or its elements are not f32.
    pub fn from_f32s(desc: TensorDesc, data: &'a mut [f32]) -> Self {
        assert_eq!(desc.dtype, DType::F32);
        assert!(
            data.len() >= desc.elements(),
            "{desc} in {} elements",
            data.len()
        );
        TensorMut {
            desc,
            bytes: bytemuck::cast_slice_mut(&mut data[..desc.elements()]),
        }
    }

    /// What the tensor is.
    pub fn desc(&self) -> TensorDesc {
        self.desc
    }

    /// The elements, in memory order.
    pub fn f32s_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.bytes)
    }
}

/// A tensor that owns its memory.
#[derive(Debug)]
pub struct Tensor {
    desc: TensorDesc,
    lines: AlignedBuf,
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn zeros(desc: TensorDesc) -> Result<Self, OutOfMemory> {
        Ok(Tensor {
            desc,
            lines: AlignedBuf::zeroed(desc.lines())?,
        })
    }

    /// What the tensor is.
    pub fn desc(&self) -> TensorDesc {
        self.desc
    }

    /// The elements, in memory order.
    pub fn f32s(&self) -> &[f32] {
        &as_f32s(&self.lines)[..self.desc.elements()]
    }

    /// The elements, in memory order.
    pub fn f32s_mut(&mut self) -> &mut [f32] {
        let elements = self.desc.elements();
        &mut as_f32s_mut(&mut self.lines)[..elements]
    }

    /// A view to read.
    pub fn view(&self) -> TensorRef<'_> {
        TensorRef::from_f32s(self.desc, self.f32s())
    }

    /// A view to write.
    pub fn view_mut(&mut self) -> TensorMut<'_> {
        TensorMut::from_f32s(self.desc, self.f32s_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_sizes_are_refused() {
        assert!(AlignedBuf::zeroed(usize::MAX / 8).is_err());
        assert!(AlignedBuf::zeroed(1 << 50).is_err());
        assert_eq!(AlignedBuf::zeroed(0).expect("nothing").len(), 0);
    }

    #[test]
    fn sizes_that_wrap_are_refused_where_a_descriptor_is_made() {
        let most = TensorDesc::MOST_BYTES / 4;
        for dims in [
            [1, (1 << 60) + 1, 4, 4],
            [1 << 32, 1, 1 << 32, 1],
            [0, usize::MAX, usize::MAX, 2],
            [usize::MAX, 1, 1, 1],
            [1, most + 1, 1, 1],
        ] {
            for layout in [Layout::Nchw, Layout::Nhwc, Layout::NCHW16C] {
                let refused = TensorDesc::try_new(DType::F32, layout, dims).expect_err("too large");
                assert!(refused.to_string().contains("too large"), "{refused}");
            }
        }
        // The padding of a block counts, and there are no blocks of nothing.
        assert!(TensorDesc::try_new(DType::F32, Layout::Nchw, [1, most, 1, 1]).is_ok());
        assert!(TensorDesc::try_new(DType::F32, Layout::NCHW16C, [1, most, 1, 1]).is_err());
        assert!(TensorDesc::try_new(DType::F32, Layout::NchwC(0), [1, 1, 1, 1]).is_err());
        assert_eq!(
            TensorDesc::f32(Layout::NCHW16C, [2, 17, 3, 0]).elements(),
            0
        );
    }

    #[test]
    fn large_buffers_are_aligned_to_huge_pages() {
        for bytes in [64 << 10, (4 << 20) + CacheLine::BYTES] {
            let large = AlignedBuf::zeroed(bytes / CacheLine::BYTES).expect("some MB");
            assert!(large.as_ptr().addr().is_multiple_of(2 << 20));
            assert_eq!(large.len(), bytes / CacheLine::BYTES);
        }
    }
}
