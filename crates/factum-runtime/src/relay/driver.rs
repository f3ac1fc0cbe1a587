//! The loop: whatever is ready goes into the machine, and what it asks for is begun.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use factum::port::{Lease, OutboxRow, OutboxStore, Read, Settlement};
use factum::protocol::relay::{Input, Output, Relay as Machine, Report};
use factum::{BoxError, BoxFuture};
use tokio::time::{Instant, Sleep, sleep_until};

use super::publishing::Publishing;
use super::{Relay, RelayStats};

/// Something asked of the store, if anything is.
type Asked<T> = Option<BoxFuture<'static, Result<T, BoxError>>>;

pub(super) struct Driver {
    machine: Machine,
    store: Arc<dyn OutboxStore>,
    owner: Arc<str>,
    lease_for: Duration,
    began: Instant,
    publishing: Publishing,
    stats: RelayStats,
    leasing: Asked<Vec<Lease>>,
    reading: Asked<Vec<OutboxRow>>,
    settling: Asked<usize>,
    releasing: Asked<()>,
    outputs: Vec<Output>,
    done: bool,
}

/// What was ready first.
enum Ready {
    Input(Input),
    Rows(Vec<OutboxRow>),
}

impl Driver {
    pub(super) fn new(relay: Relay, owner: Arc<str>) -> Self {
        Self {
            lease_for: relay.options.lease,
            machine: Machine::new(relay.options),
            store: relay.store,
            owner,
            began: Instant::now(),
            publishing: Publishing::new(relay.bus),
            stats: relay.stats,
            leasing: None,
            reading: None,
            settling: None,
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
        let Self { publishing, leasing, reading, settling, releasing, .. } = self;
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
                Ok(rows) => return Ready::Rows(rows),
                Err(error) => failed("read", &error, Input::ReadFailed),
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
            Ready::Rows(rows) => Input::Rows(self.publishing.keep(rows)),
            Ready::Input(input) => input,
        };
        match &input {
            Input::Answered(answers) => self.stats.answered(answers),
            Input::Settled(rows) => self.stats.settled(*rows),
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
            Output::Lease => self.lease(),
            Output::Read(read) => self.read(read),
            Output::Publish(batch) => {
                let envelopes = self.publishing.begin(batch);
                self.stats.published(envelopes);
            }
            Output::Forget(seqs) => self.publishing.forget(&seqs),
            Output::Settle(leases, settlement) => self.settle(leases, settlement),
            Output::Release => self.release(),
            Output::Report(report) => tell(&report),
            Output::Done => self.done = true,
        }
    }

    fn lease(&mut self) {
        let (store, owner, duration) = (Arc::clone(&self.store), Arc::clone(&self.owner), self.lease_for);
        self.leasing = Some(Box::pin(async move { store.lease(&owner, duration).await }));
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
        (self.leasing, self.reading, self.settling) = (None, None, None);
        self.releasing = Some(Box::pin(async move { store.release(&owner).await }));
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
        Report::LeasesLost(buckets) => tracing::warn!(buckets, "leases ran out or were taken over"),
        Report::TooManyKeys => {
            tracing::warn!("too many keys are in trouble at once; reading waits for some of them")
        }
        other => tracing::warn!(report = ?other, "relay"),
    }
}
