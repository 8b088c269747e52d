//! The document of the HTML report: everything that its page shows, as JSON.
//!
//! It holds each record as it is, and beside it what follows from the record: rows with verdicts, ceilings, sentences.
//! So the page only draws. Times are in nanoseconds, rates in 10^9 per second, sizes in bytes. Unknown values are null or
//! absent.

use super::advice::{Advice, advice};
use super::conclusion::{changes, conclusion};
use super::svg::{FAMILIES, Family};
use super::types::{Comparison, Layer, comparisons};
use super::versus::{Duel, Mean, duels, lost, means};
use super::why::predictions;
use super::{
    Head, NetworkTotal, Row, best_rows, head, machine_line, meanings, missing_counters, noise_line,
    notes, totals,
};
use crate::claims::Answer;
use crate::machine::fingerprint;
use crate::noise::{self, Noise};
use crate::record::{CacheState, CandidateId, IsaName, Level, Peak, Run, Text, Tool};
use crate::roofline::{Ceilings, Roof, Verdict};
use crate::units::{peak, rate};
use convroof_kernels::Problem;
use convroof_kernels::dtype::DType;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;

/// Version of the document. Later versions may add keys.
pub const FORMAT: u32 = 1;

/// A record that the page shows.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Name of its file.
    pub file: &'a str,
    /// The record.
    pub run: &'a Run,
    /// Answers to claims that were tested on its machine.
    pub claims: &'a [Answer],
}

/// Everything that a page shows.
#[derive(Serialize)]
pub struct Document<'a> {
    format: u32,
    /// The program that made the page.
    tool: Tool,
    vocabulary: Vocabulary,
    runs: Vec<Shown<'a>>,
    /// Differences of the later records from the first.
    comparison: Option<Value>,
}

impl<'a> Document<'a> {
    /// The document of some records with their rows.
    pub fn new(sources: &[(Source<'a>, &'a [Row])], comparison: Option<Value>) -> Self {
        let runs = sources.iter().enumerate();
        Document {
            format: FORMAT,
            tool: fingerprint::tool(),
            vocabulary: Vocabulary::new(),
            runs: runs
                .map(|(i, (source, rows))| Shown::new(name(i), source, rows))
                .collect(),
            comparison,
        }
    }
}

/// Name of the n-th record of a page, counted from 0: A, B and so on.
pub fn name(n: usize) -> String {
    match u8::try_from(n) {
        Ok(n) if n < 26 => char::from(b'A' + n).to_string(),
        _ => format!("record {}", n + 1),
    }
}

/// Words that records use, with their meanings.
#[derive(Serialize)]
struct Vocabulary {
    verdicts: Vec<Meaning>,
    families: Vec<FamilyName>,
    /// Marks behind times.
    marks: [(&'static str, String); 2],
}

impl Vocabulary {
    fn new() -> Self {
        let verdicts = Verdict::ALL.into_iter();
        let families = FAMILIES.iter().map(|f| FamilyName {
            class: f.class,
            name: f.name,
            corners: f.corners,
            turn: f.turn,
        });
        Vocabulary {
            verdicts: verdicts.map(Meaning::of).collect(),
            families: families.collect(),
            marks: meanings(),
        }
    }
}

/// A verdict with its meaning.
#[derive(Serialize)]
pub(super) struct Meaning {
    name: &'static str,
    label: &'static str,
    meaning: &'static str,
    help: &'static str,
}

impl Meaning {
    pub(super) fn of(verdict: Verdict) -> Self {
        Meaning {
            name: verdict.name(),
            label: verdict.label(),
            meaning: verdict.meaning(),
            help: verdict.help(),
        }
    }
}

/// A family of algorithms with its mark: a regular polygon.
#[derive(Serialize)]
struct FamilyName {
    class: &'static str,
    name: &'static str,
    /// Corners of its mark; null for a circle.
    corners: Option<usize>,
    /// Direction of the first corner, in turns from upwards.
    turn: f64,
}

/// A record with what follows from it.
#[derive(Serialize)]
struct Shown<'a> {
    name: String,
    file: &'a str,
    /// The record without its refusals, which no page shows.
    record: Value,
    refusals_left_out: usize,
    view: View<'a>,
}

impl<'a> Shown<'a> {
    fn new(name: String, source: &Source<'a>, rows: &'a [Row]) -> Self {
        let mut record = serde_json::to_value(source.run).expect("a record is plain data");
        if let Some(fields) = record.as_object_mut() {
            fields.remove("refusals");
        }
        Shown {
            name,
            file: source.file,
            record,
            refusals_left_out: source.run.refusals.len(),
            view: View::new(source.run, source.claims, rows),
        }
    }
}

/// Conclusions from a record.
#[derive(Serialize)]
struct View<'a> {
    /// The machine.
    title: String,
    #[serde(flatten)]
    head: Head,
    noise: String,
    noisy: bool,
    notes: Vec<String>,
    missing_counters: Option<String>,
    series: Vec<SeriesView>,
    rows: Vec<RowView<'a>>,
    ceilings: Vec<CeilingsView>,
    types: Vec<TypesView>,
    claims: Vec<Claim<'a>>,
}

