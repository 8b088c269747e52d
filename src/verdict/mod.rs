//! One verdict a measurement, from several witnesses that don't share their errors.
//!
//! A point under a roofline can't tell a kernel that waits for L2 from one that waits for its own sums. So other
//! evidence is heard ([`witness`]): the kernel with parts taken out, with other contents of the caches, with one
//! panel of weights, on other numbers of threads, and what the CPU counted where it counts. Each votes or abstains;
//! the verdict is what most votes are for, if they are more than half, and *undecided* otherwise. Witnesses that
//! disagree with it are a finding, and shown.
//!
//! The confidence is the votes for the verdict over all votes and one more, of a witness that nobody heard: the
//! roofline alone makes 1/2, with the ablation 3/4.
//!
//! In reading order: [`witness`] (the votes), this file (the count).

pub mod witness;

pub use witness::{Case, Witness};

use crate::roofline::Verdict;
use serde::Serialize;

/// What bounds a measurement, and who says so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What bounds it.
    pub verdict: Verdict,
    /// Between 0 and 1.
    pub confidence: f64,
    /// All witnesses.
    pub witnesses: Vec<Witness>,
    /// Why, in a sentence.
    pub reason: String,
    /// Whether a witness voted for something else.
    pub disputed: bool,
}

/// Hears all witnesses, and concludes.
pub fn find(case: Case<'_>) -> Finding {
    conclude(witness::hear(case))
}

/// The verdict of some witnesses.
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
