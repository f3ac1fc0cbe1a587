//! What no tracked file says, whatever its language: notes to self (they belong where somebody will find
//! them), paths of one machine, and hosts that only one network can reach. This tool names them, so it is
//! left out itself.

use crate::tidy::tree::Text;
use crate::tidy::{Found, Tree};

const NOTES: [&str; 3] = ["TODO", "FIXME", "XXX"];
const MACHINE_PATHS: [&str; 3] = ["/work/", "/root/", "/home/"];
const PRIVATE_HOSTS: [&str; 5] = [".internal", ".local", ".corp", ".lan", ".intranet"];
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn check(tree: &Tree, found: &mut Found<'_>) {
    for text in tree.texts.iter().filter(|text| !text.path.starts_with("xtask/")) {
        for (index, line) in text.content.lines().enumerate() {
            if let Some(instead) = fault(text, line) {
                found.at(&text.path, index + 1, instead);
            }
        }
    }
}

fn fault(text: &Text, line: &str) -> Option<String> {
    if let Some(note) = NOTES.iter().find(|note| has_word(line, note)) {
        return Some(format!("`{note}`: do it now, or open an issue"));
    }
    if let Some(path) = MACHINE_PATHS.iter().find(|path| has_path(line, path)) {
        return Some(format!(
            "`{path}` is a path of one machine: make it relative to the root, or an argument"
        ));
    }
    if let Some(host) = hosts(line).find(|host| is_private(host)) {
        return Some(format!(
            "`{host}` is a host of one network: name a public one, or take it as an argument"
        ));
    }
    (text.path.ends_with("Cargo.lock") && line.starts_with("source = ") && !line.contains(CRATES_IO))
        .then(|| "a crate that does not come from crates.io: depend on a released one".to_owned())
}

fn has_word(line: &str, word: &str) -> bool {
    let whole = |(at, _): (usize, &str)| {
        let outside = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        outside(line[..at].chars().next_back()) && outside(line[at + word.len()..].chars().next())
    };
    line.match_indices(word).any(whole)
}

/// An absolute path: what stands before its slash is no part of a path or of an address.
fn has_path(line: &str, path: &str) -> bool {
    let begins = |(at, _): (usize, &str)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| {
            c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '~' | '}' | ')' | '/' | '*')
        }) || line[..at].ends_with("file://")
    };
    line.match_indices(path).any(begins)
}

fn hosts(line: &str) -> impl Iterator<Item = &str> {
    let schemes = ["http://", "https://"];
    let starts = schemes
        .into_iter()
        .flat_map(move |scheme| line.match_indices(scheme).map(move |(at, s)| at + s.len()));
    starts.map(move |start| {
        let rest = &line[start..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))).unwrap_or(rest.len());
        &rest[..end]
    })
}

fn is_private(host: &str) -> bool {
    let network =
        |prefix: &str| host.starts_with(prefix) && host.chars().all(|c| c.is_ascii_digit() || c == '.');
    PRIVATE_HOSTS.iter().any(|end| host.ends_with(end)) || network("10.") || network("192.168.")
}

#[cfg(test)]
mod tests {
    use super::super::{lines, places};
    use crate::tidy::Tree;

    #[test]
    fn notes_to_self_are_caught_in_any_file_but_not_inside_words() {
        let text = "all well\n# TODO later\nFIXME\nXXX: why\nMETHODOLOGY todo XXXL\n";
        assert_eq!(
            places("banned-text", &Tree::of([("docs/a.md", text)])),
            ["docs/a.md:2", "docs/a.md:3", "docs/a.md:4"]
        );
    }

    #[test]
    fn paths_of_a_machine_are_caught_and_relative_ones_are_not() {
        let text = "cd /work/main\nopen(\"/home/me/a\")\nfile:///root/x\nhttps://example.com/work/a\n\
                    ./work/a\n$HOME/work/a\n";
        assert_eq!(lines("banned-text", "a.sh", text), [1, 2, 3]);
    }

    #[test]
    fn hosts_of_one_network_are_caught() {
        let text = "https://crates.corp/index\nhttp://10.0.0.7/x\nhttp://127.0.0.1:80 https://docs.rs\n\
                    https://a.internal\n";
        assert_eq!(lines("banned-text", "a.toml", text), [1, 2, 4]);
        let lock = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n\
                    source = \"git+https://github.com/a/b\"\n";
        assert_eq!(lines("banned-text", "Cargo.lock", lock), [2]);
    }
}
