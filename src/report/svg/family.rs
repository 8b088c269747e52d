//! Families of algorithms, and their marks.

use crate::record::CandidateId;
use std::f64::consts::{FRAC_PI_2, TAU};

/// A family of algorithms. Its shape identifies it.
pub(crate) struct Family {
    /// Part of its algorithms' ids; none for peers. Ids are permanent, and records may name algorithms that this
    /// program doesn't have. They have a family, too.
    part: Option<&'static str>,
    /// Name in data.
    pub(crate) class: &'static str,
    /// Name in the legend.
    pub(crate) name: &'static str,
    /// Corners of its mark; none for a circle.
    pub(crate) corners: Option<usize>,
    /// Direction of the first corner, in turns from upwards.
    pub(crate) turn: f64,
}

/// All families. Peers are the first, algorithms that this program doesn't have the last.
pub(crate) const FAMILIES: [Family; 8] = [
    Family::new(None, "peer", "best peer library", Some(5), 0.0),
    Family::new(Some("direct"), "direct", "direct", None, 0.0),
    Family::new(Some("im2col"), "im2col", "im2col", Some(3), 0.5),
    Family::new(Some("gemm-1x1"), "gemm", "gemm-1x1", Some(4), 0.125),
    Family::new(Some("strassen"), "strassen", "strassen-1x1", Some(3), 0.25),
    Family::new(Some("winograd"), "winograd", "winograd", Some(3), 0.0),
    Family::new(Some("pool"), "pool", "pooling", Some(4), 0.0),
    Family::new(Some(""), "other", "other", Some(6), 0.0),
];

impl Family {
    const fn new(
        part: Option<&'static str>,
        class: &'static str,
        name: &'static str,
        corners: Option<usize>,
        turn: f64,
    ) -> Self {
        Family {
            part,
            class,
            name,
            corners,
            turn,
        }
    }

    /// The family of a candidate.
    pub(crate) fn of(id: &CandidateId) -> &'static Family {
        let own = |f: &&Family| match f.part {
            None => id.is_peer(),
            Some(part) => id.algorithm().contains(part),
        };
        let family = FAMILIES.iter().find(own);
        family.unwrap_or(&FAMILIES[FAMILIES.len() - 1])
    }

    /// True for the family of all peers.
    pub(crate) fn is_peers(&self) -> bool {
        self.part.is_none()
    }

    /// Its mark, with the area of a circle of this radius.
    pub(crate) fn mark(&self, class: &str, cx: f64, cy: f64, radius: f64) -> String {
        let Some(corners) = self.corners else {
            return format!(
                "<circle class=\"{class}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"{radius:.1}\"/>"
            );
        };
        // A regular n-gon with circumradius c has the area n c^2 sin(2 pi / n) / 2.
        let n = corners as f64;
        let reach = radius * (TAU / (n * (TAU / n).sin())).sqrt();
        let corner = |i: usize| {
            let angle = TAU * (i as f64 / n + self.turn) - FRAC_PI_2;
            format!(
                "{:.1} {:.1}",
                cx + reach * angle.cos(),
                cy + reach * angle.sin()
            )
        };
        let corners: Vec<String> = (0..corners).map(corner).collect();
        format!("<path class=\"{class}\" d=\"M{}Z\"/>", corners.join("L"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Area of a closed path of straight lines (the shoelace formula).
    fn area(mark: &str) -> f64 {
        let path = mark.split(" d=\"M").nth(1).expect("a path");
        let path = path.split('Z').next().expect("closed");
        let corners: Vec<(f64, f64)> = path
            .split('L')
            .map(|c| {
                let (x, y) = c.split_once(' ').expect("two numbers");
                (x.parse().expect("x"), y.parse().expect("y"))
            })
            .collect();
        let next = corners.iter().cycle().skip(1);
        let twice: f64 = corners
            .iter()
            .zip(next)
            .map(|(a, b)| a.0 * b.1 - b.0 * a.1)
            .sum();
        twice.abs() / 2.0
    }

    #[test]
    fn equal_shares_have_equal_areas_whatever_the_shape() {
        let circle = std::f64::consts::PI * 30.0 * 30.0;
        for family in FAMILIES.iter().filter(|f| f.corners.is_some()) {
            let area = area(&family.mark("dot", 200.0, 200.0, 30.0));
            assert!(
                (area / circle - 1.0).abs() < 0.01,
                "{}: {area}",
                family.name
            );
        }
    }

    #[test]
    fn every_algorithm_has_its_family() {
        for (algorithm, name) in [
            ("direct-nchw", "direct"),
            ("winograd-f4x3", "winograd"),
            ("strassen-1x1", "strassen-1x1"),
            ("global-avgpool", "pooling"),
            ("gemm-1x1-nhwc", "gemm-1x1"),
            ("peer-gemm-nchw", "best peer library"),
            ("mine", "other"),
        ] {
            assert_eq!(Family::of(&algorithm.into()).name, name);
        }
    }
}
