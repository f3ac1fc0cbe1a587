//! Three services, small enough to be read at a glance: ordering takes orders and registers buyers, payment takes
//! money, shipping ships. What ordering announces last, nobody here subscribes to.
#![allow(dead_code, unreachable_pub, reason = "every test file takes what it needs")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use factum::memory::MemoryStore;
use factum::{
    AggregateRoot, Children, Dispatcher, Document, DomainEvent, DomainEvents, Entity, IntegrationEvent,
    Outcome, Received, Subscriber, Subscription, Work,
};
use factum_testkit::World;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

pub const ORDERING: &str = "https://shop.example/ordering";
pub const PAYMENT: &str = "https://shop.example/payment";
pub const SHIPPING: &str = "https://shop.example/shipping";

pub type UnitOfWork = factum::UnitOfWork<MemoryStore>;

// -- ordering's domain ---------------------------------------------------------------------------

#[derive(Debug, PartialEq, DomainEvent)]
pub struct OrderPlaced {
    pub order: u64,
    pub buyer: u64,
}

#[derive(Debug, PartialEq, DomainEvent)]
pub struct LineAdded {
    pub line: u32,
    pub cds: u32,
}

#[derive(Debug, PartialEq, DomainEvent)]
pub struct OrderConfirmed {
    pub order: u64,
}

#[derive(Debug, PartialEq, DomainEvent)]
pub struct BuyerRegistered {
    pub buyer: u64,
}

#[derive(Entity)]
pub struct Line {
    id: u32,
    events: DomainEvents,
}

#[derive(AggregateRoot)]
pub struct Order {
    id: u64,
    confirmed: bool,
    #[children]
    lines: Children<Line>,
    events: DomainEvents,
}

impl Order {
    pub fn place(id: u64, buyer: u64) -> Self {
        let mut order = Self::restore((id, false));
        order.events.record(OrderPlaced { order: id, buyer });
        order
    }

    pub fn with_line(mut self, id: u32, cds: u32) -> Self {
        let mut line = Line { id, events: DomainEvents::new() };
        line.events.record(LineAdded { line: id, cds });
        self.lines.add(line);
        self
    }

    pub fn confirm(&mut self) {
        self.confirmed = true;
        self.events.record(OrderConfirmed { order: self.id });
    }
}

impl Document for Order {
    const COLLECTION: &'static str = "order";
    type State = (u64, bool);

    fn state(&self) -> (u64, bool) {
        (self.id, self.confirmed)
    }

    fn restore((id, confirmed): (u64, bool)) -> Self {
        Self { id, confirmed, lines: Children::new(), events: DomainEvents::new() }
    }
}

#[derive(AggregateRoot)]
pub struct Buyer {
    id: u64,
    events: DomainEvents,
}

impl Buyer {
    fn register(id: u64) -> Self {
        let mut buyer = Self::restore(id);
        buyer.events.record(BuyerRegistered { buyer: id });
        buyer
    }
}

impl Document for Buyer {
    const COLLECTION: &'static str = "buyer";
    type State = u64;

    fn state(&self) -> u64 {
        self.id
    }

    fn restore(id: u64) -> Self {
        Self { id, events: DomainEvents::new() }
    }
}

// -- what they tell each other -------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-placed.v1", key = order)]
pub struct OrderPlacedV1 {
    pub order: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.payment.payment-settled.v1", key = order)]
pub struct PaymentSettledV1 {
    pub order: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-confirmed.v1", key = order)]
pub struct OrderConfirmedV1 {
    pub order: u64,
}

fn order_placed(placed: &OrderPlaced) -> OrderPlacedV1 {
    OrderPlacedV1 { order: placed.order }
}

fn order_confirmed(confirmed: &OrderConfirmed) -> OrderConfirmedV1 {
    OrderConfirmedV1 { order: confirmed.order }
}

// -- who reacts ----------------------------------------------------------------------------------

async fn register_buyer(placed: &OrderPlaced, uow: &mut UnitOfWork) -> Outcome {
    if uow.find::<Buyer>(&placed.buyer).await?.is_none() {
        uow.add(Buyer::register(placed.buyer));
    }
    Ok(())
}

async fn confirm_order(settled: &Received<PaymentSettledV1>, uow: &mut UnitOfWork) -> Outcome {
    let order = uow.load::<Order>(&settled.order).await?;
    uow[order].confirm();
    Ok(())
}

async fn ship(_: &Received<PaymentSettledV1>, _: &mut UnitOfWork) -> Outcome {
    Ok(())
}

/// Settles every payment, after a number of failures.
pub struct Bank {
    failures_left: AtomicU32,
    pub calls: Arc<AtomicU32>,
}

impl Bank {
    pub fn failing(times: u32) -> Self {
        Self { failures_left: times.into(), calls: Arc::default() }
    }
}

impl Subscriber<OrderPlacedV1, MemoryStore> for Bank {
    async fn receive(&self, placed: &Received<OrderPlacedV1>, uow: &mut UnitOfWork) -> Outcome {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let one_less = |left: u32| left.checked_sub(1);
        if self.failures_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Err("the bank does not answer".into());
        }
        uow.announce(&PaymentSettledV1 { order: placed.order })?;
        Ok(())
    }
}

// -- the world -----------------------------------------------------------------------------------

pub fn ordering() -> Dispatcher<MemoryStore> {
    Dispatcher::new().on(register_buyer).announcing(order_placed).announcing(order_confirmed)
}

/// Starts all three, and answers ordering's units of work and payment's.
pub async fn start(world: &mut World, bank: Bank) -> (Work<MemoryStore>, Work<MemoryStore>) {
    let orders = Subscription::named("ordering").on(confirm_order);
    let payments = Subscription::named("payment").on(bank);
    let shipments = Subscription::named("shipping").on(ship);
    let ordering = world.service(ORDERING, ordering(), [orders]).await;
    let payment = world.service(PAYMENT, Dispatcher::new(), [payments]).await;
    world.service(SHIPPING, Dispatcher::new(), [shipments]).await;
    (ordering, payment)
}

pub async fn place(ordering: &Work<MemoryStore>, order: u64) {
    ordering.run(async |uow| Ok(uow.add(Order::place(order, 1)))).await.unwrap();
}

/// Waits until quiet, but not for ever: tests run on a paused clock, which reaches this hour only where nothing else
/// happens any more.
pub async fn settle(world: &World) {
    if timeout(Duration::from_secs(24 * 3_600), world.quiet()).await.is_err() {
        panic!("it never became quiet; this happened:\n{}", world.story());
    }
}
