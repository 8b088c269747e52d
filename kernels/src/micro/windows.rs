//! Where a pooling's windows are in the input: the same for all maps, so found once, when it is planned.

use crate::bounds::{product, sum};
use std::ops::Range;

/// One axis of the windows: which input positions each output covers.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Input positions.
    pub size: usize,
    /// Outputs.
    pub out: usize,
    /// Elements of the window.
    pub kernel: usize,
    /// From a window to the next.
    pub stride: usize,
    /// From an element to the next.
    pub dilation: usize,
    /// Leading padding.
    pub before: usize,
    /// Input and padding that count in a mean's divisor; none: only what lies inside the input.
    pub counted: Option<usize>,
}

impl Window {
    /// That no position of a window wraps, so that those inside of the input are where [`Window::at`] says.
    ///
    /// # Panics
    /// If one does, or a step is 0.
    pub fn check(&self) {
        assert!(
            self.kernel > 0 && self.stride > 0 && self.dilation > 0,
            "{self:?}"
        );
        let last_window = product([self.out, self.stride]);
        let last_element = product([self.kernel, self.dilation]);
        sum([last_window, last_element, self.size, self.before]);
    }

    /// The elements of window `o` that lie inside the input: of a pooling never none.
    #[inline(always)]
    pub fn inside(&self, o: usize) -> Range<usize> {
        let start = o * self.stride;
        // Divisions would be felt where maps are small.
        let elements = |positions: usize| match self.dilation {
            1 => positions,
            dilation => positions.div_ceil(dilation),
        };
        let lo = elements(self.before.saturating_sub(start));
        let hi = elements((self.size + self.before).saturating_sub(start)).min(self.kernel);
        lo..hi
    }

    /// The windows all of whose elements lie inside the input.
    pub fn whole(&self) -> Range<usize> {
        let span = (self.kernel - 1) * self.dilation + 1;
        let start = self.before.div_ceil(self.stride).min(self.out);
        let end = match (self.size + self.before).checked_sub(span) {
            Some(last) => (last / self.stride + 1).min(self.out),
            None => start,
        };
        start..end.max(start)
    }

    /// The input position of element `k` of window `o`.
    #[inline(always)]
    pub fn at(&self, o: usize, k: usize) -> usize {
        o * self.stride + k * self.dilation - self.before
    }

    /// How many elements of window `o` a mean divides by.
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

/// What is to be known of a window along one axis.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The input position of its first element inside the input.
    pub first: usize,
    /// Elements inside the input.
    pub len: usize,
    /// Elements that a mean divides by, a whole number; 1 for a sum.
    pub count: f32,
}

/// One axis with the spans of all its windows: they are the same for all maps, and take divisions.
#[derive(Clone, Debug)]
pub struct Axis {
    pub(super) window: Window,
    pub(super) spans: Vec<Span>,
    pub(super) whole: Range<usize>,
}

impl Axis {
    /// The axis of these windows, whose folds are divided by the number of their elements or not.
    ///
    /// # Panics
    /// If positions wrap ([`Window::check`]).
    pub fn new(window: Window, divided: bool) -> Self {
        window.check();
        let span = |o| {
            let inside = window.inside(o);
            Span {
                first: window.at(o, inside.start),
                len: inside.len(),
                count: if divided { window.count(o) as f32 } else { 1.0 },
            }
        };
        Axis {
            window,
            spans: (0..window.out).map(span).collect(),
            whole: window.whole(),
        }
    }

    /// The windows' common sizes.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// These windows alone, over no more of the input than they see, which is given too.
    pub fn part(&self, outputs: Range<usize>) -> (Axis, Range<usize>) {
        let mut spans = self.spans[outputs].to_vec();
        let end = |span: &Span| span.first + (span.len - 1) * self.window.dilation + 1;
        let start = spans.iter().map(|span| span.first).min().unwrap_or(0);
        let seen = start..spans.iter().map(end).max().unwrap_or(start);
        for span in &mut spans {
            span.first -= seen.start;
        }
        let part = Axis {
            window: Window {
                size: seen.len(),
                out: spans.len(),
                ..self.window
            },
            // Of use across only, where windows side by side are folded together.
            whole: 0..0,
            spans,
        };
        (part, seen)
    }

    /// Each window's span.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }
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
}
