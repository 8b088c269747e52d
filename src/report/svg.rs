//! The roofline as a picture: log-log, all measured ceilings, a point for each layer.
//!
//! Colours are CSS classes, which the HTML report styles for light and dark; a picture that stands
//! alone brings the same styles with it.

use super::Row;
use crate::roofline::{Ceilings, Roof, time};
use std::fmt::Write;

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 540.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 52.0;

/// Families of algorithms, with the class that colours them.
const FAMILIES: [(&str, &str); 5] = [
    ("direct", "direct"),
    ("im2col", "im2col"),
    ("gemm-1x1", "gemm"),
    ("winograd", "winograd"),
    ("pool", "pool"),
];

/// The class of an algorithm's family; `other` for one that is not from here.
pub fn family(algorithm: &str) -> &'static str {
    let found = FAMILIES.iter().find(|(name, _)| algorithm.contains(name));
    found.map_or("other", |(_, class)| class)
}

/// Styles of a picture that stands alone.
const STANDALONE: &str = "<style>
svg{--ink:#1c2430;--soft:#5c6773;--grid:#e3e7ec;--paper:#ffffff;--direct:#0072b2;--im2col:#cc79a7;--gemm:#009e73;--winograd:#d55e00;--pool:#b8860b;--other:#777;font-family:system-ui,sans-serif}
@media(prefers-color-scheme:dark){svg{--ink:#e6eaf0;--soft:#9aa6b2;--grid:#2a323c;--paper:#14181d;--direct:#56b4e9;--im2col:#e39cc4;--gemm:#2fcf9f;--winograd:#ff9248;--pool:#f0c44c;--other:#aaa}}
.paper{fill:var(--paper)}.grid{stroke:var(--grid);fill:none}.tick,.axis,.roof-label,.label{fill:var(--soft);font-size:12px}.label{fill:var(--ink)}.axis{font-size:13px}.roof{stroke:var(--ink);fill:none;stroke-width:1.6}.roof.minor{stroke:var(--soft);stroke-dasharray:4 4;stroke-width:1}
.direct{--c:var(--direct)}.im2col{--c:var(--im2col)}.gemm{--c:var(--gemm)}.winograd{--c:var(--winograd)}.pool{--c:var(--pool)}.other{--c:var(--other)}.dot{fill:var(--c);fill-opacity:.75;stroke:var(--paper);stroke-width:1}.ghost{fill:none;stroke:var(--c);stroke-width:1.6}.link{stroke:var(--c);stroke-opacity:.5}
</style>";

/// A logarithmic axis.
struct Axis {
    lo: f64,
    hi: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let t = (value.ln() - self.lo.ln()) / (self.hi.ln() - self.lo.ln());
        self.from + t * (self.to - self.from)
    }

    /// 1, 2, 5, 10, ... inside the axis; `labelled` are the powers of ten, or all if there are few.
    fn ticks(&self) -> Vec<(f64, bool)> {
        let mut ticks = Vec::new();
        for exponent in -4..8 {
            for digit in 1..10 {
                let value = f64::from(digit) * 10f64.powi(exponent);
                if (self.lo..=self.hi).contains(&value) {
                    ticks.push((value, digit == 1 || digit == 2 || digit == 5));
                }
            }
        }
        let wide = self.hi / self.lo > 3e3;
        ticks
            .iter()
            .map(|&(v, l)| (v, l && (!wide || v.log10().fract().abs() < 1e-9)))
            .collect()
    }
}

/// Rectangles that are taken, so that labels don't overlap.
#[derive(Default)]
struct Taken(Vec<[f64; 4]>);

impl Taken {
    /// Takes a rectangle (x, y, width, height) unless it meets another or leaves the picture.
    fn take(&mut self, rect: [f64; 4]) -> bool {
        let [x, y, w, h] = rect;
        let inside = x >= LEFT && x + w <= WIDTH - 4.0 && y >= 4.0 && y + h <= HEIGHT - BOTTOM;
        let meets =
            |o: &[f64; 4]| x < o[0] + o[2] && o[0] < x + w && y < o[1] + o[3] && o[1] < y + h;
        let free = inside && !self.0.iter().any(meets);
        if free {
            self.0.push(rect);
        }
        free
    }
}

/// The picture: `rows` (one a layer) under `ceilings`; `others` are the peaks of narrower
/// instruction sets, drawn dashed.
pub fn roofline(
    rows: &[&Row],
    ceilings: &Ceilings,
    others: &[(String, f64)],
    standalone: bool,
) -> String {
    let points: Vec<&&Row> = rows.iter().filter(|r| r.intensity > 0.0).collect();
    let fold = |f: &dyn Fn(&Row) -> f64, start: f64, pick: fn(f64, f64) -> f64| {
        points.iter().map(|r| f(r)).fold(start, pick)
    };
    // Every corner is in the picture.
    let corner = |roof: Option<&Roof>| roof.map_or(1.0, |r| ceilings.peak / r.read);
    let (first, last) = (
        corner(ceilings.roofs.first()),
        corner(ceilings.roofs.last()),
    );
    let x = Axis {
        lo: fold(
            &|r| r.intensity.min(r.intensity_nominal),
            first / 2.0,
            f64::min,
        ) / 2.0,
        hi: fold(&|r| r.intensity.max(r.intensity_nominal), last, f64::max) * 2.5,
        from: LEFT,
        to: WIDTH - RIGHT,
    };
    let y = Axis {
        lo: fold(&|r| r.gflops_executed, ceilings.peak / 4.0, f64::min) / 2.0,
        hi: fold(&|r| r.gflops_nominal, ceilings.peak, f64::max) * 1.5,
        from: HEIGHT - BOTTOM,
        to: TOP,
    };

    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Roofline: attained GFLOP/s over arithmetic intensity, with the measured ceilings\" xmlns=\"http://www.w3.org/2000/svg\">"
    );
    if standalone {
        svg += STANDALONE;
        let _ = write!(
            svg,
            "<rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>"
        );
    }
    axes(&mut svg, &x, &y);
    let mut taken = Taken::default();
    for row in &points {
        let (cx, cy) = (x.at(row.intensity), y.at(row.gflops_executed));
        taken.0.push([cx - 6.0, cy - 6.0, 12.0, 12.0]);
    }
    roofs(&mut svg, &x, &y, ceilings, others, &mut taken);
    dots(&mut svg, &x, &y, &points, &mut taken);
    svg += "</svg>";
    svg
}

fn axes(svg: &mut String, x: &Axis, y: &Axis) {
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
    let _ = write!(
        svg,
        "<text class=\"axis\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">arithmetic intensity: flops for each compulsory byte</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0
    );
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    let _ = write!(
        svg,
        "<text class=\"axis\" x=\"16\" y=\"{middle:.0}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {middle:.0})\">GFLOP/s</text>"
    );
}

fn roofs(
    svg: &mut String,
    x: &Axis,
    y: &Axis,
    ceilings: &Ceilings,
    others: &[(String, f64)],
    taken: &mut Taken,
) {
    let right = WIDTH - RIGHT;
    let peak = y.at(ceilings.peak);
    let nearest = ceilings
        .roofs
        .first()
        .map_or(x.lo, |r| (ceilings.peak / r.read).max(x.lo));
    let _ = write!(
        svg,
        "<path class=\"roof\" d=\"M{:.1} {peak:.1}H{right}\"/>",
        x.at(nearest)
    );
    let text = format!("{} FMA peak {:.0} GFLOP/s", ceilings.isa, ceilings.peak);
    taken.take([right - 230.0, peak - 18.0, 230.0, 14.0]);
    let _ = write!(
        svg,
        "<text class=\"roof-label\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
        peak - 6.0
    );
    for (isa, gflops) in others
        .iter()
        .filter(|(_, g)| *g > y.lo && *g < 0.9 * ceilings.peak)
    {
        let at = y.at(*gflops);
        let _ = write!(
            svg,
            "<path class=\"roof minor\" d=\"M{LEFT} {at:.1}H{right}\"/>"
        );
        taken.take([right - 170.0, at - 18.0, 170.0, 14.0]);
        let _ = write!(
            svg,
            "<text class=\"roof-label\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{isa} peak {gflops:.0}</text>",
            at - 6.0
        );
    }
    let slope = (y.at(2.0) - y.at(1.0))
        .atan2(x.at(2.0) - x.at(1.0))
        .to_degrees();
    for roof in &ceilings.roofs {
        // From the left or the lower edge up to the peak.
        let start = x.lo.max(y.lo / roof.read);
        let end = (ceilings.peak / roof.read).min(x.hi);
        if end <= start {
            continue;
        }
        let (x0, y0) = (x.at(start), y.at(start * roof.read));
        let (x1, y1) = (x.at(end), y.at(end * roof.read));
        let _ = write!(
            svg,
            "<path class=\"roof\" d=\"M{x0:.1} {y0:.1}L{x1:.1} {y1:.1}\"/>"
        );
        let text = format!("{} {:.0} GB/s", roof.level.name(), roof.read);
        let (lx, ly) = (x0 + 0.08 * (x1 - x0), y0 + 0.08 * (y1 - y0));
        let _ = write!(
            svg,
            "<text class=\"roof-label\" x=\"{lx:.1}\" y=\"{:.1}\" transform=\"rotate({slope:.1} {lx:.1} {ly:.1})\">{text}</text>",
            ly - 5.0
        );
        // The label lies along the line: keep the squares under it free.
        for step in 0..6 {
            let d = f64::from(step) * 16.0;
            let (dx, dy) = (d * slope.to_radians().cos(), d * slope.to_radians().sin());
            taken.0.push([lx + dx - 4.0, ly + dy - 16.0, 18.0, 16.0]);
        }
    }
}

fn dots(svg: &mut String, x: &Axis, y: &Axis, points: &[&&Row], taken: &mut Taken) {
    let weight = |r: &Row| r.count as f64 * r.median_ns;
    let total: f64 = points.iter().map(|r| weight(r)).sum();
    let mut by_weight: Vec<&&&Row> = points.iter().collect();
    by_weight.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    let mut labels = 0;
    for row in by_weight {
        let share = weight(row) / total;
        let radius = 4.0 + 18.0 * share.sqrt();
        let (cx, cy) = (x.at(row.intensity), y.at(row.gflops_executed));
        let _ = write!(
            svg,
            "<g class=\"point {}\" tabindex=\"0\"><title>{}/{}\n{}\n{}, {:.0} GFLOP/s nominal, {:.0} executed\n{:.0} % of the network's time; {}</title>",
            family(row.algorithm()),
            escape(&row.network),
            escape(&row.layer),
            escape(&row.variant),
            time(row.median_ns),
            row.gflops_nominal,
            row.gflops_executed,
            100.0 * share,
            row.verdict.label()
        );
        if row.gflops_nominal > 1.03 * row.gflops_executed {
            let (nx, ny) = (x.at(row.intensity_nominal), y.at(row.gflops_nominal));
            let _ = write!(
                svg,
                "<path class=\"link\" d=\"M{cx:.1} {cy:.1}L{nx:.1} {ny:.1}\"/><circle class=\"ghost\" cx=\"{nx:.1}\" cy=\"{ny:.1}\" r=\"4\"/>"
            );
        }
        let _ = write!(
            svg,
            "<circle class=\"dot\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"{radius:.1}\"/></g>"
        );
        // The layers that matter get a name, where there is room for one.
        let width = 7.0 * row.layer.chars().count() as f64;
        if labels < 9 {
            let spots = [
                (cx + radius + 4.0, cy + 4.0, "start", 0.0),
                (cx - radius - 4.0, cy + 4.0, "end", -width),
                (cx, cy - radius - 6.0, "middle", -width / 2.0),
                (cx, cy + radius + 14.0, "middle", -width / 2.0),
                (cx + radius + 4.0, cy + 24.0, "start", 0.0),
                (cx + radius + 4.0, cy + 42.0, "start", 0.0),
            ];
            let free = spots
                .iter()
                .find(|(sx, sy, _, dx)| taken.take([sx + dx, sy - 11.0, width, 14.0]));
            if let Some((sx, sy, anchor, _)) = free {
                labels += 1;
                let _ = write!(
                    svg,
                    "<text class=\"label\" x=\"{sx:.1}\" y=\"{sy:.1}\" text-anchor=\"{anchor}\">{}</text>",
                    escape(&row.layer)
                );
            }
        }
    }
}

/// Text inside XML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::report::rows;

    #[test]
    fn a_picture_has_every_roof_and_point() {
        let run = sample();
        let rows = rows(&run);
        let ceilings =
            Ceilings::of(&run.calibration, &run.fingerprint, "avx2", 1).expect("calibrated");
        let svg = roofline(
            &rows.iter().collect::<Vec<_>>(),
            &ceilings,
            &[("scalar".into(), 30.0)],
            true,
        );
        for text in [
            "L1 230 GB/s",
            "DRAM 20 GB/s",
            "avx2 FMA peak 118",
            "conv2_x.3x3",
            "scalar peak 30",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
