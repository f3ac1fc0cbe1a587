//! The four services on memory, over the first purchases of the real file: the same code as on SQLite.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use factum_runtime::memory_bus;
use shop::chance::Trial;
use shop::composition::{Shop, Stores, Trials};
use shop::progress::Progress;
use shop::purchases::{Purchase, Purchases};
use shop::report::{Figures, Insight, Month};
use shop::{Report, run_on};

const PURCHASES: usize = 500;

fn purchases() -> Vec<Purchase> {
    Purchases::built_in().take(PURCHASES).map(|purchase| purchase.unwrap()).collect()
}

async fn run(trials: Trials) -> Report {
    let input = Purchases::built_in().take(PURCHASES);
    let (shop, bus) = (Shop::new(Stores::in_memory(), trials), Arc::new(memory_bus()));
    run_on(shop, bus, input, Progress::new(true, None)).await.unwrap()
}

/// What should come of it, worked out from the file alone; what is about this run alone is taken over.
fn expected(trials: Trials, found: &Figures) -> Figures {
    let purchases = purchases();
    let refused = |it: &&Purchase| trials.refuse.refuses(it.id.into());
    let declined = |it: &&Purchase| it.amount_cents > 0 && trials.decline.declines(it.id.into());
    let all = purchases.len() as u64;
    let r = purchases.iter().filter(refused).count() as u64;
    let confirmed: Vec<_> = purchases.iter().filter(|it| !refused(it) && !declined(it)).collect();
    let closed_well = confirmed.len() as u64;
    Figures {
        purchases: all,
        customers: purchases.iter().map(|it| it.customer).collect::<BTreeSet<_>>().len() as u64,
        cds: purchases.iter().map(|it| u64::from(it.cds)).sum(),
        revenue_cents: purchases.iter().map(|it| it.amount_cents).sum(),
        orders_placed: all,
        orders_confirmed: closed_well,
        orders_cancelled: all - closed_well,
        insight: insight(&confirmed),
        integration_events: 5 * (all - r) + 3 * r,
        receipts: 6 * (all - r) + 4 * r,
        domain_events: found.domain_events,
        redeliveries_absorbed: found.redeliveries_absorbed,
        ..Figures::default()
    }
}

fn insight(confirmed: &[&Purchase]) -> Insight {
    let mut by_month = BTreeMap::<String, Month>::new();
    for purchase in confirmed {
        let month = by_month.entry(purchase.date.year_month()).or_default();
        month.orders += 1;
        month.revenue_cents += purchase.amount_cents;
    }
    Insight {
        orders: confirmed.len() as u64,
        customers: confirmed.iter().map(|it| it.customer).collect::<BTreeSet<_>>().len() as u64,
        cds: confirmed.iter().map(|it| u64::from(it.cds)).sum(),
        revenue_cents: confirmed.iter().map(|it| it.amount_cents).sum(),
        days: confirmed.iter().map(|it| it.date).collect::<BTreeSet<_>>().len() as u64,
        by_month,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nothing_goes_wrong_every_order_is_confirmed() {
    let report = run(Trials::default()).await;
    assert!(report.is_reconciled(), "{report}");
    let figures = report.figures();
    assert_eq!(figures, &expected(Trials::default(), figures));
    assert_eq!(figures.orders_confirmed, PURCHASES as u64);
    // 8 events an order, one for every buyer, and two whenever a shelf ran low.
    let ran_low = figures.domain_events - 8 * figures.purchases - figures.customers;
    assert!(ran_low.is_multiple_of(2), "{ran_low}");
}

#[tokio::test(flavor = "multi_thread")]
async fn declined_payments_cancel_orders_and_release_their_stock() {
    let trials = Trials { decline: Trial::new(3, 7), ..Trials::default() };
    let report = run(trials).await;
    assert!(report.is_reconciled(), "{report}");
    let figures = report.figures();
    assert_eq!(figures, &expected(trials, figures));
    assert!(figures.orders_cancelled > 0);
    assert_eq!(figures.integration_events, 5 * PURCHASES as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_stock_cancels_orders_before_anybody_pays() {
    let trials = Trials { refuse: Trial::new(1, 5), ..Trials::default() };
    let report = run(trials).await;
    assert!(report.is_reconciled(), "{report}");
    let figures = report.figures();
    assert_eq!(figures, &expected(trials, figures));
    assert!(figures.orders_cancelled > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_may_go_wrong_in_one_run() {
    let trials = Trials { refuse: Trial::new(9, 30), decline: Trial::new(9, 40) };
    let report = run(trials).await;
    assert!(report.is_reconciled(), "{report}");
    let figures = report.figures();
    assert_eq!(figures, &expected(trials, figures));
}
