//! Locks on files among convroof processes.

use super::{WriteError, parent, wrong};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, Result};
use std::path::Path;

/// Lock on a file among convroof processes, held until dropped. The lock is a file beside it (`.NAME.lock`), since the
/// file itself is replaced.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until no other process has the lock of `path`.
    ///
    /// # Errors
    /// When the lock file can't be made.
    pub fn of(path: &Path) -> std::result::Result<Lock, WriteError> {
        Lock::take(path, File::lock)
    }

    /// Takes the lock of `path` without waiting, for work that takes long.
    ///
    /// # Errors
    /// When another process has the lock, or the lock file can't be made.
    pub fn now(path: &Path) -> std::result::Result<Lock, WriteError> {
        Lock::take(path, |file| match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::other(
                "another convroof is at work on it: wait for its end",
            )),
            Err(TryLockError::Error(error)) => Err(error),
            Ok(()) => Ok(()),
        })
    }

    fn take(
        path: &Path,
        lock: impl FnOnce(&File) -> Result<()>,
    ) -> std::result::Result<Lock, WriteError> {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".lock");
        let lock_path = parent(path).join(name);
        let take = || {
            std::fs::create_dir_all(parent(path))?;
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(lock_path)?;
            lock(&file)?;
            Ok(Lock { _file: file })
        };
        take().map_err(|error| wrong(path, error))
    }
}
