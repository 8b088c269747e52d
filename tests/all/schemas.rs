//! Tests of rows as data: those of each subcommand fit its schema in `results/schema/rows`, and CSV has the same keys.

use crate::command::{bench, convroof, folder, json_lines};
use serde_json::Value;
use std::path::Path;

const PROBLEM: &str = "mb1ic16ih8oc16oh8kh3ph1";
const BYTES: &str = "--dt=u8:s8:u8 mb1ic16ih8oc16oh8kh3ph1";
const VARIANT: [&str; 2] = ["--variant", "direct/scalar/*"];

/// The schema of a subcommand's rows, without keys beyond those that it names: a new key belongs into it.
fn schema(name: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root
        .join("results/schema/rows")
        .join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).expect("a schema");
    let mut schema = serde_json::from_str(&text).expect("JSON");
    close(&mut schema);
    schema
}

/// Forbids other keys in all objects.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.contains_key("required") && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".into(), false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Asserts that the rows fit the schema `name`, and that rows without a required key, or with a wrong one, don't.
fn fit(name: &str, rows: &[Value]) {
    assert!(!rows.is_empty(), "{name}");
    let schema = schema(name);
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for row in rows {
        let errors: Vec<String> = validator
            .iter_errors(row)
            .map(|e| format!("{e} at {}", e.instance_path()))
            .collect();
        assert_eq!(errors, Vec::<String>::new(), "{name}: {row}");
    }
    let first = &rows[0];
    for key in schema["required"].as_array().into_iter().flatten() {
        let key = key.as_str().expect("a key");
        let mut lacking = first.clone();
        lacking.as_object_mut().expect("an object").remove(key);
        assert!(!validator.is_valid(&lacking), "{name} without {key}");
    }
    let mut wrong = first.clone();
    wrong["no key of ours"] = "x".into();
    assert!(!validator.is_valid(&wrong), "{name} with another key");
}

/// The rows of a successful call with `--json`.
fn rows(args: &[&str]) -> Vec<Value> {
    let dir = folder();
    let mut command = convroof();
    command.current_dir(dir.path()).args(args).arg("--json");
    json_lines(&command.assert().success().get_output().stdout)
}

#[test]
fn lists_and_checks() {
    fit("list", &rows(&["list", "nin"]));
    fit("layers", &rows(&["list", "nin", "--layers"]));
    fit(
        "layers",
        &rows(&["list", "nin", "--layers", "--dt", "bf16,u8"]),
    );
    let check = ["check", "--small"].into_iter().chain(VARIANT);
    fit("check", &rows(&check.collect::<Vec<_>>()));
    let counts = rows(&["counts", "--problem", PROBLEM, "--problem", BYTES]);
    fit("counts", &counts);
    assert!(
        ["f32", "u8"]
            .iter()
            .all(|dt| counts.iter().any(|row| row["dt"] == *dt))
    );
}

#[test]
fn records() {
    let dir = folder();
    let (a, b) = (dir.path().join("a.json"), dir.path().join("b.json"));
    let out = bench(&a).arg("--json").assert().success();
    let benched = json_lines(&out.get_output().stdout);
    fit("bench", &benched);
    let name = a.to_str().expect("UTF-8");
    let history = dir.path().join("history");
    let history = history.to_str().expect("UTF-8");
    assert_eq!(rows(&["report", name]), benched);
    fit("track", &rows(&["track", name, "--history", history]));
    // Rows of three kinds: ratios, measurements of one record, interrupted records.
    let text = std::fs::read_to_string(&a).expect("read");
    let text = text.replace("winograd-f2x3/", "winograd-f4x3/");
    let mut run: Value = serde_json::from_str(&text).expect("JSON");
    run["complete"] = false.into();
    std::fs::write(&b, run.to_string()).expect("written");
    let b = b.to_str().expect("UTF-8");
    let compared = rows(&["compare", name, b, "--threshold", "900", "--allow-missing"]);
    fit("compare", &compared);
    assert_eq!(compared[0]["dt"], "f32");
    for key in ["ratio", "only_in", "interrupted"] {
        assert!(compared.iter().any(|row| row.get(key).is_some()), "{key}");
    }
}

