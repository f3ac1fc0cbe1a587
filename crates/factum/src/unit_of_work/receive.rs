//! Deliveries: several in one unit of work, each with its inbox row, its effects and its further events.

use std::collections::HashSet;
use std::sync::Arc;

use super::announce::Cause;
use super::save::Progress;
use super::{UnitOfWork, Work};
use crate::port::{Claim, Claiming, HandledDelivery, Mark, Store};
use crate::{Envelope, Error, Subscription};

/// What a committed reception found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reception {
    /// Of each delivery, in the order given.
    pub claims: Vec<Claim>,
    /// Domain events dispatched.
    pub dispatched: usize,
}

impl<S: Store> Work<S> {
    /// Handles deliveries of a subscription in one transaction, in the order given: inbox rows first, then each one's
    /// effects and further events, then commit. All of it commits, or none; after an error, try each alone.
    ///
    /// They share one identity map, and no savepoint stands between them: a rollback to one would leave aggregates in
    /// memory that no longer match their rows. `released` says that they come from
    /// [`InboxStore::released`](crate::port::InboxStore::released).
    ///
    /// A lost race is run again, as in [`run`](Self::run).
    ///
    /// # Errors
    /// [`Error::Subscriber`] names the delivery that failed; any error of [`save_changes`](UnitOfWork::save_changes).
    pub async fn receive(
        &self,
        subscription: &Subscription<S>,
        envelopes: &[Arc<Envelope>],
        released: bool,
    ) -> Result<Reception, Error> {
        let mut attempt = 1;
        loop {
            match self.receive_once(subscription, envelopes, released).await {
                Err(error) if self.is_worth_another_run(attempt, &error) => {
                    self.pause_after(attempt).await;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    async fn receive_once(
        &self,
        subscription: &Subscription<S>,
        envelopes: &[Arc<Envelope>],
        released: bool,
    ) -> Result<Reception, Error> {
        let who = self.context.clone().who(format!("{} ({})", subscription.name(), self.context.source));
        let mut uow = self.with(who).begin().await?;
        let claiming = Claiming { subscription: subscription.name(), envelopes, released };
        match uow.handle(self, subscription, claiming).await {
            Ok((claims, progress)) => {
                let changes = uow.commit(progress).await?;
                Ok(Reception { claims, dispatched: changes.dispatched })
            }
            Err(error) => Err(uow.fail(error).await),
        }
    }
}

impl<S: Store> UnitOfWork<S> {
    async fn handle(
        &mut self,
        work: &Work<S>,
        subscription: &Subscription<S>,
        claiming: Claiming<'_>,
    ) -> Result<(Vec<Claim>, Progress), Error> {
        let mut claims = S::claim(&mut self.tx, claiming).await.map_err(Error::Store)?;
        once_each(claiming.envelopes, &mut claims);
        let claimed = claiming.envelopes.iter().zip(&claims);
        let first: Vec<_> = claimed.filter(|(_, claim)| **claim == Claim::First).map(|(of, _)| of).collect();
        subscription.preload(&first, self).await?;
        let mut progress = Progress::default();
        let mut marks = Vec::new();
        for (envelope, claim) in claiming.envelopes.iter().zip(&claims) {
            if let Some((_, saved)) = &mut self.watched {
                saved.received.push(HandledDelivery {
                    subscription: subscription.name().into(),
                    event: envelope.r#type.clone().into_owned(),
                    id: envelope.id.clone(),
                    claim: *claim,
                });
            }
            if *claim == Claim::First {
                self.handle_one(work, subscription, envelope, &mut progress).await?;
                mark(&mut marks, envelope);
            }
        }
        if subscription.projects() && !marks.is_empty() {
            S::checkpoint(&mut self.tx, subscription.name(), &marks).await.map_err(Error::Store)?;
        }
        let rest = self.prepare().await?;
        progress.dispatched += rest.dispatched;
        Ok((claims, progress))
    }

    async fn handle_one(
        &mut self,
        work: &Work<S>,
        subscription: &Subscription<S>,
        envelope: &Arc<Envelope>,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        self.context = work.context.caused_by(envelope);
        self.behind = self.tracker.has_unwritten();
        self.cause = Some(Cause::new(&work.context.source, subscription.name(), envelope));
        let id = self.lend();
        let outcome = subscription.receive(envelope, self).await;
        self.returned(id, || "a subscriber")?;
        let failed = |source| Error::Subscriber {
            subscription: subscription.name().into(),
            event: envelope.r#type.clone().into_owned(),
            id: envelope.id.to_string(),
            source,
        };
        outcome.map_err(failed)?;
        self.dispatch_until_quiet(progress).await.map_err(|error| failed(error.into()))
    }
}

/// Of an event that was given twice, the later copy is a duplicate.
fn once_each(envelopes: &[Arc<Envelope>], claims: &mut [Claim]) {
    let mut seen = HashSet::with_capacity(envelopes.len());
    for (envelope, claim) in envelopes.iter().zip(claims) {
        if !seen.insert((&*envelope.source, envelope.id.as_str())) && *claim == Claim::First {
            *claim = Claim::Duplicate;
        }
    }
}

/// Counts an event for its source.
fn mark(marks: &mut Vec<Mark>, envelope: &Envelope) {
    match marks.iter_mut().find(|mark| *mark.source == *envelope.source) {
        Some(mark) => {
            mark.events += 1;
            mark.last = envelope.id.clone();
        }
        None => {
            marks.push(Mark { source: envelope.source.as_str().into(), events: 1, last: envelope.id.clone() })
        }
    }
}
