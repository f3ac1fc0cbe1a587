//! The folder that the databases are in, and the lock that keeps a second run out of it.
//!
//! It is never deleted here, a fresh one neither: its databases are what a reader of the report may want to
//! open next.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Failure;

/// The folder of a run, which has it for itself until this is dropped, or the process ends in any other way.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// [`prepare`]s a folder, and takes it.
    ///
    /// # Errors
    ///
    /// [`Failure::DataDir`] where the path cannot be a folder or cannot be written to, [`Failure::InUse`] where
    /// another run has it.
    pub fn take(given: Option<&Path>) -> Result<Self, Failure> {
        let path = prepare(given)?;
        let unusable = |source| Failure::DataDir { path: path.clone(), source };
        let lock = File::create(path.join("shop.lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Failure::InUse { path }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The given folder, made where it is missing; otherwise a fresh one in the system's temporary folder.
///
/// # Errors
///
/// [`Failure::DataDir`] where the path cannot be a folder.
pub fn prepare(given: Option<&Path>) -> Result<PathBuf, Failure> {
    match given {
        Some(path) => make(path),
        None => fresh(),
    }
}

/// A folder that is there already.
///
/// # Errors
///
/// [`Failure::DataDir`] where there is none.
pub fn find(path: &Path) -> Result<PathBuf, Failure> {
    let found = fs::metadata(path).and_then(|found| match found.is_dir() {
        true => Ok(path.to_owned()),
        false => Err(io::ErrorKind::NotADirectory.into()),
    });
    found.map_err(|source| Failure::DataDir { path: path.to_owned(), source })
}

fn make(path: &Path) -> Result<PathBuf, Failure> {
    fs::create_dir_all(path).map_err(|source| Failure::DataDir { path: path.to_owned(), source })?;
    Ok(path.to_owned())
}

fn fresh() -> Result<PathBuf, Failure> {
    tempfile::Builder::new().prefix("shop-").tempdir().map(TempDir::keep).map_err(|source| Failure::System {
        what: "make a temporary folder; give one with --data-dir",
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_folder_is_made_and_kept() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        assert_eq!(prepare(Some(&path)).unwrap(), path);
        fs::write(path.join("kept"), "x").unwrap();
        prepare(Some(&path)).unwrap();
        assert!(path.join("kept").exists());
    }

    #[test]
    fn a_file_is_no_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let failure = prepare(Some(file.path())).unwrap_err();
        let expected = format!("--data-dir {}: expected a folder", file.path().display());
        assert!(failure.to_string().starts_with(&expected), "{failure}");
        assert!(failure.is_callers());
    }

    #[test]
    fn a_folder_has_one_run_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::take(Some(folder.path())).unwrap();
        let second = DataDir::take(Some(folder.path())).unwrap_err();
        assert!(matches!(second, Failure::InUse { .. }) && second.is_callers());
        drop(first);
        assert_eq!(DataDir::take(Some(folder.path())).unwrap().path(), folder.path());
    }

    #[test]
    fn without_a_given_folder_every_run_has_one_of_its_own() {
        let (one, other) = (prepare(None).unwrap(), prepare(None).unwrap());
        assert!(one.is_dir() && other.is_dir() && one != other);
        fs::remove_dir(one).unwrap();
        fs::remove_dir(other).unwrap();
    }
}
