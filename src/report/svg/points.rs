//! Layers in the picture. A mark's colour shows the verdict, its shape the family of the algorithm, its area the share of
//! the network's time. Important layers have names.

use super::family::Family;
use super::layout::{Axis, Taken};
use crate::escape::markup;
use crate::report::{Row, Series};
use crate::roofline::Verdict;
use crate::units::{peak, plural, rate, time};
use convroof_kernels::dtype::DType;
use convroof_kernels::probe::Arithmetic;
use std::fmt::Write;

/// Largest number of names in the picture, so that they don't hide each other.
const NAMES: usize = 12;

/// Tooltip of a point, one fact per line.
fn details(row: &Row, share: f64) -> String {
    let few = if row.few_samples() {
        format!(", {}", plural(row.samples, "sample"))
    } else {
        format!(
            " ({} to {}, {} samples)",
            time(row.ci_low_ns),
            time(row.ci_high_ns),
            row.samples
        )
    };
    format!(
        "{}\n{}\n{}{few}\n{:.0} {} nominal, {:.0} executed\n{:.0} % of the {}, {:.1} flop/byte, {:.0} GB/s\n{:.1} % of the network's time\n{}",
        markup(&subject(row)),
        markup(&row.variant),
        time(row.median_ns),
        row.gflops_nominal,
        rate(row.arithmetic()),
        row.gflops_executed,
        100.0 * row.fraction_of_peak,
        peak(row.arithmetic()),
        row.intensity,
        row.bandwidth_gbps,
        100.0 * share,
        row.verdict.label()
    )
}

/// A row's layer, with its type if that isn't f32.
fn subject(row: &Row) -> String {
    let layer = Series {
        network: &row.layer,
        ..row.series()
    };
    layer.subject()
}

/// CSS class of a row's arithmetic, with a space before it; empty for f32.
fn type_class(row: &Row) -> &'static str {
    match row.arithmetic() {
        Arithmetic::F32 => "",
        Arithmetic::Bf16 => " bf16",
        Arithmetic::Int8 => " int8",
    }
}

/// A point with its position.
pub(super) struct Point<'a> {
    row: &'a Row,
    share: f64,
    cx: f64,
    cy: f64,
    radius: f64,
}

/// Positions of all rows. They are then occupied.
pub(super) fn placed<'a>(
    x: &Axis,
    y: &Axis,
    rows: &[&'a Row],
    taken: &mut Taken,
) -> Vec<Point<'a>> {
    let weight = |r: &Row| r.count as f64 * r.median_ns;
    let total = |row: &Row| -> f64 {
        let ours = rows
            .iter()
            .filter(|r| !r.is_peer() && r.series() == row.series());
        ours.map(|r| weight(r)).sum()
    };
    let place = |row: &Row| {
        let share = weight(row) / total(row);
        (share, x.at(row.intensity), y.at(row.gflops_executed))
    };
    let mut points: Vec<Point<'_>> = rows
        .iter()
        .map(|&row| {
            let (share, cx, cy) = place(row);
            let radius = if row.is_peer() {
                4.5
            } else {
                4.5 + 18.0 * share.sqrt()
            };
            Point {
                row,
                share,
                cx,
                cy,
                radius,
            }
        })
        .collect();
    // Large marks first, so that small ones are drawn on top.
    points.sort_by(|a, b| b.share.total_cmp(&a.share));
    for p in &points {
        let square = |x: f64, y: f64, r: f64| [x - r, y - r, 2.0 * r, 2.0 * r];
        taken.0.push(square(p.cx, p.cy, p.radius));
    }
    points
}

