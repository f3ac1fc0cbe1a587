//! Everything at once, from a seed: a bus with bad habits, subscribers that fail, commits whose answer is lost, receivers
//! that are killed. And each alone, at every moment.

use std::sync::Arc;
use std::time::Duration;

use factum::memory::CommitFault;
use factum::protocol::Jitter;

use crate::chaos::{Chaos, Habits, LEASE};
use crate::world::{NAME, Running, SOURCE, Trouble, World, id, in_time, pass};

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

fn storm(seed: u64, ordered: bool) -> (World, Chaos, Jitter) {
    let mut random = Jitter::new(seed);
    let counts_attempts = random.up_to(1) == 0;
    let habits = Habits { ordered, counts_attempts, duplicates: 10, lost_acks: 5, breaks: 1 };
    let bus = Chaos::new(random.next_u64(), habits);
    let world = World::on(Arc::new(bus.clone()));
    for key in KEYS {
        for n in 0..30 {
            let troubles = (0..random.up_to(12).saturating_sub(9)).map(|_| match random.up_to(2) {
                0 => Trouble::Panics,
                _ => Trouble::Fails,
            });
            world.script.next(&id(key, n), &troubles.collect::<Vec<_>>());
        }
    }
    (world, bus, random)
}

fn start(world: &World, random: &mut Jitter) -> Running {
    let (concurrent, batch_max) = (1 + random.up_to(2) as usize, 1 + random.up_to(20) as usize);
    world.start_with(|options| {
        options.lanes.attempts = 1_000;
        (options.lanes.concurrent, options.lanes.batch_max) = (concurrent, batch_max);
        options.progress = LEASE / 2;
    })
}

async fn check(world: &World, seed: u64) {
    let expected: Vec<u32> = (0..30).collect();
    for key in KEYS {
        assert_eq!(world.of(key).await, expected, "seed {seed}, key {key}");
    }
    assert_eq!(world.counts().dead_letters, 0, "seed {seed}");
    assert_eq!(world.store.open_transactions(), 0, "seed {seed}");
}

fn silence_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&"told to panic") {
            eprintln!("{panic}");
        }
    }));
}

#[tokio::test(start_paused = true)]
async fn on_a_bus_with_order_every_effect_happens_once_and_in_order_whoever_is_killed() {
    silence_panics();
    for seed in 0..15 {
        let (world, bus, mut random) = storm(seed, true);
        world.publish_all(&KEYS, 0..30).await;
        let mut receivers = vec![start(&world, &mut random), start(&world, &mut random)];
        let mut kills = 0;
        while bus.left() > 0 {
            pass(Duration::from_millis(random.up_to(300))).await;
            let faults = [CommitFault::Transient, CommitFault::UnknownAndLost, CommitFault::UnknownAndKept];
            match random.up_to(5) {
                fault @ 0..=2 => world.store.fail_next_commit(faults[fault as usize]),
                3 if kills < 20 => {
                    kills += 1;
                    receivers.remove(0).kill().await;
                    receivers.push(start(&world, &mut random));
                }
                _ => {}
            }
        }
        for receiver in receivers {
            in_time(receiver.stop()).await;
        }
        check(&world, seed).await;
        assert!(bus.lost() > 0 || kills > 0, "seed {seed}: it was no storm");
    }
}

