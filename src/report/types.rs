//! Layers in several element types: what changes from f32 to the others.

use super::Row;
use super::rows::{Series, best_rows};
use crate::record::{Run, Text};
use crate::roofline::Verdict;
use convroof_kernels::dtype::DType;

/// A network on one number of threads, in f32 and in other types.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison<'a> {
    /// The network.
    pub network: &'a str,
    /// Threads.
    pub threads: usize,
    /// The other types, in the order of the record.
    pub types: Vec<DType>,
    /// The layers, in the order of the network.
    pub layers: Vec<Layer<'a>>,
}

/// A layer by its best variant in each type.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer<'a> {
    /// The layer.
    pub name: &'a str,
    /// Rows of the types in which it was measured.
    rows: Vec<(DType, &'a Row)>,
}

impl<'a> Layer<'a> {
    /// The best row in a type; none if no variant computes it.
    pub fn row(&self, dtype: DType) -> Option<&'a Row> {
        let found = self.rows.iter().find(|(own, _)| *own == dtype);
        found.map(|(_, row)| *row)
    }

    /// Time in f32 over the time in another type; none if one wasn't measured.
    pub fn speed_up(&self, dtype: DType) -> Option<f64> {
        Some(self.row(DType::F32)?.median_ns / self.row(dtype)?.median_ns)
    }

    /// True if the verdict in a type isn't that in f32.
    pub fn changes(&self, dtype: DType) -> bool {
        let verdict = |dtype| self.row(dtype).map(|row| row.verdict);
        verdict(dtype).is_some_and(|own| verdict(DType::F32).is_some_and(|f32s| f32s != own))
    }
}

/// Differences between f32 and another type.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<'a> {
    /// Number of layers that were measured in both types.
    pub layers: usize,
    /// Time of these layers in f32 over that in the other type, each as often as it occurs; none without any.
    pub speed_up: Option<f64>,
    /// Layers that are compute bound in f32, and bandwidth bound in the other type.
    pub to_bandwidth: Vec<&'a str>,
}

impl<'a> Comparison<'a> {
    /// Differences between f32 and another type.
    pub fn change(&self, dtype: DType) -> Change<'a> {
        let both = self.layers.iter().filter_map(|layer| {
            let (f32s, other) = (layer.row(DType::F32)?, layer.row(dtype)?);
            Some((layer.name, f32s, other))
        });
        let both: Vec<_> = both.collect();
        let time = |row: &Row| row.count as f64 * row.median_ns;
        let f32_ns: f64 = both.iter().map(|(_, f32s, _)| time(f32s)).sum();
        let other_ns: f64 = both.iter().map(|(_, _, other)| time(other)).sum();
        let changed = both.iter().filter(|(_, f32s, other)| {
            f32s.verdict == Verdict::Compute && other.verdict.is_bandwidth()
        });
        Change {
            layers: both.len(),
            speed_up: (!both.is_empty()).then_some(f32_ns / other_ns),
            to_bandwidth: changed.map(|(name, ..)| *name).collect(),
        }
    }
}

/// Every network that a record has in f32 and in other types, on each number of threads.
pub fn comparisons<'a>(run: &'a Run, rows: &'a [Row]) -> Vec<Comparison<'a>> {
    let mut networks: Vec<&str> = Vec::new();
    for layer in &run.layers {
        if !networks.contains(&layer.network.as_str()) {
            networks.push(&layer.network);
        }
    }
    let threads = &run.conditions.threads;
    let each = networks
        .into_iter()
        .flat_map(|network| threads.iter().map(move |&threads| (network, threads)));
    each.filter_map(|(network, threads)| comparison(run, rows, network, threads))
        .collect()
}

