//! What is dispatched, in both benchmarks: a counter that records each of its ticks, and handlers that only look.

use std::borrow::Borrow;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use factum::memory::MemoryStore;
use factum::{
    AggregateRoot, BoxFuture, Dispatcher, Document, DomainEvent, DomainEvents, Outcome, Records as _,
    UnitOfWork, Work,
};

/// Recorded in one save.
pub(crate) const EVENTS: usize = 1_000;

pub(crate) type Uow = UnitOfWork<MemoryStore>;

#[derive(Debug, Clone, Copy, DomainEvent)]
pub(crate) struct Ticked {
    pub(crate) nth: u64,
}

#[derive(AggregateRoot)]
pub(crate) struct Counter {
    id: u64,
    ticks: u64,
    events: DomainEvents,
}

impl Counter {
    pub(crate) fn new() -> Self {
        Self { id: 1, ticks: 0, events: DomainEvents::new() }
    }

    pub(crate) fn tick(&mut self) {
        self.ticks += 1;
        self.events.record(Ticked { nth: self.ticks });
    }

    /// Takes what was recorded, and with it the warning that nobody did.
    pub(crate) fn forget(mut self) {
        drop(self.events.collect_events());
    }
}

impl Document for Counter {
    const COLLECTION: &'static str = "counters";
    type State = (u64, u64);
    fn state(&self) -> (u64, u64) {
        (self.id, self.ticks)
    }
    fn restore((id, ticks): (u64, u64)) -> Self {
        Self { id, ticks, events: DomainEvents::new() }
    }
}

pub(crate) async fn look(event: &Ticked, _: &mut Uow) -> Outcome {
    black_box(event.nth);
    Ok(())
}

/// Work on an empty store, with so many handlers of [`Ticked`].
pub(crate) fn work(handlers: usize) -> Work<MemoryStore> {
    let dispatcher = (0..handlers).fold(Dispatcher::new(), |dispatcher, _| dispatcher.on::<Ticked>(look));
    Work::new("https://bench.example/counter", MemoryStore::new(), dispatcher)
}

/// A unit of work with a counter that has recorded so many events.
pub(crate) fn recorded(work: &Work<MemoryStore>, events: usize) -> Uow {
    let mut uow = now(work.begin()).unwrap();
    let counter = uow.add(Counter::new());
    let counter = &mut uow[counter];
    (0..events).for_each(|_| counter.tick());
    uow
}

/// What one would write without a library: a list of boxed async functions.
pub(crate) type ByHand =
    Vec<Box<dyn for<'a> Fn(&'a Ticked, &'a mut Uow) -> BoxFuture<'a, Outcome> + Send + Sync>>;

/// The same handlers, by hand.
pub(crate) fn by_hand(handlers: usize) -> ByHand {
    fn boxed<'a>(event: &'a Ticked, uow: &'a mut Uow) -> BoxFuture<'a, Outcome> {
        Box::pin(look(event, uow))
    }
    (0..handlers).map(|_| Box::new(boxed) as _).collect()
}

/// Calls every handler with every event.
pub(crate) async fn call_all<E: Borrow<Ticked>>(
    handlers: &ByHand,
    events: impl IntoIterator<Item = E>,
    uow: &mut Uow,
) -> Outcome {
    for event in events {
        for handler in handlers {
            handler(event.borrow(), uow).await?;
        }
    }
    Ok(())
}

/// Polls a future that waits for nothing.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the memory store waits for nothing"),
    }
}
