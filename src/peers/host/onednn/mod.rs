//! oneDNN: forward inference in f32 with fused bias, residual and ReLU. Weights are in the layout that the primitive
//! asks for. Activations are in the layout of the form: `any` (the library's choice), `nchw16c` or `nhwc`.
//!
//! In reading order: this file, `api.rs` (the C functions).

mod api;

use super::library::{Library, Prepared, Refused};
use anyhow::Result;
use api::{Api, Desc, Io, Memory, Primitive, Tag, Window};
use convroof_kernels::problem::{ConvShape, DType, Op, PoolKind, PoolShape};
use convroof_kernels::reference::Operands;
use convroof_kernels::{Isa, Problem};
use std::path::Path;

struct OneDnn {
    api: Api,
    version: String,
    threads: usize,
}

/// Loads the library.
pub(super) fn open(path: &Path) -> Result<Box<dyn Library>> {
    let (api, version, threads) = Api::load(path)?;
    Ok(Box::new(OneDnn {
        api,
        version,
        threads,
    }))
}

impl Library for OneDnn {
    fn hello(&self) -> (String, String, usize) {
        ("oneDNN".into(), self.version.clone(), self.threads)
    }

    fn plan(&mut self, problem: &Problem, form: &str) -> Result<Box<dyn Prepared>> {
        let refuse = |why: &str| anyhow::Error::from(Refused(why.into()));
        if problem.dtypes.src != DType::F32 {
            return Err(refuse("measured in f32 only"));
        }
        let tag = match form {
            "any" => Tag::ANY,
            "nchw16c" => Tag::NCHW16C,
            "nhwc" => Tag::NHWC,
            _ => return Err(refuse("no such form")),
        };
        let prepared = match &problem.op {
            Op::Conv(conv) => self.convolution(problem, conv, tag),
            Op::Pool(pool) => self.pooling(problem, pool, tag),
            _ => Err(refuse("convolutions and poolings only")),
        }?;
        // oneDNN's blocks are as wide as the CPU's vectors. Other blocks use its reference implementation, whose
        // speed is meaningless.
        if tag == Tag::NCHW16C && prepared.implementation().starts_with("ref") {
            return Err(refuse(
                "on this CPU only its reference implementation takes NCHW16c",
            ));
        }
        Ok(prepared)
    }
}

/// The blocked layout that oneDNN prefers on this CPU.
fn blocked() -> Tag {
    match Isa::best().isa() {
        Isa::Avx512 => Tag::NCHW16C,
        _ => Tag::NCHW8C,
    }
}

impl OneDnn {
    fn convolution(
        &self,
        problem: &Problem,
        conv: &ConvShape,
        tag: Tag,
    ) -> Result<Box<dyn Prepared>> {
        let api = self.api;
        let [k, c, kh, kw] = problem.weights_dims().unwrap_or_default();
        let plain_weights = if conv.groups == 1 {
            api.desc(&[k, c, kh, kw], Tag::NCHW)?
        } else {
            api.desc(&[conv.groups, k / conv.groups, c, kh, kw], Tag::GOIHW)?
        };
        let any_weights = if conv.groups == 1 {
            api.desc(&[k, c, kh, kw], Tag::ANY)?
        } else {
            api.desc(&[conv.groups, k / conv.groups, c, kh, kw], Tag::ANY)?
        };
        // oneDNN's blocked pipelines begin with plain NCHW: the first layer reads the image as it is.
        let src_tag = if tag == Tag::NCHW16C && conv.c_in <= 4 {
            Tag::NCHW
        } else {
            tag
        };
        let src = api.desc(&problem.src_dims(), src_tag)?;
        let bias = match problem.epilogue.bias {
            true => Some(api.desc(&[k], Tag::A)?),
            false => None,
        };
        // A filter that covers the whole map is a fully connected layer, for which oneDNN has its own primitive.
        let [n, _, h_out, w_out] = problem.dst_dims();
        let whole = [kh, kw] == [conv.h, conv.w] && [h_out, w_out] == [1, 1];
        let inner_product = whole && conv.groups == 1 && conv.pad == Default::default();
        let window = Window {
            kernel: conv.kernel,
            stride: conv.stride,
            dilation: conv.dilation,
            before: [conv.pad.top, conv.pad.left],
            after: [conv.pad.bottom, conv.pad.right],
        };
        let (window, dst, plain_dst) = if inner_product {
            let tag = if tag == Tag::ANY { Tag::ANY } else { Tag::AB };
            (None, api.desc(&[n, k], tag)?, api.desc(&[n, k], Tag::AB)?)
        } else {
            let dims = problem.dst_dims();
            (
                Some(&window),
                api.desc(&dims, tag)?,
                api.desc(&dims, Tag::NCHW)?,
            )
        };
        let make = |dst: &Desc, residual: Option<&Desc>| {
            let descs = [&src, &any_weights, dst];
            api.convolution(
                descs,
                bias.as_ref(),
                window,
                residual,
                problem.epilogue.relu,
            )
        };
        let mut primitive = make(&dst, None)?;
        if problem.epilogue.residual {
            // The residual has the destination's layout, which is known only after the first plan.
            let dst = primitive.dst()?;
            primitive = make(&dst, Some(&dst))?;
        }
        let weights = Operand::new(api, primitive.weights()?, plain_weights)?;
        let bias = match problem.epilogue.bias {
            true => Some(Operand::new(
                api,
                api.desc(&[k], Tag::A)?,
                api.desc(&[k], Tag::A)?,
            )?),
            false => None,
        };
        let residual = match problem.epilogue.residual {
            true => Some(Operand::new(
                api,
                primitive.dst()?,
                api.desc(&problem.dst_dims(), Tag::NCHW)?,
            )?),
            false => None,
        };
        Ok(Box::new(PreparedOneDnn {
            src: Operand::new(
                api,
                primitive.src()?,
                api.desc(&problem.src_dims(), Tag::NCHW)?,
            )?,
            weights: Some(weights),
            bias,
            residual,
            dst: Operand::new(api, primitive.dst()?, plain_dst)?,
            primitive,
        }))
    }

