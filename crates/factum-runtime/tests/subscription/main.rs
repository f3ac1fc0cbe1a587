//! A subscription on a store and a bus in memory, by the virtual clock: nothing is lost, doubled or reordered, and no
//! key's trouble is another's.

mod chaos;
mod storms;
mod world;

use std::time::Duration;

use factum::integration::OnDeadLetter;
use factum::memory::MemoryStore;
use factum::{
    Dispatcher, Envelope, EventBus as _, IntegrationEvent as _, Received, Subscription, UnitOfWork, Work,
};
use factum_runtime::Service;

use world::{SOURCE, Tallied, Trouble, World, envelope, in_time, pass};

#[tokio::test(start_paused = true)]
async fn deliveries_are_handled_in_the_order_of_their_key_and_several_share_a_commit() {
    let (world, bus) = World::new().await;
    world.publish_all(&["a", "b", "c"], 0..200).await;
    let running = world.start();
    in_time(bus.quiet()).await;
    running.stop().await;
    let all: Vec<u32> = (0..200).collect();
    assert_eq!(world.ledger().await.into_values().collect::<Vec<_>>(), [&*all, &*all, &*all]);
    assert_eq!(world.counts().handled, 600);
    // The bus keeps one of a key out at a time, so that three keys are three deliveries.
    assert!(world.counts().batches <= 210, "{:?}", world.counts());
}

