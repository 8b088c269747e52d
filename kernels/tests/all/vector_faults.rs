//! Vector kernels on an instruction set with a fault. Each fault that changes a result must be found by the conformance
//! checks, for every algorithm. Debug builds have this instruction set, eight emulated lanes (`arch/emulated.rs`).
#![cfg(emulated)]
#![allow(unsafe_code)]

use crate::problems::PROBLEMS;
use convroof_kernels::arch::emulated::{Fault, Lanes, with_fault};
use convroof_kernels::blocking::Tuning;
use convroof_kernels::conformance::{Outcome, check};
use convroof_kernels::{Algorithm, Isa, Problem, Registry};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Faults of the vector operations.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    /// No fault: the control, which must pass.
    Nothing,
    /// One product in 16 is missing from its sum.
    LostTerm,
    /// One product in 16 replaces the sum before it.
    LostSum,
    /// Results have the precision of bf16.
    Bf16,
    /// Masks have a lane too many.
    WideMask,
    /// Masks have a lane too few.
    NarrowMask,
    /// A masked store writes all lanes.
    UnmaskedStore,
    /// A partial store doesn't write the last float.
    ShortStore,
    /// A vector isn't written: the second one of each cache line.
    DroppedVector,
    /// The last lane of a load holds the float before it.
    Neighbour,
    /// Lanes are not exchanged.
    Unswapped,
}

static FAULTS: [Wrong; 10] = [
    Wrong::LostTerm,
    Wrong::LostSum,
    Wrong::Bf16,
    Wrong::WideMask,
    Wrong::NarrowMask,
    Wrong::UnmaskedStore,
    Wrong::ShortStore,
    Wrong::DroppedVector,
    Wrong::Neighbour,
    Wrong::Unswapped,
];

/// Layers of more channels than [`PROBLEMS`], so that each vector of a channel block holds some.
const MORE: [&str; 6] = [
    "--pool --alg=max mb1ic17ih5oh3kh3sh2ph1",
    "--pool --alg=lp3 mb1ic17ih5oh3kh3sh2ph1",
    "--pool --alg=draw1 mb2ic17ih9oh9kh3ph1",
    "--attention --hidden=17 1x17x2x2",
    "--bilinear --alg=half 1x20x2x2",
    "--bilinear --alg=half_root_l2 1x20x2x2",
];

/// Faults that change no output: maxima of windows add elements only to find NaNs.
const HARMLESS: [(&str, Wrong); 3] = [
    ("maxpool", Wrong::Bf16),
    ("maxpool-nchw", Wrong::Bf16),
    ("maxpool-nhwc", Wrong::Bf16),
];

/// True if a fault has changed a result.
static STRUCK: AtomicBool = AtomicBool::new(false);

impl Wrong {
    /// `wrong` if this is the fault `fault`, else `right`.
    fn replace<T: PartialEq>(self, fault: Wrong, right: T, wrong: impl FnOnce(&T) -> T) -> T {
        if self != fault {
            return right;
        }
        let wrong = wrong(&right);
        if wrong != right {
            STRUCK.store(true, Relaxed);
        }
        wrong
    }
}

/// The nearest bf16.
fn bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
    if x.is_finite() {
        f32::from_bits(rounded)
    } else {
        x
    }
}

/// True for one pair of floats in 16.
fn is_chosen(a: f32, b: f32) -> bool {
    let bits = a.to_bits().rotate_left(16) ^ b.to_bits();
    bits.wrapping_mul(0x9e37_79b1) >> 28 == 0
}

impl Fault for Wrong {
    fn result(&self, y: Lanes) -> Lanes {
        self.replace(Wrong::Bf16, y, |y| y.map(bf16))
    }

    fn sum(&self, [a, b, c]: [Lanes; 3], y: Lanes) -> Lanes {
        let chosen = |y: &Lanes, wrong: fn(f32, f32, f32) -> f32| {
            std::array::from_fn(|l| {
                if is_chosen(a[l], b[l]) {
                    wrong(a[l], b[l], c[l])
                } else {
                    y[l]
                }
            })
        };
        let y = self.replace(Wrong::LostTerm, y, |y| chosen(y, |_, _, c| c));
        let y = self.replace(Wrong::LostSum, y, |y| chosen(y, |a, b, _| a * b));
        self.result(y)
    }

    fn loaded(&self, x: Lanes) -> Lanes {
        self.replace(Wrong::Neighbour, x, |x| {
            let mut x = *x;
            x[7] = x[6];
            x
        })
    }

    fn stored(&self, to: *const f32, before: Lanes, y: Lanes) -> Lanes {
        self.replace(Wrong::DroppedVector, y, |y| {
            if to.addr() % 64 >= 32 { before } else { *y }
        })
    }

    fn mask(&self, lanes: usize) -> usize {
        let lanes = self.replace(Wrong::WideMask, lanes, |lanes| (lanes + 1).min(8));
        self.replace(Wrong::NarrowMask, lanes, |lanes| lanes - 1)
    }

    fn stores_all(&self) -> bool {
        self.replace(Wrong::UnmaskedStore, false, |_| true)
    }

    fn stored_part(&self, len: usize) -> usize {
        self.replace(Wrong::ShortStore, len, |len| len.saturating_sub(1))
    }

    fn swaps(&self) -> bool {
        self.replace(Wrong::Unswapped, true, |_| false)
    }
}

/// Runs an algorithm with a fault on all problems that it supports. Returns true if the fault changed a result, and the
/// number of problems on which the checks failed.
fn run(algorithm: &dyn Algorithm, fault: &'static Wrong) -> (bool, usize) {
    let isa = Isa::Emu256.detect().expect("a debug build");
    let tuning = Tuning {
        mc: Some(5),
        nc: None,
    };
    STRUCK.store(false, Relaxed);
    let fails = |text: &str| {
        let problem: Problem = text.parse().expect("a problem");
        // SAFETY: the checks run a plan in memory with guard lines, longer than a vector.
        let outcome = unsafe { with_fault(fault, || check(algorithm, isa, &problem, tuning, &[])) };
        match outcome {
            Ok(Outcome::Passed { .. } | Outcome::Refused(_)) => false,
            Err(_) => true,
        }
    };
    let problems = PROBLEMS.iter().chain(&MORE);
    let failures = problems.filter(|text| fails(text)).count();
    (STRUCK.load(Relaxed), failures)
}

mod emulated {
    use super::*;

    #[test]
    fn the_checks_find_each_fault_in_each_algorithm() {
        let mut passed = Vec::new();
        let mut algorithms = BTreeMap::new();
        for algorithm in Registry::builtin().algorithms() {
            let id = algorithm.meta().id;
            assert_eq!(
                run(*algorithm, &Wrong::Nothing),
                (false, 0),
                "{id}: the control"
            );
            for fault in &FAULTS {
                match run(*algorithm, fault) {
                    (false, _) => {}
                    (true, 0) if HARMLESS.contains(&(id, *fault)) => {}
                    (true, 0) => passed.push(format!("{id} with {fault:?}")),
                    (true, _) => *algorithms.entry(format!("{fault:?}")).or_insert(0) += 1,
                }
            }
        }
        println!("algorithms that each fault affects: {algorithms:?}");
        assert_eq!(passed, [""; 0], "the checks found nothing");
        assert_eq!(algorithms.len(), FAULTS.len(), "{algorithms:?}");
    }
}
