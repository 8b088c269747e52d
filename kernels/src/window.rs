//! Position of a layer's windows in its input, one axis at a time. Pure functions.

use crate::bounds::{product, sum};
use std::ops::Range;

/// One axis of the windows: the input positions that each output covers.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Input positions.
    pub size: usize,
    /// Outputs.
    pub out: usize,
    /// Elements of the window.
    pub kernel: usize,
    /// Input positions from a window to the next.
    pub stride: usize,
    /// Input positions from an element to the next.
    pub dilation: usize,
    /// Leading padding.
    pub before: usize,
    /// Number of positions (leading padding, input, and trailing padding) that count in a mean's divisor. `None` if
    /// only elements inside the input count.
    pub counted: Option<usize>,
}

impl Window {
    /// Checks that no position of a window wraps, so that elements inside the input are at [`Window::at`].
    ///
    /// # Panics
    /// If a position wraps, or a step is 0.
    pub fn check(&self) {
        assert!(
            self.kernel > 0 && self.stride > 0 && self.dilation > 0,
            "{self:?}"
        );
        let last_window = product([self.out, self.stride]);
        let last_element = product([self.kernel, self.dilation]);
        sum([last_window, last_element, self.size, self.before]);
    }

    /// Elements of window `o` that lie inside the input; never empty for a pooling.
    #[inline(always)]
    pub fn inside(&self, o: usize) -> Range<usize> {
        let start = o * self.stride;
        // A division would take noticeable time on small maps.
        let elements = |positions: usize| match self.dilation {
            1 => positions,
            dilation => positions.div_ceil(dilation),
        };
        let lo = elements(self.before.saturating_sub(start));
        let hi = elements((self.size + self.before).saturating_sub(start)).min(self.kernel);
        lo..hi
    }

    /// Windows that lie wholly inside the input.
    pub fn whole(&self) -> Range<usize> {
        let span = (self.kernel - 1) * self.dilation + 1;
        let start = self.before.div_ceil(self.stride).min(self.out);
        let end = match (self.size + self.before).checked_sub(span) {
            Some(last) => (last / self.stride + 1).min(self.out),
            None => start,
        };
        start..end.max(start)
    }

    /// Input position of element `k` of window `o`.
    #[inline(always)]
    pub fn at(&self, o: usize, k: usize) -> usize {
        o * self.stride + k * self.dilation - self.before
    }

    /// Number of elements inside the input, over all windows.
    pub fn elements_inside(&self) -> u64 {
        self.pairs_inside([0..self.out, 0..self.kernel])
    }

    /// Number of input positions that some window covers.
    pub fn covered(&self) -> u64 {
        // Let s and d be stride and dilation over their greatest common divisor. Elements (o, k) and (o + d, k - s) are
        // at the same position. Of the elements at one position, only the first is counted: the one without a
        // predecessor.
        let common = gcd(self.stride, self.dilation);
        let (s, d) = (self.stride / common, self.dilation / common);
        let first = d.min(self.out);
        let new = self.kernel.saturating_sub(s);
        self.pairs_inside([0..first, 0..self.kernel])
            + self.pairs_inside([first..self.out, new..self.kernel])
    }

    /// Pairs of a window and an element, from two ranges, that lie inside the input. The number of steps grows with the
    /// logarithms of the sizes.
    fn pairs_inside(&self, [windows, elements]: [Range<usize>; 2]) -> u64 {
        let at = |o: usize, k: usize| {
            o as i128 * self.stride as i128 + k as i128 * self.dilation as i128
                - self.before as i128
        };
        let first = at(windows.start, elements.start);
        let below = |end: usize| {
            let sizes = [windows.len(), elements.len()];
            pairs_below(sizes, [self.stride, self.dilation], end as i128 - first)
        };
        (below(self.size) - below(0)) as u64
    }

    /// Divisor of the mean over window `o`.
    #[inline(always)]
    pub fn count(&self, o: usize) -> usize {
        match self.counted {
            None => self.inside(o).len(),
            Some(end) => (end - o * self.stride)
                .div_ceil(self.dilation)
                .min(self.kernel),
        }
    }
}

/// Number of pairs (i, j), i < `n` and j < `m`, with `i a + j b < end`.
fn pairs_below([n, m]: [usize; 2], [a, b]: [usize; 2], end: i128) -> i128 {
    let [n, m, a, b] = [n, m, a, b].map(|x| x as i128);
    if end <= 0 || m == 0 {
        return 0;
    }
    // For i < `all` every j counts. For `all` <= i < `some`, ceil((end - i a) / b) of them do.
    let up = |x: i128, by: i128| if x <= 0 { 0 } else { (x + by - 1) / by };
    let all = up(end - (m - 1) * b, a).min(n);
    let some = up(end, a).min(n);
    // From the last i backwards, these counts grow by a / b.
    let last = end - (some - 1) * a + b - 1;
    all * m + floor_sum(some - all, b, a, last)
}

/// Sum of floor((a i + b) / m) for i from 0 to n - 1, no argument negative, by Euclid's algorithm.
fn floor_sum(n: i128, m: i128, a: i128, b: i128) -> i128 {
    let (mut n, mut m, mut a, mut b, mut sum) = (n, m, a, b, 0);
    while n > 0 {
        sum += n * (n - 1) / 2 * (a / m) + n * (b / m);
        (a, b) = (a % m, b % m);
        let end = a * n + b;
        (n, m, a, b) = (end / m, a, m, end % m);
    }
    sum
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_windows_are_those_inside() {
        for (size, kernel, stride, dilation, before) in [
            (7, 3, 1, 1, 1),
            (8, 3, 2, 1, 1),
            (9, 2, 3, 2, 2),
            (3, 5, 1, 1, 4),
            (1, 1, 2, 1, 0),
            (2, 3, 1, 3, 5),
            (12, 4, 5, 2, 0),
        ] {
            for out in 1..=(size + before) / stride + 1 {
                let window = Window {
                    size,
                    out,
                    kernel,
                    stride,
                    dilation,
                    before,
                    counted: None,
                };
                let whole: Vec<_> = (0..out)
                    .filter(|&o| window.inside(o).len() == kernel)
                    .collect();
                assert!(window.whole().eq(whole), "{window:?}");
            }
        }
    }

    #[test]
    fn elements_and_positions_are_counted_without_going_through_them() {
        let mut rng = crate::data::Rng::new(1);
        for _ in 0..20_000 {
            let mut size = |most: usize| 1 + rng.below(most);
            let window = Window {
                size: size(12),
                out: size(12),
                kernel: size(9),
                stride: size(7),
                dilation: size(7),
                before: size(12) - 1,
                counted: None,
            };
            let mut seen = vec![0; window.size];
            for o in 0..window.out {
                for k in 0..window.kernel {
                    let at = (o * window.stride + k * window.dilation).wrapping_sub(window.before);
                    if let Some(seen) = seen.get_mut(at) {
                        *seen += 1;
                    }
                }
            }
            let covered = seen.iter().filter(|&&n| n > 0).count() as u64;
            let inside = seen.iter().sum::<u64>();
            assert_eq!(window.covered(), covered, "{window:?}");
            assert_eq!(window.elements_inside(), inside, "{window:?}");
        }
    }

    #[test]
    fn counts_of_the_largest_windows_are_exact() {
        let window = Window {
            size: (1 << 31) - 1,
            out: (1 << 31) - 3,
            kernel: 3,
            stride: 1,
            dilation: 1,
            before: 0,
            counted: None,
        };
        assert_eq!(window.covered(), window.size as u64);
        assert_eq!(window.elements_inside(), 3 * window.out as u64);
    }
}
