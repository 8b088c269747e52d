//! Instruction sets: the only file that detects CPU features.
//!
//! An [`IsaToken`] can only be made on a CPU that has the feature. So a token proves that code for its instruction set
//! may run. Kernels are written once as a [`SimdTask`] over [`KernelSimd`]. [`IsaToken::dispatch`] instantiates them
//! for each width.
//!
//! **Inlining.** `dispatch` enters a function that is compiled with the instruction set enabled. A function that is not
//! inlined there is compiled for the baseline CPU, and is far slower. So every helper of a task is `#[inline(always)]`.
//! Threads stay outside: a closure that `dispatch` passes to a thread pool would lose the features.

use crate::arch::KernelSimd;
pub use crate::arch::SimdTask;
pub use crate::arch::ablation::Ablation;
use crate::arch::ablation::{WithArithOnly, WithLoadsOnly};
use crate::arch::{Twin, Whole};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// An instruction set that kernels are instantiated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Isa {
    /// No SIMD types, compiled for the target's baseline (on x86-64 LLVM may still use SSE2).
    Scalar,
    /// x86-64 AVX2 with FMA: 8 lanes of f32, 16 registers.
    Avx2,
    /// x86-64 AVX-512 (F, BW, DQ, VL, CD): 16 lanes of f32, 32 registers.
    Avx512,
    /// aarch64 Advanced SIMD: 4 lanes of f32, 32 registers.
    Neon,
    /// Four emulated lanes, for tests on any CPU.
    Emu128,
    /// Eight emulated lanes, for tests on any CPU.
    Emu256,
    /// Sixteen emulated lanes, for tests on any CPU.
    Emu512,
}

impl Isa {
    /// Every instruction set, real ones first.
    pub const ALL: [Isa; 7] = [
        Isa::Scalar,
        Isa::Avx2,
        Isa::Avx512,
        Isa::Neon,
        Isa::Emu128,
        Isa::Emu256,
        Isa::Emu512,
    ];

    /// The instruction sets of real machines, which `list` shows.
    pub const REAL: [Isa; 4] = [Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Neon];

    /// The name used in variant ids.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
            Isa::Emu128 => "emu128",
            Isa::Emu256 => "emu256",
            Isa::Emu512 => "emu512",
        }
    }

    /// Lanes of f32 in one register.
    pub const fn lanes(self) -> usize {
        match self {
            Isa::Scalar => 1,
            Isa::Neon | Isa::Emu128 => 4,
            Isa::Avx2 | Isa::Emu256 => 8,
            Isa::Avx512 | Isa::Emu512 => 16,
        }
    }

    /// Vector registers, as pulp counts them. For emulated widths pulp's count is arbitrary.
    pub const fn registers(self) -> usize {
        match self {
            Isa::Avx512 | Isa::Neon => 32,
            Isa::Emu512 => 8,
            _ => 16,
        }
    }

    /// Tells if the vectors are emulated. Emulated widths run on any CPU, and their speed means nothing.
    pub const fn is_emulated(self) -> bool {
        matches!(self, Isa::Emu128 | Isa::Emu256 | Isa::Emu512)
    }

    /// The token, if this CPU has the instruction set.
    pub fn detect(self) -> Option<IsaToken> {
        let token = match self {
            Isa::Scalar => Token::Scalar(pulp::Scalar::new()),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Token::Avx2(pulp::x86::V3::try_new()?),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Token::Avx512(pulp::x86::V4::try_new()?),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Token::Neon(pulp::aarch64::Neon::try_new()?),
            _ => Token::Emulated(Emulated::detect(self)?),
        };
        Some(IsaToken {
            token,
            ablation: None,
        })
    }

    /// Explains to users why [`Isa::detect`] found nothing.
    pub fn missing_reason(self) -> String {
        let built_for = std::env::consts::ARCH;
        match self {
            Isa::Avx2 | Isa::Avx512 if built_for != "x86_64" => {
                format!(
                    "{self} is an x86-64 instruction set; this program was built for {built_for}"
                )
            }
            Isa::Neon if built_for != "aarch64" => {
                format!(
                    "{self} is an aarch64 instruction set; this program was built for {built_for}"
                )
            }
            _ if self.is_emulated() => {
                format!("{self} is for tests, in debug builds only")
            }
            _ => format!("this CPU has no {self}"),
        }
    }

    /// The widest real instruction set of this CPU.
    pub fn best() -> IsaToken {
        let best = Isa::REAL
            .into_iter()
            .filter_map(Isa::detect)
            .max_by_key(|t| t.isa().lanes());
        best.expect("scalar code runs everywhere")
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Isa::ALL
            .into_iter()
            .find(|isa| isa.name() == s)
            .ok_or_else(|| {
                let names: Vec<_> = Isa::REAL.iter().map(|isa| isa.name()).collect();
                format!(
                    "unknown instruction set '{s}': expected one of {}",
                    names.join(", ")
                )
            })
    }
}

