//! Reconciliation: the figures of the file, of the three write databases and of the read database, each added up
//! by itself from committed rows, and compared to the cent.
//!
//! Counters of this run prove nothing here, except for the two figures that are about this run alone. Announced
//! events are counted from committed documents, too: an outbox forgets what was confirmed, but an order, a
//! reservation or a payment is the trace of what was announced with it.

use std::time::Duration;

use factum::integration::Backlog;
use factum::{BoxError, Work};

use crate::composition::Works;
use crate::patience::outlast;
use crate::pipeline::Done;
use crate::placing::{Input, Placed};
use crate::report::{Check, Figures, Insight, Month, Report};
use crate::service::ServiceStore;
use crate::tally::Tally;
use crate::{Failure, insight, inventory, ordering, payment};

/// All that is compared.
struct Books {
    input: Input,
    ordering: ordering::infrastructure::Figures,
    inventory: inventory::infrastructure::Figures,
    payment: payment::infrastructure::Figures,
    insight: insight::infrastructure::Figures,
    backlogs: [Backlog; 4],
}

/// Reads all databases, and compares.
///
/// # Errors
///
/// A store.
pub async fn reconcile<S: ServiceStore>(
    works: &Works<S>,
    input: Input,
    (placed, done): (Placed, Done),
    elapsed: impl FnOnce() -> Duration,
) -> Result<Report, Failure> {
    let books = Books::read(works, input).await?;
    let figures = books.figures(placed, done);
    Ok(Report::new(figures, books.checks(), elapsed()))
}

impl Books {
    async fn read<S: ServiceStore>(works: &Works<S>, input: Input) -> Result<Self, Failure> {
        let asked_for = |order| input.orders.contains(&order);
        let Works { ordering, inventory, payment, insight } = works;
        let mut backlogs = [Backlog::default(); 4];
        for (backlog, work) in backlogs.iter_mut().zip([ordering, inventory, payment, insight]) {
            *backlog = sure(work, "inspect", |work| work.store().backlog()).await?;
        }
        Ok(Self {
            ordering: sure(ordering, ordering::NAME, |work| {
                ordering::infrastructure::figures(work, asked_for)
            })
            .await?,
            inventory: sure(inventory, inventory::NAME, inventory::infrastructure::figures).await?,
            payment: sure(payment, payment::NAME, payment::infrastructure::figures).await?,
            insight: sure(insight, insight::NAME, insight::infrastructure::figures).await?,
            backlogs,
            input,
        })
    }

    /// An order is the trace of `order-placed`, an accepted one of `order-accepted`, a closed one of
    /// `order-confirmed` or `order-cancelled`, a reservation of `stock-reserved` or `stock-refused`, a payment of
    /// `payment-settled` or `payment-declined`.
    fn announced(&self) -> u64 {
        let Self { ordering, inventory, .. } = self;
        ordering.placed.count
            + ordering.accepted.count
            + ordering.closed()
            + inventory.reservations
            + self.payments()
    }

    fn payments(&self) -> u64 {
        self.payment.settled + self.payment.declined
    }

    fn sum(&self, of: impl Fn(&Backlog) -> u64) -> u64 {
        self.backlogs.iter().map(of).sum()
    }

    fn figures(&self, placed: Placed, done: Done) -> Figures {
        let Self { ordering, insight, .. } = self;
        Figures {
            purchases: ordering.placed.count,
            customers: ordering.buyers,
            cds: ordering.placed.cds,
            revenue_cents: ordering.placed.amount.cents(),
            orders_placed: ordering.placed.count,
            orders_confirmed: ordering.confirmed.count,
            orders_cancelled: ordering.cancelled.count,
            insight: Insight {
                orders: insight.confirmed.count,
                customers: insight.customers,
                cds: insight.confirmed.cds,
                revenue_cents: insight.confirmed.amount.cents(),
                days: insight.days,
                by_month: insight
                    .by_month
                    .iter()
                    .map(|(month, tally)| (month.clone(), tally.into()))
                    .collect(),
            },
            integration_events: self.announced(),
            receipts: self.sum(|backlog| backlog.inbox),
            domain_events: placed.dispatched + done.dispatched,
            redeliveries_absorbed: done.absorbed,
            outbox_pending: self.sum(|backlog| backlog.outbox),
            dead_letters: self.sum(|backlog| backlog.dead_letters),
            parked: self.sum(|backlog| backlog.parked),
        }
    }

    fn checks(&self) -> Vec<Check> {
        let parts = [
            self.file_and_orders(),
            self.orders_and_stock(),
            self.orders_and_payments(),
            self.orders_and_insight(),
            self.events_and_receipts(),
        ];
        parts.into_iter().flatten().collect()
    }

