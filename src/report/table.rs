//! Tables for the terminal: the first columns, as many as fit in the page, and a legend that explains their headings.

use super::page::{Page, shorten};
use crate::escape::visible;
use console::{Style, measure_text_width};
use std::borrow::Cow;
use std::fmt::Display;

/// A column, the most important one first.
#[derive(Clone, Debug)]
pub struct Column {
    heading: &'static str,
    meaning: Cow<'static, str>,
    kind: Kind,
    marks: Vec<(&'static str, Cow<'static, str>)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Aligned to the left. Longer texts than `least` may be shortened to `least` columns of the terminal.
    Text { least: usize },
    /// Aligned to the right, never shortened.
    Number,
}

impl Column {
    /// A column of texts, with the meaning of its heading for the legend.
    pub fn text(heading: &'static str, meaning: impl Into<Cow<'static, str>>) -> Self {
        let kind = Kind::Text { least: 12 };
        Column {
            heading,
            meaning: meaning.into(),
            kind,
            marks: Vec::new(),
        }
    }

    /// A column of numbers, with the meaning of its heading for the legend.
    pub fn number(heading: &'static str, meaning: impl Into<Cow<'static, str>>) -> Self {
        Column {
            kind: Kind::Number,
            ..Column::text(heading, meaning)
        }
    }

    /// The column, whose texts are shortened to no fewer than `least` columns of the terminal.
    pub fn least(self, least: usize) -> Self {
        Column {
            kind: Kind::Text { least },
            ..self
        }
    }

    /// The column with the meaning of a mark behind a value.
    pub fn mark(mut self, mark: &'static str, meaning: impl Into<Cow<'static, str>>) -> Self {
        self.marks.push((mark, meaning.into()));
        self
    }
}

/// A cell: a value, a mark behind it, and a style. An empty text is no value.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    mark: &'static str,
    style: Style,
}

impl Cell {
    /// A cell of a value. Its active characters are made visible.
    pub fn new(value: impl Display) -> Self {
        Cell {
            text: visible(&value.to_string()).into(),
            ..Cell::default()
        }
    }

    /// The cell with a mark behind its value, if it is marked.
    pub fn mark(self, mark: &'static str, marked: bool) -> Self {
        match marked {
            true => Cell { mark, ..self },
            false => self,
        }
    }

    /// The cell in a style.
    pub fn style(self, style: Style) -> Self {
        Cell { style, ..self }
    }
}

impl<T: Display> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(Cell::default, Cell::new)
    }
}

#[derive(Clone, Debug)]
enum Line<const N: usize> {
    Section(String),
    Row(Box<[Cell; N]>),
}

/// A table of `N` columns.
#[derive(Clone, Debug)]
pub struct Table<const N: usize> {
    columns: [Column; N],
    lines: Vec<Line<N>>,
}

/// Space between columns.
const GAP: &str = "  ";

/// A column's place on the page. Widths are columns of the terminal.
#[derive(Clone, Copy, Debug)]
struct Place {
    column: usize,
    /// Width of its texts.
    width: usize,
    /// Width of its longest text.
    longest: usize,
    /// Width of its longest mark.
    mark: usize,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub fn new(columns: [Column; N]) -> Self {
        Table {
            columns,
            lines: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [Cell; N]) {
        self.lines.push(Line::Row(Box::new(cells)));
    }

    /// Adds a title for the rows below it.
    pub fn section(&mut self, title: &str) {
        self.lines.push(Line::Section(visible(title).into()));
    }

    /// True if the table has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows().next().is_none()
    }

    fn rows(&self) -> impl Iterator<Item = &[Cell; N]> {
        self.lines.iter().filter_map(|line| match line {
            Line::Row(cells) => Some(&**cells),
            Line::Section(_) => None,
        })
    }

