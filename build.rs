//! Tells the program which compiler built it, and from which revision, for its records. The running program asks
//! nobody: git would run what the configuration of the repository names.

use std::path::Path;
use std::process::Command;

/// Sources of the program, beside its folder. A change of these is a new build anyway, so watching them costs
/// none; a change elsewhere in the repository makes no other program.
const SOURCES: [&str; 6] = [
    "build.rs",
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "kernels/Cargo.toml",
    "kernels/src",
];

fn main() {
    for source in SOURCES.into_iter().filter(|s| Path::new(s).exists()) {
        println!("cargo::rerun-if-changed={source}");
    }
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = said(Command::new(rustc).arg("--version"));
    let built = Built::from_package().or_else(Built::from_git);
    let text = match &built {
        Some(Built { revision, dirty }) => format!(
            "{}{}",
            &revision[..revision.len().min(10)],
            if *dirty { ", with local changes" } else { "" }
        ),
        None => "unknown revision: built outside of git".into(),
    };
    let compiler = rustc.as_deref().unwrap_or("an unknown compiler");
    println!(
        "cargo::rustc-env=CONVROOF_VERSION={} ({text}; {compiler})",
        std::env::var("CARGO_PKG_VERSION").expect("cargo sets it")
    );
    if let Some(rustc) = rustc {
        println!("cargo::rustc-env=CONVROOF_RUSTC={rustc}");
    }
    if let Some(Built { revision, dirty }) = built {
        println!("cargo::rustc-env=CONVROOF_REVISION={revision}");
        println!("cargo::rustc-env=CONVROOF_DIRTY={dirty}");
    }
}

/// The sources of this build.
struct Built {
    revision: String,
    /// True if they differ from the revision.
    dirty: bool,
}

impl Built {
    /// From the note that `cargo package` leaves in a package.
    fn from_package() -> Option<Built> {
        const NOTE: &str = ".cargo_vcs_info.json";
        let note = std::fs::read_to_string(NOTE).ok()?;
        println!("cargo::rerun-if-changed={NOTE}");
        let after = |key: &str| Some(note.split_once(key)?.1.trim_start_matches([':', ' ']));
        let revision = after("\"sha1\"")?.strip_prefix('"')?.split_once('"')?.0;
        Some(Built {
            revision: revision.into(),
            dirty: after("\"dirty\"").is_some_and(|rest| rest.starts_with("true")),
        })
        .filter(Built::is_hash)
    }

    fn from_git() -> Option<Built> {
        // A folder within a repository of something else, or in a folder that it ignores, is not of that revision.
        git(&["ls-files", "--error-unmatch", "build.rs"])?;
        // Another commit or branch. What has none of these files is not watched: cargo would build each time.
        let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
        let names = ["HEAD", "logs/HEAD"];
        for name in names.into_iter().chain(branch.as_deref()) {
            if let Some(path) = git(&["rev-parse", "--git-path", name])
                && Path::new(&path).exists()
            {
                println!("cargo::rerun-if-changed={path}");
            }
        }
        let mut status = vec!["status", "--porcelain", "--untracked-files=no", "--"];
        status.extend(SOURCES);
        Some(Built {
            revision: git(&["rev-parse", "--verify", "HEAD"])?,
            dirty: !git(&status)?.is_empty(),
        })
        .filter(Built::is_hash)
    }

    fn is_hash(&self) -> bool {
        self.revision.len() >= 40 && self.revision.chars().all(|c| c.is_ascii_hexdigit())
    }
}

/// Asks git about this folder's repository; it writes nothing and runs no hooks.
fn git(args: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    git.args([
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
    ])
    .args(args)
    .env("GIT_OPTIONAL_LOCKS", "0");
    // Set where a hook of git's builds: they are of another folder, or of another index.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        git.env_remove(variable);
    }
    said(&mut git)
}

/// The first line that a program prints, if it succeeds.
fn said(command: &mut Command) -> Option<String> {
    let out = command.output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    out.status
        .success()
        .then(|| text.lines().next().unwrap_or_default().trim().to_string())
}
