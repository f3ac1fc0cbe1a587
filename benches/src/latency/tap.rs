//! Where the time goes on our side: a store and a bus that note when each event passes through them.

use std::sync::Arc;
use std::time::Duration;

use factum::integration::{Capabilities, Deliveries, Interest, Publication};
use factum::port::{Asked, Found, Lease, Leased, OutboxStore, Read, Settlement};
use factum::{BoxError, BoxFuture, Envelope, EventBus};

use super::{Stage, Stamps};

/// The number of an event is its key.
pub(super) fn event(envelope: &Envelope) -> Option<i64> {
    envelope.partitionkey.as_deref()?.parse().ok()
}

pub(super) struct Tapped<T> {
    pub(super) inner: T,
    pub(super) stamps: Arc<Stamps>,
}

impl<S: OutboxStore> OutboxStore for Tapped<S> {
    fn lease<'a>(&'a self, owner: &'a str, asked: Asked) -> BoxFuture<'a, Result<Leased, BoxError>> {
        self.inner.lease(owner, asked)
    }

    fn release<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        self.inner.release(owner)
    }

    fn read<'a>(&'a self, read: Read) -> BoxFuture<'a, Result<Found, BoxError>> {
        Box::pin(async {
            let found = self.inner.read(read).await?;
            let events = found.rows.iter().filter_map(|row| event(&row.envelope));
            events.for_each(|event| self.stamps.pass(Stage::Read, event));
            Ok(found)
        })
    }

    fn settle<'a>(
        &'a self,
        owner: &'a str,
        leases: &'a [Lease],
        settlement: &'a Settlement,
    ) -> BoxFuture<'a, Result<usize, BoxError>> {
        self.inner.settle(owner, leases, settlement)
    }

    fn hint(&self) -> BoxFuture<'_, ()> {
        self.inner.hint()
    }

    fn clean_up(&self) -> BoxFuture<'_, Result<bool, BoxError>> {
        self.inner.clean_up()
    }
}

impl<B: EventBus> EventBus for Tapped<B> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, Result<(), BoxError>> {
        let events = batch.iter().filter_map(|publication| event(&publication.envelope));
        events.for_each(|event| self.stamps.pass(Stage::Published, event));
        self.inner.publish(batch)
    }

    fn subscribe<'a>(&'a self, interest: Interest) -> BoxFuture<'a, Result<Box<dyn Deliveries>, BoxError>> {
        self.inner.subscribe(interest)
    }

    fn close<'a>(&'a self, deadline: Duration) -> BoxFuture<'a, ()> {
        self.inner.close(deadline)
    }
}
