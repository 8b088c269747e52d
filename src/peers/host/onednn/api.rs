//! The required part of oneDNN's C API, loaded at run time. Values of enums are those in the header of the version
//! that [`Api::load`] accepts.
#![allow(unsafe_code)]

use super::super::library::Refused;
use anyhow::{Context, Result, bail};
use bytemuck::Pod;
use convroof_kernels::dtype::{DType, Element};
use convroof_kernels::problem::Affine;
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::ptr::null_mut;

type Status = c_int;
type Handle = *mut c_void;
/// `dnnl_dims_t`.
type CDims = [i64; 12];

/// The version whose header these values are from. Other versions may number them differently.
const TESTED: (c_int, c_int) = (3, 2);

const CPU: c_int = 1;
const FORWARD_INFERENCE: c_int = 96;
const CONVOLUTION_DIRECT: c_int = 1;
const ELTWISE_RELU: c_int = 0x20;
const BINARY_ADD: c_int = 0x1fff0;
const STREAM_DEFAULT: c_uint = 1;
const QUERY_IMPL_INFO: c_int = 8;
const QUERY_EXEC_ARG: c_int = 255;

/// Algorithms of poolings.
pub(super) const POOLING_MAX: c_int = 0x1ff;
pub(super) const POOLING_AVG_INCLUDE: c_int = 0x2ff;
pub(super) const POOLING_AVG_EXCLUDE: c_int = 0x3ff;

/// `dnnl_format_tag_t`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(c_int);

impl Tag {
    pub(super) const ANY: Tag = Tag(1);
    /// One dimension.
    pub(super) const A: Tag = Tag(2);
    pub(super) const AB: Tag = Tag(3);
    pub(super) const NCHW: Tag = Tag(5);
    pub(super) const GOIHW: Tag = Tag(6);
    pub(super) const NHWC: Tag = Tag(22);
    pub(super) const NCHW16C: Tag = Tag(78);
    pub(super) const NCHW8C: Tag = Tag(102);
}

/// Argument of a primitive: `DNNL_ARG_...`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Arg(c_int);

impl Arg {
    pub(super) const SRC: Arg = Arg(1);
    pub(super) const DST: Arg = Arg(17);
    pub(super) const WEIGHTS: Arg = Arg(33);
    pub(super) const BIAS: Arg = Arg(41);
    /// Tensor that the first post-op adds: `DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1`.
    pub(super) const ADDED: Arg = Arg(32768 | 2);

    /// Scales of this argument: `DNNL_ARG_ATTR_SCALES | arg`.
    pub(super) const fn scales(self) -> Arg {
        Arg(4096 | self.0)
    }

    /// Zero point of this argument: `DNNL_ARG_ATTR_ZERO_POINTS | arg`.
    pub(super) const fn zero_point(self) -> Arg {
        Arg(8192 | self.0)
    }
}

/// `dnnl_data_type_t` of an element type.
fn data_type(dtype: DType) -> Result<c_int> {
    match dtype {
        DType::Bf16 => Ok(2),
        DType::F32 => Ok(3),
        DType::S32 => Ok(4),
        DType::S8 => Ok(5),
        DType::U8 => Ok(6),
        other => bail!(Refused(format!("not measured in {other}"))),
    }
}

#[repr(C)]
struct Version {
    major: c_int,
    minor: c_int,
    patch: c_int,
    hash: *const c_char,
    cpu_runtime: c_uint,
    gpu_runtime: c_uint,
}

#[repr(C)]
struct ExecArg {
    arg: c_int,
    memory: Handle,
}

