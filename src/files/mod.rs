//! The only way to write output files, to lock them against other processes, and to name files by ids.
//!
//! A regular file is replaced as a whole or not at all. The new text goes to a temporary file in the same folder, is
//! synced to disk and then replaces the old file. Devices, pipes, sockets and `/dev/stdout` are written to, and never
//! replaced. Symbolic links are followed.
//!
//! In reading order: this file (writing), `lock.rs`, `ids.rs`.

mod ids;
mod lock;

pub use ids::{BadId, by_id, check_id, id};
pub use lock::Lock;

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Failure to write a file; its message is one line.
#[derive(Debug, thiserror::Error)]
#[error("can't write {}: {error}", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// The system's error.
    pub error: Error,
}

/// Writes text to the target of `path`. Makes the folder of a new file.
///
/// # Errors
/// When it can't be written. A regular file is then unchanged.
pub fn write(path: &Path, text: &str) -> std::result::Result<(), WriteError> {
    write_with(path, |to| to.write_all(text.as_bytes()))
}

/// Writes the output of `body` to the target of `path`. Makes the folder of a new file.
///
/// # Errors
/// When it can't be written. A regular file is then unchanged.
pub fn write_with(
    path: &Path,
    body: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> std::result::Result<(), WriteError> {
    let written = match Target::of(path) {
        Ok(target) => target.write(body),
        Err(error) => Err(error),
    };
    written.map_err(|error| wrong(path, error))
}

/// Writes text to a new file, `folder/stem.extension`. If that name is taken, a number follows the stem
/// (`stem-02.extension`). Returns the path.
///
/// # Errors
/// When it can't be written.
pub fn write_new(
    folder: &Path,
    stem: &str,
    extension: &str,
    text: &str,
) -> std::result::Result<PathBuf, WriteError> {
    let name = |number: u32| match number {
        1 => folder.join(format!("{stem}.{extension}")),
        _ => folder.join(format!("{stem}-{number:02}.{extension}")),
    };
    let write = || {
        std::fs::create_dir_all(folder)?;
        let mut file = temporary(folder, None)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        let mut number = 1;
        loop {
            match file.persist_noclobber(name(number)) {
                Ok(_) => break,
                Err(e) if e.error.kind() == ErrorKind::AlreadyExists => {
                    file = e.file;
                    number += 1;
                }
                Err(e) => return Err(e.error),
            }
        }
        sync_folder(folder)?;
        Ok(name(number))
    };
    write().map_err(|error| wrong(&name(1), error))
}

/// Checks, before long work, that its result can be written to `path`. Leaves no file behind.
///
/// # Errors
/// When it can't be written.
pub fn check(path: &Path) -> std::result::Result<(), WriteError> {
    let check = || match Target::of(path)? {
        Target::Existing { path, folder } => {
            OpenOptions::new().write(true).open(path)?;
            temporary(&folder, None).map(drop)
        }
        Target::New(path) => {
            let mut folder = parent(&path);
            while parent(folder) != folder && !folder.try_exists()? {
                folder = parent(folder);
            }
            temporary(folder, None).map(drop)
        }
        Target::Stdout | Target::Stderr | Target::Stream(_) => Ok(()),
    };
    check().map_err(|error| wrong(path, error))
}

/// True for a device, a pipe or standard output. Text written there can't be replaced, so drafts of growing text must
/// not go there.
pub fn is_stream(path: &Path) -> bool {
    matches!(
        Target::of(path),
        Ok(Target::Stdout | Target::Stderr | Target::Stream(_))
    )
}

fn wrong(path: &Path, error: Error) -> WriteError {
    WriteError {
        path: path.to_path_buf(),
        error,
    }
}

/// Target of a path, after its links.
enum Target {
    /// A regular file and its folder.
    Existing { path: PathBuf, folder: PathBuf },
    /// A file that doesn't exist yet.
    New(PathBuf),
    /// Standard output of this process, under a name such as `/dev/stdout`. If it is a file, opening that name again
    /// would overwrite earlier output.
    Stdout,
    /// Standard error of this process.
    Stderr,
    /// Another open file of a process (`/dev/fd/3`), a device or a pipe.
    Stream(PathBuf),
}

/// Longest chain of symbolic links, as on Linux.
const LINKS: usize = 40;

impl Target {
    fn of(path: &Path) -> Result<Target> {
        let is_folder = || Error::from(ErrorKind::IsADirectory);
        let mut path = path.to_path_buf();
        if path.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "the name is empty"));
        }
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(is_folder());
        }
        for _ in 0..LINKS {
            if let Some(target) = open_file(&path) {
                return Ok(target);
            }
            let found = match std::fs::symlink_metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return match path.file_name() {
                        Some(_) => Ok(Target::New(path)),
                        None => Err(error),
                    };
                }
                other => other?.file_type(),
            };
            if found.is_symlink() {
                path = parent(&path).join(std::fs::read_link(&path)?);
            } else if found.is_dir() {
                return Err(is_folder());
            } else if found.is_file() {
                let folder = parent(&path).to_path_buf();
                return Ok(Target::Existing { path, folder });
            } else {
                return Ok(Target::Stream(path));
            }
        }
        Err(Error::other("too many symbolic links"))
    }

    fn write(self, body: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        match self {
            Target::Stdout => {
                let mut out = std::io::stdout().lock();
                match body(&mut out).and_then(|()| out.flush()) {
                    // A reader that closes the pipe early (`| head`) is no error.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
                    other => other,
                }
            }
            Target::Stderr => body(&mut std::io::stderr().lock()),
            Target::Stream(path) => {
                // If the descriptor is that of a regular file, the text is appended.
                let file = OpenOptions::new().append(true).open(path)?;
                buffered(&file, body)
            }
            Target::New(path) => {
                let folder = parent(&path);
                std::fs::create_dir_all(folder)?;
                replace(&path, folder, None, body)
            }
            Target::Existing { path, folder } => {
                // Write permission for the folder would allow to replace a write-protected file.
                let old = OpenOptions::new().write(true).open(&path)?;
                let old = old.metadata()?;
                replace(&path, &folder, Some(&old), body)
            }
        }
    }
}

