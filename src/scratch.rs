//! Temporary folders that are removed however the program ends.

use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Prefix of the folders' names.
const PREFIX: &str = "convroof-scratch-";

/// Name of the file that the program keeps locked in each of its folders. The system unlocks it when the program ends.
const LOCK: &str = "lock";

/// Folders that exist now, so that a program that is ended at once can remove them.
static LIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A temporary folder, removed when this value is dropped. After SIGKILL, the next start removes it.
pub struct Scratch {
    path: PathBuf,
    /// File lock, held while the folder is in use.
    _lock: File,
}

impl Scratch {
    /// Makes a folder in the system's folder for temporary files (`TMPDIR`). Removes the folders of killed programs.
    ///
    /// # Errors
    /// When the system's folder isn't writable.
    pub fn new() -> Result<Scratch> {
        Self::new_in(&std::env::temp_dir())
    }

    fn new_in(parent: &Path) -> Result<Scratch> {
        sweep(parent);
        let full = || {
            let parent = parent.display();
            format!("can't write to {parent}; set TMPDIR to another folder")
        };
        // Another program's sweep may lock a folder before this one does. Then try again with a new one.
        for _ in 0..100 {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent);
            let path = folder.with_context(full)?.keep();
            if let Some(lock) = lock(&path) {
                live(|live| live.push(path.clone()));
                return Ok(Scratch { path, _lock: lock });
            }
            // A sweep that took the folder removes it, too.
            remove(&path);
        }
        anyhow::bail!(full())
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        live(|live| live.retain(|path| *path != self.path));
        remove(&self.path);
    }
}

/// Removes all temporary folders of this program, which is about to end.
pub fn remove_scratch() {
    live(|live| {
        for path in live.drain(..) {
            remove(&path);
        }
    });
}

fn live(change: impl FnOnce(&mut Vec<PathBuf>)) {
    change(
        &mut LIVE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner),
    );
}

/// Creates and locks a folder's lock file; none if a sweep locked it first.
fn lock(folder: &Path) -> Option<File> {
    let path = folder.join(LOCK);
    let file = File::create_new(&path).ok()?;
    match file.try_lock() {
        Ok(()) => {}
        // Where files can't be locked, sweeps remove nothing.
        Err(std::fs::TryLockError::Error(_)) => return Some(file),
        Err(std::fs::TryLockError::WouldBlock) => return None,
    }
    // A sweep holds the lock until the folder is gone. If the file still exists, no sweep has begun.
    path.exists().then_some(file)
}

/// Removes the folders that no running program holds. Folders in doubt are kept.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let named = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // The type of the entry itself: symbolic links aren't followed.
        if named && entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_stale(&entry.path());
        }
    }
}

fn remove_stale(folder: &Path) {
    let path = folder.join(LOCK);
    let regular = std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_file());
    if !regular {
        // A program killed before it made the lock file leaves an empty folder. `remove_dir` removes only empty
        // folders.
        let _ = std::fs::remove_dir(folder);
        return;
    }
    // Keep the file open while the folder is removed: otherwise another program could lock it meanwhile.
    let Ok(file) = File::options().read(true).write(true).open(&path) else {
        return;
    };
    if file.try_lock().is_ok() {
        remove(folder);
    }
}

/// Removes a folder, its lock file last. If this process is killed midway, the next sweep still recognises the folder
/// by that file. If something can't be removed, the lock file stays, too.
fn remove(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = match entry.file_type() {
            Ok(of) if of.is_dir() => std::fs::remove_dir_all(path),
            Ok(_) if entry.file_name() == LOCK => Ok(()),
            _ => std::fs::remove_file(path),
        };
    }
    let rest = std::fs::read_dir(folder).into_iter().flatten().flatten();
    if rest.into_iter().all(|entry| entry.file_name() == LOCK) {
        let _ = std::fs::remove_file(folder.join(LOCK));
        let _ = std::fs::remove_dir(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(parent: &Path) -> usize {
        std::fs::read_dir(parent).expect("listed").count()
    }

    #[test]
    fn a_sweep_removes_what_was_left_and_nothing_in_use() {
        let parent = tempfile::tempdir().expect("a folder");
        let live = Scratch::new_in(parent.path()).expect("a folder");
        std::fs::write(live.path().join("work"), "in use").expect("written");
        // Left by killed programs: one during work, one before it made the lock file.
        let stale = parent.path().join(format!("{PREFIX}killed"));
        std::fs::create_dir_all(stale.join("target/release")).expect("made");
        std::fs::write(stale.join(LOCK), "").expect("written");
        std::fs::create_dir(parent.path().join(format!("{PREFIX}empty"))).expect("made");
        // Not to be removed: another name, and a folder with a user's file.
        std::fs::create_dir(parent.path().join("convroof-results")).expect("made");
        let users = parent.path().join(format!("{PREFIX}notes"));
        std::fs::create_dir(&users).expect("made");
        std::fs::write(users.join("a.txt"), "mine").expect("written");

        let other = Scratch::new_in(parent.path()).expect("a folder");
        assert!(live.path().join("work").exists(), "a live folder is kept");
        assert!(!stale.exists(), "a stale folder is swept");
        assert!(users.join("a.txt").exists());
        assert_eq!(there(parent.path()), 4, "two live ones, two of the user's");
        drop((live, other));
        assert_eq!(there(parent.path()), 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_sweep_follows_no_link_and_opens_no_pipe() {
        let (parent, elsewhere) = (tempfile::tempdir(), tempfile::tempdir());
        let (parent, elsewhere) = (parent.expect("a folder"), elsewhere.expect("a folder"));
        std::fs::write(elsewhere.path().join(LOCK), "").expect("written");
        let link = parent.path().join(format!("{PREFIX}link"));
        std::os::unix::fs::symlink(elsewhere.path(), &link).expect("linked");
        let odd = parent.path().join(format!("{PREFIX}odd"));
        std::fs::create_dir(&odd).expect("made");
        std::os::unix::fs::symlink("/dev/zero", odd.join(LOCK)).expect("linked");
        sweep(parent.path());
        assert!(elsewhere.path().join(LOCK).exists() && odd.exists());
    }

    #[test]
    fn a_folder_without_its_lock_has_nothing_else() {
        let parent = tempfile::tempdir().expect("a folder");
        for _ in 0..20 {
            let scratch = Scratch::new_in(parent.path()).expect("a folder");
            let path = scratch.path().to_owned();
            for file in 0..100 {
                std::fs::create_dir(path.join(format!("{file}"))).expect("made");
                std::fs::write(path.join(format!("{file}/work")), "").expect("written");
            }
            std::thread::scope(|scope| {
                let removal = scope.spawn(|| drop(scratch));
                // The process may be killed at any moment.
                while path.join(LOCK).exists() {
                    std::hint::spin_loop();
                }
                let left = std::fs::read_dir(&path).map_or(0, Iterator::count);
                assert_eq!(left, 0, "no later sweep knows this folder as one of ours");
                removal.join().expect("no panic");
            });
        }
        assert_eq!(there(parent.path()), 0);
    }

    #[test]
    fn folders_made_and_swept_at_once_are_whole() {
        let parent = tempfile::tempdir().expect("a folder");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let own = Scratch::new_in(parent.path()).expect("a folder");
                        std::fs::write(own.path().join("work"), "x").expect("not swept");
                        sweep(parent.path());
                        assert!(own.path().join("work").exists());
                    }
                });
            }
        });
        assert_eq!(there(parent.path()), 0);
    }
}
