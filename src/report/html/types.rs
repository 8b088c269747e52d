//! A network in several element types: one picture with a roof for each, and what changes.

use crate::record::Run;
use crate::report::Row;
use crate::report::picture::{in_all_types, picture};
use crate::report::types::{Comparison, Layer};
use crate::units::{threads as on, time};
use convroof_kernels::dtype::DType;
use serde::Serialize;

/// One network in f32 and other types on one number of threads.
#[derive(Serialize)]
pub(super) struct TypesSection {
    network: String,
    threads: usize,
    /// Empty if the run has no ceilings for it.
    svg: String,
    /// Names of the other types.
    types: Vec<&'static str>,
    rows: Vec<TypesRow>,
}

/// A layer in each type, f32 first.
#[derive(Serialize)]
struct TypesRow {
    layer: String,
    cells: Vec<Option<TypeCell>>,
}

/// A layer in a type, formatted.
#[derive(Serialize)]
struct TypeCell {
    time: String,
    /// Time in f32 over this one; none if f32 was not measured.
    ratio: Option<String>,
    label: &'static str,
    /// True if the verdict isn't that in f32.
    changed: bool,
}

impl TypesSection {
    pub(super) fn new(run: &Run, all: &[Row], comparison: &Comparison<'_>) -> Self {
        let Comparison {
            network,
            threads,
            types,
            layers,
        } = comparison;
        let shown = in_all_types(run, all, network, *threads);
        let title = format!("{network} in several types, {}", on(*threads));
        let columns = || std::iter::once(DType::F32).chain(types.iter().copied());
        let row = |layer: &Layer<'_>| TypesRow {
            layer: layer.name.into(),
            cells: columns().map(|dtype| TypeCell::new(layer, dtype)).collect(),
        };
        TypesSection {
            network: network.to_string(),
            threads: *threads,
            svg: picture(run, &shown, *threads, &title, false).unwrap_or_default(),
            types: types.iter().map(|dtype| dtype.name()).collect(),
            rows: layers.iter().map(row).collect(),
        }
    }
}

impl TypeCell {
    /// None if the layer was not measured in the type.
    fn new(layer: &Layer<'_>, dtype: DType) -> Option<Self> {
        let row = layer.row(dtype)?;
        Some(TypeCell {
            time: time(row.median_ns),
            ratio: layer.speed_up(dtype).map(|ratio| format!("{ratio:.2}")),
            label: row.verdict.label(),
            changed: layer.changes(dtype),
        })
    }
}
