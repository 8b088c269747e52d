//! Claims about the networks, answered with figures. These are counted from the tables, or measured on this machine in
//! the same run.
//!
//! A claim is a function from a [`Lab`] to an [`Answer`]. Its sentence and verdict follow from the figures, so another
//! machine may give another answer. Times are compared within rounds. A claim about them holds, or doesn't, only if the
//! whole interval of a ratio is on one side of the claim's bound.
//!
//! In reading order: `answer.rs`, this file (the claims), `counted.rs` (claims answered from tables), `lab.rs`
//! (measurements for the others), `layers.rs` (claims about layers), `numeric.rs` (claims about what is computed),
//! `types.rs` (a claim about element types), [`session`] (some claims on this machine).

mod answer;
mod counted;
mod lab;
mod layers;
mod numeric;
pub mod session;
mod types;

pub use answer::{Answer, Figure, Holds};
pub use lab::{Lab, Setting, Timed, Work, compute};

use answer::Found;
use anyhow::Result;

/// A claim and the function that answers it.
pub struct Claim {
    /// The claim, in a sentence.
    pub text: &'static str,
    answer: fn(&mut Lab<'_>) -> Result<Found>,
}

/// All claims.
pub const CLAIMS: [Claim; 15] = [
    Claim {
        text: "In NiN, memory goes to activations, not to parameters.",
        answer: counted::memory_of_nin,
    },
    Claim {
        text: "In NiN, the compute bottleneck is among the 1x1 layers behind the 3x3 of 384 channels, or the last 3x3.",
        answer: layers::bottleneck_of_nin,
    },
    Claim {
        text: "A 1x1 convolution reuses pixels and weights so well that its compute efficiency is high.",
        answer: layers::one_by_one,
    },
    Claim {
        text: "Global average pooling in place of VGG's first fully connected layer removes most parameters; a fully connected layer at batch 1 is bandwidth bound.",
        answer: layers::fully_connected,
    },
    Claim {
        text: "ResNet's 1x1, 3x3, 1x1 bottleneck cuts computation and parameters against two 3x3 layers of the same width.",
        answer: layers::bottleneck_block,
    },
    Claim {
        text: "Stacked 3x3 kernels need fewer parameters than one large kernel with the same receptive field.",
        answer: layers::stacked,
    },
    Claim {
        text: "A larger stride shrinks the feature map quadratically, and with it time.",
        answer: layers::stride,
    },
    Claim {
        text: "Convolution applies along one axis as well: 1-D convolution is a 2-D one of height 1.",
        answer: numeric::one_dimension,
    },
    Claim {
        text: "L2 pooling lies between average and max pooling, with large values weighing more.",
        answer: numeric::l2_pooling,
    },
    Claim {
        text: "A 1x1 convolution is a fully connected layer applied at each pixel.",
        answer: numeric::pixel_by_pixel,
    },
    Claim {
        text: "AlexNet has about a thousand times LeNet's parameters.",
        answer: counted::alexnet_and_lenet,
    },
    Claim {
        text: "Max pooling is cheaper than average pooling.",
        answer: layers::poolings,
    },
    Claim {
        text: "The 1x1 reductions inside an Inception block cut its parameters and its work.",
        answer: layers::inception,
    },
    Claim {
        text: "Dropout before batch normalisation upsets its statistics; behind it, less.",
        answer: numeric::dropout,
    },
    Claim {
        text: "In int8 the arithmetic roof is several times as high, so layers that are compute bound in f32 become bandwidth bound.",
        answer: types::int8_and_bandwidth,
    },
];

impl Claim {
    /// Computes the answer from the lab's figures.
    ///
    /// # Errors
    /// When a measurement fails.
    pub fn answer(&self, number: usize, lab: &mut Lab<'_>) -> Result<Answer> {
        let (holds, answer, evidence) = (self.answer)(lab)?;
        Ok(Answer {
            number,
            claim: self.text.into(),
            holds,
            answer,
            evidence,
        })
    }
}
