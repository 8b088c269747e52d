//! From a revision to a program, apart from the user's work tree, index, object store and target folder.

use anyhow::{Context, Result, anyhow, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::rounds::Stopped;

/// What one side of a comparison is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A program that is there.
    Program(PathBuf),
    /// A commit, by its full name.
    Commit {
        /// What it was called on the command line.
        name: String,
        /// Its hash.
        hash: String,
    },
    /// The work tree as it is: tracked files with what was changed in them.
    WorkTree {
        /// The commit under the changes.
        hash: String,
    },
}

impl Source {
    /// What `text` means: a program's file, or else a revision of the repository around this folder. Without
    /// one, the work tree.
    ///
    /// # Errors
    /// When it is neither, or there is no git.
    pub fn of(text: Option<&str>) -> Result<Source> {
        if let Some(text) = text
            && Path::new(text).is_file()
        {
            return Ok(Source::Program(std::fs::canonicalize(text)?));
        }
        let name = text.unwrap_or("HEAD");
        let commit = format!("{name}^{{commit}}");
        let hash = git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit], &[])
            .map_err(|e| match e.downcast_ref::<GitFailed>() {
                Some(_) if git(&["rev-parse", "--git-dir"], &[]).is_err() => anyhow!(
                    "'{name}' is no file, and this folder is in no git repository: name two programs, or go to the repository"
                ),
                Some(_) => anyhow!(
                    "'{name}' is neither a program's file nor a revision of this repository{}",
                    if shallow() { " (which is shallow: fetch more of it, in a workflow with fetch-depth: 0)" } else { "" }
                ),
                None => e,
            })?;
        if text.is_none()
            && !git(&["status", "--porcelain", "--untracked-files=no"], &[])?.is_empty()
        {
            return Ok(Source::WorkTree { hash });
        }
        Ok(Source::Commit {
            name: name.into(),
            hash,
        })
    }

    /// For people.
    pub fn label(&self) -> String {
        let short = |hash: &str| hash[..hash.len().min(10)].to_string();
        match self {
            Source::Program(path) => path.display().to_string(),
            Source::Commit { name, hash } if hash.starts_with(name.as_str()) => short(hash),
            Source::Commit { name, hash } => format!("{name}, {}", short(hash)),
            Source::WorkTree { hash } => {
                format!(
                    "{} with this work tree's changes, untracked files apart",
                    short(hash)
                )
            }
        }
    }

    /// Puts its program, of which cargo's name is `bin`, to `program`, by way of `folder`, in which nothing else happens. Both sides of a
    /// comparison are built in the same place: a path is part of what names, and so orders, a program's functions.
    ///
    /// # Errors
    /// When it can't be built, with the compiler's first error; [`Stopped`].
    pub fn make(&self, bin: &str, folder: &Path, program: &Path, stop: &AtomicBool) -> Result<()> {
        if let Some(parent) = program.parent() {
            std::fs::create_dir_all(parent).map_err(|e| full(&e, parent))?;
        }
        if let Source::Program(path) = self {
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

    /// Writes its files, new: what cargo built from the other side's is older.
    fn export(&self, folder: &Path, sources: &Path) -> Result<()> {
        std::fs::create_dir_all(sources).map_err(|e| full(&e, sources))?;
        let index = folder.join("index");
        let objects = folder.join("objects");
        std::fs::create_dir_all(&objects).map_err(|e| full(&e, &objects))?;
        let _ = std::fs::remove_file(&index);
        let path = |what| -> Result<PathBuf> {
            let text = git(
                &["rev-parse", "--path-format=absolute", "--git-path", what],
                &[],
            )?;
            Ok(PathBuf::from(text))
        };
        // An index of its own, and a place of its own for what git would add to the repository.
        let theirs = path("objects")?;
        let apart = [
            ("GIT_INDEX_FILE", index.as_os_str()),
            ("GIT_OBJECT_DIRECTORY", objects.as_os_str()),
            ("GIT_ALTERNATE_OBJECT_DIRECTORIES", theirs.as_os_str()),
        ];
        match self {
            Source::Commit { hash, .. } => git(&["read-tree", hash], &apart)?,
            _ => {
                std::fs::copy(path("index")?, &index).map_err(|e| full(&e, &index))?;
                let top = git(&["rev-parse", "--show-toplevel"], &[])?;
                git(&["-C", &top, "add", "--update"], &apart)?
            }
        };
        let prefix = format!("--prefix={}/", sources.display());
        let top = git(&["rev-parse", "--show-toplevel"], &[])?;
        git(
            &["-C", &top, "checkout-index", "--all", "--force", &prefix],
            &apart,
        )
        .with_context(|| format!("{} can't be written out", self.label()))?;
        Ok(())
    }

    fn build(&self, bin: &str, sources: &Path, target: &Path, stop: &AtomicBool) -> Result<()> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let log = target.with_extension("log");
        let mut command = Command::new(cargo);
        command
            .args([
                "build",
                "--release",
                &format!("--bin={bin}"),
                "--target-dir",
            ])
            .arg(target)
            .current_dir(sources)
            .env("CARGO_TERM_COLOR", "never")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).map_err(|e| full(&e, &log))?);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().context("cargo can't be started")?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if stop.load(Ordering::SeqCst) {
                end(&mut child);
                return Err(Stopped.into());
            }
            std::thread::sleep(Duration::from_millis(50));
        };
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

/// Ends a compilation with all that it started.
fn end(child: &mut std::process::Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    let _ = child.kill();
    let _ = child.wait();
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

/// What git said when it didn't do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("git {what}: {said}")]
struct GitFailed {
    what: String,
    said: String,
}

/// Asks git.
fn git(args: &[&str], environment: &[(&str, &OsStr)]) -> Result<String> {
    let out = Command::new("git")
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
            what: args[0].into(),
            said: said.lines().next().unwrap_or("fails").into(),
        }
        .into());
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim_end().into())
}