/// A network in several types; none if the record has no layer of it both in f32 and in another type.
fn comparison<'a>(
    run: &'a Run,
    rows: &'a [Row],
    network: &'a str,
    threads: usize,
) -> Option<Comparison<'a>> {
    // A type of a newer program has no place in a table.
    let requested = run.layers.iter().filter(|l| l.network == network);
    let requested: Vec<(&str, DType)> = requested
        .filter_map(|l| Some((l.layer.as_str(), *l.dt.value()?)))
        .collect();
    let in_f32 = |name: &str| requested.contains(&(name, DType::F32));
    let (mut names, mut types) = (Vec::new(), Vec::new());
    for &(name, dtype) in &requested {
        if dtype != DType::F32 && in_f32(name) {
            if !names.contains(&name) {
                names.push(name);
            }
            if !types.contains(&dtype) {
                types.push(dtype);
            }
        }
    }
    let best: Vec<(DType, &Row)> = std::iter::once(DType::F32)
        .chain(types.iter().copied())
        .flat_map(|dtype| {
            let dt = &Text::of(dtype);
            let series = Series {
                network,
                dt,
                threads,
            };
            let best = best_rows(rows, series).into_iter();
            best.map(move |row| (dtype, row))
        })
        .collect();
    let layers = names.into_iter().map(|name| {
        let rows = best.iter().filter(|(_, row)| row.layer == name);
        let rows = rows.copied().collect();
        Layer { name, rows }
    });
    let layers: Vec<Layer<'_>> = layers.collect();
    let measured = layers.iter().any(|layer| !layer.rows.is_empty());
    measured.then_some(Comparison {
        network,
        threads,
        types,
        layers,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::record::tests::{in_two_types, sample};
    use crate::record::{LayerRef, Measurement};
    use crate::report::rows;

    /// A network of two layers in f32 and u8: the first is bound by L3 in u8, the second was measured in f32 only.
    pub(in crate::report) fn changing() -> Run {
        let mut run = in_two_types();
        let m = &mut run.measurements[1];
        m.flops_executed /= 8;
        m.phases.clear();
        (m.bytes_read, m.bytes_written) = (49_000_000, 0);
        m.working_set_bytes = 8 << 20;
        let layer = LayerRef {
            layer: "fc".into(),
            problem: "mb1ic64ih1oc64oh1kh1ph0".into(),
            ..run.layers[0].clone()
        };
        let m = Measurement {
            problem: layer.problem.clone(),
            ..run.measurements[0].clone()
        };
        run.layers.push(layer.clone());
        run.layers.push(LayerRef {
            dt: "u8".into(),
            problem: "--dt=u8:s8:u8 mb1ic64ih1oc64oh1kh1ph0".into(),
            ..layer
        });
        run.measurements.push(m);
        run
    }

    #[test]
    fn layers_are_compared_with_f32() {
        let run = changing();
        let rows = rows(&run);
        let all = comparisons(&run, &rows);
        let [comparison] = &all[..] else {
            panic!("{all:?}");
        };
        assert_eq!(comparison.types, [DType::U8]);
        let [conv, fc] = &comparison.layers[..] else {
            panic!("{comparison:?}");
        };
        assert_eq!([conv.name, fc.name], ["conv2_x.3x3", "fc"]);
        let speed_up = conv.speed_up(DType::U8).expect("measured");
        assert!((speed_up - 2.0).abs() < 1e-9 && conv.changes(DType::U8));
        assert_eq!(
            (fc.speed_up(DType::U8), fc.changes(DType::U8)),
            (None, false)
        );
        let change = comparison.change(DType::U8);
        assert_eq!(
            (change.layers, change.to_bandwidth),
            (1, vec!["conv2_x.3x3"])
        );
        assert!((change.speed_up.expect("measured") - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_network_in_one_type_is_not_compared() {
        let run = sample();
        assert!(comparisons(&run, &rows(&run)).is_empty());
        let mut without_f32 = in_two_types();
        without_f32.layers.remove(0);
        assert!(comparisons(&without_f32, &rows(&without_f32)).is_empty());
        let mut two_layers = in_two_types();
        two_layers.layers[1].layer = "another".into();
        assert!(comparisons(&two_layers, &rows(&two_layers)).is_empty());
    }

    #[test]
    fn types_that_nothing_computes_are_compared_without_times() {
        let mut run = in_two_types();
        run.measurements.pop();
        let rows = rows(&run);
        let all = comparisons(&run, &rows);
        let change = all[0].change(DType::U8);
        assert_eq!((change.layers, change.speed_up), (0, None));
    }
}
