//! Layers, variants and threads to compare.

use super::Pair;
use crate::patterns::Patterns;
use crate::record::{CandidateId, Text};
use anyhow::{Result, bail};
use convroof_kernels::Problem;
use convroof_kernels::registry::Threading;

/// Layers, variants and threads to compare. Some builds may not support them.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The layers' problems.
    pub problems: Vec<Problem>,
    /// Patterns of the variants' ids.
    pub variants: Patterns,
    /// Numbers of threads.
    pub threads: Vec<usize>,
}

impl Wanted {
    /// True if `pairs` are at most `most` and all of them were requested.
    pub fn covers(&self, pairs: &[Pair], most: usize) -> bool {
        let own = |p: &Pair| {
            self.problems.iter().any(|own| p.problem.is(own))
                && self.variants.is_match(p.variant.as_str())
                && self.threads.contains(&p.threads)
        };
        pairs.len() <= most && pairs.iter().all(own)
    }

    /// The pairs of these problems with some of the builds' variants. `note` gets each pattern without a variant.
    ///
    /// # Errors
    /// When no variant matches, or none runs on a number of threads.
    pub fn pairs(&self, variants: &[CandidateId], mut note: impl FnMut(&str)) -> Result<Vec<Pair>> {
        let mut known: Vec<&CandidateId> = Vec::new();
        for id in variants {
            if self.variants.is_match(id.as_str()) && !known.contains(&id) {
                known.push(id);
            }
        }
        if known.is_empty() {
            bail!(
                "no variant matches '{}': write <algorithm>/<isa>/<st|mt>, or patterns such as 'direct/*'; convroof list has all",
                self.variants
            );
        }
        let names: Vec<&str> = known.iter().map(|id| id.as_str()).collect();
        for pattern in self.variants.unmatched(&names) {
            note(&format!(
                "no variant of '{pattern}' runs on this machine in either build"
            ));
        }
        for &threads in &self.threads {
            if !known.iter().any(|id| fits(id, threads)) {
                bail!(
                    "--threads {threads}: none of the variants of '{}' runs on {threads}: st variants run on 1 thread, mt variants on 2 or more",
                    self.variants
                );
            }
        }
        let mut pairs = Vec::new();
        for problem in &self.problems {
            for id in &known {
                let threads = self.threads.iter().filter(|&&threads| fits(id, threads));
                pairs.extend(threads.map(|&threads| Pair {
                    problem: Text::of(*problem),
                    variant: (*id).clone(),
                    threads,
                }));
            }
        }
        Ok(pairs)
    }
}

/// True if a variant runs on this number of threads.
fn fits(id: &CandidateId, threads: usize) -> bool {
    let threading = id.variant().map(|id| id.threading);
    threading.is_some_and(|t| (t == Threading::St) == (threads == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_or_a_number_of_threads_without_a_variant_is_refused() {
        let wanted = |variants: &str, threads: &[usize]| Wanted {
            problems: vec!["mb1ic16ih8oc16kh3ph1".parse().expect("a problem")],
            variants: variants.parse().expect("patterns"),
            threads: threads.to_vec(),
        };
        let known = ["direct/avx2/st", "direct/avx2/mt"].map(CandidateId::from);
        let mut notes = Vec::new();
        let pairs =
            wanted("direct/*,fc/*", &[1, 2]).pairs(&known, |text| notes.push(text.to_string()));
        assert_eq!(pairs.expect("pairs").len(), 2);
        assert_eq!(
            notes,
            ["no variant of 'fc/*' runs on this machine in either build"]
        );
        for (variants, threads) in [
            ("direct/*/st", &[1, 2][..]),
            ("direct/*/mt", &[1]),
            ("fc/*", &[1]),
        ] {
            let pairs = wanted(variants, threads).pairs(&known, |_| ());
            assert!(pairs.is_err(), "{variants}");
        }
    }
}
