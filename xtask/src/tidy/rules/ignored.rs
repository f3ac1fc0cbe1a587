//! A test that is ignored tests nothing and looks as if it did. A test whose server is absent skips itself,
//! aloud.

use proc_macro2::{Delimiter, TokenTree};

use super::super::source::words;
use crate::tidy::tokens::{each_position, is_punct, line_of, name_of};
use crate::tidy::{Found, Tree};

pub(super) fn check(tree: &Tree, found: &mut Found<'_>) {
    for source in &tree.sources {
        each_position(&source.tokens, &mut |here| {
            let [hash, TokenTree::Group(group), ..] = here else { return };
            if is_punct(hash, '#') && group.delimiter() == Delimiter::Bracket && ignores(group) {
                found.at(
                    &source.path,
                    line_of(hash),
                    "make the test run or take it away: nobody runs ignored tests",
                );
            }
        });
    }
}

fn ignores(attribute: &proc_macro2::Group) -> bool {
    let first = attribute.stream().into_iter().next().map(|token| name_of(&token));
    match first.as_deref() {
        Some("ignore") => true,
        Some("cfg_attr") => words(attribute.stream()).iter().any(|word| word == "ignore"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines;

    #[test]
    fn an_ignored_test_is_caught_also_behind_a_condition() {
        let code = "//! Why.\n#[test]\n#[ignore = \"slow\"]\nfn a() {}\n#[cfg_attr(miri, ignore)]\n\
                    fn b() {}\n\
                    #[ignore]\nfn c() {}\n#[doc(ignore)]\nfn d() {}\n";
        assert_eq!(lines("ignored-test", "crates/a/tests/a.rs", code), [3, 5, 7]);
    }
}
