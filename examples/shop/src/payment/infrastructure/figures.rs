//! The totals of the payment database.

use factum::{Documents, Error, Work};

use super::{PaymentState, StatusState};
use crate::kernel::Money;
use crate::payment::domain::Payment;
use crate::tally::each;

/// The totals of the payment database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Payments that were settled.
    pub settled: u64,
    /// What they come to.
    pub amount_settled: Money,
    /// Payments that were declined.
    pub declined: u64,
}

/// Adds the database up.
///
/// # Errors
///
/// The store.
pub async fn figures<S: Documents>(work: &Work<S>) -> Result<Figures, Error> {
    let mut figures = Figures::default();
    let mut uow = work.read().await?;
    each::<Payment, S>(&mut uow, |payment| figures.count(&payment)).await?;
    uow.roll_back().await;
    Ok(figures)
}

impl Figures {
    fn count(&mut self, payment: &PaymentState) {
        match payment.status {
            StatusState::Declined => self.declined += 1,
            StatusState::Settled => {
                self.settled += 1;
                self.amount_settled += payment.amount_cents;
            }
        }
    }
}