impl<'a> View<'a> {
    fn new(run: &Run, claims: &'a [Answer], rows: &'a [Row]) -> Self {
        let totals = totals(run, rows);
        let comparisons = comparisons(run, rows);
        let claims = claims.iter().map(|answer| Claim {
            answer,
            label: answer.holds.label(),
        });
        View {
            title: machine_line(run),
            head: head(run),
            noise: noise_line(run),
            noisy: Noise::of_run(run).level() > Some(noise::Level::Quiet),
            notes: notes(run, rows),
            missing_counters: missing_counters(run),
            series: totals
                .iter()
                .map(|total| SeriesView::new(run, rows, total))
                .collect(),
            rows: row_views(run, rows),
            ceilings: ceilings(run),
            types: comparisons
                .iter()
                .map(|comparison| TypesView::new(rows, comparison))
                .collect(),
            claims: claims.collect(),
        }
    }
}

/// An answer to a claim.
#[derive(Serialize)]
struct Claim<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    /// The verdict as text.
    label: &'static str,
}

/// A row with its place in the document.
#[derive(Serialize)]
struct RowView<'a> {
    index: usize,
    /// Class of its family of algorithms.
    family: &'static str,
    /// Index of its measurement in the record.
    m: Option<usize>,
    #[serde(flatten)]
    row: &'a Row,
}

/// Identity of a measurement in its record.
type Key<'a> = (
    &'a Text<Problem>,
    &'a CandidateId,
    usize,
    &'a Text<CacheState>,
);

fn row_views<'a>(run: &Run, rows: &'a [Row]) -> Vec<RowView<'a>> {
    let measurements = run.measurements.iter().enumerate().rev();
    let places: HashMap<Key<'_>, usize> = measurements
        .map(|(i, m)| ((&m.problem, &m.variant, m.threads, &m.cache), i))
        .collect();
    let view = |(index, row): (usize, &'a Row)| RowView {
        index,
        family: Family::of(&row.variant).class,
        m: places
            .get(&(&row.problem, &row.variant, row.threads, &row.cache))
            .copied(),
        row,
    };
    rows.iter().enumerate().map(view).collect()
}

/// Index of a row among all.
fn place(rows: &[Row], row: &Row) -> Option<usize> {
    rows.iter().position(|own| std::ptr::eq(own, row))
}

/// One network in one element type on one number of threads.
#[derive(Serialize)]
struct SeriesView {
    id: String,
    network: String,
    dt: Text<DType>,
    threads: usize,
    /// The network with its type.
    subject: String,
    /// Unit of its rate.
    unit: &'static str,
    /// Number of measured layers.
    measured: usize,
    /// Number of all layers.
    layers: usize,
    /// Time of all measured layers, each as often as it occurs.
    time_ns: f64,
    gflops: f64,
    /// Parts of the time under each verdict, the largest first.
    shares: Vec<Share>,
    /// The conclusion.
    sentence: String,
    /// Accuracy of the model's predictions, in a sentence.
    predicted: Option<String>,
    /// Best rows, in the order of the network.
    best: Vec<usize>,
    /// Changes that would save time, the most first.
    advice: Vec<Advice>,
    duels: Vec<Duel>,
    means: Vec<Mean>,
    /// Layers on which the best peer is faster, the most lost time first.
    lost: Vec<String>,
}

/// Part of a series' time under one verdict.
#[derive(Serialize)]
struct Share {
    verdict: Verdict,
    share: f64,
    layers: usize,
}

