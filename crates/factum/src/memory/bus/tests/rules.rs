//! One rule of the bus a test.

use super::*;
use crate::integration::EventBusExt as _;

fn publish(bus: &MemoryBus, answers: &Answers, envelopes: &[(u64, &str, &str)]) {
    let batch = envelopes.iter().map(|&(ticket, id, key)| answers.publication(ticket, envelope(id, key)));
    block_on(bus.publish(batch.collect())).unwrap();
}

#[test]
fn it_confirms_when_the_last_subscription_has_acknowledged_or_rejected() {
    let (bus, _) = bus(10);
    let (mut one, mut two) = (subscribe(&bus, "one"), subscribe(&bus, "two"));
    let answers = Answers::default();
    publish(&bus, &answers, &[(7, "e1", "k")]);
    let (of_one, of_two) = (ready(&mut *one), ready(&mut *two));
    assert!(
        Arc::ptr_eq(&of_one[0].envelope, &of_two[0].envelope),
        "one envelope, however many subscriptions"
    );
    ack_all(of_one);
    assert_eq!(answers.take(), []);
    assert_eq!(bus.in_flight(), 1);
    for delivery in of_two {
        block_on(delivery.settle.reject("poison".into())).unwrap();
    }
    assert_eq!(answers.confirmed(), [7]);
    assert_eq!(bus.in_flight(), 0);
}

#[test]
fn what_nobody_takes_is_unroutable_until_somebody_does() {
    let (bus, _) = bus(10);
    let vouched = || crate::port::read_back(envelope("e1", "k"), SOURCE.into());
    assert_eq!(block_on(bus.publish_now(vouched())), Answer::Unroutable);
    let mut consumer = block_on(bus.subscribe(interest("one", &["b.v1"], 1))).unwrap();
    assert_eq!(block_on(bus.publish_now(vouched())), Answer::Unroutable);
    drop(block_on(bus.subscribe(interest("one", &["a.v1"], 1))).unwrap());
    let mut publishing = Polled::new(bus.publish_now(vouched()));
    assert!(publishing.poll().is_none());
    ack_all(ready(&mut *consumer));
    assert!(publishing.was_woken());
    assert_eq!(publishing.poll(), Some(Answer::Confirmed));
}

#[test]
fn what_is_nacked_comes_again_in_its_time_before_later_ones_of_its_key_and_others_go_on() {
    let (bus, clock) = bus(10);
    let mut consumer = subscribe(&bus, "one");
    let answers = Answers::default();
    publish(&bus, &answers, &[(1, "a1", "a"), (2, "a2", "a"), (3, "b1", "b"), (4, "b2", "b")]);
    let mut first = ready(&mut *consumer);
    assert_eq!(ids(&first), ["a1", "b1"]);
    block_on(first.remove(0).settle.nack(Duration::from_secs(5))).unwrap();
    ack_all(first);
    let second = ready(&mut *consumer);
    assert_eq!(ids(&second), ["b2"]);
    ack_all(second);
    let mut next = Polled::new(consumer.next(10));
    clock.advance(Duration::from_millis(4_999));
    assert!(next.poll().is_none());
    clock.advance(Duration::from_millis(1));
    assert!(next.was_woken());
    let again = next.poll().unwrap().unwrap();
    assert_eq!((ids(&again), again[0].attempt), (vec!["a1".into()], 2));
    drop(next);
    ack_all(again);
    assert_eq!(ids(&ready(&mut *consumer)), ["a2"]);
    assert_eq!(answers.confirmed(), [3, 4, 1]);
}

