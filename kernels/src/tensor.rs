//! Tensors: aligned memory, and the position of a 4-d tensor's elements in it.
#![allow(unsafe_code)]

use crate::dtype::{DType, Element};
pub use crate::layout::Layout;
use std::alloc;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Unit of all buffers: 64 bytes on a 64-byte boundary, so that alignment is part of the type.
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

    /// A line of equal bytes.
    pub const fn filled(byte: u8) -> Self {
        CacheLine([byte; Self::BYTES])
    }

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

/// The lines as mutable f32 elements.
#[inline(always)]
pub fn as_f32s_mut(lines: &mut [CacheLine]) -> &mut [f32] {
    bytemuck::must_cast_slice_mut(lines)
}

/// The lines as elements of any type.
pub fn as_elements<T: Element>(lines: &[CacheLine]) -> &[T] {
    bytemuck::must_cast_slice(lines)
}

/// The lines as mutable elements of any type.
pub fn as_elements_mut<T: Element>(lines: &mut [CacheLine]) -> &mut [T] {
    bytemuck::must_cast_slice_mut(lines)
}

/// Error: no memory for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a buffer of {bytes} bytes: choose a smaller problem or batch")]
pub struct OutOfMemory {
    /// Requested bytes.
    pub bytes: usize,
}

/// Zeroed memory in cache lines. Buffers of 64 KB and more consist of whole huge pages of 2 MB, which are requested
/// from Linux. Smaller pages cost TLB misses, and can lie anywhere in the sets of L2. (Measured: docs/measurements.md,
/// 'huge pages'.)
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

    /// Minimum bytes of a buffer in huge pages. The unused rest of the last page is worth it.
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
        // SAFETY: freshly allocated for `lines` lines. All-zero bytes are valid lines.
        unsafe { ptr.as_ptr().write_bytes(0, lines) };
        Ok(AlignedBuf { ptr, lines })
    }
}

/// Requests huge pages. Called before the first touch, so that the first page faults already map them.
fn advise_huge_pages(ptr: *mut u8, bytes: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    // SAFETY: advice on memory that we own. A refusal (no huge pages) is harmless.
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

/// Description of a tensor: element type, layout, and dims (n, c, h, w). Construction checks that it has at most
/// [`TensorDesc::MOST_BYTES`], so no size or offset computed from it wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorDesc {
    dtype: DType,
    layout: Layout,
    dims: [usize; 4],
}

/// Error: a tensor is larger than any memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tensor of {n}x{c}x{h}x{w} is too large: at most {most} bytes can be addressed", most = TensorDesc::MOST_BYTES)]
pub struct TooLarge {
    n: usize,
    c: usize,
    h: usize,
    w: usize,
}

impl TensorDesc {
    /// Maximum bytes of a tensor: those of one allocation.
    pub const MOST_BYTES: usize = isize::MAX as usize;

    /// Description of a tensor of dims (n, c, h, w).
    ///
    /// # Errors
    /// When it would take more than [`TensorDesc::MOST_BYTES`], channels padded to whole blocks.
    pub fn try_new(dtype: DType, layout: Layout, dims: [usize; 4]) -> Result<Self, TooLarge> {
        let [n, c, h, w] = dims;
        let desc = TensorDesc {
            dtype,
            layout,
            dims,
        };
        // A dimension of 0 counts as 1, or it would hide that a product of the others wraps.
        let stored = layout.stored_channels(c).unwrap_or(usize::MAX);
        let bytes = [n, stored, h, w]
            .into_iter()
            .try_fold(dtype.size(), |bytes, dim| bytes.checked_mul(dim.max(1)));
        match bytes {
            Some(bytes) if bytes <= Self::MOST_BYTES => Ok(desc),
            _ => Err(TooLarge { n, c, h, w }),
        }
    }

