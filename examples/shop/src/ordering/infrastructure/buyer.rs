//! A buyer as a document.

use factum::{Document, Entity};
use serde::{Deserialize, Serialize};

use crate::kernel::Date;
use crate::ordering::domain::{Buyer, BuyerId};

/// What is stored of a buyer.
#[derive(Debug, Serialize, Deserialize)]
pub struct BuyerState {
    /// The id.
    pub id: u64,
    /// The day of the first order.
    pub since: Date,
    /// For how many orders the buyer was verified.
    pub orders_verified: u64,
}

impl Document for Buyer {
    const COLLECTION: &'static str = "buyers";
    type State = BuyerState;

    fn state(&self) -> BuyerState {
        BuyerState { id: self.id().0, since: self.since(), orders_verified: self.orders_verified() }
    }

    fn restore(state: BuyerState) -> Self {
        Buyer::restore(BuyerId(state.id), state.since, state.orders_verified)
    }
}
