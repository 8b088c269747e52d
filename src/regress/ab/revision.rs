//! Builds of revisions, separate from the user's work tree, index, object store and target folder.

use crate::process::guard::Guarded;
use crate::regress::short;
use anyhow::{Context, Result, anyhow, bail};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// One side of a comparison: a program, or sources to build one from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Build {
    /// The running program.
    Own,
    /// An existing program.
    Program(PathBuf),
    /// A commit.
    Commit {
        /// Its name on the command line.
        name: String,
        /// Its full hash.
        hash: String,
    },
    /// The work tree: tracked files with their changes.
    WorkTree {
        /// Hash of the commit under the changes.
        hash: String,
    },
}

impl Build {
    /// Interprets `text`: a program's file, or a revision of the repository around the current folder. None is the work
    /// tree. A text that begins with a folder (`./HEAD`) is a file.
    ///
    /// # Errors
    /// When it is neither, or both, or git is missing.
    pub fn of(text: Option<&OsStr>) -> Result<Build> {
        let name = text.unwrap_or(OsStr::new("HEAD"));
        let file = text.map(Path::new).filter(|path| path.is_file());
        let shown = name.display();
        let program = |path: &Path| Ok(Build::Program(std::fs::canonicalize(path)?));
        if let Some(path) = file
            && (path.is_absolute() || path.starts_with(".") || path.starts_with(".."))
        {
            return program(path);
        }
        let mut commit = name.to_os_string();
        commit.push("^{commit}");
        let options = ["rev-parse", "--verify", "--quiet", "--end-of-options"].map(OsStr::new);
        let mut args = options.to_vec();
        args.push(&commit);
        let hash = match (git(&args, &[]), file) {
            (Ok(_), Some(_)) => bail!(
                "'{shown}' is a file and a revision: write ./{shown} for the file, {shown}^0 for the revision"
            ),
            (Err(_), Some(path)) => return program(path),
            (Ok(hash), None) => text_of(hash),
            (Err(error), None) if error.is::<GitFailed>() => {
                if git(&["rev-parse", "--git-dir"], &[]).is_err() {
                    bail!(
                        "'{shown}' is no file, and this folder is in no git repository: name two programs, or go to the repository"
                    );
                }
                bail!(
                    "'{shown}' is neither a program's file nor a revision of this repository{}",
                    if shallow() {
                        " (which is shallow: fetch more of it, in a workflow with fetch-depth: 0)"
                    } else {
                        ""
                    }
                );
            }
            (Err(error), None) => return Err(error),
        };
        if text.is_none()
            && !git(&["status", "--porcelain", "--untracked-files=no"], &[])?.is_empty()
        {
            return Ok(Build::WorkTree { hash });
        }
        Ok(Build::Commit {
            name: text_of(name.to_os_string()),
            hash,
        })
    }

    /// Name for messages.
    pub fn label(&self) -> String {
        match self {
            Build::Own => "this program".into(),
            Build::Program(path) => path.display().to_string(),
            Build::Commit { name, hash } if hash.starts_with(name.as_str()) => short(hash).into(),
            Build::Commit { name, hash } => format!("{name}, {}", short(hash)),
            Build::WorkTree { hash } => {
                format!(
                    "{} with this work tree's changes, untracked files apart",
                    short(hash)
                )
            }
        }
    }

    /// Puts its program at `program`; `bin` is cargo's name of it. `folder` is for building only. Both sides are built
    /// in the same folder, since paths affect the names, and so the order, of a program's functions.
    ///
    /// # Errors
    /// When it can't be built, with the compiler's first error; [`crate::interrupt::Stopped`].
    pub fn make(&self, bin: &str, folder: &Path, program: &Path, stop: &AtomicBool) -> Result<()> {
        if let Some(parent) = program.parent() {
            std::fs::create_dir_all(parent).map_err(|e| full(&e, parent))?;
        }
        let existing = match self {
            Build::Own => Some(std::env::current_exe()?),
            Build::Program(path) => Some(path.clone()),
            Build::Commit { .. } | Build::WorkTree { .. } => None,
        };
        if let Some(path) = existing {
            let copied = std::fs::copy(path, program).map_err(|e| full(&e, program));
            return copied.map(|_| ()).with_context(|| self.label());
        }
        let sources = folder.join("src");
        if sources.exists() {
            std::fs::remove_dir_all(&sources)?;
        }
        self.export(folder, &sources)?;
        let target = folder.join("target");
        self.build(bin, &sources, &target, stop)?;
        let built = target
            .join("release")
            .join(format!("{bin}{}", std::env::consts::EXE_SUFFIX));
        std::fs::copy(&built, program).map_err(|e| full(&e, program))?;
        Ok(())
    }

