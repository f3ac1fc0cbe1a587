//! A payment as a document.

use factum::{Document, Entity};
use serde::{Deserialize, Serialize};

use crate::kernel::{Money, OrderId};
use crate::payment::domain::{Payment, Status};

/// What is stored of a payment.
#[derive(Debug, Serialize, Deserialize)]
pub struct PaymentState {
    /// For which order.
    pub order: OrderId,
    /// How much, in cents.
    pub amount_cents: Money,
    /// How it ended.
    pub status: StatusState,
}

/// How a payment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusState {
    /// Paid.
    Settled,
    /// Not paid.
    Declined,
}

impl Document for Payment {
    const COLLECTION: &'static str = "payments";
    type State = PaymentState;

    fn state(&self) -> PaymentState {
        let status = match self.status() {
            Status::Settled => StatusState::Settled,
            Status::Declined => StatusState::Declined,
        };
        PaymentState { order: *self.id(), amount_cents: self.amount(), status }
    }

    fn restore(state: PaymentState) -> Self {
        let status = match state.status {
            StatusState::Settled => Status::Settled,
            StatusState::Declined => Status::Declined,
        };
        Payment::restore(state.order, state.amount_cents, status)
    }
}
