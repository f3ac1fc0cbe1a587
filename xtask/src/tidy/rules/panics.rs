//! Library code does not panic: what can go wrong is in the error type, where the caller can act on it. The
//! test crates (the test kit and the conformance suites) are tests and may.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, TokenTree};
use syn::spanned::Spanned;

use super::super::source::Source;
use super::is_library;
use crate::tidy::tokens::{each_position, is_punct, line_of, name_of, paths};
use crate::tidy::{Found, Tree};

const METHODS: &[&str] = &["unwrap", "expect", "unwrap_err", "expect_err"];
const MACROS: &[&str] = &["panic", "unreachable", "todo", "unimplemented", "dbg"];

/// File and function of the one panic. `uow[key]` with a key of another unit of work: `Index` has no way to
/// return an error, and the fault is the program's, as with an index out of bounds. `get` is there for who is
/// not sure.
const FOREIGN_KEY: (&str, &str) = ("crates/factum/src/unit_of_work/tracker.rs", "no_such");

pub(super) fn check(tree: &Tree, found: &mut Found<'_>) {
    for source in tree.sources.iter().filter(|source| is_library(&source.path)) {
        let excepted = excepted(source);
        for (line, what) in panics(source) {
            if !source.is_test(line) && !excepted.as_ref().is_some_and(|lines| lines.contains(&line)) {
                found.at(&source.path, line, format!("{what} panics: return an error that says what to do"));
            }
        }
    }
}

fn panics(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    each_position(&source.tokens, &mut |here| match here {
        [dot, name, TokenTree::Group(group), ..]
            if is_punct(dot, '.') && is(METHODS, name) && group.delimiter() == Delimiter::Parenthesis =>
        {
            found.push((line_of(name), format!("`.{}()`", name_of(name))));
        }
        [name, bang, TokenTree::Group(_), ..] if is_punct(bang, '!') && is(MACROS, name) => {
            found.push((line_of(name), format!("`{}!`", name_of(name))));
        }
        _ => {}
    });
    for path in paths(&source.tokens) {
        if let [.., owner, method] = path.segments.as_slice()
            && matches!(owner.as_str(), "Option" | "Result")
            && METHODS.contains(&method.as_str())
        {
            found.push((path.line, format!("`{}`", path.spelled())));
        }
    }
    found
}

fn is(names: &[&str], token: &TokenTree) -> bool {
    names.contains(&name_of(token).as_str())
}

/// The lines of the one exception; none in any other file.
fn excepted(source: &Source) -> Option<RangeInclusive<usize>> {
    let function = source.syntax.items.iter().find_map(|item| match item {
        syn::Item::Fn(item) if item.sig.ident == FOREIGN_KEY.1 && source.path == FOREIGN_KEY.0 => Some(item),
        _ => None,
    });
    function.map(|item| item.span().start().line..=item.span().end().line)
}

#[cfg(test)]
mod tests {
    use super::super::lines;

    const PATH: &str = "crates/factum/src/unit_of_work/mod.rs";

    #[test]
    fn every_way_to_panic_is_caught_inside_macros_too() {
        let code = "//! Why.\nfn f() {\n a.unwrap();\n a\n .expect(\"x\");\n panic!(\"x\");\n\
                    unreachable!();\n todo!();\n \
                    unimplemented!();\n dbg!(a);\n b.map(Option::unwrap);\n\
                    format!(\"{}\", a.unwrap());\n}\n";
        assert_eq!(lines("panic", PATH, code), [3, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn its_relatives_that_do_not_panic_are_free_and_so_are_docs_and_tests() {
        let code = "//! Why: `a.unwrap()`.\n/// panic!(\"x\")\nfn f() {\n a.unwrap_or_default();\n\
                    std::panic::catch_unwind(f);\n}\n\
                    #[expect(unused)]\nfn g() { let s = \"a.unwrap()\"; }\n\
                    #[cfg(test)]\nmod tests {\n fn f() { a.unwrap(); }\n}\n";
        assert!(lines("panic", PATH, code).is_empty());
        for place in ["crates/factum-testkit/src/a.rs", "crates/factum/tests/a.rs", "examples/shop/src/a.rs"]
        {
            assert!(lines("panic", place, "//! Why.\nfn f() { a.unwrap(); }").is_empty());
        }
    }

    #[test]
    fn a_foreign_key_is_the_one_exception() {
        let code = "//! Why.\n#[track_caller]\nfn no_such() -> ! {\n panic!(\"x\")\n}\n\
                    fn other() -> ! {\n panic!(\"x\")\n}\n";
        assert_eq!(lines("panic", "crates/factum/src/unit_of_work/tracker.rs", code), [7]);
        assert_eq!(lines("panic", PATH, code), [4, 7]);
    }
}
