//! Who may depend on whom. The core reaches no runtime, client or driver, however far away; stores and buses
//! do not know each other; and only programs (the CLI, an example, the benchmarks, the torture) name two adapters.

use crate::tidy::metadata::Package;
use crate::tidy::{Found, Tree};

const NOT_IN_CORE: &[&str] =
    &["tokio", "sqlx", "async-std", "hyper", "lapin", "async-nats", "rdkafka", "redis", "axum", "rumqttc"];

/// The core's whole graph of normal dependencies, and the optional ones that it declares.
pub(super) fn core(tree: &Tree, found: &mut Found<'_>) {
    for package in tree.metadata.members().filter(|package| package.name == "factum") {
        let manifest = tree.metadata.manifest(package);
        for (name, chain) in tree.metadata.closure(package) {
            if NOT_IN_CORE.contains(&name.as_str()) || name.starts_with("sqlx-") {
                let instead =
                    format!("the core reaches `{name}` ({chain}): what needs it belongs in an adapter");
                found.at(manifest, 1, instead);
            }
        }
        for name in declared(package, false).filter(|name| NOT_IN_CORE.contains(name)) {
            let line = line_of(tree, manifest, name);
            found.at(
                manifest,
                line,
                format!("the core declares `{name}`: put what needs it into an adapter or the runtime"),
            );
        }
    }
}

/// Stores and buses apart, and two adapters only where they are assembled.
pub(super) fn adapters(tree: &Tree, found: &mut Found<'_>) {
    for package in tree.metadata.members() {
        let manifest = tree.metadata.manifest(package);
        let closure = tree.metadata.closure(package);
        let reached = |prefix: &str| closure.keys().find(|name| name.starts_with(prefix));
        for (own, other) in [("factum-store-", "factum-bus-"), ("factum-bus-", "factum-store-")] {
            if package.name.starts_with(own)
                && let Some(name) = reached(other)
            {
                let line = line_of(tree, manifest, name);
                found.at(
                    manifest,
                    line,
                    format!("`{}` reaches `{name}`: a store and a bus meet only in a program", package.name),
                );
            }
        }
        let named: Vec<&str> = declared(package, false).filter(|name| is_adapter(name)).collect();
        let programs = ["factum-bench", "factum-cli", "factum-torture"];
        let assembles = programs.contains(&package.name.as_str()) || manifest.starts_with("examples/");
        if named.len() > 1 && !assembles {
            let line = line_of(tree, manifest, named[1]);
            let both = named.join("` and `");
            found.at(
                manifest,
                line,
                format!(
                    "names `{both}`: only programs (`factum-cli`, `examples/`) assemble adapters; take a port"
                ),
            );
        }
    }
}

/// Crates that nobody here depends on, and crates that are in no graph of ours at all.
pub(super) fn banned(tree: &Tree, found: &mut Found<'_>) {
    for package in tree.metadata.members() {
        let manifest = tree.metadata.manifest(package);
        for name in declared(package, true).filter(|name| *name == "async-trait" || *name == "rusqlite") {
            let instead = match name {
                "async-trait" => {
                    "box the future by hand where the trait must be `dyn`, else write `async fn`"
                }
                _ => "take sqlx: two bindings of SQLite cannot be linked into one program",
            };
            found.at(manifest, line_of(tree, manifest, name), format!("depends on `{name}`: {instead}"));
        }
    }
    let declares =
        |name: &str| tree.metadata.members().any(|package| declared(package, true).any(|n| n == name));
    if tree.metadata.packages.iter().any(|package| package.name == "rusqlite") && !declares("rusqlite") {
        found.at(
            "Cargo.lock",
            1,
            "`rusqlite` is in the graph: find who brings it (`cargo tree -i rusqlite`) and take sqlx",
        );
    }
}

fn is_adapter(name: &str) -> bool {
    name.starts_with("factum-store-") || name.starts_with("factum-bus-")
}

