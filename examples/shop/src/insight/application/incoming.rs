//! What insight reads of what other services publish: a tolerant reader has types of its own, with the fields
//! that it needs and no others. A buyer is a customer here.

use factum::IntegrationEvent;
use serde::{Deserialize, Serialize};

use crate::insight::domain::{CustomerId, OrderView, Standing};
use crate::kernel::{Date, Money, OrderId};

/// An order is paid.
#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-confirmed.v1", key = closed.order)]
pub struct OrderConfirmed {
    #[serde(flatten)]
    closed: ClosedOrder,
}

/// An order will not be fulfilled.
#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-cancelled.v1", key = closed.order)]
pub struct OrderCancelled {
    #[serde(flatten)]
    closed: ClosedOrder,
}

#[derive(Debug, Serialize, Deserialize)]
struct ClosedOrder {
    order: OrderId,
    buyer: u64,
    date: Date,
    cds: u64,
    total_cents: Money,
}

impl OrderConfirmed {
    /// In insight's own words.
    pub fn view(&self) -> OrderView {
        self.closed.view(Standing::Confirmed)
    }
}

impl OrderCancelled {
    /// In insight's own words.
    pub fn view(&self) -> OrderView {
        self.closed.view(Standing::Cancelled)
    }
}

impl ClosedOrder {
    fn view(&self, standing: Standing) -> OrderView {
        OrderView {
            order: self.order,
            customer: CustomerId(self.buyer),
            date: self.date,
            cds: self.cds,
            total: self.total_cents,
            standing,
        }
    }
}
