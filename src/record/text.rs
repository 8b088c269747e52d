//! Fields that are text in a record and values in this program.
//!
//! A newer program, or one with other kernels, may write names that this one can't parse. Such names don't make a
//! record unreadable. Each text is parsed once, when the record is read, and kept for tables, comparisons and files.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;

/// A text of a record, with its value if this program can parse it. Order and equality are those of the text.
#[derive(Clone, Debug)]
pub struct Text<T> {
    text: String,
    value: Option<T>,
}

impl<T> Text<T> {
    /// The text of a value.
    pub fn of(value: T) -> Self
    where
        T: fmt::Display,
    {
        Text {
            text: value.to_string(),
            value: Some(value),
        }
    }

    /// The value; none if this program can't parse the text.
    pub fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// True if this is the parsed value.
    pub fn is(&self, value: &T) -> bool
    where
        T: PartialEq,
    {
        self.value.as_ref() == Some(value)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<T: FromStr + Clone> Text<T> {
    /// The value, for callers that need one.
    ///
    /// # Errors
    /// The parser's reason why the text has no value.
    pub fn parsed(&self) -> Result<T, T::Err> {
        match &self.value {
            Some(value) => Ok(value.clone()),
            None => self.text.parse(),
        }
    }
}

impl<T: FromStr> From<String> for Text<T> {
    fn from(text: String) -> Self {
        Text {
            value: text.parse().ok(),
            text,
        }
    }
}

impl<T: FromStr> From<&str> for Text<T> {
    fn from(text: &str) -> Self {
        text.to_string().into()
    }
}

impl<T> Default for Text<T> {
    fn default() -> Self {
        Text {
            text: String::new(),
            value: None,
        }
    }
}

impl<T> Deref for Text<T> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.text
    }
}

impl<T> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl<T> PartialEq for Text<T> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<T> Eq for Text<T> {}

impl<T> PartialEq<&str> for Text<T> {
    fn eq(&self, other: &&str) -> bool {
        self.text == *other
    }
}

impl<T> PartialOrd for Text<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Text<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl<T> Hash for Text<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<T> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(to)
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(String::deserialize(from)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convroof_kernels::Problem;

    #[test]
    fn text_that_is_no_value_is_kept() {
        let json = ["\"mb1ic16ih8oc16oh8kh3ph1\"", "\"--dream mb1\""];
        let [known, newer] =
            json.map(|json| serde_json::from_str::<Text<Problem>>(json).expect("a text"));
        let problem = known.parsed().expect("a problem");
        assert!(known.is(&problem) && known == Text::of(problem));
        assert_eq!((newer.value(), newer.as_str()), (None, "--dream mb1"));
        assert!(
            newer
                .parsed()
                .expect_err("newer")
                .to_string()
                .contains("--dream")
        );
        assert_eq!(
            serde_json::to_string(&[known, newer]).expect("JSON"),
            format!("[{}]", json.join(","))
        );
    }
}
