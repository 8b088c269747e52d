//! Safe calls from another crate that would reach undefined behaviour if a check were missing. Each must panic, with a
//! message that names the wrong argument. Attacks that don't compile are in `src/attacks.rs`.

use convroof_kernels::dtype::DType;
use convroof_kernels::exec::{
    Executor, Grid, Serial, Sharing, TileGrid, par_halves, par_rows, par_rows_sharing, par_tiles,
    with_team,
};
use convroof_kernels::plan::{Params, RunArgs};
use convroof_kernels::reorder::reorder;
use convroof_kernels::tensor::{
    AlignedBuf, CacheLine, Layout, Tensor, TensorDesc, TensorMut, TensorRef,
};
use convroof_kernels::{Isa, Plan, PlanCx, Problem, Registry, blocking::Caches, probe};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs an attack, and returns the message of its panic.
fn attack<T>(call: impl FnOnce() -> T) -> String {
    let result = catch_unwind(AssertUnwindSafe(|| drop(call())));
    let payload = result.expect_err("a panic, but the call returned");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast::<&str>().expect("a message").to_string(),
    }
}

/// Half of the range of a `usize`: doubled, it wraps.
const HALF: usize = usize::MAX / 2 + 1;

#[test]
fn a_tensor_whose_size_wraps_has_no_descriptor() {
    let dims = [1, (1 << 60) + 1, 4, 4];
    for layout in [Layout::Nchw, Layout::Nhwc, Layout::NCHW16C] {
        let message = attack(|| {
            let desc = TensorDesc::f32(layout, dims);
            let (src, mut dst) = ([0.0; 64], [0.0; 64]);
            let mut to = TensorMut::from_f32s(desc.with_layout(Layout::Nchw), &mut dst);
            reorder(TensorRef::from_f32s(desc, &src), &mut to, &Serial);
        });
        assert!(message.contains("too large"), "{message}");
    }
    // A plain tensor of this size fits. Padded to blocks of 16 channels, it doesn't.
    let most = TensorDesc::MOST_BYTES / 4;
    let plain = TensorDesc::f32(Layout::Nchw, [1, most, 1, 1]);
    let message = attack(|| plain.with_layout(Layout::NCHW16C));
    assert!(message.contains("too large"), "{message}");
}

#[test]
fn a_tensor_in_too_little_memory_is_refused() {
    let desc = TensorDesc::f32(Layout::NCHW16C, [1, 17, 2, 2]);
    assert!(attack(|| TensorRef::from_f32s(desc, &[0.0; 127]).desc()).contains("127 elements"));
    let mut short = [0.0; 127];
    assert!(attack(|| TensorMut::from_f32s(desc, &mut short).desc()).contains("127 elements"));
    let bytes = TensorDesc::new(DType::U8, Layout::NCHW16C, [1, 17, 2, 2]);
    assert!(
        attack(|| TensorRef::from_elements(bytes, &[0u8; 127]).desc()).contains("127 elements")
    );
    assert!(
        attack(|| TensorRef::from_elements(bytes, &[0i8; 128]).desc()).contains("element type")
    );
    let mut line = [CacheLine::ZERO];
    assert!(attack(|| TensorRef::in_lines(bytes, &line).desc()).contains("1 cache lines"));
    assert!(attack(|| TensorMut::in_lines(bytes, &mut line).desc()).contains("1 cache lines"));
    let tensor = |layout, dims| Tensor::zeros(TensorDesc::f32(layout, dims)).expect("memory");
    let src = tensor(Layout::Nchw, [1, 17, 2, 2]);
    let mut dst = tensor(Layout::NCHW16C, [1, 17, 2, 3]);
    let message = attack(|| reorder(src.view(), &mut dst.view_mut(), &Serial));
    assert!(message.contains("layout alone"), "{message}");
}

