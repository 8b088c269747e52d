//! Tests of `convroof asm` and `convroof watch`: hot loops of kernels whose machine code is known, and steady loops.

use crate::command::{convroof, json_lines};
use convroof_kernels::Isa;
use predicates::prelude::*;
use serde_json::Value;

const CONV: &str = "mb1ic64ih14oc64oh14kh3ph1";
const POOL: &str = "--pool --alg=max mb1ic64ih28oh14kh2sh2";
const FC: &str = "--ip mb1ic1024oc256";
const BYTES: &str = "--dt=u8:s8:u8 --attr-scales=wei:per_oc mb1ic64ih14oc64oh14kh3ph1";
const BF16: &str = "--dt=bf16:bf16:bf16 mb1ic64ih14oc64oh14kh3ph1";

/// True if the hot loops of AVX2 kernels can be shown here. Otherwise it says why the caller skips its test.
fn shows_avx2() -> bool {
    let shows = cfg!(all(target_os = "linux", target_arch = "x86_64"));
    let why = match Isa::Avx2.detect() {
        Some(_) if shows => return true,
        Some(_) => "this is not Linux".into(),
        None => Isa::Avx2.missing_reason(),
    };
    eprintln!("skipped: {why}");
    false
}

fn asm(variant: &str, problem: &str) -> Value {
    // Long enough for some hundred samples on a busy machine.
    let out = convroof()
        .args(["asm", variant, problem, "--seconds", "3", "--json"])
        .assert()
        .success();
    let [row] = &json_lines(&out.get_output().stdout)[..] else {
        panic!("one object")
    };
    assert_eq!(row["verified"], true, "{row}");
    row.clone()
}

/// The hot loop, after checks that hold for each kernel.
fn hot_loop(row: &Value) -> &Value {
    let hot = &row["hot_loop"];
    assert_eq!(hot["is_loop"], true, "{row}");
    let (samples, all) = (&hot["samples"], &row["samples"]);
    let share = samples.as_f64().expect("a count") / all.as_f64().expect("a count");
    assert!((hot["share"].as_f64().expect("a share") - share).abs() < 1e-9);
    let code = hot["code"].as_array().expect("instructions");
    assert_eq!(hot["instructions"], code.len(), "{row}");
    let at = code.iter().map(|i| i["samples"].as_u64().expect("a count"));
    assert!(at.sum::<u64>() >= samples.as_u64().expect("a count"));
    let last = code.last().expect("instructions")["text"].as_str();
    assert!(
        last.expect("text").starts_with('j'),
        "a jump ends it: {row}"
    );
    hot
}

fn count(hot: &Value, key: &str) -> u64 {
    hot[key].as_u64().unwrap_or_else(|| panic!("{key}: {hot}"))
}

#[test]
fn a_convolution_multiplies_and_adds_in_registers() {
    if !shows_avx2() {
        return;
    }
    let row = asm("direct/avx2/st", CONV);
    let hot = hot_loop(&row);
    let fmas = count(hot, "fmas");
    assert!(fmas >= 8, "{hot}");
    assert!(
        2 * fmas > count(hot, "loads"),
        "each load serves several FMAs: {hot}"
    );
    assert_eq!(count(hot, "spills"), 0, "{hot}");
    assert_eq!(count(hot, "stores"), 0, "{hot}");
    let name = row["functions"][0]["name"].as_str().expect("a name");
    assert!(name.ends_with("Enter>::avx2"), "{name}");
    assert_eq!(hot["function"], name);
}

#[test]
fn a_maximum_pooling_has_no_fma() {
    if !shows_avx2() {
        return;
    }
    let row = asm("maxpool/avx2/st", POOL);
    let hot = hot_loop(&row);
    assert_eq!(count(hot, "fmas"), 0, "{hot}");
    assert!(count(hot, "other_arithmetic") > 0, "{hot}");
    assert_eq!(hot["fmas_per_instruction"], 0.0, "{hot}");
}

#[test]
fn a_fully_connected_layer_loads_each_weight() {
    if !shows_avx2() {
        return;
    }
    let row = asm("fc/avx2/st", FC);
    let hot = hot_loop(&row);
    assert!(count(hot, "fmas") > 0, "{hot}");
    assert!(count(hot, "loads") >= count(hot, "fmas"), "{hot}");
}

/// The tiles of all instruction sets for bytes and bf16 that this CPU has.
#[test]
fn dot_products_are_counted() {
    if !shows_avx2() {
        return;
    }
    for (isa, problem, instruction) in [
        (Isa::Avx2, BYTES, "vpmaddwd"),
        (Isa::AvxVnni, BYTES, "vpdpbusd"),
        (Isa::Avx512Vnni, BYTES, "vpdpbusd"),
        (Isa::Avx512Bf16, BF16, "vdpbf16ps"),
    ] {
        if isa.detect().is_none() {
            eprintln!("skipped: {}", isa.missing_reason());
            continue;
        }
        let row = asm(&format!("implicit-gemm/{isa}/st"), problem);
        let hot = hot_loop(&row);
        let code = hot["code"].as_array().expect("instructions");
        let own = |i: &&Value| i["text"].as_str().is_some_and(|t| t.contains(instruction));
        let products = code.iter().filter(own).count() as u64;
        assert!(products >= 4, "{hot}");
        assert!(count(hot, "fmas") >= products, "{hot}");
        assert_ne!(row["dt"], "f32");
    }
}

