//! The required part of oneDNN's C API, loaded at run time. Values of enums are those in the header of the version
//! that [`Api::load`] accepts.
#![allow(unsafe_code)]

use anyhow::{Context, Result, bail};
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
const F32: c_int = 3;
const FORWARD_INFERENCE: c_int = 96;
const CONVOLUTION_DIRECT: c_int = 1;
const ELTWISE_RELU: c_int = 0x20;
const BINARY_ADD: c_int = 0x1fff0;
const STREAM_DEFAULT: c_uint = 1;
const QUERY_IMPL_INFO: c_int = 8;
const QUERY_SRC: c_int = 129;
const QUERY_WEIGHTS: c_int = 131;
const QUERY_DST: c_int = 133;
const ARG_SRC: c_int = 1;
const ARG_DST: c_int = 17;
const ARG_WEIGHTS: c_int = 33;
const ARG_BIAS: c_int = 41;
/// `DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1`.
const ARG_POST_OP_0: c_int = 32768 | 2;

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
    primitive_attr_destroy: fn(Handle) -> Status;
    post_ops_create: fn(*mut Handle) -> Status;
    post_ops_append_eltwise: fn(Handle, c_int, f32, f32) -> Status;
    post_ops_append_binary: fn(Handle, c_int, Handle) -> Status;
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
        3 => bail!(super::Refused(format!(
            "oneDNN has no implementation ({what})"
        ))),
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

/// Memory that a primitive reads and writes.
pub(super) struct Io<'a> {
    pub(super) src: &'a Memory,
    pub(super) weights: Option<&'a Memory>,
    pub(super) bias: Option<&'a Memory>,
    pub(super) residual: Option<&'a Memory>,
    pub(super) dst: &'a Memory,
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

    /// A descriptor of an f32 tensor.
    pub(super) fn desc(self, of: &[usize], tag: Tag) -> Result<Desc> {
        let mut handle = null_mut();
        // SAFETY: 12 dimensions are readable, of which the library reads `of.len()`.
        let status = unsafe {
            (self.f.memory_desc_create_with_tag)(
                &mut handle,
                of.len() as c_int,
                dims(of).as_ptr(),
                F32,
                tag.0,
            )
        };
        check(status, "memory descriptor")?;
        Ok(Desc { api: self, handle })
    }

    /// Memory for a descriptor.
    pub(super) fn memory(self, desc: &Desc) -> Result<Memory> {
        let mut handle = null_mut();
        // SAFETY: the descriptor is alive; -1 asks the library to allocate.
        let bytes = unsafe {
            let allocate = usize::MAX as *mut c_void;
            check(
                (self.f.memory_create)(&mut handle, desc.handle, self.engine, allocate),
                "memory",
            )?;
            (self.f.memory_desc_get_size)(desc.handle)
        };
        Ok(Memory {
            api: self,
            handle,
            bytes,
        })
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
        reorder.execute(&[(ARG_SRC, from), (ARG_DST, to)])
    }

    /// Attributes with the post-operations of a primitive, the binary addition first.
    fn attributes(self, residual: Option<&Desc>, relu: bool) -> Result<Handle> {
        let (mut ops, mut attr) = (null_mut(), null_mut());
        // SAFETY: handles are made here and used while alive; the attributes copy the post-ops.
        unsafe {
            check((self.f.post_ops_create)(&mut ops), "post-ops")?;
            if let Some(desc) = residual {
                let status = (self.f.post_ops_append_binary)(ops, BINARY_ADD, desc.handle);
                check(status, "binary post-op")?;
            }
            if relu {
                let status = (self.f.post_ops_append_eltwise)(ops, ELTWISE_RELU, 0.0, 0.0);
                check(status, "eltwise post-op")?;
            }
            check((self.f.primitive_attr_create)(&mut attr), "attributes")?;
            check(
                (self.f.primitive_attr_set_post_ops)(attr, ops),
                "attributes",
            )?;
            (self.f.post_ops_destroy)(ops);
        }
        Ok(attr)
    }

    /// A direct convolution, or an inner product where `window` is none.
    pub(super) fn convolution(
        self,
        [src, weights, dst]: [&Desc; 3],
        bias: Option<&Desc>,
        window: Option<&Window>,
        residual: Option<&Desc>,
        relu: bool,
    ) -> Result<Primitive> {
        let attr = self.attributes(residual, relu)?;
        let bias = bias.map_or(null_mut(), |d| d.handle);
        let mut desc = null_mut();
        // SAFETY: all handles are alive, and the arrays have 12 elements.
        let status = unsafe {
            let status = match window {
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
                    attr,
                ),
                None => (self.f.inner_product_forward_primitive_desc_create)(
                    &mut desc,
                    self.engine,
                    FORWARD_INFERENCE,
                    src.handle,
                    weights.handle,
                    bias,
                    dst.handle,
                    attr,
                ),
            };
            (self.f.primitive_attr_destroy)(attr);
            status
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

    fn query(&self, what: c_int) -> Result<Desc> {
        let mut handle = null_mut();
        // SAFETY: the query lends a descriptor, which is cloned.
        let status = unsafe {
            let lent = (self.api.f.primitive_desc_query_md)(self.desc, what, 0);
            (self.api.f.memory_desc_clone)(&mut handle, lent)
        };
        check(status, "descriptor of an argument")?;
        Ok(Desc {
            api: self.api,
            handle,
        })
    }

    /// The layout of the source.
    pub(super) fn src(&self) -> Result<Desc> {
        self.query(QUERY_SRC)
    }

    /// The layout of the weights.
    pub(super) fn weights(&self) -> Result<Desc> {
        self.query(QUERY_WEIGHTS)
    }

    /// The layout of the destination.
    pub(super) fn dst(&self) -> Result<Desc> {
        self.query(QUERY_DST)
    }

    /// Runs the primitive once.
    pub(super) fn run(&self, io: &Io<'_>) -> Result<()> {
        let mut args = vec![(ARG_SRC, io.src), (ARG_DST, io.dst)];
        args.extend(io.weights.map(|m| (ARG_WEIGHTS, m)));
        args.extend(io.bias.map(|m| (ARG_BIAS, m)));
        args.extend(io.residual.map(|m| (ARG_POST_OP_0, m)));
        self.execute(&args)
    }

    fn execute(&self, args: &[(c_int, &Memory)]) -> Result<()> {
        let args: Vec<ExecArg> = args
            .iter()
            .map(|&(arg, memory)| ExecArg {
                arg,
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

    /// The elements. Mutable, because the library's primitives write through the handle.
    pub(super) fn floats(&mut self) -> &mut [f32] {
        let mut data = null_mut();
        // SAFETY: the library allocated `bytes` bytes, aligned to more than a float's size, and
        // computes only inside `execute`, which waits.
        unsafe {
            let status = (self.api.f.memory_get_data_handle)(self.handle, &mut data);
            if status != 0 || data.is_null() {
                return &mut [];
            }
            std::slice::from_raw_parts_mut(data.cast(), self.bytes / size_of::<f32>())
        }
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
        // SAFETY: made here, destroyed once.
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
