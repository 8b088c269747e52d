//! A rayon pool as a team that spins between runs.
//!
//! A layer takes tens or hundreds of microseconds. Waking a sleeping worker takes a good part of that, and longer in a
//! virtual machine, which gives idle cores back to its host. So a pool is entered once for many runs. Its first worker
//! leads, the others wait for work without sleeping, as in OpenMP's pools. A run then begins within a fraction of a
//! microsecond. When the leader returns, the pool is idle again.
//!
//! Each worker executes its share of a run's tasks in order. An idle worker steals the last task of the worker with the
//! most tasks left. So a slow or interrupted core delays a run little, and no worker waits for one that has not yet
//! noticed the run.

use super::{Executor, Serial, Turn, share};
use rayon::ThreadPool;
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Workers of a pool, all of them inside [`with_team`].
pub struct Team<'a> {
    shared: &'a Shared,
}

/// State that leader and followers share.
struct Shared {
    /// Number of runs begun. A change tells followers to look for tasks.
    begun: AtomicUsize,
    /// Each worker's tasks that are not begun.
    waiting: Vec<Share>,
    /// The current run. Points into the leader's stack.
    job: AtomicPtr<Job<'static>>,
    /// Number of its unfinished tasks.
    unfinished: AtomicUsize,
    /// The first panic of its tasks.
    panic: Mutex<Option<Panic>>,
    /// True while a leader is inside `run`.
    running: AtomicBool,
    /// True when followers may return.
    dismissed: AtomicBool,
}

type Panic = Box<dyn Any + Send>;

struct Job<'a> {
    /// Number of the run.
    run: usize,
    f: &'a (dyn Fn(Turn) + Sync),
}

/// Consecutive tasks. Start and end are in one word, so that one exchange takes a task from either end. Aligned to 128
/// bytes because hardware prefetches pairs of cache lines.
#[derive(Default)]
#[repr(align(128))]
struct Share(AtomicU64);

impl Share {
    fn put(&self, tasks: Range<usize>) {
        let tasks = tasks.start as u32..tasks.end as u32;
        self.0.store(Self::word(tasks), Ordering::Release);
    }

    fn len(&self) -> usize {
        Self::tasks(self.0.load(Ordering::Relaxed)).len()
    }

    /// Takes the first task, for the owner.
    fn first(&self) -> Option<usize> {
        self.take(|Range { start, end }| (start, start + 1..end))
    }

    /// Takes the last task, for a thief.
    fn last(&self) -> Option<usize> {
        self.take(|Range { start, end }| (end - 1, start..end - 1))
    }

    /// Takes a task, if there is one. `split` returns the task and the remaining tasks. The caller then sees all writes
    /// made before the share was stored.
    fn take(&self, split: impl Fn(Range<u32>) -> (u32, Range<u32>)) -> Option<usize> {
        let mut taken = None;
        let without = |word| {
            let tasks = Self::tasks(word);
            if tasks.is_empty() {
                return None;
            }
            let (task, others) = split(tasks);
            taken = Some(task as usize);
            Some(Self::word(others))
        };
        let taking = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, without);
        taking.ok().and(taken)
    }

    fn word(tasks: Range<u32>) -> u64 {
        u64::from(tasks.start) << 32 | u64::from(tasks.end)
    }

    fn tasks(word: u64) -> Range<u32> {
        (word >> 32) as u32..word as u32
    }
}