#[test]
fn runs() {
    let run = [
        "run",
        PROBLEM,
        "--threads",
        "1",
        "--budget",
        "0.5",
        "--cache",
        "warm",
    ];
    let run = run.into_iter().chain(VARIANT);
    fit("bench", &rows(&run.collect::<Vec<_>>()));
}

#[test]
fn calibrations() {
    let all = rows(&["calibrate", "--threads", "1"]);
    fit("calibrate", &all);
    let types: Vec<_> = all.iter().filter_map(|row| row.get("dt")).collect();
    assert!(
        types.contains(&&"bf16".into()) && types.contains(&&"u8".into()),
        "{types:?}"
    );
}

#[test]
fn networks() {
    let net = rows(&["net", "lenet5", "--threads", "1", "--budget", "0.1"]);
    fit("net", &net);
    let tune = [
        "tune",
        "lenet5",
        "--threads",
        "1",
        "--variant",
        "*/scalar/*",
    ];
    fit("tune", &rows(&tune));
}

#[test]
fn claims_and_ranks() {
    fit("claims", &rows(&["claims", "11", "--budget", "0.5"]));
    fit(
        "lowrank",
        &rows(&[
            "lowrank",
            "--problem",
            PROBLEM,
            "--ranks",
            "2",
            "--budget",
            "0.5",
        ]),
    );
}

/// Linux shows the instruction pointers of a child process.
#[cfg(target_os = "linux")]
#[test]
fn one_variant_watched() {
    for (variant, problem, dt) in [
        ("direct/scalar/st", PROBLEM, "f32"),
        ("implicit-gemm/scalar/st", BYTES, "u8"),
    ] {
        let asm = rows(&["asm", variant, problem]);
        fit("asm", &asm);
        assert_eq!(asm[0]["dt"], dt);
        let mut watch = convroof();
        watch.args(["watch", variant, problem, "--seconds", "1", "--json"]);
        let out = watch.assert().success();
        let watched = json_lines(&out.get_output().stdout);
        fit("watch", &watched);
        assert_eq!(watched[0]["dt"], dt);
    }
}

/// The program against itself, which may raise a false alarm: its rows count here, not its exit code.
#[test]
fn comparisons_of_builds() {
    let program = assert_cmd::cargo::cargo_bin!("convroof");
    let mut command = convroof();
    command.arg("ab").args([program, program]);
    command.args(["--problem", PROBLEM, "--dt", "f32,u8"]);
    command.args(["--variant", "direct/scalar/st,implicit-gemm/scalar/st"]);
    let output = command.args(["--budget", "5", "--json"]).output();
    let mut rows = json_lines(&output.expect("run").stdout);
    let of_bytes = |row: &&Value| {
        row["problem"]
            .as_str()
            .is_some_and(|p| p.starts_with("--dt=u8"))
    };
    assert_eq!(rows.iter().filter(of_bytes).count(), 1, "{rows:?}");
    // A pair that doesn't fit into the budget.
    rows.push(serde_json::json!({
        "problem": "mb1ic16ih8oc16kh3ph1",
        "variant": "direct/scalar/st",
        "threads": 1,
        "outcome": "not-measured",
    }));
    fit("ab", &rows);
}

#[test]
fn csv_has_the_keys_of_json() {
    let dir = folder();
    for args in [&["list", "nin"][..], &["list", "nin", "--layers"]] {
        let json = rows(args);
        let mut command = convroof();
        command.current_dir(dir.path()).args(args).arg("--csv");
        let out = command.assert().success();
        let mut table = csv::Reader::from_reader(&out.get_output().stdout[..]);
        let head = table.headers().expect("a head").clone();
        let lines: Vec<csv::StringRecord> = table.records().map(|r| r.expect("a row")).collect();
        assert_eq!(lines.len(), json.len());
        for (line, row) in lines.iter().zip(&json) {
            for (key, cell) in head.iter().zip(line) {
                let same = match row.get(key) {
                    None | Some(Value::Null) => cell.is_empty(),
                    Some(Value::String(text)) => cell == text,
                    Some(value) => serde_json::from_str::<Value>(cell).ok().as_ref() == Some(value),
                };
                assert!(same, "{key}: {cell} of {row}");
            }
            for key in row.as_object().expect("an object").keys() {
                assert!(head.iter().any(|own| own == key), "{key}");
            }
        }
    }
}
