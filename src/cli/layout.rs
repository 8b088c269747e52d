//! Layout of text: the width of the terminal, and `--wide`.

use super::output::colour;
use crate::report::page::Page;
use console::Term;
use std::sync::OnceLock;

/// Option of all subcommands with tables.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Show all columns of tables, also those that don't fit in the terminal
    #[arg(long, global = true)]
    wide: bool,
}

/// True if this process shows all columns.
static WIDE: OnceLock<bool> = OnceLock::new();

impl Layout {
    /// Makes this the layout of this process.
    pub(super) fn apply(self) {
        let _ = WIDE.set(self.wide);
    }
}

/// The page that text is laid out on.
pub(super) fn page() -> Page {
    Page {
        width: width(std::env::var("COLUMNS").ok().as_deref()),
        wide: WIDE.get().copied().unwrap_or_default(),
        colour: colour(),
    }
}

/// Columns of the terminal. COLUMNS has precedence. Where there is no terminal, the width is [`Page::WIDTH`].
fn width(columns: Option<&str>) -> usize {
    let given = columns.and_then(|n| n.parse().ok()).filter(|&n| n > 0);
    let own = || Some(usize::from(Term::stdout().size_checked()?.1));
    let width = given.or_else(own).unwrap_or(Page::WIDTH);
    width.max(Page::NARROWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_precedence() {
        assert_eq!(width(Some("132")), 132);
        assert_eq!(width(Some("3")), Page::NARROWEST);
        for nothing in [None, Some("0"), Some("wide"), Some("")] {
            assert_eq!(width(nothing), width(None));
        }
    }
}
