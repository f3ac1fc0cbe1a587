//! One set of lints for the whole house: every crate takes the workspace's, and those forbid `unsafe`. A
//! crate that keeps its own list drifts. Manifests are scanned as text, which is honest for two fixed lines.

use crate::tidy::{Found, Tree};

pub(super) fn check(tree: &Tree, found: &mut Found<'_>) {
    for package in tree.metadata.members() {
        let manifest = tree.metadata.manifest(package);
        if let Some(text) = tree.text(manifest)
            && !has(text, "lints", "workspace = true")
            && !text.lines().any(|line| line.trim() == "lints.workspace = true")
        {
            found.at(manifest, 1, "take the workspace's lints: `[lints]`, `workspace = true`");
        }
    }
    if let Some(text) = tree.text("Cargo.toml")
        && !has(text, "workspace.lints.rust", "unsafe_code = \"forbid\"")
    {
        found.at(
            "Cargo.toml",
            1,
            "forbid unsafe code for all: `[workspace.lints.rust]`, `unsafe_code = \"forbid\"`",
        );
    }
}

/// Whether the line stands in the section.
fn has(manifest: &str, section: &str, line: &str) -> bool {
    let mut inside = false;
    manifest.lines().map(str::trim).any(|each| {
        if each.starts_with('[') {
            inside = each == format!("[{section}]");
        }
        inside && each == line
    })
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use crate::tidy::Tree;
    use crate::tidy::metadata::workspace;

    fn found(root: &str, member: &str) -> Vec<String> {
        let mut tree = Tree::of([("Cargo.toml", root), ("crates/a/Cargo.toml", member)]);
        tree.metadata = workspace(&[("crates/a", &[])]);
        places("lints", &tree)
    }

    const ROOT: &str = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n";

    #[test]
    fn a_crate_that_does_not_take_the_workspaces_lints_is_caught() {
        assert_eq!(found(ROOT, "[package]\nname = \"a\"\n"), ["crates/a/Cargo.toml:1"]);
        assert_eq!(found(ROOT, "[lints]\n[features]\nworkspace = true\n"), ["crates/a/Cargo.toml:1"]);
        assert!(found(ROOT, "[lints]\nworkspace = true\n").is_empty());
        assert!(found(ROOT, "lints.workspace = true\n").is_empty());
    }

    #[test]
    fn a_workspace_that_does_not_forbid_unsafe_is_caught() {
        assert_eq!(
            found("[workspace.lints.rust]\nunsafe_code = \"deny\"\n", "[lints]\nworkspace = true\n"),
            ["Cargo.toml:1"]
        );
    }
}
