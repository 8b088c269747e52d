//! How far long work is: a bar with the time left on a terminal, silence elsewhere; and Ctrl-C.

use crate::measure::Progress;
use anyhow::{Context, Result};
use convroof_kernels::Problem;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A bar on standard error.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// For `steps` steps.
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

    /// What is being done.
    pub(super) fn say(&self, what: &str) {
        self.0.set_message(what.to_string());
    }

    /// One step more.
    pub(super) fn step(&self) {
        self.0.inc(1);
    }

    /// So many steps of so many.
    pub(super) fn at(&self, done: usize, of: usize) {
        self.0.set_length(of as u64);
        self.0.set_position(done as u64);
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn candidate(&mut self, problem: &Problem, variant: &str) {
        self.say(&format!("{variant} on {problem}"));
    }
}

/// A folder for work that leaves nothing behind, however it ends.
pub(super) struct Scratch(PathBuf);

/// The folder that is there now, for a program that is ended at once.
static SCRATCH: Mutex<Option<PathBuf>> = Mutex::new(None);

impl Scratch {
    /// A new one, in the system's folder for such things (`TMPDIR`).
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("convroof-").tempdir();
        let parent = std::env::temp_dir();
        let folder = folder.with_context(|| {
            format!(
                "can't write to {}; set TMPDIR to another folder",
                parent.display()
            )
        })?;
        let path = folder.keep();
        *SCRATCH.lock().expect("no one panics with it") = Some(path.clone());
        Ok(Scratch(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove_scratch();
    }
}

fn remove_scratch() {
    let path = SCRATCH.lock().ok().and_then(|mut path| path.take());
    if let Some(path) = path {
        let _ = std::fs::remove_dir_all(path);
    }
}

/// Set by Ctrl-C: whoever measures stops soon, and keeps what was measured.
static STOP: AtomicBool = AtomicBool::new(false);

/// The flag that Ctrl-C sets; a second Ctrl-C ends the program at once.
pub(super) fn stop_flag() -> &'static AtomicBool {
    // A second registration fails, and needs none.
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            remove_scratch();
            std::process::exit(130);
        }
        eprintln!("\nconvroof: stopping; what was measured is kept (Ctrl-C again to end at once)");
    });
    &STOP
}
