//! A process that ends a program, such as a compilation with all its children, when the suite ends.
//!
//! The suite holds the write end of the guard's standard input. The system closes it when the suite ends, also after
//! SIGKILL. Then the guard ends its whole process group, itself included.

use super::{apart, kill_group};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A program under a guard. It is ended when this value is dropped.
pub struct Guarded(Child);

impl Guarded {
    /// Starts a program under a guard, both in a new process group. `of` sets the folder, environment and outputs of
    /// the guard's command, which the program inherits.
    ///
    /// # Errors
    /// When this executable can't be started again.
    pub fn start(program: Vec<OsString>, of: impl FnOnce(&mut Command)) -> Result<Guarded> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["guard", "--"]).args(program);
        of(&mut command);
        command.stdin(Stdio::piped());
        apart(&mut command);
        Ok(Guarded(command.spawn()?))
    }

    /// Waits until the program ends.
    ///
    /// # Errors
    /// [`crate::interrupt::Stopped`], as soon as `stopped` returns true.
    pub fn wait(mut self, stopped: impl Fn() -> bool) -> Result<ExitStatus> {
        loop {
            // `wait` would close the standard input first, and the guard would end the program.
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

/// Code of the guard process: runs a program and returns its exit code. Ends its process group when standard input
/// closes.
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

/// Ends the program and everything else in this process's group.
fn end(child: u32) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process};
        if getpgrp() == getpid() {
            kill_group(std::process::id());
        }
        // A guard started by hand isn't the leader of its group, so ending the group would end other programs.
        if let Some(child) = i32::try_from(child).ok().and_then(Pid::from_raw) {
            let _ = kill_process(child, Signal::KILL);
        }
    }
    #[cfg(not(unix))]
    let _ = child;
    std::process::exit(1);
}
