//! Each service of the shop is laid out alike, and its arrows point one way: `infrastructure` → `application`
//! → `domain`, and `published` → `domain`. The domain needs no serialised form, no bus and no database, and a
//! service names nothing of another: it reads the other's published JSON with types of its own.

use std::collections::BTreeSet;

use crate::tidy::tokens::{PathUse, paths};
use crate::tidy::{Found, Tree};

const SRC: &str = "examples/shop/src/";

/// A layer, and what it does not name.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &["application", "infrastructure", "published", "integration", "serde", "serde_json", "sqlx"]),
    ("application", &["infrastructure"]),
    ("published", &["application", "infrastructure"]),
    ("infrastructure", &[]),
];

pub(super) fn check(tree: &Tree, found: &mut Found<'_>) {
    let services: BTreeSet<&str> =
        tree.sources.iter().filter_map(|s| place(&s.path)).map(|(service, _)| service).collect();
    for source in &tree.sources {
        let Some((service, layer)) = place(&source.path) else { continue };
        for path in paths(&source.tokens).iter().filter(|path| !source.is_test(path.line)) {
            let spelled = path.spelled();
            if let Some(name) = layer.1.iter().find(|name| names(path, name)) {
                found.at(
                    &source.path,
                    path.line,
                    format!("`{}/` names nothing of `{name}` (`{spelled}`): turn the arrow round", layer.0),
                );
            }
            let other = path.below_root().filter(|name| path.segments[0] != "factum" && *name != service);
            if let Some(other) = other.filter(|name| services.contains(name)) {
                let instead =
                    format!("`{service}` names nothing of `{other}` (`{spelled}`): read its published JSON");
                found.at(&source.path, path.line, instead);
            }
        }
    }
}

/// The service and the layer that a file belongs to: `src/<service>/<layer>/..` or
/// `src/<service>/<layer>.rs`.
fn place(path: &str) -> Option<(&str, &'static (&'static str, &'static [&'static str]))> {
    let (service, rest) = path.strip_prefix(SRC)?.split_once('/')?;
    let folder = rest.split('/').next()?.trim_end_matches(".rs");
    let layer = LAYERS.iter().find(|(name, _)| *name == folder)?;
    Some((service, layer))
}

/// A name alone is a local variable, except where it is a crate.
fn names(path: &PathUse, name: &str) -> bool {
    let whole_crate = matches!(name, "serde" | "serde_json" | "sqlx");
    if whole_crate { path.segments[0] == name } else { path.segments.len() > 1 && path.has(name) }
}

#[cfg(test)]
mod tests {
    use super::super::{lines, places};
    use crate::tidy::Tree;

    #[test]
    fn the_domain_of_a_service_knows_no_other_layer_and_no_wire() {
        let code = "//! Why.\nuse serde::Serialize;\n#[serde(skip)]\nstruct A;\n\
                    use factum::integration::Envelope;\n\
                    use super::published::X;\nfn f() { sqlx::query(\"\"); }\n\
                    use crate::ordering::application::Y;\n";
        assert_eq!(lines("layers", "examples/shop/src/ordering/domain/order.rs", code), [2, 3, 5, 6, 7, 8]);
        assert_eq!(
            lines("layers", "examples/shop/src/ordering/domain.rs", "//! Why.\nuse serde::Serialize;"),
            [2]
        );
    }

    #[test]
    fn arrows_point_inwards() {
        let code = "//! Why.\nuse super::super::infrastructure::Db;\nuse super::super::domain::Order;\n\
                    let published = domain;\n";
        assert_eq!(
            lines(
                "layers",
                "examples/shop/src/ordering/application/place.rs",
                &code.replace("let published = domain;\n", "")
            ),
            [2]
        );
        assert_eq!(
            lines(
                "layers",
                "examples/shop/src/ordering/published/mod.rs",
                "//! Why.\nuse crate::ordering::{domain::A, application::B};"
            ),
            [2]
        );
        assert!(
            lines(
                "layers",
                "examples/shop/src/ordering/infrastructure/db.rs",
                "//! Why.\nuse super::super::application::A;"
            )
            .is_empty()
        );
        assert!(
            lines(
                "layers",
                "examples/shop/src/ordering/domain/a.rs",
                "//! Why.\nfn f() { let published = 1; g(published); }"
            )
            .is_empty()
        );
    }

    #[test]
    fn a_service_names_nothing_of_another() {
        let tree = Tree::of([
            (
                "examples/shop/src/ordering/application/a.rs",
                "//! Why.\nuse crate::payment::published::Settled;\n",
            ),
            ("examples/shop/src/payment/published/mod.rs", "//! Why.\n"),
        ]);
        assert_eq!(places("layers", &tree), ["examples/shop/src/ordering/application/a.rs:2"]);
    }
}