/// Proof that this CPU has an instruction set.
#[derive(Clone, Copy, Debug)]
pub struct IsaToken {
    token: Token,
    ablation: Option<Ablation>,
}

#[derive(Clone, Copy, Debug)]
enum Token {
    Scalar(pulp::Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
    Emulated(Emulated),
}

/// Emulated vectors, for debug builds only (`build.rs`).
///
/// They are a large part of the code, because each operation is unrolled over lanes. The crate's own unit tests compile
/// every kernel a second time. So these tests leave emulated vectors out, except under Miri.
#[cfg(all(emulated, any(not(test), miri)))]
mod emulated {
    use super::{Isa, SimdTask};
    use crate::arch::KernelSimd;
    use crate::arch::emulated::Emulated256;

    #[derive(Clone, Copy, Debug)]
    pub(super) enum Emulated {
        Emu128(pulp::Scalar128b),
        Emu256(Emulated256),
        Emu512(pulp::Scalar512b),
    }

    impl Emulated {
        pub(super) fn detect(isa: Isa) -> Option<Self> {
            match isa {
                Isa::Emu128 => Some(Emulated::Emu128(pulp::Scalar128b)),
                Isa::Emu256 => Some(Emulated::Emu256(Emulated256)),
                Isa::Emu512 => Some(Emulated::Emu512(pulp::Scalar512b)),
                _ => None,
            }
        }

        pub(super) fn isa(self) -> Isa {
            match self {
                Emulated::Emu128(_) => Isa::Emu128,
                Emulated::Emu256(_) => Isa::Emu256,
                Emulated::Emu512(_) => Isa::Emu512,
            }
        }

        #[inline(always)]
        pub(super) fn dispatch<T: SimdTask>(self, task: T) -> T::Output {
            match self {
                Emulated::Emu128(simd) => simd.call(task),
                Emulated::Emu256(simd) => simd.call(task),
                Emulated::Emu512(simd) => simd.call(task),
            }
        }
    }
}

#[cfg(not(all(emulated, any(not(test), miri))))]
mod emulated {
    use super::{Isa, SimdTask};

    #[derive(Clone, Copy, Debug)]
    pub(super) enum Emulated {}

    impl Emulated {
        pub(super) fn detect(_: Isa) -> Option<Self> {
            None
        }

        pub(super) fn isa(self) -> Isa {
            match self {}
        }

        #[inline(always)]
        pub(super) fn dispatch<T: SimdTask>(self, _: T) -> T::Output {
            match self {}
        }
    }
}

use emulated::Emulated;

/// True if kernels have twins in this build. The unit tests of this package build none: twins are two thirds of the
/// code, and the suite's tests run them.
const TWINS: bool = cfg!(all(feature = "ablation", not(test)));

impl IsaToken {
    /// The instruction set that this token proves.
    pub fn isa(self) -> Isa {
        match self.token {
            Token::Scalar(_) => Isa::Scalar,
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => Isa::Avx512,
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => Isa::Neon,
            Token::Emulated(emulated) => emulated.isa(),
        }
    }

    /// Token of the same instruction set for kernels without their arithmetic or their memory traffic.
    ///
    /// None for scalar code, whose bounds are rarely of interest, for emulated widths, and in builds without the
    /// feature `ablation`.
    pub fn without(self, ablation: Ablation) -> Option<Self> {
        let real = self.isa().lanes() > 1 && !self.isa().is_emulated();
        let ablation = Some(ablation);
        (TWINS && real).then_some(IsaToken { ablation, ..self })
    }

