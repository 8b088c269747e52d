//! The roofline as a picture: log-log axes, all measured ceilings, a point for each layer in each type.
//!
//! Colours are verdicts, shapes are families of algorithms. Colours are CSS classes, which the HTML report styles for
//! light and dark. A standalone picture includes the same styles.
//!
//! In reading order: `layout.rs` (axes, and free places for labels), this file (ceilings), `family.rs` (marks),
//! `points.rs` (layers), `style.rs` (colours).

mod family;
mod layout;
mod points;
pub(crate) mod style;

pub(crate) use family::{FAMILIES, Family};

use super::Row;
use crate::escape::markup;
use crate::record::IsaName;
use crate::roofline::{Ceilings, Roof, Verdict};
use crate::units::{peak, rate};
use convroof_kernels::probe::Arithmetic;
use layout::{Axis, BOTTOM, HEIGHT, LEFT, RIGHT, TOP, Taken, WIDTH};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Height of the title and the first line of the legend above a picture.
const HEAD: f64 = 64.0;

/// Height of each further line of the legend.
const LINE: f64 = 20.0;

/// The picture of `rows`, one per layer and type, under the ceilings of each arithmetic, the highest peak first. `others`
/// are the peaks of narrower instruction sets, drawn dashed. A standalone picture has its own styles.
///
/// # Panics
/// If there are no ceilings.
pub fn roofline(
    rows: &[&Row],
    ceilings: &[Ceilings],
    others: &[(&IsaName, f64)],
    title: &str,
    standalone: bool,
) -> String {
    let points: Vec<&Row> = rows.iter().copied().filter(|r| r.intensity > 0.0).collect();
    let (x, y) = frame(&points, ceilings);
    let types: Vec<Arithmetic> = ceilings.iter().map(|c| c.arithmetic).collect();
    let legend = legend(&points, &types);
    let head = HEAD + LINE * (legend.len() as f64 - 1.0);
    let mut svg = format!(
        "<svg class=\"roofline\" viewBox=\"0 {} {WIDTH} {}\" role=\"group\" aria-label=\"Roofline: attained GFLOP/s over arithmetic intensity, with the measured ceilings\" xmlns=\"http://www.w3.org/2000/svg\">",
        -head,
        HEIGHT + head
    );
    if standalone {
        svg += &style::standalone();
    }
    header(&mut svg, head, title, &legend);
    axes(&mut svg, &x, &y, &types);
    let mut taken = Taken::default();
    let points = points::placed(&x, &y, &points, &mut taken);
    roofs(&mut svg, &x, &y, ceilings, others, &mut taken);
    points::draw(&mut svg, &points, &mut taken);
    svg += "</svg>";
    svg
}

/// The axes: all points and all ridge points are inside.
fn frame(points: &[&Row], ceilings: &[Ceilings]) -> (Axis, Axis) {
    let (highest, lowest) = (&ceilings[0], &ceilings[ceilings.len() - 1]);
    let fold = |f: &dyn Fn(&Row) -> f64, start: f64, pick: fn(f64, f64) -> f64| {
        points.iter().map(|r| f(r)).fold(start, pick)
    };
    let corner =
        |ceilings: &Ceilings, roof: Option<&Roof>| roof.map_or(1.0, |r| ceilings.peak / r.read);
    let (first, last) = (
        corner(lowest, lowest.roofs.first()),
        corner(highest, highest.roofs.last()),
    );
    let x = Axis {
        lo: fold(&|r| r.intensity, first / 2.0, f64::min) / 2.0,
        hi: fold(&|r| r.intensity, last, f64::max) * 2.5,
        from: LEFT,
        to: WIDTH - RIGHT,
    };
    let y = Axis {
        lo: fold(&|r| r.gflops_executed, lowest.peak / 4.0, f64::min) / 2.0,
        hi: fold(&|r| r.gflops_executed, highest.peak, f64::max) * 1.5,
        from: HEIGHT - BOTTOM,
        to: TOP,
    };
    (x, y)
}

