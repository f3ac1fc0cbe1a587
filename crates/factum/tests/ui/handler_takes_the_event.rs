//! A handler is lent the event: others hear it, too.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

async fn on_order_placed<S: Store>(_: OrderPlaced, _: &mut UnitOfWork<S>) -> Outcome {
    Ok(())
}

fn register<S: Store>(dispatcher: Dispatcher<S>) -> Dispatcher<S> {
    dispatcher.on::<OrderPlaced>(on_order_placed)
}

fn main() {}
