//! Checks dependencies, workflows and packages of this project against the committed rules, without a network.

use crate::command::folder;
use serde_json::Value;
use spdx::{Expression, ParseMode};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn rules() -> toml::Table {
    text("deny.toml").parse().expect("TOML")
}

fn strings(list: &toml::Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter().map(|s| s.as_str().expect("a text")).collect()
}

fn cargo(args: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    let output = command.current_dir(root()).args(args).output();
    let output = output.expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {args:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// All packages of any feature, on all systems with released programs.
fn packages() -> Vec<Value> {
    let rules = rules();
    let mut args = vec![
        "metadata",
        "--format-version=1",
        "--locked",
        "--all-features",
    ];
    for target in strings(&rules["graph"]["targets"]) {
        args.extend(["--filter-platform", target]);
    }
    let graph: Value = serde_json::from_str(&cargo(&args)).expect("JSON");
    let nodes = graph["resolve"]["nodes"].as_array().expect("a list");
    let used: BTreeSet<&str> = nodes.iter().filter_map(|n| n["id"].as_str()).collect();
    let packages = graph["packages"].as_array().expect("a list");
    let used = packages
        .iter()
        .filter(|p| used.contains(p["id"].as_str().expect("an id")));
    used.cloned().collect()
}

fn field<'a>(package: &'a Value, name: &str) -> &'a str {
    package[name].as_str().unwrap_or_default()
}

fn is_allowed(licence: &str, allowed: &[&str]) -> bool {
    let expression = Expression::parse_mode(licence, ParseMode::LAX);
    expression.is_ok_and(|e| {
        e.evaluate(|wanted| {
            let id = wanted.license.id().map(|id| id.name);
            wanted.addition.is_none() && id.is_some_and(|id| allowed.contains(&id))
        })
    })
}

