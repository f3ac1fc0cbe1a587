//! The rules of place as checks. Each rule is a small module that reads the [`Tree`] and lists what breaks
//! it; this file only collects. A rule refuses to guess: what it cannot see in `cargo metadata` or in the
//! sources it leaves to a reader.
//!
//! A line may be excused by `// tidy: allow(<rule>): <reason>`, at its end or alone on the line above. An
//! excuse without a reason, for a rule that does not exist, or that excuses nothing is itself out of place.

mod escape;
mod failure_modes;
mod metadata;
mod report;
mod rules;
mod source;
mod tokens;
mod tree;

pub use report::{Report, Violation};
pub use tree::Tree;

use std::path::Path;

/// Reads the repository at `root` and judges it by every rule.
///
/// # Errors
///
/// When `cargo metadata` cannot be run, or a file cannot be read: then nothing can be said about the rules.
pub fn run(root: &Path) -> Result<Report, String> {
    let tree = Tree::read(root)?;
    Ok(judge(&tree))
}

/// Judges a tree that was read already.
pub fn judge(tree: &Tree) -> Report {
    let mut found = Vec::new();
    for rule in rules::ALL {
        (rule.check)(tree, &mut Found { rule: rule.name, violations: &mut found });
    }
    let mut violations = escape::apply(tree, found);
    violations.sort();
    violations.dedup();
    Report {
        violations,
        rules: rules::ALL.len() + 1,
        files: tree.texts.len(),
        untested: failure_modes::untested(tree),
    }
}

/// Where a rule puts what it finds.
pub(crate) struct Found<'a> {
    rule: &'static str,
    violations: &'a mut Vec<Violation>,
}

impl Found<'_> {
    /// Notes that `path:line` breaks the rule, and what to do instead.
    pub(crate) fn at(&mut self, path: &str, line: usize, instead: impl Into<String>) {
        self.violations.push(Violation {
            path: path.to_owned(),
            line,
            rule: self.rule,
            instead: instead.into(),
        });
    }
}
