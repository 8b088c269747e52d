//! Work stealing in each order of its memory operations that Rust's memory model allows. The model checker loom runs
//! the code of `src/exec/stealing.rs`, compiled with loom's atomics. Data that tasks read and write are loom's cells,
//! which report an access that no ordering separates from a write.
#![allow(unsafe_code)]

use checked::Workers;
use convroof_kernels::exec::{Turn, share};
use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use sync::{AtomicUsize, Ordering, spin_until};

/// Loom's counterparts of `src/exec/sync.rs`.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

    /// A wait tells loom to let another thread go on.
    pub(super) fn spin_until(condition: impl Fn() -> bool) {
        while !condition() {
            loom::thread::yield_now();
        }
    }
}

#[path = "../../src/exec/stealing.rs"]
mod checked;

/// Runs a model in all orders with at most this number of switches from a thread that doesn't wait. In each order, a load
/// may return each value that the memory model allows.
fn all_orders(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut orders = Builder::new();
    orders.preemption_bound = Some(preemptions);
    orders.check(model);
}

/// Calls `lead` with the workers of a team, followers on threads of their own, and dismisses them.
fn with_followers(width: usize, lead: impl FnOnce(&Arc<Workers>)) {
    let workers = Arc::new(Workers::new(width));
    let follow = |worker| {
        let workers = workers.clone();
        thread::spawn(move || workers.follow(worker))
    };
    let followers: Vec<_> = (1..width).map(follow).collect();
    lead(&workers);
    workers.dismiss();
    for follower in followers {
        follower.join().expect("a follower");
    }
}

/// A number that each access reads or writes without synchronisation.
struct Plain(UnsafeCell<usize>);

// SAFETY: loom fails a model with a data race.
unsafe impl Sync for Plain {}

impl Plain {
    fn new() -> Self {
        Plain(UnsafeCell::new(0))
    }

    fn get(&self) -> usize {
        // SAFETY: loom fails a model in which a write isn't ordered before or after this read.
        self.0.with(|x| unsafe { *x })
    }

    fn set(&self, x: usize) {
        // SAFETY: loom fails a model in which another access isn't ordered before or after this write.
        self.0.with_mut(|to| unsafe { *to = x });
    }
}

/// Runs `tasks` tasks, once for each of `runs`. Tasks see what the leader wrote before the run, and the leader sees
/// what tasks wrote.
fn tasks_and_leader_see_each_other(workers: &Workers, tasks: usize, runs: usize) {
    let input = Plain::new();
    let outputs: Vec<_> = (0..tasks).map(|_| Plain::new()).collect();
    for run in 1..=runs {
        input.set(run);
        workers.run(tasks, &|turn| {
            assert!(turn.worker < workers.width() && turn.before != Some(turn.task));
            outputs[turn.task].set(outputs[turn.task].get() + input.get());
        });
        let sum = (1..=run).sum::<usize>();
        assert!(
            outputs.iter().all(|output| output.get() == sum),
            "each task once"
        );
    }
}

mod orders {
    use super::*;

    /// A follower that still looks for tasks of the first run may take one of the second run.
    #[test]
    fn two_runs_follow_each_other() {
        all_orders(2, || {
            with_followers(2, |workers| tasks_and_leader_see_each_other(workers, 2, 2));
        });
    }

    /// A task may be stolen from a share that others have taken from before.
    #[test]
    fn three_workers_share_tasks() {
        all_orders(0, || {
            with_followers(3, |workers| tasks_and_leader_see_each_other(workers, 4, 1));
        });
    }

    /// Tasks that wait for one another end only if each worker takes one.
    #[test]
    fn followers_find_the_tasks_of_a_run_that_they_see() {
        all_orders(3, || {
            with_followers(2, |workers| {
                let come = AtomicUsize::new(0);
                workers.run(2, &|_| {
                    come.fetch_add(1, Ordering::Relaxed);
                    spin_until(|| come.load(Ordering::Relaxed) == 2);
                });
            });
        });
    }

    /// A second thread may lead when the first one's run has ended, and is refused before. Nothing else orders the runs.
    #[test]
    fn leaders_take_turns() {
        all_orders(3, || {
            let (workers, runs) = (Arc::new(Workers::new(1)), Arc::new(Plain::new()));
            let lead = {
                let runs = runs.clone();
                move || {
                    let run = || workers.run(2, &|_| runs.set(runs.get() + 1));
                    match catch_unwind(AssertUnwindSafe(run)) {
                        Ok(()) => true,
                        Err(refusal) if refusal.is::<&str>() => false,
                        Err(race) => resume_unwind(race),
                    }
                }
            };
            let other = thread::spawn(lead.clone());
            let led = usize::from(lead()) + usize::from(other.join().expect("a leader"));
            assert!(led > 0 && runs.get() == 2 * led);
        });
    }
}
