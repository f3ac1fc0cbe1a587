//! What a run is called on servers that it shares with others.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use uuid::{Uuid, uuid};

const FOLDERS: Uuid = uuid!("8f1b7b0e-6a3d-4f0c-9a55-3c2f5d0e7b61");

const CHARACTERS_MAX: usize = 30;

/// A name that fits into the names of everything on every server: 1 to 30 lower-case letters, digits and `-`, the first
/// of them a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(String);

/// What is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {CHARACTERS_MAX} lower-case letters, digits and `-`, the first of them a letter")]
pub struct NoName;

impl Namespace {
    /// The name of the runs in a folder: the same whenever this folder is meant, whatever it is called by.
    pub fn of(folder: &Path) -> Self {
        let path = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        let name = Uuid::new_v5(&FOLDERS, path.as_os_str().as_encoded_bytes()).simple().to_string();
        Self(format!("shop-{}", name.get(..12).unwrap_or(&name)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a service's part of a database server is called.
    pub fn database(&self, service: &str) -> String {
        format!("{}_{service}", self.0.replace('-', "_"))
    }
}

impl FromStr for Namespace {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Self, NoName> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let begins_well = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
        match begins_well && text.len() <= CHARACTERS_MAX && text.bytes().all(fits) {
            true => Ok(Self(text.to_owned())),
            false => Err(NoName),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_everywhere_or_is_refused() {
        for name in ["a", "shop-2", "n23456789012345678901234567890"] {
            assert_eq!(name.parse::<Namespace>().unwrap().to_string(), name);
        }
        for bad in ["", "Shop", "2shop", "-a", "a_b", "a.b", "a b", "ä", "n234567890123456789012345678901"] {
            assert_eq!(bad.parse::<Namespace>(), Err(NoName), "{bad}");
        }
    }

    #[test]
    fn a_folder_has_one_name_and_another_folder_another() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        let names = ["a", "a/../a", "."].map(|path| Namespace::of(&folder.path().join(path)));
        assert_eq!(names[0], names[1]);
        assert_ne!(names[0], names[2]);
        assert_eq!(names[0].to_string().parse(), Ok(names[0].clone()));
    }

    #[test]
    fn a_services_database_has_a_plain_name() {
        let namespace: Namespace = "my-shop".parse().unwrap();
        assert_eq!(namespace.database("ordering"), "my_shop_ordering");
    }
}
