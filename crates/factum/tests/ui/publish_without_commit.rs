//! An envelope is published with the proof of a commit.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

async fn too_early(bus: &dyn EventBus, envelope: Envelope) {
    bus.publish_now(envelope).await;
}

fn main() {}
