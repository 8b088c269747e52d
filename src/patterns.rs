//! Comma-separated globs over names: `--network`, `--layer`, `--variant`, `--peers`.

use globset::{Glob, GlobMatcher};
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
        f.write_str(self.0.glob().glob())
    }
}

impl Pattern {
    /// True if it matches the name.
    pub fn is_match(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
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
    fn what_is_no_glob_is_named() {
        let error = Patterns::from_str("a,[").expect_err("no glob").to_string();
        assert!(
            error.starts_with("'[' is not a pattern: unclosed"),
            "{error}"
        );
    }
}
