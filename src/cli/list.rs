//! `convroof list`

mod copied;
mod summary;

use super::output::print;
use super::rows::Format;
use super::select::{Layers, Variants, Words};
use super::types::Types;
use crate::machine::Topology;
use crate::measure::bench::problems;
use crate::measure::support::{Refusals, Support};
use crate::record::LayerRef;
use crate::units::plural;
use anyhow::Result;
use comfy_table::Cell;
use convroof_kernels::Registry;
use convroof_kernels::dtype::DType;
use copied::{right, table};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    types: Types,
    #[command(flatten)]
    variants: Variants,
    /// List each variant with the reasons for its refusals, instead of a line for each algorithm
    #[arg(long)]
    all: bool,
    /// List layers instead of variants
    #[arg(long = "layers", conflicts_with_all = ["variant", "all"])]
    list_layers: bool,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let layers = args.types.of(args.layers.with(&args.words)?.choose("*")?)?;
    if args.list_layers {
        return match args.format.rows() {
            Some(rows) => rows.print(&layers),
            None => print(&layers_text(&layers)),
        };
    }
    let (problems, topology) = (problems(&layers), Topology::detect());
    let variants = args.variants.choose(registry)?;
    let supports = variants
        .iter()
        .map(|v| Support::of(v, &problems, &topology));
    let all: Vec<Support> = supports.collect();
    match args.format.rows() {
        Some(rows) => rows.print(&all),
        None if args.all => print(&variants_text(&all)),
        None => print(&summary::text(&variants, &all)),
    }
}

fn layers_text(layers: &[LayerRef]) -> String {
    let typed = layers.iter().any(|l| !l.dt.is(&DType::F32));
    let mut out = match typed {
        true => table(&["network", "type", "layer", "x", "kind", "problem"]),
        false => table(&["network", "layer", "x", "kind", "problem"]),
    };
    for l in layers {
        let mut row = vec![Cell::new(&l.network)];
        row.extend(typed.then(|| Cell::new(&l.dt)));
        row.extend([
            Cell::new(&l.layer),
            right(l.count.to_string()),
            Cell::new(&l.kind),
            Cell::new(&l.problem),
        ]);
        out.add_row(row);
    }
    format!("{out}\n")
}

fn variants_text(all: &[Support]) -> String {
    let mut out = table(&["variant", "here", "layers", "description and refusals"]);
    let below = |text: String| [String::new(), String::new(), String::new(), text].map(Cell::new);
    let mut last = "";
    for own in all {
        // Each algorithm's summary is shown once.
        let summary = if own.summary == last { "" } else { own.summary };
        last = own.summary;
        out.add_row([
            Cell::new(&own.variant),
            Cell::new(if own.available { "yes" } else { "no" }),
            right(format!("{}/{}", own.supported, own.problems)),
            Cell::new(summary),
        ]);
        if let Some(missing) = &own.missing {
            out.add_row(below(format!("  {missing}")));
        }
        for Refusals { reason, problems } in &own.refusals {
            let layers = plural(problems.len(), "layer");
            out.add_row(below(format!("  refuses {layers}: {reason}")));
        }
    }
    format!("{out}\n")
}
