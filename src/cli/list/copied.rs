//! Tables whose cells are there to be copied: they show all columns at any width.

use comfy_table::{Cell, CellAlignment, ContentArrangement, presets};

/// A table without rows.
pub(super) fn table(head: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(Cell::new));
    table
}

/// A cell for a number.
pub(super) fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}