impl SeriesView {
    fn new(run: &Run, rows: &[Row], total: &NetworkTotal) -> Self {
        let series = total.series();
        let best = best_rows(rows, series);
        let duels = duels(run, rows, series);
        let share = |&(verdict, share): &(Verdict, f64)| Share {
            verdict,
            share,
            layers: best.iter().filter(|r| r.verdict == verdict).count(),
        };
        SeriesView {
            id: series.id(),
            network: total.network.clone(),
            dt: total.dt.clone(),
            threads: total.threads,
            subject: series.subject(),
            unit: total.rate_unit(),
            measured: total.layers.0,
            layers: total.layers.1,
            time_ns: total.time_ns,
            gflops: total.gflops_nominal,
            shares: total.shares.iter().map(share).collect(),
            sentence: conclusion(total, rows, &str::to_string),
            predicted: predictions(best.iter().copied()).map(|p| p.sentence(str::to_string)),
            best: best.iter().filter_map(|row| place(rows, row)).collect(),
            advice: advice(run, rows, total),
            lost: lost(&duels).iter().map(|d| d.layer.clone()).collect(),
            means: means(&duels),
            duels,
        }
    }
}

/// The ceilings of an instruction set and an arithmetic on some threads.
#[derive(Serialize)]
struct CeilingsView {
    threads: usize,
    isa: IsaName,
    arithmetic: &'static str,
    name: &'static str,
    unit: &'static str,
    peak: f64,
    spread: f64,
    /// Memory levels, the nearest first.
    levels: Vec<LevelView>,
}

/// The bandwidth of a level.
#[derive(Serialize)]
struct LevelView {
    level: Level,
    name: &'static str,
    read: f64,
    spread: f64,
}

/// All ceilings of a record, in the order of its peaks.
fn ceilings(run: &Run) -> Vec<CeilingsView> {
    let view = |own: &Peak| {
        let arithmetic = own.arithmetic()?;
        let found = Ceilings::of(
            &run.calibration,
            &run.fingerprint,
            &own.isa,
            arithmetic,
            own.threads,
        )?;
        let level = |roof: &Roof| LevelView {
            level: roof.level,
            name: roof.level.name(),
            read: roof.read,
            spread: roof.spread,
        };
        Some(CeilingsView {
            threads: own.threads,
            isa: own.isa.clone(),
            arithmetic: arithmetic.name(),
            name: peak(arithmetic),
            unit: rate(arithmetic),
            peak: own.gflops,
            spread: own.spread,
            levels: found.roofs.iter().map(level).collect(),
        })
    };
    run.calibration.peaks.iter().filter_map(view).collect()
}

/// A network in f32 and other types on one number of threads.
#[derive(Serialize)]
struct TypesView {
    network: String,
    threads: usize,
    types: Vec<&'static str>,
    sentence: String,
    layers: Vec<TypedLayer>,
}

/// A layer in each type, f32 first.
#[derive(Serialize)]
struct TypedLayer {
    layer: String,
    cells: Vec<TypedCell>,
}

/// A layer in one type.
#[derive(Serialize)]
struct TypedCell {
    dt: &'static str,
    /// Index of its best row; null if it was not measured.
    row: Option<usize>,
    /// Time in f32 over this one; null for f32, or if one was not measured.
    speed_up: Option<f64>,
    /// True if the verdict isn't that in f32.
    changed: bool,
}

