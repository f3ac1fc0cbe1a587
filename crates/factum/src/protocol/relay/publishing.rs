//! What goes to the bus now: of every key that may, its oldest row, in batches that fit the window.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Output, Relay, Report, Sent};
use crate::integration::OnDeadLetter;

/// What is known of the types that have come by.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    by_name: BTreeMap<String, u32>,
    /// The one that came last: mostly the next one too.
    last: Option<(Arc<str>, u32)>,
    kinds: Vec<Kind>,
}

#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) policy: OnDeadLetter,
    /// People know that nobody takes it.
    pub(super) told: bool,
    /// Nobody took it a moment ago: none of it is published before.
    pub(super) rests_until: Duration,
}

impl Kinds {
    pub(super) fn index(&mut self, r#type: &Arc<str>, policies: &BTreeMap<String, OnDeadLetter>) -> u32 {
        match &self.last {
            Some((last, kind)) if last == r#type => *kind,
            _ => {
                let kind = self.find(r#type, policies);
                self.last = Some((Arc::clone(r#type), kind));
                kind
            }
        }
    }

    fn find(&mut self, r#type: &str, policies: &BTreeMap<String, OnDeadLetter>) -> u32 {
        if let Some(kind) = self.by_name.get(r#type) {
            return *kind;
        }
        let kind = self.kinds.len() as u32;
        self.by_name.insert(r#type.to_owned(), kind);
        self.kinds.push(Kind {
            name: r#type.to_owned(),
            policy: policies.get(r#type).copied().unwrap_or_default(),
            told: false,
            rests_until: Duration::ZERO,
        });
        kind
    }

    pub(super) fn get(&mut self, kind: u32) -> &mut Kind {
        &mut self.kinds[kind as usize]
    }
}

/// A batch that is being put together.
#[derive(Default)]
struct Batch {
    rows: Vec<Sent>,
    bytes: usize,
}

impl Relay {
    pub(super) fn publish(&mut self, now: Duration, out: &mut Vec<Output>) {
        if !self.may_publish() || now < self.bus_rests_until {
            return;
        }
        let mut batch = Batch::default();
        while self.window_has_room() {
            let Some(key) = self.hand.ready.pop_front() else { break };
            self.hand.keys[key].queued = false;
            if self.hand.keys[key].may_publish() {
                self.publish_key(now, key, &mut batch, out);
            }
            self.hand.look_at(key, &self.scan);
        }
        flush(&mut batch, out);
    }

    fn may_publish(&self) -> bool {
        !self.is_closing() && self.halting().is_none() && self.window_has_room()
    }

    /// When publishing goes on, if there is something to publish.
    pub(super) fn publish_at(&self) -> Duration {
        let waits = !self.hand.ready.is_empty() && self.may_publish();
        if waits { self.bus_rests_until } else { Duration::MAX }
    }

    fn window_has_room(&self) -> bool {
        let (rows, bytes) = self.hand.rows.on_the_way();
        rows < self.options.window.rows && bytes < self.options.window.bytes
    }

    /// The oldest row of a key, and those behind it as far as they fit, where the bus stops at the first failure.
    fn publish_key(&mut self, now: Duration, key: u32, batch: &mut Batch, out: &mut Vec<Output>) {
        let mut first = true;
        while let Some((bytes, kind)) = self.hand.front(key) {
            let rests_until = self.kinds.get(kind).rests_until;
            if now < rests_until {
                if first {
                    self.hand.forget_waiting(key, &self.scan);
                    self.hand.rest(key, rests_until);
                }
                return;
            }
            let full =
                batch.rows.len() >= self.options.batch.rows || batch.bytes + bytes > self.options.batch.bytes;
            if first && full {
                flush(batch, out);
            } else if !first && (full || !self.options.fail_stop || !self.window_has_room()) {
                return;
            }
            let Some(at) = self.hand.pop(key) else { return };
            let ticket = self.hand.rows.send(at);
            self.deadlines.begin(now, self.options.publish_deadline, ticket);
            self.hand.keys[key].unanswered += 1;
            batch.rows.push(Sent { seq: self.hand.rows[at].seq, ticket });
            batch.bytes += bytes;
            first = false;
        }
    }

    /// The bus gives no answers: it is left alone, for longer each time.
    pub(super) fn bus_failed(&mut self, now: Duration, reason: String, out: &mut Vec<Output>) {
        if now < self.bus_rests_until {
            return;
        }
        self.bus_failures = self.bus_failures.saturating_add(1);
        self.bus_rests_until = now + self.options.unreachable.delay(self.bus_failures, &mut self.jitter);
        if self.bus_failures == 1 {
            out.push(Output::Report(Report::Unreachable(reason)));
        }
    }
}

fn flush(batch: &mut Batch, out: &mut Vec<Output>) {
    if !batch.rows.is_empty() {
        out.push(Output::Publish(std::mem::take(batch).rows));
    }
}
