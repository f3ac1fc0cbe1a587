//! Subscribers are for what has left its transaction.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

async fn on_order_placed<S: Store>(_: &OrderPlaced, _: &mut UnitOfWork<S>) -> Outcome {
    Ok(())
}

fn register<S: Store>(subscription: Subscription<S>) -> Subscription<S> {
    subscription.on::<OrderPlaced>(on_order_placed)
}

fn main() {}
