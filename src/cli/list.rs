//! `convroof list`

use super::output::{print, print_json};
use super::select::{Layers, Variants};
use crate::machine::Topology;
use crate::measure::bench::problems;
use crate::measure::support::{Refusals, Support};
use crate::record::LayerRef;
use crate::report::terminal::{right, table};
use anyhow::Result;
use comfy_table::Cell;
use convroof_kernels::Registry;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    variants: Variants,
    /// List layers instead of variants
    #[arg(long = "layers", conflicts_with = "variant")]
    list_layers: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let layers = args.layers.choose("*")?;
    if args.list_layers {
        return match args.json {
            true => print_json(&layers),
            false => print(&layers_text(&layers)),
        };
    }
    let (problems, topology) = (problems(&layers), Topology::detect());
    let variants = args.variants.choose(registry)?;
    let variants = variants.iter();
    let all: Vec<Support> = variants
        .map(|v| Support::of(v, &problems, &topology))
        .collect();
    match args.json {
        true => print_json(&all),
        false => print(&variants_text(&all)),
    }
}

fn layers_text(layers: &[LayerRef]) -> String {
    let mut out = table(&["network", "layer", "x", "kind", "problem"]);
    for l in layers {
        out.add_row(vec![
            Cell::new(&l.network),
            Cell::new(&l.layer),
            right(l.count.to_string()),
            Cell::new(&l.kind),
            Cell::new(&l.problem),
        ]);
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
            out.add_row(below(format!(
                "  refuses {} layers: {reason}",
                problems.len()
            )));
        }
    }
    format!("{out}\n")
}