#[test]
fn grids_whose_products_wrap_are_refused() {
    let grid = Grid {
        rows: HALF,
        cols: 2,
        block_rows: 1 << 40,
        block_cols: 2,
        band: HALF,
    };
    let mut dst = [0u8; 16];
    let too_large = "too large";
    let message = attack(|| {
        par_rows(&Serial, &mut dst, grid, &mut [], |_, mut own, _| {
            own.row(0).fill(1);
        });
    });
    assert!(message.contains(too_large), "{message}");
    let message = attack(|| {
        let sharing = Sharing::Rows;
        par_rows_sharing(
            &Serial,
            &mut dst,
            grid,
            sharing,
            &mut [],
            |_, mut own, _| {
                own.row(0).fill(1);
            },
        );
    });
    assert!(message.contains(too_large), "{message}");
    let message = attack(|| {
        par_halves(&Serial, &mut dst, grid, 4, &mut [], |_, [mut a, _], _| {
            a.row(0).fill(1);
        });
    });
    assert!(message.contains(too_large), "{message}");
    let message = attack(|| {
        let grid = Grid { cols: HALF, ..grid };
        par_halves(&Serial, &mut dst, grid, 0, &mut [], |_, [mut a, _], _| {
            a.row(0).fill(1);
        });
    });
    assert!(message.contains("Grid"), "{message}");
    let message = attack(|| Grid::of_pixels(HALF, 2, 1, 1));
    assert!(message.contains(too_large), "{message}");
}

#[test]
fn blocks_larger_than_the_grid_are_the_whole_grid() {
    let mut dst = [0u8; 6];
    let grid = Grid {
        rows: 3,
        cols: 2,
        block_rows: usize::MAX,
        block_cols: usize::MAX,
        band: 1,
    };
    par_rows(&Serial, &mut dst, grid, &mut [], |_, mut own, _| {
        assert_eq!((own.rows(), own.len()), (1, 2));
        own.row(0).iter_mut().for_each(|x| *x += 1);
    });
    assert_eq!(dst, [1; 6]);
}

#[test]
fn grids_without_steps_are_refused() {
    let good = Grid {
        rows: 2,
        cols: 2,
        block_rows: 1,
        block_cols: 1,
        band: 2,
    };
    for bad in [
        Grid {
            block_rows: 0,
            ..good
        },
        Grid {
            block_cols: 0,
            ..good
        },
        Grid { band: 0, ..good },
        Grid {
            band: 3,
            rows: 4,
            ..good
        },
        Grid { rows: 9, ..good },
    ] {
        let mut dst = [0u8; 8];
        let message = attack(|| par_rows(&Serial, &mut dst, bad, &mut [], |_, _, _| ()));
        assert!(message.contains("Grid"), "{message}");
    }
}

#[test]
fn tile_grids_whose_products_wrap_are_refused() {
    let good = TileGrid {
        images: 1,
        blocks: 1,
        map: [2, 2],
        pixel: 1,
        tile: 1,
        task_tiles: 1,
        task_step: 1,
        task_blocks: 1,
    };
    for bad in [
        TileGrid {
            images: HALF,
            blocks: 2,
            ..good
        },
        TileGrid {
            map: [1 << 32, 1 << 32],
            ..good
        },
        TileGrid {
            pixel: HALF,
            ..good
        },
        TileGrid {
            map: [3, 3],
            ..good
        },
        TileGrid { tile: 0, ..good },
        TileGrid {
            task_step: 0,
            ..good
        },
        TileGrid {
            task_tiles: 3,
            task_step: 2,
            ..good
        },
        TileGrid {
            task_blocks: 0,
            ..good
        },
    ] {
        let mut dst = [0u8; 8];
        let message = attack(|| {
            par_tiles(&Serial, &mut dst, bad, &mut [], |mut own, _| {
                let (block, tile) = (own.blocks().start, own.tiles().start);
                own.tile(block, tile).row(0).fill(1);
            });
        });
        assert!(!message.contains("the call returned"), "{message}");
    }
    // A task may allow more tiles and maps than exist. It then has all of them.
    let mut dst = [0u8; 4];
    let all = TileGrid {
        task_tiles: usize::MAX,
        task_blocks: usize::MAX,
        ..good
    };
    par_tiles(&Serial, &mut dst, all, &mut [], |mut own, _| {
        for tile in own.tiles() {
            own.tile(0, tile)
                .row(0)
                .iter_mut()
                .for_each(|x: &mut u8| *x += 1);
        }
        assert!(attack(|| own.tile(0, 4).len()).contains("contains"));
        assert!(attack(|| own.tile(1, 0).len()).contains("contains"));
    });
    assert_eq!(dst, [1; 4]);
}

