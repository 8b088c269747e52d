//! Answers to claims, and the figures for and against them.

use crate::stats::Estimate;
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
    /// The intervals of the measurements allow several verdicts.
    CantTell,
}

impl Holds {
    /// The verdict as text.
    pub fn label(self) -> &'static str {
        match self {
            Holds::Yes => "holds",
            Holds::InPart => "holds in part",
            Holds::No => "does not hold",
            Holds::CantTell => "can't tell",
        }
    }

    /// The verdict on a claim with several conditions: [`Holds::InPart`] if only some of them are met. A condition is
    /// unknown where an interval contains its bound. Then the verdict is [`Holds::CantTell`], unless it is the same
    /// whatever the unknown conditions are.
    pub(super) fn of(conditions: &[Option<bool>]) -> Holds {
        let has = |wanted: Option<bool>| conditions.contains(&wanted);
        match (has(Some(true)), has(Some(false)), has(None)) {
            (true, true, _) => Holds::InPart,
            (.., true) => Holds::CantTell,
            (true, false, false) => Holds::Yes,
            (false, ..) => Holds::No,
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
    /// 95 % confidence interval of the value, if it is a median over rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci: Option<(f64, f64)>,
}

/// A counted figure.
pub(super) fn counted(what: impl Into<String>, value: f64, unit: &str) -> Figure {
    Figure {
        what: what.into(),
        value,
        unit: unit.into(),
        measured: false,
        ci: None,
    }
}

/// A measured figure.
pub(super) fn measured(what: impl Into<String>, value: f64, unit: &str) -> Figure {
    Figure {
        measured: true,
        ..counted(what, value, unit)
    }
}

/// A measured figure with its interval: `scale` times an estimate.
pub(super) fn estimated(
    what: impl Into<String>,
    estimate: &Estimate,
    scale: f64,
    unit: &str,
) -> Figure {
    let (low, high) = estimate.ci;
    Figure {
        ci: Some((scale * low, scale * high)),
        ..measured(what, scale * estimate.median, unit)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_no_condition_that_cannot_change_it() {
        let (yes, no, unknown) = (Some(true), Some(false), None);
        for (conditions, holds) in [
            (&[yes, yes][..], Holds::Yes),
            (&[no, no], Holds::No),
            (&[yes, no], Holds::InPart),
            (&[yes, unknown], Holds::CantTell),
            (&[no, unknown], Holds::CantTell),
            (&[unknown], Holds::CantTell),
            (&[no, unknown, yes], Holds::InPart),
        ] {
            assert_eq!(Holds::of(conditions), holds, "{conditions:?}");
        }
    }

    #[test]
    fn answers_of_older_versions_load() {
        let old = r#"{"what": "a time", "value": 2.0, "unit": "us", "measured": true}"#;
        let figure: Figure = serde_json::from_str(old).expect("a figure");
        assert_eq!(figure.ci, None);
        assert_eq!(
            serde_json::to_string(&figure).expect("JSON"),
            old.replace(": ", ":").replace(", ", ",")
        );
        let text = serde_json::to_string(&Holds::CantTell).expect("JSON");
        assert_eq!(text, "\"cant-tell\"");
    }
}
