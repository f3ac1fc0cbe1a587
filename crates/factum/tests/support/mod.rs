//! A small shop, written by hand where derives could do it: what the tests of the unit of work act on.
#![allow(dead_code, unreachable_pub, reason = "every test file takes what it needs")]

use factum::memory::{Connection, MemoryStore};
use factum::{
    AggregateRoot, BoxError, Children, Dispatcher, Document, DomainEvent, DomainEvents, Entity, Event,
    Handler, Integration, IntegrationEvent, Loaded, Outcome, Persist, Received, Records, Subscriber, Version,
    Visit, Work, Written,
};
use serde::{Deserialize, Serialize};

pub const ORDERING: &str = "https://shop.example/ordering";
pub const BILLING: &str = "https://shop.example/billing";

pub type UnitOfWork = factum::UnitOfWork<MemoryStore>;

// -- domain: entities record what happened -----------------------------------------------------

#[derive(Debug, PartialEq)]
pub struct OrderPlaced {
    pub order: u64,
    pub sku: Sku,
    pub quantity: i64,
}
impl DomainEvent for OrderPlaced {}

#[derive(Debug, PartialEq)]
pub struct OrderPaid {
    pub order: u64,
}
impl DomainEvent for OrderPaid {}

#[derive(Debug, PartialEq)]
pub struct LineDiscounted {
    pub line: u32,
}
impl DomainEvent for LineDiscounted {}

#[derive(Debug, PartialEq)]
pub struct StockRanLow {
    pub sku: Sku,
    pub left: i64,
}
impl DomainEvent for StockRanLow {}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sku(pub String);

impl std::fmt::Display for Sku {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub fn sku(name: &str) -> Sku {
    Sku(name.into())
}

pub fn pen() -> Sku {
    sku("pen")
}

pub fn ink() -> Sku {
    sku("ink")
}

/// A child entity: it records its own events.
#[derive(Debug)]
pub struct OrderLine {
    id: u32,
    pub quantity: i64,
    events: DomainEvents,
}

impl OrderLine {
    fn new(id: u32, quantity: i64) -> Self {
        Self { id, quantity, events: DomainEvents::new() }
    }

    fn discount(&mut self) {
        self.events.record(LineDiscounted { line: self.id });
    }
}

impl Entity for OrderLine {
    type Id = u32;
    fn id(&self) -> &u32 {
        &self.id
    }
}

impl Records for OrderLine {
    fn each_events(&mut self, visit: &mut Visit<'_>) {
        self.events.each_events(visit);
    }
}

#[derive(Debug)]
pub struct Order {
    id: u64,
    lines: Children<OrderLine>,
    paid: bool,
    events: DomainEvents,
}

impl Order {
    pub fn place(id: u64, sku: Sku, quantity: i64) -> Self {
        let lines = [OrderLine::new(1, quantity)].into_iter().collect();
        let mut order = Self { id, lines, paid: false, events: DomainEvents::new() };
        order.events.record(OrderPlaced { order: id, sku, quantity });
        order
    }

    pub fn pay(&mut self) -> Result<(), BoxError> {
        if self.paid {
            return Err("paid already".into());
        }
        self.paid = true;
        self.events.record(OrderPaid { order: self.id });
        Ok(())
    }

    pub fn discount(&mut self) {
        self.lines.iter_mut().for_each(OrderLine::discount);
    }

    pub fn quantity(&self) -> i64 {
        self.lines.iter().map(|line| line.quantity).sum()
    }

    pub fn add_line(&mut self, id: u32, quantity: i64) {
        self.lines.add(OrderLine::new(id, quantity));
    }

    pub fn take(&mut self, line: u32) -> i64 {
        self.lines.remove(&line).map_or(0, |line| line.quantity)
    }

    pub fn keep_only(&mut self, line: u32) {
        self.lines.retain(|child| child.id == line);
    }

    pub fn empty(&mut self) {
        self.lines.clear();
    }

