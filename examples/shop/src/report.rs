//! What a run comes to: figures from the databases, and whether they agree.
//!
//! A report cannot claim to be reconciled: it works that out from its [`Check`]s. As JSON its keys and their
//! order are a contract; as text it is for a person.

mod check;
mod number;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

pub use self::check::{Check, Figure};
pub use self::number::{dollars, grouped};

/// The figures of a run: totals in the databases, unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Purchases that were read and placed, in this run or an earlier one on the same folder.
    pub purchases: u64,
    /// Distinct customers among them.
    pub customers: u64,
    /// CDs among them.
    pub cds: u64,
    /// What they come to, in cents.
    pub revenue_cents: i64,
    /// Orders in the ordering database.
    pub orders_placed: u64,
    /// Of them, the confirmed ones.
    pub orders_confirmed: u64,
    /// Of them, the cancelled ones.
    pub orders_cancelled: u64,
    /// The read database.
    pub insight: Insight,
    /// Integration events that were announced.
    pub integration_events: u64,
    /// Deliveries that were handled: rows of all inboxes and of the projection.
    pub receipts: u64,
    /// Domain events that were dispatched in transactions that committed, in this run.
    pub domain_events: u64,
    /// Deliveries that an inbox recognised as handled already, in this run.
    pub redeliveries_absorbed: u64,
    /// Envelopes that still wait in an outbox.
    pub outbox_pending: u64,
    /// Envelopes that were given up.
    pub dead_letters: u64,
    /// Keys whose envelopes wait behind one that failed.
    pub parked: u64,
}

/// The figures of the read database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Insight {
    /// Confirmed orders.
    pub orders: u64,
    /// Customers with a confirmed order.
    pub customers: u64,
    /// CDs in confirmed orders.
    pub cds: u64,
    /// What they come to, in cents.
    pub revenue_cents: i64,
    /// Days with a confirmed order.
    pub days: u64,
    /// Confirmed orders and revenue by month, such as `1997-01`, sorted by time.
    pub by_month: BTreeMap<String, Month>,
}

/// One month of the read database; in JSON `[orders, revenue_cents]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Month {
    /// Confirmed orders.
    pub orders: u64,
    /// What they come to, in cents.
    pub revenue_cents: i64,
}

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.orders, self.revenue_cents).serialize(serializer)
    }
}

/// Figures, whether they agree, and how long it took.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    figures: Figures,
    reconciled: bool,
    elapsed_ms: u64,
    #[serde(skip)]
    checks: Vec<Check>,
}

impl Report {
    /// The report of a run that took `elapsed`. It is reconciled if and only if there are checks and every
    /// one of them agrees.
    pub fn new(figures: Figures, checks: Vec<Check>, elapsed: Duration) -> Self {
        let reconciled = !checks.is_empty() && checks.iter().all(Check::agrees);
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        Self { figures, reconciled, elapsed_ms, checks }
    }

    /// Whether all figures agree.
    pub fn is_reconciled(&self) -> bool {
        self.reconciled
    }

    /// The figures.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// What was compared.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The report as JSON, on one line and without a line end.
    ///
    /// # Errors
    ///
    /// None for the figures that a report can hold; the error is the serialiser's.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::write(f, self)
    }
}

#[cfg(test)]
mod tests;
