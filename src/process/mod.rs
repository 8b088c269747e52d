//! Child processes of the suite, which end with it, however it ends.
//!
//! * [`Helper`]: a program at the other end of two pipes. Each answer has a time limit and a size limit.
//! * [`die_with_parent`]: the first call of a worker or host, so that SIGKILL of the suite ends it, too.
//! * [`guard`]: runs a program that isn't part of the suite, such as a compilation, and ends it with the suite.

pub mod guard;
mod helper;

pub use helper::{Helper, line, patience, shortened};

use std::process::Command;

/// Environment variable that holds the id of the parent process.
pub const PARENT: &str = "CONVROOF_PARENT";

/// Configures a command: a process group of its own, which Ctrl-C doesn't reach, and the parent's id in [`PARENT`].
fn apart(command: &mut Command) {
    command.env(PARENT, std::process::id().to_string());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
}

/// Ends a child's process group.
fn kill_group(id: u32) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            // The group may have ended already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    #[cfg(not(unix))]
    let _ = id;
}

/// Makes the system end this process with its parent. Only Linux can. Elsewhere, the end of standard input has that
/// effect.
///
/// # Errors
/// When the parent has ended already, between the start of this process and this call.
pub fn die_with_parent() -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let parent = std::env::var(PARENT).ok().and_then(|id| id.parse().ok());
        let now = getppid().map(|id| id.as_raw_nonzero().get());
        if parent.is_some() && parent != now {
            anyhow::bail!("the process that started this one is gone");
        }
    }
    Ok(())
}
