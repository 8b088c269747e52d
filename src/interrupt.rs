//! Handling of Ctrl-C and other signals. Work stops soon, measurements so far are kept, the exit code is 128 + signal.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Flag that the first signal sets.
static STOP: AtomicBool = AtomicBool::new(false);

/// Number of the first signal; 0 until one arrives.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Error of work that a signal stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped before there was a result")]
pub struct Stopped;

/// Handles SIGINT, SIGTERM and SIGHUP. Returns the flag that the first of them sets. A second signal ends the program
/// at once.
pub fn watch() -> &'static AtomicBool {
    static ONCE: Once = Once::new();
    // If the system refuses, the default stays: the signal ends the program at once.
    ONCE.call_once(|| drop(listen()));
    &STOP
}

/// True if a signal requested a stop.
pub fn requested() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// Fails if a signal requested a stop.
///
/// # Errors
/// [`Stopped`].
pub fn check() -> Result<(), Stopped> {
    if requested() { Err(Stopped) } else { Ok(()) }
}

/// Exit code of a program that a signal stopped: 128 + signal.
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
    // `nohup` makes the program ignore SIGHUP.
    if !ignores(SIGHUP) {
        signals.push(SIGHUP);
    }
    let mut signals = signal_hook::iterator::Signals::new(signals)?;
    std::thread::Builder::new().spawn(move || signals.forever().for_each(received))?;
    Ok(())
}

/// True if this process was started with a signal ignored. False if the system doesn't tell.
#[cfg(unix)]
fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(not(unix))]
fn listen() -> Result<(), ctrlc::Error> {
    // SIGINT is 2 on every system.
    ctrlc::set_handler(|| received(2))
}
