//! Damaged input: what people hand to the program is mutated, from real files on, and goes through the same code as theirs.
//!
//! Each target runs in a child process, which a panic, an endless loop, a full stack or all of memory may take down; the parent
//! watches its time and memory, keeps the input that did it, and says how to repeat it. Input `n` of a seed is always the same.
//!
//!     cargo test --test fuzz                          a second for each target, of a fixed seed
//!     scripts/fuzz 600 records                        longer, of a new seed
//!     CONVROOF_FUZZ_SEED=7 CONVROOF_FUZZ_FROM=123 cargo test --test fuzz records
//!
//! Inputs that once did harm are in `tests/fuzz/seeds/TARGET`, and are tried first.

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
    /// The first input.
    from: u64,
    /// For all targets.
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
    // One at a time: time is part of what is tested.
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    // Those that are named share the time.
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
