//! Handlers are for domain events.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

async fn on_order_placed<S: Store>(_: &OrderPlacedV1, _: &mut UnitOfWork<S>) -> Outcome {
    Ok(())
}

fn register<S: Store>(dispatcher: Dispatcher<S>) -> Dispatcher<S> {
    dispatcher.on::<OrderPlacedV1>(on_order_placed)
}

fn main() {}
