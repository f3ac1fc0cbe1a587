//! Dispatch: in waves, in order, inside the transaction, until quiet or refused.

mod support;

use std::sync::{Arc, Mutex};

use factum::memory::{Connection, MemoryStore};
use factum::port::{BucketSet, OutboxStore as _, Read};
use factum::{
    AggregateRoot, BoxError, Dispatcher, DomainEvent, DomainEvents, Entity, Error, Handler,
    IntegrationEvent as _, Loaded, Outcome, Persist, Records, Sort, Version, Visit, Work, Written,
};
use support::*;

const ALL: Read =
    Read { buckets: BucketSet::ALL, above: 0, except: Vec::new(), rows_max: 100, bytes_max: 1 << 20 };

fn is_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cascade_commits_as_one() {
    let (store, work) = shop().await;
    let task = async move {
        let mut uow = work.begin().await?;
        uow.add(Order::place(7, pen(), 4));
        uow.save_changes().await
    };
    let changes = tokio::spawn(is_send(task)).await.unwrap().unwrap();
    assert_eq!(log(&store).await, ["reserved", "warned buyers"]);
    assert_eq!((quantity(&store, 7).await, left(&store, &pen()).await), (Some(4), Some(1)));
    assert_eq!((changes.dispatched, changes.written), (2, 2));
    let outbox = store.read(ALL).await.unwrap().rows;
    assert_eq!((outbox.len(), changes.announced.len()), (1, 1));
    assert_eq!(
        (&*outbox[0].envelope.r#type, &outbox[0].envelope.id),
        (OrderPlacedV1::TYPE, &changes.announced[0])
    );
}

#[tokio::test]
async fn a_failing_handler_rolls_everything_back_and_is_named() {
    let (store, work) = shop().await;
    let mut uow = work.begin().await.unwrap();
    uow.add(Order::place(8, pen(), 99));
    let error = uow.save_changes().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "handler reserve_stock failed on OrderPlaced of Order 8: pen is out of stock"
    );
    assert!(matches!(error, Error::Handler { handler: "reserve_stock", event: "OrderPlaced", .. }));
    assert_eq!((log(&store).await.len(), quantity(&store, 8).await), (0, None));
    assert!(store.read(ALL).await.unwrap().rows.is_empty());
}

/// The hole of the reference that everybody copies: it takes one snapshot of what was recorded before it calls handlers.
#[tokio::test]
async fn events_recorded_by_handlers_are_dispatched_in_the_same_save() {
    async fn order_more(event: &StockRanLow, uow: &mut UnitOfWork) -> Outcome {
        uow.add(Order::place(100, ink(), event.left));
        Ok(())
    }
    let store = stocked().await;
    let dispatcher = Dispatcher::new().on(reserve_stock).on(order_more).on(announce_order);
    let mut uow = Work::new(ORDERING, store.clone(), dispatcher).begin().await.unwrap();
    uow.add(Order::place(1, pen(), 4)); // OrderPlaced -> StockRanLow -> OrderPlaced -> nothing more
    let changes = uow.save_changes().await.unwrap();
    assert_eq!((changes.dispatched, changes.announced.len()), (3, 2));
    assert_eq!((left(&store, &pen()).await, left(&store, &ink()).await), (Some(1), Some(8)));
    assert_eq!(quantity(&store, 100).await, Some(1));
}

#[tokio::test]
async fn f_02_a_later_save_does_not_tell_again_what_an_earlier_one_told() {
    let (store, work) = shop().await;
    let mut uow = work.begin().await.unwrap();
    uow.add(Order::place(1, pen(), 1));
    assert_eq!(uow.save_changes().await.unwrap().announced.len(), 1);
    for _ in 0..3 {
        let mut uow = work.begin().await.unwrap();
        let order = uow.load::<Order>(&1).await.unwrap();
        uow[order].add_line(2, 1);
        let changes = uow.save_changes().await.unwrap();
        assert_eq!((changes.dispatched, changes.announced.len(), changes.written), (0, 0, 1));
    }
    assert_eq!(store.read(ALL).await.unwrap().rows.len(), 1);
}

type Names = Arc<Mutex<Vec<String>>>;