#[test]
fn an_earlier_moment_resets_the_alarm_of_a_consumer_that_waits() {
    let (bus, clock) = bus(10);
    let (mut one, mut two) = (subscribe(&bus, "s"), subscribe(&bus, "s"));
    publish(&bus, &Answers::default(), &[(1, "a1", "a"), (2, "b1", "b")]);
    let mut held = ready(&mut *one);
    block_on(held.remove(0).settle.nack(Duration::from_secs(60))).unwrap();
    let mut next = Polled::new(two.next(1));
    assert!(next.poll().is_none());
    block_on(held.remove(0).settle.nack(Duration::from_secs(1))).unwrap();
    assert!(next.was_woken() && next.poll().is_none());
    clock.advance(Duration::from_secs(1));
    assert!(next.was_woken());
    assert_eq!(ids(&next.poll().unwrap().unwrap()), ["b1"]);
}

#[test]
fn a_consumer_that_is_dropped_hands_back_what_it_held_and_cannot_acknowledge_it_afterwards() {
    let (bus, _) = bus(10);
    let (mut one, mut two) = (subscribe(&bus, "s"), subscribe(&bus, "s"));
    let answers = Answers::default();
    publish(&bus, &answers, &[(1, "e1", "k")]);
    let mut held = ready(&mut *one);
    let mut next = Polled::new(two.next(1));
    assert!(next.poll().is_none());
    drop(one);
    assert!(next.was_woken());
    let again = next.poll().unwrap().unwrap();
    assert_eq!(again[0].attempt, 2);
    let error = block_on(held.remove(0).settle.ack()).unwrap_err().to_string();
    assert!(error.contains("no longer out"), "{error}");
    assert_eq!(answers.take(), []);
    ack_all(again);
    assert_eq!(answers.confirmed(), [1]);
}

#[test]
fn a_wake_up_whose_taker_went_away_goes_to_another_consumer() {
    let (bus, _) = bus(10);
    let (mut one, mut two) = (subscribe(&bus, "s"), subscribe(&bus, "s"));
    let (mut first, mut second) = (Polled::new(one.next(1)), Polled::new(two.next(1)));
    assert!(first.poll().is_none() && second.poll().is_none());
    publish(&bus, &Answers::default(), &[(1, "e1", "k")]);
    assert_ne!(first.was_woken(), second.was_woken(), "one lane is ready: one consumer is woken");
    let (woken, mut other) = if first.was_woken() { (first, second) } else { (second, first) };
    drop(woken);
    assert!(other.was_woken());
    assert_eq!(ids(&other.poll().unwrap().unwrap()), ["e1"]);
}

#[test]
fn a_full_consumer_waits_for_its_own_acknowledgement() {
    let (bus, _) = bus(10);
    let mut consumer = block_on(bus.subscribe(interest("s", &["a.v1"], 2))).unwrap();
    publish(&bus, &Answers::default(), &[(1, "e1", "1"), (2, "e2", "2"), (3, "e3", "3")]);
    let mut held = ready(&mut *consumer);
    assert_eq!(ids(&held), ["e1", "e2"]);
    let mut next = Polled::new(consumer.next(10));
    assert!(next.poll().is_none());
    block_on(held.remove(0).settle.ack()).unwrap();
    assert!(next.was_woken());
    assert_eq!(ids(&next.poll().unwrap().unwrap()), ["e3"]);
}

#[test]
fn publishers_wait_in_line_for_room_and_one_that_goes_away_lets_the_next_one_in() {
    let (bus, _) = bus(1);
    let mut consumer = subscribe(&bus, "s");
    let answers = Answers::default();
    publish(&bus, &answers, &[(1, "e1", "1")]);
    let publishing =
        |ticket: u64, id: &str| Polled::new(bus.publish(vec![answers.publication(ticket, envelope(id, id))]));
    let (mut second, mut third) = (publishing(2, "e2"), publishing(3, "e3"));
    assert!(second.poll().is_none() && third.poll().is_none());
    assert_eq!(bus.in_flight(), 3);
    ack_all(ready(&mut *consumer));
    assert!(second.was_woken() && !third.was_woken());
    assert!(third.poll().is_none(), "it is not its turn");
    drop(second);
    assert!(third.was_woken());
    assert!(third.poll().unwrap().is_ok());
    assert_eq!(ids(&ready(&mut *consumer)), ["e3"]);
    let taken = answers.take();
    assert_eq!(taken[0], (1, Answer::Confirmed));
    assert!(matches!(taken[1], (2, Answer::Unknown(_))), "{taken:?}");
}

