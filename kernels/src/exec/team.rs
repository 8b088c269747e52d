//! A rayon pool as a team that spins between runs.
//!
//! A layer takes tens or hundreds of microseconds. Waking a sleeping worker takes a good part of that, and longer in a
//! virtual machine, which gives idle cores back to its host. So a pool is entered once for many runs. Its first worker
//! leads, the others wait for work without sleeping, as in OpenMP's pools. A run then begins within a fraction of a
//! microsecond. When the leader returns, the pool is idle again.

use super::stealing::Workers;
use super::sync::{AtomicUsize, Ordering, spin_until};
use super::{Executor, Turn};
use rayon::ThreadPool;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;

/// Workers of a pool, all of them inside [`with_team`].
pub struct Team<'a> {
    workers: &'a Workers,
}

/// Calls `lead` on the first worker of `pool`, with an executor over all of its workers. During the call the pool does
/// nothing else.
///
/// # Panics
/// If `lead` or a task panics.
pub fn with_team<R: Send>(pool: &ThreadPool, lead: impl FnOnce(&Team<'_>) -> R + Send) -> R {
    let workers = Workers::new(pool.current_num_threads());
    let lead = Mutex::new(Some(lead));
    let results = pool.broadcast(|worker| {
        if worker.index() > 0 {
            workers.follow(worker.index());
            return None;
        }
        let lead = lead.lock().ok()?.take()?;
        // Followers must be dismissed even if `lead` panics, or the broadcast would never return.
        let team = Team { workers: &workers };
        let result = catch_unwind(AssertUnwindSafe(|| lead(&team)));
        workers.dismiss();
        Some(result)
    });
    match results.into_iter().flatten().next() {
        Some(Ok(result)) => result,
        Some(Err(panic)) => resume_unwind(panic),
        None => unreachable!("the first worker leads"),
    }
}

// SAFETY: `share` splits `0..tasks` into disjoint ranges that cover it, one per worker. A worker takes a task by
// exchanging a range for one without the task, so each task is taken once. The worker calls it before it takes another.
// `Workers::lead` returns when each call has returned or panicked, and never unwinds before (`AbortIfUnwound`).
// `before` is of the same run (`Job::run`).
unsafe impl Executor for Team<'_> {
    fn width(&self) -> usize {
        self.workers.width()
    }

    fn run(&self, tasks: usize, f: &(dyn Fn(Turn) + Sync)) {
        self.workers.run(tasks, f);
    }
}

/// Calls `f` with each worker's number on that worker, once all workers have arrived: for measurements that load every
/// core. The executor must have a thread per worker.
pub fn on_each_worker(exec: &dyn Executor, f: impl Fn(usize) + Sync) {
    let (width, come) = (exec.width(), AtomicUsize::new(0));
    exec.run(width, &|turn| {
        // A worker that waits here takes no second task.
        come.fetch_add(1, Ordering::Relaxed);
        spin_until(|| come.load(Ordering::Relaxed) == width);
        f(turn.worker);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::stealing::Share;

    fn pool(threads: usize) -> ThreadPool {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool")
    }

    #[test]
    fn each_task_is_run_once_after_one_of_the_same_run() {
        let pool = pool(3);
        let seen: Vec<AtomicUsize> = (0..40).map(|_| AtomicUsize::new(0)).collect();
        // Last run and task of each worker.
        let last: [Mutex<(usize, usize)>; 3] = Default::default();
        let runs = if cfg!(miri) { 3 } else { 1000 };
        let led = with_team(&pool, |team| {
            assert_eq!(team.width(), 3);
            for run in 1..=runs {
                team.run(seen.len(), &|turn| {
                    let mut last = last[turn.worker].try_lock().expect("one at a time");
                    let same = last.0 == run;
                    assert_eq!(turn.before, same.then_some(last.1));
                    *last = (run, turn.task);
                    seen[turn.task].fetch_add(1, Ordering::Relaxed);
                });
            }
            "led"
        });
        assert_eq!(led, "led");
        assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == runs));
    }

    #[test]
    fn tasks_of_who_is_held_up_are_done_by_others() {
        let (finished, by_leader) = (AtomicUsize::new(0), AtomicUsize::new(0));
        with_team(&pool(2), |team| {
            team.run(8, &|Turn { task, worker, .. }| {
                if task == 4 {
                    // First task of the second worker, unless stolen. It finishes last.
                    spin_until(|| finished.load(Ordering::Acquire) == 7);
                }
                by_leader.fetch_add(usize::from(worker == 0), Ordering::Relaxed);
                finished.fetch_add(1, Ordering::Release);
            });
        });
        assert_eq!(finished.into_inner(), 8);
        assert!(
            by_leader.into_inner() >= 7,
            "the leader's four and three at least"
        );
    }

    #[test]
    fn a_share_is_taken_from_both_sides() {
        let share = Share::default();
        assert_eq!((share.len(), share.first(), share.last()), (0, None, None));
        share.put(3..7);
        let taken = [share.first(), share.last(), share.first()];
        assert_eq!((taken, share.len()), ([3, 6, 4].map(Some), 1));
        let taken = [share.last(), share.last(), share.first()];
        assert_eq!(taken, [Some(5), None, None]);
    }

    #[test]
    fn one_task_is_the_leaders() {
        let runs = AtomicUsize::new(0);
        with_team(&pool(2), |team| {
            for tasks in [1, 0, 1, 2, 1] {
                team.run(tasks, &|Turn { task, worker, .. }| {
                    assert!(tasks > 1 || worker == 0, "{task} of {tasks} by {worker}");
                    runs.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(runs.into_inner(), 5);
    }

    #[test]
    fn panics_come_out_and_the_pool_lives_on() {
        let pool = pool(2);
        for bad in [0, 1] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                with_team(&pool, |team| {
                    team.run(2, &|turn| assert_ne!(turn.task, bad, "as it should"));
                });
            }));
            let panic = caught.expect_err("a panic");
            let text = panic.downcast_ref::<String>().expect("the task's own");
            assert!(text.contains("as it should"), "task {bad}: {text}");
        }
        assert_eq!(with_team(&pool, |team| team.width()), 2);
    }

    /// A payload that panics when it is dropped.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("dropped");
            }
        }
    }

    #[test]
    fn payloads_that_panic_when_dropped_neither_unwind_nor_stop_the_team() {
        let pool = pool(3);
        for _ in 0..100 {
            let finished = AtomicUsize::new(0);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                with_team(&pool, |team| {
                    team.run(9, &|_| {
                        finished.fetch_add(1, Ordering::Relaxed);
                        std::panic::panic_any(Bomb);
                    });
                });
            }));
            let payload = caught.expect_err("a panic");
            assert!(payload.is::<Bomb>(), "the first payload");
            std::mem::forget(payload);
            // All other payloads were leaked, and every task ran.
            assert_eq!(finished.into_inner(), 9);
        }
    }

    #[test]
    fn a_run_inside_of_a_run_is_a_mistake() {
        let pool = pool(1);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            with_team(&pool, |team| {
                team.run(1, &|_| team.run(1, &|_| ()));
            });
        }));
        assert!(caught.is_err());
    }
}
