//! oneDNN: forward inference in f32, bf16, u8 and s8 with fused bias, residual and ReLU. Integers have scales and zero
//! points. Weights are in the layout that the primitive asks for. Activations are in the layout of the form: `any` (the
//! library's choice), `nchw16c` or `nhwc`.
//!
//! In reading order: this file (plans), `convolution.rs` (sizes, scales and zero points), `prepared.rs` (memory), `api.rs`
//! (the C functions).

mod api;
mod convolution;
mod prepared;

use super::library::{Library, Prepared, Refused};
use anyhow::Result;
use api::{Api, Arg, Primitive, Tag, Window};
use convolution::{Quantised, Sizes, attributes, sums};
use convroof_kernels::problem::{ConvShape, DType, DTypes, Op, PoolKind, PoolShape};
use convroof_kernels::{Isa, Problem};
use prepared::{Operand, PreparedOneDnn};
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
        let narrow = problem.dtypes != DTypes::default();
        if prepared.implementation().starts_with("ref") {
            if tag == Tag::NCHW16C {
                return Err(refuse(
                    "on this CPU only its reference implementation takes NCHW16c",
                ));
            }
            if narrow {
                return Err(refuse(
                    "on this CPU only its reference implementation has these types",
                ));
            }
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
        let (api, types, has) = (self.api, problem.dtypes, problem.epilogue);
        let given = Quantised::of(problem);
        let sizes = Sizes::of(problem, conv, tag, &given);
        let primitive = self.primitive(problem, conv, &sizes, &given)?;
        let operand = |arg: Arg, dtype: DType, dims: &[usize], plain: Tag| {
            Operand::new(api, primitive.argument(arg)?, dtype, (dims, plain))
        };
        let like_dst = |arg, dtype| operand(arg, dtype, &sizes.dst, sizes.plain_dst);
        let weights = operand(
            Arg::WEIGHTS,
            types.weights,
            &sizes.weights,
            sizes.plain_weights,
        )?;
        let bias = match has.bias {
            true => Some(operand(Arg::BIAS, DType::F32, &[conv.c_out], Tag::A)?),
            false => None,
        };
        let sums = sums(problem);
        let residual = match has.residual {
            false => None,
            // In the destination's place, so in its layout. Its elements have the same size.
            true if sums => Some(like_dst(Arg::DST, types.dst)?.holding(types.residual)),
            true => Some(like_dst(Arg::ADDED, types.residual)?),
        };
        let scales = match given.per_channel {
            true => Some(api.values(&vec![1.0f32; conv.c_out])?),
            false => None,
        };
        let src = operand(Arg::SRC, types.src, &problem.src_dims(), Tag::NCHW)?;
        let dst = like_dst(Arg::DST, types.dst)?;
        Ok(Box::new(PreparedOneDnn {
            weights: Some(weights),
            bias,
            residual,
            sums,
            scales,
            constants: given.constants(api)?,
            ..PreparedOneDnn::new(primitive, src, dst)
        }))
    }

    fn primitive(
        &self,
        problem: &Problem,
        conv: &ConvShape,
        sizes: &Sizes,
        given: &Quantised,
    ) -> Result<Primitive> {
        let (api, types, has) = (self.api, problem.dtypes, problem.epilogue);
        let added = match has.residual && !sums(problem) {
            true => Some(api.desc(&sizes.dst, types.residual, sizes.dst_tag)?),
            false => None,
        };
        let bias = match has.bias {
            true => Some(api.desc(&[conv.c_out], DType::F32, Tag::A)?),
            false => None,
        };
        api.convolution(
            [
                &api.desc(&problem.src_dims(), types.src, sizes.src_tag)?,
                &api.desc(&sizes.weights, types.weights, Tag::ANY)?,
                &api.desc(&sizes.dst, types.dst, sizes.dst_tag)?,
            ],
            bias.as_ref(),
            sizes.window.as_ref(),
            &attributes(problem, conv.groups, given, added.as_ref()),
        )
    }

    fn pooling(&self, problem: &Problem, pool: &PoolShape, tag: Tag) -> Result<Box<dyn Prepared>> {
        let api = self.api;
        let algorithm = match pool.kind {
            PoolKind::Max => api::POOLING_MAX,
            PoolKind::AvgIncludePad => api::POOLING_AVG_INCLUDE,
            PoolKind::AvgExcludePad => api::POOLING_AVG_EXCLUDE,
            _ => return Err(Refused("no such pooling".into()).into()),
        };
        // With `any`, a pooling reads the layout that a convolution writes. On x86 that is the blocked one for
        // floating-point numbers, and NHWC for integers.
        let tag = match tag {
            Tag::ANY if problem.dtypes.are_integers() => Tag::NHWC,
            Tag::ANY => blocked(),
            tag => tag,
        };
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
        let DTypes { src, dst, .. } = problem.dtypes;
        let primitive = api.pooling(
            algorithm,
            [
                &api.desc(&problem.src_dims(), src, tag)?,
                &api.desc(&problem.dst_dims(), dst, tag)?,
            ],
            &window,
        )?;
        let operand = |arg, dtype, dims: &[usize]| {
            Operand::new(api, primitive.argument(arg)?, dtype, (dims, Tag::NCHW))
        };
        let src = operand(Arg::SRC, src, &problem.src_dims())?;
        let dst = operand(Arg::DST, dst, &problem.dst_dims())?;
        Ok(Box::new(PreparedOneDnn::new(primitive, src, dst)))
    }
}
