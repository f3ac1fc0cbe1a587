//! Everything the rules look at, read once: the files that git tracks (or would track), the Rust sources
//! among them parsed, and what cargo knows of the workspace. Tests build one by hand.

use std::path::Path;
use std::process::Command;

use super::metadata::Metadata;
use super::source::Source;

/// A text file, whatever its language.
#[derive(Debug)]
pub struct Text {
    /// Relative to the root, with `/` between folders.
    pub path: String,
    /// The whole content.
    pub content: String,
}

/// The repository as the rules see it.
#[derive(Default)]
pub struct Tree {
    /// Every tracked file that is UTF-8.
    pub texts: Vec<Text>,
    /// Every Rust source, parsed.
    pub(crate) sources: Vec<Source>,
    /// Packages and their dependencies.
    pub(crate) metadata: Metadata,
}

impl Tree {
    /// Reads the repository at `root`.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or cargo cannot describe the workspace.
    pub fn read(root: &Path) -> Result<Self, String> {
        let mut files = Vec::new();
        for path in listed(root)? {
            let bytes = match std::fs::read(root.join(&path)) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(format!("{path}: {error}")),
            };
            if let Ok(content) = String::from_utf8(bytes) {
                files.push((path, content));
            }
        }
        let mut tree = Self::of(files);
        tree.metadata = Metadata::read(root)?;
        Ok(tree)
    }

    /// A tree of the given files, with no packages.
    pub fn of<P: Into<String>, C: Into<String>>(files: impl IntoIterator<Item = (P, C)>) -> Self {
        let texts: Vec<Text> =
            files.into_iter().map(|(p, c)| Text { path: p.into(), content: c.into() }).collect();
        let mut sources: Vec<Source> = texts
            .iter()
            .filter(|text| text.path.ends_with(".rs"))
            .map(|text| Source::parse(&text.path, &text.content))
            .collect();
        mark_test_files(&mut sources);
        Self { texts, sources, metadata: Metadata::default() }
    }

    /// The content of one file, if it is there.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.iter().find(|text| text.path == path).map(|text| text.content.as_str())
    }
}

/// `#[cfg(test)] mod tests;` makes another file test code: only the parent can say so.
fn mark_test_files(sources: &mut [Source]) {
    let stems: Vec<String> = sources.iter().flat_map(Source::test_modules_elsewhere).collect();
    for source in sources {
        source.all_test |= stems.iter().any(|stem| {
            source.path.strip_prefix(stem.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
    }
}

/// Tracked files and new ones that are not ignored; without git (an unpacked archive) all but build output.
fn listed(root: &Path) -> Result<Vec<String>, String> {
    let git = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output();
    let mut paths = match git {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(str::to_owned)
            .collect(),
        _ => walk(root)?,
    };
    paths.sort();
    paths.dedup();
    Ok(paths)
}

fn walk(root: &Path) -> Result<Vec<String>, String> {
    let mut paths = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{}: {error}", folder.display()))?;
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() && name != "target" && name != ".git" {
                folders.push(path);
            } else if path.is_file()
                && let Ok(relative) = path.strip_prefix(root)
            {
                paths.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_its_parent_declares_for_tests_is_test_code() {
        let tree = Tree::of([
            ("crates/a/src/lib.rs", "#[cfg(test)] mod tests; mod real;"),
            ("crates/a/src/tests.rs", "fn x() {}"),
            ("crates/a/src/tests/more.rs", "fn x() {}"),
            ("crates/a/src/real.rs", "#[cfg(test)] mod inner;"),
            ("crates/a/src/real/inner.rs", "fn x() {}"),
        ]);
        let test: Vec<&str> = tree.sources.iter().filter(|s| s.all_test).map(|s| s.path.as_str()).collect();
        assert_eq!(
            test,
            ["crates/a/src/tests.rs", "crates/a/src/tests/more.rs", "crates/a/src/real/inner.rs"]
        );
    }

    #[test]
    fn without_git_the_folder_itself_is_walked() {
        let paths = walk(&crate::root().join("xtask/src")).expect("the folder is readable");
        assert!(paths.contains(&"tidy/tree.rs".to_owned()), "{paths:?}");
    }
}
