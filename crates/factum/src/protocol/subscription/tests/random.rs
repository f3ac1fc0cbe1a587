//! A small world around the machine: a bus that keeps order or does not, deliveries that fail, a store that is away, all
//! from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::{Arrival, Ending, Input, Lane, Lanes, LanesOptions, Occurrence, Output};
use crate::protocol::Jitter;

const KEYS: u64 = 6;
const EVENTS: u64 = 120;

#[derive(Debug)]
struct Queued {
    event: u64,
    due: Duration,
    attempt: u32,
    token: Option<u64>,
}

struct World {
    seed: u64,
    random: Jitter,
    options: LanesOptions,
    lanes: Lanes,
    now: Duration,
    /// By event, what the bus still has to have settled, oldest first.
    queue: Vec<Queued>,
    tokens: u64,
    asked: Option<usize>,
    looking: bool,
    trying: BTreeMap<u64, (Vec<u64>, bool)>,
    giving_up: Vec<u64>,
    attempts: BTreeMap<u64, u32>,
    effects: BTreeSet<u64>,
    dead: BTreeSet<u64>,
    /// By lane, the events in the order in which they were first done with.
    order: BTreeMap<u64, Vec<u64>>,
    done: bool,
}

fn lane(event: u64) -> u64 {
    event % KEYS
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Jitter::new(seed);
        let options = LanesOptions {
            concurrent: 1 + random.up_to(3) as usize,
            batch_max: 1 + random.up_to(15) as usize,
            prefetch: 1 + random.up_to(40) as usize,
            attempts: 1 + random.up_to(3) as u32,
            ordered: random.up_to(1) == 0,
            counts_attempts: random.up_to(1) == 0,
            ..LanesOptions::default()
        };
        let queue = (0..EVENTS).map(|event| Queued { event, due: Duration::ZERO, attempt: 0, token: None });
        Self {
            seed,
            lanes: Lanes::new(options.clone(), random.next_u64()),
            random,
            options,
            now: Duration::ZERO,
            queue: queue.collect(),
            tokens: 0,
            asked: None,
            looking: false,
            trying: BTreeMap::new(),
            giving_up: Vec::new(),
            attempts: BTreeMap::new(),
            effects: BTreeSet::new(),
            dead: BTreeSet::new(),
            order: BTreeMap::new(),
            done: false,
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.up_to(99) < percent
    }

    fn event_of(&self, token: u64) -> u64 {
        let queued = self.queue.iter().find(|queued| queued.token == Some(token));
        queued.unwrap_or_else(|| panic!("seed {}: token {token} is not out", self.seed)).event
    }

    fn tell(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.lanes.handle(self.now, input, &mut outputs);
        for output in outputs {
            self.obey(output);
        }
        let out = self.queue.iter().filter(|queued| queued.token.is_some()).count();
        assert!(out <= self.options.prefetch, "seed {}: {out} in hand", self.seed);
        assert_eq!(out, self.lanes.in_hand(), "seed {}", self.seed);
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Fetch { room } => assert_eq!(self.asked.replace(room), None, "seed {}", self.seed),
            Output::Look { .. } => self.looking = true,
            Output::Try { batch, tokens, count_before, .. } => self.begin(batch, tokens, count_before),
            Output::Abort { batch } => drop(self.trying.remove(&batch)),
            Output::Ack(tokens) => tokens.into_iter().for_each(|token| self.settle(token)),
            Output::Nack { token, after } => self.hand_back(token, after),
            Output::GiveUp { token, .. } => self.giving_up.push(token),
            Output::Reject { token, .. } => {
                let event = self.event_of(token);
                assert!(
                    self.dead.contains(&event),
                    "seed {}: {event} was rejected before it was kept",
                    self.seed
                );
                self.settle(token);
            }
            Output::Done => self.done = true,
        }
    }

    fn begin(&mut self, batch: u64, tokens: Vec<u64>, count_before: bool) {
        let seed = self.seed;
        let lanes: BTreeSet<_> = tokens.iter().map(|token| lane(self.event_of(*token))).collect();
        for (others, _) in self.trying.values() {
            for other in others {
                assert!(
                    !lanes.contains(&lane(self.event_of(*other))),
                    "seed {seed}: two batches share a lane"
                );
            }
        }
        assert!(tokens.len() <= self.options.batch_max, "seed {seed}");
        assert!(!count_before || tokens.len() == 1, "seed {seed}");
        assert!(self.trying.len() < self.options.concurrent, "seed {seed}");
        self.trying.insert(batch, (tokens, count_before));
    }

    fn settle(&mut self, token: u64) {
        let event = self.event_of(token);
        assert!(
            self.effects.contains(&event) || self.dead.contains(&event),
            "seed {}: {event} is lost",
            self.seed
        );
        self.queue.retain(|queued| queued.token != Some(token));
    }

    fn hand_back(&mut self, token: u64, after: Duration) {
        let due = self.now + after;
        let queued = self.queue.iter_mut().find(|queued| queued.token == Some(token)).expect("it is out");
        (queued.token, queued.due) = (None, due);
    }

    /// What the bus may deliver now. Without order, several of a key are out at once, and what is due comes.
    fn deliverable(&self) -> Vec<usize> {
        let mut blocked = BTreeSet::new();
        let mut found = Vec::new();
        for (place, queued) in self.queue.iter().enumerate() {
            let free = queued.token.is_none() && queued.due <= self.now;
            if free && !(self.options.ordered && blocked.contains(&lane(queued.event))) {
                found.push(place);
            }
            blocked.insert(lane(queued.event));
        }
        found
    }

    fn deliver(&mut self) {
        let Some(room) = self.asked else { return };
        let places = self.deliverable();
        if places.is_empty() {
            return;
        }
        self.asked = None;
        let most = 1 + self.random.up_to(room as u64 - 1) as usize;
        let mut arrivals = Vec::new();
        for place in places.into_iter().take(most) {
            self.tokens += 1;
            let queued = &mut self.queue[place];
            queued.token = Some(self.tokens);
            queued.attempt += 1;
            let attempt = if self.options.counts_attempts { queued.attempt } else { 1 };
            let (lane, event) = (Lane(lane(queued.event)), Occurrence(queued.event));
            arrivals.push(Arrival { token: self.tokens, lane, event, attempt, bytes: 1, released: false });
        }
        self.tell(Input::Arrived(arrivals));
    }

    fn end_a_batch(&mut self) {
        let Some(batch) =
            self.trying.keys().nth(self.random.up_to(self.trying.len() as u64) as usize).copied()
        else {
            return;
        };
        let Some((tokens, count_before)) = self.trying.remove(&batch) else { return };
        let ending = self.ending(&tokens, count_before);
        self.tell(Input::Ended { batch, ending });
    }

    fn ending(&mut self, tokens: &[u64], count_before: bool) -> Ending {
        if self.chance(5) {
            return Ending::Later;
        }
        let events: Vec<u64> = tokens.iter().map(|token| self.event_of(*token)).collect();
        if count_before {
            let attempts = self.attempts.entry(events[0]).or_default();
            *attempts += 1;
            if *attempts > self.options.attempts {
                return Ending::Exhausted { attempts: *attempts - 1 };
            }
        }
        if events.iter().any(|_| self.random.up_to(99) < 10) {
            let mut attempts = 0;
            if let [event] = *events {
                let counted = self.attempts.entry(event).or_default();
                *counted += u32::from(!count_before);
                attempts = *counted;
            }
            return Ending::Failed { attempts, reason: "by chance".into() };
        }
        events.into_iter().for_each(|event| self.done_with(event, false));
        // The answer is lost on its way.
        if self.chance(5) { Ending::Later } else { Ending::Committed }
    }

    fn done_with(&mut self, event: u64, dead: bool) {
        let set = if dead { &mut self.dead } else { &mut self.effects };
        if set.insert(event) && !(dead && self.effects.contains(&event)) {
            self.order.entry(lane(event)).or_default().push(event);
        }
    }

    fn give_up(&mut self) {
        let Some(token) = self.giving_up.pop() else { return };
        let kept = !self.chance(30);
        if kept {
            let event = self.event_of(token);
            self.done_with(event, true);
        }
        self.tell(Input::GaveUp { token, kept });
    }

    fn step(&mut self) {
        match self.random.up_to(5) {
            0 => self.deliver(),
            1 | 2 => self.end_a_batch(),
            3 => self.give_up(),
            4 if std::mem::take(&mut self.looking) => {
                let failed = self.chance(10);
                self.tell(if failed {
                    Input::LookFailed
                } else {
                    Input::Looked { halted: false, released: vec![] }
                });
            }
            _ => {
                self.now += Duration::from_millis(self.random.up_to(200));
                self.tell(Input::Tick);
            }
        }
        if self.asked.is_some() && self.chance(1) {
            self.asked = None;
            self.tell(Input::FetchFailed);
        }
    }
}

