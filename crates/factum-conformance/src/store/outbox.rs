//! The outbox: rows of committed transactions, in order, within limits, with everything that was put in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use factum::port::{BucketSet, OutboxStore as _, Read};
use factum::{
    Context, Dispatcher, Documents, Envelope, Outcome, Received, Subscriber, Subscription, UnitOfWork,
};

use super::model::{ItemGrownV1, NoticedV1};
use super::support::{ALL, HERE, announce, arriving, outbox, text_of, texts, work, work_with};
use super::{StoreFixture, WholeStore};

/// `seq` ascends in the order of announcing, across commits.
pub async fn envelopes_stand_in_the_order_in_which_they_were_announced<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    announce(&store, &[("b", "1"), ("a", "2"), ("b", "3")]).await;
    announce(&store, &[("a", "4"), ("b", "5")]).await;
    assert_eq!(texts(&store).await, ["1", "2", "3", "4", "5"]);
    let rows = outbox(&store).await;
    assert!(rows.iter().zip(rows.iter().skip(1)).all(|(one, next)| one.seq < next.seq), "{rows:?}");
    assert!(rows.iter().all(|row| row.attempts == 0 && row.bucket == row.envelope.bucket()), "{rows:?}");
}

/// A relay reads its own buckets.
pub async fn a_read_takes_the_buckets_it_was_asked_for_and_no_other<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let keys: Vec<_> = (0..40).map(|n| format!("key {n}")).collect();
    let events: Vec<_> = keys.iter().map(|key| (key.as_str(), key.as_str())).collect();
    announce(&store, &events).await;
    let all = outbox(&store).await;
    let some: BucketSet = all.iter().take(3).map(|row| row.bucket).collect();
    let read = store.read(Read { buckets: some, ..ALL }).await.unwrap().rows;
    let expected: Vec<_> = all.iter().filter(|row| some.contains(row.bucket)).map(|row| row.seq).collect();
    assert_eq!(read.iter().map(|row| row.seq).collect::<Vec<_>>(), expected);
    assert!((3..40).contains(&read.len()), "{}", read.len());
    assert!(store.read(Read { buckets: BucketSet::default(), ..ALL }).await.unwrap().rows.is_empty());
}

/// The floor is exclusive. A store whose writers commit in any order may begin lower: what the caller has in hand it
/// leaves out.
pub async fn a_read_begins_above_the_floor<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    announce(&store, &[("a", "1"), ("a", "2"), ("a", "3")]).await;
    let rows = outbox(&store).await;
    for (at, row) in rows.iter().enumerate() {
        let except = rows[..=at].iter().map(|row| row.seq).collect();
        let above = store.read(Read { above: row.seq, except, ..ALL }).await.unwrap().rows;
        assert_eq!(above.len(), 2 - at);
        assert!(above.iter().all(|other| other.seq > row.seq));
    }
}

/// Wherever the store begins.
pub async fn a_read_leaves_out_what_the_caller_has_in_hand<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let texts: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let events: Vec<_> = texts.iter().map(|text| ("a", text.as_str())).collect();
    announce(&store, &events).await;
    let all: Vec<i64> = outbox(&store).await.iter().map(|row| row.seq).collect();
    let except: Vec<i64> = all.iter().copied().step_by(3).collect();
    let rest: Vec<i64> = all.iter().copied().filter(|seq| !except.contains(seq)).collect();
    let found = store.read(Read { except: except.clone(), ..ALL }).await.unwrap();
    assert_eq!(found.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), rest);
    let few = store.read(Read { except, rows_max: 5, ..ALL }).await.unwrap();
    assert_eq!(few.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), rest[..5]);
    assert!(store.read(Read { except: all, ..ALL }).await.unwrap().rows.is_empty());
}

/// Limits hold, and one row comes however large it is.
pub async fn a_read_stops_at_so_many_rows_and_so_many_bytes<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let large = "x".repeat(10_000);
    announce(&store, &[("a", &large), ("a", &large), ("a", &large), ("a", &large)]).await;
    assert_eq!(store.read(Read { rows_max: 3, ..ALL }).await.unwrap().rows.len(), 3);
    assert_eq!(store.read(Read { bytes_max: 1, ..ALL }).await.unwrap().rows.len(), 1);
    let some = store.read(Read { bytes_max: 25_000, ..ALL }).await.unwrap().rows.len();
    assert!((2..=3).contains(&some), "{some}");
    // One that is larger than its share of the bytes, behind others that are small: no read ends before it.
    let store = fixture.fresh().await;
    announce(&store, &[("a", "1"), ("a", "2"), ("a", &large), ("a", "4")]).await;
    for _ in 0..3 {
        assert_eq!(store.read(Read { rows_max: 100, bytes_max: 50_000, ..ALL }).await.unwrap().rows.len(), 4);
    }
}

