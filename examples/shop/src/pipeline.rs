//! The four services at work, and how far what they do has come.

use std::time::Duration;

use factum::integration::Backlog;
use factum::memory::MemoryBus;
use factum_runtime::{Counts, Running};

use crate::Failure;
use crate::service::{Service, ServiceStore};

/// How often somebody who waits looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A service at work.
struct Member<S: ServiceStore> {
    name: &'static str,
    store: S,
    running: Running<S>,
}

/// The four services at work. The last one is where every order ends.
pub struct Pipeline<S: ServiceStore> {
    bus: MemoryBus,
    members: Vec<Member<S>>,
    closed_before: u64,
}

/// What the subscriptions have done in this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Deliveries whose effects were committed.
    pub handled: u64,
    /// Redeliveries that an inbox absorbed.
    pub absorbed: u64,
    /// Domain events that were dispatched.
    pub dispatched: u64,
    /// Deliveries that were given up or put behind one that was.
    pub stuck: u64,
}

impl<S: ServiceStore> Pipeline<S> {
    /// Starts services that the bus knows already.
    ///
    /// # Errors
    ///
    /// A store, or the bus.
    pub(crate) async fn start(services: [Service<S>; 4], bus: MemoryBus) -> Result<Self, Failure> {
        let mut members = Vec::with_capacity(services.len());
        for service in services {
            let (name, store) = (service.name, service.work.store().clone());
            let running = service.start(&bus).await.map_err(Failure::of(name))?;
            members.push(Member { name, store, running });
        }
        let closed_before = backlog(&members[3]).await?.inbox;
        Ok(Self { bus, members, closed_before })
    }

    /// Orders that are closed: all end in insight, whose inbox has a row for each.
    pub fn closed(&self) -> u64 {
        self.closed_before + self.closed_now()
    }

    /// Orders that were closed in this run.
    pub fn closed_now(&self) -> u64 {
        counts(&self.members[3]).handled
    }

    /// What the subscriptions have done in this run.
    pub fn done(&self) -> Done {
        let mut done = Done::default();
        for counts in self.members.iter().map(counts) {
            done.handled += counts.handled;
            done.absorbed += counts.duplicates;
            done.dispatched += counts.dispatched;
            done.stuck += counts.dead_letters + counts.parked;
        }
        done
    }

    /// Waits until nothing is on its way: every outbox is empty but for what is parked, the bus carries nothing,
    /// and nothing was handled between two looks. `look` is called now and then.
    ///
    /// # Errors
    ///
    /// A store.
    pub async fn quiet(&self, mut look: impl FnMut()) -> Result<(), Failure> {
        let mut last = None;
        loop {
            let now = self.done();
            let empty = self.bus.in_flight() == 0 && self.outboxes_are_empty().await?;
            if empty && last == Some(now) {
                return Ok(());
            }
            last = empty.then_some(now);
            look();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn outboxes_are_empty(&self) -> Result<bool, Failure> {
        for member in &self.members {
            let backlog = backlog(member).await?;
            if backlog.outbox > backlog.outbox_parked {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Finishes what is in hand, and ends.
    ///
    /// # Errors
    ///
    /// What ended one of the services before.
    pub async fn stop(self) -> Result<(), Failure> {
        for Member { name, running, .. } in self.members {
            running.stop().await.map_err(Failure::of(name))?;
        }
        Ok(())
    }
}

fn counts<S: ServiceStore>(member: &Member<S>) -> Counts {
    member.running.counters().read()
}

async fn backlog<S: ServiceStore>(member: &Member<S>) -> Result<Backlog, Failure> {
    member.store.backlog().await.map_err(Failure::of(member.name))
}
