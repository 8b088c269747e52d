//! Concatenation along the channels.

use crate::exec::Executor;
use crate::layout::CHANNEL_BLOCK;
use crate::problem::attributes::{Attributes, Epilogue, TypeFlags};
use crate::problem::axis::{ShapeError, check};
use crate::problem::descriptor::{dims, read_dims};
use crate::problem::maps::Maps;
use crate::problem::naive::by_maps;
use crate::problem::operation::{Names, Operands, Operation, Rounding};
use crate::problem::syntax::{Driver, Input, Named, Wrong};
use std::fmt;

/// A valid concatenation along the channels.
///
/// The source holds the parts one after another. Each part is an NCHW16c tensor with its channels padded to whole
/// blocks of 16. Convolutions leave such a source if their outputs are neighbours in memory. The source's dims are
/// therefore 1, n x the padded channels of all parts, h, w. Padding channels are not read.
///
/// On NCHW16c no copy is needed if [`ConcatShape::in_place`]. The producer of a part writes its slice of the output
/// directly, whole channel blocks from [`ConcatShape::first_channel`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConcatShape {
    maps: Maps,
    /// Channels of each part; 0 after the last.
    channels: [usize; ConcatShape::MAX_PARTS],
}

impl ConcatShape {
    /// Maximum number of parts.
    pub const MAX_PARTS: usize = 8;

    /// Concatenation of parts of n, c, h, w each.
    ///
    /// # Errors
    /// When there are fewer than two parts or more than [`ConcatShape::MAX_PARTS`], or when they differ in a dimension
    /// other than c.
    pub fn new(parts: &[[usize; 4]]) -> Result<Self, ShapeError> {
        check((2..=Self::MAX_PARTS).contains(&parts.len()), || {
            let (most, given) = (Self::MAX_PARTS, parts.len());
            format!("there are {given} parts: from 2 to {most} can be joined")
        })?;
        let mut channels = [0; Self::MAX_PARTS];
        let [n, _, h, w] = parts[0];
        for (part, channels) in parts.iter().zip(&mut channels) {
            let [_, c, ..] = *part;
            let [first, other] = [[n, c, h, w], *part].map(dims);
            check(first == other, || {
                format!("a part is {other}: next to the first, it must be {first}")
            })?;
            Maps::try_from(*part)?;
            *channels = c;
        }
        // Checked with padding, so that the source isn't too large either.
        let padded: usize = channels
            .iter()
            .map(|c| c.next_multiple_of(CHANNEL_BLOCK))
            .sum();
        Maps::try_from([n, padded, h, w])?;
        let maps = [n, channels.iter().sum(), h, w].try_into()?;
        Ok(ConcatShape { maps, channels })
    }

    /// n, c, h, w of the output.
    pub fn maps(&self) -> Maps {
        self.maps
    }

    /// Channels of each part.
    pub fn parts(&self) -> &[usize] {
        let parts = self.channels.iter().position(|&c| c == 0);
        &self.channels[..parts.unwrap_or(Self::MAX_PARTS)]
    }

    /// First channel of a part in the source: a multiple of 16.
    pub fn first_channel(&self, part: usize) -> usize {
        let [n, ..] = self.maps.dims();
        let padded = |c: &usize| n * c.next_multiple_of(CHANNEL_BLOCK);
        self.parts()[..part].iter().map(padded).sum()
    }

    /// Source channel that becomes `channel` of an image.
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn source_channel(&self, image: usize, channel: usize) -> usize {
        let mut within = channel;
        for (part, &c) in self.parts().iter().enumerate() {
            if within < c {
                let image = image * c.next_multiple_of(CHANNEL_BLOCK);
                return self.first_channel(part) + image + within;
            }
            within -= c;
        }
        panic!("no channel {channel} in {:?}", self.parts())
    }

    /// True if the source already is the output on NCHW16c: one image, and whole blocks in every part but the last.
    pub fn in_place(&self) -> bool {
        let ([n, ..], (_, before)) = (self.maps.dims(), self.parts().split_last().expect("parts"));
        n == 1 && before.iter().all(|c| c.is_multiple_of(CHANNEL_BLOCK))
    }
}

impl Operation for ConcatShape {
    fn names() -> Names {
        Names {
            one: "a concatenation",
            many: "concatenations",
        }
    }

    fn check_types(&self, attributes: &Attributes) -> Result<(), String> {
        attributes.check_moves()
    }

    fn with_batch(&self, n: usize) -> Result<Self, ShapeError> {
        let [_, _, h, w] = self.maps.dims();
        let parts: Vec<_> = self.parts().iter().map(|&c| [n, c, h, w]).collect();
        ConcatShape::new(&parts)
    }

    fn src_dims(&self) -> [usize; 4] {
        let [_, _, h, w] = self.maps.dims();
        [1, self.first_channel(self.parts().len()), h, w]
    }

    fn dst_dims(&self) -> [usize; 4] {
        self.maps.dims()
    }

    fn flops(&self, _: Epilogue) -> u64 {
        self.maps.elements() as u64
    }

    /// Padding of the parts is not counted.
    fn src_elements(&self) -> u64 {
        self.maps.elements() as u64
    }

    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64> {
        let map_len = self.maps.positions();
        by_maps(
            self.maps.dims(),
            attributes,
            x,
            exec,
            |image, channel, map| {
                let from = self.source_channel(image, channel);
                map.copy_from_slice(&x.src[from * map_len..][..map_len]);
            },
        )
    }

    fn rounding(&self, magnitude: f64, _: f64) -> Rounding {
        Rounding::new(1, magnitude)
    }

    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result {
        let [n, _, h, w] = self.maps.dims();
        let parts = self.parts().iter().map(|&c| dims([n, c, h, w]));
        let parts = parts.collect::<Vec<_>>().join(":");
        let attributes = attributes.text(TypeFlags::SrcDst);
        write!(f, "--concat --axis=1 {attributes}{parts}")
    }
}

impl Named for ConcatShape {
    const DRIVERS: &'static [Driver] = &[Driver {
        flags: &["--axis"],
        ..Driver::new("--concat")
    }];

    fn read(input: &Input<'_>, _: &mut Epilogue) -> Result<Self, Wrong> {
        input.check_axis()?;
        let parts: Result<Vec<_>, _> = input.descriptor.split(':').map(read_dims).collect();
        Ok(ConcatShape::new(&parts?)?)
    }
}
