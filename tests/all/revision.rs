//! Tests of the build script: the revision that it records, and the files that trigger it again.

use crate::command::folder;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles the build script as a program.
fn script(folder: &Path) -> PathBuf {
    let program = folder.join(format!("script{}", std::env::consts::EXE_SUFFIX));
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(rustc)
        .args(["--edition", "2024", "-C", "debuginfo=0", "-o"])
        .arg(&program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs"))
        .status();
    assert!(built.expect("rustc").success());
    program
}

/// Output of the script for cargo: environment variables of the build, and watched files.
struct Told(String);

impl Told {
    fn by(script: &Path, folder: &Path) -> Told {
        let out = Command::new(script)
            .current_dir(folder)
            .env("CARGO_PKG_VERSION", "1.2.3")
            .output()
            .expect("started");
        assert!(out.status.success());
        Told(String::from_utf8(out.stdout).expect("UTF-8"))
    }

    fn value(&self, key: &str) -> Option<&str> {
        let prefix = format!("cargo::rustc-env={key}=");
        self.0.lines().find_map(|l| l.strip_prefix(&prefix))
    }

    fn watched(&self) -> Vec<&str> {
        let prefix = "cargo::rerun-if-changed=";
        self.0
            .lines()
            .filter_map(|l| l.strip_prefix(prefix))
            .collect()
    }

    fn is_unknown(&self) -> bool {
        let version = self.value("CONVROOF_VERSION").expect("always there");
        version.starts_with("1.2.3 (unknown revision: built outside of git; ")
            && self.value("CONVROOF_REVISION").is_none()
            && self.value("CONVROOF_DIRTY").is_none()
    }
}

fn git(folder: &Path, args: &[&str]) -> String {
    let out = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
        .args(["-c", "commit.gpgsign=false"])
        .args(args)
        .output()
        .expect("git");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{args:?}: {said}");
    String::from_utf8_lossy(&out.stdout).trim().into()
}

#[test]
fn a_build_notes_its_revision() {
    let (tools, here) = (folder(), folder());
    let script = script(tools.path());
    let here = here.path();
    let write = |file: &str, text: &str| {
        let path = here.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    for file in ["build.rs", "Cargo.toml", "src/main.rs", "README.md"] {
        write(file, "1");
    }
    assert!(Told::by(&script, here).is_unknown(), "no repository");

    git(here, &["init", "--quiet"]);
    assert!(Told::by(&script, here).is_unknown(), "no commit");
    git(here, &["add", "."]);
    git(here, &["commit", "--quiet", "-m", "first"]);
    let first = git(here, &["rev-parse", "HEAD"]);
    let told = Told::by(&script, here);
    assert_eq!(told.value("CONVROOF_REVISION"), Some(first.as_str()));
    assert_eq!(told.value("CONVROOF_DIRTY"), Some("false"));
    let version = told.value("CONVROOF_VERSION").expect("there");
    let expected = format!("1.2.3 ({}; rustc ", &first[..10]);
    assert!(version.starts_with(&expected), "{version}");
    // A missing watched file would make each build run the script and compile the suite.
    let watched = told.watched();
    for file in &watched {
        assert!(here.join(file).exists(), "{file}");
    }
    for file in ["HEAD", "src"] {
        assert!(watched.iter().any(|w| w.ends_with(file)), "{file}");
    }
    assert!(
        watched.iter().all(|w| !w.ends_with("index")),
        "git status writes it"
    );

    // Other files of the repository don't affect the program.
    write("README.md", "2");
    assert_eq!(
        Told::by(&script, here).value("CONVROOF_DIRTY"),
        Some("false")
    );
    write("src/main.rs", "2");
    let told = Told::by(&script, here);
    assert_eq!(told.value("CONVROOF_DIRTY"), Some("true"));
    assert_eq!(told.value("CONVROOF_REVISION"), Some(first.as_str()));
    assert!(
        told.value("CONVROOF_VERSION")
            .expect("there")
            .contains(", with local changes; ")
    );

    // A folder outside the repository's files has no revision, unless its package names one.
    let inside = here.join("target/package/convroof-1.2.3");
    std::fs::create_dir_all(&inside).expect("made");
    std::fs::write(inside.join("build.rs"), "1").expect("written");
    assert!(Told::by(&script, &inside).is_unknown(), "a package");
    for (note, dirty) in [("", "false"), (", \"dirty\": true", "true")] {
        let hash = "0123456789".repeat(4);
        let note = format!(
            "{{\n  \"git\": {{ \"sha1\": \"{hash}\"{note} }},\n  \"path_in_vcs\": \"\"\n}}"
        );
        std::fs::write(inside.join(".cargo_vcs_info.json"), note).expect("written");
        let told = Told::by(&script, &inside);
        assert_eq!(told.value("CONVROOF_REVISION"), Some(hash.as_str()));
        assert_eq!(told.value("CONVROOF_DIRTY"), Some(dirty));
    }
    std::fs::write(
        inside.join(".cargo_vcs_info.json"),
        "{\"git\":{\"sha1\":\"x\\ny\"}}",
    )
    .expect("written");
    assert!(
        Told::by(&script, &inside).is_unknown(),
        "a note of something else"
    );
}

#[cfg(unix)]
#[test]
fn a_build_runs_no_monitor_of_the_repository() {
    use std::os::unix::fs::PermissionsExt;
    let (tools, here) = (folder(), folder());
    let script = script(tools.path());
    std::fs::write(here.path().join("build.rs"), "1").expect("written");
    git(here.path(), &["init", "--quiet"]);
    git(here.path(), &["add", "."]);
    git(here.path(), &["commit", "--quiet", "-m", "first"]);
    let (monitor, called) = (tools.path().join("monitor"), tools.path().join("called"));
    std::fs::write(
        &monitor,
        format!("#!/bin/sh\ntouch '{}'\n", called.display()),
    )
    .expect("written");
    std::fs::set_permissions(&monitor, std::fs::Permissions::from_mode(0o755)).expect("set");
    git(
        here.path(),
        &["config", "core.fsmonitor", monitor.to_str().expect("UTF-8")],
    );
    git(here.path(), &["status"]);
    assert!(called.exists(), "git runs it when it is asked plainly");
    std::fs::remove_file(&called).expect("removed");
    assert!(
        Told::by(&script, here.path())
            .value("CONVROOF_REVISION")
            .is_some()
    );
    assert!(!called.exists());
}
