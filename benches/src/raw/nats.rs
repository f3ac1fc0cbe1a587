//! The raw limit's broker connection to NATS JetStream: one subscription for all acknowledgements, a bit for each
//! message, and nothing allocated for the wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::{Client, HeaderMap, Subject, Subscriber};
use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Headers, PAGE, RawBus, Row};
use crate::Outcome;

/// Pages whose acknowledgements can be told apart; no more may be on their way.
pub(crate) const SLOTS: usize = 64;

/// A stream as the adapter declares it, with one subject.
pub(crate) async fn create(url: &str, stream: &str) -> Outcome<()> {
    let config = Config {
        name: stream.to_owned(),
        subjects: vec![format!("{stream}.>")],
        storage: StorageType::File,
        num_replicas: 1,
        duplicate_window: std::time::Duration::from_secs(30),
        ..Config::default()
    };
    async_nats::jetstream::new(async_nats::connect(url).await?).create_stream(config).await?;
    Ok(())
}

/// Removes the stream, and says how many messages it had.
pub(crate) async fn remove(url: &str, stream: &str) -> Outcome<u64> {
    let jetstream = async_nats::jetstream::new(async_nats::connect(url).await?);
    let stored = jetstream.get_stream(stream).await?.cached_info().state.messages;
    jetstream.delete_stream(stream).await?;
    Ok(stored)
}

/// A page's acknowledgements.
#[derive(Default)]
pub(crate) struct Page {
    left: AtomicUsize,
    seen: [AtomicU64; PAGE.div_ceil(64)],
    failed: AtomicUsize,
    done: Notify,
}

/// A connection, its inbox, and the task that reads it.
pub(crate) struct Nats {
    client: Client,
    subject: Subject,
    headers: Headers,
    pages: Arc<[Page]>,
    /// One for each message that may be on its way.
    replies: Vec<Subject>,
    next: usize,
    reader: JoinHandle<()>,
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Nats {
    pub(crate) async fn open(url: &str, stream: &str, headers: Headers) -> Outcome<Self> {
        let client = async_nats::connect(url).await?;
        let inbox = client.new_inbox();
        let replies = client.subscribe(format!("{inbox}.*")).await?;
        let pages: Arc<[Page]> = (0..SLOTS).map(|_| Page::default()).collect();
        let reader = tokio::spawn(read(replies, inbox.len() + 1, Arc::clone(&pages)));
        client.flush().await?;
        Ok(Self {
            client,
            subject: format!("{stream}.bench.order-placed").into(),
            headers,
            pages,
            replies: (0..SLOTS * PAGE).map(|n| format!("{inbox}.{n}").into()).collect(),
            next: 0,
            reader,
        })
    }
}

async fn read(replies: Subscriber, prefix: usize, pages: Arc<[Page]>) {
    let mut replies = replies.ready_chunks(1_024);
    while let Some(chunk) = replies.next().await {
        for reply in chunk {
            let n = reply.subject.get(prefix..).and_then(|n| n.parse::<usize>().ok());
            let Some((page, n)) = n.and_then(|n| Some((pages.get(n / PAGE)?, n % PAGE))) else { continue };
            if !reply.payload.starts_with(b"{\"stream\"") {
                page.failed.fetch_add(1, Ordering::Relaxed);
            }
            let seen = page.seen[n / 64].fetch_or(1 << (n % 64), Ordering::AcqRel) & 1 << (n % 64) != 0;
            if !seen && page.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                page.done.notify_one();
            }
        }
    }
}

impl RawBus for Nats {
    type Sent = (Arc<[Page]>, usize);

    async fn send(&mut self, rows: &[Row]) -> Outcome<Self::Sent> {
        let slot = self.next % SLOTS;
        self.next += 1;
        let page = &self.pages[slot];
        page.seen.iter().for_each(|bits| bits.store(0, Ordering::Release));
        page.left.store(rows.len(), Ordering::Release);
        for (row, reply) in rows.iter().zip(&self.replies[slot * PAGE..]) {
            let (subject, reply, payload) = (self.subject.clone(), reply.clone(), row.payload.clone());
            match headers(self.headers, row) {
                None => self.client.publish_with_reply(subject, reply, payload).await?,
                Some(headers) => {
                    self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await?;
                }
            }
        }
        Ok((Arc::clone(&self.pages), slot))
    }

    async fn acknowledged((pages, slot): Self::Sent) -> Outcome<()> {
        let page = &pages[slot];
        page.done.notified().await;
        match page.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => Err(format!("the server refused {failed} messages").into()),
        }
    }
}

fn headers(which: Headers, row: &Row) -> Option<HeaderMap> {
    let id = row.id.as_deref().filter(|_| which != Headers::None)?;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id);
    if which == Headers::CloudEvents {
        let seq = format!("0000000000000000-{:020}", row.seq);
        let further = [
            ("ce-specversion", "1.0"),
            ("ce-id", id),
            ("ce-source", crate::fill::SOURCE),
            ("ce-type", crate::fill::TYPE),
            ("ce-time", "2026-01-01T00:00:00.000000Z"),
            ("ce-partitionkey", "key-1234"),
            ("ce-sequence", &seq),
            ("content-type", "application/json"),
        ];
        further.into_iter().for_each(|(name, value)| headers.insert(name, value));
    }
    Some(headers)
}
