//! The loop: whatever is ready goes into the machine, and what it asks for is begun.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use factum::integration::Inspect;
use factum::port::{Asked as Leases, Found, Lease, Leased, OutboxStore, Read, Settlement};
use factum::protocol::relay::{Input, Output, Relay as Machine, Report};
use factum::{BoxError, BoxFuture};
use tokio::time::{Instant, Sleep, sleep_until};

use super::metrics::RelayMetrics;
use super::publishing::Publishing;
use super::{Relay, RelayStats};

/// Something asked of the store, if anything is.
type Asked<T> = Option<BoxFuture<'static, Result<T, BoxError>>>;

pub(super) struct Driver {
    machine: Machine,
    store: Arc<dyn OutboxStore>,
    owner: Arc<str>,
    began: Instant,
    publishing: Publishing,
    stats: RelayStats,
    metrics: Option<Arc<dyn RelayMetrics>>,
    watch: Option<Watch>,
    leasing: Asked<Leased>,
    reading: Asked<Found>,
    settling: Asked<usize>,
    cleaning: Asked<bool>,
    releasing: Asked<()>,
    outputs: Vec<Output>,
    done: bool,
}

/// What was ready first.
enum Ready {
    Input(Input),
    Found(Found),
}

impl Driver {
    pub(super) fn new(relay: Relay, owner: Arc<str>) -> Self {
        let deadline = relay.options.publish_deadline;
        Self {
            machine: Machine::new(relay.options),
            store: relay.store,
            owner,
            began: Instant::now(),
            publishing: Publishing::new(relay.bus, deadline, relay.metrics.clone()),
            stats: relay.stats,
            watch: relay.metrics.clone().zip(relay.inspect).map(Watch::new),
            metrics: relay.metrics,
            leasing: None,
            reading: None,
            settling: None,
            cleaning: None,
            releasing: None,
            outputs: Vec::new(),
            done: false,
        }
    }

    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let store = Arc::clone(&self.store);
        let mut hint = store.hint();
        let mut shutdown = std::pin::pin!(shutdown);
        let mut ending = false;
        let mut timer = std::pin::pin!(sleep_until(self.began));
        let mut watching = std::pin::pin!(watch(self.watch.take()));
        self.take(Ready::Input(Input::Tick));
        while !self.done {
            let timed = self.set(timer.as_mut());
            let ready = tokio::select! {
                () = &mut shutdown, if !ending => {
                    ending = true;
                    Ready::Input(Input::Shutdown)
                }
                ready = self.ready() => ready,
                () = &mut hint => {
                    hint = store.hint();
                    Ready::Input(Input::Hint)
                }
                () = &mut watching => continue,
                () = timer.as_mut(), if timed => Ready::Input(Input::Tick),
            };
            self.take(ready);
        }
    }

    /// Sets the timer to when the machine wants to be asked; `false` where it waits for something else.
    fn set(&self, timer: std::pin::Pin<&mut Sleep>) -> bool {
        let wake_at = self.machine.wake_at();
        let Some(at) = self.began.checked_add(wake_at).filter(|_| wake_at != Duration::MAX) else {
            return false;
        };
        if timer.deadline() != at {
            timer.reset(at);
        }
        true
    }

    /// Whatever the store or the bus have to say next. Dropped half-way it loses nothing.
    async fn ready(&mut self) -> Ready {
        let Self { publishing, leasing, reading, settling, cleaning, releasing, .. } = self;
        let input = tokio::select! {
            answer = answer(leasing) => match answer {
                Ok(leases) => Input::Leased(leases),
                Err(error) => failed("lease", &error, Input::LeaseFailed),
            },
            answer = answer(settling) => match answer {
                Ok(changed) => Input::Settled(changed),
                Err(error) => failed("settle", &error, Input::SettleFailed),
            },
            answer = answer(reading) => match answer {
                Ok(found) => return Ready::Found(found),
                Err(error) => failed("read", &error, Input::ReadFailed),
            },
            answer = answer(cleaning) => match answer {
                Ok(more) => Input::CleanedUp(more),
                Err(error) => failed("clean up", &error, Input::CleanedUp(false)),
            },
            answer = answer(releasing) => match answer {
                Ok(()) => Input::Released,
                Err(error) => failed("release", &error, Input::Released),
            },
            heard = publishing.next() => heard,
        };
        Ready::Input(input)
    }

    fn take(&mut self, ready: Ready) {
        let input = match ready {
            Ready::Found(Found { rows, floor, generation }) => {
                Input::Found { rows: self.publishing.keep(rows), floor, generation }
            }
            Ready::Input(input) => input,
        };
        match &input {
            Input::Answered(answers) => self.stats.answered(answers),
            Input::Settled(rows) => {
                self.stats.settled(*rows);
                self.metrics.iter().for_each(|metrics| metrics.settled(*rows));
            }
            _ => {}
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        self.machine.on(self.began.elapsed(), input, &mut outputs);
        outputs.drain(..).for_each(|output| self.carry_out(output));
        self.outputs = outputs;
        self.stats.keeps(self.publishing.kept());
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Lease(asked) => self.lease(asked),
            Output::Read(read) => self.read(read),
            Output::Publish(batch) => {
                let envelopes = self.publishing.begin(batch);
                self.stats.published(envelopes);
            }
            Output::Forget(seqs) => self.publishing.forget(&seqs),
            Output::Settle(leases, settlement) => self.settle(leases, settlement),
            Output::CleanUp => self.clean_up(),
            Output::Release => self.release(),
            Output::Report(report) => {
                self.stats.reported(&report);
                self.measure(&report);
                tell(&report);
            }
            Output::Done => self.done = true,
        }
    }

    fn measure(&self, report: &Report) {
        let Some(metrics) = &self.metrics else { return };
        match report {
            Report::Shared { relays, buckets } => metrics.leases(*buckets, *relays),
            Report::LeasesLost(_) => {
                let now = self.stats.now();
                metrics.leases(now.buckets as usize, now.relays as usize);
            }
            Report::Refused { attempts, .. } => metrics.refused(*attempts),
            Report::GivenUp { r#type, policy, .. } => metrics.given_up(r#type, *policy),
            _ => {}
        }
    }

    fn lease(&mut self, asked: Leases) {
        let (store, owner) = (Arc::clone(&self.store), Arc::clone(&self.owner));
        self.leasing = Some(Box::pin(async move { store.lease(&owner, asked).await }));
    }

    fn clean_up(&mut self) {
        let store = Arc::clone(&self.store);
        self.cleaning = Some(Box::pin(async move { store.clean_up().await }));
    }

    fn read(&mut self, read: Read) {
        let store = Arc::clone(&self.store);
        self.reading = Some(Box::pin(async move { store.read(read).await }));
    }

    fn settle(&mut self, leases: Vec<Lease>, settlement: Settlement) {
        let (store, owner) = (Arc::clone(&self.store), Arc::clone(&self.owner));
        self.settling = Some(Box::pin(async move { store.settle(&owner, &leases, &settlement).await }));
    }

    fn release(&mut self) {
        let (store, owner) = (Arc::clone(&self.store), Arc::clone(&self.owner));
        // What is still on its way must not come after the release, and take the leases again.
        (self.leasing, self.reading, self.settling, self.cleaning) = (None, None, None, None);
        self.releasing = Some(Box::pin(async move { store.release(&owner).await }));
    }
}