    /// Headings, rows and legend, each line with a newline. Columns without any value are left out.
    pub fn show(&self, page: &Page) -> String {
        let places = self.places(page);
        let bold = Style::new().bold();
        let heading = |c: &Column| Cell::new(c.heading).style(bold.clone());
        let mut out = self.line(&self.columns.each_ref().map(heading), &places, page);
        for line in &self.lines {
            out += &match line {
                Line::Row(cells) => self.line(cells, &places, page),
                Line::Section(title) => {
                    let width = if page.wide { usize::MAX } else { page.width };
                    format!("{}\n", page.styled(&shorten(title, width), &bold))
                }
            };
        }
        out + &self.legend(&places, page)
    }

    /// The columns that the page shows.
    fn places(&self, page: &Page) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        let mut room = page.width;
        for mut place in self.filled() {
            if page.wide {
                place.width = place.longest;
            }
            let gap = if places.is_empty() { 0 } else { GAP.len() };
            let need = gap + place.width + place.mark;
            if need > room && !page.wide {
                break;
            }
            room = room.saturating_sub(need);
            places.push(place);
        }
        // What is left goes to shortened texts, always to the narrowest.
        for _ in 0..room {
            let shortened = places.iter_mut().filter(|p| p.width < p.longest);
            let Some(narrowest) = shortened.min_by_key(|p| p.width) else {
                break;
            };
            narrowest.width += 1;
        }
        places
    }

    /// The columns with values, each with its least width.
    fn filled(&self) -> impl Iterator<Item = Place> {
        let place = move |(column, c): (usize, &Column)| {
            let cells = || self.rows().map(move |row| &row[column]);
            cells().find(|cell| !cell.text.is_empty())?;
            let widest = |of: fn(&Cell) -> &str| cells().map(|c| measure_text_width(of(c))).max();
            let longest = widest(|c| &c.text)?.max(measure_text_width(c.heading));
            Some(Place {
                column,
                width: match c.kind {
                    Kind::Text { least } => longest.min(least.max(measure_text_width(c.heading))),
                    Kind::Number => longest,
                },
                longest,
                mark: widest(|c| c.mark)?,
            })
        };
        self.columns.iter().enumerate().filter_map(place)
    }

    fn line(&self, cells: &[Cell; N], places: &[Place], page: &Page) -> String {
        let mut line = String::new();
        for (i, place) in places.iter().enumerate() {
            let (cell, kind) = (&cells[place.column], self.columns[place.column].kind);
            let text = match (cell.text.as_str(), kind) {
                ("", Kind::Number) => Cow::Borrowed("-"),
                (text, _) => shorten(text, place.width),
            };
            let pad = |used: usize, width: usize| " ".repeat(width.saturating_sub(used));
            let room = pad(measure_text_width(&text), place.width);
            let (before, after) = match kind {
                Kind::Text { .. } => ("", room.as_str()),
                Kind::Number => (room.as_str(), ""),
            };
            let gap = if i == 0 { "" } else { GAP };
            let text = page.styled(&text, &cell.style);
            line += &format!("{gap}{before}{text}{}{after}", cell.mark);
            line += &pad(measure_text_width(cell.mark), place.mark);
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    }

    /// The meaning of the headings and marks of a page, and the columns that are not on it.
    fn legend(&self, places: &[Place], page: &Page) -> String {
        let mut sentences = Vec::new();
        for place in places {
            let column = &self.columns[place.column];
            sentences.push(format!("{}: {}.", column.heading, column.meaning));
            for (mark, meaning) in &column.marks {
                if self.rows().any(|row| row[place.column].mark.contains(mark)) {
                    sentences.push(format!("{mark}: {meaning}."));
                }
            }
        }
        let hidden = self.filled().skip(places.len());
        let hidden: Vec<&str> = hidden.map(|p| self.columns[p.column].heading).collect();
        if !hidden.is_empty() {
            sentences.push(format!("--wide also shows: {}.", hidden.join(", ")));
        }
        let text = page.prose(&sentences.join(" "));
        let soft = Style::new().dim();
        let lines = text.lines().map(|l| format!("{}\n", page.styled(l, &soft)));
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    fn table(rows: &[[&str; 3]]) -> Table<3> {
        let mut table = Table::new([
            Column::text("layer", "its name").least(10),
            Column::number("time", "median").mark("*", "few samples"),
            Column::text("variant", "the fastest").least(10),
        ]);
        for [layer, time, variant] in rows {
            let time = Cell::new(time).mark("*", time.len() > 5);
            table.row([Cell::new(layer), time, Cell::new(variant)]);
        }
        table
    }

    #[test]
    fn columns_are_aligned_and_explained() {
        let table = table(&[["conv1", "1.5 ms", "direct"], ["a", "2 ms", "im2col"]]);
        assert_eq!(
            table.show(&Page::plain(80)),
            "layer    time   variant\n\
             conv1  1.5 ms*  direct\n\
             a        2 ms   im2col\n\
             layer: its name. time: median. *: few samples. variant: the fastest.\n"
        );
    }

    #[test]
    fn columns_that_do_not_fit_are_named() {
        let table = table(&[["a-long-name-of-a-layer", "2 ms", "a-long-name-of-a-variant"]]);
        assert_eq!(
            table.show(&Page::plain(40)),
            "layer             time  variant\n\
             a-long-n…a-layer  2 ms  a-long-n…variant\n\
             layer: its name. time: median. variant:\nthe fastest.\n"
        );
        let narrow = table.show(&Page::plain(24));
        assert!(narrow.contains("--wide also"), "{narrow}");
        assert!(!narrow.contains("the fastest"), "{narrow}");
        let wide = Page {
            wide: true,
            ..Page::plain(24)
        };
        let wide = table.show(&wide);
        for name in ["a-long-name-of-a-layer", "a-long-name-of-a-variant"] {
            assert!(wide.contains(name), "{wide}");
        }
    }

    #[test]
    fn columns_without_values_are_left_out() {
        let table = table(&[["conv1", "", "direct"], ["a", "", ""]]);
        let text = table.show(&Page::plain(80));
        assert!(!text.contains("time"), "{text}");
        assert!(text.contains("variant"), "{text}");
    }

    #[test]
    fn styles_do_not_change_the_layout() {
        let mut table = Table::new([Column::text("verdict", "the bound")]);
        table.row([Cell::new("compute").style(Style::new().green())]);
        let page = Page {
            colour: true,
            ..Page::plain(80)
        };
        let coloured = table.show(&page);
        assert!(coloured.contains("\u{1b}[32mcompute\u{1b}[0m"));
        let plain = console::strip_ansi_codes(&coloured).into_owned();
        assert_eq!(plain, table.show(&Page::plain(80)));
    }

    fn name() -> impl Strategy<Value = String> {
        proptest::string::string_regex("[a-z0-9/._ 図é\u{1f600}\u{2600}\u{fe0f}\u{1b}-]{0,90}")
            .expect("a pattern")
    }

    proptest! {
        #[test]
        fn every_line_fits_and_every_heading_is_explained(
            rows in vec((name(), any::<u32>(), name()), 1..8),
            title in name(),
            width in Page::NARROWEST..=200,
        ) {
            let mut table = table(&[]);
            table.section(&title);
            for (layer, time, variant) in &rows {
                let time = Cell::new(time).mark("*", time % 2 == 0);
                table.row([Cell::new(layer), time, Cell::new(variant)]);
            }
            let page = Page::plain(width);
            let text = table.show(&page);
            for line in text.lines() {
                prop_assert!(measure_text_width(line) <= width, "{width}: {line:?}");
            }
            let legend = text.lines().skip(2 + rows.len()).collect::<Vec<_>>().join(" ");
            let heads = text.lines().next().expect("headings").split_whitespace();
            for head in heads {
                let meaning = format!("{head}: ");
                prop_assert!(legend.contains(&meaning), "{meaning}\n{}", text);
            }
            // The title, the headings, and one line for each row.
            prop_assert_eq!(text.lines().count() - page.prose(&legend).lines().count(), 2 + rows.len());
        }
    }
}
