//! What a day brought.

use super::records_nothing;
use crate::kernel::{Date, Money};

/// The confirmed orders of one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayRevenue {
    /// The day on which they were placed.
    pub date: Date,
    /// How many.
    pub orders: u64,
    /// How many CDs in all.
    pub cds: u64,
    /// What they come to.
    pub revenue: Money,
}

records_nothing!(DayRevenue, date: Date);

impl DayRevenue {
    /// A day without orders.
    pub fn of(date: Date) -> Self {
        Self { date, orders: 0, cds: 0, revenue: Money::default() }
    }

    /// Counts an order.
    pub fn count(&mut self, cds: u64, total: Money) {
        self.orders += 1;
        self.cds += cds;
        self.revenue += total;
    }
}
