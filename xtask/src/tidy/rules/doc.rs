//! Every file says first why it exists and what it refuses. Cases that must not compile are shown to users by
//! their error alone, and need no such word.

use crate::tidy::{Found, Tree};

pub(super) fn check(tree: &Tree, found: &mut Found<'_>) {
    for source in tree.sources.iter().filter(|source| !source.is_compile_case()) {
        let first = source.text.lines().find(|line| !line.trim().is_empty());
        if !first.is_some_and(|line| line.starts_with("//!") && line.len() > 4) {
            found.at(
                &source.path,
                1,
                "begin with a `//!` paragraph: why this file exists and what it refuses",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines;

    #[test]
    fn a_file_without_its_first_paragraph_is_caught() {
        assert_eq!(lines("module-doc", "crates/a/src/x.rs", "use std::fmt;\n"), [1]);
        assert_eq!(lines("module-doc", "crates/a/src/x.rs", "//!\nuse std::fmt;\n"), [1]);
        assert!(lines("module-doc", "crates/a/src/x.rs", "//! Why.\n").is_empty());
        assert!(lines("module-doc", "crates/a/tests/ui/x.rs", "fn main() {}\n").is_empty());
    }
}
