//! The loop: reports in, the state machine's outputs out, each to a task.
//!
//! It awaits nothing but the next report, so that no slow bus, store or subscriber stops it.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use factum::integration::{Deliveries, Delivery, Interest};
use factum::port::{InboxStore, Timer, Waiting};
use factum::protocol::subscription::{Ending, Input, Lanes, Output};
use factum::{BoxError, EventBus, Store};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::attempt::{Batch, Desk, caught, flat};
use super::hand::{self, Hand, How};
use super::{Receiver, ReceiverOptions};
use crate::TokioTimer;

/// How long the end waits for the bus's answers to the last settling, and for tasks that were let go of.
const LAST_WORDS: Duration = Duration::from_secs(5);

type Consumer = Box<dyn Deliveries>;

/// What a task has to report.
enum Report {
    Fetched(Result<(Consumer, Vec<Delivery>), BoxError>),
    Looked(Result<(bool, Vec<Waiting>), BoxError>),
    Ended { batch: u64, ending: Ending },
    GaveUp { token: u64, kept: bool },
}

pub(super) struct Drive<S: Store> {
    desk: Arc<Desk<S>>,
    bus: Arc<dyn EventBus>,
    interest: Interest,
    options: ReceiverOptions,
    timer: TokioTimer,
    lanes: Lanes,
    hand: Hand,
    consumer: Option<Consumer>,
    running: HashMap<u64, AbortHandle>,
    tasks: JoinSet<Report>,
    settling: JoinSet<()>,
    done: bool,
}

