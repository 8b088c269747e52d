//! Layout of the picture: axes, and free places for labels.

pub(super) const WIDTH: f64 = 960.0;
pub(super) const HEIGHT: f64 = 580.0;
pub(super) const LEFT: f64 = 64.0;
pub(super) const RIGHT: f64 = 24.0;
pub(super) const TOP: f64 = 24.0;
pub(super) const BOTTOM: f64 = 52.0;

/// A logarithmic axis.
pub(super) struct Axis {
    pub(super) lo: f64,
    pub(super) hi: f64,
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Axis {
    pub(super) fn at(&self, value: f64) -> f64 {
        let t = (value.ln() - self.lo.ln()) / (self.hi.ln() - self.lo.ln());
        self.from + t * (self.to - self.from)
    }

    /// Ticks inside the axis. The flag marks labelled ones: 1, 2 and 5 of each decade, or powers of ten only on a
    /// wide axis.
    pub(super) fn ticks(&self) -> Vec<(f64, bool)> {
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

/// A rectangle: x, y, width, height.
pub(super) type Rect = [f64; 4];

/// Occupied rectangles, so that labels don't overlap.
#[derive(Default)]
pub(super) struct Taken(pub(super) Vec<Rect>);

impl Taken {
    /// Occupies a rectangle and returns true, unless it overlaps another or leaves the picture.
    pub(super) fn take(&mut self, rect: Rect) -> bool {
        let free = self.is_free(rect);
        if free {
            self.0.push(rect);
        }
        free
    }

    /// True if a rectangle overlaps no other and is inside the picture.
    fn is_free(&self, [x, y, w, h]: Rect) -> bool {
        let inside = x >= LEFT && x + w <= WIDTH - 4.0 && y >= 4.0 && y + h <= HEIGHT - BOTTOM;
        let meets = |o: &Rect| x < o[0] + o[2] && o[0] < x + w && y < o[1] + o[3] && o[1] < y + h;
        inside && !self.0.iter().any(meets)
    }

    /// Occupies the first of several places whose rectangles are all free; the first place if there is none.
    pub(super) fn take_one<P>(&mut self, places: Vec<(P, Vec<Rect>)>) -> Option<P> {
        let free = |(_, rects): &(P, Vec<Rect>)| rects.iter().all(|&rect| self.is_free(rect));
        let best = places.iter().position(free).unwrap_or(0);
        let (place, rects) = places.into_iter().nth(best)?;
        self.0.extend(rects);
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_place_is_taken() {
        let square = |x: f64| [x, 100.0, 16.0, 16.0];
        let mut taken = Taken::default();
        assert!(taken.take(square(100.0)));
        let places = || {
            vec![
                (1, vec![square(90.0)]),
                (2, vec![square(200.0), square(216.0)]),
            ]
        };
        assert_eq!(taken.take_one(places()), Some(2));
        // No place is free now.
        assert_eq!(taken.take_one(places()), Some(1));
        assert_eq!(taken.take_one::<usize>(Vec::new()), None);
        assert!(!taken.take(square(210.0)));
    }
}