macro_rules! functions {
    ($($name:ident: fn($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        /// The library and its functions, named as in its header without `dnnl_`.
        struct Functions {
            $($name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)*
            _library: Library,
        }

        impl Functions {
            /// # Safety
            /// The library's functions must have these signatures.
            unsafe fn load(library: Library) -> Result<Self> {
                $(
                    let symbol = concat!("dnnl_", stringify!($name));
                    // SAFETY: the caller's promise.
                    let $name = *unsafe { library.get(symbol.as_bytes()) }
                        .with_context(|| format!("it has no {symbol}"))?;
                )*
                Ok(Functions { $($name,)* _library: library })
            }
        }
    };
}

functions! {
    engine_create: fn(*mut Handle, c_int, usize) -> Status;
    stream_create: fn(*mut Handle, Handle, c_uint) -> Status;
    stream_wait: fn(Handle) -> Status;
    memory_desc_create_with_tag: fn(*mut Handle, c_int, *const i64, c_int, c_int) -> Status;
    memory_desc_clone: fn(*mut Handle, Handle) -> Status;
    memory_desc_destroy: fn(Handle) -> Status;
    memory_desc_get_size: fn(Handle) -> usize;
    memory_create: fn(*mut Handle, Handle, Handle, *mut c_void) -> Status;
    memory_destroy: fn(Handle) -> Status;
    memory_get_data_handle: fn(Handle, *mut *mut c_void) -> Status;
    primitive_create: fn(*mut Handle, Handle) -> Status;
    primitive_execute: fn(Handle, Handle, c_int, *const ExecArg) -> Status;
    primitive_destroy: fn(Handle) -> Status;
    primitive_desc_query: fn(Handle, c_int, c_int, *mut c_void) -> Status;
    primitive_desc_query_md: fn(Handle, c_int, c_int) -> Handle;
    primitive_desc_destroy: fn(Handle) -> Status;
    primitive_attr_create: fn(*mut Handle) -> Status;
    primitive_attr_set_post_ops: fn(Handle, Handle) -> Status;
    primitive_attr_set_scales_mask: fn(Handle, c_int, c_int) -> Status;
    primitive_attr_set_zero_points_mask: fn(Handle, c_int, c_int) -> Status;
    primitive_attr_destroy: fn(Handle) -> Status;
    post_ops_create: fn(*mut Handle) -> Status;
    post_ops_append_eltwise: fn(Handle, c_int, f32, f32) -> Status;
    post_ops_append_binary: fn(Handle, c_int, Handle) -> Status;
    post_ops_append_sum: fn(Handle, f32, i32, c_int) -> Status;
    post_ops_destroy: fn(Handle) -> Status;
    reorder_primitive_desc_create: fn(*mut Handle, Handle, Handle, Handle, Handle, Handle) -> Status;
    convolution_forward_primitive_desc_create: fn(*mut Handle, Handle, c_int, c_int, Handle, Handle,
        Handle, Handle, *const i64, *const i64, *const i64, *const i64, Handle) -> Status;
    inner_product_forward_primitive_desc_create: fn(*mut Handle, Handle, c_int, Handle, Handle,
        Handle, Handle, Handle) -> Status;
    pooling_forward_primitive_desc_create: fn(*mut Handle, Handle, c_int, c_int, Handle, Handle,
        *const i64, *const i64, *const i64, *const i64, *const i64, Handle) -> Status;
}

/// Checks a status. `unimplemented` becomes a refusal, any other failure an error.
fn check(status: Status, what: &str) -> Result<()> {
    match status {
        0 => Ok(()),
        3 => bail!(Refused(format!("oneDNN has no implementation ({what})"))),
        _ => bail!("oneDNN: {what} failed with status {status}"),
    }
}

fn dims(of: &[usize]) -> CDims {
    let mut dims = [0; 12];
    for (to, &from) in dims.iter_mut().zip(of) {
        *to = from as i64;
    }
    dims
}

/// A handle that is destroyed with this value.
struct Owned {
    handle: Handle,
    destroy: unsafe extern "C" fn(Handle) -> Status,
}

impl Owned {
    fn new(
        create: unsafe extern "C" fn(*mut Handle) -> Status,
        destroy: unsafe extern "C" fn(Handle) -> Status,
    ) -> Result<Owned> {
        let mut handle = null_mut();
        // SAFETY: the out pointer is valid.
        check(unsafe { create(&mut handle) }, "attributes")?;
        Ok(Owned { handle, destroy })
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: made here, destroyed once.
        unsafe { (self.destroy)(self.handle) };
    }
}

/// The library, an engine and a stream. It is never unloaded.
#[derive(Clone, Copy)]
pub(super) struct Api {
    f: &'static Functions,
    engine: Handle,
    stream: Handle,
}

/// A memory descriptor.
pub(super) struct Desc {
    api: Api,
    handle: Handle,
}

/// Memory that the library allocated.
pub(super) struct Memory {
    api: Api,
    handle: Handle,
    /// Null if there are no bytes.
    data: *mut c_void,
    bytes: usize,
}

/// A primitive and its descriptor.
pub(super) struct Primitive {
    api: Api,
    desc: Handle,
    handle: Handle,
}

/// Axes of a window: height, width.
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    /// Distance between taps; 1 is a dense kernel.
    pub(super) dilation: [usize; 2],
    /// Top, left.
    pub(super) before: [usize; 2],
    /// Bottom, right.
    pub(super) after: [usize; 2],
}

/// Arithmetic between a convolution's sums and its outputs.
pub(super) struct Attributes<'a> {
    /// Arguments with scales. The bits of the mask are the dims along which scales differ: 0 is one scale for all.
    pub(super) scales: Vec<(Arg, c_int)>,
    /// Arguments with a zero point.
    pub(super) zero_points: Vec<Arg>,
    pub(super) residual: Option<Residual<'a>>,
    pub(super) relu: bool,
}

