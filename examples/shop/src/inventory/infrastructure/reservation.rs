//! A reservation as a document, its lines inside it: an aggregate is stored as a whole.

use std::collections::BTreeMap;

use factum::{Document, Entity};
use serde::{Deserialize, Serialize};

use crate::inventory::domain::{Reservation, ReservedLine, Status};
use crate::kernel::OrderId;

/// What is stored of a reservation.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReservationState {
    /// The order.
    pub order: OrderId,
    /// How many CDs of which shelves.
    pub lines: BTreeMap<String, u64>,
    /// How far it is.
    pub status: StatusState,
}

/// How far a reservation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusState {
    /// CDs are held.
    Held,
    /// Nothing was there to be held.
    Refused,
    /// What was held is on its way to the buyer.
    Fulfilled,
    /// What was held is available to others again.
    Released,
}

impl Document for Reservation {
    const COLLECTION: &'static str = "reservations";
    type State = ReservationState;

    fn state(&self) -> ReservationState {
        let lines = self.lines().iter().map(|line| (line.id().to_string(), line.quantity()));
        ReservationState { order: *self.id(), lines: lines.collect(), status: self.status().into() }
    }

    fn restore(state: ReservationState) -> Self {
        let lines =
            state.lines.into_iter().map(|(shelf, quantity)| ReservedLine::new(shelf.into(), quantity));
        Reservation::restore(state.order, lines.collect(), state.status.into())
    }
}

impl From<Status> for StatusState {
    fn from(status: Status) -> Self {
        match status {
            Status::Held => Self::Held,
            Status::Refused => Self::Refused,
            Status::Fulfilled => Self::Fulfilled,
            Status::Released => Self::Released,
        }
    }
}

impl From<StatusState> for Status {
    fn from(state: StatusState) -> Self {
        match state {
            StatusState::Held => Self::Held,
            StatusState::Refused => Self::Refused,
            StatusState::Fulfilled => Self::Fulfilled,
            StatusState::Released => Self::Released,
        }
    }
}
