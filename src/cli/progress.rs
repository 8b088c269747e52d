//! Progress: a bar with the remaining time on a terminal. Elsewhere lines, if `--progress always` wants them.

use super::console::{self, Shown};
use super::output::{error, note};
use crate::measure;
use crate::progress::Steps;
use crate::record::CandidateId;
use convroof_kernels::Problem;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// Progress of some steps on standard error.
pub(super) struct Bar {
    bar: ProgressBar,
    what: &'static str,
    shown: Shown,
    share: Share,
}

/// Share of the work that the first steps are. Without weights all steps take equally long.
#[derive(Clone, Debug, Default)]
struct Share(Option<Arc<[f64]>>);

impl Share {
    /// Steps of unequal length. The weights are in any unit.
    fn weighted(weights: &[f64]) -> Self {
        let mut sum = 0.0;
        let sums = weights.iter().map(|weight| {
            sum += weight;
            sum
        });
        Share(Some(sums.collect()))
    }

    /// The share, 0 to 1, of the first `done` steps of `all`.
    fn of(&self, done: u64, all: u64) -> f64 {
        match &self.0 {
            _ if done == 0 || all == 0 => 0.0,
            Some(sums) if sums.last().is_some_and(|&sum| sum > 0.0) => {
                let done = sums.get(done as usize - 1).or(sums.last());
                done.copied().unwrap_or(0.0) / sums[sums.len() - 1]
            }
            _ => (done as f64 / all as f64).min(1.0),
        }
    }
}

/// Estimate of the remaining time; none before the first step.
fn remaining(elapsed: Duration, share: f64) -> Option<Duration> {
    (share > 0.0).then(|| elapsed.mul_f64((1.0 - share) / share))
}

/// "12s left"; nothing before there is an estimate, and at the end.
fn left(elapsed: Duration, share: f64) -> String {
    match remaining(elapsed, share) {
        Some(rest) if share < 1.0 => {
            let rest = rest.max(Duration::from_secs(1));
            format!("{:#} left", HumanDuration(rest))
        }
        _ => String::new(),
    }
}

impl Bar {
    /// Progress of `steps` steps of equal length; 0 if their number is unknown.
    pub(super) fn new(steps: usize, what: &'static str) -> Self {
        Bar::with(steps, what, Share::default())
    }

    /// Progress of steps with these relative lengths.
    pub(super) fn weighted(weights: &[f64], what: &'static str) -> Self {
        Bar::with(weights.len(), what, Share::weighted(weights))
    }

    fn with(steps: usize, what: &'static str, share: Share) -> Self {
        let shown = console::progress();
        let target = match shown {
            Shown::Bar => ProgressDrawTarget::stderr(),
            Shown::Lines | Shown::Nothing => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
        bar.set_prefix(what);
        let bar = Bar {
            bar,
            what,
            shown,
            share,
        };
        bar.restyle(steps > 0);
        if shown == Shown::Bar {
            bar.bar.enable_steady_tick(Duration::from_millis(500));
        }
        bar
    }

    /// Chooses between a bar with counts, and elapsed time alone.
    fn restyle(&self, counted: bool) {
        let share = self.share.clone();
        let template = match counted {
            true => "{prefix:>9} [{bar:32}] {pos}/{len} {left:>9}  {wide_msg}",
            false => "{prefix:>9} {elapsed:>4}  {wide_msg}",
        };
        let style = ProgressStyle::with_template(template)
            .expect("the template parses")
            .with_key("left", move |state: &ProgressState, to: &mut dyn Write| {
                let share = share.of(state.pos(), state.len().unwrap_or(0));
                let _ = to.write_str(&left(state.elapsed(), share));
            })
            .progress_chars("=> ");
        self.bar.set_style(style);
    }

    /// Sets the text beside the bar.
    pub(super) fn say(&self, what: &str) {
        self.bar.set_message(what.to_string());
        if self.shown == Shown::Lines && self.bar.length() == Some(0) {
            error(&format!("{}: {what}", self.what));
        }
    }

    /// Advances by one step.
    pub(super) fn step(&self) {
        self.advance(self.bar.position() + 1);
    }

    /// Sets the number of done steps, and of all steps.
    pub(super) fn at(&self, done: usize, of: usize) {
        if self.bar.length() == Some(0) && of > 0 {
            self.restyle(true);
        }
        self.bar.set_length(of as u64);
        self.advance(done as u64);
    }

    fn advance(&self, to: u64) {
        let (from, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
        self.bar.set_position(to);
        // A line for each tenth of the steps.
        let tenth = |done: u64| (10 * done).checked_div(all);
        if self.shown == Shown::Lines && tenth(from) != tenth(to) {
            let share = self.share.of(to, all);
            let left = match left(self.bar.elapsed(), share) {
                left if left.is_empty() => left,
                left => format!(", {left}"),
            };
            error(&format!("{}: {to} of {all}{left}", self.what));
        }
    }

    /// Estimate of the remaining time, with the share of the work that it comes from; none before the first step.
    pub(super) fn forecast(&self) -> Option<(Duration, f64)> {
        let all = self.bar.length().unwrap_or(0);
        let share = self.share.of(self.bar.position(), all);
        Some((remaining(self.bar.elapsed(), share)?, share))
    }

    /// Time since its beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.bar.elapsed()
    }

    /// Prints a note above the bar.
    pub(super) fn note(&self, text: &str) {
        self.bar.suspend(|| note(text));
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Steps for Bar {
    fn begin(&mut self, what: &str) {
        self.say(what);
    }

    fn end(&mut self) {
        self.step();
    }
}

impl measure::Progress for Bar {
    fn candidate(&mut self, problem: &Problem, id: &CandidateId) {
        self.say(&format!("{id} on {problem}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_estimate_before_the_first_step() {
        let second = Duration::from_secs(1);
        assert_eq!(left(second, Share::default().of(0, 10)), "");
        assert_eq!(left(second, Share::default().of(0, 0)), "");
        assert_eq!(left(second, Share::default().of(1, 4)), "3s left");
        assert_eq!(left(second / 100, Share::default().of(1, 2)), "1s left");
        assert_eq!(left(second, Share::default().of(4, 4)), "");
    }

    #[test]
    fn the_estimate_counts_work_and_not_steps() {
        let share = Share::weighted(&[1.0, 7.0, 2.0]);
        assert_eq!(
            [0, 1, 2, 3, 9].map(|done| share.of(done, 3)),
            [0.0, 0.1, 0.8, 1.0, 1.0]
        );
        assert_eq!(left(Duration::from_secs(2), share.of(1, 3)), "18s left");
        // Steps without work are counted.
        assert_eq!(Share::weighted(&[0.0, 0.0]).of(1, 2), 0.5);
    }
}