impl<S: Store + InboxStore> Drive<S> {
    pub(super) fn new(receiver: Receiver<S>) -> Self {
        let Receiver { work, subscription, bus, mut options, counters } = receiver;
        options.lanes = options.lanes.on_a_bus_that(bus.capabilities());
        options.lanes.policy = subscription.policy();
        let interest = Interest {
            subscription: subscription.name().into(),
            types: subscription.types().into_iter().map(Into::into).collect(),
            prefetch: options.lanes.prefetch,
        };
        let seed = RandomState::new().hash_one(subscription.name());
        let (deadline, attempts) = (options.deadline, options.lanes.attempts);
        Self {
            desk: Arc::new(Desk { work, subscription, counters, deadline, attempts }),
            bus,
            interest,
            lanes: Lanes::new(options.lanes.clone(), seed),
            options,
            timer: TokioTimer::new(),
            hand: Hand::default(),
            consumer: None,
            running: HashMap::new(),
            tasks: JoinSet::new(),
            settling: JoinSet::new(),
            done: false,
        }
    }

    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        tracing::info!(subscription = self.desk.name(), types = ?self.interest.types, "receiving");
        let mut shutdown = pin!(shutdown);
        let mut asked_to_end = false;
        // A day and more are the same, and cannot overflow.
        let every = self.options.progress.min(Duration::from_secs(86_400));
        let mut progress = interval_at(Instant::now() + every, every);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.tell(Input::Tick);
        while !self.done {
            let next = self.next_tick();
            tokio::select! {
                Some(report) = self.tasks.join_next() => {
                    if let Ok(report) = report {
                        self.hear(report);
                    }
                }
                () = next => self.tell(Input::Tick),
                () = &mut shutdown, if !asked_to_end => {
                    asked_to_end = true;
                    self.tell(Input::Shutdown);
                }
                _ = progress.tick() => self.report_progress(),
                Some(_) = self.settling.join_next() => {}
            }
        }
        self.end().await;
    }

    fn next_tick(&self) -> impl Future<Output = ()> + Send + 'static {
        let until = self.lanes.wait_until().map(|until| self.timer.sleep_until(until));
        async move {
            match until {
                Some(sleep) => sleep.await,
                None => std::future::pending().await,
            }
        }
    }

    async fn end(mut self) {
        let name = self.desk.name().to_owned();
        let settled = timeout(LAST_WORDS, async { while self.settling.join_next().await.is_some() {} }).await;
        let ended = timeout(LAST_WORDS, self.tasks.shutdown()).await;
        if settled.is_err() || ended.is_err() {
            tracing::warn!(
                subscription = name,
                "the end did not wait for all answers; what lacks one comes again"
            );
        }
        tracing::info!(subscription = name, "receiving has ended");
    }

    fn hear(&mut self, report: Report) {
        let input = match report {
            Report::Fetched(Ok((_, deliveries))) if deliveries.is_empty() => {
                tracing::info!(subscription = self.desk.name(), "the bus has closed");
                Input::Shutdown
            }
            Report::Fetched(Ok((consumer, deliveries))) => {
                self.consumer = Some(consumer);
                Input::Arrived(
                    deliveries.into_iter().map(|delivery| self.hand.take_delivery(delivery)).collect(),
                )
            }
            Report::Fetched(Err(error)) => {
                tracing::warn!(subscription = self.desk.name(), %error, "the bus cannot be reached; subscribing again");
                Input::FetchFailed
            }
            Report::Looked(Ok((halted, waiting))) => {
                let released = waiting.into_iter().map(|waiting| self.hand.take_released(waiting)).collect();
                self.note_halt(halted);
                Input::Looked { halted, released }
            }
            Report::Looked(Err(error)) => {
                tracing::warn!(subscription = self.desk.name(), %error, "the store cannot be looked into");
                Input::LookFailed
            }
            Report::Ended { batch, ending } => {
                self.running.remove(&batch);
                Input::Ended { batch, ending }
            }
            Report::GaveUp { token, kept } => Input::GaveUp { token, kept },
        };
        self.tell(input);
    }

    fn note_halt(&self, halted: bool) {
        let subscription = self.desk.name();
        match (self.lanes.is_halted(), halted) {
            (false, true) => tracing::error!(
                subscription,
                "halted by a dead letter, until a person requeues or discards it"
            ),
            (true, false) => tracing::info!(subscription, "resumed"),
            _ => {}
        }
    }

    fn tell(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.lanes.handle(self.timer.now(), input, &mut outputs);
        let mut settling = Vec::new();
        for output in outputs {
            match output {
                Output::Fetch { room } => self.fetch(room),
                Output::Look { room } => self.look(room),
                Output::Try { batch, tokens, count_before, released } => {
                    self.attempt(batch, &tokens, count_before, released);
                }
                Output::Abort { batch } => drop(self.running.remove(&batch).map(|task| task.abort())),
                Output::Ack(tokens) => {
                    settling.extend(tokens.into_iter().filter_map(|token| self.hand.let_go(token, How::Ack)));
                }
                Output::Nack { token, after } => settling.extend(self.hand.let_go(token, How::Nack(after))),
                Output::GiveUp { token, attempts, reason } => self.give_up(token, attempts, reason),
                Output::Reject { token, reason } => {
                    settling.extend(self.hand.let_go(token, How::Reject(reason)))
                }
                Output::Done => self.done = true,
            }
        }
        if !settling.is_empty() {
            self.settling.spawn(hand::settle(settling));
        }
    }

    fn fetch(&mut self, room: usize) {
        let (bus, interest, consumer) = (Arc::clone(&self.bus), self.interest.clone(), self.consumer.take());
        self.tasks.spawn(async move {
            let fetching = async {
                let mut consumer = match consumer {
                    Some(consumer) => consumer,
                    None => bus.subscribe(interest).await?,
                };
                let deliveries = consumer.next(room).await?;
                Ok((consumer, deliveries))
            };
            Report::Fetched(flat(caught(fetching).await))
        });
    }

    fn look(&mut self, room: usize) {
        let desk = Arc::clone(&self.desk);
        self.tasks.spawn(async move { Report::Looked(desk.look(room).await) });
    }

    fn attempt(&mut self, batch: u64, tokens: &[u64], count_before: bool, released: bool) {
        let envelopes = tokens.iter().filter_map(|token| self.hand.envelope(*token)).collect();
        let (desk, what) = (Arc::clone(&self.desk), Batch { envelopes, count_before, released });
        let task = self.tasks.spawn(async move { Report::Ended { batch, ending: desk.attempt(what).await } });
        self.running.insert(batch, task);
    }

    fn give_up(&mut self, token: u64, attempts: u32, reason: String) {
        let Some(envelope) = self.hand.envelope(token) else { return };
        let desk = Arc::clone(&self.desk);
        self.tasks.spawn(async move {
            Report::GaveUp { token, kept: desk.give_up(envelope, attempts, reason).await }
        });
    }

    fn report_progress(&mut self) {
        let progress = self.hand.progress();
        let patience = self.options.progress;
        self.settling.spawn(async move { drop(timeout(patience, progress).await) });
    }
}
