//! No handler may rely on the order of handlers: a world can shuffle them, and a failure tells by which seed.

mod support;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use factum::memory::MemoryStore;
use factum::{Dispatcher, Handler, Outcome};
use factum_testkit::World;
use support::{ORDERING, OrderPlaced, UnitOfWork, place};

const NAMES: [&str; 4] = ["bill", "count", "greet", "pack"];

/// Notes that it ran.
struct Noting {
    name: &'static str,
    ran: Arc<Mutex<Vec<&'static str>>>,
}

impl Handler<OrderPlaced, MemoryStore> for Noting {
    async fn handle(&self, _: &OrderPlaced, _: &mut UnitOfWork) -> Outcome {
        self.ran.lock().unwrap().push(self.name);
        Ok(())
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

/// The order in which the handlers ran, and the world.
async fn ran_in(mut world: World) -> (Vec<&'static str>, World) {
    let ran = Arc::default();
    let dispatcher = NAMES
        .into_iter()
        .fold(Dispatcher::new(), |dispatcher, name| dispatcher.on(Noting { name, ran: Arc::clone(&ran) }));
    let ordering = world.service(ORDERING, dispatcher, []).await;
    place(&ordering, 7).await;
    let order = ran.lock().unwrap().clone();
    (order, world)
}

#[tokio::test]
async fn handlers_run_in_the_order_of_registration_unless_they_are_shuffled() {
    let (order, world) = ran_in(World::new()).await;
    assert_eq!(order, NAMES);
    assert!(!world.story().to_string().contains("shuffled"));
}

#[tokio::test]
async fn shuffling_changes_the_order_and_leaves_nobody_out() {
    let mut orders = BTreeSet::new();
    for seed in 0..64 {
        let (order, _) = ran_in(World::new().shuffled(seed)).await;
        let each: BTreeSet<_> = order.iter().copied().collect();
        assert_eq!((each, order.len()), (NAMES.into(), NAMES.len()), "seed {seed}");
        orders.insert(order);
    }
    let firsts: BTreeSet<_> = orders.iter().map(|order| order[0]).collect();
    assert_eq!(firsts, NAMES.into(), "some handler never came first: {orders:?}");
    assert!(orders.len() >= 12, "64 seeds gave {} of 24 orders: {orders:?}", orders.len());
}

#[tokio::test]
async fn the_same_seed_gives_the_same_order() {
    for seed in 0..8 {
        let (once, _) = ran_in(World::new().shuffled(seed)).await;
        let (again, _) = ran_in(World::new().shuffled(seed)).await;
        assert_eq!(once, again, "seed {seed}");
    }
}

#[tokio::test]
async fn a_failing_assertion_prints_the_seed_and_the_order() {
    let (order, world) = ran_in(World::new().shuffled(41)).await;
    let failing = AssertUnwindSafe(|| world.assert_dispatched(&[]));
    let message = *catch_unwind(failing).unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("handlers in the order of `World::shuffled(41)`"), "{message}");
    assert!(message.contains(&format!("of Order 7 to {order:?}")), "{message}");
}

#[tokio::test]
#[should_panic(expected = "`World::shuffled` comes before the first service")]
async fn a_world_that_has_services_cannot_be_shuffled_any_more() {
    let (_, world) = ran_in(World::new()).await;
    drop(world.shuffled(1));
}
