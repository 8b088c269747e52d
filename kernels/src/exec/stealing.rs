//! Work stealing between the workers of a team.
//!
//! Each worker executes its share of a run's tasks in order. An idle worker steals the last task of the worker with the
//! most tasks left. So a slow or interrupted core delays a run little, and no worker waits for one that has not yet
//! noticed the run.
//!
//! `tests/all/stealing.rs` compiles this file with the atomics of a model checker, and tries each order of their
//! operations that Rust's memory model allows. No ordering here can be weaker: with a weaker one, a model fails.

use super::sync::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, spin_until};
use super::{Turn, share};
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// State that the workers of a team share. The first worker leads, the others follow.
pub(super) struct Workers {
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
pub(super) struct Share(AtomicU64);

impl Share {
    pub(super) fn put(&self, tasks: Range<usize>) {
        let tasks = tasks.start as u32..tasks.end as u32;
        self.0.store(Self::word(tasks), Ordering::Release);
    }

    pub(super) fn len(&self) -> usize {
        Self::tasks(self.0.load(Ordering::Relaxed)).len()
    }

    /// Takes the first task, for the owner.
    pub(super) fn first(&self) -> Option<usize> {
        self.take(|Range { start, end }| (start, start + 1..end))
    }

    /// Takes the last task, for a thief.
    pub(super) fn last(&self) -> Option<usize> {
        self.take(|Range { start, end }| (end - 1, start..end - 1))
    }

    /// Takes a task, if there is one. `split` returns the task and the remaining tasks. The caller then sees all writes
    /// made before the share was stored, since exchanges by others don't end its release sequence.
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
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, without);
        taking.ok().and(taken)
    }

    fn word(tasks: Range<u32>) -> u64 {
        u64::from(tasks.start) << 32 | u64::from(tasks.end)
    }

    fn tasks(word: u64) -> Range<u32> {
        (word >> 32) as u32..word as u32
    }
}

impl Workers {
    pub(super) fn new(width: usize) -> Self {
        Workers {
            begun: AtomicUsize::new(0),
            waiting: (0..width).map(|_| Share::default()).collect(),
            job: AtomicPtr::new(std::ptr::null_mut()),
            unfinished: AtomicUsize::new(0),
            panic: Mutex::default(),
            running: AtomicBool::new(false),
            dismissed: AtomicBool::new(false),
        }
    }

    /// Number of workers.
    pub(super) fn width(&self) -> usize {
        self.waiting.len()
    }

    /// Works on each run until dismissed.
    pub(super) fn follow(&self, worker: usize) {
        let mut seen = 0;
        loop {
            // A follower that sees the number of a run sees its tasks, too.
            let begun = || self.begun.load(Ordering::Acquire);
            spin_until(|| begun() != seen || self.dismissed.load(Ordering::Relaxed));
            if begun() == seen {
                return;
            }
            seen = begun();
            self.work(worker);
        }
    }

    /// Lets followers return. All runs have ended.
    pub(super) fn dismiss(&self) {
        self.dismissed.store(true, Ordering::Relaxed);
    }

    /// Runs all tasks, and returns when they are finished.
    ///
    /// # Panics
    /// If a task panics, or during another run.
    pub(super) fn run(&self, tasks: usize, f: &(dyn Fn(Turn) + Sync)) {
        // The next leader may be another thread. It sees all of this run.
        let nested = self.running.swap(true, Ordering::Acquire);
        assert!(!nested, "a run inside of a run");
        assert!(u32::try_from(tasks).is_ok(), "{tasks} tasks");
        if tasks <= 1 {
            // A single task runs here: a handover to another worker takes longer than some layers.
            let first = |task| Turn {
                task,
                worker: 0,
                before: None,
            };
            self.catch(|| (0..tasks).map(first).for_each(f));
        } else {
            self.lead(tasks, f);
        }
        self.running.store(false, Ordering::Release);
        let panic = self.panic().take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

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