    pub fn events(&self) -> &DomainEvents {
        &self.events
    }
}

impl Entity for Order {
    type Id = u64;
    fn id(&self) -> &u64 {
        &self.id
    }
}

impl Records for Order {
    fn each_events(&mut self, visit: &mut Visit<'_>) {
        self.events.each_events(visit);
        self.lines.each_events(visit);
    }
}

impl AggregateRoot for Order {}

#[derive(Debug)]
pub struct Stock {
    sku: Sku,
    left: i64,
    events: DomainEvents,
}

impl Stock {
    pub fn new(sku: Sku, left: i64) -> Self {
        Self { sku, left, events: DomainEvents::new() }
    }

    pub fn left(&self) -> i64 {
        self.left
    }

    pub fn reserve(&mut self, quantity: i64) -> Outcome {
        if quantity > self.left {
            return Err(format!("{} is out of stock", self.sku).into());
        }
        self.left -= quantity;
        if self.left < 3 {
            self.events.record(StockRanLow { sku: self.sku.clone(), left: self.left });
        }
        Ok(())
    }

    pub fn give(&mut self, quantity: i64) {
        self.left += quantity;
    }
}

impl Entity for Stock {
    type Id = Sku;
    fn id(&self) -> &Sku {
        &self.sku
    }
}

impl Records for Stock {
    fn each_events(&mut self, visit: &mut Visit<'_>) {
        self.events.each_events(visit);
    }
}

impl AggregateRoot for Stock {}

// -- persistence: a document, and one by hand ------------------------------------------------------

#[derive(Serialize, Deserialize)]
pub struct OrderState {
    id: u64,
    lines: Vec<(u32, i64)>,
    paid: bool,
}

impl Document for Order {
    const COLLECTION: &'static str = "orders";
    type State = OrderState;

    fn state(&self) -> OrderState {
        let lines = self.lines.iter().map(|line| (line.id, line.quantity)).collect();
        OrderState { id: self.id, lines, paid: self.paid }
    }

    fn restore(OrderState { id, lines, paid }: OrderState) -> Self {
        let lines = lines.into_iter().map(|(id, quantity)| OrderLine::new(id, quantity)).collect();
        Self { id, lines, paid, events: DomainEvents::new() }
    }
}

impl Persist<MemoryStore> for Stock {
    async fn load(sku: &Sku, connection: &mut Connection) -> Result<Option<Loaded<Self>>, BoxError> {
        let Some(row) = connection.get("stock", &sku.0)? else { return Ok(None) };
        let left = std::str::from_utf8(&row.bytes)?.parse()?;
        Ok(Some(Loaded::new(Self::new(sku.clone(), left), row.version)))
    }

    async fn insert(&self, connection: &mut Connection) -> Result<Written, BoxError> {
        Ok(connection.put("stock", &self.sku.0, None, self.left.to_string().into_bytes())?)
    }

    async fn update(&self, version: Version, connection: &mut Connection) -> Result<Written, BoxError> {
        Ok(connection.put("stock", &self.sku.0, Some(version), self.left.to_string().into_bytes())?)
    }

    async fn delete(&self, version: Version, connection: &mut Connection) -> Result<Written, BoxError> {
        Ok(connection.delete("stock", &self.sku.0, version)?)
    }
}

/// A log that handlers write to, line by line.
pub fn note(connection: &mut Connection, line: &str) -> Outcome {
    let place = connection.list("log")?.len();
    let written = connection.put("log", &format!("{place:06}"), None, line.as_bytes())?;
    assert_eq!(written, Written::Fresh);
    Ok(())
}

// -- handlers: same transaction, before commit ---------------------------------------------------

/// Leads to a further event: the aggregate it changes may record `StockRanLow`.
pub async fn reserve_stock(event: &OrderPlaced, uow: &mut UnitOfWork) -> Outcome {
    let stock = uow.load::<Stock>(&event.sku).await?;
    note(uow.connection().await?, "reserved")?;
    uow[stock].reserve(event.quantity)
}

/// Announces an integration event: it leaves through the outbox.
pub async fn announce_order(event: &OrderPlaced, uow: &mut UnitOfWork) -> Outcome {
    uow.announce(&OrderPlacedV1 { order: event.order, quantity: event.quantity })?;
    Ok(())
}

/// A handler with state is a struct.
pub struct WarnBuyers {
    pub below: i64,
}

impl Handler<StockRanLow, MemoryStore> for WarnBuyers {
    async fn handle(&self, event: &StockRanLow, uow: &mut UnitOfWork) -> Outcome {
        if event.left < self.below {
            note(uow.connection().await?, "warned buyers")?;
        }
        Ok(())
    }
}

// -- integration -----------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderPlacedV1 {
    pub order: u64,
    pub quantity: i64,
}

