//! Convolutions as equal ones with fewer taps and more channels: neighbouring taps of a filter are joined to one.
//!
//! On NHWC the inputs of a filter row are neighbours in memory, so they can be the channels of one tap. That saves work where a
//! word holds several channels: 7 taps of 3 bytes are 7 words of 4 bytes, but one tap of 21 bytes is 6 words.
//!
//! The source of the new convolution is an im2col matrix of the old one. If all taps are joined, that is explicit im2col. A
//! fully connected layer needs no copy: its images are the rows of that matrix.

use crate::plan::Unsupported;
use crate::problem::{ConvShape, ConvSpec, Pad, ShapeError};

/// A convolution without groups, and an equal one with joined taps.
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinedTaps {
    /// The convolution after the join. Its channels are those of the joined taps, tap by tap.
    pub(super) conv: ConvShape,
    /// The convolution whose im2col matrix is the source of `conv`: each of its output pixels is an input pixel of `conv`.
    /// None if `conv` reads the source itself.
    pub(super) gathered: Option<ConvShape>,
    /// Taps that are joined to one.
    run: usize,
    /// Input channels of each.
    channels: usize,
}

impl JoinedTaps {
    /// The convolution as it is.
    pub(super) fn none(conv: &ConvShape) -> Self {
        JoinedTaps {
            conv: *conv,
            gathered: None,
            run: 1,
            channels: conv.c_in,
        }
    }

    /// Joins the taps of each filter row. The matrix has a row for each input row and output column.
    ///
    /// # Errors
    /// If the matrix is too large.
    pub(super) fn rows(conv: &ConvShape) -> Result<Self, Unsupported> {
        let [kh, kw] = conv.kernel;
        let Pad {
            top,
            left,
            bottom,
            right,
        } = conv.pad;
        let down = ConvSpec {
            c_in: kw * conv.c_in,
            w: conv.w_out(),
            kernel: [kh, 1],
            stride: [conv.stride[0], 1],
            pad: Pad {
                top,
                bottom,
                ..Pad::default()
            },
            dilation: [conv.dilation[0], 1],
            ..one_matrix(conv)
        };
        let across = ConvSpec {
            c_out: 1,
            kernel: [1, kw],
            stride: [1, conv.stride[1]],
            pad: Pad {
                left,
                right,
                ..Pad::default()
            },
            dilation: [1, conv.dilation[1]],
            ..one_matrix(conv)
        };
        JoinedTaps::of(conv, kw, down, Some(across))
    }

    /// Joins all taps: explicit im2col. The matrix has a row for each output pixel.
    ///
    /// # Errors
    /// If the matrix is too large.
    pub(super) fn all(conv: &ConvShape) -> Result<Self, Unsupported> {
        let taps = conv.kernel[0] * conv.kernel[1];
        let product = ConvSpec {
            c_in: taps * conv.c_in,
            h: conv.h_out(),
            w: conv.w_out(),
            ..one_matrix(conv)
        };
        let gathered = ConvSpec {
            c_out: 1,
            flip: false,
            ..*conv.spec()
        };
        JoinedTaps::of(conv, taps, product, Some(gathered))
    }

    /// Joins all taps of a fully connected layer. Its images are the pixels of one image.
    ///
    /// # Errors
    /// If there are too many weights.
    pub(super) fn fully_connected(conv: &ConvShape) -> Result<Self, Unsupported> {
        let taps = conv.kernel[0] * conv.kernel[1];
        let product = ConvSpec {
            n: 1,
            c_in: taps * conv.c_in,
            h: 1,
            w: conv.n,
            ..one_matrix(conv)
        };
        JoinedTaps::of(conv, taps, product, None)
    }

    fn of(
        conv: &ConvShape,
        run: usize,
        joined: ConvSpec,
        gathered: Option<ConvSpec>,
    ) -> Result<Self, Unsupported> {
        let shape = |spec: ConvSpec| -> Result<ConvShape, Unsupported> {
            let shape: Result<ConvShape, ShapeError> = spec.try_into();
            shape.map_err(|e| Unsupported::new(format!("with joined taps: {e}")))
        };
        Ok(JoinedTaps {
            conv: shape(joined)?,
            gathered: gathered.map(shape).transpose()?,
            run,
            channels: conv.c_in,
        })
    }

