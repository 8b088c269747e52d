//! The text form of a problem. It is benchdnn's, so that layers can be copied from and to oneDNN's driver.
//!
//! ```text
//! mb1ic64ih56oc64oh56kh3ph1                         a plain f32 convolution
//! mb1ic64iw128oc64ow128kw3pw1                       along one axis
//! --dir=FWD_B --attr-post-ops=relu g2mb1ic96ih27oc256oh27kh5ph2
//! --pool --alg=max mb1ic64ih112oh56kh3sh2ph1
//! --eltwise --alg=relu 1x64x56x56
//! --binary --alg=add --attr-post-ops=relu 1x256x56x56:1x256x56x56
//! --bnorm --flags=GCH mb1ic64ih56
//! --softmax --axis=1 1x1000x1x1
//! --concat --axis=1 1x64x28x28:1x128x28x28
//! --lrn mb1ic96ih55ls5alpha0.0001beta0.75k1
//! --reorder --sdt=f32 --ddt=u8 --attr-scales=dst:common:0.1 --attr-zero-points=dst:common:3 1x64x56x56
//! --dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.25+wei:per_oc+dst:common:2 --attr-post-ops=relu mb1ic64ih56oc64oh56kh3ph1
//! ```
//!
//! A fused layer, a convolution with the pooling or convolution after it, is both texts joined by ` + `. A text has at
//! most [`MOST_TEXT`](super::MOST_TEXT) bytes.
//!
//! Fields, as in benchdnn's `doc/driver_conv.md`:
//!
//! - `g` groups, `mb` batch, `i` input, `o` output, `c` channels, `h` and `w` sizes;
//! - `k` kernel, `s` stride, `p` padding (top and left), `d` dilation (`dh0` is dense).
//!
//! Missing fields have benchdnn's defaults:
//!
//! - `g` is 1, `s` is 1, `d` is 0, `mb` is 2;
//! - `oh` follows from the other sizes, with equal padding on both sides;
//! - `ph` is half of the padding that a given `oh` needs;
//! - a given `oh` determines the trailing padding;
//! - without any width field, the width's fields equal the height's;
//! - without any height field, the layer is one-dimensional with height 1: `mb1ic64iw128oc64ow128kw3pw1`.
//!
//! A name at the end (`n"conv1"`, `nconv1`) is accepted and ignored.
//!
//! Flags:
//!
//! - `--dir=FWD_B` adds a bias, which is f32 for all types: benchdnn's default. `FWD_D` and `FWD_I` have none, and neither has a text without `--dir`. benchdnn's own
//!   default is `FWD_B`: it needs `--dir=FWD_D` for a layer without bias.
//! - `--attr-post-ops=add:f32:per_tensor+relu` adds a residual and a ReLU. `sum`, which adds to the destination's old
//!   content, is read as a residual too. `sum:0.5:3:u8` adds 0.5 (r - 3), for a residual r of u8. As in oneDNN, its type is
//!   as wide as the destination's, which is the default. `add:u8:per_tensor` has any width, but no scale.
//! - `--dt=src:weights:dst` or `--dt=all` sets the element types. `--binary`, `--concat` and `--reorder` have `--sdt` for
//!   their sources and `--ddt` for the destination.
//! - `--attr-scales=src:common:0.25+wei:per_oc+dst:common:2` sets scales of u8 and s8 layers, from 1e-9 to 1e9. `wei:per_oc`
//!   is one scale for each output channel. The scales are data, so they have no text. `src1` is the second source of
//!   `--binary`.
//! - `--attr-zero-points=src:common:3+dst:common:128` sets their zero points, which are values of the types.
//! - `--mb=8` replaces the batch of the descriptor.
//! - `--alg=direct|wino|auto` is accepted and ignored for convolutions: the algorithm belongs to the variant, not to
//!   the problem.
//! - `--pool --alg=max|avg_p|avg_np` is a pooling (average with and without its padding). `--alg=lp2`, `lp2_mean`
//!   (likewise for other p), `lpinf`, `stochastic`, `draw7` and `draw7_index` (with seed 7) are extensions of this
//!   project.
//!
//! Layers without a window:
//!
//! - `--eltwise --alg=relu` is a ReLU, `--alg=linear` a copy;
//! - `--binary --alg=add` adds a second tensor of the same dims, or a bias if the second is `1xCx1x1`;
//! - `--bnorm --flags=GCH` is a batch normalisation with given statistics, scale and shift;
//! - `--softmax` is over the channels (`--axis=1`);
//! - `--lrn` is a local response normalisation across `ls` channels;
//! - `--concat` joins up to 8 tensors;
//! - `--reorder` converts elements to another type: it quantises and dequantises. It changes no layout;
//! - `--ip mb1ic2048oc1000` is a fully connected layer, read as a convolution with a kernel of its whole input map.
//!
//! Element types:
//!
//! - convolutions and fully connected layers: f32; bf16 to bf16 or f32; u8 or s8 with weights of s8 to u8, s8, s32 or f32;
//! - max and average poolings, concatenations, ReLUs and sums of two tensors: f32, bf16, u8 or s8, equal for source and
//!   destination;
//! - conversions: from any of f32, bf16, u8 and s8 to any of them;
//! - all other layers: f32.
//!
//! [`Requantisation`](super::Requantisation) defines the arithmetic of integers.
//!
//! More extensions of this project:
//!
//! - `--flip` is a true convolution, with reversed filters;
//! - `--attention --hidden=128 1x512x7x7` is an attention pooling with 128 hidden units;
//! - `--bilinear --alg=full|half` is a bilinear pooling or its symmetric half. `_root`, `_l2` and `_root_l2` after it
//!   add signed square roots and the L2 norm.
//! - `--statistics` computes the mean and variance of each channel;
//! - `--overhang=HxW` is the rows and columns of a ceil-mode pooling beyond the padding. They don't count in `avg_p`'s
//!   divisor. benchdnn can't express them.

use super::Problem;
use std::fmt;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.op.write(self.attributes(), &mut text)?;
        f.pad(&text)
    }
}