    /// [`TensorDesc::try_new`] for dims that are known to fit, such as those of a problem.
    ///
    /// # Panics
    /// If the tensor is too large.
    pub fn new(dtype: DType, layout: Layout, dims: [usize; 4]) -> Self {
        TensorDesc::try_new(dtype, layout, dims).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Description of an f32 tensor.
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

    /// Order of elements in memory.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Dims n, c, h, w; for weights c_out, c_in / groups, kh, kw.
    pub fn dims(&self) -> [usize; 4] {
        self.dims
    }

    /// Elements stored, including those that pad the last channel block.
    pub fn elements(&self) -> usize {
        let [n, c, h, w] = self.dims;
        n * self.layout.stored_channels(c).unwrap_or(0) * h * w
    }

    /// Bytes stored.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }

    /// Cache lines that the tensor occupies.
    pub fn lines(&self) -> usize {
        self.bytes().div_ceil(CacheLine::BYTES)
    }

    /// Copy of the description with another layout.
    ///
    /// # Panics
    /// If it is too large with that layout, which may pad channels to whole blocks.
    pub fn with_layout(self, layout: Layout) -> Self {
        TensorDesc::new(self.dtype, layout, self.dims)
    }

    /// Position of element (n, c, h, w), in elements.
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

/// A tensor in borrowed memory.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    desc: TensorDesc,
    bytes: &'a [u8],
}

/// A tensor in mutably borrowed memory.
#[derive(Debug)]
pub struct TensorMut<'a> {
    desc: TensorDesc,
    bytes: &'a mut [u8],
}

/// Checks that `len` elements of type `T` hold the tensor `desc`.
fn check_elements<T: Element>(desc: TensorDesc, len: usize) {
    assert_eq!(desc.dtype, T::DTYPE, "element type of {desc}");
    assert!(len >= desc.elements(), "{desc} in {len} elements");
}

/// Checks that `len` cache lines hold the tensor `desc`.
fn check_lines(desc: TensorDesc, len: usize) {
    assert!(len >= desc.lines(), "{desc} in {len} cache lines");
}

impl<'a> TensorRef<'a> {
    /// Interprets `data` as the tensor `desc`.
    ///
    /// # Panics
    /// If `data` is shorter than the tensor, or its elements have another type.
    pub fn from_elements<T: Element>(desc: TensorDesc, data: &'a [T]) -> Self {
        check_elements::<T>(desc, data.len());
        TensorRef {
            desc,
            bytes: bytemuck::cast_slice(&data[..desc.elements()]),
        }
    }

    /// Interprets `data` as the tensor `desc`.
    ///
    /// # Panics
    /// If `data` is shorter than the tensor, or its elements are not f32.
    pub fn from_f32s(desc: TensorDesc, data: &'a [f32]) -> Self {
        TensorRef::from_elements(desc, data)
    }

    /// The tensor `desc` at the start of `lines`.
    ///
    /// # Panics
    /// If they are fewer than [`TensorDesc::lines`].
    pub fn in_lines(desc: TensorDesc, lines: &'a [CacheLine]) -> Self {
        check_lines(desc, lines.len());
        TensorRef {
            desc,
            bytes: &bytemuck::must_cast_slice(lines)[..desc.bytes()],
        }
    }

    /// Description of the tensor.
    pub fn desc(&self) -> TensorDesc {
        self.desc
    }

    /// The elements, in memory order.
    ///
    /// # Panics
    /// If they have another type.
    pub fn elements<T: Element>(&self) -> &'a [T] {
        check_elements::<T>(self.desc, self.desc.elements());
        bytemuck::cast_slice(self.bytes)
    }

    /// The elements of an f32 tensor, in memory order.
    ///
    /// # Panics
    /// If they are not f32.
    pub fn f32s(&self) -> &'a [f32] {
        self.elements()
    }

    /// Bytes of the elements, in memory order.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> TensorMut<'a> {
    /// Interprets `data` as the tensor `desc`.
    ///
    /// # Panics
    /// If `data` is shorter than the tensor, or its elements have another type.
    pub fn from_elements<T: Element>(desc: TensorDesc, data: &'a mut [T]) -> Self {
        check_elements::<T>(desc, data.len());
        TensorMut {
            desc,
            bytes: bytemuck::cast_slice_mut(&mut data[..desc.elements()]),
        }
    }

    /// Interprets `data` as the tensor `desc`.
    ///
    /// # Panics
    /// If `data` is shorter than the tensor, or its elements are not f32.
    pub fn from_f32s(desc: TensorDesc, data: &'a mut [f32]) -> Self {
        TensorMut::from_elements(desc, data)
    }

    /// The tensor `desc` at the start of `lines`.
    ///
    /// # Panics
    /// If they are fewer than [`TensorDesc::lines`].
    pub fn in_lines(desc: TensorDesc, lines: &'a mut [CacheLine]) -> Self {
        check_lines(desc, lines.len());
        TensorMut {
            desc,
            bytes: &mut bytemuck::must_cast_slice_mut(lines)[..desc.bytes()],
        }
    }

    /// Description of the tensor.
    pub fn desc(&self) -> TensorDesc {
        self.desc
    }

    /// The elements, mutable, in memory order.
    ///
    /// # Panics
    /// If they have another type.
    pub fn elements_mut<T: Element>(&mut self) -> &mut [T] {
        check_elements::<T>(self.desc, self.desc.elements());
        bytemuck::cast_slice_mut(self.bytes)
    }

    /// The elements of an f32 tensor, mutable, in memory order.
    ///
    /// # Panics
    /// If they are not f32.
    pub fn f32s_mut(&mut self) -> &mut [f32] {
        self.elements_mut()
    }

    /// Bytes of the elements, mutable, in memory order.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }
}

