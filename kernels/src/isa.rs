//! Instruction sets: the only file that asks for CPU features.
//!
//! An [`IsaToken`] can only be made on a CPU that has the feature. So a token proves that code for its instruction set
//! may run. Kernels are written once as a [`SimdTask`] over [`KernelSimd`]. [`IsaToken::dispatch`] instantiates them
//! for each width.
//!
//! Some instruction sets extend another one, their *base*, by dot products of narrow elements. A task states the sets that it
//! is compiled for ([`SimdTask::SETS`]). By default these are bases, whose code `dispatch` also runs on their extensions. So
//! f32 kernels are compiled for [`Isa::F32`] alone.
//!
//! **Inlining.** `dispatch` enters a function that is compiled with the instruction set enabled. A function that is not
//! inlined there is compiled for the baseline CPU, and is far slower. So every helper of a task is `#[inline(always)]`.
//! Threads stay outside: a closure that `dispatch` passes to a thread pool would lose the features.

use crate::arch::KernelSimd;
pub use crate::arch::ablation::Ablation;
use crate::arch::ablation::{WithArithOnly, WithLoadsOnly};
#[cfg(target_arch = "x86_64")]
use crate::arch::{Avx512Bf16, Avx512Vnni, AvxVnni};
#[cfg(target_arch = "aarch64")]
use crate::arch::{NeonBf16, NeonDot, NeonI8mm};
pub use crate::arch::{Sets, SimdTask, Words};
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
    /// AVX2 with AVX-VNNI: dot products of bytes and of 16-bit integers.
    AvxVnni,
    /// x86-64 AVX-512 (F, BW, DQ, VL, CD): 16 lanes of f32, 32 registers.
    Avx512,
    /// AVX-512 with VNNI: dot products of bytes and of 16-bit integers.
    Avx512Vnni,
    /// AVX-512 with BF16: dot products of bf16.
    Avx512Bf16,
    /// aarch64 Advanced SIMD: 4 lanes of f32, 32 registers.
    Neon,
    /// NEON with FEAT_DotProd: dot products of signed bytes.
    NeonDot,
    /// NEON with FEAT_I8MM: dot products of unsigned and signed bytes.
    NeonI8mm,
    /// NEON with FEAT_BF16: dot products of bf16.
    NeonBf16,
    /// Four emulated lanes, for tests on any CPU.
    Emu128,
    /// Eight emulated lanes, for tests on any CPU.
    Emu256,
    /// Sixteen emulated lanes, for tests on any CPU.
    Emu512,
}

impl Isa {
    /// Every instruction set, real ones first.
    pub const ALL: [Isa; 13] = [
        Isa::Scalar,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512,
        Isa::Avx512Vnni,
        Isa::Avx512Bf16,
        Isa::Neon,
        Isa::NeonDot,
        Isa::NeonI8mm,
        Isa::NeonBf16,
        Isa::Emu128,
        Isa::Emu256,
        Isa::Emu512,
    ];

    /// The instruction sets of real machines, which `list` shows.
    pub const REAL: [Isa; 10] = *Isa::ALL.first_chunk().expect("real ones first");

    /// The instruction sets that f32 kernels are compiled for: those that are their own base.
    pub const F32: [Isa; 7] = [
        Isa::Scalar,
        Isa::Avx2,
        Isa::Avx512,
        Isa::Neon,
        Isa::Emu128,
        Isa::Emu256,
        Isa::Emu512,
    ];

    /// Those of [`Isa::F32`] that real machines have. Each has a peak of f32 arithmetic.
    pub const REAL_F32: [Isa; 4] = *Isa::F32.first_chunk().expect("real ones first");

