//! What is claimed about these networks, answered with figures: counted from their tables, and measured on this machine in
//! the same run.
//!
//! A claim is a function from a [`Lab`] to an [`Answer`]; its sentence and its verdict are made of the figures that it
//! gathers, so that another machine may answer otherwise.

mod counted;
mod lab;
mod layers;
mod numeric;

pub use lab::{Lab, Timed, compute};

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Whether a claim is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// It is.
    Yes,
    /// Under conditions: the sentence says which.
    InPart,
    /// It isn't.
    No,
}

impl Holds {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Holds::Yes => "holds",
            Holds::InPart => "holds in part",
            Holds::No => "does not hold",
        }
    }

    /// All of some conditions, some of them, or none.
    fn of(conditions: &[bool]) -> Holds {
        match conditions.iter().filter(|&&c| c).count() {
            0 => Holds::No,
            n if n == conditions.len() => Holds::Yes,
            _ => Holds::InPart,
        }
    }
}

/// A figure for or against a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is of.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// Its unit; empty of a bare number.
    pub unit: String,
    /// Whether it was measured, or counted.
    pub measured: bool,
}

/// A figure that was counted.
fn counted(what: impl Into<String>, value: f64, unit: &str) -> Figure {
    Figure {
        what: what.into(),
        value,
        unit: unit.into(),
        measured: false,
    }
}

/// A figure that was measured.
fn measured(what: impl Into<String>, value: f64, unit: &str) -> Figure {
    Figure {
        measured: true,
        ..counted(what, value, unit)
    }
}

/// What came of a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Its number, from 1.
    pub number: usize,
    /// What is claimed.
    pub claim: String,
    /// Whether it holds.
    pub holds: Holds,
    /// Why and where, in a sentence.
    pub answer: String,
    /// For and against it.
    pub evidence: Vec<Figure>,
}

/// What a claim's function finds: whether it holds, the sentence, the figures.
type Found = (Holds, String, Vec<Figure>);

/// What is claimed, and what answers it.
pub struct Claim {
    /// In a sentence.
    pub text: &'static str,
    answer: fn(&mut Lab<'_>) -> Result<Found>,
}

/// All claims.
pub const CLAIMS: [Claim; 14] = [
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
];

impl Claim {
    /// Gathers the figures.
    ///
    /// # Errors
    /// When something can't be measured.
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
