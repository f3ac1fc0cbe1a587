//! An order, its lines, and what is told of it.
#![allow(dead_code, unused_imports)]

pub use std::sync::Arc;

pub use factum::integration::{EventBusExt, Received};
pub use factum::port::Store;
pub use factum::{
    AggregateRoot, BoxError, Changes, Children, Committed, Dispatcher, DomainEvent, DomainEvents, Entity,
    Envelope, Error, Event, EventBus, Integration, IntegrationEvent, Loaded, Outcome, Persist, Records,
    Subscriber, Subscription, Tracked, UnitOfWork, Version, Written,
};
pub use serde::{Deserialize, Serialize};

#[derive(Debug, DomainEvent)]
pub struct OrderPlaced {
    pub order: u64,
}

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-placed.v1", key = order)]
pub struct OrderPlacedV1 {
    pub order: u64,
}

#[derive(Entity)]
pub struct Line {
    pub id: u32,
    pub events: DomainEvents,
}

#[derive(AggregateRoot)]
pub struct Order {
    pub id: u64,
    pub lines: Children<Line>,
    pub events: DomainEvents,
}

impl Order {
    pub fn place(&mut self) {}
}

#[derive(AggregateRoot)]
pub struct Stock {
    pub id: String,
    pub events: DomainEvents,
}

impl Stock {
    pub fn reserve(&mut self, _: u32) {}
}

macro_rules! persist {
    ($($root:ty),*) => {$(
        impl<S: Store> Persist<S> for $root {
            async fn load(_: &Self::Id, _: &mut S::Connection) -> Result<Option<Loaded<Self>>, BoxError> {
                Ok(None)
            }
            async fn insert(&self, _: &mut S::Connection) -> Result<Written, BoxError> {
                Ok(Written::Fresh)
            }
            async fn update(&self, _: Version, _: &mut S::Connection) -> Result<Written, BoxError> {
                Ok(Written::Fresh)
            }
            async fn delete(&self, _: Version, _: &mut S::Connection) -> Result<Written, BoxError> {
                Ok(Written::Fresh)
            }
        }
    )*};
}

persist!(Order, Stock);
