//! The report as text: totals, one line a check, and a last line that says whether all of them agree.

use std::fmt;

use super::number::{dollars, grouped};
use super::{Check, Report};

const WHAT: &str = "what";
const EXPECTED: &str = "expected";
const FOUND: &str = "found";

pub(super) fn write(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    write_totals(f, report)?;
    writeln!(f)?;
    write_checks(f, &report.checks)?;
    writeln!(f)?;
    write_verdict(f, report)
}

fn write_totals(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let figures = &report.figures;
    let counts = |pairs: &[(u64, &str)]| {
        pairs.iter().map(|(count, what)| format!("{} {what}", grouped(*count))).collect::<Vec<_>>().join(", ")
    };
    let purchases =
        counts(&[(figures.purchases, "purchases"), (figures.customers, "customers"), (figures.cds, "CDs")]);
    writeln!(f, "input     {purchases}, {}", dollars(figures.revenue_cents))?;
    let orders = counts(&[
        (figures.orders_placed, "placed"),
        (figures.orders_confirmed, "confirmed"),
        (figures.orders_cancelled, "cancelled"),
    ]);
    writeln!(f, "orders    {orders}")?;
    let events =
        counts(&[(figures.integration_events, "integration events"), (figures.receipts, "receipts")]);
    writeln!(f, "events    {events}")?;
    let run = counts(&[
        (figures.domain_events, "domain events"),
        (figures.redeliveries_absorbed, "redeliveries absorbed"),
    ]);
    writeln!(f, "this run  {run}, {}.{:03} s", report.elapsed_ms / 1000, report.elapsed_ms % 1000)
}

fn write_checks(f: &mut fmt::Formatter<'_>, checks: &[Check]) -> fmt::Result {
    let width = |heading: &str, cell: &dyn Fn(&Check) -> String| {
        checks
            .iter()
            .map(|check| cell(check).chars().count())
            .chain([heading.len()])
            .max()
            .unwrap_or_default()
    };
    let what = width(WHAT, &|check| check.what().to_owned());
    let expected = width(EXPECTED, &|check| check.expected().to_string());
    let found = width(FOUND, &|check| check.found().to_string());
    writeln!(f, "{WHAT:what$}  {EXPECTED:>expected$}  {FOUND:>found$}")?;
    for check in checks {
        let mark = if check.agrees() { "" } else { "  DIFFERS" };
        writeln!(
            f,
            "{:what$}  {:>expected$}  {:>found$}{mark}",
            check.what(),
            check.expected(),
            check.found()
        )?;
    }
    Ok(())
}

fn write_verdict(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let checks = grouped(report.checks.len() as u64);
    let differ = report.checks.iter().filter(|check| !check.agrees()).count() as u64;
    if report.reconciled {
        writeln!(f, "Reconciled: all {checks} checks agree.")
    } else if report.checks.is_empty() {
        writeln!(f, "NOT reconciled: nothing was checked.")
    } else {
        writeln!(f, "NOT reconciled: {} of {checks} checks differ.", grouped(differ))
    }
}
