//! No global state: two of anything in one process never share what they did not agree to share. A constant
//! is free; a `static` that can change is not, save the ones named here with their reason.

use proc_macro2::TokenTree;
use syn::visit::Visit;

use super::super::source::words;
use super::is_library;
use crate::tidy::tokens::{each_position, is_punct, line_of, name_of};
use crate::tidy::{Found, Tree};

/// File and name of the one `static` that changes. Recording has one order across the root and the children
/// of an aggregate, which know nothing of one another: a counter gives it. It means nothing but order, so
/// sharing it is harmless.
const RECORDING_ORDER: (&str, &str) = ("crates/factum/src/domain/events.rs", "NEXT_IN_ORDER");

const CELLS: &[&str] = &[
    "Mutex",
    "RwLock",
    "OnceLock",
    "LazyLock",
    "OnceCell",
    "LazyCell",
    "RefCell",
    "Cell",
    "UnsafeCell",
    "Condvar",
];

pub(super) fn check(tree: &Tree, found: &mut Found<'_>) {
    for source in tree.sources.iter().filter(|source| is_library(&source.path)) {
        let mut statics = Statics::default();
        statics.visit_file(&source.syntax);
        macros(&source.tokens, &mut statics);
        for (line, name, cell) in statics.found.into_iter().filter(|(line, ..)| !source.is_test(*line)) {
            if (source.path.as_str(), name.as_str()) == RECORDING_ORDER {
                continue;
            }
            found.at(
                &source.path,
                line,
                format!("`{name}` is global state ({cell}): make it a field of what owns it"),
            );
        }
    }
}

#[derive(Default)]
struct Statics {
    found: Vec<(usize, String, String)>,
}

impl<'a> Visit<'a> for Statics {
    fn visit_item_static(&mut self, item: &'a syn::ItemStatic) {
        let line = item.static_token.span.start().line;
        let name = item.ident.to_string();
        if matches!(item.mutability, syn::StaticMutability::Mut(_)) {
            self.found.push((line, name, "static mut".to_owned()));
        } else if let Some(cell) = type_words(&item.ty).into_iter().find(|word| is_cell(word)) {
            self.found.push((line, name, cell));
        }
    }
}

fn type_words(ty: &syn::Type) -> Vec<String> {
    struct Words(Vec<String>);
    impl<'a> Visit<'a> for Words {
        fn visit_ident(&mut self, ident: &'a proc_macro2::Ident) {
            self.0.push(ident.to_string());
        }
        fn visit_macro(&mut self, call: &'a syn::Macro) {
            self.0.extend(words(call.tokens.clone()));
        }
    }
    let mut found = Words(vec![]);
    found.visit_type(ty);
    found.0
}

fn is_cell(word: &str) -> bool {
    word.starts_with("Atomic") || CELLS.contains(&word)
}

/// Macros that declare statics of their own.
fn macros(tokens: &proc_macro2::TokenStream, statics: &mut Statics) {
    each_position(tokens, &mut |here| {
        if let [name, bang, TokenTree::Group(_), ..] = here
            && is_punct(bang, '!')
            && matches!(name_of(name).as_str(), "thread_local" | "lazy_static" | "task_local")
        {
            statics.found.push((
                line_of(name),
                format!("{}!", name_of(name)),
                "a static behind a macro".to_owned(),
            ));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::lines;

    const PATH: &str = "crates/a/src/lib.rs";

    #[test]
    fn every_kind_of_changeable_static_is_caught() {
        let code = "//! Why.\nstatic A: AtomicUsize = AtomicUsize::new(0);\n\
                    static B: std::sync::Mutex<u8> = todo();\n\
                    fn f() { static C: OnceLock<u8> = OnceLock::new(); }\nstatic mut D: u8 = 0;\n\
                    thread_local! { static E: Cell<u8> = Cell::new(0); }\n\
                    static F: Option<LazyLock<u8>> = None;\n";
        assert_eq!(lines("static-state", PATH, code), [2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn constants_fields_and_tests_are_free() {
        let code = "//! Why.\nstatic NAMES: &[&str] = &[];\nconst A: u8 = 0;\nstruct B { c: Mutex<u8> }\n\
                    #[cfg(test)]\nmod tests { static A: AtomicUsize = AtomicUsize::new(0); }\n";
        assert!(lines("static-state", PATH, code).is_empty());
        assert!(
            lines("static-state", "examples/a/src/main.rs", "//! Why.\nstatic A: Mutex<u8> = x();")
                .is_empty()
        );
    }

    #[test]
    fn one_counter_orders_recording_and_a_second_is_caught() {
        let code = "//! Why.\nstatic NEXT_IN_ORDER: AtomicU64 = AtomicU64::new(0);\n\
                    static OTHER: AtomicU64 = AtomicU64::new(0);\n";
        assert_eq!(lines("static-state", "crates/factum/src/domain/events.rs", code), [3]);
        assert_eq!(lines("static-state", PATH, code), [2, 3]);
    }
}