/// A tensor with its memory: cache lines of its own, or any other buffer `B` of lines.
#[derive(Debug)]
pub struct Tensor<B = AlignedBuf> {
    desc: TensorDesc,
    lines: B,
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn zeros(desc: TensorDesc) -> Result<Self, OutOfMemory> {
        Ok(Tensor::new(desc, AlignedBuf::zeroed(desc.lines())?))
    }
}

impl<B: Deref<Target = [CacheLine]>> Tensor<B> {
    /// The tensor `desc` in `lines`. A view of it panics if they are fewer than [`TensorDesc::lines`].
    pub fn new(desc: TensorDesc, lines: B) -> Self {
        Tensor { desc, lines }
    }

    /// Description of the tensor.
    pub fn desc(&self) -> TensorDesc {
        self.desc
    }

    /// Its memory.
    pub fn lines(&self) -> &B {
        &self.lines
    }

    /// The elements of an f32 tensor, in memory order.
    ///
    /// # Panics
    /// If they are not f32.
    pub fn f32s(&self) -> &[f32] {
        self.view().f32s()
    }

    /// Borrows the tensor for reading.
    pub fn view(&self) -> TensorRef<'_> {
        TensorRef::in_lines(self.desc, &self.lines)
    }
}

impl<B: DerefMut<Target = [CacheLine]>> Tensor<B> {
    /// Its memory, mutable.
    pub fn lines_mut(&mut self) -> &mut B {
        &mut self.lines
    }

    /// The elements of an f32 tensor, mutable, in memory order.
    ///
    /// # Panics
    /// If they are not f32.
    pub fn f32s_mut(&mut self) -> &mut [f32] {
        let elements = self.desc.elements();
        check_elements::<f32>(self.desc, elements);
        &mut as_f32s_mut(&mut self.lines)[..elements]
    }

    /// Borrows the tensor for writing.
    pub fn view_mut(&mut self) -> TensorMut<'_> {
        TensorMut::in_lines(self.desc, &mut self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::with_element;
    use std::panic::{AssertUnwindSafe, catch_unwind};

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
        // A block's padding counts, and a block size of 0 is an error.
        assert!(TensorDesc::try_new(DType::F32, Layout::Nchw, [1, most, 1, 1]).is_ok());
        assert!(TensorDesc::try_new(DType::F32, Layout::NCHW16C, [1, most, 1, 1]).is_err());
        assert!(TensorDesc::try_new(DType::F32, Layout::NchwC(0), [1, 1, 1, 1]).is_err());
        assert_eq!(
            TensorDesc::f32(Layout::NCHW16C, [2, 17, 3, 0]).elements(),
            0
        );
    }

    #[test]
    fn elements_have_the_type_of_their_tensor() {
        let desc = |dtype| TensorDesc::new(dtype, Layout::NCHW16C, [1, 17, 1, 3]);
        for dtype in DType::ALL {
            let mut tensor = Tensor::zeros(desc(dtype)).expect("memory");
            assert_eq!(tensor.desc().bytes(), 96 * dtype.size());
            assert_eq!(tensor.desc().lines(), (96 * dtype.size()).div_ceil(64));
            assert_eq!(tensor.view().bytes().len(), 96 * dtype.size());
            with_element!(dtype, T => {
                tensor.view_mut().elements_mut::<T>()[95] = T::from_f32(7.0);
                assert_eq!(tensor.view().elements::<T>()[95].to_f64(), 7.0);
            });
            for other in DType::ALL.into_iter().filter(|&other| other != dtype) {
                let read = || with_element!(other, T => tensor.view().elements::<T>().len());
                assert!(
                    catch_unwind(AssertUnwindSafe(read)).is_err(),
                    "{dtype} as {other}"
                );
            }
        }
        let short = [0u8; 95];
        let from = || TensorRef::from_elements(desc(DType::U8), &short).desc();
        assert!(catch_unwind(from).is_err());
        let line = [CacheLine::ZERO];
        assert!(catch_unwind(|| TensorRef::in_lines(desc(DType::U8), &line).desc()).is_err());
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