impl Event for OrderPlacedV1 {
    type Kind = Integration;
}

impl IntegrationEvent for OrderPlacedV1 {
    const TYPE: &'static str = "com.example.shop.ordering.order-placed.v1";
    fn key(&self) -> Option<String> {
        Some(self.order.to_string())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderBilledV1 {
    pub order: u64,
}

impl Event for OrderBilledV1 {
    type Kind = Integration;
}

impl IntegrationEvent for OrderBilledV1 {
    const TYPE: &'static str = "com.example.shop.billing.order-billed.v1";
    fn key(&self) -> Option<String> {
        Some(self.order.to_string())
    }
}

pub async fn ship_order(received: &Received<OrderPlacedV1>, uow: &mut UnitOfWork) -> Outcome {
    note(uow.connection().await?, &format!("shipped {}", received.order))
}

/// Commits with the inbox row, like the note; its id is derived from the delivery.
pub async fn bill_order(received: &Received<OrderPlacedV1>, uow: &mut UnitOfWork) -> Outcome {
    note(uow.connection().await?, &format!("billed {}", received.order))?;
    uow.announce(&OrderBilledV1 { order: received.order })?;
    Ok(())
}

/// A subscriber with state is a struct.
pub struct Remind {
    pub after: u32,
}

impl Subscriber<OrderBilledV1, MemoryStore> for Remind {
    async fn receive(&self, received: &Received<OrderBilledV1>, uow: &mut UnitOfWork) -> Outcome {
        note(uow.connection().await?, &format!("remind {} after {} days", received.order, self.after))
    }
}

// -- a shop with something in stock ----------------------------------------------------------------

/// Five pens, nine inks.
pub async fn stocked() -> MemoryStore {
    let store = MemoryStore::new();
    let work = Work::new(ORDERING, store.clone(), Dispatcher::new());
    let mut uow = work.begin().await.unwrap();
    uow.add(Stock::new(pen(), 5));
    uow.add(Stock::new(ink(), 9));
    let _ = uow.save_changes().await.unwrap();
    store
}

pub async fn shop() -> (MemoryStore, Work<MemoryStore>) {
    let store = stocked().await;
    let dispatcher = Dispatcher::new().on(reserve_stock).on(announce_order).on(WarnBuyers { below: 3 });
    (store.clone(), Work::new(ORDERING, store, dispatcher))
}

/// What is left of a stock, as committed.
pub async fn left(store: &MemoryStore, sku: &Sku) -> Option<i64> {
    let work = Work::new(ORDERING, store.clone(), Dispatcher::new());
    let mut uow = work.read().await.unwrap();
    let stock = uow.find::<Stock>(sku).await.unwrap()?;
    Some(uow[stock].left())
}

/// The quantity of an order, as committed.
pub async fn quantity(store: &MemoryStore, order: u64) -> Option<i64> {
    let work = Work::new(ORDERING, store.clone(), Dispatcher::new());
    let mut uow = work.read().await.unwrap();
    let order = uow.find::<Order>(&order).await.unwrap()?;
    Some(uow[order].quantity())
}

/// What handlers noted, as committed.
pub async fn log(store: &MemoryStore) -> Vec<String> {
    let work = Work::new(ORDERING, store.clone(), Dispatcher::new());
    let mut uow = work.read().await.unwrap();
    let rows = uow.connection().await.unwrap().list("log").unwrap();
    rows.into_iter().map(|row| String::from_utf8(row.bytes.to_vec()).unwrap()).collect()
}
