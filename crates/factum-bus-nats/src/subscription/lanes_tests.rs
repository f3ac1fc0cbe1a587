//! What is given out, and in which order.

use std::time::Duration;

use super::*;

fn message(sequence: u64, key: &str, partition: u8) -> Message {
    let envelope = Envelope::new(format!("{sequence}"), "urn:a", "t", *b"");
    Message {
        pull: ("stream".into(), partition),
        sequence,
        ack: Subject::from(format!("ack.{sequence}")),
        attempt: 1,
        envelope: Arc::new(Envelope { partitionkey: Some(key.into()), ..envelope }),
    }
}

fn lanes(messages: &[(u64, &str)]) -> (Lanes, u64) {
    let mut lanes = Lanes::default();
    for (sequence, key) in messages {
        lanes.add(message(*sequence, key, 0));
    }
    let consumer = lanes.join(10);
    (lanes, consumer)
}

fn ids(given: &[Given]) -> Vec<&str> {
    given.iter().map(|given| given.envelope.id.as_str()).collect()
}

#[test]
fn of_a_key_one_is_out_and_the_next_waits_for_its_end() {
    let now = Instant::now();
    let (mut lanes, consumer) = lanes(&[(1, "a"), (2, "a"), (3, "b")]);
    let given = lanes.take(consumer, 9, now);
    assert_eq!(ids(&given), ["1", "3"]);
    assert!(lanes.take(consumer, 9, now).is_empty());
    assert_eq!(lanes.finish(given[0].ticket).unwrap().ack.as_str(), "ack.1");
    assert_eq!(ids(&lanes.take(consumer, 9, now)), ["2"]);
    assert!(lanes.finish(given[0].ticket).is_none(), "it was finished already");
}

#[test]
fn what_is_handed_back_stays_ahead_of_its_key() {
    let now = Instant::now();
    let (mut lanes, consumer) = lanes(&[(1, "a"), (2, "a"), (3, "b")]);
    let first = lanes.take(consumer, 1, now).remove(0);
    lanes.hand_back(first.ticket, Some(now + Duration::from_secs(1))).unwrap();
    assert_eq!(ids(&lanes.take(consumer, 9, now)), ["3"]);
    assert_eq!(lanes.earliest(), Some(now + Duration::from_secs(1)));
    let again = lanes.take(consumer, 9, now + Duration::from_secs(1));
    assert_eq!((ids(&again), again[0].attempt), (vec!["1"], 2));
    assert!(lanes.hand_back(first.ticket, None).is_none(), "that was an earlier giving out");
}

#[test]
fn a_consumer_has_no_more_out_than_its_prefetch() {
    let now = Instant::now();
    let (mut lanes, _) = lanes(&[(1, "a"), (2, "b"), (3, "c")]);
    let consumer = lanes.join(2);
    let given = lanes.take(consumer, 9, now);
    assert_eq!((given.len(), lanes.out()), (2, 2));
    lanes.finish(given[1].ticket).unwrap();
    assert_eq!(ids(&lanes.take(consumer, 9, now)), ["3"]);
}

#[test]
fn what_a_consumer_that_is_gone_had_out_is_ready_again() {
    let now = Instant::now();
    let (mut lanes, dying) = lanes(&[(1, "a"), (2, "a")]);
    let held = lanes.take(dying, 9, now).remove(0);
    lanes.part(dying);
    let next = lanes.join(1);
    let given = lanes.take(next, 9, now);
    assert_eq!((ids(&given), given[0].attempt), (vec!["1"], 2));
    assert!(lanes.finish(held.ticket).is_none());
}

#[test]
fn a_partition_that_is_drained_gives_nothing_out_and_is_let_go_in_order() {
    let now = Instant::now();
    let (mut lanes, consumer) = lanes(&[(5, "a"), (6, "a"), (4, "b")]);
    lanes.add(message(7, "other", 1));
    let out = lanes.take(consumer, 1, now).remove(0);
    lanes.drain(0);
    assert!(!lanes.is_drained(0));
    assert_eq!(ids(&lanes.take(consumer, 9, now)), ["7"]);
    lanes.finish(out.ticket).unwrap();
    assert!(lanes.is_drained(0));
    let gone: Vec<u64> = lanes.let_go(0).iter().map(|message| message.sequence).collect();
    assert_eq!(gone, [4, 6]);
    assert_eq!(lanes.load(&("stream".into(), 0)), Load::default());
    // Back again, it is as new.
    lanes.add(message(8, "a", 0));
    assert_eq!(ids(&lanes.take(consumer, 9, now)), ["8"]);
}

#[test]
fn what_is_delivered_again_while_it_is_here_is_known() {
    let (mut lanes, consumer) = lanes(&[(1, "a")]);
    let pull = ("stream".into(), 0);
    assert!(lanes.knows(&pull, 1, &Subject::from("later")));
    assert!(!lanes.knows(&pull, 2, &Subject::from("later")));
    let given = lanes.take(consumer, 1, Instant::now());
    assert_eq!(lanes.finish(given[0].ticket).unwrap().ack.as_str(), "later");
    assert!(!lanes.knows(&pull, 1, &Subject::from("later")));
    assert_eq!((lanes.bytes(), lanes.load(&pull)), (0, Load::default()));
}
