//! A run allocates nothing: a plan says how much memory it needs, and its caller owns all of it.
#![allow(unsafe_code)]

mod problems;

use convroof_kernels::blocking::Caches;
use convroof_kernels::conformance::Data;
use convroof_kernels::data::Fill;
use convroof_kernels::exec::{Executor, Serial, with_team};
use convroof_kernels::instance::Instance;
use convroof_kernels::{Isa, PlanCx, Problem, Registry};
use problems::PROBLEMS;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// The system's allocator, which counts its calls.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, SeqCst);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of `run`.
fn allocations(run: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.load(SeqCst);
    run();
    ALLOCATIONS.load(SeqCst) - before
}

/// Every algorithm that supports a problem, on one thread and on two. One test, since the count is the whole process's.
#[test]
fn a_run_allocates_nothing() {
    let counted = allocations(|| drop(std::hint::black_box(vec![1_u8])));
    assert_eq!(counted, 1, "allocations are counted");

    let (registry, caches) = (Registry::builtin(), Caches::default());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
    let pool = pool.expect("a pool");
    let mut plans = 0;
    for text in PROBLEMS {
        let problem: Problem = text.parse().expect("a problem");
        let data = Data::new(&problem, Fill::Uniform, 1);
        for algorithm in registry.algorithms() {
            let meta = algorithm.meta();
            let tokens = meta.isas.iter().filter_map(|isa| isa.detect());
            for token in tokens.filter(|token| !token.isa().is_emulated()) {
                for threads in [1, 2] {
                    let cx = PlanCx::new(token, &caches).with_threads(threads);
                    let Ok(plan) = algorithm.plan(&problem, &cx) else {
                        continue;
                    };
                    let mut instance = Instance::new(plan).expect("memory");
                    instance.load(data.operands(), &Serial);
                    let counted = match threads {
                        1 => counted_run(&mut instance, &Serial),
                        _ => with_team(&pool, |team| counted_run(&mut instance, team)),
                    };
                    let isa: Isa = token.isa();
                    assert_eq!(counted, 0, "{}/{isa} on {text}, {threads} threads", meta.id);
                    plans += 1;
                }
            }
        }
    }
    assert!(plans > 100, "only {plans} plans ran");
}

/// Allocations of a second run. The first may start what lives as long as the process.
fn counted_run(instance: &mut Instance, exec: &dyn Executor) -> usize {
    instance.run(exec);
    allocations(|| instance.run(exec))
}
