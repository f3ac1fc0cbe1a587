//! Dead letters of both sides, and what waits behind them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::integration::{DeadLetter, OnDeadLetter, Side};
use crate::port::{Claim, Waiting};
use crate::{Envelope, EventId, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Given up.
    Dead,
    /// Behind another of its key.
    Waiting,
    /// To be tried.
    Released,
}

pub(super) struct Letter {
    pub(super) envelope: Arc<Envelope>,
    pub(super) standing: Standing,
    pub(super) policy: OnDeadLetter,
    pub(super) attempts: u32,
    pub(super) reason: String,
    pub(super) at: Timestamp,
    /// Its place in the outbox, where it came from there.
    pub(super) seq: Option<i64>,
}

impl Letter {
    /// Of what was given up.
    pub(super) fn dead(dead: DeadLetter, policy: OnDeadLetter, seq: Option<i64>) -> Self {
        let DeadLetter { envelope, reason, attempts, at, .. } = dead;
        Self { envelope: Arc::new(envelope), standing: Standing::Dead, policy, attempts, reason, at, seq }
    }

    fn is(&self, source: &str, id: &EventId) -> bool {
        *self.envelope.source == *source && self.envelope.id == *id
    }

    fn holds_key_of(&self, envelope: &Envelope) -> bool {
        self.policy != OnDeadLetter::Skip
            && self.envelope.source == envelope.source
            && self.envelope.ordering_key() == envelope.ordering_key()
    }
}

/// The letters of one side, oldest first.
#[derive(Default)]
pub(super) struct OfSide {
    rows: BTreeMap<u64, Letter>,
    revision: u64,
}

impl OfSide {
    fn place(&self, source: &str, id: &EventId) -> Option<u64> {
        self.rows.iter().find(|(_, letter)| letter.is(source, id)).map(|(place, _)| *place)
    }

    fn find(&self, envelope: &Envelope) -> Option<&Letter> {
        self.rows.values().find(|letter| letter.is(&envelope.source, &envelope.id))
    }

    fn holds_key_of(&self, envelope: &Envelope) -> bool {
        self.rows.values().any(|letter| letter.holds_key_of(envelope))
    }

    fn is_halted(&self) -> bool {
        let halts =
            |letter: &Letter| letter.policy == OnDeadLetter::Halt && letter.standing == Standing::Dead;
        self.rows.values().any(halts)
    }

    /// If only waiting letters are left in front, the first of them may be tried.
    fn advance(&mut self, like: &Envelope) {
        let head = self.rows.values_mut().find(|letter| letter.holds_key_of(like));
        if let Some(head) = head.filter(|head| head.standing == Standing::Waiting) {
            head.standing = Standing::Released;
        }
    }

    fn remove(&mut self, source: &str, id: &EventId, standing: Standing) -> Option<Letter> {
        let place = self.place(source, id)?;
        if self.rows[&place].standing != standing {
            return None;
        }
        let letter = self.rows.remove(&place)?;
        self.revision += 1;
        self.advance(&letter.envelope);
        Some(letter)
    }
}

#[derive(Default)]
pub(super) struct Letters {
    /// Counts all letters that ever were, so that age can be compared across sides.
    next: u64,
    relay: OfSide,
    subscriptions: HashMap<Arc<str>, OfSide>,
}

impl Letters {
    fn of(&self, side: &Side) -> Option<&OfSide> {
        match side {
            Side::Relay => Some(&self.relay),
            Side::Subscription(name) => self.subscriptions.get(name.as_str()),
        }
    }

    fn of_mut(&mut self, side: &Side) -> &mut OfSide {
        match side {
            Side::Relay => &mut self.relay,
            Side::Subscription(name) => self.subscriptions.entry(name.as_str().into()).or_default(),
        }
    }

    pub(super) fn revision(&self, subscription: &str) -> u64 {
        self.subscriptions.get(subscription).map_or(0, |of| of.revision)
    }

    /// What a claim finds here, and what is to be written: an inbox row or, where it says so, a letter that waits.
    pub(super) fn claim(
        &self,
        subscription: &str,
        envelope: &Envelope,
        released: bool,
    ) -> (Claim, Option<bool>) {
        let of = self.subscriptions.get(subscription);
        let own = of.and_then(|of| of.find(envelope)).map(|letter| letter.standing);
        match own {
            Some(Standing::Released) if released => (Claim::First, Some(false)),
            Some(_) => (Claim::Parked, None),
            // It was discarded meanwhile.
            None if released => (Claim::Duplicate, None),
            None if of.is_some_and(|of| of.holds_key_of(envelope)) => (Claim::Parked, Some(true)),
            None => (Claim::First, Some(false)),
        }
    }