    /// The name used in variant ids.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512vnni",
            Isa::Avx512Bf16 => "avx512bf16",
            Isa::Neon => "neon",
            Isa::NeonDot => "neondot",
            Isa::NeonI8mm => "neoni8mm",
            Isa::NeonBf16 => "neonbf16",
            Isa::Emu128 => "emu128",
            Isa::Emu256 => "emu256",
            Isa::Emu512 => "emu512",
        }
    }

    /// Instruction set whose f32 code and f32 peak are also those of this one: itself, unless it extends another.
    pub const fn base(self) -> Isa {
        match self {
            Isa::AvxVnni => Isa::Avx2,
            Isa::Avx512Vnni | Isa::Avx512Bf16 => Isa::Avx512,
            Isa::NeonDot | Isa::NeonI8mm | Isa::NeonBf16 => Isa::Neon,
            base => base,
        }
    }

    /// True if the instruction set has dot products of these words. Of emulated vectors, 128 bits stand for CPUs with dot
    /// products of bytes, 256 bits for CPUs that have all, and 512 bits for CPUs that have none.
    ///
    /// Those of AVX2 and AVX-512 themselves take three instructions and saturate at 16 bits, so they serve [`Words::U8S7`].
    pub const fn has_dots(self, words: Words) -> bool {
        match self {
            Isa::AvxVnni | Isa::Avx512Vnni => {
                matches!(words, Words::Bytes | Words::S16)
            }
            Isa::NeonDot | Isa::NeonI8mm => matches!(words, Words::Bytes),
            Isa::Avx512Bf16 | Isa::NeonBf16 => matches!(words, Words::Bf16),
            Isa::Avx2 | Isa::Avx512 => matches!(words, Words::U8S7),
            Isa::Scalar | Isa::Neon | Isa::Emu512 => false,
            Isa::Emu128 => matches!(words, Words::Bytes),
            Isa::Emu256 => !matches!(words, Words::F32 | Words::U8S7),
        }
    }

    /// True if products of bytes ([`Words::Bytes`]) have signed sources. Otherwise these are unsigned: `vpdpbusd` of x86 and
    /// `usdot` of AArch64 take them so, and `sdot` takes signed ones.
    ///
    /// Sources of the other sign are flipped when they are copied, by 128.
    pub const fn signed_sources(self) -> bool {
        matches!(self, Isa::NeonDot | Isa::Emu128)
    }

    /// Lanes of f32 in one register.
    pub const fn lanes(self) -> usize {
        match self.base() {
            Isa::Neon | Isa::Emu128 => 4,
            Isa::Avx2 | Isa::Emu256 => 8,
            Isa::Avx512 | Isa::Emu512 => 16,
            _ => 1,
        }
    }

    /// Vector registers, as pulp counts them. For emulated widths pulp's count is arbitrary.
    pub const fn registers(self) -> usize {
        match self.base() {
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
            Isa::AvxVnni => Token::AvxVnni(AvxVnni::try_new()?),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Token::Avx512(pulp::x86::V4::try_new()?),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => Token::Avx512Vnni(Avx512Vnni::try_new()?),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => Token::Avx512Bf16(Avx512Bf16::try_new()?),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Token::Neon(pulp::aarch64::Neon::try_new()?),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot => Token::NeonDot(NeonDot::try_new()?),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm => Token::NeonI8mm(NeonI8mm::try_new()?),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonBf16 => Token::NeonBf16(NeonBf16::try_new()?),
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
        match self.base() {
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

    /// The widest instruction set of this CPU for f32 kernels.
    pub fn best() -> IsaToken {
        let best = Isa::REAL_F32
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
    AvxVnni(AvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Avx512Bf16),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
    #[cfg(target_arch = "aarch64")]
    NeonDot(NeonDot),
    #[cfg(target_arch = "aarch64")]
    NeonI8mm(NeonI8mm),
    #[cfg(target_arch = "aarch64")]
    NeonBf16(NeonBf16),
    Emulated(Emulated),
}

/// Emulated vectors, for debug builds only (`build.rs`).
#[cfg(emulated)]
mod emulated {
    use super::{Isa, SimdTask, has_code_for, not_compiled};
    use crate::arch::KernelSimd;
    use crate::arch::emulated::Emulation;
    use pulp::{Scalar128b, Scalar256b, Scalar512b};

    #[derive(Clone, Copy, Debug)]
    pub(super) enum Emulated {
        Emu128(Emulation<Scalar128b>),
        Emu256(Emulation<Scalar256b>),
        Emu512(Emulation<Scalar512b>),
    }

    impl Emulated {
        pub(super) fn detect(isa: Isa) -> Option<Self> {
            match isa {
                Isa::Emu128 => Some(Emulated::Emu128(Emulation(Scalar128b))),
                Isa::Emu256 => Some(Emulated::Emu256(Emulation(Scalar256b))),
                Isa::Emu512 => Some(Emulated::Emu512(Emulation(Scalar512b))),
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
                Emulated::Emu128(simd) if const { has_code_for(Isa::Emu128, T::SETS) } => {
                    simd.call(task)
                }
                Emulated::Emu256(simd) if const { has_code_for(Isa::Emu256, T::SETS) } => {
                    simd.call(task)
                }
                Emulated::Emu512(simd) if const { has_code_for(Isa::Emu512, T::SETS) } => {
                    simd.call(task)
                }
                _ => not_compiled(self.isa(), T::SETS),
            }
        }
    }
}

#[cfg(not(emulated))]
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

/// True if kernels have twins in this build.
const TWINS: bool = cfg!(feature = "ablation");

impl IsaToken {
    /// The instruction set that this token proves.
    pub fn isa(self) -> Isa {
        match self.token {
            Token::Scalar(_) => Isa::Scalar,
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            Token::AvxVnni(_) => Isa::AvxVnni,
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => Isa::Avx512,
            #[cfg(target_arch = "x86_64")]
            Token::Avx512Vnni(_) => Isa::Avx512Vnni,
            #[cfg(target_arch = "x86_64")]
            Token::Avx512Bf16(_) => Isa::Avx512Bf16,
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => Isa::Neon,
            #[cfg(target_arch = "aarch64")]
            Token::NeonDot(_) => Isa::NeonDot,
            #[cfg(target_arch = "aarch64")]
            Token::NeonI8mm(_) => Isa::NeonI8mm,
            #[cfg(target_arch = "aarch64")]
            Token::NeonBf16(_) => Isa::NeonBf16,
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

    /// Runs `task` compiled for this instruction set, or for its base ([`SimdTask::SETS`]).
    ///
    /// It is a function call that the compiler can't inline, so call it once per coarse piece of work.
    ///
    /// # Panics
    /// If the token is for a twin and the task has none ([`SimdTask::TWINS`]). The algorithms of such tasks refuse plans
    /// for twins by [`Target::without_twins`](crate::plan::Target::without_twins).
    ///
    /// If the task isn't compiled for the set ([`Sets::Only`]). Algorithms plan no such task.
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
            Token::Scalar(simd) if const { has_code_for(Isa::Scalar, T::SETS) } => simd.call(task),
            Token::Emulated(emulated) => emulated.dispatch(task),
            _ => self.dispatch_native::<T, Whole>(task),
        }
    }

    #[inline(always)]
    fn dispatch_native<K: SimdTask, T: Twin>(self, task: K) -> K::Output {
        /// Enters an instruction set for which the task is compiled.
        macro_rules! enter {
            ($isa:expr, $simd:expr) => {
                if const { has_code_for($isa, K::SETS) } {
                    return $simd.enter::<K, T>(task);
                }
            };
        }
        /// Enters an instruction set that extends another one, or its base.
        macro_rules! extension {
            ($isa:expr, $simd:ident) => {
                if const { has_code_for($isa, K::SETS) } {
                    return $simd.enter::<K, T>(task);
                } else {
                    enter!($isa.base(), $simd.base())
                }
            };
        }
        match self.token {
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(simd) => enter!(Isa::Avx2, simd),
            #[cfg(target_arch = "x86_64")]
            Token::AvxVnni(simd) => extension!(Isa::AvxVnni, simd),
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(simd) => enter!(Isa::Avx512, simd),
            #[cfg(target_arch = "x86_64")]
            Token::Avx512Vnni(simd) => extension!(Isa::Avx512Vnni, simd),
            #[cfg(target_arch = "x86_64")]
            Token::Avx512Bf16(simd) => extension!(Isa::Avx512Bf16, simd),
            #[cfg(target_arch = "aarch64")]
            Token::Neon(simd) => enter!(Isa::Neon, simd),
            #[cfg(target_arch = "aarch64")]
            Token::NeonDot(simd) => extension!(Isa::NeonDot, simd),
            #[cfg(target_arch = "aarch64")]
            Token::NeonI8mm(simd) => extension!(Isa::NeonI8mm, simd),
            #[cfg(target_arch = "aarch64")]
            Token::NeonBf16(simd) => extension!(Isa::NeonBf16, simd),
            Token::Scalar(_) | Token::Emulated(_) => {}
        }
        not_compiled(self.isa(), K::SETS)
    }
}

/// True if a task is compiled for an instruction set.
pub(crate) const fn has_code_for(isa: Isa, sets: Sets) -> bool {
    let is_base = isa.base() as u8 == isa as u8;
    match sets {
        Sets::Bases => is_base,
        Sets::With(words) => is_base || isa.has_dots(words),
        Sets::Without(words) => is_base && !isa.has_dots(words),
        Sets::Only(words) => isa.has_dots(words),
    }
}

#[cold]
fn not_compiled(isa: Isa, sets: Sets) -> ! {
    panic!("a task for {sets:?} on {isa}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lanes, registers, the sign of sources, and the type of the instruction set that a task is compiled for.
    struct Shape<const WORDS: usize, const ONLY: bool>;
    impl<const WORDS: usize, const ONLY: bool> SimdTask for Shape<WORDS, ONLY> {
        type Output = ([usize; 2], bool, &'static str);
        const SETS: Sets = match (Words::ALL[WORDS], ONLY) {
            (Words::F32, _) => Sets::Bases,
            (words, true) => Sets::Only(words),
            (words, false) => Sets::With(words),
        };
        #[inline(always)]
        fn run<S: KernelSimd>(self, _: S) -> Self::Output {
            // Without the path, also of the vectors inside of an emulation.
            let name = std::any::type_name::<S>().rsplit("::").next();
            let name = name.expect("a name").trim_end_matches('>');
            ([S::F32_LANES, S::REGISTER_COUNT], S::SIGNED_SOURCES, name)
        }
    }

    /// Type of an instruction set.
    fn simd(isa: Isa) -> &'static str {
        match isa {
            Isa::Scalar => "Scalar",
            Isa::Avx2 => "V3",
            Isa::AvxVnni => "AvxVnni",
            Isa::Avx512 => "V4",
            Isa::Avx512Vnni => "Avx512Vnni",
            Isa::Avx512Bf16 => "Avx512Bf16",
            Isa::Neon => "Neon",
            Isa::NeonDot => "NeonDot",
            Isa::NeonI8mm => "NeonI8mm",
            Isa::NeonBf16 => "NeonBf16",
            Isa::Emu128 => "Scalar128b",
            Isa::Emu256 => "Scalar256b",
            Isa::Emu512 => "Scalar512b",
        }
    }

    fn detected() -> impl Iterator<Item = (Isa, IsaToken)> {
        let token = |isa: Isa| Some((isa, isa.detect()?));
        Isa::ALL.into_iter().filter_map(token)
    }

    fn runs_its_own_code<const WORDS: usize>() {
        let words = Words::ALL[WORDS];
        for (isa, token) in detected() {
            assert_eq!(token.isa(), isa);
            let own = if isa.has_dots(words) { isa } else { isa.base() };
            let wanted = (
                [isa.lanes(), isa.registers()],
                own.signed_sources(),
                simd(own),
            );
            assert_eq!(
                token.dispatch(Shape::<WORDS, false>),
                wanted,
                "{isa} {words:?}"
            );
            let only = std::panic::catch_unwind(|| token.dispatch(Shape::<WORDS, true>));
            match isa.has_dots(words) || words == Words::F32 {
                true => assert_eq!(only.expect("its own code"), wanted),
                false => assert!(only.is_err(), "{isa} {words:?}"),
            }
        }
    }

    #[test]
    fn a_token_runs_its_own_width_and_its_own_dot_products() {
        runs_its_own_code::<0>();
        runs_its_own_code::<1>();
        runs_its_own_code::<2>();
        runs_its_own_code::<3>();
        runs_its_own_code::<4>();
    }

    #[test]
    fn an_extension_is_as_wide_as_its_base_and_has_dot_products() {
        for isa in Isa::ALL {
            let base = isa.base();
            assert_eq!(base.base(), base);
            assert_eq!(isa.lanes(), base.lanes(), "{isa}");
            assert_eq!(isa.registers(), base.registers(), "{isa}");
            assert_eq!(isa.is_emulated(), base.is_emulated());
            let exact = |words: &Words| *words != Words::U8S7;
            let mut words = Words::ALL.into_iter().filter(exact);
            let has_dots = words.any(|words| isa.has_dots(words));
            let emulated = matches!(isa, Isa::Emu128 | Isa::Emu256);
            assert_eq!(has_dots, isa != base || emulated, "{isa}");
            // Products that saturate at 16 bits have unsigned sources.
            assert!(!isa.signed_sources() || !isa.has_dots(Words::U8S7));
            assert!(!isa.has_dots(Words::F32));
            assert_eq!(Isa::F32.contains(&isa), isa == base);
            assert_eq!(Isa::REAL.contains(&isa), !isa.is_emulated());
            let real_base = isa == base && !isa.is_emulated();
            assert_eq!(Isa::REAL_F32.contains(&isa), real_base);
            if isa.detect().is_some() {
                assert!(base.detect().is_some(), "{isa} without {base}");
            }
        }
        assert!(Isa::F32.contains(&Isa::best().isa()));
    }

    #[test]
    fn required_sets_are_here() {
        for isa in crate::conformance::required_isas().expect("names") {
            assert!(isa.detect().is_some(), "{}", isa.missing_reason());
        }
    }

    #[test]
    fn a_missing_set_has_a_reason() {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.detect().is_none()) {
            let reason = isa.missing_reason();
            assert!(reason.contains(isa.name()), "{reason}");
            let of = |arch: &str| reason.contains(&format!("is an {arch} instruction set"));
            let here = std::env::consts::ARCH;
            let there = match isa.base() {
                Isa::Avx2 | Isa::Avx512 => Some("x86-64"),
                Isa::Neon => Some("aarch64"),
                _ => None,
            };
            let foreign = there.filter(|there| there.replace('-', "_") != here);
            assert_eq!(foreign.is_some_and(of), foreign.is_some(), "{reason}");
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
        for (_, token) in detected() {
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
