//! The page of a text report: its width and colours, prose that wraps at words, names that are shortened.

use crate::escape::visible;
use console::{Style, measure_text_width};
use std::borrow::Cow;
use textwrap::{Options, WordSplitter};

/// Width, colours and completeness of a text report.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Longest line, in columns of the terminal.
    pub width: usize,
    /// True if a table has all its columns, although they are wider than the page.
    pub wide: bool,
    /// True if the output is coloured.
    pub colour: bool,
}

impl Page {
    /// Width where there is no terminal.
    pub const WIDTH: usize = 80;
    /// Smallest width. Lines wrap on a narrower terminal.
    pub const NARROWEST: usize = 40;

    /// A page of some width, without colours.
    pub fn plain(width: usize) -> Self {
        Page {
            width,
            wide: false,
            colour: false,
        }
    }

    /// A paragraph, with a newline at its end. A line breaks within a word only if the word is longer than the line.
    pub fn prose(&self, text: &str) -> String {
        self.fill(text, "")
    }

    /// A paragraph like [`prose`](Page::prose), of which all lines but the first are indented.
    pub fn item(&self, text: &str) -> String {
        self.fill(text, "  ")
    }

    fn fill(&self, text: &str, indent: &str) -> String {
        // No line begins with the sign of a percentage.
        let text = visible(text).replace(" %", "\u{a0}%");
        let options = Options::new(self.width)
            .word_splitter(WordSplitter::NoHyphenation)
            .subsequent_indent(indent);
        textwrap::fill(&text, options).replace('\u{a0}', " ") + "\n"
    }

    /// Text in a style if the page is coloured, unchanged otherwise.
    pub fn styled<'a>(&self, text: &'a str, style: &Style) -> Cow<'a, str> {
        match self.colour {
            true => style
                .clone()
                .force_styling(true)
                .apply_to(text)
                .to_string()
                .into(),
            false => text.into(),
        }
    }
}

/// The text in at most `width` columns of the terminal. An ellipsis stands for what is left out in the middle.
pub fn shorten(text: &str, width: usize) -> Cow<'_, str> {
    if measure_text_width(text) <= width {
        return text.into();
    }
    let room = width.saturating_sub(1);
    let head: String = fitting(text.chars(), room.div_ceil(2));
    let tail: String = fitting(
        text.chars().rev(),
        room.saturating_sub(measure_text_width(&head)),
    );
    let tail: String = tail.chars().rev().collect();
    format!("{head}…{tail}").into()
}

/// The first characters that fit in some columns of the terminal.
fn fitting(chars: impl Iterator<Item = char>, room: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|&c| {
            used += match c {
                // It makes the character before it wide.
                '\u{fe0f}' => 1,
                c => measure_text_width(c.encode_utf8(&mut [0; 4])),
            };
            used <= room
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    #[test]
    fn names_are_shortened_in_the_middle() {
        let name = "winograd-f4x4-s2d/avx512/st";
        assert_eq!(shorten(name, 27), name);
        assert_eq!(shorten(name, 22), "winograd-f4…/avx512/st");
        assert_eq!(shorten("図図図図", 6), "図…図");
        assert_eq!(shorten("abc", 1), "…");
    }

    #[test]
    fn prose_breaks_at_words() {
        let text = "a name-of-a-variant and the rest 8888 % of it";
        assert_eq!(
            Page::plain(20).item(text),
            "a name-of-a-variant\n  and the rest\n  8888 % of it\n"
        );
        assert_eq!(Page::plain(80).prose(text), format!("{text}\n"));
    }

    #[test]
    fn only_coloured_pages_have_colours() {
        let green = Style::new().green();
        assert_eq!(Page::plain(80).styled("a", &green), "a");
        let page = Page {
            colour: true,
            ..Page::plain(80)
        };
        assert_eq!(page.styled("a", &green), "\u{1b}[32ma\u{1b}[0m");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_its_page(text in "[a-z 図é\u{1f600}\u{2600}\u{fe0f}%.]{0,300}", width in 40..200usize) {
            for line in Page::plain(width).item(&text).lines() {
                prop_assert!(measure_text_width(line) <= width + line.matches('\u{fe0f}').count(), "{line:?}");
            }
            let short = shorten(&text, width);
            prop_assert!(measure_text_width(&short) <= width, "{short:?}");
        }
    }
}
