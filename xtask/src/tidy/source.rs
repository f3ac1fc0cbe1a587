//! One Rust source, parsed once: its syntax, its tokens, which of its lines are test code, and its plain
//! comments (which are in no syntax tree: they are what stands between the tokens).

use std::ops::{Range, RangeInclusive};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Attribute, Item, Meta};

/// A parsed Rust file.
pub(crate) struct Source {
    /// Relative to the root.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// Its syntax; empty when it does not parse.
    pub syntax: syn::File,
    /// Its tokens; empty when it does not even split into tokens.
    pub tokens: TokenStream,
    /// Where and why it does not parse.
    pub unparsed: Option<(usize, String)>,
    /// The whole file is test code.
    pub all_test: bool,
    test_lines: Vec<RangeInclusive<usize>>,
}

/// A `//` comment that is no doc comment.
pub(crate) struct Comment {
    /// The line it starts in.
    pub line: usize,
    /// From its `//` to the end of the line.
    pub text: String,
    /// Nothing but blanks stands before it.
    pub alone: bool,
}

impl Source {
    /// Parses a file. One that does not parse is kept, with the reason.
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let body = text.trim_start_matches('\u{feff}');
        let mut source = Self {
            path: path.to_owned(),
            text: body.to_owned(),
            syntax: empty(),
            tokens: TokenStream::new(),
            unparsed: None,
            all_test: is_test_place(path),
            test_lines: vec![],
        };
        match body.parse::<TokenStream>() {
            Ok(tokens) => source.tokens = tokens,
            Err(error) => source.unparsed = Some((error.span().start().line.max(1), error.to_string())),
        }
        match syn::parse2::<syn::File>(source.tokens.clone()) {
            Ok(syntax) => source.syntax = syntax,
            Err(error) if source.unparsed.is_none() => {
                source.unparsed = Some((error.span().start().line.max(1), error.to_string()));
            }
            Err(_) => {}
        }
        source.all_test |= source.syntax.attrs.iter().any(means_test);
        let mut finder = TestLines::default();
        finder.visit_file(&source.syntax);
        source.test_lines = finder.lines;
        source
    }

    /// Whether the line belongs to tests.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.all_test || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Lines without those of inline test modules. A file of tests alone counts whole.
    pub(crate) fn lines_without_tests(&self) -> usize {
        let all = self.text.lines().count();
        (1..=all).filter(|line| !self.test_lines.iter().any(|lines| lines.contains(line))).count()
    }

    /// A case that must not compile, or the like: data for a test, not code of ours.
    pub(crate) fn is_compile_case(&self) -> bool {
        self.path.contains("/tests/ui/")
    }

    /// Stems (path without `.rs`) of the files that `#[cfg(test)] mod name;` in this one declares.
    pub(crate) fn test_modules_elsewhere(&self) -> Vec<String> {
        let folder = module_folder(&self.path);
        let modules = self.syntax.items.iter().filter_map(|item| match item {
            Item::Mod(module) if module.content.is_none() && module.attrs.iter().any(means_test) => {
                Some(module)
            }
            _ => None,
        });
        modules.map(|module| format!("{folder}/{}", module.ident)).collect()
    }

    /// Its plain line comments.
    pub(crate) fn comments(&self) -> Vec<Comment> {
        if self.unparsed.is_some() {
            return vec![];
        }
        let mut taken = Vec::new();
        spans(self.tokens.clone(), &mut taken);
        taken.sort_by_key(|range| range.start);
        let mut comments = Vec::new();
        let mut from = 0;
        for range in taken.into_iter().chain(std::iter::once(self.text.len()..self.text.len())) {
            if range.start > from {
                self.comments_between(from..range.start, &mut comments);
            }
            from = from.max(range.end);
        }
        comments
    }

    fn comments_between(&self, gap: Range<usize>, comments: &mut Vec<Comment>) {
        let Some(text) = self.text.get(gap.clone()) else { return };
        let mut at = gap.start;
        for piece in text.split_inclusive('\n') {
            if let Some(offset) = piece.find("//") {
                let start = at + offset;
                let before = &self.text[..start];
                comments.push(Comment {
                    line: before.matches('\n').count() + 1,
                    text: piece[offset..].trim_end().to_owned(),
                    alone: before.rsplit('\n').next().is_some_and(|begin| begin.trim().is_empty()),
                });
            }
            at += piece.len();
        }
    }
}

