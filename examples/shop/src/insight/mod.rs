//! Insight is the read side: it follows closed orders, and answers what the write databases would have to be
//! searched for. It announces nothing.

pub mod application;
pub mod domain;
pub mod infrastructure;

use factum::{Dispatcher, Documents, Subscription};

use crate::service::Service;
use application::{OrderCancelled, OrderConfirmed, ProjectOrders};
use domain::CustomerValue;

/// The service's name, and its database's.
pub const NAME: &str = "insight";

/// The service on its own store.
pub fn service<S: Documents>(store: S) -> Service<S> {
    Service::new(NAME, store, Dispatcher::new(), subscription())
}

fn subscription<S: Documents>() -> Subscription<S> {
    Subscription::named(NAME)
        .projecting::<OrderConfirmed>(ProjectOrders)
        .projecting::<OrderCancelled>(ProjectOrders)
        .preloading::<OrderConfirmed, CustomerValue>(|confirmed| confirmed.view().customer)
}
