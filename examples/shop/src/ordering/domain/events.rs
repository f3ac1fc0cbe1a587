//! What happens in ordering, in the past tense. Each says all that those need who are told of it.

use factum::DomainEvent;

use super::{BuyerId, CancelReason, LineItem, LineNumber};
use crate::kernel::{Date, Money, OrderId};

/// A buyer has placed an order.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct OrderPlaced {
    /// The order.
    pub order: OrderId,
    /// Who placed it.
    pub buyer: BuyerId,
    /// On which day.
    pub date: Date,
    /// What was ordered.
    pub lines: Vec<LineItem>,
    /// What the lines come to.
    pub total: Money,
}

/// Stock is held for a line of an order.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct LineAllocated {
    /// The line's number within its order.
    pub line: LineNumber,
    /// What is held.
    pub item: LineItem,
}

/// Stock is held for all lines of an order: it can be paid.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct OrderAccepted {
    /// The order.
    pub order: OrderId,
    /// What is to be paid.
    pub amount_due: Money,
}

/// An order has been paid.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct OrderConfirmed {
    /// The order.
    pub order: OrderId,
    /// Who placed it.
    pub buyer: BuyerId,
    /// On which day.
    pub date: Date,
    /// How many CDs.
    pub cds: u64,
    /// For how much.
    pub total: Money,
}

/// An order will not be fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct OrderCancelled {
    /// The order.
    pub order: OrderId,
    /// Who placed it.
    pub buyer: BuyerId,
    /// On which day.
    pub date: Date,
    /// How many CDs.
    pub cds: u64,
    /// For how much.
    pub total: Money,
    /// Why.
    pub reason: CancelReason,
}

/// Somebody has placed a first order.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct BuyerRegistered {
    /// Who.
    pub buyer: BuyerId,
    /// On which day.
    pub since: Date,
}

/// The buyer of an order is known.
#[derive(Clone, Debug, PartialEq, Eq, DomainEvent)]
pub struct BuyerVerified {
    /// Who.
    pub buyer: BuyerId,
    /// For which order.
    pub order: OrderId,
}
