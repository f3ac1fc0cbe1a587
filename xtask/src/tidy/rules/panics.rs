//! Library code does not panic: what can go wrong is in the error type, where the caller can act on it. The test crates
//! (the test kit and the conformance suites) are tests and may.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, TokenTree};
use syn::spanned::Spanned;

use super::super::source::Source;
use super::is_library;
use crate::tidy::tokens::{each_position, is_punct, line_of, name_of, paths};
use crate::tidy::{Found, Tree};

const METHODS: &[&str] = &["unwrap", "expect", "unwrap_err", "expect_err"];
const MACROS: &[&str] = &["panic", "unreachable", "todo", "unimplemented", "dbg"];

/// `uow[key]` with a key of another unit of work: `Index` has no way to return an error, and the fault is the program's,
/// as with an index out of bounds. `get` is there for who is not sure.
const INDEX_OF: (&str, &str) = ("crates/factum/src/unit_of_work", "UnitOfWork");

pub(super) fn check(tree: &Tree, found: &mut Found<'_>) {
    for source in tree.sources.iter().filter(|source| is_library(&source.path)) {
        let excepted = index_lines(source);
        for (line, what) in panics(source) {
            if !source.is_test(line) && !excepted.iter().any(|lines| lines.contains(&line)) {
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

/// Lines of the `Index` impls that the one exception is about.
fn index_lines(source: &Source) -> Vec<RangeInclusive<usize>> {
    if !source.path.starts_with(INDEX_OF.0) {
        return vec![];
    }
    let impls = source.syntax.items.iter().filter_map(|item| match item {
        syn::Item::Impl(item) => Some(item),
        _ => None,
    });
    let excepted = impls.filter(|item| {
        let of_trait = item.trait_.as_ref().and_then(|(path, _)| path.segments.last());
        let for_type = match item.self_ty.as_ref() {
            syn::Type::Path(path) => path.path.segments.last(),
            _ => None,
        };
        of_trait.is_some_and(|t| t.ident == "Index" || t.ident == "IndexMut")
            && for_type.is_some_and(|t| t.ident == INDEX_OF.1)
    });
    excepted.map(|item| item.span().start().line..=item.span().end().line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::lines;

    const PATH: &str = "crates/factum/src/unit_of_work/mod.rs";

    #[test]
    fn every_way_to_panic_is_caught_inside_macros_too() {
        let code = "//! Why.\nfn f() {\n a.unwrap();\n a\n .expect(\"x\");\n panic!(\"x\");\n unreachable!();\n todo!();\n \
                    unimplemented!();\n dbg!(a);\n b.map(Option::unwrap);\n format!(\"{}\", a.unwrap());\n}\n";
        assert_eq!(lines("panic", PATH, code), [3, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn its_relatives_that_do_not_panic_are_free_and_so_are_docs_and_tests() {
        let code = "//! Why: `a.unwrap()`.\n/// panic!(\"x\")\nfn f() {\n a.unwrap_or_default();\n std::panic::catch_unwind(f);\n}\n\
                    #[expect(unused)]\nfn g() { let s = \"a.unwrap()\"; }\n\
                    #[cfg(test)]\nmod tests {\n fn f() { a.unwrap(); }\n}\n";
        assert!(lines("panic", PATH, code).is_empty());
        for place in ["crates/factum-testkit/src/a.rs", "crates/factum/tests/a.rs", "examples/shop/src/a.rs"]
        {
            assert!(lines("panic", place, "//! Why.\nfn f() { a.unwrap(); }").is_empty());
        }
    }

    #[test]
    fn the_index_of_a_unit_of_work_is_the_one_exception() {
        let code = "//! Why.\nimpl<S> Index<K> for UnitOfWork<S> {\n fn index(&self) { panic!(\"x\") }\n}\n\
                    impl<S> UnitOfWork<S> {\n fn g(&self) { panic!(\"x\") }\n}\n";
        assert_eq!(lines("panic", PATH, code), [6]);
        assert_eq!(lines("panic", "crates/factum/src/memory/a.rs", code), [3, 6]);
    }
}
