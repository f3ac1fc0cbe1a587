//! The machine in a small world of one store, one bus and two relays, where everything that may happen does, in any
//! order: slow and lost answers, failing statements, late commits, leases that run out, refusals, shutdown.

mod bus;
mod steps;
mod store;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::{Input, Key, Options, Output, Relay, Row, Sent, Size};
use crate::integration::OnDeadLetter;
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

    fn restart_one(&mut self) {
        let at = self.pick(2);
        self.begin(at);
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
