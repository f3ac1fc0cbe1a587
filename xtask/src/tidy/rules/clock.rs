//! `domain/` and `protocol/` read no clock and draw no randomness: time and ids come in through ports. Only
//! so can a simulator replay them, and a test of a domain model run with nothing around it.

use crate::tidy::tokens::{PathUse, paths};
use crate::tidy::{Found, Tree};

const ROOMS: [&str; 2] = ["crates/factum/src/domain", "crates/factum/src/protocol"];

pub(super) fn check(tree: &Tree, found: &mut Found<'_>) {
    for source in tree.sources.iter().filter(|source| ROOMS.iter().any(|room| source.path.starts_with(room)))
    {
        for path in paths(&source.tokens).iter().filter(|path| !source.is_test(path.line)) {
            if let Some(what) = fault(path) {
                let instead =
                    format!("`{}` {what}: take the value as an argument, or through `port`", path.spelled());
                found.at(&source.path, path.line, instead);
            }
        }
    }
}

fn fault(path: &PathUse) -> Option<&'static str> {
    if path.has("SystemTime") || path.has_run(&["Instant", "now"]) {
        return Some("reads a clock");
    }
    let draws = ["RandomState", "rand", "fastrand", "getrandom", "now_v7", "new_v4"];
    if draws.iter().any(|name| path.has(name)) {
        return Some("draws randomness");
    }
    path.segments.first().is_some_and(|first| first == "tokio").then_some("needs a runtime")
}

#[cfg(test)]
mod tests {
    use super::super::lines;

    #[test]
    fn clocks_randomness_and_runtimes_are_caught_in_the_pure_rooms() {
        let code = "//! Why.\nuse std::time::SystemTime;\nfn f() { std::time::Instant::now(); }\n\
                    use std::hash::RandomState;\n\
                    fn g() { rand::random::<u8>(); }\nfn h() { uuid::Uuid::now_v7(); }\n\
                    use tokio::sync::Mutex;\n";
        assert_eq!(lines("clock", "crates/factum/src/protocol/relay.rs", code), [2, 3, 4, 5, 6, 7]);
        assert_eq!(lines("clock", "crates/factum/src/domain/entity.rs", code).len(), 6);
        assert!(lines("clock", "crates/factum/src/port/clock.rs", code).is_empty());
    }

    #[test]
    fn an_instant_that_is_handed_in_is_free_and_so_are_tests() {
        let code = "//! Why.\nuse std::time::{Duration, Instant};\nfn f(now: Instant) {}\n\
                    #[cfg(test)]\nmod tests { fn g() { std::time::Instant::now(); } }\n";
        assert!(lines("clock", "crates/factum/src/protocol/relay.rs", code).is_empty());
    }
}
