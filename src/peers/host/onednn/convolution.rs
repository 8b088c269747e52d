//! A convolution as oneDNN describes it: sizes, layouts, scales and zero points.

use super::api::{Api, Arg, Attributes, Desc, Memory, Residual, Tag, Window};
use anyhow::Result;
use convroof_kernels::Problem;
use convroof_kernels::problem::{Affine, ConvShape, Quantisation, Scale, WeightScale};

/// A convolution's tensors as oneDNN describes them.
pub(super) struct Sizes {
    pub(super) src_tag: Tag,
    pub(super) weights: Vec<usize>,
    pub(super) plain_weights: Tag,
    pub(super) dst: Vec<usize>,
    pub(super) dst_tag: Tag,
    pub(super) plain_dst: Tag,
    /// None for an inner product.
    pub(super) window: Option<Window>,
}

impl Sizes {
    pub(super) fn of(problem: &Problem, conv: &ConvShape, tag: Tag, given: &Quantised) -> Sizes {
        let [k, c, kh, kw] = [
            conv.c_out,
            conv.c_in_per_group(),
            conv.kernel[0],
            conv.kernel[1],
        ];
        let (weights, plain_weights) = match conv.groups {
            1 => (vec![k, c, kh, kw], Tag::NCHW),
            groups => (vec![groups, k / groups, c, kh, kw], Tag::GOIHW),
        };
        // oneDNN's blocked pipelines begin with plain NCHW: the first layer reads the image as it is.
        let src_tag = match tag {
            Tag::NCHW16C if conv.c_in <= 4 => Tag::NCHW,
            tag => tag,
        };
        let image = Sizes {
            src_tag,
            weights,
            plain_weights,
            dst: problem.dst_dims().to_vec(),
            dst_tag: tag,
            plain_dst: Tag::NCHW,
            window: Some(Window {
                kernel: conv.kernel,
                stride: conv.stride,
                dilation: conv.dilation,
                before: [conv.pad.top, conv.pad.left],
                after: [conv.pad.bottom, conv.pad.right],
            }),
        };
        // A filter that covers the whole map is a fully connected layer, for which oneDNN has its own primitive. It has
        // no zero points.
        let [n, _, h_out, w_out] = problem.dst_dims();
        let whole = [kh, kw] == [conv.h, conv.w] && [h_out, w_out] == [1, 1];
        let alone = conv.groups == 1 && conv.pad == Default::default();
        match whole && alone && given.zero_points.is_empty() {
            true => Sizes {
                dst: vec![n, k],
                dst_tag: if tag == Tag::ANY { tag } else { Tag::AB },
                plain_dst: Tag::AB,
                window: None,
                ..image
            },
            false => image,
        }
    }
}

/// Scales and zero points of a problem that aren't 1 and 0.
pub(super) struct Quantised {
    /// Scales that are one for the whole tensor.
    scales: Vec<(Arg, f32)>,
    /// True if each output channel has a scale of its weights.
    pub(super) per_channel: bool,
    zero_points: Vec<(Arg, i32)>,
}

impl Quantised {
    pub(super) fn of(problem: &Problem) -> Quantised {
        let Quantisation {
            src, weights, dst, ..
        } = problem.quantisation;
        let (common, per_channel) = match weights {
            WeightScale::Common(scale) => (scale, false),
            WeightScale::PerChannel => (Scale::ONE, true),
        };
        let scales = [
            (Arg::SRC, src.scale),
            (Arg::WEIGHTS, common),
            (Arg::DST, dst.scale),
        ];
        let zeros = [(Arg::SRC, src.zero), (Arg::DST, dst.zero)];
        Quantised {
            scales: scales
                .into_iter()
                .filter(|&(_, scale)| scale != Scale::ONE)
                .map(|(arg, scale)| (arg, scale.get()))
                .collect(),
            per_channel,
            zero_points: zeros.into_iter().filter(|&(_, zero)| zero != 0).collect(),
        }
    }

    /// Arguments with scales, and their masks. Output channels are the first dim of the weights. With groups they are the
    /// first two.
    fn masks(&self, groups: usize) -> Vec<(Arg, i32)> {
        let mut masks: Vec<_> = self.scales.iter().map(|&(arg, _)| (arg, 0)).collect();
        if self.per_channel {
            masks.push((Arg::WEIGHTS, if groups == 1 { 0b1 } else { 0b11 }));
        }
        masks
    }

    /// Memory of everything that the problem states.
    pub(super) fn constants(&self, api: Api) -> Result<Vec<(Arg, Memory)>> {
        let scales = self.scales.iter();
        let scales = scales.map(|&(arg, scale)| Ok((arg.scales(), api.values(&[scale])?)));
        let zeros = self.zero_points.iter();
        let zeros = zeros.map(|&(arg, zero)| Ok((arg.zero_point(), api.values(&[zero])?)));
        scales.chain(zeros).collect()
    }
}

/// True if the residual is what the destination held before the run, as for benchdnn's `sum`. Others are a tensor of
/// their own, which has no scale and no zero point.
pub(super) fn sums(problem: &Problem) -> bool {
    problem.epilogue.residual && problem.quantisation.residual != Affine::default()
}

/// Attributes of a convolution's primitive. `added` describes a residual that is a tensor of its own.
pub(super) fn attributes<'a>(
    problem: &Problem,
    groups: usize,
    given: &Quantised,
    added: Option<&'a Desc>,
) -> Attributes<'a> {
    let former = || Residual::Destination(problem.quantisation.residual, problem.dtypes.residual);
    Attributes {
        scales: given.masks(groups),
        zero_points: given.zero_points.iter().map(|&(arg, _)| arg).collect(),
        residual: match added {
            Some(desc) => Some(Residual::Argument(desc)),
            None => sums(problem).then(former),
        },
        relu: problem.epilogue.relu,
    }
}
