//! Many publishers and consumers on threads of their own, who nack, reject, drop and go away at random.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicUsize;

use super::*;

const KEYS: u64 = 7;

/// A xorshift generator: small, and the same for the same seed.
struct Random(u64);

impl Random {
    fn seed() -> u64 {
        let given = std::env::var("FACTUM_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0u8));
        println!("FACTUM_SEED={seed}");
        seed
    }

    fn fork(seed: u64, lane: u64) -> Self {
        Self((seed ^ lane.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// What one subscription has handled: of each key, the number of the next one.
#[derive(Default)]
struct Handled {
    next: HashMap<String, u64>,
    out: HashMap<String, ()>,
}

struct Run {
    bus: MemoryBus,
    subscriptions: [Mutex<Handled>; 2],
    /// Per envelope, how many subscriptions have handled it.
    handled: Mutex<HashMap<String, usize>>,
    confirmed: AtomicUsize,
    seed: u64,
}

impl Run {
    /// Publishes `count` envelopes of each of its own keys, in batches, and goes on when all are confirmed.
    fn publish(self: &Arc<Self>, publisher: u64, count: u64) {
        let mut random = Random::fork(self.seed, 100 + publisher);
        let mut next = vec![0; usize::try_from(KEYS).unwrap()];
        while next.iter().any(|next| *next < count) {
            let mut batch = Vec::new();
            for _ in 0..=random.below(20) {
                let key = random.below(KEYS);
                let number = &mut next[usize::try_from(key).unwrap()];
                if *number < count {
                    batch.push(self.publication(format!("{publisher}/{key}"), *number));
                    *number += 1;
                }
            }
            block_on(self.bus.publish(batch)).unwrap();
        }
    }

    fn publication(self: &Arc<Self>, key: String, number: u64) -> Publication {
        let run = Arc::downgrade(self);
        let id = format!("{key}#{number}");
        let envelope = envelope(&id, &key);
        let confirm = Confirm::new(
            number,
            Arc::new(move |_, answer| {
                let Some(run) = run.upgrade() else { return };
                assert_eq!(answer, Answer::Confirmed);
                assert_eq!(run.handled.lock().unwrap()[&id], 2, "{id} was confirmed early");
                run.confirmed.fetch_add(1, Ordering::SeqCst);
            }),
        );
        Publication { envelope: crate::port::read_back(envelope, SOURCE.into()), confirm }
    }

    /// Consumes until the bus ends; now and then leaves and comes back.
    fn consume(&self, subscription: usize, lane: u64) {
        let mut random = Random::fork(self.seed, 200 + lane);
        loop {
            let prefetch = 1 + usize::try_from(random.below(8)).unwrap();
            let name = ["one", "two"][subscription];
            let Ok(mut consumer) = block_on(self.bus.subscribe(interest(name, &["a.v1"], prefetch))) else {
                return;
            };
            for _ in 0..random.below(200) {
                if random.below(4) == 0 {
                    // Polled once and dropped: what it was woken for must not be lost.
                    if let Some(ready) = Polled::new(consumer.next(1)).poll() {
                        self.settle(subscription, ready.unwrap(), &mut random);
                    }
                    continue;
                }
                let most = 1 + usize::try_from(random.below(8)).unwrap();
                let deliveries = block_on(consumer.next(most)).unwrap();
                if deliveries.is_empty() {
                    return;
                }
                self.settle(subscription, deliveries, &mut random);
            }
        }
    }

    fn settle(&self, subscription: usize, deliveries: Vec<Delivery>, random: &mut Random) {
        for Delivery { envelope, attempt, settle } in deliveries {
            let (key, number) = envelope.id.as_str().split_once('#').unwrap();
            let number: u64 = number.parse().unwrap();
            self.begin(subscription, key, number);
            let choice = random.below(10);
            if choice < 3 && attempt < 5 {
                self.subscriptions[subscription].lock().unwrap().out.remove(key);
                match choice {
                    0 => drop(settle),
                    1 => block_on(settle.nack(Duration::ZERO)).unwrap(),
                    _ => block_on(settle.nack(Duration::from_micros(random.below(300)))).unwrap(),
                }
                continue;
            }
            *self.handled.lock().unwrap().entry(envelope.id.to_string()).or_default() += 1;
            let mut handled = self.subscriptions[subscription].lock().unwrap();
            handled.out.remove(key);
            handled.next.insert(key.into(), number + 1);
            drop(handled);
            match choice {
                3 => block_on(settle.reject("poison".into())).unwrap(),
                _ => block_on(settle.ack()).unwrap(),
            }
        }
    }

    fn begin(&self, subscription: usize, key: &str, number: u64) {
        let mut handled = self.subscriptions[subscription].lock().unwrap();
        assert!(handled.out.insert(key.into(), ()).is_none(), "two of {key} are out at once");
        assert_eq!(handled.next.get(key).copied().unwrap_or(0), number, "order of {key}");
    }
}

/// The machine's clock; whoever waits for it is woken by a thread.
struct Wall(Instant);

impl Timer for Wall {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep_until(&self, until: Duration) -> BoxFuture<'static, ()> {
        let until = self.0 + until;
        Box::pin(std::future::poll_fn(move |cx| {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            let waker = cx.waker().clone();
            std::thread::spawn(move || {
                std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
                waker.wake();
            });
            Poll::Pending
        }))
    }
}

#[test]
fn under_threads_nothing_is_lost_confirmed_early_or_reordered() {
    let seed = Random::seed();
    let bus = MemoryBus::with(Wall(Instant::now()), MemoryBusOptions::default().queue_bound(16));
    for name in ["one", "two"] {
        drop(block_on(bus.subscribe(interest(name, &["a.v1"], 1))).unwrap());
    }
    let run = Arc::new(Run {
        bus,
        subscriptions: Default::default(),
        handled: Mutex::default(),
        confirmed: AtomicUsize::new(0),
        seed,
    });
    let (publishers, count) = (3, 150);
    std::thread::scope(|scope| {
        let consumers: Vec<_> = (0..6)
            .map(|lane| {
                let run = &run;
                scope.spawn(move || run.consume(usize::try_from(lane % 2).unwrap(), lane))
            })
            .collect();
        let publishers: Vec<_> = (0..publishers)
            .map(|publisher| {
                let run = &run;
                scope.spawn(move || run.publish(publisher, count))
            })
            .collect();
        publishers.into_iter().for_each(|it| it.join().unwrap());
        block_on(run.bus.quiet());
        assert_eq!(run.bus.in_flight(), 0);
        block_on(run.bus.close(Duration::from_secs(10)));
        consumers.into_iter().for_each(|it| it.join().unwrap());
    });
    let all = usize::try_from(publishers * KEYS * count).unwrap();
    assert_eq!(run.confirmed.load(Ordering::SeqCst), all);
    assert!(run.handled.lock().unwrap().values().all(|subscriptions| *subscriptions == 2));
}