fn spans(stream: TokenStream, taken: &mut Vec<Range<usize>>) {
    for token in stream {
        match token {
            TokenTree::Group(group) => {
                taken.push(group.span_open().byte_range());
                taken.push(group.span_close().byte_range());
                spans(group.stream(), taken);
            }
            other => taken.push(other.span().byte_range()),
        }
    }
}

/// A file of nothing.
fn empty() -> syn::File {
    syn::parse_quote!()
}

/// The folder where a file's child modules live.
fn module_folder(path: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    match stem.rsplit_once('/') {
        Some((folder, "mod" | "lib" | "main")) => folder.to_owned(),
        _ => stem.to_owned(),
    }
}

/// Test and benchmark folders, and the crates that are test code throughout.
fn is_test_place(path: &str) -> bool {
    let folder = |name: &str| path.starts_with(&format!("{name}/")) || path.contains(&format!("/{name}/"));
    let crates = [
        "crates/factum-testkit/",
        "crates/factum-conformance/",
        "crates/factum-launcher/",
        "crates/factum-torture/",
    ];
    folder("tests") || folder("benches") || crates.iter().any(|prefix| path.starts_with(prefix))
}

/// `#[cfg(test)]`, `#[cfg(all(test, ..))]`, `#[test]`, `#[tokio::test]`; never `#[cfg(not(test))]`.
fn means_test(attribute: &Attribute) -> bool {
    if attribute.path().segments.last().is_some_and(|segment| segment.ident == "test") {
        return true;
    }
    let Meta::List(list) = &attribute.meta else { return false };
    let words: Vec<String> = words(list.tokens.clone());
    attribute.path().is_ident("cfg") && words.iter().any(|w| w == "test") && !words.iter().any(|w| w == "not")
}

/// Every identifier, at every depth.
pub(crate) fn words(stream: TokenStream) -> Vec<String> {
    let each = stream.into_iter().flat_map(|token| match token {
        TokenTree::Group(group) => words(group.stream()),
        TokenTree::Ident(ident) => vec![ident.to_string()],
        _ => vec![],
    });
    each.collect()
}

#[derive(Default)]
struct TestLines {
    lines: Vec<RangeInclusive<usize>>,
}

impl TestLines {
    fn note(&mut self, attributes: &[Attribute], whole: proc_macro2::Span) -> bool {
        let test = attributes.iter().any(means_test);
        if test {
            let first = attributes.iter().map(|a| a.span().start().line).min();
            self.lines.push(first.unwrap_or(whole.start().line)..=whole.end().line);
        }
        test
    }
}

impl<'a> Visit<'a> for TestLines {
    fn visit_item(&mut self, item: &'a Item) {
        if !self.note(attributes(item), item.span()) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.note(&item.attrs, item.span());
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "//! Why.\nfn real() {}\n\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn a() {}\n}\n";

    #[test]
    fn an_inline_test_module_is_test_code_and_is_not_counted() {
        let source = Source::parse("crates/a/src/lib.rs", FILE);
        assert!(!source.is_test(2));
        assert!((4..=8).all(|line| source.is_test(line)));
        assert_eq!(source.lines_without_tests(), 3);
    }

    #[test]
    fn what_is_left_out_of_tests_is_not_test_code() {
        let source = Source::parse("crates/a/src/lib.rs", "#[cfg(not(test))]\nfn real() {}");
        assert!(!source.is_test(2));
    }

    #[test]
    fn a_slash_in_a_string_or_a_doc_comment_is_no_comment() {
        let text = "/// // no\nfn f() {\n    // yes\n    g(\"// no\"); // also\n}\n// last";
        let comments = Source::parse("a.rs", text).comments();
        let found: Vec<(usize, &str, bool)> =
            comments.iter().map(|c| (c.line, c.text.as_str(), c.alone)).collect();
        assert_eq!(found, [(3, "// yes", true), (4, "// also", false), (6, "// last", true)]);
    }

    #[test]
    fn a_file_that_does_not_parse_is_kept_with_the_line_of_the_fault() {
        let source = Source::parse("a.rs", "fn a() {}\nfn (");
        assert_eq!(source.unparsed.map(|(line, _)| line), Some(2));
        let source = Source::parse("a.rs", "fn a() {}\nfn ()");
        assert_eq!(source.unparsed.map(|(line, _)| line), Some(2));
    }
}
