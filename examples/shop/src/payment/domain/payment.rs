//! A payment is made once, and ends in one of two ways.

use factum::{AggregateRoot, DomainEvents};

use super::{PaymentDeclined, PaymentSettled};
use crate::kernel::{Money, OrderId};

/// What the buyer's bank says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It pays.
    Approved,
    /// It does not.
    Declined,
}

/// How a payment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Paid.
    Settled,
    /// Not paid.
    Declined,
}

/// What is paid for an order.
#[derive(Debug, PartialEq, AggregateRoot)]
pub struct Payment {
    #[id]
    order: OrderId,
    amount: Money,
    status: Status,
    events: DomainEvents,
}

impl Payment {
    /// Collects what is due. Where nothing is due, the bank has nothing to decline.
    pub fn collect(order: OrderId, amount: Money, answer: Answer) -> Self {
        if answer == Answer::Approved || amount.is_zero() {
            Self::settle(order, amount)
        } else {
            Self::decline(order, amount)
        }
    }

    fn settle(order: OrderId, amount: Money) -> Self {
        let mut payment = Self::restore(order, amount, Status::Settled);
        payment.events.record(PaymentSettled { order, amount });
        payment
    }

    fn decline(order: OrderId, amount: Money) -> Self {
        let mut payment = Self::restore(order, amount, Status::Declined);
        payment.events.record(PaymentDeclined { order, amount });
        payment
    }

    /// A payment as the database knows it.
    pub fn restore(order: OrderId, amount: Money, status: Status) -> Self {
        Self { order, amount, status, events: DomainEvents::new() }
    }

    /// How much.
    pub fn amount(&self) -> Money {
        self.amount
    }

    /// How it ended.
    pub fn status(&self) -> Status {
        self.status
    }
}
