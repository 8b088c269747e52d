//! Tests on descriptions of real machines, one file each in `tests/fixtures/sysfs`. The code that reads `/` reads them.

use super::*;
use crate::record::Throttling;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sysfs");
    let files = std::fs::read_dir(folder).expect("the fixtures");
    let files = files.map(|f| f.expect("a file").path());
    let mut files: Vec<_> = files
        .filter(|p| p.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    files
}

/// Makes the files of a fixture below a folder. Returns the expectations: pairs of name and value.
fn unfold(text: &str, root: &Path) -> Vec<(String, String)> {
    let mut expected = Vec::new();
    // A repeated path adds a line to its file.
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut add =
        |path: String, line: &str| *files.entry(path).or_default() += &format!("{line}\n");
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (path, value) = line.split_once(':').unwrap_or_else(|| panic!("'{line}'"));
        let value = value.strip_prefix(' ').unwrap_or(value);
        if let Some(name) = path.strip_prefix("= ") {
            expected.push((name.into(), value.into()));
            continue;
        }
        // `cpu{0-3}/file: {}` stands for four files, each with its number.
        let many = path.split_once('{').map(|(head, rest)| {
            let (list, tail) = rest.split_once('}').expect("a closing brace");
            (head, cpulist::parse(list).expect("a list"), tail)
        });
        match many {
            None => add(path.into(), value),
            Some((head, numbers, tail)) => numbers.into_iter().for_each(|n| {
                add(
                    format!("{head}{n}{tail}"),
                    &value.replace("{}", &n.to_string()),
                );
            }),
        }
    }
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, text).expect("written");
    }
    expected
}

/// A topology's value by the name that fixtures use; none if there is no such name.
fn said(topology: &Topology, root: &Path, name: &str) -> Option<String> {
    let words: Vec<&str> = name.split(' ').collect();
    let or_none = |text: Option<String>| text.unwrap_or("none".into());
    Some(match words[..] {
        ["cores"] => topology.list(),
        ["threads"] => topology.threads().to_string(),
        ["online"] => topology.online.to_string(),
        ["physical"] => topology.physical_cores().to_string(),
        ["sockets"] => or_none(topology.sockets.map(|n| n.to_string())),
        ["smt"] => or_none(topology.smt.map(|s| s.to_string())),
        ["quota"] => or_none(topology.quota.map(|q| q.to_string())),
        ["throttled"] => {
            let text = |t: Throttling| format!("{} {}", t.periods, t.us);
            or_none(cgroup::throttling(root).map(text))
        }
        ["share", level, threads] => {
            let (level, threads) = (level.parse().ok()?, threads.parse().ok()?);
            topology.share(level, threads).to_string()
        }
        _ => return None,
    })
}

#[test]
fn recorded_machines_are_understood() {
    let files = fixtures();
    assert!(files.len() >= 15, "{files:?}");
    for file in files {
        let name = file
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        let text = std::fs::read_to_string(&file).expect("a fixture");
        let expected = unfold(&text, root);
        let topology = Topology::below(root);
        for must in ["cores", "threads", "online"] {
            assert!(
                expected.iter().any(|(n, _)| n == must),
                "{name} lacks '= {must}'"
            );
        }
        for (what, value) in expected {
            let found = if let Some(list) = what.strip_prefix("refused ") {
                let error = Topology::on_below(root, list).expect_err(&what);
                let text = error.to_string();
                let prefix = format!("--cpus {list}: ");
                text.strip_prefix(&prefix).expect("a prefix").to_string()
            } else if let Some(rest) = what.strip_prefix("on ") {
                // `on LIST: cores ...` or `on LIST NAME: ...`.
                let (list, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let chosen = Topology::on_below(root, list);
                let chosen = chosen.unwrap_or_else(|e| panic!("{name}: {e}"));
                match rest {
                    "" => format!("cores {}", chosen.list()),
                    _ => said(&chosen, root, rest).unwrap_or_else(|| panic!("{name}: {what}?")),
                }
            } else {
                said(&topology, root, &what).unwrap_or_else(|| panic!("{name}: {what}?"))
            };
            assert_eq!(found, value, "{name}: {what}");
        }
    }
}

/// Fixtures are complete: missing properties aren't read from the host.
#[test]
fn an_empty_tree_still_has_workers() {
    let dir = tempfile::tempdir().expect("a folder");
    let topology = Topology::below(dir.path());
    assert!(!topology.cores.is_empty() && topology.online == topology.cores.len());
    assert_eq!(
        (topology.smt, topology.sockets, topology.quota),
        (None, None, None)
    );
    assert!(!topology.caches.is_empty(), "assumed, or the CPU's own");
    assert!(topology.share(1, 1) > 0);
}

#[test]
fn damaged_files_are_survived() {
    // A small fixture, since each case makes a whole tree.
    let file = fixtures()
        .into_iter()
        .find(|f| f.ends_with("virtual-xeon.txt"));
    let text = std::fs::read_to_string(file.expect("the fixture")).expect("read");
    let cases = ["", "0-", "4294967295", "\u{fffd}", "0K"];
    for case in cases {
        for file in [
            "topology/core_cpus_list",
            "topology/core_id",
            "topology/physical_package_id",
            "size",
            "shared_cpu_list",
            "level",
            "cpuinfo_max_freq",
            "cpu_capacity",
            "present",
            "online",
            "status",
        ] {
            let dir = tempfile::tempdir().expect("a folder");
            let damaged: Vec<String> = text
                .lines()
                .map(|line| match line.split_once(": ") {
                    Some((path, _)) if path.ends_with(file) && !path.starts_with('=') => {
                        format!("{path}: {case}")
                    }
                    _ => line.to_string(),
                })
                .collect();
            unfold(&damaged.join("\n"), dir.path());
            let topology = Topology::below(dir.path());
            assert!(!topology.cores.is_empty(), "{file}: {case}");
            for threads in [0, 1, 2, 100] {
                topology.caches(threads);
            }
        }
    }
}

/// The error for an invalid `--cpus` list is one short line.
#[test]
fn lists_that_are_none_are_refused() {
    let long = "9".repeat(100_000);
    for list in [
        "",
        " ",
        ",",
        "a",
        "1-",
        "-1",
        "0,",
        "\u{1b}[31m",
        &long,
        "0-4294967295",
    ] {
        let error = Topology::on(list).expect_err(list).to_string();
        assert!(
            error.contains("expected numbers of CPUs, such as 0,2,4-7"),
            "{error}"
        );
        assert!(
            error.len() < 200 && !error.chars().any(char::is_control),
            "{error}"
        );
    }
}

/// Chosen workers run on the given CPUs, including SMT siblings.
#[test]
fn what_was_chosen_is_said_when_it_does_not_suffice() {
    let first = Topology::detect().cores[0];
    let chosen = Topology::on(&first.to_string()).expect("a CPU of ours");
    assert_eq!((chosen.cores.clone(), chosen.online), (vec![first], 1));
    assert_eq!(chosen.limit(), "--cpus names 1 CPU");
}
