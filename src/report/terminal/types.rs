//! The layers of a network in several element types.

use super::columns::{layer_column, verdict};
use crate::report::page::Page;
use crate::report::table::{Cell, Column, Table};
use crate::report::types::{Comparison, Layer};
use crate::units::{threads, time};
use convroof_kernels::dtype::DType;

/// Types of layers in the order of their columns.
const TYPES: [DType; 4] = [DType::F32, DType::Bf16, DType::U8, DType::S8];

/// Headings of speed-ups and of verdicts, in the order of [`TYPES`].
const SPEED_UPS: [&str; 4] = ["f32 x", "bf16 x", "u8 x", "s8 x"];
const VERDICTS: [&str; 4] = ["in f32", "in bf16", "in u8", "in s8"];

/// The layers with their time in f32, the speed-up of each other type, and the verdict in each type.
pub(super) fn types(comparison: &Comparison<'_>, page: &Page) -> String {
    let title = format!(
        "{}, {}: what changes with the type",
        comparison.network,
        threads(comparison.threads)
    );
    format!("\n{}{}", page.prose(&title), layers(comparison).show(page))
}

fn layers(comparison: &Comparison<'_>) -> Table<12> {
    let speed_up = |i: usize| {
        let dtype = TYPES[i];
        Column::number(SPEED_UPS[i], format!("time in f32 / time in {dtype}"))
    };
    let verdict_in = |i: usize| {
        let column = Column::text(VERDICTS[i], format!("the verdict in {}", TYPES[i]));
        column.least(8).mark("!", "not the verdict in f32")
    };
    let time_in = |i: usize| {
        let dtype = TYPES[i];
        Column::number(dtype.name(), format!("time of a run in {dtype}, median"))
    };
    let mut table = Table::new([
        layer_column(),
        time_in(0),
        speed_up(1),
        speed_up(2),
        speed_up(3),
        verdict_in(0),
        verdict_in(1),
        verdict_in(2),
        verdict_in(3),
        time_in(1),
        time_in(2),
        time_in(3),
    ]);
    for layer in &comparison.layers {
        let speed_up = |i: usize| layer.speed_up(TYPES[i]).map(|x| format!("{x:.2}")).into();
        let [f32_ns, bf16_ns, u8_ns, s8_ns] = TYPES.map(|dtype| median(layer, dtype));
        let [f32s, bf16, u8s, s8s] = TYPES.map(|dtype| bound(layer, dtype));
        table.row([
            Cell::new(layer.name),
            f32_ns,
            speed_up(1),
            speed_up(2),
            speed_up(3),
            f32s,
            bf16,
            u8s,
            s8s,
            bf16_ns,
            u8_ns,
            s8_ns,
        ]);
    }
    table
}

/// Median time of a layer in a type.
fn median(layer: &Layer<'_>, dtype: DType) -> Cell {
    layer.row(dtype).map(|row| time(row.median_ns)).into()
}

/// Verdict of a layer in a type, marked if it isn't that in f32.
fn bound(layer: &Layer<'_>, dtype: DType) -> Cell {
    let row = layer.row(dtype);
    row.map_or_else(Cell::default, |row| {
        verdict(row.verdict).mark("!", layer.changes(dtype))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::rows;
    use crate::report::types::comparisons;
    use crate::report::types::tests::changing;

    #[test]
    fn types_stand_side_by_side() {
        let run = changing();
        let rows = rows(&run);
        let comparison = &comparisons(&run, &rows)[0];
        let text = types(comparison, &Page::plain(80));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..5],
            [
                "",
                "resnet50, 1 thread: what changes with the type",
                "layer            f32  u8 x  in f32   in u8        u8",
                "conv2_x.3x3  2.05 ms  2.00  compute  L3!     1.02 ms",
                "fc           2.05 ms     -  compute                -",
            ]
        );
        for meaning in [
            "u8 x: time in f32 / time in u8.",
            "!: not the verdict in f32.",
        ] {
            assert!(text.replace('\n', " ").contains(meaning), "{text}");
        }
        assert!(!text.contains("bf16"), "{text}");
    }
}