/// Asks the store what waits there, for the metrics.
struct Watch {
    metrics: Arc<dyn RelayMetrics>,
    store: Arc<dyn Inspect>,
    every: Duration,
}

impl Watch {
    fn new((metrics, (store, every)): (Arc<dyn RelayMetrics>, (Arc<dyn Inspect>, Duration))) -> Self {
        Self { metrics, store, every: every.max(Duration::from_millis(100)) }
    }

    async fn run(self) {
        let mut every = tokio::time::interval(self.every);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            match self.store.backlog().await {
                Ok(backlog) => self.metrics.backlog(&backlog),
                Err(error) => tracing::warn!(%error, "the store does not tell what waits"),
            }
        }
    }
}

/// Never ends.
async fn watch(watch: Option<Watch>) {
    match watch {
        Some(watch) => watch.run().await,
        None => pending().await,
    }
}

/// The store's answer to what it was asked; never, where it was asked nothing.
async fn answer<T>(asked: &mut Asked<T>) -> Result<T, BoxError> {
    let Some(future) = asked else { return pending().await };
    let answer = future.await;
    *asked = None;
    answer
}

fn failed(what: &str, error: &BoxError, input: Input) -> Input {
    tracing::warn!(%error, "the store failed on {what}; it will be asked again");
    input
}

fn tell(report: &Report) {
    match report {
        Report::Unroutable(r#type) => {
            tracing::warn!(r#type, "nobody takes this type yet; its envelopes wait in the outbox");
        }
        Report::Refused { seq, attempts, reason } => {
            tracing::warn!(seq, attempts, reason, "the bus refused an envelope; it will be tried again");
        }
        Report::GivenUp { seq, r#type, policy, reason } => {
            tracing::error!(seq, r#type, ?policy, reason, "an envelope was given up: a person has to decide");
        }
        Report::Unreachable(reason) => {
            tracing::warn!(reason, "the bus does not answer; envelopes wait in the outbox")
        }
        Report::Shared { relays, buckets } => tracing::info!(relays, buckets, "buckets are shared out anew"),
        Report::LeasesLost(buckets) => tracing::warn!(buckets, "leases ran out or were taken over"),
        Report::TooManyKeys => {
            tracing::warn!("too many keys are in trouble at once; reading waits for some of them")
        }
        other => tracing::warn!(report = ?other, "relay"),
    }
}
