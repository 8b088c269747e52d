//! Columns that several tables have, and their cells.

use crate::report::table::{Cell, Column};
use crate::report::{Row, meanings};
use crate::roofline::Verdict;
use crate::units::time;
use console::Style;

/// Column of layers' names.
pub(super) fn layer_column() -> Column {
    Column::text("layer", "in the order of the network").least(16)
}

/// Column of [`verdict`].
pub(super) fn verdict_column() -> Column {
    Column::text("bound by", "the verdict")
}

/// Column of [`sure`].
pub(super) fn sure_column() -> Column {
    Column::number("sure", "votes for the verdict / (votes cast + 1)")
        .mark("?", "a witness votes against the verdict")
}

/// Column of [`median`].
pub(super) fn time_column(meaning: &'static str) -> Column {
    let column = Column::number("time", meaning);
    let marks = meanings().into_iter();
    marks.fold(column, |column, (mark, meaning)| column.mark(mark, meaning))
}

/// Column of [`roof`].
pub(super) fn roof_column() -> Column {
    Column::number("of roof", "lower bound of the time / time")
}

/// Column of variants' names.
pub(super) fn variant_column(meaning: &'static str) -> Column {
    Column::text("variant", meaning).least(24)
}

/// Column of nominal rates in a unit.
pub(super) fn rate_column(unit: &'static str) -> Column {
    Column::number(unit, "nominal operations, those of the definition")
}

/// Column of nominal rates as fractions of the peak.
pub(super) fn peak_column() -> Column {
    Column::number(
        "of peak",
        "nominal rate / peak of the layer's type, which Winograd and Strassen may exceed",
    )
}

/// A verdict in its colour.
pub fn verdict(verdict: Verdict) -> Cell {
    let style = Style::new();
    Cell::new(verdict.label().trim_end_matches(" bound")).style(match verdict {
        Verdict::Compute | Verdict::Core => style.green(),
        Verdict::Overhead | Verdict::Undecided => style.dim(),
        Verdict::L1 | Verdict::L2 | Verdict::L3 | Verdict::Dram => style.yellow(),
    })
}

/// Confidence of a row's verdict, marked if a witness votes against it; none if it is undecided.
pub(super) fn sure(row: &Row) -> Cell {
    if row.verdict == Verdict::Undecided {
        return Cell::default();
    }
    Cell::new(percent(row.confidence)).mark("?", row.disputed)
}

/// Median time of a row, with its marks.
pub(super) fn median(row: &Row) -> Cell {
    Cell::new(time(row.median_ns)).mark(row.marks(), true)
}

/// Attained fraction of a row's roof.
pub(super) fn roof(row: &Row) -> Cell {
    row.roof_fraction.map(percent).into()
}

/// A fraction as a percentage.
pub fn percent(fraction: f64) -> String {
    format!("{:.0} %", 100.0 * fraction)
}
