//! Escaping of untrusted text: one function per destination, used by every writer.
//!
//! Text from a record, a layer's name, the machine, a peer's answer or the command line may contain anything. Examples
//! are markup, scripts, terminal commands and characters that reverse the direction of a line. Every function here
//! first makes such characters visible ([`visible`]).

use base64::Engine;
use convroof_kernels::problem::excerpt;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Value};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write;

/// Longest error message in the terminal, in characters.
const MOST_OF_AN_ERROR: usize = 2000;

/// True if a character has an effect instead of a shape: control characters, line separators and direction marks
/// (Unicode's UAX 9). Direction marks could make a line read as another one.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
            | '\u{e0000}'..='\u{e007f}')
}

/// The text on one line, with each active character as an escape of Rust: `\n`, `\u{1b}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, acts)
}

/// The text, with some of its characters as escapes of Rust.
fn escaped(text: &str, which: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&which) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if !which(c) => out.push(c),
            '\n' | '\r' | '\t' => out.extend(c.escape_default()),
            c => out.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

/// An error for the terminal, on one line of limited length.
pub fn error_line(text: &str) -> String {
    excerpt(&visible(&text.replace('\n', " ")), MOST_OF_AN_ERROR).into()
}

/// A message for standard error: [`error_line`] after the program's name.
pub fn note(text: &str) -> String {
    format!("convroof: {}", error_line(text))
}