    /// Writes all files anew, so that they are newer than anything cargo built for the other side.
    fn export(&self, folder: &Path, sources: &Path) -> Result<()> {
        std::fs::create_dir_all(sources).map_err(|e| full(&e, sources))?;
        let index = folder.join("index");
        let objects = folder.join("objects");
        std::fs::create_dir_all(&objects).map_err(|e| full(&e, &objects))?;
        let _ = std::fs::remove_file(&index);
        let path = |what| -> Result<PathBuf> {
            let options = ["rev-parse", "--path-format=absolute", "--git-path"];
            Ok(git(&[options[0], options[1], options[2], what], &[])?.into())
        };
        let top = git(&["rev-parse", "--show-toplevel"], &[])?;
        // Use a separate index and a separate store for new objects, so that the repository doesn't change.
        let theirs = path("objects")?;
        let apart = [
            ("GIT_INDEX_FILE", index.as_os_str()),
            ("GIT_OBJECT_DIRECTORY", objects.as_os_str()),
            ("GIT_ALTERNATE_OBJECT_DIRECTORIES", theirs.as_os_str()),
        ];
        match self {
            Build::Commit { hash, .. } => git(&["read-tree", hash], &apart)?,
            _ => {
                std::fs::copy(path("index")?, &index).map_err(|e| full(&e, &index))?;
                let add = [
                    "-C".as_ref(),
                    top.as_os_str(),
                    "add".as_ref(),
                    "--update".as_ref(),
                ];
                git(&add, &apart)?
            }
        };
        let mut prefix = OsString::from("--prefix=");
        prefix.push(sources);
        prefix.push("/");
        let out = ["checkout-index", "--all", "--force"].map(OsStr::new);
        let mut args = vec!["-C".as_ref(), top.as_os_str()];
        args.extend(out);
        args.push(&prefix);
        git(&args, &apart).with_context(|| format!("{} can't be written out", self.label()))?;
        Ok(())
    }

    fn build(&self, bin: &str, sources: &Path, target: &Path, stop: &AtomicBool) -> Result<()> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let log = target.with_extension("log");
        let errors = std::fs::File::create(&log).map_err(|e| full(&e, &log))?;
        // A linker that is killed leaves its temporary files behind: they belong to the scratch folder, too.
        let temporary = target.with_extension("tmp");
        std::fs::create_dir_all(&temporary).map_err(|e| full(&e, &temporary))?;
        let which = format!("--bin={bin}");
        let args = ["build", "--release", &which, "--target-dir"];
        let mut program = vec![cargo];
        program.extend(args.map(OsString::from));
        program.push(target.into());
        let build = Guarded::start(program, |command| {
            command
                .current_dir(sources)
                .env("CARGO_TERM_COLOR", "never")
                .env("TMPDIR", &temporary)
                .stdout(Stdio::null())
                .stderr(errors);
        });
        let build = build.context("cargo can't be started")?;
        let status = build.wait(|| stop.load(Ordering::SeqCst))?;
        if status.success() {
            return Ok(());
        }
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let full = text.lines().find(|l| l.contains("No space left"));
        let error = full.or_else(|| text.lines().find(|l| l.starts_with("error")));
        let more = match full {
            Some(_) => "; set TMPDIR to a folder with more room",
            None => "",
        };
        bail!(
            "{} doesn't build: {}{more}",
            self.label(),
            error
                .or(text.lines().last())
                .unwrap_or("cargo says nothing")
        )
    }
}

fn full(error: &std::io::Error, path: &Path) -> anyhow::Error {
    anyhow!(
        "can't write {}: {error}; set TMPDIR to another folder",
        path.display()
    )
}

fn shallow() -> bool {
    git(&["rev-parse", "--is-shallow-repository"], &[]).is_ok_and(|answer| answer == "true")
}

/// Failure of a git command, with its message.
#[derive(Debug, thiserror::Error)]
#[error("git {what}: {said}")]
struct GitFailed {
    what: String,
    said: String,
}

/// Runs git and returns the line that it prints. Hooks and file monitors of the repository don't run. Content filters
/// do run, since a build needs their output.
fn git<S: AsRef<OsStr>>(args: &[S], environment: &[(&str, &OsStr)]) -> Result<OsString> {
    let out = Command::new("git")
        .args([
            "-c",
            "core.fsmonitor=false",
            "-c",
            "core.hooksPath=/dev/null",
        ])
        .args(args)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .map_err(|e| {
            anyhow!(
                "revisions need git, which can't be started ({e}): install it, or name two programs"
            )
        })?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        return Err(GitFailed {
            what: args[0].as_ref().display().to_string(),
            said: said.lines().next().unwrap_or("fails").into(),
        }
        .into());
    }
    let mut line = out.stdout;
    line.pop_if(|last| *last == b'\n');
    line.pop_if(|last| *last == b'\r');
    // A path may be any bytes.
    #[cfg(unix)]
    let line = std::os::unix::ffi::OsStringExt::from_vec(line);
    #[cfg(not(unix))]
    let line = String::from_utf8_lossy(&line).into_owned().into();
    Ok(line)
}

fn text_of(text: OsString) -> String {
    text.to_string_lossy().into_owned()
}
