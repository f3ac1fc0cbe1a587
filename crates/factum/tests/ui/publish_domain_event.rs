//! A domain event stays in its transaction, committed or not.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

async fn too_far(bus: &dyn EventBus, committed: Committed<Changes>, placed: OrderPlaced) {
    bus.publish_now(committed.vouch(&placed).unwrap()).await;
}

fn main() {}