#[test]
fn publishers_that_need_two_full_queues_each_do_not_wait_for_each_other() {
    let (bus, _) = bus(1);
    let open = |name, types: &[&str]| block_on(bus.subscribe(interest(name, types, 9))).unwrap();
    let mut left = open("left", &["both.v1", "left.v1"]);
    let mut right = open("right", &["both.v1", "right.v1"]);
    let answers = Answers::default();
    let publishing = |ticket: u64, r#type: &'static str| {
        let envelope =
            Envelope { r#type: r#type.into(), ..envelope(&ticket.to_string(), &ticket.to_string()) };
        Polled::new(bus.publish(vec![answers.publication(ticket, envelope)]))
    };
    let mut all: Vec<_> = ["left.v1", "right.v1", "both.v1", "both.v1", "left.v1", "right.v1", "both.v1"]
        .iter()
        .zip(0..)
        .map(|(r#type, ticket)| publishing(ticket, r#type))
        .collect();
    all.retain_mut(|it| it.poll().is_none());
    let mut rounds = 0;
    while bus.in_flight() > 0 {
        rounds += 1;
        assert!(rounds < 50, "they wait for each other: {answers:?}", answers = answers.0);
        ack_all(ready(if rounds % 2 == 0 { &mut *left } else { &mut *right }));
        all.retain_mut(|it| !it.was_woken() || it.poll().is_none());
    }
    let mut confirmed = answers.confirmed();
    confirmed.sort_unstable();
    assert_eq!(confirmed, [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_comes_behind_a_refused_or_unroutable_one_of_its_key_does_not_get_ahead_of_it() {
    let clock = Clock::default();
    let bus = MemoryBus::with(clock, MemoryBusOptions::default().data_bytes_max(2));
    let mut consumer = subscribe(&bus, "s");
    let answers = Answers::default();
    let large = Envelope { data: b"{ }".as_slice().into(), ..envelope("a1", "a") };
    let foreign = Envelope { r#type: "other.v1".into(), ..envelope("b1", "b") };
    let batch = [large, envelope("a2", "a"), foreign, envelope("b2", "b"), envelope("c1", "c")];
    let batch = batch.into_iter().zip(1..).map(|(it, ticket)| answers.publication(ticket, it)).collect();
    block_on(bus.publish(batch)).unwrap();
    let given = answers.take();
    assert_eq!(given[0], (1, Answer::Refused("data has 3 bytes, this bus takes 2".into())));
    assert!(matches!(&given[1], (2, Answer::Unknown(why)) if why.contains("refused")), "{given:?}");
    assert_eq!(given[2..], [(3, Answer::Unroutable), (4, Answer::Unroutable)]);
    assert_eq!(ids(&ready(&mut *consumer)), ["c1"]);
}

#[test]
fn a_repeat_is_delivered_again_and_each_copy_is_confirmed_for_itself() {
    let (bus, _) = bus(10);
    let mut consumer = subscribe(&bus, "s");
    let answers = Answers::default();
    publish(&bus, &answers, &[(1, "e1", "k")]);
    let first = ready(&mut *consumer);
    publish(&bus, &answers, &[(2, "e1", "k")]);
    assert_eq!(ids(&ready(&mut *consumer)), [""; 0], "the first copy is still out");
    ack_all(first);
    assert_eq!(answers.confirmed(), [1]);
    ack_all(ready(&mut *consumer));
    assert_eq!(answers.confirmed(), [2]);
}

#[test]
fn closing_refuses_the_new_waits_for_the_old_and_ends_the_consumers() {
    let (bus, _) = bus(1);
    let mut consumer = subscribe(&bus, "s");
    let answers = Answers::default();
    publish(&bus, &answers, &[(1, "e1", "1")]);
    let mut waiting = Polled::new(bus.publish(vec![answers.publication(2, envelope("e2", "2"))]));
    assert!(waiting.poll().is_none());
    let mut closing = Polled::new(bus.close(Duration::from_secs(60)));
    assert!(closing.poll().is_none());
    assert!(waiting.was_woken());
    assert!(waiting.poll().unwrap().is_err());
    assert!(matches!(answers.take()[..], [(2, Answer::Unknown(_))]));
    let refused = block_on(bus.publish(vec![answers.publication(3, envelope("e3", "3"))]));
    assert!(refused.unwrap_err().to_string().contains("closed"));
    assert!(matches!(answers.take()[..], [(3, Answer::Unknown(_))]));
    assert!(block_on(bus.subscribe(interest("late", &["a.v1"], 1))).is_err());
    ack_all(ready(&mut *consumer));
    assert_eq!(answers.confirmed(), [1]);
    assert!(closing.was_woken() && closing.poll().is_some());
    assert!(block_on(consumer.next(1)).unwrap().is_empty());
}

#[test]
fn closing_gives_up_at_its_deadline_and_says_unknown() {
    let (bus, clock) = bus(10);
    let (mut one, mut two) = (subscribe(&bus, "s"), subscribe(&bus, "s"));
    let answers = Answers::default();
    publish(&bus, &answers, &[(1, "e1", "1")]);
    let mut held = ready(&mut *one);
    let mut next = Polled::new(two.next(1));
    assert!(next.poll().is_none());
    let mut closing = Polled::new(bus.close(Duration::from_secs(3)));
    assert!(closing.poll().is_none());
    clock.advance(Duration::from_secs(3));
    assert!(closing.was_woken() && closing.poll().is_some());
    assert!(next.was_woken() && next.poll().unwrap().unwrap().is_empty());
    assert!(matches!(answers.take()[..], [(1, Answer::Unknown(_))]));
    assert!(block_on(held.remove(0).settle.ack()).is_err());
}

#[test]
fn quiet_comes_after_the_last_answer() {
    let (bus, _) = bus(1);
    let mut consumer = subscribe(&bus, "s");
    let answers = Answers::default();
    let mut quiet = Polled::new(bus.quiet());
    publish(&bus, &answers, &[(1, "e1", "1")]);
    assert!(quiet.poll().is_none());
    let mut waiting = Polled::new(bus.publish(vec![answers.publication(2, envelope("e2", "2"))]));
    assert!(waiting.poll().is_none());
    ack_all(ready(&mut *consumer));
    assert!(quiet.poll().is_none(), "one stands in line");
    drop(waiting);
    assert!(quiet.was_woken() && quiet.poll().is_some());
    assert_eq!(answers.take().len(), 2);
}

#[test]
fn a_tap_records_what_was_published_until_it_is_dropped() {
    let (bus, _) = bus(10);
    let answers = Answers::default();
    publish(&bus, &answers, &[(0, "e0", "k")]);
    let tap = bus.tap();
    publish(&bus, &answers, &[(1, "e1", "k")]);
    let _consumer = subscribe(&bus, "s");
    publish(&bus, &answers, &[(2, "e1", "k"), (3, "e2", "k")]);
    let seen =
        |envelopes: Vec<Arc<Envelope>>| envelopes.iter().map(|it| it.id.to_string()).collect::<Vec<_>>();
    assert_eq!(seen(tap.envelopes()), ["e1", "e1", "e2"]);
    assert_eq!(seen(tap.take()), ["e1", "e1", "e2"]);
    assert!(tap.take().is_empty());
}

#[test]
fn a_prefetch_of_nothing_is_refused() {
    let (bus, _) = bus(10);
    let error = block_on(bus.subscribe(interest("s", &["a.v1"], 0))).err().unwrap().to_string();
    assert!(error.contains("prefetch of 0"), "{error}");
}
