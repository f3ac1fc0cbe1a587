//! Limits that keep a file and a function readable at one sitting. A file counts without its inline test
//! modules; a function counts from its signature to its last brace, tests too.

use syn::spanned::Spanned;
use syn::visit::Visit;

use crate::tidy::{Found, Tree};

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;

/// Files.
pub(super) fn files(tree: &Tree, found: &mut Found<'_>) {
    for source in &tree.sources {
        let lines = source.lines_without_tests();
        if lines > FILE_LINES {
            found.at(
                &source.path,
                1,
                format!("{lines} lines without tests, at most {FILE_LINES}: split it by what it decides"),
            );
        }
    }
}

/// Functions.
pub(super) fn functions(tree: &Tree, found: &mut Found<'_>) {
    for source in &tree.sources {
        let mut long = Long::default();
        long.visit_file(&source.syntax);
        for (line, name, lines) in long.functions {
            let instead = format!(
                "`{name}` has {lines} lines, at most {FUNCTION_LINES}: let it branch, and leaves compute"
            );
            found.at(&source.path, line, instead);
        }
    }
}

#[derive(Default)]
struct Long {
    functions: Vec<(usize, String, usize)>,
}

impl Long {
    fn note(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.brace_token.span.close().end().line);
        if last + 1 - first > FUNCTION_LINES {
            self.functions.push((first, signature.ident.to_string(), last + 1 - first));
        }
    }
}

impl<'a> Visit<'a> for Long {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.note(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.note(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.note(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines;

    const PATH: &str = "crates/a/src/lib.rs";

    #[test]
    fn a_file_over_the_limit_is_caught_and_its_test_module_does_not_count() {
        let full = format!("//! Why.\n{}", "const A: u8 = 0;\n".repeat(599));
        assert!(lines("file-length", PATH, &full).is_empty());
        assert_eq!(lines("file-length", PATH, &format!("{full}const B: u8 = 0;\n")), [1]);
        let tested = format!("{full}#[cfg(test)]\nmod tests {{\n{}}}\n", "const A: u8 = 0;\n".repeat(50));
        assert!(lines("file-length", PATH, &tested).is_empty());
    }

    #[test]
    fn a_function_over_the_limit_is_caught_wherever_it_stands() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
        assert!(lines("function-length", PATH, &function(70)).is_empty());
        assert_eq!(lines("function-length", PATH, &function(71)), [1]);
        assert_eq!(lines("function-length", PATH, &format!("impl A {{\n{}}}", function(71))), [2]);
        assert_eq!(lines("function-length", PATH, &format!("trait A {{\n/// Doc.\n{}}}", function(71))), [3]);
    }
}
