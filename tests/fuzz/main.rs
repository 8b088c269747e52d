//! Fuzz tests of damaged input: real files are mutated and processed by the program's own code.
//!
//! Each target runs in a child process, which a panic, an endless loop, a full stack or a lack of memory may end. The
//! parent watches its time and memory, keeps a harmful input, and prints how to repeat it. Input `n` of a seed is
//! always the same.
//!
//!     cargo test --test fuzz                          a second for each target, with a fixed seed
//!     scripts/fuzz 600 records                        longer, with a new seed
//!     CONVROOF_FUZZ_SEED=7 CONVROOF_FUZZ_FROM=123 cargo test --test fuzz records
//!
//! Formerly harmful inputs are in `tests/fuzz/seeds/TARGET`, and are tried first.

mod mutate;
mod seeds;
mod targets;
mod watch;

use libtest_mimic::{Arguments, Trial};
use std::time::Duration;
use targets::TARGETS;

/// Settings from the environment.
#[derive(Clone, Copy)]
struct Wanted {
    seed: u64,
    /// Number of the first input.
    from: u64,
    /// Seconds for all targets together.
    seconds: f64,
}

impl Wanted {
    fn of_environment() -> Wanted {
        fn variable<T: std::str::FromStr>(name: &str, default: T) -> T {
            let Ok(text) = std::env::var(name) else {
                return default;
            };
            let parsed = text.parse();
            parsed.unwrap_or_else(|_| panic!("{name}='{text}' is not a number"))
        }
        let seconds = variable("CONVROOF_FUZZ_SECONDS", TARGETS.len() as f64);
        assert!(
            (0.0..1e9).contains(&seconds),
            "CONVROOF_FUZZ_SECONDS={seconds}"
        );
        Wanted {
            seed: variable("CONVROOF_FUZZ_SEED", 28),
            from: variable("CONVROOF_FUZZ_FROM", 0),
            seconds,
        }
    }
}

fn main() {
    let wanted = Wanted::of_environment();
    if let Some(name) = std::env::var_os(watch::CHILD) {
        let target = TARGETS.iter().find(|t| t.name == name);
        watch::child(target.expect("a target"), wanted);
        return;
    }
    // Run one target at a time, since time is part of the test.
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    // The targets that match the filter share the time.
    let named = |name: &str| {
        arguments
            .filter
            .as_ref()
            .is_none_or(|f| name.contains(f.as_str()))
    };
    let count = TARGETS.iter().filter(|t| named(t.name)).count().max(1);
    let share = Duration::from_secs_f64(wanted.seconds / count as f64);
    let trial = |target: &'static targets::Target| {
        Trial::test(target.name, move || watch::parent(target, wanted, share))
    };
    libtest_mimic::run(&arguments, TARGETS.iter().map(trial).collect()).exit();
}