    /// Tells if kernels run without some of their work ([`IsaToken::without`]).
    pub(crate) fn is_twin(self) -> bool {
        self.ablation.is_some()
    }

    /// Position of a panel of weights. If one panel replaces all others, it is the start of the weights.
    pub(crate) fn panel(self, floats: &Range<usize>) -> Range<usize> {
        match self.ablation {
            Some(Ablation::OnePanel) => 0..floats.len(),
            _ => floats.clone(),
        }
    }

    /// Tells if kernels perform copies that need no arithmetic.
    pub(crate) fn moves_data(self) -> bool {
        self.ablation != Some(Ablation::ArithOnly)
    }

    /// Runs `task` compiled for this instruction set.
    ///
    /// It is a function call that the compiler can't inline, so call it once per coarse piece of work.
    ///
    /// # Panics
    /// If the token is for a twin and the task has none ([`SimdTask::TWINS`]). The algorithms of such tasks refuse plans
    /// for twins by [`Target::without_twins`](crate::plan::Target::without_twins).
    #[inline(always)]
    pub fn dispatch<T: SimdTask>(self, task: T) -> T::Output {
        if const { T::TWINS && TWINS } {
            match self.ablation {
                Some(Ablation::LoadsOnly) => return self.dispatch_native::<T, WithLoadsOnly>(task),
                Some(Ablation::ArithOnly) => return self.dispatch_native::<T, WithArithOnly>(task),
                Some(Ablation::OnePanel) | None => {}
            }
        } else {
            assert!(!self.is_twin(), "a task without twins in a plan for one");
        }
        match self.token {
            Token::Scalar(simd) => simd.call(task),
            Token::Emulated(emulated) => emulated.dispatch(task),
            _ => self.dispatch_native::<T, Whole>(task),
        }
    }

    #[inline(always)]
    fn dispatch_native<K: SimdTask, T: Twin>(self, task: K) -> K::Output {
        match self.token {
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(simd) => simd.enter::<K, T>(task),
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(simd) => simd.enter::<K, T>(task),
            #[cfg(target_arch = "aarch64")]
            Token::Neon(simd) => simd.enter::<K, T>(task),
            Token::Scalar(_) | Token::Emulated(_) => unreachable!("not the CPU's vectors"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shape;
    impl SimdTask for Shape {
        type Output = (usize, usize);
        #[inline(always)]
        fn run<S: KernelSimd>(self, _: S) -> (usize, usize) {
            (S::F32_LANES, S::REGISTER_COUNT)
        }
    }

    #[test]
    fn a_token_runs_its_own_width() {
        for isa in Isa::ALL {
            if let Some(token) = isa.detect() {
                assert_eq!(token.isa(), isa);
                let shape = (isa.lanes(), isa.registers());
                assert_eq!(token.dispatch(Shape), shape, "{isa}");
            }
        }
    }

    /// A task of a rare layer.
    struct Rare;
    impl SimdTask for Rare {
        type Output = ();
        const TWINS: bool = false;
        #[inline(always)]
        fn run<S: KernelSimd>(self, _: S) {}
    }

    #[test]
    fn a_task_without_twins_runs_whole_or_not_at_all() {
        for isa in Isa::ALL {
            let Some(token) = isa.detect() else { continue };
            token.dispatch(Rare);
            // Builds without the feature `ablation` have no twins.
            for twin in Ablation::ALL
                .into_iter()
                .filter_map(|part| token.without(part))
            {
                let run = std::panic::catch_unwind(|| twin.dispatch(Rare));
                let panic = run.expect_err("no twin");
                assert_eq!(
                    panic.downcast_ref(),
                    Some(&"a task without twins in a plan for one")
                );
            }
        }
    }

    #[test]
    fn names_parse_back() {
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse(), Ok(isa));
        }
        assert!("sse9".parse::<Isa>().unwrap_err().contains("avx512"));
    }
}
