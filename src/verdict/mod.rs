//! One verdict per measurement, from several witnesses with independent errors.
//!
//! A point under a roofline can't distinguish a kernel that waits for L2 from one that waits for its own sums. So
//! further evidence counts ([`witness`]):
//!
//! - the kernel with parts removed,
//! - with other cache contents,
//! - with a single panel of weights,
//! - on other numbers of threads,
//! - hardware counters, if there are any.
//!
//! Each witness votes or abstains. The verdict needs more than half of the votes, and is *undecided* otherwise. Reports
//! show witnesses that disagree.
//!
//! Compute bound means near the arithmetic roof: no witness votes for it below [`EXPLAINS`](crate::roofline::EXPLAINS).
//! Evidence for the core without that roof is a vote for *core bound*, or in a short run for overheads.
//!
//! Confidence = votes for the verdict / (votes cast + 1), so it never reaches 1. The roofline alone gives 1/2, or 2/3
//! where its bound explains nearly all of the time; with the ablation 3/4 or 4/5.
//!
//! In reading order: `scaling.rs` (one thread against several), [`witness`] (the votes), this file (their count).

mod scaling;
pub mod witness;

pub use witness::{Case, Witness};

use crate::roofline::Verdict;
use serde::Serialize;

/// Verdict on a measurement, with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The bound of the measurement.
    pub verdict: Verdict,
    /// Confidence, between 0 and 1.
    pub confidence: f64,
    /// All witnesses.
    pub witnesses: Vec<Witness>,
    /// Reason, in a sentence.
    pub reason: String,
    /// True if a witness voted for another verdict.
    pub disputed: bool,
}

/// Collects all votes and returns the verdict.
pub fn find(case: Case<'_>) -> Finding {
    conclude(witness::collect(case))
}

/// Verdict from the votes of some witnesses.
pub fn conclude(witnesses: Vec<Witness>) -> Finding {
    let votes = |v: Verdict| -> f64 {
        let own = witnesses.iter().filter(|w| w.vote == Some(v));
        own.map(|w| w.weight).sum()
    };
    let cast: f64 = Verdict::ALL.into_iter().map(votes).sum();
    let first = Verdict::ALL
        .into_iter()
        .max_by(|&a, &b| votes(a).total_cmp(&votes(b)))
        .filter(|&v| votes(v) > cast / 2.0);
    let verdict = first.unwrap_or(Verdict::Undecided);
    let clauses = |wanted: &dyn Fn(&Witness) -> bool| {
        let said = witnesses.iter().filter(|w| wanted(w));
        said.map(|w| w.says.as_str()).collect::<Vec<_>>().join("; ")
    };
    let against = |w: &Witness| w.vote.is_some_and(|v| v != verdict);
    let disputed = verdict != Verdict::Undecided && witnesses.iter().any(against);
    let reason = match first {
        Some(_) => {
            let mut reason = clauses(&|w| w.vote == first);
            if disputed {
                let others: Vec<String> = witnesses
                    .iter()
                    .filter(|w| against(w))
                    .map(|w| {
                        let vote = w.vote.map_or("undecided", Verdict::label);
                        let say = if w.witness.ends_with('s') {
                            "say"
                        } else {
                            "says"
                        };
                        format!("the {} {say} {vote}: {}", w.witness, w.says)
                    })
                    .collect();
                reason += &format!("; but {}", others.join("; "));
            }
            reason
        }
        None if cast > 0.0 => format!("the witnesses disagree: {}", clauses(&|_| true)),
        None => clauses(&|_| true),
    };
    Finding {
        verdict,
        confidence: first.map_or(0.0, votes) / (cast + 1.0),
        reason: match reason.as_str() {
            "" => "the machine was not calibrated for these threads".into(),
            _ => reason,
        },
        disputed,
        witnesses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(witness: &'static str, vote: Option<Verdict>, weight: f64) -> Witness {
        let says = format!("{witness} speaks");
        Witness {
            witness,
            vote,
            weight,
            says,
        }
    }

    #[test]
    fn the_majority_decides_and_dissent_is_shown() {
        use Verdict::{Compute, L2};
        let finding = conclude(vec![
            witness("roofline", Some(L2), 1.0),
            witness("ablation", Some(Compute), 2.0),
            witness("panel", None, 1.0),
        ]);
        assert_eq!(finding.verdict, Compute);
        assert_eq!(finding.confidence, 0.5);
        assert!(finding.disputed);
        let wanted = "ablation speaks; but the roofline says L2 bound: roofline speaks";
        assert_eq!(finding.reason, wanted);
    }

    #[test]
    fn agreement_raises_the_confidence() {
        let compute = Some(Verdict::Compute);
        let one = conclude(vec![witness("roofline", compute, 1.0)]);
        let two = conclude(vec![
            witness("roofline", compute, 1.0),
            witness("ablation", compute, 2.0),
        ]);
        assert_eq!((one.confidence, two.confidence), (0.5, 0.75));
        assert!(!one.disputed && !two.disputed);
    }

    #[test]
    fn a_tie_and_silence_are_undecided() {
        let tie = conclude(vec![
            witness("roofline", Some(Verdict::L2), 1.0),
            witness("panel", Some(Verdict::Compute), 1.0),
        ]);
        assert_eq!((tie.verdict, tie.confidence), (Verdict::Undecided, 0.0));
        assert!(tie.reason.starts_with("the witnesses disagree: roofline"));
        assert_eq!(conclude(Vec::new()).verdict, Verdict::Undecided);
    }
}
