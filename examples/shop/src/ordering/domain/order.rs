//! An order's life: placed, accepted when stock is held for it, then confirmed, or cancelled on the way.
//!
//! A closed order stays as it is: an answer that comes too late changes nothing, and is no error.

use factum::{AggregateRoot, Children, DomainEvents};

use super::{
    BuyerId, LineItem, LineNumber, OrderAccepted, OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced,
};
use crate::kernel::{Date, Money, OrderId};

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It waits for stock.
    Placed,
    /// Stock is held for it; it waits for payment.
    Accepted,
    /// It is paid.
    Confirmed,
    /// It will not be fulfilled.
    Cancelled(CancelReason),
}

/// Why an order was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// There was no stock for it.
    StockRefused,
    /// Its payment was declined.
    PaymentDeclined,
}

/// What the rules of an order forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// An order of nothing.
    #[error("an order needs at least one line")]
    NoLines,
    /// A line of nothing.
    #[error("a line of an order needs at least one CD")]
    EmptyLine,
    /// Paid before stock was held for it.
    #[error("order {0} cannot be confirmed: it has not been accepted")]
    NotAccepted(OrderId),
}

/// What somebody has ordered.
#[derive(Debug, PartialEq, AggregateRoot)]
pub struct Order {
    id: OrderId,
    buyer: BuyerId,
    date: Date,
    lines: Children<OrderLine>,
    status: Status,
    events: DomainEvents,
}

impl Order {
    /// Places an order.
    ///
    /// # Errors
    ///
    /// There are no lines, or one of them is empty.
    pub fn place(id: OrderId, buyer: BuyerId, date: Date, items: Vec<LineItem>) -> Result<Self, OrderError> {
        if items.is_empty() {
            return Err(OrderError::NoLines);
        }
        if items.iter().any(|item| item.quantity == 0) {
            return Err(OrderError::EmptyLine);
        }
        let lines = (1..).map(LineNumber).zip(items.iter().cloned());
        let lines = lines.map(|(number, item)| OrderLine::new(number, item)).collect();
        let mut order = Self::restore(id, buyer, date, lines, Status::Placed);
        order.events.record(OrderPlaced { order: id, buyer, date, lines: items, total: order.total() });
        Ok(order)
    }

    /// An order as the database knows it.
    pub fn restore(
        id: OrderId,
        buyer: BuyerId,
        date: Date,
        lines: Children<OrderLine>,
        status: Status,
    ) -> Self {
        Self { id, buyer, date, lines, status, events: DomainEvents::new() }
    }

    /// Stock is held for every line: the order is accepted, and can be paid.
    pub fn allocate(&mut self) {
        if self.status != Status::Placed {
            return;
        }
        self.lines.iter_mut().for_each(OrderLine::allocate);
        self.status = Status::Accepted;
        self.events.record(OrderAccepted { order: self.id, amount_due: self.total() });
    }

    /// It is paid.
    ///
    /// # Errors
    ///
    /// [`OrderError::NotAccepted`]: nobody pays what is not held for him.
    pub fn confirm(&mut self) -> Result<(), OrderError> {
        match self.status {
            Status::Placed => Err(OrderError::NotAccepted(self.id)),
            Status::Accepted => {
                self.status = Status::Confirmed;
                self.events.record(OrderConfirmed {
                    order: self.id,
                    buyer: self.buyer,
                    date: self.date,
                    cds: self.cds(),
                    total: self.total(),
                });
                Ok(())
            }
            Status::Confirmed | Status::Cancelled(_) => Ok(()),
        }
    }

    /// It will not be fulfilled.
    pub fn cancel(&mut self, reason: CancelReason) {
        if self.is_closed() {
            return;
        }
        self.status = Status::Cancelled(reason);
        self.events.record(OrderCancelled {
            order: self.id,
            buyer: self.buyer,
            date: self.date,
            cds: self.cds(),
            total: self.total(),
            reason,
        });
    }

    /// Whether nothing can happen to it any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.status, Status::Confirmed | Status::Cancelled(_))
    }

    /// Who placed it.
    pub fn buyer(&self) -> BuyerId {
        self.buyer
    }

    /// On which day.
    pub fn date(&self) -> Date {
        self.date
    }

    /// What was ordered.
    pub fn lines(&self) -> &Children<OrderLine> {
        &self.lines
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        self.status
    }

    /// How many CDs.
    pub fn cds(&self) -> u64 {
        self.lines.iter().map(|line| u64::from(line.item().quantity)).sum()
    }

    /// What the lines come to.
    pub fn total(&self) -> Money {
        self.lines.iter().map(|line| line.item().amount).sum()
    }
}
