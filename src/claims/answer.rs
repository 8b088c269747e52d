//! Answers to claims, and the figures for and against them.

use serde::{Deserialize, Serialize};

/// Verdict on a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// The claim is true.
    Yes,
    /// The claim is true under conditions, which the answer names.
    InPart,
    /// The claim is false.
    No,
}

impl Holds {
    /// The verdict as text.
    pub fn label(self) -> &'static str {
        match self {
            Holds::Yes => "holds",
            Holds::InPart => "holds in part",
            Holds::No => "does not hold",
        }
    }

    /// The verdict on a claim with several conditions: [`Holds::InPart`] if only some of them are met.
    pub(super) fn of(conditions: &[bool]) -> Holds {
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
    /// The measured or counted quantity.
    pub what: String,
    /// The value, in `unit`.
    pub value: f64,
    /// The unit; empty for a plain number.
    pub unit: String,
    /// True if it was measured, false if it was counted.
    pub measured: bool,
}

/// A counted figure.
pub(super) fn counted(what: impl Into<String>, value: f64, unit: &str) -> Figure {
    Figure {
        what: what.into(),
        value,
        unit: unit.into(),
        measured: false,
    }
}

/// A measured figure.
pub(super) fn measured(what: impl Into<String>, value: f64, unit: &str) -> Figure {
    Figure {
        measured: true,
        ..counted(what, value, unit)
    }
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Number of the claim, from 1.
    pub number: usize,
    /// The claim, in a sentence.
    pub claim: String,
    /// The verdict.
    pub holds: Holds,
    /// The reason and the conditions, in a sentence.
    pub answer: String,
    /// Figures for and against the claim.
    pub evidence: Vec<Figure>,
}

/// Result of a claim's function: the verdict, the sentence and the figures.
pub(super) type Found = (Holds, String, Vec<Figure>);
