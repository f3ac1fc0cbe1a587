//! The machine in a small world of one store, one bus and two relays, where everything that may happen does, in any
//! order: slow and lost answers, failing statements, late commits, leases that run out, refusals, shutdown.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::{Input, Key, Options, Output, Relay, Row, Sent, Size};
use crate::integration::{Answer, OnDeadLetter};
use crate::port::{Asked, Lease, Leased, Read, Settlement};
use crate::protocol::Jitter;

const KEYS: u64 = 6;
const PARKED: &str = "parked";
const SKIPPED: &str = "skipped";

#[derive(Clone, Copy, Debug)]
struct Faults {
    /// In a hundred steps.
    refusals: u64,
    unknowns: u64,
    unroutables: u64,
    store: u64,
    pauses: u64,
    /// A row that was given up is put back, in a thousand steps.
    requeues: u64,
    fail_stop: bool,
}

const NO_FAULTS: Faults =
    Faults { refusals: 0, unknowns: 0, unroutables: 0, store: 0, pauses: 0, requeues: 0, fail_stop: false };

#[derive(Clone, Debug)]
struct Stored {
    key: u64,
    r#type: &'static str,
    attempts: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Holder {
    owner: Option<usize>,
    until: Duration,
    epoch: i64,
}

#[derive(Default)]
struct Store {
    rows: BTreeMap<i64, Stored>,
    last: i64,
    /// A `seq` that was drawn and is not committed, by key.
    drawn: BTreeMap<u64, i64>,
    holders: BTreeMap<u8, Holder>,
    parked: BTreeSet<u64>,
    dead: BTreeMap<i64, Stored>,
    relays: [Option<Duration>; 2],
    generation: i64,
}

/// One relay and what is on its way between it and the world.
struct Node {
    relay: Relay,
    kept: BTreeSet<i64>,
    /// Asked of the store; first not carried out, then carried out and not heard of.
    asked: VecDeque<Output>,
    answers: VecDeque<Input>,
    /// At the bus, in the order in which it got them.
    at_bus: VecDeque<Sent>,
    /// Of each key, what is unanswered.
    unanswered: BTreeMap<u64, usize>,
    /// What reads have shown under the present leases.
    seen: BTreeSet<i64>,
    done: bool,
}

struct World {
    seed: u64,
    random: Jitter,
    faults: Faults,
    now: Duration,
    store: Store,
    nodes: Vec<Node>,
    /// How often each row was handed over.
    published: BTreeMap<i64, usize>,
    confirmed: BTreeSet<i64>,
    refused: BTreeMap<i64, u32>,
    all: BTreeMap<i64, u64>,
}

fn bucket_of(key: u64) -> u8 {
    (key % 3) as u8
}

fn options(faults: Faults, seed: u64) -> Options {
    Options {
        window: Size { rows: 12, bytes: 1_200 },
        batch: Size { rows: 5, bytes: 500 },
        waiting: Size { rows: 8, bytes: 800 },
        keys_max: 5,
        attempts_max: 4,
        publish_deadline: Duration::MAX,
        fail_stop: faults.fail_stop,
        on_dead_letter: [(SKIPPED.to_owned(), OnDeadLetter::Skip)].into(),
        seed,
        ..Options::default()
    }
}

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let mut world = Self {
            seed,
            random: Jitter::new(seed),
            faults,
            now: Duration::ZERO,
            store: Store::default(),
            nodes: Vec::new(),
            published: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            refused: BTreeMap::new(),
            all: BTreeMap::new(),
        };
        for node in 0..2 {
            world.begin(node);
        }
        world
    }

    fn begin(&mut self, at: usize) {
        let node = Node {
            relay: Relay::new(options(self.faults, self.seed ^ at as u64)),
            kept: BTreeSet::new(),
            asked: VecDeque::new(),
            answers: VecDeque::new(),
            at_bus: VecDeque::new(),
            unanswered: BTreeMap::new(),
            seen: BTreeSet::new(),
            done: false,
        };
        match self.nodes.get_mut(at) {
            Some(old) => *old = node,
            None => self.nodes.push(node),
        }
        self.tell(at, Input::Tick);
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.up_to(99) < percent
    }

    fn pick(&mut self, n: usize) -> usize {
        self.random.up_to(n as u64 - 1) as usize
    }

    fn tell(&mut self, at: usize, input: Input) {
        let mut out = Vec::new();
        let node = &mut self.nodes[at];
        if let Input::Found { rows, .. } = &input {
            node.kept.extend(rows.iter().map(|row| row.seq));
        }
        node.relay.on(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Publish(batch) => self.hand_over(at, batch),
                Output::Forget(seqs) => seqs.iter().for_each(|seq| _ = self.nodes[at].kept.remove(seq)),
                Output::Report(_) => {}
                Output::Done => self.nodes[at].done = true,
                asked => self.nodes[at].asked.push_back(asked),
            }
        }
        let node = &self.nodes[at];
        assert_eq!(node.kept.len(), node.relay.waiting(), "kept: {:?}", node.kept);
        assert!(node.kept.len() <= 8 + 5, "{} envelopes in memory", node.kept.len());
        assert!(node.asked.len() <= 4, "too much asked at once: {:?}", node.asked);
    }

    fn hand_over(&mut self, at: usize, batch: Vec<Sent>) {
        assert!(batch.len() <= 5, "a batch of {}", batch.len());
        let busy: BTreeSet<u64> = self.nodes[at].unanswered.keys().copied().collect();
        let mut in_batch: BTreeMap<u64, i64> = BTreeMap::new();
        for sent in batch {
            let key = self.all[&sent.seq];
            assert!(self.nodes[at].kept.remove(&sent.seq), "{} was not kept", sent.seq);
            assert!(!busy.contains(&key), "{} follows what is unanswered of its key", sent.seq);
            let before = in_batch.insert(key, sent.seq);
            assert!(
                before.is_none_or(|seq| self.faults.fail_stop && seq < sent.seq),
                "{} in a batch",
                sent.seq
            );
            let holder = self.store.holders[&bucket_of(key)];
            assert!(holder.owner == Some(at) && self.now < holder.until, "{} without a lease", sent.seq);
            for (seq, _) in self.all.range(..sent.seq).filter(|(_, other)| **other == key) {
                let first = self.confirmed.contains(seq) || self.store.dead.contains_key(seq);
                let with_it = self.faults.fail_stop && self.nodes[at].at_bus.iter().any(|s| s.seq == *seq);
                assert!(first || with_it, "{} overtook {seq}", sent.seq);
            }
            *self.published.entry(sent.seq).or_default() += 1;
            *self.nodes[at].unanswered.entry(key).or_default() += 1;
            self.nodes[at].at_bus.push_back(sent);
        }
        assert!(self.nodes[at].at_bus.len() <= 12, "{} at the bus", self.nodes[at].at_bus.len());
    }

    /// Somebody's transaction: draws a `seq` now, or commits the one that it drew.
    fn commit(&mut self) {
        let key = self.random.up_to(KEYS - 1);
        let seq = match self.store.drawn.remove(&key) {
            Some(seq) => seq,
            None => {
                self.store.last += 1;
                if self.chance(30) {
                    self.store.drawn.insert(key, self.store.last);
                    return;
                }
                self.store.last
            }
        };
        let r#type = if key.is_multiple_of(2) { PARKED } else { SKIPPED };
        self.store.rows.insert(seq, Stored { key, r#type, attempts: 0 });
        self.all.insert(seq, key);
    }

    /// The store carries out the oldest thing that a relay asked of it; or it fails, before or after.
    fn carry_out(&mut self, at: usize) {
        let Some(asked) = self.nodes[at].asked.pop_front() else { return };
        let (fails, without) = (self.chance(self.faults.store), self.chance(50));
        let answer = match asked {
            Output::Lease(_) if fails && without => Input::LeaseFailed,
            Output::Lease(asked) => match (self.lease(at, asked), fails) {
                (_, true) => Input::LeaseFailed,
                (leased, false) => Input::Leased(leased),
            },
            Output::CleanUp => Input::CleanedUp(without),
            Output::Read(_) if fails => Input::ReadFailed,
            Output::Read(read) => {
                let rows = self.read(at, read);
                Input::Found { rows, floor: self.floor(at), generation: self.store.generation }
            }
            Output::Settle(..) if fails && without => Input::SettleFailed,
            Output::Settle(leases, settlement) => match (self.settle(at, &leases, &settlement), fails) {
                (_, true) => Input::SettleFailed,
                (changed, false) => Input::Settled(changed),
            },
            Output::Release => {
                self.store.holders.values_mut().filter(|h| h.owner == Some(at)).for_each(|h| h.owner = None);
                self.store.relays[at] = None;
                Input::Released
            }
            other => panic!("nothing to ask a store: {other:?}"),
        };
        self.nodes[at].answers.push_back(answer);
    }

    fn lease(&mut self, at: usize, asked: Asked) -> Leased {
        let (now, until) = (self.now, self.now + asked.duration);
        self.store.relays[at] = Some(until);
        let mut leases = Vec::new();
        for bucket in asked.give_back.iter() {
            assert!(self.nodes[at].at_bus.iter().all(|sent| bucket_of(self.all[&sent.seq]) != bucket));
            let holder = self.store.holders.entry(bucket).or_default();
            holder.owner = holder.owner.filter(|owner| *owner != at);
        }
        let mut held = self.store.holders.values().filter(|holder| holder.owner == Some(at)).count();
        for bucket in 0..64 {
            let holder = self.store.holders.entry(bucket).or_default();
            if holder.owner != Some(at) {
                if held >= asked.most || holder.owner.is_some() && now < holder.until {
                    continue;
                }
                holder.owner = Some(at);
                holder.epoch += 1;
                held += 1;
                self.nodes[at].seen.retain(|seq| bucket_of(self.all[seq]) != bucket);
            }
            holder.until = until;
            leases.push(Lease { bucket, epoch: holder.epoch });
        }
        Leased { leases, relays: self.store.relays.iter().flatten().filter(|until| **until > now).count() }
    }

    /// Below this nothing will appear that was not seen, unless it is put back.
    fn floor(&self, at: usize) -> i64 {
        let seen = &self.nodes[at].seen;
        self.store.rows.keys().find(|seq| !seen.contains(seq)).map_or(i64::MAX, |seq| seq - 1)
    }

    /// Begins lower than it was asked to where something below has appeared since, as a store has to; what was put back
    /// it leaves to the generation.
    fn read(&mut self, at: usize, read: Read) -> Vec<Row> {
        let unseen = self.floor(at);
        let node = &mut self.nodes[at];
        let rows: Vec<Row> = self
            .store
            .rows
            .range(read.above.min(unseen) + 1..)
            .filter(|(_, row)| read.buckets.contains(bucket_of(row.key)))
            .filter(|(_, row)| !self.store.parked.contains(&row.key))
            .filter(|(seq, _)| read.except.binary_search(seq).is_err())
            .take(read.rows_max)
            .map(|(seq, row)| Row {
                seq: *seq,
                bucket: bucket_of(row.key),
                attempts: row.attempts,
                bytes: 60,
                key: Key { name: row.key.to_string().into(), source: "https://example.test".into() },
                r#type: row.r#type.into(),
            })
            .collect();
        node.seen.extend(rows.iter().map(|row| row.seq));
        rows
    }

    fn settle(&mut self, at: usize, leases: &[Lease], settlement: &Settlement) -> usize {
        let Store { rows, holders, parked, dead, .. } = &mut self.store;
        let ours = |key: u64| {
            let holder = holders[&bucket_of(key)];
            let lease = Lease { bucket: bucket_of(key), epoch: holder.epoch };
            holder.owner == Some(at) && leases.contains(&lease)
        };
        let before = rows.len();
        for seq in &settlement.confirmed {
            if rows.get(seq).is_some_and(|row| ours(row.key)) {
                assert!(self.confirmed.contains(seq), "{seq} was deleted and never confirmed");
                rows.remove(seq);
            }
        }
        let mut changed = before - rows.len();
        for failed in &settlement.failed {
            if let Some(row) = rows.get_mut(&failed.seq).filter(|row| ours(row.key)) {
                assert!(failed.attempts <= self.refused[&failed.seq], "more attempts than refusals");
                assert!(failed.attempts >= row.attempts, "attempts went back");
                row.attempts = failed.attempts;
                changed += 1;
            }
        }
        for given_up in &settlement.given_up {
            if rows.get(&given_up.seq).is_some_and(|row| ours(row.key)) {
                assert!(self.refused[&given_up.seq] >= 4, "given up too early");
                let Some(row) = rows.remove(&given_up.seq) else { continue };
                if given_up.policy == OnDeadLetter::Park {
                    parked.insert(row.key);
                }
                dead.insert(given_up.seq, row);
                changed += 1;
            }
        }
        changed
    }

    /// A person puts a dead letter back, under the `seq` that it had; those of its key that followed come after it.
    fn requeue(&mut self) {
        // What follows a skipped one may be on its way.
        let parked = self.store.dead.iter().rfind(|(_, row)| self.store.parked.contains(&row.key));
        let Some((seq, row)) = parked.map(|(seq, row)| (*seq, row.clone())) else { return };
        self.store.dead.remove(&seq);
        self.store.parked.remove(&row.key);
        self.store.rows.insert(seq, Stored { attempts: 0, ..row });
        self.store.generation += 1;
    }

    /// The bus answers one of what it has: any, as order is kept only within a key.
    fn answer(&mut self, at: usize) {
        let mut firsts = BTreeSet::new();
        let node = &self.nodes[at];
        let heads: Vec<usize> =
            (0..node.at_bus.len()).filter(|i| firsts.insert(self.all[&node.at_bus[*i].seq])).collect();
        if heads.is_empty() {
            return;
        }
        let head = heads[self.pick(heads.len())];
        let Some(Sent { seq, ticket }) = self.nodes[at].at_bus.remove(head) else { return };
        let faults = self.faults;
        let drawn = self.random.up_to(99);
        let answer = match drawn {
            _ if drawn < faults.refusals => Answer::Refused("no".into()),
            _ if drawn < faults.refusals + faults.unknowns => Answer::Unknown("?".into()),
            _ if drawn < faults.refusals + faults.unknowns + faults.unroutables => Answer::Unroutable,
            _ => Answer::Confirmed,
        };
        let mut answers = vec![(ticket, answer.clone())];
        match answer {
            Answer::Confirmed => _ = self.confirmed.insert(seq),
            Answer::Refused(_) => *self.refused.entry(seq).or_default() += 1,
            Answer::Unroutable | Answer::Unknown(_) => {}
        }
        let key = self.all[&seq];
        if answer != Answer::Confirmed {
            // It stops the key: those behind it in the batch are not delivered.
            let behind = |sent: &Sent| self.all[&sent.seq] == key;
            answers.extend(
                self.nodes[at]
                    .at_bus
                    .iter()
                    .filter(|sent| behind(sent))
                    .map(|sent| (sent.ticket, Answer::Unknown("behind".into()))),
            );
            let all = &self.all;
            self.nodes[at].at_bus.retain(|sent| all[&sent.seq] != key);
            answers.reverse();
        }
        let unanswered = self.nodes[at].unanswered.get_mut(&key);
        if unanswered.is_some_and(|n| {
            *n -= answers.len();
            *n == 0
        }) {
            self.nodes[at].unanswered.remove(&key);
        }
        self.tell(at, Input::Answered(answers));
    }

    fn step(&mut self) {
        let at = self.pick(2);
        match self.random.up_to(11) {
            0 => {
                self.commit();
                if self.random.up_to(999) < self.faults.requeues * 12 {
                    self.requeue();
                }
            }
            1..=3 => self.carry_out(at),
            4 | 5 => {
                if let Some(answer) = self.nodes[at].answers.pop_front() {
                    self.tell(at, answer);
                }
            }
            6..=8 => self.answer(at),
            9 => self.tell(at, Input::Hint),
            _ => {
                let pauses = self.chance(self.faults.pauses);
                let millis = self.random.up_to(if pauses { 15_000 } else { 30 });
                self.now += Duration::from_millis(millis);
                // One of them may sleep through it.
                let woken = if pauses { at..at + 1 } else { 0..2 };
                woken.for_each(|at| self.tell(at, Input::Tick));
            }
        }
    }

    fn restart_one(&mut self) {
        let at = self.pick(2);
        self.begin(at);
    }

    /// All that is asked is done and answered, and time goes on as the relays want it; ends when nothing is left.
    fn run_dry(&mut self) {
        self.faults = Faults { fail_stop: self.faults.fail_stop, ..NO_FAULTS };
        for (key, seq) in std::mem::take(&mut self.store.drawn) {
            self.store.rows.insert(seq, Stored { key, r#type: PARKED, attempts: 0 });
            self.all.insert(seq, key);
        }
        let began = self.now;
        while self.left() > 0 {
            assert!(self.now < began + Duration::from_secs(120), "{} rows are left", self.left());
            for at in 0..2 {
                while !self.nodes[at].at_bus.is_empty() {
                    self.answer(at);
                }
                while !self.nodes[at].asked.is_empty() {
                    self.carry_out(at);
                }
                while let Some(answer) = self.nodes[at].answers.pop_front() {
                    self.tell(at, answer);
                }
            }
            (0..2).for_each(|at| self.tell(at, Input::Tick));
            if self.nodes.iter().all(|node| node.asked.is_empty() && node.at_bus.is_empty()) {
                let wake = self.nodes.iter().map(|node| node.relay.wake_at()).min().unwrap_or_default();
                assert!(wake > self.now, "a relay wants to be asked again at once");
                self.now = wake.min(self.now + Duration::from_secs(20));
            }
        }
    }

    fn left(&self) -> usize {
        self.store.rows.values().filter(|row| !self.store.parked.contains(&row.key)).count()
    }

    fn twice(&self) -> usize {
        self.published.values().filter(|times| **times > 1).count()
    }
}

fn any_faults() -> impl Strategy<Value = Faults> {
    (0..30_u64, 0..20_u64, 0..20_u64, 0..30_u64, 0..20_u64, 0..50_u64, any::<bool>()).prop_map(
        |(refusals, unknowns, unroutables, store, pauses, requeues, fail_stop)| Faults {
            refusals,
            unknowns,
            unroutables,
            store,
            pauses,
            requeues,
            fail_stop,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_lost_overtaken_or_published_without_a_lease(
        seed in any::<u64>(),
        faults in any_faults(),
        steps in 0..3_000_usize,
        restarts in any::<bool>(),
    ) {
        let mut world = World::new(seed, faults);
        for step in 0..steps {
            world.step();
            if restarts && step % 500 == 499 {
                world.restart_one();
            }
        }
        world.run_dry();
    }

    #[test]
    fn without_faults_every_row_is_published_once(
        seed in any::<u64>(), steps in 0..3_000_usize, fail_stop in any::<bool>(),
    ) {
        let mut world = World::new(seed, Faults { fail_stop, ..NO_FAULTS });
        (0..steps).for_each(|_| world.step());
        world.run_dry();
        prop_assert_eq!(world.twice(), 0);
        prop_assert_eq!(world.published.len(), world.all.len());
    }
}
