//! A source that does not parse is a source that no rule has read: better to say so than to pass it.

use crate::tidy::{Found, Tree};

pub(super) fn check(tree: &Tree, found: &mut Found<'_>) {
    for source in tree.sources.iter().filter(|source| !source.is_compile_case()) {
        if let Some((line, error)) = &source.unparsed {
            found.at(&source.path, *line, format!("make it parse, no rule could read it: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines;

    #[test]
    fn a_source_that_does_not_parse_is_reported_unless_it_is_a_compile_fail_case() {
        assert_eq!(lines("parse", "crates/a/src/lib.rs", "//! Why.\nfn ("), [2]);
        assert!(lines("parse", "crates/a/tests/ui/bad.rs", "fn (").is_empty());
    }
}
