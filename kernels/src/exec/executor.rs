//! Executors of tasks.

/// Runs tasks on workers.
///
/// # Safety
/// Within one `run`, each task index below `tasks` is called exactly once before `run` returns, with `worker <
/// width()`. No two live calls have the same worker. `before` is the task of this worker's previous call in the same
/// `run`, if any. A task never calls `run`.
pub unsafe trait Executor: Sync {
    /// The number of workers.
    fn width(&self) -> usize;
    /// Calls `f` for every task.
    fn run(&self, tasks: usize, f: &(dyn Fn(Turn) + Sync));
}

/// A task on a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The task.
    pub task: usize,
    /// The worker that runs it.
    pub worker: usize,
    /// The worker's previous task in the same run. The worker's scratch still holds what that task wrote.
    pub before: Option<usize>,
}

impl Turn {
    /// True if the worker's previous task belongs to another group. Groups are `size` consecutive tasks.
    pub(super) fn begins_group(&self, size: usize) -> bool {
        self.before
            .is_none_or(|before| before / size != self.task / size)
    }
}

/// Executor without threads: the calling thread runs all tasks, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

// SAFETY: a plain loop on one thread.
unsafe impl Executor for Serial {
    fn width(&self) -> usize {
        1
    }
    fn run(&self, tasks: usize, f: &(dyn Fn(Turn) + Sync)) {
        for task in 0..tasks {
            f(Turn {
                task,
                worker: 0,
                before: task.checked_sub(1),
            });
        }
    }
}

/// A pointer that tasks share. Each use states why its access is exclusive.
pub(super) struct SharedPtr<T>(pub(super) *mut T);
// SAFETY: only a base address. Each access has its own SAFETY comment.
unsafe impl<T: Send> Sync for SharedPtr<T> {}
impl<T> SharedPtr<T> {
    /// # Safety
    /// `index` is inside the allocation.
    pub(super) unsafe fn at(&self, index: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index) }
    }
}