#[tokio::test(start_paused = true)]
async fn on_a_bus_without_order_one_receiver_keeps_the_order_that_it_was_given() {
    silence_panics();
    for seed in 0..15 {
        let (world, bus, mut random) = storm(seed, false);
        world.publish_all(&KEYS, 0..30).await;
        let receiver = start(&world, &mut random);
        in_time(world.until(async || bus.left() == 0)).await;
        in_time(receiver.stop()).await;
        check(&world, seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn f_71_a_receiver_that_is_dropped_at_any_moment_loses_nothing_and_doubles_nothing() {
    for moment in 0..80 {
        let (world, bus) = World::new().await;
        world.publish_all(&KEYS, 0..30).await;
        let first = world.start_with(|options| options.lanes.batch_max = 2);
        for _ in 0..moment {
            tokio::task::yield_now().await;
        }
        first.kill().await;
        let second = world.start();
        in_time(bus.quiet()).await;
        second.stop().await;
        check(&world, moment).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_is_lost_after_the_commit_brings_a_redelivery_that_does_nothing() {
    let bus = Chaos::new(1, Habits { lost_acks: 50, ..Habits::CALM });
    let world = World::on(Arc::new(bus.clone()));
    world.publish_all(&["a"], 0..20).await;
    let running = world.start();
    in_time(world.until(async || bus.left() == 0)).await;
    running.stop().await;
    assert_eq!(world.of("a").await, (0..20).collect::<Vec<_>>());
    assert!(bus.lost() > 0);
    assert_eq!(world.counts().duplicates, bus.lost() as u64);
}

#[tokio::test(start_paused = true)]
async fn f_76_a_long_try_is_not_taken_for_lost_because_progress_is_told() {
    let bus = Chaos::new(1, Habits::CALM);
    let world = World::on(Arc::new(bus.clone()));
    world.script.next("a-0", &[Trouble::Takes(LEASE * 4)]);
    world.publish_all(&["a", "b"], 0..2).await;
    let running = world.start_with(|options| {
        options.progress = LEASE / 2;
        options.lanes.batch_max = 1;
    });
    in_time(world.until(async || bus.left() == 0)).await;
    running.stop().await;
    assert_eq!(world.script.calls_of("a-0"), 1);
    assert_eq!(world.counts().duplicates, 0);
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_outcome_is_unknown_is_tried_again_and_never_counted() {
    for fault in [CommitFault::UnknownAndKept, CommitFault::UnknownAndLost, CommitFault::Transient] {
        let (world, bus) = World::new().await;
        let running = world.start_with(|options| options.lanes.attempts = 1);
        for n in 0..10 {
            world.store.fail_next_commit(fault);
            world.publish_all(&["a"], n..n + 1).await;
            in_time(bus.quiet()).await;
        }
        running.stop().await;
        assert_eq!(world.of("a").await, (0..10).collect::<Vec<_>>(), "{fault:?}");
        assert_eq!((world.counts().failed, world.counts().dead_letters), (0, 0), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_takes_its_process_with_it_every_time_is_given_up_in_the_end() {
    let (world, bus) = World::new().await;
    world.script.always("a-0", Trouble::Hangs);
    world.publish_all(&["a", "b"], 0..2).await;
    for times in 1..=4 {
        let running = world.start_with(|options| options.lanes.attempts = 3);
        in_time(world.script.until_called("a-0", times)).await;
        running.kill().await;
    }
    let running = world.start_with(|options| options.lanes.attempts = 3);
    in_time(bus.quiet()).await;
    running.stop().await;
    assert_eq!(
        world.script.calls_of("a-0"),
        4,
        "the first was not counted, three were, and no fifth was made"
    );
    assert_eq!(world.of("b").await, [0, 1]);
    let dead = world.dead().await;
    assert!(dead[0].1 == 3 && dead[0].2.contains("did not live to say why"), "{dead:?}");
}

#[tokio::test(start_paused = true)]
async fn f_72_two_copies_handled_at_the_same_time_have_one_effect() {
    let bus = Chaos::new(1, Habits { ordered: false, duplicates: 100, ..Habits::CALM });
    let world = World::on(Arc::new(bus.clone()));
    for n in 0..20 {
        world.script.next(&id("a", n), &[Trouble::Takes(Duration::from_millis(200)); 2]);
    }
    let receivers: Vec<Running> =
        (0..8).map(|_| world.start_with(|options| options.lanes.prefetch = 1)).collect();
    for n in 0..20 {
        world.publish_all(&["a"], n..n + 1).await;
        in_time(world.until(async || bus.left() == 0)).await;
    }
    for receiver in receivers {
        receiver.stop().await;
    }
    assert!(world.script.calls_of("a-0") > 1, "the copies never met");
    assert_eq!(world.of("a").await, (0..20).collect::<Vec<_>>());
    assert_eq!((world.counts().handled, world.counts().duplicates), (20, 20));
}

#[tokio::test(start_paused = true)]
async fn f_75_two_subscriptions_of_one_store_each_have_their_effect() {
    let (world, bus) = World::new().await;
    let other = world.also_named("archive").await;
    world.publish_all(&["a"], 0..5).await;
    let running = [world.start(), other.start()];
    in_time(bus.quiet()).await;
    for running in running {
        running.stop().await;
    }
    assert_eq!((world.counts().handled, other.counts().handled), (5, 5), "{NAME} and archive");
    assert_eq!(world.of("a").await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn f_79_a_receiver_whose_consumer_is_lost_subscribes_again_within_ten_seconds() {
    let bus = Chaos::new(1, Habits::CALM);
    let world = World::on(Arc::new(bus.clone()));
    bus.breaks(100);
    let running = world.start();
    pass(Duration::from_secs(3600)).await;
    world.publish_all(&["a"], 0..5).await;
    bus.breaks(0);
    let begun = tokio::time::Instant::now();
    in_time(world.until(async || bus.left() == 0)).await;
    assert!(begun.elapsed() < Duration::from_secs(11), "{:?}", begun.elapsed());
    running.stop().await;
    assert_eq!(world.of("a").await, [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn f_79_a_bus_that_never_answers_does_not_keep_a_receiver_from_its_end() {
    let bus = Chaos::new(1, Habits::CALM);
    let world = World::on(Arc::new(bus.clone()));
    bus.falls_silent();
    world.publish_all(&["a", "b"], 0..5).await;
    let running = world.start();
    in_time(world.until(async || world.ledger().await.len() == 2)).await;
    let begun = tokio::time::Instant::now();
    running.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn f_81_a_projections_checkpoint_counts_exactly_what_its_rows_hold_whenever_it_is_killed() {
    for moment in 0..80 {
        let (mut world, bus) = World::new().await;
        world.projects = true;
        world.publish_all(&KEYS, 0..30).await;
        let first = world.start_with(|options| options.lanes.batch_max = 2);
        for _ in 0..moment {
            tokio::task::yield_now().await;
        }
        first.kill().await;
        let rows: usize = world.ledger().await.values().map(Vec::len).sum();
        let mark = world.store.checkpoint_of(NAME, SOURCE);
        assert_eq!(mark.map_or(0, |mark| mark.events), rows as u64, "killed at moment {moment}");
        let second = world.start();
        in_time(bus.quiet()).await;
        second.stop().await;
        check(&world, moment).await;
        assert_eq!(world.store.checkpoint_of(NAME, SOURCE).map(|mark| mark.events), Some(120));
    }
}
