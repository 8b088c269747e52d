//! Positions of a pooling's windows in the input. They are equal for all maps, so a plan computes them once.

use crate::window::Window;
use std::ops::Range;

/// One window along one axis.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Input position of its first element inside the input.
    pub first: usize,
    /// Elements inside the input.
    pub len: usize,
    /// Divisor of a mean, an integer; 1 for a sum.
    pub count: f32,
}

/// One axis with the spans of all its windows. They are equal for all maps, and computing them takes divisions.
#[derive(Clone, Debug)]
pub struct Axis {
    pub(super) window: Window,
    pub(super) spans: Vec<Span>,
    pub(super) whole: Range<usize>,
}

impl Axis {
    /// Bytes of an axis of `out` windows.
    pub fn bytes(out: usize) -> usize {
        size_of::<Axis>() + out * size_of::<Span>()
    }

    /// Axis of these windows. With `divided`, folds are divided by the number of their elements.
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

    /// Sizes that all windows have in common.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Axis of some windows only, over the part of the input that they read. That part is returned, too.
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
            // Used only for the horizontal axis, where neighbouring windows are folded together.
            whole: 0..0,
            spans,
        };
        (part, seen)
    }

    /// Span of each window.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }
}