/// Tensor that is added to a convolution's outputs.
pub(super) enum Residual<'a> {
    /// The argument [`Arg::ADDED`], with this descriptor.
    Argument(&'a Desc),
    /// The former content of the destination, as elements of this type.
    Destination(Affine, DType),
}

impl Api {
    /// Loads the library and refuses untested versions. Returns also its version and the number of its OpenMP
    /// threads.
    pub(super) fn load(path: &Path) -> Result<(Api, String, usize)> {
        // SAFETY: oneDNN's initialisers have no requirements. The user claims that the file is oneDNN, and the
        // version check below confirms it.
        let library = unsafe { Library::new(path) }
            .with_context(|| format!("{} can't be loaded", path.display()))?;
        // SAFETY: `const dnnl_version_t *dnnl_version(void)` in every version of oneDNN; the struct is
        // static and has not changed since 1.0.
        let version = unsafe {
            let get = library.get::<unsafe extern "C" fn() -> *const Version>(b"dnnl_version");
            &*get.with_context(|| format!("{} is not oneDNN", path.display()))?()
        };
        let text = format!("{}.{}.{}", version.major, version.minor, version.patch);
        if (version.major, version.minor) != TESTED {
            let (major, minor) = TESTED;
            bail!(
                "oneDNN {text} was not tested: use {major}.{minor}, which scripts/peers installs"
            );
        }
        // SAFETY: libgomp's `int omp_get_max_threads(void)`, where the library was built with OpenMP.
        let threads = unsafe {
            let get = library.get::<unsafe extern "C" fn() -> c_int>(b"omp_get_max_threads");
            get.map_or(1, |f| f() as usize)
        };
        // SAFETY: the signatures are those of this version's header.
        let f = Box::leak(Box::new(unsafe { Functions::load(library) }?));
        let (mut engine, mut stream) = (null_mut(), null_mut());
        // SAFETY: out pointers are valid; the engine outlives everything, like the library.
        unsafe {
            check((f.engine_create)(&mut engine, CPU, 0), "engine")?;
            check(
                (f.stream_create)(&mut stream, engine, STREAM_DEFAULT),
                "stream",
            )?;
        }
        Ok((Api { f, engine, stream }, text, threads))
    }

    /// A descriptor of a tensor.
    pub(super) fn desc(self, of: &[usize], dtype: DType, tag: Tag) -> Result<Desc> {
        let (dtype, mut handle) = (data_type(dtype)?, null_mut());
        // SAFETY: 12 dimensions are readable, of which the library reads `of.len()`.
        let status = unsafe {
            (self.f.memory_desc_create_with_tag)(
                &mut handle,
                of.len() as c_int,
                dims(of).as_ptr(),
                dtype,
                tag.0,
            )
        };
        check(status, "memory descriptor")?;
        Ok(Desc { api: self, handle })
    }

    /// Memory for a descriptor, filled with zeros.
    pub(super) fn memory(self, desc: &Desc) -> Result<Memory> {
        let mut memory = Memory {
            api: self,
            handle: null_mut(),
            bytes: 0,
            data: null_mut(),
        };
        // SAFETY: the descriptor is alive, -1 asks the library to allocate, and it allocates the size of the descriptor.
        unsafe {
            let allocate = usize::MAX as *mut c_void;
            let create = self.f.memory_create;
            let status = create(&mut memory.handle, desc.handle, self.engine, allocate);
            check(status, "memory")?;
            let status = (self.f.memory_get_data_handle)(memory.handle, &mut memory.data);
            check(status, "address of memory")?;
            if !memory.data.is_null() {
                memory.bytes = (self.f.memory_desc_get_size)(desc.handle);
                memory.data.write_bytes(0, memory.bytes);
            }
        }
        Ok(memory)
    }