/// Announces what it is told to, and keeps a copy of each envelope.
struct Announce {
    texts: Vec<String>,
    kept: Arc<Mutex<Vec<Envelope>>>,
}

impl<S: Documents> Subscriber<ItemGrownV1, S> for Announce {
    async fn receive(&self, _: &Received<ItemGrownV1>, uow: &mut UnitOfWork<S>) -> Outcome {
        for text in &self.texts {
            uow.announce(&ItemGrownV1::of(odd_key(), text))?;
        }
        *self.kept.lock().map_err(|_| "a test has panicked")? = uow.announced().to_vec();
        Ok(())
    }
}

fn odd_key() -> String {
    "o'dd \"key\"; --\u{202e}\u{1F4BF} %s $1 ?".into()
}

/// Texts that have broken somebody's store.
fn odd_texts() -> Vec<String> {
    vec![
        String::new(),
        "'; drop table outbox; --".into(),
        "\u{feff}\u{200b}e\u{301}é\u{1F1E9}\u{1F1EA}\u{1F469}\u{200d}\u{1F4BB}\u{10FFFF}\u{FFFD}".into(),
        "line\r\nline\u{2028}\ttab\u{1}\u{7f}\\\\\"".into(),
        "x".repeat(Envelope::DATA_BYTES_DEFAULT - 512),
        "\u{1F4BF}".repeat((Envelope::DATA_BYTES_DEFAULT - 512) / 4),
    ]
}

/// Large data and odd text come out as they went in, with every attribute.
pub async fn every_attribute_and_every_byte_survives_the_round_trip<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let kept = Arc::<Mutex<Vec<Envelope>>>::default();
    let announcing = Announce { texts: odd_texts(), kept: Arc::clone(&kept) };
    let mut cause = Envelope::clone(&arriving("cause/\u{1F4BF} 1", "a", "go"));
    cause.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    cause.tracestate = Some("vendor=a,other=b".into());
    cause.extensions = BTreeMap::from([("tenant".into(), "o'tenant \u{1F4BF}".into())]);
    let subscription: Subscription<F::Store> = Subscription::named("echo").on::<ItemGrownV1>(announcing);
    work(&store).receive(&subscription, &[Arc::new(cause)], false).await.unwrap();

    let kept = kept.lock().unwrap().clone();
    let rows = outbox(&store).await;
    assert_eq!((rows.len(), kept.len()), (odd_texts().len(), odd_texts().len()));
    for ((row, sent), text) in rows.iter().zip(&kept).zip(odd_texts()) {
        assert_same(&row.envelope, sent);
        assert_eq!(text_of(&row.envelope), text);
    }
    let first = &kept[0];
    assert_eq!((&*first.source, first.partitionkey.as_deref()), (HERE, Some(odd_key().as_str())));
    assert_eq!(first.causationid.as_ref().map(|id| id.as_str()), Some("cause/\u{1F4BF} 1"));
    assert_eq!(first.correlationid.as_deref(), Some("cause/\u{1F4BF} 1"));
    assert!(first.traceparent.is_some() && first.tracestate.is_some() && first.extensions.len() == 1);
    the_least_comes_back(&store).await;
}

/// An envelope with no optional attribute but the conversation.
async fn the_least_comes_back<S: WholeStore>(store: &S) {
    let mut uow = work_with(store, Dispatcher::new()).with(Context::of(HERE)).begin().await.unwrap();
    uow.announce(&NoticedV1 { text: "least".into() }).unwrap();
    let sent = uow.announced()[0].clone();
    let _ = uow.save_changes().await.unwrap();
    let rows = outbox(store).await;
    let row = rows.last().unwrap();
    assert_same(&row.envelope, &sent);
    assert_eq!((&sent.partitionkey, &sent.subject, &sent.causationid), (&None, &None, &None));
    assert_eq!((&sent.traceparent, sent.extensions.len(), row.bucket), (&None, 0, sent.bucket()));
}

/// The same but for its place in the outbox, which only the outbox knows. Says which attribute is not, for the data may
/// be large.
pub(super) fn assert_same(read: &Envelope, sent: &Envelope) {
    let attributes = |envelope: &Envelope| Envelope { data: [].into(), sequence: None, ..envelope.clone() };
    assert_eq!(attributes(read), attributes(sent));
    assert!(
        read.data == sent.data,
        "{} bytes are not the {} of {}",
        read.data.len(),
        sent.data.len(),
        sent.id
    );
}

/// Whoever waits for work is told of it.
pub async fn a_commit_that_announces_gives_a_hint<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.hint().await }
    });
    announce(&store, &[("a", "1")]).await;
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .expect("a hint within half a minute")
        .unwrap();
}
