//! Comma-separated globs over names: `--network`, `--layer`, `--variant`, `--peers`. Names that are nearly right.

use globset::{Glob, GlobMatcher};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Comma-separated globs, such as `direct/*,winograd*`. A name matches if one of them matches it.
#[derive(Clone, Debug)]
pub struct Patterns(Vec<Pattern>);

/// One glob.
#[derive(Clone, Debug)]
pub struct Pattern(GlobMatcher);

/// Error: a part is no glob.
#[derive(Debug, thiserror::Error)]
#[error("'{part}' is not a pattern: {why}")]
pub struct BadPattern {
    part: String,
    why: globset::ErrorKind,
}

impl FromStr for Patterns {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let parts = text.split(',').map(str::trim).filter(|p| !p.is_empty());
        let glob = |part: &str| match Glob::new(part) {
            Ok(glob) => Ok(Pattern(glob.compile_matcher())),
            Err(error) => Err(BadPattern {
                part: part.into(),
                why: error.kind().clone(),
            }),
        };
        Ok(Patterns(parts.map(glob).collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(Pattern::to_string).collect();
        f.write_str(&parts.join(","))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Longest pattern, in bytes, that similar names are looked for.
const MOST_COMPARED: usize = 100;

/// Upper limit for the similar names of a pattern.
const MOST_SIMILAR: usize = 3;

impl Pattern {
    /// True if it matches the name.
    pub fn is_match(&self, name: &str) -> bool {
        self.0.is_match(name)
    }

    /// The text of the pattern.
    pub fn text(&self) -> &str {
        self.0.glob().glob()
    }
}

/// Patterns that match some of the names and are like a text, which matches none: the text with a `*` at the end, or
/// with a few letters changed.
pub fn similar<T: AsRef<str>>(text: &str, names: &[T]) -> Vec<String> {
    if text.len() > MOST_COMPARED {
        return Vec::new();
    }
    let open = format!("{text}*");
    if matches_any(&open, names) {
        return vec![open];
    }
    let (stem, rest) = text.split_at(text.find(['*', '?', '[', '{']).unwrap_or(text.len()));
    let (wanted, most) = (fold(stem), stem.len().div_ceil(4));
    let edits = |name: &str| strsim::damerau_levenshtein(&wanted, &fold(name));
    let mut near: Vec<(usize, String)> = stems(names, !rest.is_empty())
        .into_iter()
        .map(|name| (edits(name), format!("{name}{rest}")))
        .filter(|(edits, pattern)| *edits <= most && matches_any(pattern, names))
        .collect();
    near.sort();
    let fewest = near.first().map_or(0, |(edits, _)| *edits);
    near.retain(|(edits, _)| *edits == fewest);
    near.truncate(MOST_SIMILAR);
    near.into_iter().map(|(_, pattern)| pattern).collect()
}

/// True if the text is a pattern that matches one of the names.
fn matches_any<T: AsRef<str>>(text: &str, names: &[T]) -> bool {
    let glob = Glob::new(text).map(|glob| glob.compile_matcher());
    glob.is_ok_and(|glob| names.iter().any(|name| glob.is_match(name.as_ref())))
}

/// The names, and with `parts` also their beginnings that end at a separator.
fn stems<T: AsRef<str>>(names: &[T], parts: bool) -> BTreeSet<&str> {
    let mut stems = BTreeSet::new();
    for name in names {
        let name = name.as_ref();
        stems.insert(name);
        for (at, separator) in name.match_indices(['/', '-', '.']).filter(|_| parts) {
            let end = if separator == "-" { at } else { at + 1 };
            stems.insert(&name[..end]);
        }
    }
    stems
}

/// A name without case, '-' and '_'.
fn fold(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '-' | '_'));
    letters.flat_map(char::to_lowercase).collect()
}

/// The name that a word means, which may differ in case, '-' and '_'.
pub fn meant<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let word = fold(word);
    names.iter().copied().find(|name| fold(name) == word)
}

impl Patterns {
    /// True if there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if a pattern matches the name.
    pub fn is_match(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.is_match(name))
    }

    /// The patterns, with the name itself in place of each that differs from it in case, '-' and '_' only.
    pub fn resolved(&self, names: &[&str]) -> Self {
        let resolve = |pattern: &Pattern| {
            let known = names.iter().any(|name| pattern.is_match(name));
            let meant = meant(pattern.text(), names).filter(|_| !known);
            let glob = meant.and_then(|name| Glob::new(name).ok());
            glob.map_or_else(|| pattern.clone(), |glob| Pattern(glob.compile_matcher()))
        };
        Patterns(self.0.iter().map(resolve).collect())
    }

    /// The patterns that match none of the names. Each is probably a typo.
    pub fn unmatched<T: AsRef<str>>(&self, names: &[T]) -> impl Iterator<Item = &Pattern> {
        let matches = |pattern: &Pattern| names.iter().any(|name| pattern.is_match(name.as_ref()));
        self.0.iter().filter(move |pattern| !matches(pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_one_of_the_patterns() {
        let patterns: Patterns = " direct/*, winograd* ,,".parse().expect("patterns");
        assert!(patterns.is_match("direct/avx2/st") && patterns.is_match("winograd-f2x3"));
        assert!(!patterns.is_match("im2col/avx2/st"));
        assert_eq!(patterns.to_string(), "direct/*,winograd*");
        let unmatched = |names: &[&str]| -> Vec<String> {
            patterns.unmatched(names).map(Pattern::to_string).collect()
        };
        assert_eq!(unmatched(&["direct/avx2/st"]), ["winograd*"]);
        assert_eq!(unmatched(&["direct/a", "winograd"]), [""; 0]);
        assert!(Patterns::from_str(", ").expect("none").is_empty());
    }

    #[test]
    fn names_are_meant_without_case_and_separators() {
        let names = ["resnet50", "nin", "nin-d2l"];
        let resolved = |text: &str| {
            Patterns::from_str(text)
                .expect("patterns")
                .resolved(&names)
                .to_string()
        };
        assert_eq!(resolved("ResNet-50,NIN_D2L"), "resnet50,nin-d2l");
        assert_eq!(resolved("nin*,resnet5"), "nin*,resnet5");
        assert_eq!(meant("NinD2L", &names), Some("nin-d2l"));
    }

    #[test]
    fn near_misses_have_similar_patterns() {
        let names = [
            "direct/avx2/st",
            "direct/avx512/st",
            "winograd-f4x3/avx2/st",
            "winograd-f4x3-std/avx2/st",
        ];
        let similar = |text: &str| similar(text, &names);
        assert_eq!(similar("direct"), ["direct*"]);
        assert_eq!(similar("diretc/*"), ["direct/*"]);
        assert_eq!(similar("winogrd*"), ["winograd*"]);
        assert_eq!(similar("direct/avx/st"), ["direct/avx2/st"]);
        assert_eq!(similar("Winograd-F4x3/avx2/st"), ["winograd-f4x3/avx2/st"]);
        assert_eq!(similar("nothing/like/it"), [""; 0]);
        assert_eq!(similar(&"d".repeat(1000)), [""; 0]);
    }

    #[test]
    fn what_is_no_glob_is_named() {
        let error = Patterns::from_str("a,[").expect_err("no glob").to_string();
        assert!(
            error.starts_with("'[' is not a pattern: unclosed"),
            "{error}"
        );
    }
}