    /// Memory with one dimension that holds these values, for scales and zero points.
    pub(super) fn values<T: Element>(self, values: &[T]) -> Result<Memory> {
        let mut memory = self.memory(&self.desc(&[values.len()], T::DTYPE, Tag::A)?)?;
        memory.elements().copy_from_slice(values);
        Ok(memory)
    }

    /// Copies a tensor from one layout to another.
    pub(super) fn reorder(
        self,
        (from, from_desc): (&Memory, &Desc),
        (to, to_desc): (&Memory, &Desc),
    ) -> Result<()> {
        let mut desc = null_mut();
        // SAFETY: all handles are alive.
        let status = unsafe {
            (self.f.reorder_primitive_desc_create)(
                &mut desc,
                from_desc.handle,
                self.engine,
                to_desc.handle,
                self.engine,
                null_mut(),
            )
        };
        check(status, "reorder")?;
        let reorder = self.primitive(desc)?;
        reorder.run(&[(Arg::SRC, from), (Arg::DST, to)])
    }

    /// Attributes. Post-ops are the addition of the residual, then the ReLU.
    fn attributes(self, of: &Attributes<'_>) -> Result<Owned> {
        let ops = Owned::new(self.f.post_ops_create, self.f.post_ops_destroy)?;
        let attr = Owned::new(self.f.primitive_attr_create, self.f.primitive_attr_destroy)?;
        // SAFETY: both handles are alive, and so is the descriptor. The attributes copy the post-ops, which copy it.
        unsafe {
            match &of.residual {
                Some(Residual::Argument(desc)) => {
                    let append = self.f.post_ops_append_binary;
                    check(
                        append(ops.handle, BINARY_ADD, desc.handle),
                        "binary post-op",
                    )?;
                }
                Some(Residual::Destination(Affine { scale, zero }, dtype)) => {
                    let (append, dtype) = (self.f.post_ops_append_sum, data_type(*dtype)?);
                    check(append(ops.handle, scale.get(), *zero, dtype), "sum post-op")?;
                }
                None => {}
            }
            if of.relu {
                let append = self.f.post_ops_append_eltwise;
                check(
                    append(ops.handle, ELTWISE_RELU, 0.0, 0.0),
                    "eltwise post-op",
                )?;
            }
            let set = self.f.primitive_attr_set_post_ops;
            check(set(attr.handle, ops.handle), "attributes")?;
            for &(arg, mask) in &of.scales {
                let set = self.f.primitive_attr_set_scales_mask;
                check(set(attr.handle, arg.0, mask), "scales")?;
            }
            for arg in &of.zero_points {
                let set = self.f.primitive_attr_set_zero_points_mask;
                check(set(attr.handle, arg.0, 0), "zero point")?;
            }
        }
        Ok(attr)
    }

    /// A direct convolution, or an inner product where `window` is none.
    pub(super) fn convolution(
        self,
        [src, weights, dst]: [&Desc; 3],
        bias: Option<&Desc>,
        window: Option<&Window>,
        attributes: &Attributes<'_>,
    ) -> Result<Primitive> {
        let attr = self.attributes(attributes)?;
        let bias = bias.map_or(null_mut(), |d| d.handle);
        let mut desc = null_mut();
        // SAFETY: all handles are alive, and the arrays have 12 elements.
        let status = unsafe {
            match window {
                Some(w) => (self.f.convolution_forward_primitive_desc_create)(
                    &mut desc,
                    self.engine,
                    FORWARD_INFERENCE,
                    CONVOLUTION_DIRECT,
                    src.handle,
                    weights.handle,
                    bias,
                    dst.handle,
                    dims(&w.stride).as_ptr(),
                    dims(&w.dilation.map(|d| d - 1)).as_ptr(),
                    dims(&w.before).as_ptr(),
                    dims(&w.after).as_ptr(),
                    attr.handle,
                ),
                None => (self.f.inner_product_forward_primitive_desc_create)(
                    &mut desc,
                    self.engine,
                    FORWARD_INFERENCE,
                    src.handle,
                    weights.handle,
                    bias,
                    dst.handle,
                    attr.handle,
                ),
            }
        };
        check(status, "convolution")?;
        self.primitive(desc)
    }