impl TypesView {
    fn new(rows: &[Row], comparison: &Comparison<'_>) -> Self {
        let columns = || std::iter::once(DType::F32).chain(comparison.types.iter().copied());
        let layer = |layer: &Layer<'_>| TypedLayer {
            layer: layer.name.into(),
            cells: columns()
                .map(|dtype| TypedCell {
                    dt: dtype.name(),
                    row: layer.row(dtype).and_then(|row| place(rows, row)),
                    speed_up: layer.speed_up(dtype).filter(|_| dtype != DType::F32),
                    changed: layer.changes(dtype),
                })
                .collect(),
        };
        TypesView {
            network: comparison.network.into(),
            threads: comparison.threads,
            types: comparison.types.iter().map(|dtype| dtype.name()).collect(),
            sentence: changes(comparison, &str::to_string).join(" "),
            layers: comparison.layers.iter().map(layer).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Holds;
    use crate::record::tests::{in_two_types, sample};
    use crate::report::rows;

    /// The document of a run as the page reads it.
    fn document(run: &Run, claims: &[Answer]) -> Value {
        let rows = rows(run);
        let source = Source {
            file: "a.json",
            run,
            claims,
        };
        serde_json::to_value(Document::new(&[(source, &rows)], None)).expect("plain data")
    }

    #[test]
    fn a_document_has_the_record_and_its_conclusions() {
        let run = sample();
        let document = document(&run, &[]);
        let at = |path: &str| document.pointer(path).cloned().unwrap_or_default();
        assert_eq!(at("/format"), FORMAT);
        assert_eq!(at("/vocabulary/verdicts/0/label"), "compute bound");
        assert_eq!(at("/vocabulary/marks/0/0"), "*");
        assert_eq!(
            (at("/runs/0/name"), at("/runs/0/file")),
            ("A".into(), "a.json".into())
        );
        assert_eq!(at("/runs/0/refusals_left_out"), 1);
        assert_eq!(at("/runs/0/record/refusals"), Value::Null);
        assert_eq!(at("/runs/0/record/measurements/0/samples_ns/1"), 2.1e6);
        assert_eq!(at("/runs/0/view/title"), machine_line(&run));
        assert_eq!(at("/runs/0/view/facts/0"), machine_line(&run));
        assert_eq!(at("/runs/0/view/series/0/id"), "resnet50-1");
        assert_eq!(
            at("/runs/0/view/series/0/sentence"),
            "conv2_x.3x3, 1 thread: compute bound, 2.05 ms by direct/avx2/st."
        );
        let share = at("/runs/0/view/series/0/shares/0");
        assert_eq!(
            share,
            serde_json::json!({"verdict": "compute", "share": 1.0, "layers": 1})
        );
        assert_eq!(at("/comparison"), Value::Null);
    }

    #[test]
    fn a_row_knows_its_measurement_and_its_family() {
        let mut run = sample();
        let mut slow = run.measurements[0].clone();
        slow.variant = "winograd-f4x3/avx2/st".into();
        slow.samples_ns = vec![9e6; 9];
        run.measurements.insert(0, slow);
        let document = document(&run, &[]);
        let rows = document.pointer("/runs/0/view/rows").expect("rows");
        // Rows are sorted by time, measurements are not.
        let fields = |i: usize| [&rows[i]["index"], &rows[i]["m"], &rows[i]["family"]];
        assert_eq!(fields(0), [&Value::from(0), &1.into(), &"direct".into()]);
        assert_eq!(fields(1), [&Value::from(1), &0.into(), &"winograd".into()]);
        assert_eq!(rows[0]["median_ns"], 2.05e6);
    }

    #[test]
    fn ceilings_have_their_levels() {
        let document = document(&in_two_types(), &[]);
        let ceilings = document.pointer("/runs/0/view/ceilings").expect("ceilings");
        let [f32s, int8] = [&ceilings[0], &ceilings[1]];
        assert_eq!(
            (&f32s["name"], &f32s["unit"]),
            (&"FMA peak".into(), &"GFLOP/s".into())
        );
        assert_eq!(
            (&int8["arithmetic"], &int8["peak"]),
            (&"int8".into(), &236.0.into())
        );
        let level = serde_json::json!({"level": "l1", "name": "L1", "read": 230.0, "spread": 0.01});
        assert_eq!(f32s["levels"][0], level);
    }

    #[test]
    fn types_refer_to_their_rows() {
        let document = document(&in_two_types(), &[]);
        let types = document.pointer("/runs/0/view/types/0").expect("types");
        assert_eq!(types["types"], serde_json::json!(["u8"]));
        let sentence = types["sentence"].as_str().expect("a sentence");
        assert!(sentence.contains("in u8 2.00 times as fast"), "{sentence}");
        let cells = &types["layers"][0]["cells"];
        let cell = serde_json::json!({"dt": "f32", "row": 0, "speed_up": null, "changed": false});
        assert_eq!(cells[0], cell);
        assert_eq!(
            (&cells[1]["row"], &cells[1]["dt"]),
            (&1.into(), &"u8".into())
        );
        assert_eq!(
            document.pointer("/runs/0/view/series/1/id"),
            Some(&"resnet50-u8-1".into())
        );
    }

    #[test]
    fn claims_have_their_label() {
        let answer = Answer {
            number: 3,
            claim: "One is two.".into(),
            holds: Holds::InPart,
            answer: "sometimes".into(),
            evidence: Vec::new(),
        };
        let document = document(&sample(), &[answer]);
        let claim = document.pointer("/runs/0/view/claims/0").expect("a claim");
        assert_eq!(
            (&claim["number"], &claim["label"]),
            (&3.into(), &"holds in part".into())
        );
    }

    #[test]
    fn records_are_named_by_letters() {
        assert_eq!([0, 1, 25, 26].map(name), ["A", "B", "Z", "record 27"]);
    }
}
