//! A rayon pool as a team that spins between runs.
//!
//! A layer takes some ten or hundred microseconds; to wake a sleeping worker takes ten, and in a virtual
//! machine, whose idle cores are given back, several times that. So a pool is entered once for many
//! runs: its first worker leads, the others wait for work without sleeping, as OpenMP's pools do, and a
//! run begins within a fraction of a microsecond. When the leader is done, the pool is idle again.
//!
//! Each worker has its share of a run's tasks and does them in order; who is done takes over the last task of who has most
//! left. So a core that is slower, or that something else holds up, leaves less undone than its share, and nobody waits for
//! a worker that has not yet noticed that there is a run.

use super::{Executor, Serial, Turn, share};
use rayon::ThreadPool;
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The workers of a pool, all of them inside [`with_team`].
pub struct Team<'a> {
    shared: &'a Shared,
}

/// What leader and followers share.
struct Shared {
    /// How many runs were begun: followers look for tasks whenever another was.
    begun: AtomicUsize,
    /// Each worker's share of the tasks that nobody has begun.
    waiting: Vec<Share>,
    /// The run at hand; points into the leader's stack.
    job: AtomicPtr<Job<'static>>,
    /// Its tasks that are not finished.
    unfinished: AtomicUsize,
    /// The first panic among them.
    panic: Mutex<Option<Panic>>,
    /// Whether a leader is inside `run`.
    running: AtomicBool,
    /// Whether followers may go.
    dismissed: AtomicBool,
}

type Panic = Box<dyn Any + Send>;

struct Job<'a> {
    /// Which run it is.
    run: usize,
    f: &'a (dyn Fn(Turn) + Sync),
}

/// Consecutive tasks: the first and the end in one word, so that one exchange takes a task from either side. On cache
/// lines of its own, and those that are fetched with them.
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

    /// The owner's next.
    fn first(&self) -> Option<usize> {
        self.take(|Range { start, end }| (start, start + 1..end))
    }

    /// What the owner would do last.
    fn last(&self) -> Option<usize> {
        self.take(|Range { start, end }| (end - 1, start..end - 1))
    }

    /// Takes a task, if there is one: it and the others. Who does sees all that was written before the share was put.
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

/// Calls `lead` on the first worker of `pool` with an executor over all of them. Inside, the pool does
/// nothing else.
///
/// # Panics
/// If `lead` does, or a task.
pub fn with_team<R: Send>(pool: &ThreadPool, lead: impl FnOnce(&Team<'_>) -> R + Send) -> R {
    let shared = Shared::new(pool.current_num_threads());
    let lead = Mutex::new(Some(lead));
    let results = pool.broadcast(|worker| {
        if worker.index() > 0 {
            shared.follow(worker.index());
            return None;
        }
        let lead = lead.lock().ok()?.take()?;
        // Followers are let go however `lead` ends, or the broadcast would never.
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

    /// Works at each run until dismissed.
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

    /// Has every task done.
    fn lead(&self, tasks: usize, f: &(dyn Fn(Turn) + Sync)) {
        // Followers run the job, which lives here, until all tasks are finished.
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

    /// Does tasks until none waits.
    fn work(&self, worker: usize) {
        let mut before: Option<(usize, usize)> = None;
        while let Some(task) = self.next(worker) {
            // SAFETY: the leader stored the pointer before it shared out the tasks, of which this is one, and stays in
            // `lead`, where the job lives, until this one, too, is counted out of `unfinished` below.
            let job = unsafe { &*self.job.load(Ordering::Relaxed) };
            let turn = Turn {
                task,
                worker,
                // The task before may have been another run's: this one began when the last was finished.
                before: before.and_then(|(run, task)| (run == job.run).then_some(task)),
            };
            before = Some((job.run, task));
            self.catch(|| (job.f)(turn));
            self.unfinished.fetch_sub(1, Ordering::Release);
        }
    }

    /// A task that waits: the worker's own next, or the last of who has most.
    fn next(&self, worker: usize) -> Option<usize> {
        let own = self.waiting[worker].first();
        own.or_else(|| {
            loop {
                let most = self.waiting.iter().max_by_key(|share| share.len())?;
                if most.len() == 0 {
                    return None;
                }
                // Or somebody else was faster.
                if let Some(task) = most.last() {
                    return Some(task);
                }
            }
        })
    }

    /// Calls a task, and keeps the first panic for the leader. Never unwinds: the payload of a later panic is leaked,
    /// because to drop it could panic again.
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

/// Ends the process when it is dropped by a panic: for a stack frame that other threads still use. `forget` it when they
/// are done.
struct AbortIfUnwound;

impl Drop for AbortIfUnwound {
    fn drop(&mut self) {
        eprintln!("a team's leader panicked while others ran its tasks: aborting");
        std::process::abort();
    }
}

// SAFETY: `share` splits `0..tasks` into disjoint ranges that cover it, one for each worker. From these a task is taken by
// exchanging the range for one without it, so once, and called before its worker takes the next; `lead` returns when each
// was called and has returned or panicked, and is never unwound before (`AbortIfUnwound`). `before` is of the same run (`Job::run`).
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
            // One task needs nobody else: to hand it over and to wait for it takes longer than some layers.
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

/// Calls `f` with each worker's number, on that worker, when all have come: for measurements that want every core.
/// Executors that are used with it have a thread for each worker.
pub fn on_each_worker(exec: &dyn Executor, f: impl Fn(usize) + Sync) {
    let (width, come) = (exec.width(), AtomicUsize::new(0));
    exec.run(width, &|turn| {
        // Who waits here takes no other's task.
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
        // What each worker did last: a run's number and the task.
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
                    // The second worker's first, if nobody took it over: until all others are done.
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
            // Every other payload was leaked, and no task was left out.
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
