//! What cargo knows of the workspace, as far as the rules ask. It refuses to read manifests on its own where
//! `cargo metadata` has the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// Packages, their declared dependencies and what those resolve to.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Metadata {
    pub packages: Vec<Package>,
    pub workspace_members: Vec<String>,
    pub resolve: Option<Resolve>,
    #[serde(default)]
    pub workspace_root: String,
}

/// One package, ours or another's.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub id: String,
    pub name: String,
    pub manifest_path: String,
    pub dependencies: Vec<Declared>,
}

/// A dependency as a manifest declares it.
#[derive(Debug, Deserialize)]
pub(crate) struct Declared {
    pub name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub kind: Option<String>,
}

/// The resolved graph.
#[derive(Debug, Deserialize)]
pub(crate) struct Resolve {
    pub nodes: Vec<Node>,
}

/// One package in the resolved graph.
#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    pub id: String,
    pub deps: Vec<Edge>,
}

/// From a package to one that it depends on.
#[derive(Debug, Deserialize)]
pub(crate) struct Edge {
    pub pkg: String,
    pub dep_kinds: Vec<EdgeKind>,
}

/// How it depends on it.
#[derive(Debug, Deserialize)]
pub(crate) struct EdgeKind {
    pub kind: Option<String>,
}

impl Metadata {
    /// Asks cargo. Only this host's part of the graph is asked for, so that nothing is downloaded that a
    /// build here would not need.
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--filter-platform", &host()?])
            .current_dir(root)
            .output()
            .map_err(|error| format!("`cargo metadata` does not start: {error}"))?;
        if !output.status.success() {
            return Err(format!(
                "`cargo metadata` failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("`cargo metadata` is not readable: {error}"))
    }

    /// The workspace's own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// The manifest's path, relative to the root.
    pub(crate) fn manifest<'a>(&self, package: &'a Package) -> &'a str {
        let path = package.manifest_path.strip_prefix(&self.workspace_root).unwrap_or(&package.manifest_path);
        path.trim_start_matches('/')
    }

    /// Names of all packages that `package` reaches by normal dependencies, each with the chain that leads
    /// there.
    pub(crate) fn closure(&self, package: &Package) -> BTreeMap<String, String> {
        let names: BTreeMap<&str, &str> =
            self.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect();
        let mut reached = BTreeMap::new();
        let mut seen = BTreeSet::from([package.id.as_str()]);
        let mut waiting = vec![(package.id.as_str(), package.name.clone())];
        while let Some((id, chain)) = waiting.pop() {
            for next in self.normal_edges(id).filter(|next| !seen.contains(next)).collect::<Vec<_>>() {
                let name = names.get(next).copied().unwrap_or(next);
                let chain = format!("{chain} → {name}");
                reached.insert(name.to_owned(), chain.clone());
                seen.insert(next);
                waiting.push((next, chain));
            }
        }
        reached
    }

    fn normal_edges(&self, id: &str) -> impl Iterator<Item = &str> {
        let nodes = self.resolve.iter().flat_map(|resolve| &resolve.nodes);
        let edges = nodes.filter(move |node| node.id == id).flat_map(|node| &node.deps);
        edges
            .filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none()))
            .map(|edge| edge.pkg.as_str())
    }
}

/// This machine's target triple.
fn host() -> Result<String, String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(rustc)
        .args(["--print", "host-tuple"])
        .output()
        .map_err(|error| format!("`rustc --print host-tuple` does not start: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A workspace for tests: each package by its path and its edges, `dev:` before a dev-dependency.
#[cfg(test)]
pub(crate) fn workspace(packages: &[(&str, &[&str])]) -> Metadata {
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let split = |edge: &str| match edge.strip_prefix("dev:") {
        Some(rest) => (rest.to_owned(), Some("dev".to_owned())),
        None => (edge.to_owned(), None),
    };
    let package = |path: &str, edges: &[&str]| Package {
        id: name(path),
        name: name(path),
        manifest_path: format!("/r/{path}/Cargo.toml"),
        dependencies: edges.iter().map(|e| split(e)).map(|(name, kind)| Declared { name, kind }).collect(),
    };
    let node = |path: &str, edges: &[&str]| Node {
        id: name(path),
        deps: edges
            .iter()
            .map(|e| split(e))
            .map(|(pkg, kind)| Edge { pkg, dep_kinds: vec![EdgeKind { kind }] })
            .collect(),
    };
    Metadata {
        packages: packages.iter().map(|(path, edges)| package(path, edges)).collect(),
        workspace_members: packages.iter().filter(|(p, _)| p.contains('/')).map(|(p, _)| name(p)).collect(),
        resolve: Some(Resolve { nodes: packages.iter().map(|(path, edges)| node(path, edges)).collect() }),
        workspace_root: "/r".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closure_follows_normal_dependencies_only_and_tells_the_way() {
        let graph = workspace(&[("crates/a", &["b", "dev:c"]), ("b", &["d"]), ("c", &[]), ("d", &["b"])]);
        let closure = graph.closure(&graph.packages[0]);
        assert_eq!(closure.get("d").map(String::as_str), Some("a → b → d"));
        assert!(!closure.contains_key("c"));
    }

    #[test]
    fn this_workspace_can_be_read() {
        let graph = Metadata::read(&crate::root()).expect("cargo metadata");
        let manifests: Vec<&str> = graph.members().map(|package| graph.manifest(package)).collect();
        assert!(manifests.contains(&"xtask/Cargo.toml"), "{manifests:?}");
    }
}