    fn pooling(&self, problem: &Problem, pool: &PoolShape, tag: Tag) -> Result<Box<dyn Prepared>> {
        let api = self.api;
        let algorithm = match pool.kind {
            PoolKind::Max => api::POOLING_MAX,
            PoolKind::AvgIncludePad => api::POOLING_AVG_INCLUDE,
            PoolKind::AvgExcludePad => api::POOLING_AVG_EXCLUDE,
            _ => return Err(Refused("no such pooling".into()).into()),
        };
        // With `any`, a pooling reads the layout that a convolution writes: on x86, oneDNN's choice is the blocked
        // one.
        let tag = if tag == Tag::ANY { blocked() } else { tag };
        let [_, _, h_out, w_out] = problem.dst_dims();
        // Ceil mode is expressed as padding at the end.
        let after = |axis: usize, out: usize, size: usize, before: usize| {
            let span = (pool.kernel[axis] - 1) * pool.dilation[axis] + 1;
            ((out - 1) * pool.stride[axis] + span).saturating_sub(size + before)
        };
        let window = Window {
            kernel: pool.kernel,
            stride: pool.stride,
            dilation: pool.dilation,
            before: [pool.pad.top, pool.pad.left],
            after: [
                after(0, h_out, pool.h, pool.pad.top),
                after(1, w_out, pool.w, pool.pad.left),
            ],
        };
        let src = api.desc(&problem.src_dims(), tag)?;
        let dst = api.desc(&problem.dst_dims(), tag)?;
        let primitive = api.pooling(algorithm, [&src, &dst], &window)?;
        let plain = |dims: [usize; 4]| api.desc(&dims, Tag::NCHW);
        Ok(Box::new(PreparedOneDnn {
            src: Operand::new(api, src, plain(problem.src_dims())?)?,
            weights: None,
            bias: None,
            residual: None,
            dst: Operand::new(api, dst, plain(problem.dst_dims())?)?,
            primitive,
        }))
    }
}

/// Memory in the layout of a primitive, and the plain layout it is filled from.
struct Operand {
    api: Api,
    desc: Desc,
    memory: Memory,
    plain: Desc,
}

impl Operand {
    fn new(api: Api, desc: Desc, plain: Desc) -> Result<Self> {
        let memory = api.memory(&desc)?;
        Ok(Operand {
            api,
            desc,
            memory,
            plain,
        })
    }

    fn fill(&mut self, from: &[f32]) -> Result<()> {
        let mut plain = self.api.memory(&self.plain)?;
        plain.floats().copy_from_slice(from);
        self.api
            .reorder((&plain, &self.plain), (&self.memory, &self.desc))
    }

    fn read(&self) -> Result<Vec<f32>> {
        let mut plain = self.api.memory(&self.plain)?;
        self.api
            .reorder((&self.memory, &self.desc), (&plain, &self.plain))?;
        Ok(plain.floats().to_vec())
    }
}

struct PreparedOneDnn {
    primitive: Primitive,
    src: Operand,
    weights: Option<Operand>,
    bias: Option<Operand>,
    residual: Option<Operand>,
    dst: Operand,
}

impl Prepared for PreparedOneDnn {
    fn implementation(&self) -> String {
        self.primitive.implementation()
    }

    fn memory(&self) -> (u64, u64) {
        (
            self.weights.as_ref().map_or(0, |w| w.memory.bytes()) as u64,
            0,
        )
    }

    fn load(&mut self, x: Operands<'_>) -> Result<()> {
        self.src.fill(x.src)?;
        let fill = |to: &mut Option<Operand>, from: &[f32]| match to {
            Some(to) if !from.is_empty() => to.fill(from),
            _ => Ok(()),
        };
        fill(&mut self.weights, x.weights)?;
        fill(&mut self.bias, x.bias)?;
        fill(&mut self.residual, x.residual)
    }

    fn run(&mut self) -> Result<()> {
        fn memory(operand: &Option<Operand>) -> Option<&Memory> {
            operand.as_ref().map(|o| &o.memory)
        }
        self.primitive.run(&Io {
            src: &self.src.memory,
            weights: memory(&self.weights),
            bias: memory(&self.bias),
            residual: memory(&self.residual),
            dst: &self.dst.memory,
        })
    }

    fn poison(&mut self) {
        self.dst.memory.floats().fill(f32::NAN);
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        self.dst.read()
    }
}