    /// A pooling.
    pub(super) fn pooling(
        self,
        algorithm: c_int,
        [src, dst]: [&Desc; 2],
        w: &Window,
    ) -> Result<Primitive> {
        let mut desc = null_mut();
        // SAFETY: all handles are alive, and the arrays have 12 elements.
        let status = unsafe {
            (self.f.pooling_forward_primitive_desc_create)(
                &mut desc,
                self.engine,
                FORWARD_INFERENCE,
                algorithm,
                src.handle,
                dst.handle,
                dims(&w.stride).as_ptr(),
                dims(&w.kernel).as_ptr(),
                dims(&w.dilation.map(|d| d - 1)).as_ptr(),
                dims(&w.before).as_ptr(),
                dims(&w.after).as_ptr(),
                null_mut(),
            )
        };
        check(status, "pooling")?;
        self.primitive(desc)
    }

    fn primitive(self, desc: Handle) -> Result<Primitive> {
        let mut handle = null_mut();
        // SAFETY: the descriptor was just made.
        let status = unsafe { (self.f.primitive_create)(&mut handle, desc) };
        let primitive = Primitive {
            api: self,
            desc,
            handle,
        };
        check(status, "primitive")?;
        Ok(primitive)
    }
}

impl Primitive {
    /// The library's name for the implementation.
    pub(super) fn implementation(&self) -> String {
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: this query writes a pointer to a string that lives as long as the descriptor.
        unsafe {
            let to = (&raw mut text).cast();
            let status = (self.api.f.primitive_desc_query)(self.desc, QUERY_IMPL_INFO, 0, to);
            if status != 0 || text.is_null() {
                return "unnamed".into();
            }
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }

    /// The descriptor of an argument, with the layout that the library chose.
    pub(super) fn argument(&self, arg: Arg) -> Result<Desc> {
        let mut handle = null_mut();
        // SAFETY: the query lends a descriptor, which is cloned.
        let status = unsafe {
            let lent = (self.api.f.primitive_desc_query_md)(self.desc, QUERY_EXEC_ARG, arg.0);
            (self.api.f.memory_desc_clone)(&mut handle, lent)
        };
        check(status, "descriptor of an argument")?;
        Ok(Desc {
            api: self.api,
            handle,
        })
    }

    /// Runs the primitive once.
    pub(super) fn run(&self, args: &[(Arg, &Memory)]) -> Result<()> {
        let args: Vec<ExecArg> = args
            .iter()
            .map(|&(arg, memory)| ExecArg {
                arg: arg.0,
                memory: memory.handle,
            })
            .collect();
        // SAFETY: the memories are alive and have the layouts that the primitive was made for: the
        // library checks that each argument is there.
        unsafe {
            let status = (self.api.f.primitive_execute)(
                self.handle,
                self.api.stream,
                args.len() as c_int,
                args.as_ptr(),
            );
            check(status, "execution")?;
            check((self.api.f.stream_wait)(self.api.stream), "waiting")
        }
    }
}

impl Memory {
    /// Size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The elements, of a type of at most 4 bytes. Mutable, because the library's primitives write through the handle.
    pub(super) fn elements<T: Pod>(&mut self) -> &mut [T] {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 4) };
        if self.bytes == 0 {
            return &mut [];
        }
        // SAFETY: the library allocated these bytes, aligned to more than 4, and computes only inside `run`, which waits.
        // They were filled with zeros, and any bits are elements of a plain type.
        unsafe { std::slice::from_raw_parts_mut(self.data.cast(), self.bytes / size_of::<T>()) }
    }
}

impl Drop for Desc {
    fn drop(&mut self) {
        // SAFETY: made here, destroyed once.
        unsafe { (self.api.f.memory_desc_destroy)(self.handle) };
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: made here, destroyed once; null where creation failed, which the library ignores.
        unsafe { (self.api.f.memory_destroy)(self.handle) };
    }
}

impl Drop for Primitive {
    fn drop(&mut self) {
        // SAFETY: made here, destroyed once; null where creation failed, which the library ignores.
        unsafe {
            (self.api.f.primitive_destroy)(self.handle);
            (self.api.f.primitive_desc_destroy)(self.desc);
        }
    }
}
