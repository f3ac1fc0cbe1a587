//! A test that sleeps is slow when it passes and wrong when the machine is busy: it waits for what it expects
//! instead (a counted event, a notification, a clock of its own).

use crate::tidy::tokens::paths;
use crate::tidy::{Found, Tree};

const SLEEPS: [[&str; 2]; 4] =
    [["thread", "sleep"], ["time", "sleep"], ["time", "sleep_until"], ["thread", "sleep_until"]];

pub(super) fn check(tree: &Tree, found: &mut Found<'_>) {
    for source in &tree.sources {
        for path in paths(&source.tokens).iter().filter(|path| source.is_test(path.line)) {
            if SLEEPS.iter().any(|sleep| path.has_run(sleep)) {
                let spelled = path.spelled();
                found.at(
                    &source.path,
                    path.line,
                    format!("`{spelled}`: wait for the event itself, under a time limit"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines;

    const CODE: &str = "//! Why.\nuse tokio::time::{sleep, timeout};\nfn f() { std::thread::sleep(d); }\n";

    #[test]
    fn a_sleep_in_a_test_is_caught_where_it_is_called_and_where_it_is_brought_in() {
        assert_eq!(lines("sleep", "crates/a/tests/a.rs", CODE), [2, 3]);
        assert_eq!(lines("sleep", "crates/factum-conformance/src/a.rs", CODE), [2, 3]);
        let inline =
            format!("//! Why.\n#[cfg(test)]\nmod tests {{\n{CODE}\n}}\n").replace("//! Why.\nuse", "use");
        assert_eq!(lines("sleep", "crates/a/src/a.rs", &inline), [4, 5]);
    }

    #[test]
    fn code_that_is_no_test_may_wait() {
        assert!(lines("sleep", "crates/factum-runtime/src/a.rs", CODE).is_empty());
    }

    #[test]
    fn an_excuse_with_a_reason_is_heard() {
        let code = "//! Why.\nfn f() { std::thread::sleep(d); } // tidy: allow(sleep): the server has no event for this\n";
        assert!(lines("sleep", "crates/a/tests/a.rs", code).is_empty());
        assert!(lines("allow", "crates/a/tests/a.rs", code).is_empty());
    }
}