fn declared(package: &Package, with_dev: bool) -> impl Iterator<Item = &str> {
    let wanted = move |kind: Option<&str>| with_dev || kind != Some("dev");
    package.dependencies.iter().filter(move |d| wanted(d.kind.as_deref())).map(|d| d.name.as_str())
}

/// The line in the manifest that declares the dependency, or the first.
fn line_of(tree: &Tree, manifest: &str, name: &str) -> usize {
    let declares = |line: &str| {
        line.trim_start().strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(['.', '=']))
    };
    let text = tree.text(manifest).unwrap_or_default();
    text.lines().position(declares).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use crate::tidy::Tree;
    use crate::tidy::metadata::workspace;

    fn tree(packages: &[(&str, &[&str])]) -> Tree {
        let mut tree =
            Tree::of([("crates/factum/Cargo.toml", "[package]\n\n[dependencies]\ntokio.workspace = true\n")]);
        tree.metadata = workspace(packages);
        tree
    }

    #[test]
    fn the_core_reaches_no_runtime_however_far_away() {
        let far = tree(&[("crates/factum", &["serde"]), ("serde", &["tokio"]), ("tokio", &[])]);
        assert_eq!(places("core-dependencies", &far), ["crates/factum/Cargo.toml:1"]);
        let declared = tree(&[("crates/factum", &["tokio"])]);
        assert!(places("core-dependencies", &declared).contains(&"crates/factum/Cargo.toml:4".to_owned()));
    }

    #[test]
    fn the_cores_own_tests_may_use_a_runtime() {
        let dev = tree(&[("crates/factum", &["dev:tokio"]), ("tokio", &[])]);
        assert!(places("core-dependencies", &dev).is_empty());
    }

    #[test]
    fn no_store_knows_a_bus_nor_the_reverse() {
        let store = tree(&[
            ("crates/factum-store-x", &["between"]),
            ("crates/between", &["factum-bus-y"]),
            ("crates/factum-bus-y", &[]),
        ]);
        assert_eq!(places("adapters", &store), ["crates/factum-store-x/Cargo.toml:1"]);
        let bus = tree(&[("crates/factum-bus-y", &["factum-store-x"]), ("crates/factum-store-x", &[])]);
        assert_eq!(places("adapters", &bus), ["crates/factum-bus-y/Cargo.toml:1"]);
    }

    #[test]
    fn only_what_is_assembled_for_a_user_names_two_adapters() {
        let rest: [(&str, &[&str]); 2] = [("crates/factum-store-x", &[]), ("crates/factum-bus-y", &[])];
        let with =
            |path: &'static str, edges: &'static [&'static str]| tree(&[(path, edges), rest[0], rest[1]]);
        assert_eq!(
            places("adapters", &with("crates/factum-runtime", &["factum-store-x", "factum-bus-y"])),
            ["crates/factum-runtime/Cargo.toml:1"]
        );
        for path in ["crates/factum-cli", "examples/shop"] {
            assert!(places("adapters", &with(path, &["factum-store-x", "factum-bus-y"])).is_empty());
        }
        assert!(
            places("adapters", &with("crates/factum-sim", &["dev:factum-store-x", "dev:factum-bus-y"]))
                .is_empty()
        );
    }

    #[test]
    fn async_trait_is_named_by_nobody_and_rusqlite_is_nowhere() {
        let direct = tree(&[("crates/a", &["dev:async-trait"]), ("async-trait", &[])]);
        assert_eq!(places("banned-crates", &direct), ["crates/a/Cargo.toml:1"]);
        let foreign = tree(&[("crates/a", &["axum"]), ("axum", &["async-trait"]), ("async-trait", &[])]);
        assert!(places("banned-crates", &foreign).is_empty());
        let far = tree(&[("crates/a", &["b"]), ("b", &["rusqlite"]), ("rusqlite", &[])]);
        assert_eq!(places("banned-crates", &far), ["Cargo.lock:1"]);
    }
}