/// Output of several lines for the terminal. With `colours`, colour sequences (`ESC [ .. m`) stay.
///
/// Tables and other lines consist of texts that are already [`visible`]. All of them pass this function as well.
pub fn lines(text: &str, colours: bool) -> Cow<'_, str> {
    let harmless = |c: char| c == '\n' || !acts(c);
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(at) = rest.find(|c| !harmless(c)) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let len = match colours.then(|| colour_len(from)).flatten() {
            Some(len) => {
                out.push_str(&from[..len]);
                len
            }
            None => {
                let len = from.chars().next().map_or(0, char::len_utf8);
                out.push_str(&visible(&from[..len]));
                len
            }
        };
        rest = &from[len..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Length in bytes of a colour sequence at the beginning of a text.
fn colour_len(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    parameters[end..].starts_with('m').then_some(2 + end + 1)
}

/// A JSON document on one line, with JSON escapes for active characters in its strings. Its value doesn't change.
pub fn json(document: &str) -> Cow<'_, str> {
    if !document.contains(acts) {
        return Cow::Borrowed(document);
    }
    let mut out = String::with_capacity(document.len() + 8);
    for c in document.chars() {
        if acts(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Text inside HTML, SVG and other XML, or inside a quoted attribute.
pub fn markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Text in Markdown: unchanged if no part can be read as markup, a link or a mention, otherwise as code.
pub fn markdown(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || " ._,:;%()/+-=!?'\"@".contains(c);
    let word = |at: usize| {
        let beside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        beside(text[..at].chars().next_back()) && beside(text[at + 1..].chars().next())
    };
    let harmless = text.starts_with(char::is_alphanumeric)
        && text.chars().all(plain)
        // Renderers turn addresses into links, and names after an @ into mentions.
        && !text.to_ascii_lowercase().contains("www.")
        && !text.contains("://")
        && text.match_indices('@').all(|(at, _)| text[at + 1..].starts_with(' '))
        // An underscore at the edge of a word may begin or end emphasis.
        && text.match_indices('_').all(|(at, _)| word(at));
    if harmless {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(markdown_code(text))
    }
}

/// Text as code in Markdown. A bar is escaped, since it would end the cell of a table even in code.
pub fn markdown_code(text: &str) -> String {
    let text = escaped(text, |c| acts(c) || c == '`' || c == '|');
    match text.trim().is_empty() {
        true => "-".into(),
        false => format!("`{text}`"),
    }
}

/// A page of `template`. Every text is escaped unless it has `|safe`. Only the template's own script and style elements
/// run: the Content Security Policy lists their hashes. In the template, [`POLICY`] comes first, then a `<style>`, then
/// any other text.
///
/// # Panics
/// If the template is invalid. Tests render every template.
pub fn page(template: &str, context: Value) -> String {
    let page = rendered(template, context);
    let scripts: Vec<String> = own_scripts(template).map(hash).collect();
    with_policy(&page, &scripts, "")
}

/// A [`page`] with an app, a script that the template contains as `<script>{{ app|safe }}</script>`. The app may also show
/// images that it makes itself.
///
/// # Panics
/// If the template is invalid. Tests render every template.
pub fn page_with_app(template: &str, app: &str, context: Value) -> String {
    let page = rendered(template, context);
    let own = own_scripts(template).filter(|script| !script.contains("app|safe"));
    let scripts: Vec<String> = own.chain([app]).map(hash).collect();
    with_policy(&page, &scripts, "; img-src data: blob:")
}

fn rendered(template: &str, context: Value) -> String {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_formatter(|out, state, value| {
        let is_text = value.kind() == ValueKind::String && !value.is_safe();
        match value.as_str().filter(|_| is_text) {
            Some(text) => Ok(out.write_str(&markup(text))?),
            None => minijinja::escape_formatter(out, state, value),
        }
    });
    environment
        .render_str(template, context)
        .expect("the template renders")
}

/// Scripts of a template. Those of a page may come from other text.
fn own_scripts(template: &str) -> impl Iterator<Item = &str> {
    between(template, "<script>", "</script>")
}

/// The page with its policy, in which `scripts` are hashes and `more` are further directives.
fn with_policy(page: &str, scripts: &[String], more: &str) -> String {
    let style = between(page, "<style>", "</style>").next().map(hash);
    let style = style.expect("the template has a style");
    let scripts = match scripts {
        [] => "'none'".into(),
        _ => scripts.join(" "),
    };
    let policy = format!(
        "default-src 'none'; script-src {scripts}; style-src {style}; style-src-elem {style}{more}; base-uri 'none'; form-action 'none'"
    );
    page.replacen(POLICY, &policy, 1)
}

/// Placeholder of the policy in a template.
pub const POLICY: &str = "POLICY-OF-THIS-PAGE";

/// A hash in the form that a Content Security Policy needs.
fn hash(content: &str) -> String {
    let digest = Sha256::digest(content.as_bytes());
    let digest = base64::engine::general_purpose::STANDARD.encode(digest);
    format!("'sha256-{digest}'")
}

/// Each piece of a text between `open` and `close`.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    let pieces = text.split(open).skip(1);
    pieces.filter_map(move |piece| Some(piece.split_once(close)?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_seen() {
        assert_eq!(visible("conv1 größer 图"), "conv1 größer 图");
        assert_eq!(
            visible("a\u{1b}[31mb\r\nc\u{202e}d\u{9b}e\0"),
            "a\\u{1b}[31mb\\r\\nc\\u{202e}d\\u{9b}e\\u{0}"
        );
    }

    #[test]
    fn only_our_colours_reach_a_terminal() {
        let text = "a\u{1b}[38;5;10mb\u{1b}[0m\nc";
        assert_eq!(lines(text, true), text);
        assert_eq!(lines(text, false), "a\\u{1b}[38;5;10mb\\u{1b}[0m\nc");
        for bad in [
            "\u{1b}]0;title\u{7}",
            "\u{1b}[2J",
            "\u{1b}[",
            "\u{1b}",
            "\u{9b}1m",
            "\r",
            "\u{202e}",
        ] {
            let shown = lines(bad, true).into_owned();
            assert!(!shown.contains(acts), "{shown:?}");
        }
    }

    #[test]
    fn json_stays_the_same_document() {
        let text = "a\u{1b}b\u{7f}c\u{9b}d\u{202e}e\u{e0001}f\n\"\\";
        let document = serde_json::to_string(text).expect("JSON");
        let shown = json(&document);
        assert!(!shown.contains(acts), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).expect("JSON"), text);
    }

    #[test]
    fn an_error_is_one_line_of_a_sensible_length() {
        assert_eq!(error_line("no\nfile \u{1b}c"), "no file \\u{1b}c");
        let long = error_line(&"ü\u{7}".repeat(100_000));
        assert_eq!(long.chars().count(), MOST_OF_AN_ERROR);
        assert!(long.contains('…'));
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(
            markup("<a href='x' id=\"y\">&amp;\n"),
            "&lt;a href=&#39;x&#39; id=&quot;y&quot;&gt;&amp;amp;\\n"
        );
    }

    #[test]
    fn markdown_is_text_or_code() {
        for plain in [
            "conv2_x.3x3",
            "inception 3a/5x5",
            "AMD EPYC 9R14 (Zen 4)",
            "Intel(R) Xeon(R) CPU @ 2.20GHz, 1 cores",
            "missing (a=4): cycles; b",
        ] {
            assert_eq!(markdown(plain), plain);
        }
        for (text, code) in [
            ("a|b", "`a\\u{7c}b`"),
            ("a`b\\|", "`a\\u{60}b\\\\u{7c}`"),
            ("*a*", "`*a*`"),
            ("_a_", "`_a_`"),
            ("<b>", "`<b>`"),
            ("@who", "`@who`"),
            ("see #1", "`see #1`"),
            ("www.example.com", "`www.example.com`"),
            ("https://example.com", "`https://example.com`"),
            ("# a", "`# a`"),
            ("a\n\nb", "`a\\n\\nb`"),
            ("", "-"),
            (" ", "-"),
        ] {
            assert_eq!(markdown(text), code, "{text}");
        }
    }

    #[test]
    fn a_page_allows_its_own_script_and_style_alone() {
        let template = "<meta content=\"POLICY-OF-THIS-PAGE\"><style>b{}{{ s|safe }}</style><script>a()</script>{{ t }}<i title=\"{{ t }}\"></i>";
        let hostile = "<script>evil()</script>\"'POLICY-OF-THIS-PAGE";
        let page = page(template, minijinja::context! { s => "i{}", t => hostile });
        // `printf 'a()' | openssl dgst -sha256 -binary | base64`
        for part in [
            "default-src 'none'; script-src 'sha256-qVpDBgj7bpq5hMAcGp3AOc79J3Y1Z4HvySTwKrWDoy4=';",
            "<style>b{}i{}</style><script>a()</script>&lt;script&gt;evil()&lt;/script&gt;&quot;&#39;POLICY",
            "<i title=\"&lt;script&gt;",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert_eq!(page.matches("sha256").count(), 3);
    }

    #[test]
    fn an_app_is_allowed_by_its_own_hash() {
        let template = "<meta content=\"POLICY-OF-THIS-PAGE\"><style>b{}</style><script>{{ app|safe }}</script>{{ t }}";
        let context = minijinja::context! { app => "a()", t => "<script>evil()</script>" };
        let page = page_with_app(template, "a()", context);
        let hash = "'sha256-qVpDBgj7bpq5hMAcGp3AOc79J3Y1Z4HvySTwKrWDoy4='";
        assert!(
            page.contains(&format!("script-src {hash}; style-src ")),
            "{page}"
        );
        assert!(page.contains("; img-src data: blob:;"), "{page}");
        assert!(
            page.contains("<script>a()</script>&lt;script&gt;"),
            "{page}"
        );
        assert_eq!(page.matches("sha256").count(), 3);
    }
}
