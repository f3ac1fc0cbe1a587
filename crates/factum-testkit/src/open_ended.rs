//! The bus of a world: what nobody in it subscribes to has left for elsewhere.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use factum::integration::{Answer, Capabilities, Confirm, Deliveries, EventBus, Interest, Publication};
use factum::memory::MemoryBus;
use factum::{BoxError, BoxFuture};

/// A bus in memory that confirms what is unroutable, because a world is a part of an application: the service that
/// subscribes to an event may not be in it.
#[derive(Clone)]
pub(crate) struct OpenEnded(pub(crate) MemoryBus);

impl EventBus for OpenEnded {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, Result<(), BoxError>> {
        let confirming =
            |Publication { envelope, confirm }| Publication { envelope, confirm: leaving(confirm) };
        self.0.publish(batch.into_iter().map(confirming).collect())
    }

    fn subscribe<'a>(&'a self, interest: Interest) -> BoxFuture<'a, Result<Box<dyn Deliveries>, BoxError>> {
        self.0.subscribe(interest)
    }

    fn close<'a>(&'a self, deadline: Duration) -> BoxFuture<'a, ()> {
        self.0.close(deadline)
    }
}

fn leaving(confirm: Confirm) -> Confirm {
    let confirm = Mutex::new(Some(confirm));
    let answered = move |_, answer| {
        if let Some(confirm) = confirm.lock().unwrap_or_else(PoisonError::into_inner).take() {
            confirm.answer(match answer {
                Answer::Unroutable => Answer::Confirmed,
                answer => answer,
            });
        }
    };
    Confirm::new(0, Arc::new(answered))
}
