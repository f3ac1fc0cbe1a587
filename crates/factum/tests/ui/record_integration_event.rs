//! An integration event is announced, not recorded.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

fn mixed_up(order: &mut Order) {
    order.events.record(OrderPlacedV1 { order: 7 });
}

fn main() {}
