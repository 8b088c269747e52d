//! Answers to claims, and the figures for and against them.

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
pub(super) fn counted(what: impl Into<String>, value: f64, unit: &str) -> Figure {
    Figure {
        what: what.into(),
        value,
        unit: unit.into(),
        measured: false,
    }
}

/// A figure that was measured.
pub(super) fn measured(what: impl Into<String>, value: f64, unit: &str) -> Figure {
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
pub(super) type Found = (Holds, String, Vec<Figure>);