    /// The convolution whose source is that of the layer.
    pub(super) fn source(&self) -> &ConvShape {
        self.gathered.as_ref().unwrap_or(&self.conv)
    }

    /// Position of the first input channel of the old convolution's tap among the channels of all new taps. These are
    /// `channels` apart.
    pub(super) fn position(&self, tap: usize, channels: usize) -> usize {
        tap / self.run * channels + tap % self.run * self.channels
    }
}

/// The convolution with one tap, on an input of the same size.
fn one_matrix(conv: &ConvShape) -> ConvSpec {
    ConvSpec {
        kernel: [1, 1],
        stride: [1, 1],
        pad: Pad::default(),
        dilation: [1, 1],
        flip: false,
        ..*conv.spec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Problem;

    fn conv(text: &str) -> ConvShape {
        let problem: Problem = text.parse().expect("a problem");
        *problem.op.shape().expect("a convolution")
    }

    /// A gathered pixel's inputs are those that the old taps read, tap by tap, and the new taps find them.
    #[test]
    fn joined_taps_read_the_same_inputs() {
        for text in [
            "mb1ic3ih19iw17oc20kh7kw7ph3pw3sh2sw2",
            "mb2ic5ih9iw8oc4kh3kw2ph1pw0dh1dw2",
            "mb1ic2ih6iw11oc4kh1kw5ph0pw2sh1sw3",
        ] {
            let old = conv(text);
            let input = |conv: &ConvShape, tap: usize, y: usize, x: usize| {
                let [down, across] = [tap / conv.kernel[1], tap % conv.kernel[1]];
                let y = (y * conv.stride[0] + down * conv.dilation[0]).checked_sub(conv.pad.top);
                let x = (x * conv.stride[1] + across * conv.dilation[1]).checked_sub(conv.pad.left);
                let inside = |at: Option<usize>, end| at.filter(|at| *at < end);
                Some([inside(y, conv.h)?, inside(x, conv.w)?])
            };
            let taps = old.kernel[0] * old.kernel[1];
            for joined in [JoinedTaps::rows(&old), JoinedTaps::all(&old)] {
                let joined = joined.expect(text);
                let (new, gathered) = (joined.conv, joined.gathered.expect("a matrix"));
                assert_eq!([new.h_out(), new.w_out()], [old.h_out(), old.w_out()]);
                assert_eq!([new.h, new.w], [gathered.h_out(), gathered.w_out()]);
                assert_eq!(new.reduction_len(), old.reduction_len());
                for (tap, y, x) in (0..taps)
                    .flat_map(|t| (0..old.h_out()).map(move |y| (t, y)))
                    .flat_map(|(t, y)| (0..old.w_out()).map(move |x| (t, y, x)))
                {
                    let at = joined.position(tap, new.c_in) + 1;
                    let (new_tap, channel) = (at / new.c_in, at % new.c_in);
                    assert_eq!(channel % old.c_in, 1, "{text}");
                    let found = input(&new, new_tap, y, x)
                        .and_then(|[y, x]| input(&gathered, channel / old.c_in, y, x));
                    assert_eq!(
                        found,
                        input(&old, tap, y, x),
                        "{text}: tap {tap} of {y}, {x}"
                    );
                }
            }
        }
    }

    #[test]
    fn images_of_a_fully_connected_layer_are_pixels() {
        let old = conv("--ip mb3ic5ih2iw3oc7");
        let joined = JoinedTaps::fully_connected(&old).expect("one");
        assert_eq!(
            [joined.conv.n, joined.conv.h_out(), joined.conv.w_out()],
            [1, 1, 3]
        );
        assert_eq!(joined.conv.reduction_len(), old.reduction_len());
        assert!(joined.gathered.is_none());
        // Channels are innermost, as in the images.
        assert_eq!(joined.position(4, 30), 4 * 5);
    }
}