/// Draws the points, and the names of the important ones.
pub(super) fn draw(svg: &mut String, points: &[Point<'_>], taken: &mut Taken) {
    points.iter().for_each(|p| mark(svg, p));
    // Layers that arithmetic does not bind get names first, then the others by time.
    let unusual = |p: &&Point<'_>| p.row.verdict != Verdict::Compute;
    let mut named: Vec<&Point<'_>> = points.iter().filter(unusual).collect();
    named.extend(points.iter().filter(|p| !unusual(p)));
    let mut names = 0;
    named.retain(|p| !p.row.is_peer());
    for point in named {
        if names < NAMES && name(svg, point, taken) {
            names += 1;
        }
    }
}

fn mark(svg: &mut String, p: &Point<'_>) {
    // The executed operations of a peer are unknown: its mark shows the nominal ones.
    let class = if p.row.is_peer() { "ghost" } else { "dot" };
    let _ = write!(
        svg,
        "<g class=\"point {}{}\"><title>{}</title>{}</g>",
        p.row.verdict.name(),
        type_class(p.row),
        details(p.row, p.share),
        Family::of(&p.row.variant).mark(class, p.cx, p.cy, p.radius)
    );
}

/// Writes a name beside its point, or farther away with a line to it. False if there is no free place.
fn name(svg: &mut String, p: &Point<'_>, taken: &mut Taken) -> bool {
    // A layer without a name has the text of its problem instead.
    let layer = p.row.layer.as_str();
    let text = layer.strip_prefix("--pool --alg=").unwrap_or(layer);
    let text = match p.row.dt.is(&DType::F32) {
        true => text.to_string(),
        false => format!("{text} {}", p.row.dt),
    };
    let width = 6.9 * text.chars().count() as f64 + 4.0;
    let near = p.radius + 5.0;
    let right = (near, 4.0);
    let left = (-near - width, 4.0);
    let above = (-width / 2.0, -near - 2.0);
    let below = (-width / 2.0, near + 11.0);
    let mut spots = vec![right, left, above, below];
    // Rings of farther places, downwards first, since the peak's label is above.
    for reach in [30.0, 48.0, 66.0, 88.0, 110.0, 132.0] {
        for dx in [0.0, 34.0, -34.0, 70.0, -70.0] {
            spots.push((dx - width / 2.0, reach));
            spots.push((dx - width / 2.0, -reach));
        }
    }
    for (i, (dx, dy)) in spots.into_iter().enumerate() {
        let (lx, ly) = (p.cx + dx, p.cy + dy);
        if !taken.take([lx, ly - 12.0, width, 16.0]) {
            continue;
        }
        if i >= 4 {
            let end = if dy > 0.0 { ly - 12.0 } else { ly + 3.0 };
            let _ = write!(
                svg,
                "<path class=\"lead\" d=\"M{:.1} {:.1}L{:.1} {end:.1}\"/>",
                p.cx,
                p.cy + p.radius.copysign(dy),
                lx + width / 2.0
            );
        }
        let _ = write!(
            svg,
            "<text class=\"label\" x=\"{:.1}\" y=\"{ly:.1}\">{}</text>",
            lx + 2.0,
            markup(&text)
        );
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::report::rows;

    #[test]
    fn names_do_not_hide_each_other() {
        let run = sample();
        let row = rows(&run).remove(0);
        let crowd: Vec<Row> = (0..30)
            .map(|i| Row {
                layer: format!("layer-{i}"),
                ..row.clone()
            })
            .collect();
        let axis = |from, to| Axis {
            lo: 0.1,
            hi: 1000.0,
            from,
            to,
        };
        let (x, y) = (axis(64.0, 900.0), axis(500.0, 20.0));
        let (mut svg, mut taken) = (String::new(), Taken::default());
        let crowd: Vec<&Row> = crowd.iter().collect();
        let points = placed(&x, &y, &crowd, &mut taken);
        draw(&mut svg, &points, &mut taken);
        let names = &taken.0[crowd.len()..];
        assert!(names.len() > 3 && names.len() <= NAMES);
        for (i, a) in names.iter().enumerate() {
            for b in &names[..i] {
                let apart = a[0] >= b[0] + b[2]
                    || b[0] >= a[0] + a[2]
                    || a[1] >= b[1] + b[3]
                    || b[1] >= a[1] + a[3];
                assert!(apart, "{a:?} {b:?}");
            }
        }
    }
}