    /// Puts an envelope behind the dead letter of its key.
    pub(super) fn wait(&mut self, subscription: &Arc<str>, envelope: Arc<Envelope>) {
        let letter = Letter {
            at: envelope.time,
            envelope,
            standing: Standing::Waiting,
            policy: OnDeadLetter::Park,
            attempts: 0,
            reason: String::new(),
            seq: None,
        };
        self.next += 1;
        let of = self.subscriptions.entry(Arc::clone(subscription)).or_default();
        of.rows.insert(self.next, letter);
        of.revision += 1;
    }

    /// Repeating it changes nothing.
    pub(super) fn give_up(&mut self, side: &Side, letter: Letter) {
        self.next += 1;
        let next = self.next;
        let of = self.of_mut(side);
        let place = of.place(&letter.envelope.source, &letter.envelope.id);
        if place.is_some_and(|place| of.rows[&place].standing == Standing::Dead) {
            return;
        }
        let envelope = Arc::clone(&letter.envelope);
        of.rows.insert(place.unwrap_or(next), letter);
        of.revision += 1;
        of.advance(&envelope);
    }

    pub(super) fn requeue(&mut self, side: &Side, source: &str, id: &EventId) -> Option<Letter> {
        let of = self.of_mut(side);
        if *side == Side::Relay {
            return of.remove(source, id, Standing::Dead);
        }
        let place = of.place(source, id)?;
        let letter = of.rows.get_mut(&place).filter(|letter| letter.standing == Standing::Dead)?;
        letter.standing = Standing::Released;
        let seq = letter.seq;
        let copy =
            Letter { envelope: Arc::clone(&letter.envelope), reason: letter.reason.clone(), seq, ..*letter };
        of.revision += 1;
        Some(copy)
    }

    pub(super) fn discard(&mut self, side: &Side, source: &str, id: &EventId) -> bool {
        self.of_mut(side).remove(source, id, Standing::Dead).is_some()
    }

    /// Oldest first, and one of a key.
    pub(super) fn released(&self, subscription: &str, most: usize) -> Vec<Waiting> {
        let mut keys = std::collections::HashSet::new();
        let rows = self.subscriptions.get(subscription).into_iter().flat_map(|of| of.rows.values());
        rows.filter(|letter| letter.standing == Standing::Released)
            .filter(|letter| keys.insert((&letter.envelope.source, letter.envelope.ordering_key())))
            .take(most)
            .map(|letter| Waiting { envelope: Arc::clone(&letter.envelope), attempts: letter.attempts })
            .collect()
    }

    pub(super) fn finished(&mut self, subscription: &str, source: &str, id: &EventId) {
        if let Some(of) = self.subscriptions.get_mut(subscription) {
            of.remove(source, id, Standing::Released);
        }
    }

    pub(super) fn is_halted(&self, side: &Side) -> bool {
        self.of(side).is_some_and(OfSide::is_halted)
    }

    pub(super) fn relay_holds(&self, envelope: &Envelope) -> bool {
        self.relay.holds_key_of(envelope)
    }

    /// Whether nothing holds anything back on the relay's side, as is usual.
    pub(super) fn relay_is_free(&self) -> bool {
        self.relay.rows.is_empty()
    }

    /// All dead letters, oldest first.
    pub(super) fn dead(&self) -> Vec<(Side, &Letter)> {
        let relay = self.relay.rows.iter().map(|(place, letter)| (*place, Side::Relay, letter));
        let others = self.subscriptions.iter().flat_map(|(name, of)| {
            of.rows.iter().map(move |(place, letter)| (*place, Side::Subscription(name.to_string()), letter))
        });
        let mut all: Vec<_> =
            relay.chain(others).filter(|(.., letter)| letter.standing == Standing::Dead).collect();
        all.sort_by_key(|(place, ..)| *place);
        all.into_iter().map(|(_, side, letter)| (side, letter)).collect()
    }

    /// How many wait on the subscriptions' side, those included that may be tried.
    pub(super) fn waiting(&self) -> usize {
        let rows = self.subscriptions.values().flat_map(|of| of.rows.values());
        rows.filter(|letter| letter.standing != Standing::Dead).count()
    }
}
