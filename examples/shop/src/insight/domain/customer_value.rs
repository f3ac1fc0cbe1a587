//! What a customer is worth.

use std::fmt;

use super::records_nothing;
use crate::kernel::Money;

/// Identifies a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CustomerId(pub u64);

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The confirmed orders of one customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerValue {
    /// Who.
    pub customer: CustomerId,
    /// How many.
    pub orders: u64,
    /// How many CDs in all.
    pub cds: u64,
    /// What they come to.
    pub value: Money,
}

records_nothing!(CustomerValue, customer: CustomerId);

impl CustomerValue {
    /// A customer without orders.
    pub fn of(customer: CustomerId) -> Self {
        Self { customer, orders: 0, cds: 0, value: Money::default() }
    }

    /// Counts an order.
    pub fn count(&mut self, cds: u64, total: Money) {
        self.orders += 1;
        self.cds += cds;
        self.value += total;
    }
}