/// Notes the name of every event, under its own.
struct Note(&'static str, Names);

impl<E: DomainEvent> Handler<E, MemoryStore> for Note {
    async fn handle(&self, event: &E, _: &mut UnitOfWork) -> Outcome {
        self.1.lock().unwrap().push(format!("{}{}", self.0, event.name()));
        Ok(())
    }
}

#[tokio::test]
async fn dispatch_follows_the_order_of_recording_and_of_registration() {
    let names = Names::default();
    let note = |name| Note(name, Arc::clone(&names));
    let dispatcher = Dispatcher::new()
        .on::<OrderPlaced>(note("1 "))
        .on::<StockRanLow>(note("1 "))
        .on::<OrderPaid>(note("1 "))
        .on::<OrderPaid>(note("2 "))
        .on::<LineDiscounted>(note("1 "));
    let mut uow = Work::new(ORDERING, stocked().await, dispatcher).begin().await.unwrap();
    let stock = uow.load::<Stock>(&pen()).await.unwrap();
    let order = uow.add(Order::place(1, pen(), 1));
    uow[order].discount();
    uow[stock].reserve(4).unwrap();
    uow[order].pay().unwrap();
    let _ = uow.save_changes().await.unwrap();
    let expected = ["1 OrderPlaced", "1 LineDiscounted", "1 StockRanLow", "1 OrderPaid", "2 OrderPaid"];
    assert_eq!(*names.lock().unwrap(), expected);
}

#[tokio::test]
async fn the_events_of_a_removed_child_are_dispatched() {
    let names = Names::default();
    let dispatcher = Dispatcher::new().on::<LineDiscounted>(Note("", Arc::clone(&names)));
    let mut uow = Work::new(ORDERING, stocked().await, dispatcher).begin().await.unwrap();
    let order = uow.add(Order::place(1, pen(), 1));
    uow[order].discount();
    uow[order].empty();
    let changes = uow.save_changes().await.unwrap();
    assert_eq!((names.lock().unwrap().join(" "), changes.dispatched), ("LineDiscounted".into(), 2));
}

#[tokio::test]
async fn an_event_that_nobody_handles_is_normal() {
    let store = stocked().await;
    let mut uow = Work::new(ORDERING, store.clone(), Dispatcher::new()).begin().await.unwrap();
    uow.add(Order::place(1, pen(), 1));
    let changes = uow.save_changes().await.unwrap();
    assert_eq!((changes.dispatched, changes.written, quantity(&store, 1).await), (1, 1, Some(1)));
}

#[tokio::test]
async fn a_translation_announces_without_a_handler() {
    let store = stocked().await;
    let placed = |event: &OrderPlaced| OrderPlacedV1 { order: event.order, quantity: event.quantity };
    let dispatcher = Dispatcher::new().announcing::<OrderPlaced>(placed);
    let mut uow = Work::new(ORDERING, store.clone(), dispatcher).begin().await.unwrap();
    uow.add(Order::place(1, pen(), 3));
    let changes = uow.save_changes().await.unwrap();
    let outbox = store.read(ALL).await.unwrap().rows;
    assert_eq!((outbox.len(), &outbox[0].envelope.id), (1, &changes.announced[0]));
    assert_eq!(&*outbox[0].envelope.data, br#"{"order":1,"quantity":3}"#);
}

// -- cascades ----------------------------------------------------------------------------------------

#[derive(Debug)]
struct Ping {
    from: u32,
    fan_out: u32,
}
impl DomainEvent for Ping {}

/// Needs no table.
struct Pinger {
    id: u32,
    events: DomainEvents,
}

impl Pinger {
    fn new(id: u32) -> Self {
        Self { id, events: DomainEvents::new() }
    }

    fn ping(mut self, fan_out: u32) -> Self {
        self.ping_on(fan_out);
        self
    }

    fn ping_on(&mut self, fan_out: u32) {
        (0..fan_out).for_each(|_| self.events.record(Ping { from: self.id, fan_out }));
    }
}

impl Entity for Pinger {
    type Id = u32;
    fn id(&self) -> &u32 {
        &self.id
    }
}

impl Records for Pinger {
    fn each_events(&mut self, visit: &mut Visit<'_>) {
        self.events.each_events(visit);
    }
}

impl AggregateRoot for Pinger {}

impl Persist<MemoryStore> for Pinger {
    /// 13 forgets that loading is no business method.
    async fn load(id: &u32, _: &mut Connection) -> Result<Option<Loaded<Self>>, BoxError> {
        Ok(Some(Loaded::new(Self::new(*id).ping(u32::from(*id == 13)), 1)))
    }
    async fn insert(&self, _: &mut Connection) -> Result<Written, BoxError> {
        Ok(Written::Fresh)
    }
    async fn update(&self, _: Version, _: &mut Connection) -> Result<Written, BoxError> {
        Ok(Written::Fresh)
    }
    async fn delete(&self, _: Version, _: &mut Connection) -> Result<Written, BoxError> {
        Ok(Written::Fresh)
    }
}

async fn ping_again(ping: &Ping, uow: &mut UnitOfWork) -> Outcome {
    let pinger = uow.load::<Pinger>(&ping.from).await?;
    uow[pinger].ping_on(ping.fan_out);
    Ok(())
}

/// A work whose one handler is this.
fn pinged(handler: impl Handler<Ping, MemoryStore>) -> Work<MemoryStore> {
    Work::new(ORDERING, MemoryStore::new(), Dispatcher::new().on(handler))
}

#[tokio::test]
async fn f_05_an_endless_cascade_is_refused() {
    let work = pinged(ping_again).limits(|limits| limits.events = 1000);
    for (fan_out, expected) in [(1, (32, 33)), (2, (8, 1022))] {
        let mut uow = work.begin().await.unwrap();
        uow.add(Pinger::new(1).ping(fan_out));
        let error = uow.save_changes().await.unwrap_err();
        assert_eq!(error.sort::<MemoryStore>(), Sort::Misuse);
        let Error::CascadeTooLong { event, depth, events, path } = error else { panic!("{error}") };
        assert_eq!((event, (depth, events), path), ("Ping", expected, vec!["Ping"; 8]));
    }
}

/// Each event leads to two further ones, three deep.
#[tokio::test]
async fn f_04_what_handlers_record_is_dispatched_wave_by_wave() {
    #[derive(Default)]
    struct Branches(Arc<Mutex<Vec<u32>>>);
    impl Handler<Ping, MemoryStore> for Branches {
        async fn handle(&self, ping: &Ping, uow: &mut UnitOfWork) -> Outcome {
            self.0.lock().unwrap().push(ping.from);
            for child in [ping.from * 2, ping.from * 2 + 1].into_iter().filter(|child| *child < 16) {
                uow.add(Pinger::new(child).ping(1));
            }
            Ok(())
        }
    }
    let branches = Branches::default();
    let seen = Arc::clone(&branches.0);
    let mut uow = pinged(branches).begin().await.unwrap();
    uow.add(Pinger::new(1).ping(1));
    let changes = uow.save_changes().await.unwrap();
    assert_eq!((changes.dispatched, &*seen.lock().unwrap()), (15, &(1..16).collect::<Vec<_>>()));
}

#[tokio::test]
async fn f_16_a_handler_that_panics_leaves_no_transaction_open_and_no_trace() {
    async fn panics(_: &OrderPaid, uow: &mut UnitOfWork) -> Outcome {
        note(uow.connection().await?, "about to panic")?;
        panic!("on purpose")
    }
    let store = stocked().await;
    let work = Work::new(ORDERING, store.clone(), Dispatcher::new().on(panics).on(reserve_stock));
    let paying = work.clone();
    let saving = tokio::spawn(async move {
        let mut uow = paying.begin().await.unwrap();
        let order = uow.add(Order::place(1, pen(), 1));
        uow[order].pay().unwrap();
        uow.save_changes().await.map(drop)
    });
    assert!(saving.await.unwrap_err().is_panic());
    assert_eq!((store.open_transactions(), log(&store).await.len(), quantity(&store, 1).await), (0, 0, None));
    let mut uow = work.begin().await.unwrap();
    uow.add(Order::place(2, pen(), 1));
    let _ = uow.save_changes().await.unwrap();
    assert_eq!((quantity(&store, 2).await, left(&store, &pen()).await), (Some(1), Some(4)));
}

#[tokio::test]
async fn loading_is_no_business_method() {
    let mut uow = pinged(ping_again).begin().await.unwrap();
    let error = uow.find::<Pinger>(&13).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Pinger 13 recorded ["Ping"] while it was loaded: loading restores a state, it is no business method"#
    );
    assert_eq!(error.sort::<MemoryStore>(), Sort::Misuse);
    let changes = uow.save_changes().await.unwrap(); // nothing was tracked
    assert_eq!(changes.dispatched, 0);
}

// -- lent, not given ---------------------------------------------------------------------------------

/// Holds a work of its own, and does with the unit of work it is lent what it is told.
struct Thief {
    own: Work<MemoryStore>,
    how: &'static str,
}

impl Handler<Ping, MemoryStore> for Thief {
    async fn handle(&self, _: &Ping, uow: &mut UnitOfWork) -> Outcome {
        note(uow.connection().await?, "stolen")?;
        let mut lent = std::mem::replace(uow, self.own.begin().await?);
        match self.how {
            "keep" => drop(lent),
            "save" => drop(lent.save_changes().await?),
            "save, and swallow" => drop(lent.save_changes().await),
            "give back" => std::mem::swap(uow, &mut lent),
            how => panic!("{how}"),
        }
        Ok(())
    }
}

#[tokio::test]
async fn f_06_a_unit_of_work_is_lent_and_neither_saved_nor_replaced() {
    let replaced = "Thief put another unit of work in the place of the one it was lent";
    let thefts = [("keep", replaced), ("save", replaced), ("save, and swallow", replaced), ("give back", "")];
    for (how, expected) in thefts {
        let store = MemoryStore::new();
        let own = Work::new(ORDERING, store.clone(), Dispatcher::new());
        let work = Work::new(ORDERING, store.clone(), Dispatcher::new().on(Thief { own: own.clone(), how }));
        let saved = work
            .run(async |uow| {
                uow.add(Pinger::new(1).ping(1));
                Ok(())
            })
            .await;
        let error = saved.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert_eq!(error, expected, "{how}");
        assert!(saved.is_ok() || Sort::of::<MemoryStore>(&*saved.unwrap_err()) == Sort::Misuse);
        assert_eq!(log(&store).await.len(), usize::from(how == "give back"));

        // The body of `run` is lent its unit of work, too.
        let body = own.run(async |uow| {
            let lent = std::mem::replace(uow, own.begin().await?);
            let error = lent.save_changes().await.unwrap_err();
            assert_eq!(error.to_string(), "only who began a unit of work saves it, not who was lent it");
            Ok(())
        });
        let expected = "the body of `run` put another unit of work in the place of the one it was lent";
        assert_eq!(body.await.unwrap_err().to_string(), expected);
        assert_eq!(store.open_transactions(), 0);
    }
}
