//! An order was accepted: what is due is collected.
//!
//! The bank is a stand-in that answers from a hash, without a call. A real one would not be called here, because
//! a call cannot be rolled back: the intent would be recorded and committed first, the bank called with the
//! order as idempotency key, and its answer recorded in a second transaction.

use factum::{Documents, Outcome, Received, Subscriber, UnitOfWork};

use super::OrderAccepted;
use crate::chance::Trial;
use crate::payment::domain::{Answer, Payment};

/// Collects payments.
#[derive(Clone, Copy, Debug, Default)]
pub struct CollectPayment {
    /// Which payments the bank declines.
    pub declining: Trial,
}

impl<S: Documents> Subscriber<OrderAccepted, S> for CollectPayment {
    async fn receive(&self, accepted: &Received<OrderAccepted>, uow: &mut UnitOfWork<S>) -> Outcome {
        let answer = match self.declining.declines(accepted.order) {
            true => Answer::Declined,
            false => Answer::Approved,
        };
        uow.add(Payment::collect(accepted.order, accepted.amount_due_cents, answer));
        Ok(())
    }
}