/// Calls `lead` on the first worker of `pool`, with an executor over all of its workers. During the call the pool does
/// nothing else.
///
/// # Panics
/// If `lead` or a task panics.
pub fn with_team<R: Send>(pool: &ThreadPool, lead: impl FnOnce(&Team<'_>) -> R + Send) -> R {
    let shared = Shared::new(pool.current_num_threads());
    let lead = Mutex::new(Some(lead));
    let results = pool.broadcast(|worker| {
        if worker.index() > 0 {
            shared.follow(worker.index());
            return None;
        }
        let lead = lead.lock().ok()?.take()?;
        // Followers must be dismissed even if `lead` panics, or the broadcast would never return.
        let result = catch_unwind(AssertUnwindSafe(|| lead(&Team { shared: &shared })));
        shared.dismissed.store(true, Ordering::Release);
        Some(result)
    });
    match results.into_iter().flatten().next() {
        Some(Ok(result)) => result,
        Some(Err(panic)) => resume_unwind(panic),
        None => unreachable!("the first worker leads"),
    }
}

/// Spins until a condition is true. Yields at times, for machines with more workers than cores.
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
    fn new(width: usize) -> Self {
        Shared {
            begun: AtomicUsize::new(0),
            waiting: (0..width).map(|_| Share::default()).collect(),
            job: AtomicPtr::default(),
            unfinished: AtomicUsize::new(0),
            panic: Mutex::default(),
            running: AtomicBool::new(false),
            dismissed: AtomicBool::new(false),
        }
    }

    /// Works on each run until dismissed.
    fn follow(&self, worker: usize) {
        let mut seen = 0;
        loop {
            let begun = || self.begun.load(Ordering::Acquire);
            spin_until(|| begun() != seen || self.dismissed.load(Ordering::Acquire));
            if begun() == seen {
                return;
            }
            seen = begun();
            self.work(worker);
        }
    }

    /// Runs all tasks and returns when they are finished.
    fn lead(&self, tasks: usize, f: &(dyn Fn(Turn) + Sync)) {
        // Followers use the job, which is in this stack frame, until all tasks are finished.
        let stays = AbortIfUnwound;
        let job = Job {
            run: self.begun.load(Ordering::Relaxed) + 1,
            f,
        };
        self.job
            .store((&raw const job).cast_mut().cast(), Ordering::Relaxed);
        self.unfinished.store(tasks, Ordering::Relaxed);
        for (worker, waiting) in self.waiting.iter().enumerate() {
            waiting.put(share(tasks, self.waiting.len(), worker));
        }
        self.begun.store(job.run, Ordering::Release);
        self.work(0);
        spin_until(|| self.unfinished.load(Ordering::Acquire) == 0);
        std::mem::forget(stays);
    }

    /// Runs tasks until no share has one.
    fn work(&self, worker: usize) {
        let mut before: Option<(usize, usize)> = None;
        while let Some(task) = self.next(worker) {
            // SAFETY: the leader stored the pointer before it stored the shares, and this task is from a share. The
            // leader stays in `lead`, whose frame holds the job, until `unfinished` is decremented below for this task,
            // too.
            let job = unsafe { &*self.job.load(Ordering::Relaxed) };
            let turn = Turn {
                task,
                worker,
                // The previous task may belong to an earlier run: this run began only when that one was finished.
                before: before.and_then(|(run, task)| (run == job.run).then_some(task)),
            };
            before = Some((job.run, task));
            self.catch(|| (job.f)(turn));
            self.unfinished.fetch_sub(1, Ordering::Release);
        }
    }

    /// Takes the worker's next own task, or steals the last task of the worker with the most tasks left.
    fn next(&self, worker: usize) -> Option<usize> {
        let own = self.waiting[worker].first();
        own.or_else(|| {
            loop {
                let most = self.waiting.iter().max_by_key(|share| share.len())?;
                if most.len() == 0 {
                    return None;
                }
                // Retries if another worker took it first.
                if let Some(task) = most.last() {
                    return Some(task);
                }
            }
        })
    }

    /// Calls a task, and keeps the first panic for the leader. Never unwinds: the payload of a later panic is leaked,
    /// because dropping it could panic again.
    fn catch(&self, task: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(task)) {
            let mut first = self.panic();
            match &*first {
                None => *first = Some(panic),
                Some(_) => std::mem::forget(panic),
            }
        }
    }

    fn panic(&self) -> MutexGuard<'_, Option<Panic>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard that aborts the process if a panic drops it, for a stack frame that other threads still use. `forget` it when
/// they are finished.
struct AbortIfUnwound;

impl Drop for AbortIfUnwound {
    fn drop(&mut self) {
        eprintln!("a team's leader panicked while others ran its tasks: aborting");
        std::process::abort();
    }
}

// SAFETY: `share` splits `0..tasks` into disjoint ranges that cover it, one per worker. A worker takes a task by
// exchanging a range for one without the task, so each task is taken once. The worker calls it before it takes another.
// `lead` returns when each call has returned or panicked, and never unwinds before (`AbortIfUnwound`). `before` is of
// the same run (`Job::run`).
unsafe impl Executor for Team<'_> {
    fn width(&self) -> usize {
        self.shared.waiting.len()
    }

    fn run(&self, tasks: usize, f: &(dyn Fn(Turn) + Sync)) {
        let shared = self.shared;
        let nested = shared.running.swap(true, Ordering::Acquire);
        assert!(!nested, "a run inside of a run");
        assert!(u32::try_from(tasks).is_ok(), "{tasks} tasks");
        if tasks <= 1 {
            // A single task runs here: a handover to another worker takes longer than some layers.
            shared.catch(|| Serial.run(tasks, f));
        } else {
            shared.lead(tasks, f);
        }
        shared.running.store(false, Ordering::Release);
        let panic = shared.panic().take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
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