#[tokio::test(start_paused = true)]
async fn a_failing_subscribers_delivery_is_not_acknowledged_and_comes_again() {
    let (world, bus) = World::new().await;
    world.script.next("a-0", &[Trouble::Fails, Trouble::Fails]);
    world.publish_all(&["a"], 0..3).await;
    let running = world.start();
    in_time(bus.quiet()).await;
    running.stop().await;
    assert_eq!(world.script.calls_of("a-0"), 3);
    assert_eq!(world.of("a").await, [0, 1, 2]);
    assert_eq!(world.counts().failed, 2);
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_has_one_effect() {
    let (world, bus) = World::new().await;
    world.publish_all(&["a"], 0..3).await;
    world.publish_all(&["a"], 0..3).await;
    let running = world.start();
    in_time(bus.quiet()).await;
    running.stop().await;
    assert_eq!(world.of("a").await, [0, 1, 2]);
    assert_eq!(world.counts().duplicates, 3);
}

#[tokio::test(start_paused = true)]
async fn one_keys_trouble_does_not_hold_up_another() {
    let (world, bus) = World::new().await;
    world.script.always("bad-0", Trouble::Fails);
    world.publish_all(&["bad", "good", "fine"], 0..100).await;
    let running = world.start();
    let begun = tokio::time::Instant::now();
    in_time(world.until(async || world.of("good").await.len() == 100 && world.of("fine").await.len() == 100))
        .await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(world.of("bad").await.is_empty());
    world.script.heal("bad-0");
    in_time(bus.quiet()).await;
    running.stop().await;
    assert_eq!(world.of("bad").await, (0..100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn after_its_attempts_a_delivery_is_a_dead_letter_and_its_key_waits_until_a_person_requeues_it() {
    let (world, bus) = World::new().await;
    world.script.always("a-1", Trouble::Fails);
    world.publish_all(&["a", "b"], 0..5).await;
    let running = world.start();
    in_time(bus.quiet()).await;
    assert_eq!(world.of("a").await, [0]);
    assert_eq!(world.of("b").await, [0, 1, 2, 3, 4]);
    let dead = world.dead().await;
    assert_eq!((&*dead[0].0, dead[0].1, dead.len()), ("a-1", 10, 1));
    assert!(dead[0].2.contains("told to fail"), "{dead:?}");
    assert_eq!(world.counts().parked, 3);
    assert_eq!(world.counts().dead_letters, 1);

    world.script.heal("a-1");
    world.requeue("a-1").await;
    in_time(world.until(async || world.of("a").await.len() == 5)).await;
    world.publish_all(&["a"], 5..7).await;
    in_time(bus.quiet()).await;
    in_time(world.until(async || world.of("a").await.len() == 7)).await;
    running.stop().await;
    assert_eq!(world.of("a").await, [0, 1, 2, 3, 4, 5, 6]);
    assert!(world.dead().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_requeued_delivery_that_fails_again_is_a_dead_letter_again_after_as_many_attempts() {
    let (world, bus) = World::new().await;
    world.script.always("a-0", Trouble::Fails);
    world.publish_all(&["a"], 0..2).await;
    let running = world.start_with(|options| options.lanes.attempts = 3);
    in_time(bus.quiet()).await;
    assert_eq!(world.script.calls_of("a-0"), 3);
    world.requeue("a-0").await;
    in_time(world.until(async || !world.dead().await.is_empty())).await;
    assert_eq!(world.script.calls_of("a-0"), 6);
    world.discard("a-0").await;
    in_time(world.until(async || world.of("a").await == [1])).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn where_the_policy_is_skip_the_key_goes_on_without_its_dead_letter() {
    let (mut world, bus) = World::new().await;
    world.policy = OnDeadLetter::Skip;
    world.script.always("a-1", Trouble::Fails);
    world.publish_all(&["a"], 0..4).await;
    let running = world.start();
    in_time(bus.quiet()).await;
    running.stop().await;
    assert_eq!(world.of("a").await, [0, 2, 3]);
    assert_eq!(world.dead().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_the_policy_is_halt_nothing_more_is_taken_until_a_person_decides() {
    let (mut world, bus) = World::new().await;
    world.policy = OnDeadLetter::Halt;
    world.script.always("a-0", Trouble::Fails);
    world.publish_all(&["a"], 0..4).await;
    let running = world.start_with(|options| options.lanes.attempts = 2);
    in_time(world.until(async || !world.dead().await.is_empty())).await;
    world.publish_all(&["b"], 0..4).await;
    pass(Duration::from_secs(60)).await;
    assert_eq!(world.ledger().await.len(), 0);
    assert_eq!(bus.in_flight(), 7);
    running.stop().await;

    let running = world.start();
    pass(Duration::from_secs(60)).await;
    assert_eq!(world.ledger().await.len(), 0, "a new receiver knows of the halt");
    world.discard("a-0").await;
    in_time(bus.quiet()).await;
    running.stop().await;
    assert_eq!(world.of("a").await, [1, 2, 3]);
    assert_eq!(world.of("b").await, [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_failure_of_its_delivery_and_of_nothing_else() {
    let (world, bus) = World::new().await;
    world.script.always("a-0", Trouble::Panics);
    world.publish_all(&["a", "b"], 0..3).await;
    let running = world.start();
    in_time(bus.quiet()).await;
    running.stop().await;
    assert_eq!(world.of("b").await, [0, 1, 2]);
    assert!(world.dead().await[0].2.contains("told to panic"), "{:?}", world.dead().await);
    assert_eq!(world.store.open_transactions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_never_ends_is_let_go_of_at_the_deadline() {
    let (world, bus) = World::new().await;
    world.script.next("a-0", &[Trouble::Hangs]);
    world.publish_all(&["a", "b"], 0..3).await;
    let running = world.start();
    in_time(bus.quiet()).await;
    running.stop().await;
    assert_eq!(world.of("a").await, [0, 1, 2]);
    assert_eq!(world.of("b").await, [0, 1, 2]);
    assert_eq!(world.store.open_transactions(), 0);
}

#[tokio::test(start_paused = true)]
async fn f_78_what_cannot_be_decoded_is_a_dead_letter_and_its_neighbours_are_handled() {
    let (mut world, bus) = World::new().await;
    world.policy = OnDeadLetter::Skip;
    let poison = Envelope {
        partitionkey: Some("a".into()),
        ..Envelope::new("bad", SOURCE, Tallied::TYPE, *b"{\"key\": 7")
    };
    world.publish([envelope("a", 0), poison, envelope("a", 1), envelope("b", 0)]).await;
    let running = world.start();
    in_time(bus.quiet()).await;
    running.stop().await;
    assert_eq!(world.of("a").await, [0, 1]);
    assert_eq!(world.of("b").await, [0]);
    assert_eq!(world.dead().await[0].0, "bad");
}

#[tokio::test(start_paused = true)]
async fn shutdown_finishes_what_runs_and_hands_back_the_rest() {
    let (world, bus) = World::new().await;
    world.script.next("a-0", &[Trouble::Hangs]);
    world.publish_all(&["a", "b"], 0..3).await;
    let running = world.start_with(|options| {
        options.lanes.batch_max = 1;
        options.lanes.grace = Duration::from_secs(2);
    });
    in_time(world.script.until_called("a-0", 1)).await;
    let begun = tokio::time::Instant::now();
    in_time(running.stop()).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "it did not wait for what ran: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(3), "it waited too long: {:?}", begun.elapsed());
    assert_eq!(world.store.open_transactions(), 0);
    let running = world.start();
    in_time(bus.quiet()).await;
    running.stop().await;
    assert_eq!(world.of("a").await, [0, 1, 2]);
    assert_eq!(world.of("b").await, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn attempts_survive_a_new_receiver() {
    let (world, _bus) = World::new().await;
    world.script.always("a-0", Trouble::Fails);
    world.publish_all(&["a"], 0..1).await;
    for attempt in 1..=4 {
        let running = world.start_with(|options| options.lanes.attempts = 4);
        in_time(world.script.until_called("a-0", attempt)).await;
        running.stop().await;
    }
    let running = world.start_with(|options| options.lanes.attempts = 4);
    in_time(world.until(async || !world.dead().await.is_empty())).await;
    running.stop().await;
    assert_eq!(world.script.calls_of("a-0"), 4);
    assert_eq!(world.dead().await[0].1, 4);
}

#[tokio::test(start_paused = true)]
async fn the_receiver_ends_when_the_bus_closes() {
    let (world, bus) = World::new().await;
    world.publish_all(&["a"], 0..3).await;
    let running = world.start();
    in_time(world.script.until_called("a-0", 1)).await;
    in_time(bus.close(Duration::from_secs(5))).await;
    in_time(running.ends()).await;
    assert_eq!(world.of("a").await, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_has_opened_its_subscription_gets_what_is_published_before_it_starts() {
    let (world, bus) = World::new().await;
    let work = Work::new("https://test.example/late", MemoryStore::new(), Dispatcher::new());
    let take = async |_: &Received<Tallied>, _: &mut UnitOfWork<MemoryStore>| Ok(());
    let late = Service::new(work).subscription(Subscription::named("late").on::<Tallied>(take));
    late.open(&bus).await.unwrap();
    world.publish_all(&["a"], 0..3).await;
    let (late, known) = (late.start(&bus).await.unwrap(), world.start());
    in_time(bus.quiet()).await;
    assert_eq!(late.counters().read().handled, 3);
    late.stop().await.unwrap();
    known.stop().await;
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_what_is_wrong() {
    let (world, _bus) = World::new().await;
    let refused =
        world.receiver().options(|options| options.lanes.prefetch = 0).run(async {}).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "subscription `ledger` cannot run: `prefetch` is 0: nothing would ever be handled; it is at least 1"
    );
}