#[test]
fn whatever_fails_every_delivery_is_done_with_once_and_in_the_order_of_its_key() {
    for seed in 0..400 {
        let mut world = World::new(seed);
        world.tell(Input::Tick);
        let mut steps = 0;
        while !world.queue.is_empty() {
            world.step();
            steps += 1;
            assert!(steps < 200_000, "seed {seed}: no end: {:?}", world.queue);
        }
        for (lane, events) in &world.order {
            let expected: Vec<u64> =
                (0..EVENTS).filter(|event| super::random::lane(*event) == *lane).collect();
            assert_eq!(*events, expected, "seed {seed}: order within lane {lane}");
        }
        assert_eq!(world.lanes.in_hand(), 0, "seed {seed}");
    }
}

#[test]
fn whenever_it_is_shut_down_nothing_is_lost() {
    for seed in 0..400 {
        let mut world = World::new(seed);
        world.tell(Input::Tick);
        for _ in 0..seed {
            world.step();
        }
        world.tell(Input::Shutdown);
        let mut steps = 0;
        while !world.done {
            world.step();
            steps += 1;
            assert!(steps < 10_000, "seed {seed}: no end");
        }
        assert_eq!(world.lanes.in_hand(), 0, "seed {seed}");
        assert!(world.queue.iter().all(|queued| queued.token.is_none()), "seed {seed}: {:?}", world.queue);
        let left: BTreeSet<u64> = world.queue.iter().map(|queued| queued.event).collect();
        let lost = (0..EVENTS).filter(|event| !left.contains(event) && !world.effects.contains(event));
        assert!(
            lost.clone().all(|event| world.dead.contains(&event)),
            "seed {seed}: {:?}",
            lost.collect::<Vec<_>>()
        );
    }
}

#[test]
fn the_same_seed_and_inputs_give_the_same_outputs() {
    let run = |seed| {
        let mut world = World::new(seed);
        world.tell(Input::Tick);
        (0..3_000).for_each(|_| world.step());
        (world.order, world.now, world.tokens)
    };
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
