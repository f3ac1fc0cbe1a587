//! Payment collects what is due for orders.

pub mod application;
pub mod domain;
pub mod infrastructure;
pub mod published;

use factum::{Dispatcher, Documents, Subscription};

use crate::chance::Trial;
use crate::service::Service;
use application::{CollectPayment, OrderAccepted};
use domain::{PaymentDeclined, PaymentSettled};
use published::{payment_declined, payment_settled};

/// The service's name, and its database's.
pub const NAME: &str = "payment";

/// The service on its own store. `declining` says which payments the bank declines.
pub fn service<S: Documents>(store: S, declining: Trial) -> Service<S> {
    Service::new(NAME, store, dispatcher(), subscription(declining))
}

fn dispatcher<S: Documents>() -> Dispatcher<S> {
    Dispatcher::new()
        .announcing::<PaymentSettled>(payment_settled)
        .announcing::<PaymentDeclined>(payment_declined)
}

fn subscription<S: Documents>(declining: Trial) -> Subscription<S> {
    Subscription::named(NAME).on::<OrderAccepted>(CollectPayment { declining })
}
