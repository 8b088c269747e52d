//! A process between the suite and a program that would go on without it: a compilation with all its children.
//!
//! The suite holds the write end of the guard's standard input. The system closes it when the suite ends, also by
//! SIGKILL; then the guard ends its whole process group, itself included.

use super::{apart, kill_group};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A program that runs under a guard. It ends with this value.
pub struct Guarded(Child);

impl Guarded {
    /// Starts a program under a guard; a new process group has both. `of` is given the guard's command, to set its
    /// folder, environment and outputs: the program inherits them.
    ///
    /// # Errors
    /// When this program can't be started again.
    pub fn start(program: Vec<OsString>, of: impl FnOnce(&mut Command)) -> Result<Guarded> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["guard", "--"]).args(program);
        of(&mut command);
        command.stdin(Stdio::piped());
        apart(&mut command);
        Ok(Guarded(command.spawn()?))
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// [`crate::interrupt::Stopped`], as soon as `stopped` says so.
    pub fn wait(mut self, stopped: impl Fn() -> bool) -> Result<ExitStatus> {
        loop {
            // Not `wait`, which closes the standard input first.
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if stopped() {
                return Err(crate::interrupt::Stopped.into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        kill_group(self.0.id());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The guard's side: runs a program, returns its exit code, and ends its group when standard input ends.
///
/// # Errors
/// When the program can't be started.
pub fn run(program: &[OsString]) -> Result<u8> {
    let (name, args) = program.split_first().context("guard needs a program")?;
    let mut command = Command::new(name);
    let mut child = command
        .args(args)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("{} can't be started", name.display()))?;
    let id = child.id();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        end(id);
    });
    let status = child.wait()?;
    Ok(status
        .code()
        .and_then(|c| u8::try_from(c).ok())
        .unwrap_or(1))
}

/// Ends the program, and everything else in this process's group.
fn end(child: u32) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process};
        if getpgrp() == getpid() {
            kill_group(std::process::id());
        }
        // Started by hand, it isn't its group's leader: others would be ended.
        if let Some(child) = i32::try_from(child).ok().and_then(Pid::from_raw) {
            let _ = kill_process(child, Signal::KILL);
        }
    }
    #[cfg(not(unix))]
    let _ = child;
    std::process::exit(1);
}
