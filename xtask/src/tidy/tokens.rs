//! Reading code as tokens, so that what stands inside a macro call is seen too, and text in strings and doc
//! comments is not. It knows no types: a path is what is spelled.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path as the code spells it, with `use` groups spelled out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PathUse {
    /// `crate::domain::Entity` is three segments; a glob ends in `*`.
    pub segments: Vec<String>,
    /// The line of its last segment, counted from 1.
    pub line: usize,
}

impl PathUse {
    /// Whether some segment is `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.segments.iter().any(|segment| segment == name)
    }

    /// Whether `run` stands in it, segment after segment.
    pub(crate) fn has_run(&self, run: &[&str]) -> bool {
        self.segments.windows(run.len()).any(|window| window.iter().zip(run).all(|(a, b)| a == b))
    }

    /// The first segment below the crate's root or a parent (`crate::x::y` and `super::super::x` give `x`),
    /// when the path says where it starts.
    pub(crate) fn below_root(&self) -> Option<&str> {
        let start = self.segments.iter().position(|segment| !is_root(segment))?;
        (start > 0).then(|| self.segments[start].as_str())
    }

    /// As it would be written.
    pub(crate) fn spelled(&self) -> String {
        self.segments.join("::")
    }
}

fn is_root(segment: &str) -> bool {
    matches!(segment, "crate" | "super" | "self" | "factum")
}

/// Every path in the code, doc comments left out.
pub(crate) fn paths(stream: &TokenStream) -> Vec<PathUse> {
    let mut found = Vec::new();
    collect(stream.clone(), &[], &mut found);
    found
}

fn collect(stream: TokenStream, prefix: &[String], found: &mut Vec<PathUse>) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut rest = tokens.as_slice();
    while let Some(token) = rest.first() {
        let doc = doc_attribute(rest);
        if doc > 0 {
            rest = &rest[doc..];
            continue;
        }
        match token {
            TokenTree::Ident(_) => rest = path(rest, prefix, found),
            TokenTree::Group(group) => {
                collect(group.stream(), &[], found);
                rest = &rest[1..];
            }
            _ => rest = &rest[1..],
        }
    }
}

/// Reads the path at the start of `tokens` and gives what stands after it.
fn path<'a>(tokens: &'a [TokenTree], prefix: &[String], found: &mut Vec<PathUse>) -> &'a [TokenTree] {
    let mut segments = prefix.to_vec();
    let mut line = line_of(&tokens[0]);
    segments.push(name_of(&tokens[0]));
    let mut rest = &tokens[1..];
    while let [TokenTree::Punct(a), TokenTree::Punct(b), next, ..] = rest
        && a.as_char() == ':'
        && b.as_char() == ':'
    {
        match next {
            TokenTree::Ident(_) => segments.push(name_of(next)),
            TokenTree::Punct(star) if star.as_char() == '*' => segments.push("*".to_owned()),
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                collect(group.stream(), &segments, found);
                return &rest[3..];
            }
            _ => break,
        }
        line = line_of(next);
        rest = &rest[3..];
    }
    found.push(PathUse { segments, line });
    rest
}

/// Calls `see` with the tokens from each position on, at every depth, doc comments left out.
pub(crate) fn each_position(stream: &TokenStream, see: &mut dyn FnMut(&[TokenTree])) {
    let tokens: Vec<TokenTree> = stream.clone().into_iter().collect();
    let mut rest = tokens.as_slice();
    while let Some(token) = rest.first() {
        let doc = doc_attribute(rest);
        if doc > 0 {
            rest = &rest[doc..];
            continue;
        }
        see(rest);
        if let TokenTree::Group(group) = token {
            each_position(&group.stream(), see);
        }
        rest = &rest[1..];
    }
}

/// How many tokens at the start are a doc comment.
fn doc_attribute(tokens: &[TokenTree]) -> usize {
    let is_doc = |token: &TokenTree| match token {
        TokenTree::Group(group) => {
            group.stream().into_iter().next().is_some_and(|first| name_of(&first) == "doc")
        }
        _ => false,
    };
    match tokens {
        [hash, group, ..] if is_punct(hash, '#') && is_doc(group) => 2,
        [hash, bang, group, ..] if is_punct(hash, '#') && is_punct(bang, '!') && is_doc(group) => 3,
        _ => 0,
    }
}

/// Whether the token is that one sign.
pub(crate) fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

/// The identifier (a raw one without its `r#`), or nothing for any other token.
pub(crate) fn name_of(token: &TokenTree) -> String {
    match token {
        TokenTree::Ident(ident) => ident.to_string().trim_start_matches("r#").to_owned(),
        _ => String::new(),
    }
}

/// The line the token starts in.
pub(crate) fn line_of(token: &TokenTree) -> usize {
    token.span().start().line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(code: &str) -> Vec<String> {
        paths(&code.parse().expect("tokens")).iter().map(PathUse::spelled).collect()
    }

    #[test]
    fn a_group_of_uses_is_spelled_out() {
        let found = spelled("use crate::{domain::{Entity, self}, port::*};");
        for path in ["crate::domain::Entity", "crate::domain::self", "crate::port::*"] {
            assert!(found.contains(&path.to_owned()), "{path} is not in {found:?}");
        }
    }

    #[test]
    fn code_inside_a_macro_call_is_seen_and_strings_and_docs_are_not() {
        let found = spelled("/// crate::a::b\nfn f() { format!(\"crate::c::d {}\", crate::e::f()); }");
        assert!(found.contains(&"crate::e::f".to_owned()), "{found:?}");
        assert!(!found.iter().any(|path| path.contains("::b") || path.contains("::d")), "{found:?}");
    }

    #[test]
    fn a_path_knows_what_it_names_below_its_root() {
        let all = paths(&"super::super::integration::X".parse().expect("tokens"));
        assert_eq!(all[0].below_root(), Some("integration"));
        let all = paths(&"integration".parse().expect("tokens"));
        assert_eq!(all[0].below_root(), None);
    }
}
