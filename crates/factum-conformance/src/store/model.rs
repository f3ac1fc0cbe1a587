//! What the suite stores, dispatches, announces and receives.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use factum::{
    AggregateRoot, Document, Documents, DomainEvent, DomainEvents, Entity, Event, Handler, Integration,
    IntegrationEvent, Outcome, Projection, Received, Records, Subscriber, UnitOfWork, View, Visit,
};
use serde::{Deserialize, Serialize};

/// An aggregate with a number in it.
#[derive(Debug)]
pub struct Item {
    id: String,
    value: i64,
    note: String,
    events: DomainEvents,
}

impl Item {
    /// A new item, worth nothing.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), value: 0, note: String::new(), events: DomainEvents::new() }
    }

    /// A new item that has grown once already.
    pub fn grown(id: impl Into<String>, depth: u32) -> Self {
        let mut item = Self::new(id);
        item.grow(depth);
        item
    }

    /// Adds without recording anything.
    pub fn add(&mut self, amount: i64) {
        self.value += amount;
    }

    /// Adds 1, and records it.
    pub fn grow(&mut self, depth: u32) {
        self.value += 1;
        self.events.record(Grown { item: self.id.clone(), depth });
    }

    /// Writes on it.
    pub fn write(&mut self, note: impl Into<String>) {
        self.note = note.into();
    }

    /// What it is worth.
    pub fn value(&self) -> i64 {
        self.value
    }

    /// What is written on it.
    pub fn note(&self) -> &str {
        &self.note
    }
}

impl Entity for Item {
    type Id = String;
    fn id(&self) -> &String {
        &self.id
    }
}

impl Records for Item {
    fn each_events(&mut self, visit: &mut Visit<'_>) {
        self.events.each_events(visit);
    }
}

impl AggregateRoot for Item {}

/// An [`Item`] as it is stored.
#[derive(Serialize, Deserialize)]
pub struct ItemState {
    id: String,
    /// What it is worth.
    pub value: i64,
    note: String,
}

impl Document for Item {
    const COLLECTION: &'static str = "items";
    type State = ItemState;

    fn state(&self) -> ItemState {
        ItemState { id: self.id.clone(), value: self.value, note: self.note.clone() }
    }

    fn restore(ItemState { id, value, note }: ItemState) -> Self {
        Self { id, value, note, events: DomainEvents::new() }
    }
}

/// An item has grown.
#[derive(Debug, PartialEq)]
pub struct Grown {
    /// Which.
    pub item: String,
    /// How many others led to it.
    pub depth: u32,
}

impl DomainEvent for Grown {}

/// Others are told that an item has grown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemGrownV1 {
    /// The key.
    pub item: String,
    /// Any text.
    pub text: String,
}

impl ItemGrownV1 {
    /// About an item.
    pub fn of(item: impl Into<String>, text: impl Into<String>) -> Self {
        Self { item: item.into(), text: text.into() }
    }
}

impl Event for ItemGrownV1 {
    type Kind = Integration;
}

impl IntegrationEvent for ItemGrownV1 {
    const TYPE: &'static str = "com.example.conformance.item-grown.v1";
    fn key(&self) -> Option<String> {
        Some(self.item.clone())
    }
}

/// An event without a key: each is its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoticedV1 {
    /// Any text.
    pub text: String,
}

impl Event for NoticedV1 {
    type Kind = Integration;
}

impl IntegrationEvent for NoticedV1 {
    const TYPE: &'static str = "com.example.conformance.noticed.v1";
}

/// Lets an item grow for each that has grown, until the cascade is `until` deep; announces each, and fails where it is
/// told to.
pub(super) struct Chain {
    pub(super) until: u32,
    pub(super) fails_at: Option<u32>,
}

impl<S: Documents> Handler<Grown, S> for Chain {
    async fn handle(&self, event: &Grown, uow: &mut UnitOfWork<S>) -> Outcome {
        uow.announce(&ItemGrownV1::of(&event.item, format!("depth {}", event.depth)))?;
        if event.depth < self.until {
            uow.add(Item::grown(format!("{}+", event.item), event.depth + 1));
            uow.write_changes().await?;
        }
        match self.fails_at {
            Some(depth) if depth == event.depth => Err("this far and no farther".into()),
            _ => Ok(()),
        }
    }

    fn name(&self) -> &'static str {
        "Chain"
    }
}

/// A handler or a subscriber made from a function that answers a future; what it needs it has captured.
pub(super) struct Does<F>(pub(super) F);

impl<S: Documents, F, R> Handler<Grown, S> for Does<F>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send,
{
    async fn handle(&self, event: &Grown, uow: &mut UnitOfWork<S>) -> Outcome {
        uow.announce(&ItemGrownV1::of(&event.item, "told before its time"))?;
        uow.write_changes().await?;
        self.0().await
    }
}

/// Adds 1 to the item that the event is about, writes down in which order, and announces that it did.
#[derive(Clone, Default)]
pub(super) struct Count {
    /// How often it was called, whatever became of that.
    pub(super) calls: Arc<AtomicUsize>,
    /// Texts on which it fails after its effects.
    pub(super) fails_on: Arc<std::sync::Mutex<Vec<String>>>,
}

impl<S: Documents> Subscriber<ItemGrownV1, S> for Count {
    async fn receive(&self, received: &Received<ItemGrownV1>, uow: &mut UnitOfWork<S>) -> Outcome {
        self.calls.fetch_add(1, Ordering::SeqCst);
        count(received, uow).await?;
        tokio::task::yield_now().await;
        uow.announce(&ItemGrownV1::of(&received.item, format!("because of {}", received.text)))?;
        let fails = self.fails_on.lock().is_ok_and(|texts| texts.contains(&received.text));
        if fails { Err(format!("told to fail on {}", received.text).into()) } else { Ok(()) }
    }
}

/// Adds 1 to the item that the event is about, and writes the event's text behind what is written on it.
pub(super) async fn count<S: Documents>(
    received: &Received<ItemGrownV1>,
    uow: &mut UnitOfWork<S>,
) -> Outcome {
    let item = match uow.find::<Item>(&received.item).await? {
        Some(item) => item,
        None => uow.add(Item::new(&received.item)),
    };
    let note = format!("{}{} ", uow[item].note(), received.text);
    uow[item].add(1);
    uow[item].write(note);
    Ok(())
}

/// The same as a projection, which can neither announce nor save.
pub(super) struct Project;

impl<S: Documents> Projection<ItemGrownV1, S> for Project {
    async fn project(&self, received: &Received<ItemGrownV1>, view: &mut View<'_, S>) -> Outcome {
        let item = match view.find::<Item>(&received.item).await? {
            Some(item) => item,
            None => view.add(Item::new(&received.item)),
        };
        view[item].add(1);
        if received.text == "unreadable" { Err("cannot fold this in".into()) } else { Ok(()) }
    }
}