#[test]
fn licences_and_sources_are_those_that_deny_toml_allows() {
    let rules = rules();
    let licences = strings(&rules["licenses"]["allow"]);
    let registries = strings(&rules["sources"]["allow-registry"]);
    let packages = packages();
    assert!(packages.len() > 100, "{}", packages.len());
    let mut wrong = Vec::new();
    for package in &packages {
        let (name, licence) = (field(package, "name"), field(package, "license"));
        if !is_allowed(licence, &licences) {
            wrong.push(format!("{name}: '{licence}' is not allowed"));
        }
        // Packages of this repository have no source.
        let source = package["source"].as_str();
        let registry = source.map(|s| s.strip_prefix("registry+").unwrap_or(s));
        let own =
            source.is_none() && Path::new(field(package, "manifest_path")).starts_with(root());
        if !own && !registry.is_some_and(|r| registries.contains(&r)) {
            wrong.push(format!("{name}: {source:?} is no source that is allowed"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn licence_expressions_are_read_as_the_law_does() {
    let allowed = ["MIT", "Apache-2.0"];
    for (licence, right) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0-only", false),
        ("MIT AND GPL-3.0-only", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", false),
        ("Apache-2.0 WITH LLVM-exception", false),
        ("", false),
        ("who knows", false),
    ] {
        assert_eq!(is_allowed(licence, &allowed), right, "{licence}");
    }
}

/// True if a version matches a requirement of deny.toml, such as `2` or `0.3`.
fn is_of(version: &str, wanted: &str) -> bool {
    version
        .strip_prefix(wanted)
        .is_some_and(|rest| rest.starts_with('.'))
}

#[test]
fn packages_have_one_version_but_for_those_that_deny_toml_names() {
    let rules = rules();
    let skips: Vec<(&str, &str)> = rules["bans"]["skip"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|s| s["crate"].as_str().expect("a package"))
        .map(|s| s.split_once('@').expect("a version"))
        .collect();
    let mut versions = BTreeMap::<String, BTreeSet<String>>::new();
    for package in packages() {
        let (name, version) = (field(&package, "name"), field(&package, "version"));
        versions
            .entry(name.into())
            .or_default()
            .insert(version.into());
    }
    for (name, wanted) in &skips {
        let found = versions.get(*name);
        let older = found.is_some_and(|f| f.len() > 1 && f.iter().any(|v| is_of(v, wanted)));
        assert!(older, "deny.toml still names {name}@{wanted}");
    }
    for (name, versions) in versions {
        let left = versions.iter().filter(|v| {
            !skips
                .iter()
                .any(|(n, wanted)| *n == name && is_of(v, wanted))
        });
        assert!(left.count() <= 1, "{name} has the versions {versions:?}");
    }
}

/// Lines of each workflow or action, by file, without comment lines.
fn workflows() -> Vec<(PathBuf, Vec<String>)> {
    let folder = std::fs::read_dir(root().join(".github/workflows")).expect("workflows");
    let mut files: Vec<PathBuf> = folder.map(|f| f.expect("a file").path()).collect();
    files.push(root().join("action.yml"));
    let lines = |path: &PathBuf| {
        let text = text(path);
        let lines = text.lines().filter(|l| !l.trim_start().starts_with('#'));
        lines.map(str::to_string).collect()
    };
    files.iter().map(|f| (f.clone(), lines(f))).collect()
}

#[test]
fn actions_are_pinned_to_commits() {
    let mut pins = BTreeMap::<String, String>::new();
    for (path, lines) in workflows() {
        for line in lines {
            let Some((_, used)) = line.split_once("uses: ") else {
                continue;
            };
            if used == "./" {
                continue;
            }
            let pinned = used.split_once('@').and_then(|(action, rest)| {
                let (commit, version) = rest.split_once(" # v")?;
                let hash = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
                (hash && version.starts_with(|c: char| c.is_ascii_digit()))
                    .then_some((action, rest))
            });
            let (action, pin) = pinned.unwrap_or_else(|| {
                panic!(
                    "{}: '{used}' is not ACTION@COMMIT # vVERSION",
                    path.display()
                )
            });
            let same = pins.entry(action.into()).or_insert_with(|| pin.into());
            assert_eq!(same, pin, "{}: two commits of {action}", path.display());
        }
    }
    assert!(pins.contains_key("actions/checkout"), "{pins:?}");
}

#[test]
fn workflows_may_only_read_and_keep_no_credentials() {
    for (path, lines) in workflows() {
        let (name, text) = (path.display(), lines.join("\n"));
        assert!(
            !text.contains("pull_request_target"),
            "{name}: code of others with our rights"
        );
        // Untrusted text (a branch's name, a title) may reach a script only as a variable.
        for run in text.split("run: ").skip(1) {
            let script = run.split("\n      - ").next().unwrap_or_default();
            let script = script.split("\n    - ").next().unwrap_or_default();
            let script = script.split("\n      env:").next().unwrap_or_default();
            assert!(
                !script.contains("${{"),
                "{name}: an expression in a script: {script}"
            );
        }
        if path.ends_with("action.yml") {
            continue;
        }
        assert!(
            text.contains("\npermissions:\n  contents: read\n"),
            "{name}: not only reading"
        );
        // Only the job that publishes a tag may have write permissions.
        let writes = text.contains(": write");
        let tags_only = text.contains("\non:\n  push:\n    tags: ");
        assert!(!writes || tags_only, "{name}: may write");
        let kept = text.matches("persist-credentials: false").count();
        let checkouts = text.matches("actions/checkout@").count();
        assert_eq!(kept, checkouts, "{name}: a checkout keeps its credentials");
    }
}

#[test]
fn programs_are_released_for_every_system_of_deny_toml() {
    let (rules, release) = (rules(), text(".github/workflows/release.yml"));
    let targets = strings(&rules["graph"]["targets"]);
    assert_eq!(targets.len(), 5);
    for target in targets {
        assert!(release.contains(&format!("target: {target}")), "{target}");
    }
}

/// Files of a package as published on crates.io, from the present sources.
fn packaged(package: &str) -> BTreeSet<String> {
    let list = cargo(&["package", "--list", "--allow-dirty", "-p", package]);
    list.lines().map(|l| l.replace('\\', "/")).collect()
}

#[test]
fn packages_have_all_that_they_read_and_no_records() {
    for (package, folder) in [("convroof", "."), ("convroof-kernels", "kernels")] {
        let files = packaged(package);
        for wanted in ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "src/lib.rs"] {
            assert!(files.contains(wanted), "{package} has no {wanted}");
        }
        let results: Vec<&String> = files.iter().filter(|f| f.starts_with("results/")).collect();
        assert!(
            results.iter().all(|f| f.starts_with("results/schema/")),
            "{package}: {results:?}"
        );
        for source in files.iter().filter(|f| f.ends_with(".rs")) {
            let base = Path::new(source).parent().expect("a folder");
            let code = text(Path::new(folder).join(source));
            for read in code.split("include_str!(\"").skip(1) {
                let name = read.split('"').next().expect("a name");
                let path = plain(&base.join(name));
                assert!(
                    files.contains(&path),
                    "{source} reads {path}, {package} has none"
                );
            }
        }
    }
    // A macro names these files.
    let files = packaged("convroof");
    for table in std::fs::read_dir(root().join("src/networks/tables")).expect("tables") {
        let table = table.expect("a file").file_name();
        let path = format!("src/networks/tables/{}", table.to_string_lossy());
        assert!(files.contains(&path), "{path}");
    }
}

/// A path with `..` resolved.
fn plain(path: &Path) -> String {
    let mut parts = Vec::new();
    for part in path.iter() {
        if part == ".." {
            parts.pop().expect("inside of the package");
        } else {
            parts.push(part.to_str().expect("UTF-8"));
        }
    }
    parts.join("/")
}

#[test]
fn manifests_say_what_crates_io_shows() {
    let own = ["convroof", "convroof-kernels"];
    let packages = packages();
    let packages = packages.iter().filter(|p| own.contains(&field(p, "name")));
    let mut found = 0;
    for package in packages {
        found += 1;
        for name in [
            "description",
            "license",
            "repository",
            "readme",
            "rust_version",
        ] {
            assert!(
                !field(package, name).is_empty(),
                "{}: no {name}",
                package["name"]
            );
        }
        for name in ["keywords", "categories"] {
            let list = package[name].as_array().expect("a list");
            assert!(
                (1..=5).contains(&list.len()),
                "{}: {name} {list:?}",
                package["name"]
            );
        }
        // A dependency by path only can't be published, except for tests.
        for dependency in package["dependencies"].as_array().expect("a list") {
            assert!(
                dependency["kind"] == "dev" || dependency["req"] != "*",
                "{}: {} has no version",
                package["name"],
                dependency["name"]
            );
        }
        assert_eq!(field(package, "version"), env!("CARGO_PKG_VERSION"));
    }
    assert_eq!(found, own.len());
}

#[test]
fn peers_are_locked_with_hashes() {
    let (wanted, locked) = (text("scripts/peers.in"), text("scripts/peers.txt"));
    let mut packages = BTreeMap::<String, usize>::new();
    let mut last = String::new();
    for line in locked.lines().filter(|l| !l.trim_start().starts_with('#')) {
        if line.trim_start().starts_with("--hash=sha256:") {
            *packages.get_mut(&last).expect("of a package") += 1;
        } else {
            let (name, _) = line.split_once("==").expect("a version");
            last = name.to_lowercase();
            packages.insert(last.clone(), 0);
        }
    }
    let without: Vec<_> = packages.iter().filter(|(_, n)| **n == 0).collect();
    assert!(without.is_empty(), "{without:?}");
    for line in wanted.lines().filter(|l| !l.starts_with('#')) {
        let pin = line.split(' ').next().expect("a package").to_lowercase();
        assert!(
            locked
                .lines()
                .any(|l| l.to_lowercase().split(' ').next() == Some(&pin)),
            "{pin} is not in peers.txt: scripts/peers --lock"
        );
    }
    assert!(text("scripts/peers").contains("--require-hashes"));
}

/// Runs the action's script for a repository of other kernels, as another team would.
#[cfg(unix)]
#[test]
fn the_gate_compares_programs_of_another_repository() {
    use std::os::unix::fs::PermissionsExt;
    let (theirs, place) = (folder(), folder());
    let write = |path: PathBuf, text: &str| std::fs::write(path, text).expect("written");
    let manifest = "[package]\nname = \"theirs\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    write(theirs.path().join("Cargo.toml"), manifest);
    std::fs::create_dir(theirs.path().join("src")).expect("a folder");
    write(
        theirs.path().join("src/main.rs"),
        "fn main() { println!(\"theirs: {:?}\", std::env::args().skip(1).collect::<Vec<_>>()); }",
    );
    // A fake convroof: it prints its arguments and reports a slow-down.
    let convroof = place.path().join("convroof");
    write(
        convroof.clone(),
        "#!/bin/sh\necho \"convroof: $*\"\nexit 1\n",
    );
    std::fs::set_permissions(&convroof, PermissionsExt::from_mode(0o755)).expect("set");
    let gate = |baselines: &str, code: i32| {
        let mut command = Command::new(root().join("scripts/gate"));
        command.args(["base", "HEAD"]).current_dir(theirs.path());
        command.env("CONVROOF", &convroof).env("GATE_BIN", "theirs");
        command
            .env("GATE_BASELINES", baselines)
            .env("GATE_ARGS", "--budget 7");
        command
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("GITHUB_STEP_SUMMARY");
        let output = command.output().expect("bash runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said} {output:?}");
        assert!(
            said.contains("convroof: ab base HEAD --bin theirs --markdown --budget 7"),
            "{said}"
        );
        said
    };
    // They have none, and only a folder that they name must be there.
    for (baselines, code) in [("", 1), ("counts", 2)] {
        let said = gate(baselines, code);
        assert!(
            said.contains("WARNING: no folder ") && said.contains("counts are not compared"),
            "{said}"
        );
    }
    std::fs::create_dir(theirs.path().join("counts")).expect("a folder");
    let said = gate("counts", 1);
    assert!(
        said.contains(r#"theirs: ["counts", "--check", "counts""#),
        "{said}"
    );
}
