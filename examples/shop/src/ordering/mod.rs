//! Ordering takes orders, and is the process manager of the shop: it asks inventory for stock, then payment for
//! money, and confirms or cancels.

pub mod application;
pub mod domain;
pub mod infrastructure;
pub mod published;

use factum::{Dispatcher, Documents, Subscription};

use crate::service::Service;
use application::{
    PaymentDeclined, PaymentSettled, StockRefused, StockReserved, allocate_order, cancel_declined_order,
    cancel_refused_order, confirm_order, verify_buyer,
};
use domain::{Order, OrderAccepted, OrderCancelled, OrderConfirmed, OrderPlaced};
use published::{order_accepted, order_cancelled, order_confirmed, order_placed};

/// The service's name, and its database's.
pub const NAME: &str = "ordering";

/// The service on its own store.
pub fn service<S: Documents>(store: S) -> Service<S> {
    Service::new(NAME, store, dispatcher(), subscription())
}

/// Who reacts to what happens in its transactions, and what is announced of it. No handler relies on their order.
pub fn dispatcher<S: Documents>() -> Dispatcher<S> {
    Dispatcher::new()
        .on::<OrderPlaced>(verify_buyer::<S>)
        .announcing::<OrderPlaced>(order_placed)
        .announcing::<OrderAccepted>(order_accepted)
        .announcing::<OrderConfirmed>(order_confirmed)
        .announcing::<OrderCancelled>(order_cancelled)
}

fn subscription<S: Documents>() -> Subscription<S> {
    Subscription::named(NAME)
        .on::<StockReserved>(allocate_order::<S>)
        .on::<StockRefused>(cancel_refused_order::<S>)
        .on::<PaymentSettled>(confirm_order::<S>)
        .on::<PaymentDeclined>(cancel_declined_order::<S>)
        .preloading::<StockReserved, Order>(|answer| answer.order)
        .preloading::<PaymentSettled, Order>(|answer| answer.order)
}