/// A panic's payload that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

#[test]
fn a_payload_that_panics_when_dropped_leaves_no_task_behind() {
    let pool = rayon_pool(3);
    let done = AtomicUsize::new(0);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        with_team(&pool, |team| {
            team.run(64, &|_| {
                done.fetch_add(1, Ordering::Relaxed);
                std::panic::panic_any(Bomb);
            });
        });
    }));
    std::mem::forget(caught.expect_err("the first panic"));
    assert_eq!(done.load(Ordering::Relaxed), 64, "each task was called");
    assert_eq!(with_team(&pool, |team| team.width()), 3);
}

fn rayon_pool(threads: usize) -> rayon::ThreadPool {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().expect("a pool")
}

/// A plan of `direct`, which has packed weights and scratch.
fn plan() -> Box<dyn Plan> {
    let problem: Problem = "mb1ic8ih10oc16oh10kh3ph1".parse().expect("a problem");
    let direct = Registry::builtin().find(&"direct/scalar/st".parse().expect("an id"));
    let caches = Caches::default();
    let cx = PlanCx::new(Isa::Scalar.detect().expect("everywhere"), &caches);
    let plan = direct.expect("listed").algorithm.plan(&problem, &cx);
    plan.expect("computes it")
}

#[test]
fn runs_with_memory_that_does_not_fit_are_refused() {
    let plan = plan();
    let spec = plan.spec().clone();
    let lines = |n| AlignedBuf::zeroed(n).expect("memory");
    let tensor = |desc| Tensor::zeros(desc).expect("memory");
    let other = TensorDesc::f32(Layout::NCHW16C, [1, 8, 9, 10]);
    let run =
        |src: TensorDesc, dst: TensorDesc, packed: usize, scratch: usize, exec: &dyn Executor| {
            let (src, mut dst) = (tensor(src), tensor(dst));
            let (packed, mut workspace) = (lines(packed), lines(scratch));
            plan.run(RunArgs {
                src: src.view(),
                residual: None,
                dst: dst.view_mut(),
                packed: &packed,
                workspace: &mut workspace,
                exec,
                phases: None,
            });
        };
    let (src, dst) = (spec.src_desc(), spec.dst_desc());
    let (packed, scratch) = (spec.packed_lines, spec.workspace_lines());
    run(src, dst, packed, scratch, &Serial);
    assert!(attack(|| run(other, dst, packed, scratch, &Serial)).contains("source"));
    assert!(attack(|| run(src, other, packed, scratch, &Serial)).contains("destination"));
    assert!(attack(|| run(src, dst, packed - 1, scratch, &Serial)).contains("packed"));
    if scratch > 0 {
        assert!(attack(|| run(src, dst, packed, scratch - 1, &Serial)).contains("workspace"));
    }
    let message = attack(|| {
        with_team(&rayon_pool(2), |team| run(src, dst, packed, scratch, team));
    });
    assert!(message.contains("2 workers for 1"), "{message}");
    let weights = [0.0; 3];
    let few = TensorRef::from_f32s(TensorDesc::f32(Layout::Nchw, [3, 1, 1, 1]), &weights);
    let mut packed = vec![CacheLine::ZERO; packed];
    attack(|| {
        let params = Params {
            weights: Some(few),
            bias: None,
        };
        plan.prepare(params, &mut packed, &Serial);
    });
}

#[test]
fn probes_want_aligned_memory() {
    let mut lines = AlignedBuf::zeroed(8).expect("memory");
    let floats = convroof_kernels::tensor::as_f32s_mut(&mut lines);
    let token = Isa::best();
    let stream = probe::Stream::WriteNonTemporal;
    let message = attack(|| probe::stream(token, stream, probe::Parts::One, &mut floats[1..], 1));
    assert!(message.contains("alignment"), "{message}");
}
