//! The older way, immediate dispatch, beside recording and dispatching: what is left when the save fails.

use std::sync::{Arc, Mutex};

use factum::{
    AggregateRoot, Dispatcher, Document, DomainEvent, DomainEvents, Handler, Outcome, UnitOfWork, Work,
};
use factum_store_sqlite::Sqlite;

/// Mails that have left: no rollback takes one back.
#[derive(Clone, Default)]
struct Mails(Arc<Mutex<Vec<String>>>);

impl Mails {
    fn send(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
    fn sent(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// The older way: raising runs the handlers, there and then.
struct ImmediateOrder {
    number: u64,
}

impl ImmediateOrder {
    fn place(number: u64, raise: &dyn Fn(&OrderPlaced)) -> Self {
        raise(&OrderPlaced { number });
        Self { number }
    }
}

#[derive(Debug, PartialEq, DomainEvent)]
struct OrderPlaced {
    number: u64,
}

/// factum's way: recording has no effect.
#[derive(AggregateRoot)]
struct Order {
    #[id]
    number: u64,
    events: DomainEvents,
}

impl Order {
    fn place(number: u64) -> Self {
        let mut order = Self::restore(number);
        order.events.record(OrderPlaced { number });
        order
    }
}

impl Document for Order {
    const COLLECTION: &'static str = "order";
    type State = u64;
    fn state(&self) -> u64 {
        self.number
    }
    fn restore(number: u64) -> Self {
        Self { number, events: DomainEvents::new() }
    }
}

/// Notes in the transaction that a mail is due; sending it is for a subscriber, after commit.
struct NoteMail;

impl Handler<OrderPlaced, Sqlite> for NoteMail {
    async fn handle(&self, event: &OrderPlaced, uow: &mut UnitOfWork<Sqlite>) -> Outcome {
        uow.add(Mail { number: event.number, events: DomainEvents::new() });
        Ok(())
    }
}

#[derive(AggregateRoot)]
struct Mail {
    #[id]
    number: u64,
    events: DomainEvents,
}

impl Document for Mail {
    const COLLECTION: &'static str = "mail";
    type State = u64;
    fn state(&self) -> u64 {
        self.number
    }
    fn restore(number: u64) -> Self {
        Self { number, events: DomainEvents::new() }
    }
}

async fn store() -> (tempfile::TempDir, Sqlite) {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path().join("orders.db")).await.unwrap();
    (folder, store)
}

#[tokio::test]
async fn the_side_effect_of_immediate_dispatch_survives_a_failing_save() {
    let (_folder, store) = store().await;
    let work = Work::new("https://shop.example/ordering", store, Dispatcher::new());
    let mails = Mails::default();
    let save = async |number: u64| {
        let placed = ImmediateOrder::place(number, &|event| mails.send(format!("order {}", event.number)));
        let stored = Order { number: placed.number, events: DomainEvents::new() };
        let mut uow = work.begin().await.unwrap();
        uow.add(stored);
        uow.save_changes().await
    };
    save(7).await.unwrap();
    save(7).await.unwrap_err(); // the number is taken
    assert_eq!(mails.sent(), ["order 7", "order 7"], "one order, two mails: this is the bug");
}

#[tokio::test]
async fn recorded_and_dispatched_leaves_no_trace() {
    let (_folder, store) = store().await;
    let work = Work::new("https://shop.example/ordering", store, Dispatcher::new().on(NoteMail));
    let place = async |number: u64| {
        let mut uow = work.begin().await.unwrap();
        uow.add(Order::place(number));
        uow.save_changes().await
    };
    place(7).await.unwrap();
    place(7).await.unwrap_err();
    let mails = work.read().await.unwrap().scan::<Mail>("", 10).await.unwrap();
    assert_eq!(mails, [("7".to_owned(), 7)], "one order, one mail");
}
