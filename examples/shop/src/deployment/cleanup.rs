//! Removing what runs have left behind. What does not carry the namespace, or is not one of our files, is not touched.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use super::Site;
use crate::Failure;
use crate::composition::NAMES;

/// What was removed, a line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed(Vec<String>);

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "nothing was there to be removed");
        }
        self.0.iter().try_for_each(|what| writeln!(f, "removed {what}"))
    }
}

/// The bus first: while its queues are there, a run that was forgotten could go on.
pub(super) async fn clean_up(site: &Site) -> Result<Removed, Failure> {
    let mut removed = site.bus.clean_up(&site.namespace).await?;
    removed.extend(site.store.clean_up(&site.folder, &site.namespace).await?);
    Ok(Removed(removed))
}

/// The folder itself stays, with whatever else is in it.
pub(super) fn from_folder(folder: &Path) -> Result<Vec<String>, Failure> {
    let mut removed = Vec::new();
    for name in NAMES {
        for ending in ["db", "db-wal", "db-shm", "db-turn"] {
            let path = folder.join(name).with_extension(ending);
            match fs::remove_file(&path) {
                Ok(()) => removed.push(format!("file {}", path.display())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Failure::DataDir { path, source }),
            }
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_of_the_services_are_removed_from_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["ordering.db", "ordering.db-turn", "mine.db", "ordering.txt"] {
            fs::write(folder.path().join(file), "x").unwrap();
        }
        let removed = Removed(from_folder(folder.path()).unwrap()).to_string();
        assert_eq!(removed.lines().count(), 2, "{removed}");
        assert!(removed.lines().all(|line| line.contains("ordering.db")), "{removed}");
        assert!(["mine.db", "ordering.txt"].iter().all(|file| folder.path().join(file).exists()));
        let again = Removed(from_folder(folder.path()).unwrap()).to_string();
        assert_eq!(again, "nothing was there to be removed\n");
    }
}
