//! What is held for an order: all of it or nothing, until it is shipped or released.

use factum::{AggregateRoot, Children, DomainEvents, Entity};

use super::{Demand, ReservationFulfilled, ReservationReleased, Shelf, StockRefused, StockReserved};
use crate::kernel::OrderId;

/// How far a reservation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// CDs are held.
    Held,
    /// Nothing was there to be held.
    Refused,
    /// What was held is on its way to the buyer.
    Fulfilled,
    /// What was held is available to others again.
    Released,
}

/// What the rules of a reservation forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReservationError {
    /// To ship what is not held.
    #[error("nothing is held for order {0}: it cannot be shipped")]
    NothingHeld(OrderId),
}

/// CDs of one shelf within a reservation.
#[derive(Debug, PartialEq, Entity)]
pub struct ReservedLine {
    #[id]
    shelf: Shelf,
    quantity: u64,
    events: DomainEvents,
}

impl ReservedLine {
    /// So many CDs of a shelf.
    pub fn new(shelf: Shelf, quantity: u64) -> Self {
        Self { shelf, quantity, events: DomainEvents::new() }
    }

    /// How many CDs.
    pub fn quantity(&self) -> u64 {
        self.quantity
    }
}

/// What is held for an order.
#[derive(Debug, PartialEq, AggregateRoot)]
pub struct Reservation {
    #[id]
    order: OrderId,
    lines: Children<ReservedLine>,
    status: Status,
    events: DomainEvents,
}

impl Reservation {
    /// Holds all that an order needs.
    pub fn hold(order: OrderId, demand: Demand) -> Self {
        let mut reservation = Self::new(order, &demand, Status::Held);
        reservation.events.record(StockReserved { order, held: demand });
        reservation
    }

    /// Holds nothing, because not all is there.
    pub fn refuse(order: OrderId, demand: Demand) -> Self {
        let mut reservation = Self::new(order, &demand, Status::Refused);
        reservation.events.record(StockRefused { order, wanted: demand });
        reservation
    }

    fn new(order: OrderId, demand: &Demand, status: Status) -> Self {
        let lines = demand.iter().map(|(shelf, quantity)| ReservedLine::new(shelf.clone(), quantity));
        Self::restore(order, lines.collect(), status)
    }

    /// A reservation as the database knows it.
    pub fn restore(order: OrderId, lines: Children<ReservedLine>, status: Status) -> Self {
        Self { order, lines, status, events: DomainEvents::new() }
    }

    /// The order is paid: what is held for it is shipped. Shipping twice ships once.
    ///
    /// # Errors
    ///
    /// [`ReservationError::NothingHeld`].
    pub fn fulfil(&mut self) -> Result<(), ReservationError> {
        match self.status {
            Status::Held => {
                self.status = Status::Fulfilled;
                self.events.record(ReservationFulfilled { order: self.order, shipped: self.demand() });
                Ok(())
            }
            Status::Fulfilled => Ok(()),
            Status::Refused | Status::Released => Err(ReservationError::NothingHeld(self.order)),
        }
    }

    /// The order is cancelled: what is held for it is made available again, if anything is.
    pub fn release(&mut self) {
        if self.status != Status::Held {
            return;
        }
        self.status = Status::Released;
        self.events.record(ReservationReleased { order: self.order, released: self.demand() });
    }

    /// What the order needs.
    pub fn demand(&self) -> Demand {
        self.lines.iter().map(|line| (line.id().clone(), line.quantity)).collect()
    }

    /// What is held, or would have been.
    pub fn lines(&self) -> &Children<ReservedLine> {
        &self.lines
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        self.status
    }
}