#[test]
fn all_threads_are_sampled() {
    if !shows_avx2() {
        return;
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("skipped: this machine has one core");
        return;
    }
    let row = asm("direct/avx2/mt", CONV);
    assert!(row["threads"].as_u64() >= Some(2), "{row}");
    assert!(count(hot_loop(&row), "fmas") > 0, "{row}");
}

#[test]
fn asm_prints_the_loop_with_its_counts() {
    if !shows_avx2() {
        return;
    }
    let mut command = convroof();
    command.args(["asm", "direct/avx2/st", CONV, "--seconds", "0.3"]);
    let out = command.assert().success();
    let text = String::from_utf8_lossy(&out.get_output().stdout).into_owned();
    for part in [
        "The output is right",
        "vfmadd",
        "hottest loop",
        "(spills)",
        "FMAs: 0.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Rows of a call of `convroof watch`.
fn watch(args: &[&str]) -> Vec<Value> {
    let mut command = convroof();
    command.arg("watch").args(args).arg("--json");
    json_lines(&command.assert().success().get_output().stdout)
}

#[test]
fn a_watched_kernel_has_a_rate_and_is_right() {
    for state in ["warm", "weights-cold", "cold"] {
        let rows = watch(&["direct/scalar/st", CONV, "--seconds", "1", "--cache", state]);
        let [start, periods @ .., end] = &rows[..] else {
            panic!("{rows:?}")
        };
        assert_eq!(
            (&start["is"], &start["cache"]),
            (&"start".into(), &state.into())
        );
        let pid = start["pid"].as_u64().expect("a number").to_string();
        let attach = start["attach"].as_array().expect("commands");
        let names_it = |command: &Value| command.as_str().is_some_and(|c| c.contains(&pid));
        assert!(!attach.is_empty() && attach.iter().all(names_it), "{start}");
        if cfg!(target_os = "linux") {
            let functions = start["functions"].as_array().expect("functions");
            assert!(!functions.is_empty(), "{start}");
        }
        assert!(!periods.is_empty(), "{rows:?}");
        for period in periods {
            for key in ["runs", "mean_ns", "gflops_nominal", "fraction_of_peak"] {
                assert!(period[key].as_f64() > Some(0.0), "{key}: {period}");
            }
        }
        assert_eq!(
            (&end["is"], &end["verified"]),
            (&"end".into(), &true.into())
        );
        assert!(
            end["error_max"].as_f64() <= end["tolerance"].as_f64(),
            "{end}"
        );
        assert!(end["seconds"].as_f64() >= Some(1.0), "{end}");
    }
}

#[test]
fn watch_prints_what_a_profiler_needs() {
    let mut command = convroof();
    command.args(["watch", "maxpool/scalar/st", POOL, "--seconds", "0.2"]);
    command.assert().success().stdout(
        predicate::str::contains("To attach a profiler")
            .and(predicate::str::contains("GFLOP/s"))
            .and(predicate::str::contains("The output is right")),
    );
}

/// Operations on bytes are no floating-point ones, and their results are exact.
#[test]
fn a_watched_kernel_of_bytes_is_exact() {
    let mut command = convroof();
    command.args([
        "watch",
        "implicit-gemm/scalar/st",
        BYTES,
        "--seconds",
        "0.2",
    ]);
    command.assert().success().stdout(
        predicate::str::contains("   GOP/s ")
            .and(predicate::str::contains("GFLOP/s").not())
            .and(predicate::str::contains(
                "The output is right: to the last bit.",
            )),
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_watch_still_verifies() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("convroof"));
    command.args(["watch", "direct/scalar/st", CONV]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("started");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let lines = out.by_ref().lines().map(|line| line.expect("text"));
    let period = lines.skip_while(|line| !line.contains("GFLOP/s")).nth(1);
    assert!(
        period.is_some_and(|line| line.contains(" s ")),
        "a line a second"
    );
    kill_process(Pid::from_child(&child), Signal::INT).expect("sent");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("text");
    assert!(rest.contains("The output is right"), "{rest}");
    assert_eq!(child.wait().expect("ended").code(), Some(128 + 2));
}

#[test]
fn a_watch_without_a_reader_ends() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("convroof"));
    command.args(["watch", "direct/scalar/st", CONV, "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("started");
    let out = child.stdout.take().expect("piped");
    let first = BufReader::new(out).lines().next();
    assert!(first.is_some_and(|line| line.is_ok()), "a line");
    // The pipe is closed: the next line ends the loop.
    assert!(child.wait().expect("ended").success());
}

#[test]
fn bad_input_is_refused_in_one_line() {
    for (args, reason) in [
        (&["asm", "direct/avx3/st", CONV][..], "avx3"),
        (&["watch", "direct/scalar/st", "mb1ic64"], "mb1ic64"),
        (&["asm", "maxpool/scalar/st", CONV], "can't do"),
        (
            &["watch", "direct/scalar/st", CONV, "--threads", "2"],
            "single-threaded",
        ),
        (
            &["watch", "direct/scalar/mt", CONV, "--threads", "0"],
            "--threads 0",
        ),
        (
            &["watch", "direct/scalar/mt", CONV, "--threads", "100000"],
            "--threads 100000",
        ),
        (
            &["watch", "direct/scalar/st", CONV, "--cache", "tepid"],
            "expected warm",
        ),
        (
            &[
                "watch",
                "maxpool/scalar/st",
                POOL,
                "--cache",
                "weights-cold",
            ],
            "--cache warm or cold",
        ),
    ] {
        let output = convroof().args(args).output().expect("run");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(
            error.contains(reason) && error.lines().count() == 1,
            "{args:?}: {error}"
        );
    }
}
