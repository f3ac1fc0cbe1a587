//! `// tidy: allow(<rule>): <reason>`: an exception that stands where it applies, with its reason, for the
//! reviewer. It refuses to be silent: a reason is required, and an excuse that excuses nothing must go.

use super::report::Violation;
use super::rules;
use super::source::Source;
use super::tree::Tree;

/// The name under which misuse of an excuse is reported.
const RULE: &str = "allow";
const MARK: &str = "// tidy: allow(";

struct Escape {
    written: usize,
    covers: usize,
    rule: String,
    reason: String,
}

/// Takes out what is excused and adds what is wrong with the excuses.
pub(super) fn apply(tree: &Tree, found: Vec<Violation>) -> Vec<Violation> {
    let mut left = found;
    for source in &tree.sources {
        for escape in escapes(source) {
            let before = left.len();
            left.retain(|v| !(v.path == source.path && v.line == escape.covers && v.rule == escape.rule));
            let used = left.len() < before;
            if let Some(instead) = fault(&escape, used) {
                left.push(Violation { path: source.path.clone(), line: escape.written, rule: RULE, instead });
            }
        }
    }
    left
}

fn fault(escape: &Escape, used: bool) -> Option<String> {
    if !rules::ALL.iter().any(|rule| rule.name == escape.rule) {
        let names: Vec<&str> = rules::ALL.iter().map(|rule| rule.name).collect();
        return Some(format!("there is no rule `{}`; the rules are {}", escape.rule, names.join(", ")));
    }
    if escape.reason.is_empty() {
        return Some(format!("say why: `{MARK}{}): <reason>`", escape.rule));
    }
    (!used).then(|| format!("nothing here breaks `{}` any more: take the excuse away", escape.rule))
}

fn escapes(source: &Source) -> Vec<Escape> {
    let comments = source.comments().into_iter();
    let parsed = comments.filter_map(|comment| {
        let (rule, rest) = comment.text.strip_prefix(MARK)?.split_once(')')?;
        Some(Escape {
            written: comment.line,
            covers: if comment.alone { comment.line + 1 } else { comment.line },
            rule: rule.trim().to_owned(),
            reason: rest.trim_start_matches(':').trim().to_owned(),
        })
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::judge;

    fn faults(body: &str) -> Vec<String> {
        let code = format!("//! Why.\nfn f() {{\n{body}\n}}\n");
        let report = judge(&Tree::of([("crates/factum/src/x.rs", code)]));
        report.violations.iter().map(|v| format!("{}:{}", v.line, v.rule)).collect()
    }

    #[test]
    fn a_reason_excuses_its_own_line_and_a_lone_comment_the_next() {
        assert_eq!(
            faults("    a.unwrap(); // tidy: allow(panic): the length was checked above"),
            Vec::<String>::new()
        );
        assert_eq!(
            faults("    // tidy: allow(panic): the length was checked above\n    a.unwrap();"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_excuse_without_a_reason_is_out_of_place() {
        assert_eq!(faults("    a.unwrap(); // tidy: allow(panic)"), ["3:allow"]);
    }

    #[test]
    fn an_excuse_for_another_rule_excuses_nothing() {
        assert_eq!(faults("    a.unwrap(); // tidy: allow(sleep): a reason"), ["3:allow", "3:panic"]);
        assert_eq!(faults("    a.unwrap(); // tidy: allow(nonsense): a reason"), ["3:allow", "3:panic"]);
    }

    #[test]
    fn an_excuse_that_is_not_needed_any_more_must_go() {
        assert_eq!(faults("    a(); // tidy: allow(panic): a reason"), ["3:allow"]);
    }
}
