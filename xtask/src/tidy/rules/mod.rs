//! The rules, one module each. A rule is a name and a function from the tree to places: to add one, write its
//! module with a test that it catches a violation, and a line in [`ALL`].

mod banned_text;
mod clock;
mod dependencies;
mod doc;
mod ignored;
mod layers;
mod lints;
mod panics;
mod parse;
mod rooms;
mod size;
mod sleep;
mod static_state;

use super::Found;
use super::tree::Tree;

/// A rule of place.
pub(super) struct Rule {
    /// As violations and excuses spell it.
    pub name: &'static str,
    /// Lists what breaks it.
    pub check: fn(&Tree, &mut Found<'_>),
}

/// Every rule that tidy applies.
pub(super) const ALL: &[Rule] = &[
    Rule { name: "parse", check: parse::check },
    Rule { name: "rooms", check: rooms::check },
    Rule { name: "clock", check: clock::check },
    Rule { name: "core-dependencies", check: dependencies::core },
    Rule { name: "adapters", check: dependencies::adapters },
    Rule { name: "banned-crates", check: dependencies::banned },
    Rule { name: "lints", check: lints::check },
    Rule { name: "file-length", check: size::files },
    Rule { name: "function-length", check: size::functions },
    Rule { name: "module-doc", check: doc::check },
    Rule { name: "static-state", check: static_state::check },
    Rule { name: "panic", check: panics::check },
    Rule { name: "ignored-test", check: ignored::check },
    Rule { name: "sleep", check: sleep::check },
    Rule { name: "banned-text", check: banned_text::check },
    Rule { name: "layers", check: layers::check },
];

/// Library code: what a user's program links.
fn is_library(path: &str) -> bool {
    path.starts_with("crates/") && path.contains("/src/")
}

/// What one rule says about a hand-made tree, as `path:line`.
#[cfg(test)]
fn places(name: &str, tree: &Tree) -> Vec<String> {
    let report = super::judge(tree);
    report.violations.iter().filter(|v| v.rule == name).map(|v| format!("{}:{}", v.path, v.line)).collect()
}

/// What one rule says about one file.
#[cfg(test)]
fn lines(name: &str, path: &str, code: &str) -> Vec<usize> {
    let report = super::judge(&Tree::of([(path, code)]));
    report.violations.iter().filter(|v| v.rule == name).map(|v| v.line).collect()
}