    fn file_and_orders(&self) -> Vec<Check> {
        let Self { input, ordering, .. } = self;
        let mut checks = same("purchases = orders", input.tally, ordering.asked_for).to_vec();
        checks.extend([
            count("customers = buyers of these orders", input.customers.len() as u64, ordering.asked_for_by),
            count("buyers of orders = buyers registered", ordering.placed_by, ordering.buyers),
            count("orders = buyers verified", ordering.placed.count, ordering.orders_verified),
            count("orders = orders closed", ordering.placed.count, ordering.closed()),
        ]);
        checks
    }

    fn orders_and_stock(&self) -> Vec<Check> {
        let Self { ordering, inventory, .. } = self;
        let declined = ordering.cancelled.count - ordering.stock_refused.count;
        vec![
            count("orders = reservations", ordering.placed.count, inventory.reservations),
            count("orders refused = reservations refused", ordering.stock_refused.count, inventory.refused),
            count("orders confirmed = reservations fulfilled", ordering.confirmed.count, inventory.fulfilled),
            count("orders declined = reservations released", declined, inventory.released),
            count("CDs confirmed = CDs fulfilled", ordering.confirmed.cds, inventory.cds_fulfilled),
            count("CDs fulfilled = CDs shipped", inventory.cds_fulfilled, inventory.cds_shipped),
            count("CDs still reserved", 0, inventory.cds_reserved),
            count("shelves = shelves in balance", inventory.shelves, inventory.shelves_in_balance),
        ]
    }

    fn orders_and_payments(&self) -> Vec<Check> {
        let Self { ordering, payment, .. } = self;
        let declined = ordering.cancelled.count - ordering.stock_refused.count;
        let (confirmed, settled) = (ordering.confirmed.amount.cents(), payment.amount_settled.cents());
        vec![
            count("orders confirmed = payments settled", ordering.confirmed.count, payment.settled),
            count("orders declined = payments declined", declined, payment.declined),
            Check::cents("amount confirmed = amount settled", confirmed, settled),
        ]
    }

    fn orders_and_insight(&self) -> Vec<Check> {
        let Self { ordering, insight, .. } = self;
        let [orders, cds, revenue] = same("insight: orders confirmed", ordering.confirmed, insight.confirmed);
        let cancelled = count("insight: orders cancelled", ordering.cancelled.count, insight.cancelled.count);
        let days = same("insight: by day", ordering.confirmed, insight.by_day);
        let customers = same("insight: by customer", ordering.confirmed, insight.by_customer);
        [orders, cds, revenue, cancelled].into_iter().chain(days).chain(customers).collect()
    }

    fn events_and_receipts(&self) -> Vec<Check> {
        let Self { ordering, inventory, backlogs, .. } = self;
        let [at_ordering, at_inventory, at_payment, at_insight] = backlogs.map(|backlog| backlog.inbox);
        let answers = inventory.reservations + self.payments();
        vec![
            count("receipts: ordering", answers, at_ordering),
            count("receipts: inventory", ordering.placed.count + ordering.closed(), at_inventory),
            count("receipts: payment", ordering.accepted.count, at_payment),
            count("receipts: insight", ordering.closed(), at_insight),
            count("left in an outbox", 0, self.sum(|backlog| backlog.outbox)),
            count("dead letters", 0, self.sum(|backlog| backlog.dead_letters)),
            count("parked", 0, self.sum(|backlog| backlog.parked)),
        ]
    }
}

/// Reads, whenever the store is there to be read.
async fn sure<'a, S, T, E, F>(
    work: &'a Work<S>,
    service: &'static str,
    read: impl Fn(&'a Work<S>) -> F,
) -> Result<T, Failure>
where
    S: ServiceStore,
    E: Into<BoxError>,
    F: Future<Output = Result<T, E>>,
{
    outlast(work.store(), service, || read(work)).await.map_err(Failure::of(service))
}

fn count(what: &str, expected: u64, found: u64) -> Check {
    Check::count(what, expected, found)
}

fn same(what: &str, expected: Tally, found: Tally) -> [Check; 3] {
    [
        Check::count(what, expected.count, found.count),
        Check::count(format!("{what}, CDs"), expected.cds, found.cds),
        Check::cents(format!("{what}, amount"), expected.amount.cents(), found.amount.cents()),
    ]
}

impl From<&Tally> for Month {
    fn from(tally: &Tally) -> Self {
        Self { orders: tally.count, revenue_cents: tally.amount.cents() }
    }
}
