//! A rayon pool as a team that spins between runs.
//!
//! A layer takes some ten or hundred microseconds; to wake a sleeping worker takes ten, and in a virtual
//! machine, whose idle cores are given back, several times that. So a pool is entered once for many
//! runs: its first worker leads, the others wait for work without sleeping, as OpenMP's pools do, and a
//! run begins within a fraction of a microsecond. When the leader is done, the pool is idle again.

use super::{Executor, share};
use rayon::ThreadPool;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// The workers of a pool, all of them inside [`with_team`].
pub struct Team<'a> {
    shared: &'a Shared,
    width: usize,
}

/// What leader and followers share.
#[derive(Default)]
struct Shared {
    /// How many runs were begun: followers wait for the next.
    begun: AtomicUsize,
    /// The run at hand; points into the leader's stack.
    job: AtomicPtr<Job<'static>>,
    /// Followers that have not finished it.
    busy: AtomicUsize,
    /// Whether a task of a follower panicked.
    panicked: AtomicBool,
    /// Whether a leader is inside `run`.
    running: AtomicBool,
    /// Whether followers may go.
    dismissed: AtomicBool,
}

struct Job<'a> {
    tasks: usize,
    f: &'a (dyn Fn(usize, usize) + Sync),
}

/// Calls `lead` on the first worker of `pool` with an executor over all of them. Inside, the pool does
/// nothing else.
///
/// # Panics
/// If `lead` does, or a task.
pub fn with_team<R: Send>(pool: &ThreadPool, lead: impl FnOnce(&Team<'_>) -> R + Send) -> R {
    let (shared, width) = (Shared::default(), pool.current_num_threads());
    let lead = Mutex::new(Some(lead));
    let results = pool.broadcast(|worker| {
        if worker.index() > 0 {
            shared.follow(worker.index(), width);
            return None;
        }
        let lead = lead.lock().ok()?.take()?;
        // Followers are let go however `lead` ends, or the broadcast would never.
        let result = catch_unwind(AssertUnwindSafe(|| {
            lead(&Team {
                shared: &shared,
                width,
            })
        }));
        shared.dismissed.store(true, Ordering::Release);
        Some(result)
    });
    match results.into_iter().flatten().next() {
        Some(Ok(result)) => result,
        Some(Err(panic)) => resume_unwind(panic),
        None => unreachable!("the first worker leads"),
    }
}

/// Waits for a condition without sleeping; gives way now and then, for machines that have more workers
/// than cores.
fn spin_until(condition: impl Fn() -> bool) {
    let mut spins = 0u32;
    while !condition() {
        spins += 1;
        if spins.is_multiple_of(1 << 12) {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

impl Shared {
    /// Does a follower's share of each run until dismissed.
    fn follow(&self, worker: usize, width: usize) {
        let mut seen = 0;
        loop {
            let next = || self.begun.load(Ordering::Acquire) != seen;
            spin_until(|| next() || self.dismissed.load(Ordering::Acquire));
            if !next() {
                return;
            }
            seen += 1;
            // SAFETY: the leader stored a pointer to its job before it announced the run with a release
            // that the load above acquired, and stays in `run`, where the job lives, until this
            // follower has counted itself out of `busy` below.
            let job = unsafe { &*self.job.load(Ordering::Relaxed) };
            let done = catch_unwind(AssertUnwindSafe(|| {
                share(job.tasks, width, worker).for_each(|task| (job.f)(task, worker));
            }));
            if done.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }
}

// SAFETY: `share` splits `0..tasks` into disjoint ranges that cover it, one for each worker; the leader
// returns when every follower has finished its own, even if a task panics.
unsafe impl Executor for Team<'_> {
    fn width(&self) -> usize {
        self.width
    }

    fn run(&self, tasks: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        let Shared {
            begun, job, busy, ..
        } = self.shared;
        let nested = self.shared.running.swap(true, Ordering::Acquire);
        assert!(!nested, "a run inside of a run");
        // One task needs nobody else: to hand it over and to wait for it takes longer than some layers.
        let alone = tasks <= 1;
        let shared_out = Job { tasks, f };
        if !alone {
            job.store((&raw const shared_out).cast_mut().cast(), Ordering::Relaxed);
            busy.store(self.width - 1, Ordering::Relaxed);
            begun.fetch_add(1, Ordering::Release);
        }
        let own = if alone {
            0..tasks
        } else {
            share(tasks, self.width, 0)
        };
        let done = catch_unwind(AssertUnwindSafe(|| own.for_each(|task| f(task, 0))));
        spin_until(|| busy.load(Ordering::Acquire) == 0);
        self.shared.running.store(false, Ordering::Release);
        if let Err(panic) = done {
            resume_unwind(panic);
        }
        let panicked = self.shared.panicked.swap(false, Ordering::Relaxed);
        assert!(!panicked, "a task panicked on another worker");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> ThreadPool {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool")
    }

    #[test]
    fn each_task_is_run_once_on_its_share() {
        let pool = pool(3);
        let seen: Vec<AtomicUsize> = (0..40).map(|_| AtomicUsize::new(0)).collect();
        let runs = if cfg!(miri) { 3 } else { 1000 };
        let led = with_team(&pool, |team| {
            assert_eq!(team.width(), 3);
            for _ in 0..runs {
                team.run(seen.len(), &|task, worker| {
                    assert!(share(seen.len(), 3, worker).contains(&task));
                    seen[task].fetch_add(1, Ordering::Relaxed);
                });
            }
            "led"
        });
        assert_eq!(led, "led");
        assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == runs));
    }

    #[test]
    fn one_task_is_the_leaders() {
        let runs = AtomicUsize::new(0);
        with_team(&pool(2), |team| {
            for tasks in [1, 0, 1, 2, 1] {
                team.run(tasks, &|task, worker| {
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
                    team.run(2, &|task, _| assert_ne!(task, bad, "as it should"));
                });
            }));
            assert!(caught.is_err(), "task {bad}");
        }
        assert_eq!(with_team(&pool, |team| team.width()), 2);
    }

    #[test]
    fn a_run_inside_of_a_run_is_a_mistake() {
        let pool = pool(1);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            with_team(&pool, |team| {
                team.run(1, &|_, _| team.run(1, &|_, _| ()));
            });
        }));
        assert!(caught.is_err());
    }
}
