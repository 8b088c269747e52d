//! Division of two fused layers into strips of rows. For a strip of the second layer's rows, it determines the
//! intermediate rows that the strip reads, and which of them the previous strip computed. Only rows at the border of
//! two tasks are computed twice.

use std::ops::Range;

/// Vertical axis of the second layer: windows over the intermediate rows.
#[derive(Clone, Copy)]
pub(super) struct RowWindows {
    /// Intermediate rows.
    pub(super) rows: usize,
    /// Rows per window.
    pub(super) kernel: usize,
    /// Rows from a window to the next.
    pub(super) stride: usize,
    /// Rows from an element of a window to the next.
    pub(super) dilation: usize,
    /// Rows of padding above.
    pub(super) above: usize,
}

/// One strip of rows.
pub(super) struct Step {
    /// Output rows of the strip.
    pub(super) out: Range<usize>,
    /// Intermediate rows that they read.
    pub(super) rows: Range<usize>,
    /// Intermediate rows that the previous step has not computed.
    pub(super) new: Range<usize>,
    /// Position of the kept rows among the previous step's rows.
    kept: usize,
}

/// Output rows per task: as many tasks in `images` images as threads, or one task per image.
pub(super) fn task_rows(out: usize, images: usize, threads: usize) -> usize {
    out.div_ceil(threads.div_ceil(images))
}

impl RowWindows {
    /// Rows that a window spans.
    fn extent(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// Output rows that read at most `most` intermediate rows; at least 1.
    pub(super) fn rows_out(&self, most: usize) -> usize {
        most.saturating_sub(self.extent()) / self.stride + 1
    }

    /// Steps of each task of an image with `out` output rows. A task computes `task` rows, `strip` of them per step.
    pub(super) fn tasks(
        &self,
        out: usize,
        task: usize,
        strip: usize,
    ) -> impl Iterator<Item = Vec<Step>> {
        let first = (0..out).step_by(task);
        first.map(move |first| self.steps(first..(first + task).min(out), strip))
    }

    /// Steps of the task that computes the output rows `task`, `strip` of them per step.
    fn steps(&self, task: Range<usize>, strip: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut made = 0..0;
        for first in task.clone().step_by(strip) {
            let out = first..(first + strip).min(task.end);
            // Numbered from the first row of the padding.
            let bottom = (out.end - 1) * self.stride + self.extent();
            let start = (out.start * self.stride).saturating_sub(self.above);
            let end = bottom.saturating_sub(self.above).min(self.rows);
            let rows = start.min(self.rows)..end.max(start.min(self.rows));
            let new = made.end.clamp(rows.start, rows.end)..rows.end;
            steps.push(Step {
                kept: if new.start > rows.start {
                    rows.start - made.start
                } else {
                    0
                },
                out,
                new,
                rows: rows.clone(),
            });
            made = rows;
        }
        steps
    }
}

impl Step {
    /// Number of rows that the previous step computed.
    pub(super) fn kept(&self) -> usize {
        self.rows.len() - self.new.len()
    }

    /// Moves the kept rows to the start of each of `maps`, whose rows have `row` floats.
    pub(super) fn keep<'a>(&self, maps: impl Iterator<Item = &'a mut [f32]>, row: usize) {
        let kept = self.kept * row..(self.kept + self.kept()) * row;
        for map in maps {
            map.copy_within(kept.clone(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row that a window reads is present, and is computed once per task.
    #[test]
    fn steps_have_the_rows_of_their_windows() {
        for (rows, kernel, stride, dilation, above, out) in [
            (12, 3, 1, 1, 1, 12),
            (12, 3, 2, 1, 1, 6),
            (9, 2, 3, 1, 0, 3),
            (9, 3, 1, 2, 2, 9),
            (2, 5, 1, 1, 4, 6),
        ] {
            let windows = RowWindows {
                rows,
                kernel,
                stride,
                dilation,
                above,
            };
            for (task, strip) in [(0..out, 1), (0..out, 2), (1..out, 3), (0..out, out)] {
                let (mut made, mut next) = (None, task.start);
                let mut before = 0..0;
                for step in windows.steps(task.clone(), strip) {
                    assert_eq!(step.out.start, next);
                    next = step.out.end;
                    let taps = step.out.clone().flat_map(|y| {
                        (0..kernel).map(move |k| (y * stride + k * dilation).checked_sub(above))
                    });
                    for row in taps.flatten().filter(|&row| row < rows) {
                        assert!(step.rows.contains(&row), "{row} in {:?}", step.rows);
                    }
                    if step.kept() > 0 {
                        assert_eq!(before.start + step.kept, step.rows.start);
                        assert!(step.new.start <= before.end, "kept rows were made");
                    }
                    if !step.new.is_empty() {
                        assert!(made.is_none_or(|made| step.new.start >= made));
                        made = Some(step.new.end);
                    }
                    before = step.rows;
                }
                assert_eq!(next, task.end);
            }
        }
    }
}