/// A mark of the legend: its colour, its family, its class, and what it means.
struct Entry {
    colour: &'static str,
    family: &'static Family,
    class: &'static str,
    text: String,
}

/// Lines of the legend: the families that occur, the verdicts that occur, and the outlines of types.
fn legend(points: &[&Row], types: &[Arithmetic]) -> Vec<Vec<Entry>> {
    let circle = Family::of(&"direct".into());
    let used = |f: &&Family| {
        let mut own = points.iter().map(|r| Family::of(&r.variant).class);
        own.any(|class| class == f.class)
    };
    let families = FAMILIES.iter().filter(used).map(|family| Entry {
        colour: "family",
        family,
        class: if family.is_peers() { "ghost" } else { "dot" },
        text: family.name.into(),
    });
    let occurs = |v: &Verdict| points.iter().any(|r| r.verdict == *v);
    let verdicts = Verdict::ALL.into_iter().filter(occurs).map(|v| Entry {
        colour: v.name(),
        family: circle,
        class: "dot",
        text: v.label().into(),
    });
    let outlines = outlines(types).map(|text| Entry {
        colour: "family",
        family: circle,
        class: "dot",
        text,
    });
    let lines = [
        families.collect(),
        verdicts.collect(),
        outlines.into_iter().collect(),
    ];
    // A picture without points still has a place for its title.
    let mut lines: Vec<Vec<Entry>> = lines
        .into_iter()
        .filter(|line: &Vec<Entry>| !line.is_empty())
        .collect();
    if lines.is_empty() {
        lines.push(Vec::new());
    }
    lines
}

/// Background, title and legend, in a space of height `head` above the picture.
fn header(svg: &mut String, head: f64, title: &str, legend: &[Vec<Entry>]) {
    let _ = write!(
        svg,
        "<rect class=\"paper\" y=\"{}\" width=\"{WIDTH}\" height=\"{}\" rx=\"10\"/><text class=\"title\" x=\"{LEFT}\" y=\"{}\">{}</text>",
        -head,
        HEIGHT + head,
        30.0 - head,
        markup(title)
    );
    for (i, line) in legend.iter().enumerate() {
        let (mut x, y) = (LEFT + 6.0, 56.0 - head + LINE * i as f64);
        for entry in line {
            let _ = write!(
                svg,
                "<g class=\"{}\">{}<text class=\"tick\" x=\"{:.0}\" y=\"{y:.0}\">{}</text></g>",
                entry.colour,
                entry.family.mark(entry.class, x, y - 4.0, 5.5),
                x + 11.0,
                markup(&entry.text)
            );
            x += 34.0 + 7.4 * entry.text.chars().count() as f64;
        }
    }
}

/// Legend of the outlines that distinguish types; none if all points have one type.
fn outlines(types: &[Arithmetic]) -> Option<String> {
    let style = |arithmetic: &Arithmetic| match arithmetic {
        Arithmetic::F32 => None,
        Arithmetic::Bf16 => Some("dashed outline: bf16"),
        Arithmetic::Int8 => Some("solid outline: int8"),
    };
    let styles: Vec<&str> = types.iter().filter_map(style).collect();
    (types.len() > 1).then(|| styles.join("; "))
}

fn axes(svg: &mut String, x: &Axis, y: &Axis, types: &[Arithmetic]) {
    for (value, labelled) in x.ticks() {
        let at = x.at(value);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{at:.1} {TOP}V{}\"/>",
            HEIGHT - BOTTOM
        );
        if labelled {
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{value}</text>",
                HEIGHT - BOTTOM + 18.0
            );
        }
    }
    for (value, labelled) in y.ticks() {
        let at = y.at(value);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{}\"/>",
            WIDTH - RIGHT
        );
        if labelled {
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                LEFT - 8.0,
                at + 4.0
            );
        }
    }
    let units: BTreeSet<&str> = types.iter().map(|&t| rate(t)).collect();
    let units = units.into_iter().collect::<Vec<_>>().join(", ");
    let operations = match types.contains(&Arithmetic::Int8) {
        true => "operations",
        false => "flops",
    };
    let _ = write!(
        svg,
        "<text class=\"axis\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">arithmetic intensity: {operations} for each compulsory byte</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0
    );
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    let _ = write!(
        svg,
        "<text class=\"axis\" x=\"16\" y=\"{middle:.0}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {middle:.0})\">{units}</text>"
    );
}

