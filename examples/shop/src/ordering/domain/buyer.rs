//! Who places orders.

use std::fmt;

use factum::{AggregateRoot, DomainEvents};

use super::{BuyerRegistered, BuyerVerified};
use crate::kernel::{Date, OrderId};

/// Identifies a buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuyerId(pub u64);

impl fmt::Display for BuyerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Somebody who has placed an order.
#[derive(Debug, PartialEq, AggregateRoot)]
pub struct Buyer {
    id: BuyerId,
    since: Date,
    orders_verified: u64,
    events: DomainEvents,
}

impl Buyer {
    /// Takes in somebody who places a first order.
    pub fn register(id: BuyerId, since: Date) -> Self {
        let mut buyer = Self::restore(id, since, 0);
        buyer.events.record(BuyerRegistered { buyer: id, since });
        buyer
    }

    /// A buyer as the database knows it.
    pub fn restore(id: BuyerId, since: Date, orders_verified: u64) -> Self {
        Self { id, since, orders_verified, events: DomainEvents::new() }
    }

    /// Vouches for the buyer of an order.
    pub fn verify(&mut self, order: OrderId) {
        self.orders_verified += 1;
        self.events.record(BuyerVerified { buyer: self.id, order });
    }

    /// The day of the first order.
    pub fn since(&self) -> Date {
        self.since
    }

    /// For how many orders the buyer was verified.
    pub fn orders_verified(&self) -> u64 {
        self.orders_verified
    }
}