/// The open file of a process that a path names: an entry of `/dev/fd` or of a `fd` folder below `/proc`. The target of
/// such a link isn't always a path (`pipe:[1234]`), and the file may have been moved.
fn open_file(path: &Path) -> Option<Target> {
    let folder = std::fs::canonicalize(parent(path)).ok()?;
    let name = path.file_name()?;
    let of_proc = folder.starts_with("/proc") && folder.file_name() == Some(OsStr::new("fd"));
    if !(of_proc || folder == Path::new("/dev/fd")) {
        return None;
    }
    let process = folder.components().nth(2);
    let own = !of_proc
        || process.is_some_and(|p| p.as_os_str() == OsStr::new(&std::process::id().to_string()));
    Some(match name.to_str() {
        Some("1") if own => Target::Stdout,
        Some("2") if own => Target::Stderr,
        _ => Target::Stream(path.to_path_buf()),
    })
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) => Path::new("."),
        // The root and a path without a folder are their own parents.
        None => path,
    }
}

fn buffered(file: &File, body: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut buffer = std::io::BufWriter::new(file);
    body(&mut buffer)?;
    buffer.flush()
}

/// Replaces `path` by a new file with the mode of the `old` one, and with its owner if this process may set it.
fn replace(
    path: &Path,
    folder: &Path,
    old: Option<&std::fs::Metadata>,
    body: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let file = temporary(folder, old)?;
    buffered(file.as_file(), body)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_folder(folder)
}

/// A temporary file, removed unless it is kept. Its mode is that of `old`, or else follows the umask.
fn temporary(folder: &Path, old: Option<&std::fs::Metadata>) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".convroof-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
        let mode = old.map_or(0o666, |old| old.mode() & 0o777);
        let file = builder
            .permissions(std::fs::Permissions::from_mode(mode))
            .tempfile_in(folder)?;
        if let Some(old) = old {
            let new = file.as_file().metadata()?;
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                // Only root may do so. The text is right in any case.
                let _ = fchown(file.as_file(), Some(old.uid()), Some(old.gid()));
            }
            file.as_file().set_permissions(old.permissions())?;
        }
        Ok(file)
    }
    #[cfg(not(unix))]
    {
        let _ = old;
        builder.tempfile_in(folder)
    }
}

/// Syncs a folder, so that a new name in it survives a loss of power.
fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    match File::open(folder)?.sync_all() {
        // Some file systems can't sync folders.
        Err(e) if !matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            return Err(e);
        }
        _ => {}
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

#[cfg(test)]
mod tests;
