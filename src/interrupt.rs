//! Ctrl-C and its relatives: work stops soon, what was measured is kept, and the exit code is 128 + signal.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Set by the first signal.
static STOP: AtomicBool = AtomicBool::new(false);

/// The first signal's number; 0 before there was one.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// The error of work that a signal stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped before there was a result")]
pub struct Stopped;

/// Takes over SIGINT, SIGTERM and SIGHUP, and returns the flag that the first of them sets. A second signal ends the
/// program at once.
pub fn watch() -> &'static AtomicBool {
    static ONCE: Once = Once::new();
    // A system that refuses leaves the default: the signal ends the program at once.
    ONCE.call_once(|| drop(listen()));
    &STOP
}

/// Returns whether a signal asked to stop.
pub fn requested() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// Fails if a signal asked to stop.
///
/// # Errors
/// [`Stopped`].
pub fn check() -> Result<(), Stopped> {
    if requested() { Err(Stopped) } else { Ok(()) }
}

/// The exit code of a program that a signal stopped: 128 + signal.
pub fn exit_code() -> Option<u8> {
    match SIGNAL.load(Ordering::SeqCst) {
        0 => None,
        signal => u8::try_from(128 + signal).ok(),
    }
}

fn received(signal: i32) {
    let first = SIGNAL.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    if first.is_err() {
        crate::scratch::remove_scratch();
        std::process::exit(128 + signal);
    }
    STOP.store(true, Ordering::SeqCst);
    eprintln!("\nconvroof: stopping; what was measured is kept (Ctrl-C again to end at once)");
}

#[cfg(unix)]
fn listen() -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = vec![SIGINT, SIGTERM];
    // `nohup` has the program ignore it.
    if !ignores(SIGHUP) {
        signals.push(SIGHUP);
    }
    let mut signals = signal_hook::iterator::Signals::new(signals)?;
    std::thread::Builder::new().spawn(move || signals.forever().for_each(received))?;
    Ok(())
}

/// True if this process was started with a signal ignored; false where the system doesn't show it.
#[cfg(unix)]
fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(not(unix))]
fn listen() -> Result<(), ctrlc::Error> {
    // 2 is SIGINT everywhere.
    ctrlc::set_handler(|| received(2))
}
