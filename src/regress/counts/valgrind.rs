//! Instructions and L1 accesses of kernels, simulated by valgrind's callgrind. They are exact even on a shared machine
//! or one without hardware counters.
//!
//! Valgrind doesn't support AVX-512 and hides it from the program, so only scalar code and AVX2 are counted. Counts
//! depend on the compiler: only tables of the same compiler are comparable.

use super::model::CACHES;
use super::table::Table;
use crate::record::Text;
use anyhow::{Context, Result, bail};
use convroof_kernels::conformance::Data;
use convroof_kernels::data::Fill;
use convroof_kernels::exec::Serial;
use convroof_kernels::instance::Instance;
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, PlanCx, Problem, Registry, Variant};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Small layers of each kind, with tails. Simulation is far slower than a run.
const PROBLEMS: [&str; 9] = [
    "mb1ic32ih14oc32oh14kh3ph1",
    "mb1ic3ih32oc32oh16kh3sh2ph1",
    "mb1ic64ih14oc64oh14kh1",
    "mb1ic32ih14oc32oh14kh5ph2",
    "mb1ic128ih1oc100oh1kh1",
    "--pool --alg=max mb1ic32ih15oh7kh3sh2",
    "--dt=u8:s8:u8 --attr-scales=src:common:0.02+wei:per_oc+dst:common:0.05 mb1ic32ih14oc32oh14kh3ph1",
    "--dt=s8:s8:s8 --attr-scales=wei:per_oc mb1ic30ih14oc64oh14kh1",
    "--dt=bf16:bf16:bf16 mb1ic32ih14oc32oh14kh3ph1",
];

/// Kernels to count, in order: single-threaded ones that support the problems.
fn kernels(registry: &Registry) -> Result<Vec<(Variant, Problem)>> {
    let mut kernels = Vec::new();
    for text in PROBLEMS {
        let problem: Problem = text.parse()?;
        for variant in registry.variants(&[Isa::Scalar, Isa::Avx2]) {
            if variant.threading == Threading::St && instance(&variant, &problem).is_some() {
                kernels.push((variant, problem));
            }
        }
    }
    Ok(kernels)
}

fn instance(variant: &Variant, problem: &Problem) -> Option<Instance> {
    let cx = PlanCx::new(variant.isa.detect()?, &CACHES);
    let plan = variant.algorithm.plan(problem, &cx).ok()?;
    Instance::new(plan).ok()
}

/// Code that runs under valgrind: each kernel once, between runs that aren't counted.
///
/// # Errors
/// Never: the problems are constants, and a test parses them.
pub fn run_all(registry: &Registry) -> Result<()> {
    for (variant, problem) in kernels(registry)? {
        let mut instance = instance(&variant, &problem).expect("just planned");
        let data = Data::new(&problem, Fill::Uniform, 1);
        instance.load(data.operands(), &Serial);
        instance.run(&Serial);
        counted_run(&mut instance);
    }
    Ok(())
}

/// Relative difference that counts as equal. How the C library clears and copies memory depends on the host's CPU, and
/// a few instructions on the position of the stack.
const SLACK: f64 = 1e-2;

/// Name of the counted function. Callgrind (3.19) doesn't accept patterns for dumps.
const COUNTED: &str = concat!(module_path!(), "::counted_run");

/// A separate function, so that valgrind counts exactly from its first to its last instruction.
#[inline(never)]
fn counted_run(instance: &mut Instance) {
    instance.run(&Serial);
    std::hint::black_box(instance);
}

/// Counts all kernels of this program. `folder` is for valgrind's files.
///
/// # Errors
/// When valgrind is missing, or it can't run this program.
pub fn count(registry: &Registry, folder: &Path) -> Result<Table> {
    let version = Command::new("valgrind").arg("--version").output();
    let version = version.context(
        "counting instructions needs valgrind, which can't be started: install it, or leave --valgrind out",
    )?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_string();
    let file = folder.join("callgrind");
    let mut out_file = std::ffi::OsString::from("--callgrind-out-file=");
    out_file.push(&file);
    let out = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--cache-sim=yes",
            "--collect-atstart=no",
        ])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--dump-after={COUNTED}"))
        // Fixed caches of 8, 8 and 16 ways with lines of 64 bytes, independent of the host.
        .arg(format!("--I1={},8,64", CACHES.l1d))
        .arg(format!("--D1={},8,64", CACHES.l1d))
        .arg(format!("--LL={},16,64", CACHES.l3))
        .arg(out_file)
        .arg(std::env::current_exe()?)
        .arg("count-runs")
        .output()
        .context("valgrind can't be started")?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        let said = said
            .lines()
            .find(|l| !l.starts_with("=="))
            .unwrap_or("it says nothing");
        bail!("valgrind fails ({}): {said}", out.status);
    }
    let mut rows = BTreeMap::new();
    for (i, (variant, problem)) in kernels(registry)?.iter().enumerate() {
        let part = file.with_extension(format!("{}", i + 1));
        let text = std::fs::read_to_string(&part);
        let text = text.with_context(|| format!("{version} wrote no {}", part.display()))?;
        let numbers = totals(&text).with_context(|| format!("{version}: no totals in its file"))?;
        let key = (Text::of(*problem), variant.id().into(), 1);
        rows.insert(key, numbers);
    }
    let rustc = option_env!("CONVROOF_RUSTC").unwrap_or("an unknown compiler");
    Ok(Table {
        conditions: format!(
            "instructions 1: {rustc}, {version}, {}",
            std::env::consts::ARCH
        ),
        columns: COLUMNS.map(String::from).into(),
        slack: SLACK,
        rows,
    })
}

const COLUMNS: [&str; 3] = ["instructions", "reads", "writes"];

/// Totals of a callgrind file. Cache misses aren't used: they depend on memory addresses, and so on the length of
/// environment variables.
fn totals(text: &str) -> Option<Vec<u64>> {
    let after = |word: &str| text.lines().find_map(|l| l.strip_prefix(word));
    let names: Vec<&str> = after("events:")?.split_whitespace().collect();
    let sums = after("totals:").or_else(|| after("summary:"))?;
    let sums: Option<Vec<u64>> = sums.split_whitespace().map(|n| n.parse().ok()).collect();
    let sums = sums?;
    // Callgrind omits trailing zeros.
    let of = |name: &str| {
        let at = names.iter().position(|n| *n == name)?;
        Some(sums.get(at).copied().unwrap_or(0))
    };
    Some(vec![of("Ir")?, of("Dr")?, of("Dw")?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use convroof_kernels::dtype::DType;

    #[test]
    fn kernels_of_each_kind_are_counted() {
        let kernels = kernels(&Registry::builtin()).expect("problems");
        for algorithm in [
            "direct",
            "im2col",
            "gemm-1x1",
            "winograd-f4x3",
            "fc",
            "maxpool",
        ] {
            let id = |v: &Variant| v.algorithm.meta().id;
            assert!(
                kernels.iter().any(|(v, _)| id(v) == algorithm),
                "{algorithm}"
            );
        }
        for dtype in [DType::U8, DType::S8, DType::Bf16] {
            let own = kernels.iter().filter(|(_, p)| p.dtypes.src == dtype);
            assert!(own.count() >= 2, "{dtype}");
        }
    }

    #[test]
    fn totals_are_read_by_name() {
        let text = "version: 1\nevents: Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw\nfn=x\n1 2\ntotals: 100 30 20 1 7 5 1 3\n";
        assert_eq!(totals(text), Some(vec![100, 30, 20]));
        assert_eq!(totals("nothing"), None);
    }
}
