//! Evidence beside the verdicts: cold caches, and predictions of the model.

use super::Row;
use super::rows::{Series, best_rows};
use crate::stats::geometric_mean;
use crate::units::plural;
use serde::Serialize;

/// A layer with cold operands, beside the same kernel with warm ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColdRow<'a> {
    /// The warm row, from the rounds of the main table.
    pub warm: &'a Row,
    /// The cold row.
    pub cold: &'a Row,
    /// Cold time over warm time.
    pub ratio: f64,
}

/// The fastest kernel of each layer of a series in other states of the caches.
pub fn cold_rows<'a>(rows: &'a [Row], series: Series<'_>) -> Vec<ColdRow<'a>> {
    let mut all = Vec::new();
    for warm in best_rows(rows, series) {
        let same = |r: &&Row| r.is_beside(warm) && !r.is_warm();
        all.extend(rows.iter().filter(same).map(|cold| ColdRow {
            warm,
            cold,
            ratio: cold.median_ns / warm.median_ns,
        }));
    }
    all
}

/// Comparison of the model's predictions with the measured times.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Predictions<'a> {
    /// Number of predicted layers.
    pub layers: usize,
    /// Number of layers whose prediction is off by at most a fifth.
    pub near: usize,
    /// Geometric mean of the factors between prediction and measurement, each at least 1.
    pub factor: f64,
    /// The worst predictions, with measured over predicted time.
    pub worst: Vec<(&'a Row, f64)>,
}

impl Predictions<'_> {
    /// Sentence for a report; `name` escapes a layer's name.
    pub fn sentence(&self, name: impl Fn(&str) -> String) -> String {
        format!(
            "A model of loads, transfers and arithmetic predicts {} of {} to within a fifth, and is off by a factor of {:.2} on average. The worst (measured / predicted): {}.",
            self.near,
            plural(self.layers, "layer"),
            self.factor,
            self.worst_of_all(name)
        )
    }

    /// Layers with the worst predictions and their ratios; `name` escapes a layer's name.
    pub fn worst_of_all(&self, name: impl Fn(&str) -> String) -> String {
        let worst = self.worst.iter();
        let worst = worst.map(|(row, ratio)| format!("{} {ratio:.2}", name(&row.layer)));
        worst.collect::<Vec<_>>().join(", ")
    }
}

/// Number of worst predictions that are shown.
const WORST: usize = 5;

/// The predictions for some rows; none if no row has one.
pub fn predictions<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Option<Predictions<'a>> {
    let mut worst: Vec<(&Row, f64)> = rows
        .into_iter()
        .filter_map(|r| Some((r, r.median_ns / r.predicted_ns?)))
        .collect();
    let off = |ratio: f64| ratio.max(1.0 / ratio);
    let factors: Vec<f64> = worst.iter().map(|(_, ratio)| off(*ratio)).collect();
    let factor = geometric_mean(&factors)?;
    worst.sort_by(|a, b| off(b.1).total_cmp(&off(a.1)));
    let layers = worst.len();
    worst.truncate(WORST);
    Some(Predictions {
        layers,
        near: factors.iter().filter(|f| **f <= 1.2).count(),
        factor,
        worst,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::report::rows;

    #[test]
    fn cold_rows_stand_beside_warm_ones() {
        let mut run = sample();
        let mut cold = run.measurements[0].clone();
        cold.cache = "weights-cold".into();
        cold.samples_ns = vec![4.1e6; 3];
        run.measurements.push(cold);
        let rows = rows(&run);
        let found = cold_rows(&rows, rows[0].series());
        assert_eq!(found.len(), 1);
        assert!((found[0].ratio - 2.0).abs() < 1e-9);
        assert_eq!(best_rows(&rows, rows[0].series())[0].cache, "warm");
    }

    #[test]
    fn predictions_name_the_worst() {
        let mut rows = rows(&sample());
        rows[0].predicted_ns = Some(rows[0].median_ns / 4.0);
        let mut near = rows[0].clone();
        near.predicted_ns = Some(near.median_ns);
        rows.push(near);
        let predictions = predictions(&rows).expect("predicted");
        assert_eq!((predictions.layers, predictions.near), (2, 1));
        assert!((predictions.factor - 2.0).abs() < 1e-9);
        assert!((predictions.worst[0].1 - 4.0).abs() < 1e-9);
    }
}
