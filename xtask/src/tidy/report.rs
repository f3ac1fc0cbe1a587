//! What tidy says. One line a violation, in the form that editors turn into links, and one line at the end.

use std::fmt;

/// One place that breaks one rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file, relative to the root, with `/` between folders.
    pub path: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The rule's name, as an excuse would spell it.
    pub rule: &'static str,
    /// What to do instead.
    pub instead: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.instead)
    }
}

/// The outcome of a whole run.
#[derive(Debug)]
pub struct Report {
    /// Every violation that no excuse covers, sorted by place.
    pub violations: Vec<Violation>,
    /// How many rules were applied.
    pub rules: usize,
    /// How many files were looked at.
    pub files: usize,
    /// Known failure modes that no test names yet; told, never failed on.
    pub untested: Vec<(&'static str, &'static str)>,
}

impl Report {
    /// Whether nothing is out of place.
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, title) in &self.untested {
            writeln!(f, "no test yet: {id} {title}")?;
        }
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        let outcome = match self.violations.len() {
            0 => "ok".to_owned(),
            1 => "1 violation".to_owned(),
            n => format!("{n} violations"),
        };
        writeln!(f, "tidy: {} rules, {} files, {outcome}", self.rules, self.files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(violations: Vec<Violation>) -> Report {
        Report { violations, rules: 3, files: 7, untested: vec![("F-05", "infinite cascade")] }
    }

    #[test]
    fn a_clean_run_ends_in_ok_and_still_tells_what_has_no_test() {
        let text = report(vec![]).to_string();
        assert_eq!(text, "no test yet: F-05 infinite cascade\ntidy: 3 rules, 7 files, ok\n");
    }

    #[test]
    fn a_violation_is_a_link_an_editor_can_follow() {
        let violation =
            Violation { path: "a/b.rs".into(), line: 4, rule: "panic", instead: "return an error".into() };
        let report = report(vec![violation]);
        assert!(!report.holds());
        assert!(
            report
                .to_string()
                .contains("\na/b.rs:4: panic: return an error\ntidy: 3 rules, 7 files, 1 violation\n")
        );
    }
}
