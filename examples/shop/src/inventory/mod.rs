//! Inventory keeps CDs on shelves, and holds them for orders until they are paid or cancelled.

pub mod application;
pub mod domain;
pub mod infrastructure;
pub mod published;

use factum::{Dispatcher, Documents, Subscription};

use crate::chance::Trial;
use crate::service::Service;
use application::{
    OrderCancelled, OrderConfirmed, OrderPlaced, ReserveStock, release_reservation, reorder_stock,
    return_to_shelves, ship_order, take_from_shelves,
};
use domain::{
    Reservation, ReservationFulfilled, ReservationReleased, StockRanLow, StockRefused, StockReserved,
};
use published::{stock_refused, stock_reserved};

/// The service's name, and its database's.
pub const NAME: &str = "inventory";

/// The service on its own store. `shortage` says which orders are refused although there is stock.
pub fn service<S: Documents>(store: S, shortage: Trial) -> Service<S> {
    Service::new(NAME, store, dispatcher(), subscription(shortage))
}

fn dispatcher<S: Documents>() -> Dispatcher<S> {
    Dispatcher::new()
        .announcing::<StockReserved>(stock_reserved)
        .announcing::<StockRefused>(stock_refused)
        .on::<StockRanLow>(reorder_stock::<S>)
        .on::<ReservationFulfilled>(take_from_shelves::<S>)
        .on::<ReservationReleased>(return_to_shelves::<S>)
}

fn subscription<S: Documents>(shortage: Trial) -> Subscription<S> {
    Subscription::named(NAME)
        .on::<OrderPlaced>(ReserveStock { shortage })
        .on::<OrderConfirmed>(ship_order::<S>)
        .on::<OrderCancelled>(release_reservation::<S>)
        .preloading::<OrderConfirmed, Reservation>(|confirmed| confirmed.order)
}
