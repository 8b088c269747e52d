//! Where a pooling's windows are in the input: the same for all maps, so found once, when it is planned.

use crate::window::Window;
use std::ops::Range;

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
    /// Bytes of an axis of so many windows.
    pub fn bytes(out: usize) -> usize {
        size_of::<Axis>() + out * size_of::<Span>()
    }

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
