//! The two halves of the core do not know each other: `domain/` names nothing of `integration/`, nor the
//! reverse. They meet in `unit_of_work/`. What both need lies beside them (`event`, `error`, `port`). Doc
//! comments may link anywhere.
//!
//! A name that `lib.rs` exports from a room counts as that room's, so that there is no way round by the front
//! door.

use std::collections::BTreeMap;

use crate::tidy::Found;
use crate::tidy::tokens::{PathUse, paths};
use crate::tidy::tree::Tree;

const SRC: &str = "crates/factum/src/";
const HALVES: [(&str, &str); 2] = [("domain", "integration"), ("integration", "domain")];

pub(super) fn check(tree: &Tree, found: &mut Found<'_>) {
    let exports = exports(tree, found);
    for source in &tree.sources {
        for (room, other) in HALVES.iter().filter(|(room, _)| is_in(&source.path, room)) {
            for path in paths(&source.tokens) {
                if let Some(instead) = fault(&path, room, other, &exports) {
                    found.at(&source.path, path.line, instead);
                }
            }
        }
    }
}

fn is_in(path: &str, room: &str) -> bool {
    path.strip_prefix(SRC)
        .and_then(|rest| rest.strip_prefix(room))
        .is_some_and(|r| r.starts_with('/') || r == ".rs")
}

fn fault(path: &PathUse, room: &str, other: &str, exports: &BTreeMap<String, String>) -> Option<String> {
    let named = path.below_root()?;
    let spelled = path.spelled();
    if named == other || exports.get(named).is_some_and(|home| home == other) {
        return Some(format!(
            "`{room}/` names nothing of `{other}/` (`{spelled}`): move what needs both to `unit_of_work/`"
        ));
    }
    let at_crate = path.segments.first().is_some_and(|first| first == "crate" || first == "factum");
    (at_crate && (named == "*" || named == "prelude"))
        .then(|| format!("`{spelled}` may bring in `{other}/`: name what is needed, from its own room"))
}

/// Which room each name that `lib.rs` exports comes from.
fn exports(tree: &Tree, found: &mut Found<'_>) -> BTreeMap<String, String> {
    let mut homes = BTreeMap::new();
    let root = format!("{SRC}lib.rs");
    for source in tree.sources.iter().filter(|source| source.path == root) {
        for path in paths(&source.tokens) {
            let from_root: Vec<&String> =
                path.segments.iter().skip_while(|s| *s == "crate" || *s == "self").collect();
            let [room, .., name] = from_root.as_slice() else { continue };
            if !HALVES.iter().any(|(half, _)| half == room) {
                continue;
            }
            if *name == "*" {
                found.at(
                    &root,
                    path.line,
                    format!("export the names of `{room}/` one by one, so that each is known to be its own"),
                );
            }
            homes.insert((*name).clone(), (*room).clone());
        }
    }
    homes
}

#[cfg(test)]
mod tests {
    use super::super::{lines, places};
    use crate::tidy::Tree;

    const DOMAIN: &str = "crates/factum/src/domain/entity.rs";

    #[test]
    fn the_domain_names_nothing_of_integration_in_any_spelling() {
        let code = "//! Why.\nuse crate::integration::Envelope;\nuse crate::{error::Error, integration};\n\
                    fn f() { super::super::integration::g(); }\n\
                    fn h() { println!(\"{}\", crate::integration::X); }\n";
        assert_eq!(lines("rooms", DOMAIN, code), [2, 3, 4, 5]);
        assert_eq!(
            lines("rooms", "crates/factum/src/domain.rs", "//! Why.\nuse crate::integration::A;"),
            [2]
        );
    }

    #[test]
    fn integration_names_nothing_of_the_domain() {
        let code = "//! Why.\nuse crate::domain::Entity;\n";
        assert_eq!(lines("rooms", "crates/factum/src/integration/event.rs", code), [2]);
    }

    #[test]
    fn the_seam_names_both_and_doc_comments_link_anywhere() {
        let both = "//! Why.\nuse crate::{domain::Entity, integration::Envelope};\n";
        assert!(lines("rooms", "crates/factum/src/unit_of_work/mod.rs", both).is_empty());
        let docs = "//! See [`crate::integration::Envelope`].\nuse crate::event::Event;\n\
                    use crate::unit_of_work::UnitOfWork;\n";
        assert!(lines("rooms", DOMAIN, docs).is_empty());
    }

    #[test]
    fn a_name_exported_at_the_root_still_belongs_to_its_room() {
        let tree = Tree::of([
            (
                "crates/factum/src/lib.rs",
                "//! Map.\npub use integration::{Envelope, bus::EventBus};\npub use domain::*;\n",
            ),
            (
                DOMAIN,
                "//! Why.\nuse crate::Envelope;\nuse crate::{EventBus, Error};\nuse crate::prelude::*;\n",
            ),
        ]);
        let expected = [DOMAIN, DOMAIN, DOMAIN, "crates/factum/src/lib.rs"];
        let expected: Vec<String> =
            expected.iter().zip([2, 3, 4, 3]).map(|(p, l)| format!("{p}:{l}")).collect();
        assert_eq!(places("rooms", &tree), expected);
    }
}