fn roofs(
    svg: &mut String,
    x: &Axis,
    y: &Axis,
    ceilings: &[Ceilings],
    others: &[(&IsaName, f64)],
    taken: &mut Taken,
) {
    let right = WIDTH - RIGHT;
    ceilings.iter().for_each(|c| peak_line(svg, x, y, c, taken));
    let highest = &ceilings[0];
    for (isa, gflops) in others
        .iter()
        .filter(|(_, g)| *g > y.lo && *g < 0.9 * highest.peak)
    {
        let at = y.at(*gflops);
        let _ = write!(
            svg,
            "<path class=\"roof minor\" d=\"M{LEFT} {at:.1}H{right}\"/>"
        );
        let text = format!("{isa} peak {gflops:.0}");
        peak_label(svg, &text, (right - label_width(&text), at), -16.0, taken);
    }
    for roof in &highest.roofs {
        bandwidth(svg, x, y, highest, roof, taken);
    }
}

/// The line of an arithmetic's peak, from the line of the nearest level, with its label.
fn peak_line(svg: &mut String, x: &Axis, y: &Axis, ceilings: &Ceilings, taken: &mut Taken) {
    let at = y.at(ceilings.peak);
    let nearest = ceilings
        .roofs
        .first()
        .map_or(x.lo, |r| (ceilings.peak / r.read).max(x.lo));
    let _ = write!(
        svg,
        "<path class=\"roof\" d=\"M{:.1} {at:.1}H{}\"/>",
        x.at(nearest),
        WIDTH - RIGHT
    );
    let text = format!(
        "{} {} {:.0} {}",
        ceilings.isa,
        peak(ceilings.arithmetic),
        ceilings.peak,
        rate(ceilings.arithmetic)
    );
    // The label starts at the left: layers are near the right end.
    peak_label(svg, &text, (x.at(nearest) + 6.0, at), 16.0, taken);
}

/// The line of a level's bandwidth, with its label.
fn bandwidth(
    svg: &mut String,
    x: &Axis,
    y: &Axis,
    ceilings: &Ceilings,
    roof: &Roof,
    taken: &mut Taken,
) {
    // The line starts at the left or lower edge and ends at the peak.
    let start = x.lo.max(y.lo / roof.read);
    let end = (ceilings.peak / roof.read).min(x.hi);
    if end <= start {
        return;
    }
    let (x0, y0) = (x.at(start), y.at(start * roof.read));
    let (x1, y1) = (x.at(end), y.at(end * roof.read));
    let _ = write!(
        svg,
        "<path class=\"roof\" d=\"M{x0:.1} {y0:.1}L{x1:.1} {y1:.1}\"/>"
    );
    // The label lies along its line: above it, or below if another line is too close above.
    let angle = (y.at(2.0) - y.at(1.0)).atan2(x.at(2.0) - x.at(1.0));
    // Distance in the picture between the lines of two bandwidths.
    let apart = |a: f64, b: f64| (y.at(a) - y.at(b)).abs() * angle.cos();
    let near = |other: f64| other > roof.read && apart(other, roof.read) < 20.0;
    let crowded = ceilings.roofs.iter().any(|other| near(other.read));
    let (off, middle) = if crowded { (15.0, 10.0) } else { (-5.0, -10.0) };
    let places = [0.08, 0.2, 0.3, 0.4, 0.5, 0.6].map(|t| {
        let (lx, ly) = (x0 + t * (x1 - x0), y0 + t * (y1 - y0));
        let squares = (0..6).map(|step| {
            let along = f64::from(step) * 16.0 + 8.0;
            let dx = along * angle.cos() - middle * angle.sin();
            let dy = along * angle.sin() + middle * angle.cos();
            [lx + dx - 8.0, ly + dy - 8.0, 16.0, 16.0]
        });
        ((lx, ly), squares.collect())
    });
    let Some((lx, ly)) = taken.take_one(places.into()) else {
        return;
    };
    let text = format!("{} {:.0} GB/s", roof.level.name(), roof.read);
    let _ = write!(
        svg,
        "<text class=\"roof-label\" x=\"{lx:.1}\" y=\"{:.1}\" transform=\"rotate({:.1} {lx:.1} {ly:.1})\">{}</text>",
        ly + off,
        angle.to_degrees(),
        markup(&text)
    );
}

