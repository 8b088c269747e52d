//! Progress: a bar with the remaining time on a terminal, nothing elsewhere.

use crate::measure;
use crate::progress::Steps;
use crate::record::CandidateId;
use convroof_kernels::Problem;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// A progress bar on standard error.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar of `steps` steps.
    pub(super) fn new(steps: usize, what: &'static str) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
        let style = ProgressStyle::with_template(
            "{prefix:>9} [{bar:32}] {pos}/{len} {eta:>4} left  {wide_msg}",
        );
        bar.set_style(style.expect("the template parses").progress_chars("=> "));
        bar.set_prefix(what);
        bar.enable_steady_tick(Duration::from_millis(500));
        Bar(bar)
    }

    /// Sets the text beside the bar.
    pub(super) fn say(&self, what: &str) {
        self.0.set_message(what.to_string());
    }

    /// Advances by one step.
    pub(super) fn step(&self) {
        self.0.inc(1);
    }

    /// Sets the number of done steps, and of all steps.
    pub(super) fn at(&self, done: usize, of: usize) {
        self.0.set_length(of as u64);
        self.0.set_position(done as u64);
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
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
