//! Two services in one file: ordering records and announces, shipping reacts. SQLite files, no server.
use factum::{AggregateRoot, BoxError, Dispatcher, Document, DomainEvent, DomainEvents, IntegrationEvent};
use factum::{Outcome, Received, Subscription, UnitOfWork, Work};
use factum_runtime::Service;
use factum_store_sqlite::Sqlite;
use serde::{Deserialize, Serialize};

#[derive(Debug, DomainEvent)]
struct OrderPlaced {
    order: u64,
    pens: u32,
}
#[derive(AggregateRoot)]
struct Order {
    id: u64,
    pens: u32,
    events: DomainEvents,
}
impl Order {
    fn place(id: u64, pens: u32) -> Self {
        let mut order = Self::restore((id, pens));
        order.events.record(OrderPlaced { order: id, pens }); // noted; nothing else happens yet
        order
    }
}
/// Its state as JSON in one table. With `Persist` you write your own SQL.
impl Document for Order {
    const COLLECTION: &'static str = "order";
    type State = (u64, u32);
    fn state(&self) -> (u64, u32) {
        (self.id, self.pens)
    }
    fn restore((id, pens): (u64, u32)) -> Self {
        Self { id, pens, events: DomainEvents::new() }
    }
}

/// Before commit, in the same transaction: `Err` takes the order back, and all that was announced with it.
async fn check_stock(event: &OrderPlaced, _uow: &mut UnitOfWork<Sqlite>) -> Outcome {
    if event.pens > 10 { Err(format!("there are 10 pens, not {}", event.pens).into()) } else { Ok(()) }
}
/// Told to other services: its JSON is a contract. It leaves after commit, or never.
#[derive(Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.ordering.order-placed.v1", key = order)]
struct OrderPlacedV1 {
    order: u64,
    pens: u32,
}
fn order_placed(event: &OrderPlaced) -> OrderPlacedV1 {
    OrderPlacedV1 { order: event.order, pens: event.pens }
}
/// After commit, in the other service and in a transaction of its own: a redelivery does nothing.
async fn ship(received: &Received<OrderPlacedV1>, _uow: &mut UnitOfWork<Sqlite>) -> Outcome {
    println!("shipping: {} pens for order {}", received.event.pens, received.event.order);
    Ok(())
}
async fn place(ordering: &Work<Sqlite>, id: u64, pens: u32) -> Result<(), BoxError> {
    ordering.run(async |uow| Ok(uow.add(Order::place(id, pens)))).await.map(|_placed| ())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let (orders, shipments) = (folder.path().join("orders.db"), folder.path().join("shipments.db"));
    let handlers = Dispatcher::new().on(check_stock).announcing(order_placed);
    let ordering = Work::new("https://shop.example/ordering", Sqlite::open(orders).await?, handlers);
    let shipping =
        Work::new("https://shop.example/shipping", Sqlite::open(shipments).await?, Dispatcher::new());

    let bus = factum_runtime::memory_bus();
    let subscription = Subscription::named("shipping").on(ship);
    let shipping = Service::new(shipping).subscription(subscription).start(&bus).await?;
    let relay = Service::new(ordering.clone()).start(&bus).await?;
    place(&ordering, 7, 2).await?;
    println!("ordering: {}", place(&ordering, 8, 99).await.unwrap_err());

    relay.drain().await?; // publishes what is in the outbox, then stops
    Ok(shipping.stop().await?)
}