/// Approximate width of a label.
fn label_width(text: &str) -> f64 {
    7.2 * text.chars().count() as f64
}

/// Writes a peak's label above its line at `at`. If that place is occupied, it moves on by `step` until one is free.
fn peak_label(svg: &mut String, text: &str, at: (f64, f64), step: f64, taken: &mut Taken) {
    let width = label_width(text);
    let places = (0..60).map(|i| {
        let left = at.0 + step * f64::from(i);
        (left, vec![[left, at.1 - 18.0, width, 14.0]])
    });
    let Some(left) = taken.take_one(places.collect()) else {
        return;
    };
    let _ = write!(
        svg,
        "<text class=\"roof-label\" x=\"{left:.1}\" y=\"{:.1}\">{}</text>",
        at.1 - 6.0,
        markup(text)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{in_two_types, sample};
    use crate::report::rows;
    use convroof_kernels::Isa;

    #[test]
    fn a_picture_has_every_roof_and_point() {
        let run = sample();
        let rows = rows(&run);
        let ceilings = Ceilings::of_measurement(&run, &run.measurements[0]).expect("calibrated");
        let svg = roofline(
            &rows.iter().collect::<Vec<_>>(),
            &[ceilings],
            &[(&Isa::Scalar.into(), 30.0)],
            "resnet50, 1 thread",
            true,
        );
        for text in [
            "L1 230 GB/s",
            "DRAM 20 GB/s",
            "avx2 FMA peak 118",
            "conv2_x.3x3",
            "scalar peak 30",
            "resnet50, 1 thread",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn the_legend_of_types_has_a_line_of_its_own() {
        let run = in_two_types();
        let rows = rows(&run);
        let of =
            |i: usize| Ceilings::of_measurement(&run, &run.measurements[i]).expect("calibrated");
        let mut slow_int8 = of(1);
        slow_int8.peak = 0.9 * of(0).peak;
        let bf16 = Ceilings {
            arithmetic: Arithmetic::Bf16,
            peak: 0.8 * of(0).peak,
            ..of(0)
        };
        let draw = |ceilings: &[Ceilings]| {
            roofline(&rows.iter().collect::<Vec<_>>(), ceilings, &[], "x", true)
        };
        let one = draw(&[of(0)]);
        assert!(
            one.contains("viewBox=\"0 -84 960 664\"") && !one.contains("outline:"),
            "{one}"
        );
        let both = draw(&[of(1), of(0)]);
        assert!(both.contains("viewBox=\"0 -104 960 684\""), "{both}");
        let legend = "<text class=\"tick\" x=\"81\" y=\"-8\">solid outline: int8</text>";
        assert!(both.contains(legend), "{both}");
        // Each unit stands once, whatever the order of the peaks.
        let three = draw(&[of(0), slow_int8, bf16]);
        assert!(three.contains(">GFLOP/s, GOP/s</text>"), "{three}");
    }

    #[test]
    fn rows_without_arithmetic_leave_an_empty_picture() {
        let run = sample();
        let mut row = rows(&run).remove(0);
        row.intensity = 0.0;
        let ceilings = Ceilings::of_measurement(&run, &run.measurements[0]).expect("calibrated");
        for rows in [&[&row][..], &[]] {
            let svg = roofline(rows, std::slice::from_ref(&ceilings), &[], "x", false);
            assert!(svg.contains("avx2 FMA peak 118"), "{svg}");
            assert!(
                !svg.contains("NaN") && !svg.contains("inf") && !svg.contains("class=\"point"),
                "{svg}"
            );
        }
    }
}
