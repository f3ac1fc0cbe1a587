//! What the conformance suite cannot see from outside: wake-ups, places in line, and hammering by threads, without a
//! runtime.

mod hammer;
mod rules;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::{MemoryBus, MemoryBusOptions};
use crate::integration::{Answer, Confirm, Deliveries, Delivery, Interest, Publication};
use crate::port::Timer;
use crate::{BoxFuture, Envelope, EventBus};

const SOURCE: &str = "https://example.com/ordering";
const WATCHDOG: Duration = Duration::from_secs(60);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs to the end; a wake-up that never comes is a failure.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let begun = Instant::now();
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park_timeout(WATCHDOG);
        assert!(begun.elapsed() < WATCHDOG, "nobody woke it");
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A future that is polled by hand, and tells whether it was woken.
struct Polled<'a, T> {
    future: BoxFuture<'a, T>,
    woken: Arc<Flag>,
}

impl<'a, T> Polled<'a, T> {
    fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self { future: Box::pin(future), woken: Arc::default() }
    }

    fn poll(&mut self) -> Option<T> {
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn was_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }
}

/// A clock that a test moves.
#[derive(Clone, Default)]
struct Clock(Arc<Mutex<(Duration, Vec<Waker>)>>);

impl Clock {
    fn advance(&self, by: Duration) {
        let mut clock = self.0.lock().unwrap();
        clock.0 += by;
        clock.1.drain(..).for_each(Waker::wake);
    }
}

impl Timer for Clock {
    fn now(&self) -> Duration {
        self.0.lock().unwrap().0
    }

    fn sleep_until(&self, until: Duration) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(std::future::poll_fn(move |cx| {
            let mut clock = clock.0.lock().unwrap();
            if clock.0 >= until {
                return Poll::Ready(());
            }
            clock.1.push(cx.waker().clone());
            Poll::Pending
        }))
    }
}

/// The answers, as they come.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Vec<(u64, Answer)>>>);

impl Answers {
    fn publication(&self, ticket: u64, envelope: Envelope) -> Publication {
        let told = self.clone();
        let confirm = Confirm::new(
            ticket,
            Arc::new(move |ticket, answer| told.0.lock().unwrap().push((ticket, answer))),
        );
        Publication { envelope: crate::port::read_back(envelope, SOURCE.into()), confirm }
    }

    fn take(&self) -> Vec<(u64, Answer)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn confirmed(&self) -> Vec<u64> {
        let taken = self.take();
        assert!(taken.iter().all(|(_, answer)| *answer == Answer::Confirmed), "{taken:?}");
        taken.into_iter().map(|(ticket, _)| ticket).collect()
    }
}

fn envelope(id: &str, key: &str) -> Envelope {
    Envelope { partitionkey: Some(key.into()), ..Envelope::new(id, SOURCE, "a.v1", b"{}".as_slice()) }
}

fn interest(subscription: &str, types: &[&str], prefetch: usize) -> Interest {
    let types = types.iter().map(ToString::to_string).collect();
    Interest { subscription: subscription.into(), types, prefetch }
}

fn subscribe(bus: &MemoryBus, subscription: &str) -> Box<dyn Deliveries> {
    block_on(bus.subscribe(interest(subscription, &["a.v1"], 100))).unwrap()
}

fn bus(queue_bound: usize) -> (MemoryBus, Clock) {
    let clock = Clock::default();
    (MemoryBus::with(clock.clone(), MemoryBusOptions::default().queue_bound(queue_bound)), clock)
}

/// What is there at once.
fn ready(consumer: &mut dyn Deliveries) -> Vec<Delivery> {
    Polled::new(consumer.next(100)).poll().map(Result::unwrap).unwrap_or_default()
}

fn ids(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| delivery.envelope.id.to_string()).collect()
}

fn ack_all(deliveries: Vec<Delivery>) {
    deliveries.into_iter().for_each(|delivery| block_on(delivery.settle.ack()).unwrap());
}
