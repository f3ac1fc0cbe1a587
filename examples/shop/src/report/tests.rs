//! The report as JSON and as text, by value.

use super::*;

fn figures() -> Figures {
    Figures {
        purchases: 1_200,
        customers: 2,
        cds: 3,
        revenue_cents: 123_456,
        orders_placed: 5,
        orders_confirmed: 6,
        orders_cancelled: 7,
        insight: Insight {
            orders: 8,
            customers: 9,
            cds: 10,
            revenue_cents: 11,
            days: 12,
            by_month: [("1997-02", 3, 4), ("1997-01", 1, 2)]
                .into_iter()
                .map(|(month, orders, revenue_cents)| (month.to_owned(), Month { orders, revenue_cents }))
                .collect(),
        },
        integration_events: 13,
        receipts: 14,
        domain_events: 15,
        redeliveries_absorbed: 16,
        outbox_pending: 17,
        dead_letters: 18,
        parked: 19,
    }
}

fn report(checks: Vec<Check>) -> Report {
    Report::new(figures(), checks, Duration::from_millis(41_207))
}

#[test]
fn the_keys_of_the_json_and_their_order_are_a_contract() {
    let json = report(vec![Check::count("orders", 1, 1)]).to_json().unwrap();
    assert_eq!(
        json,
        concat!(
            r#"{"purchases":1200,"customers":2,"cds":3,"revenue_cents":123456,"orders_placed":5,"#,
            r#""orders_confirmed":6,"orders_cancelled":7,"insight":{"orders":8,"customers":9,"cds":10,"#,
            r#""revenue_cents":11,"days":12,"by_month":{"1997-01":[1,2],"1997-02":[3,4]}},"#,
            r#""integration_events":13,"receipts":14,"domain_events":15,"redeliveries_absorbed":16,"#,
            r#""outbox_pending":17,"dead_letters":18,"parked":19,"reconciled":true,"elapsed_ms":41207}"#,
        )
    );
}

#[test]
fn a_report_is_reconciled_when_every_check_agrees() {
    assert!(report(vec![Check::count("a", 1, 1), Check::cents("b", 2, 2)]).is_reconciled());
    assert!(!report(vec![Check::count("a", 1, 1), Check::cents("b", 2, 3)]).is_reconciled());
    let json = report(vec![Check::count("a", 1, 2)]).to_json().unwrap();
    assert!(json.contains(r#""reconciled":false"#), "{json}");
}

#[test]
fn a_report_that_checked_nothing_is_not_reconciled() {
    let report = report(Vec::new());
    assert!(!report.is_reconciled());
    assert!(report.to_string().ends_with("NOT reconciled: nothing was checked.\n"));
}

#[test]
fn the_text_shows_totals_checks_and_a_verdict() {
    let text = report(vec![
        Check::count("purchases: file = ordering", 69_659, 69_659),
        Check::cents("revenue: file = ordering", 250_031_563, 250_031_563),
    ])
    .to_string();
    assert_eq!(
        text,
        "\
input     1,200 purchases, 2 customers, 3 CDs, $1,234.56
orders    5 placed, 6 confirmed, 7 cancelled
events    13 integration events, 14 receipts
this run  15 domain events, 16 redeliveries absorbed, 41.207 s

what                             expected          found
purchases: file = ordering         69,659         69,659
revenue: file = ordering    $2,500,315.63  $2,500,315.63

Reconciled: all 2 checks agree.
"
    );
}

#[test]
fn the_text_marks_what_differs() {
    let text = report(vec![Check::count("orders", 3, 3), Check::count("CDs", 4, 5)]).to_string();
    let end = "\
what    expected  found
orders         3      3
CDs            4      5  DIFFERS

NOT reconciled: 1 of 2 checks differ.
";
    assert!(text.ends_with(end), "{text}");
}
