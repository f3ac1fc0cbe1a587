//! Opens units of work, and repeats the ones that lost a race.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::{Context, Limits, UnitOfWork};
use crate::integration::Source;
use crate::port::{Access, Ids, Observer, Store, SystemIds};
use crate::{BoxError, Changes, Committed, Dispatcher, Error, Sort};

/// Opens units of work: a store, the handlers that react in it, and in whose name they announce. Cheap to clone.
pub struct Work<S: Store> {
    pub(super) store: S,
    pub(super) dispatcher: Arc<Dispatcher<S>>,
    pub(super) ids: Arc<dyn Ids>,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) context: Context,
    pub(super) limits: Limits,
}

impl<S: Store> Clone for Work<S> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            dispatcher: Arc::clone(&self.dispatcher),
            ids: Arc::clone(&self.ids),
            observer: self.observer.clone(),
            context: self.context.clone(),
            limits: self.limits,
        }
    }
}

impl<S: Store> Work<S> {
    /// `source` is the service's absolute URI, the CloudEvents `source` of all that it announces.
    pub fn new(source: impl Into<Source>, store: S, dispatcher: Dispatcher<S>) -> Self {
        Self {
            store,
            dispatcher: Arc::new(dispatcher),
            ids: Arc::new(SystemIds),
            observer: None,
            context: Context::of(source),
            limits: Limits::default(),
        }
    }

    /// Changes what a unit of work may use up.
    #[must_use]
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// The same, in another conversation, trace or tenant.
    #[must_use]
    pub fn with(&self, context: Context) -> Self {
        Self { context, ..self.clone() }
    }

    /// The same, with ids and times from elsewhere.
    #[must_use]
    pub fn ids(mut self, ids: impl Ids + 'static) -> Self {
        self.ids = Arc::new(ids);
        self
    }

    /// The same, and somebody looks on.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// In whose name it announces, and in which conversation.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Where it stores.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Who reacts to what.
    pub fn dispatcher(&self) -> &Dispatcher<S> {
        &self.dispatcher
    }

    /// Begins a unit of work that its owner saves.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn begin(&self) -> Result<UnitOfWork<S>, Error> {
        UnitOfWork::begin(self, Access::Write).await
    }

    /// Begins a unit of work that only reads: it sees one snapshot and waits for no writer.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn read(&self) -> Result<UnitOfWork<S>, Error> {
        UnitOfWork::begin(self, Access::Read).await
    }

    /// Runs `body` in one unit of work: saved on `Ok`, rolled back on `Err`.
    ///
    /// A conflict or a transient failure of the store starts a clone of `body` over in a fresh unit of work, up to
    /// [`Limits::attempts`] times (unless the store has waited for others as long as it was told to): what it and the handlers did was rolled back. So it may borrow what it captures, or
    /// consume what can be cloned, but not change it, for no rollback would undo that; and it calls nothing outside.
    ///
    /// # Errors
    /// What `body` answered, or the [`Error`] of the last attempt, boxed. An unknown outcome is never run again.
    pub async fn run<T>(
        &self,
        body: impl AsyncFnOnce(&mut UnitOfWork<S>) -> Result<T, BoxError> + Clone,
    ) -> Result<Committed<T>, BoxError> {
        Ok(self.run_with_changes(body).await?.map(|(value, _)| value))
    }

    /// [`run`](Self::run), which also says what was committed.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub async fn run_with_changes<T>(
        &self,
        body: impl AsyncFnOnce(&mut UnitOfWork<S>) -> Result<T, BoxError> + Clone,
    ) -> Result<Committed<(T, Changes)>, BoxError> {
        let mut attempt = 1;
        loop {
            match self.run_once(body.clone()).await {
                Err(error) if self.is_worth_another_run(attempt, &*error) => {
                    self.pause_after(attempt).await;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    async fn run_once<T>(
        &self,
        body: impl AsyncFnOnce(&mut UnitOfWork<S>) -> Result<T, BoxError>,
    ) -> Result<Committed<(T, Changes)>, BoxError> {
        let mut uow = self.begin().await?;
        let id = uow.lend();
        let answer = body(&mut uow).await;
        uow.returned(id, || "the body of `run`")?;
        match answer {
            Ok(value) => Ok(uow.save_changes().await?.map(|changes| (value, changes))),
            Err(error) => {
                uow.roll_back().await;
                Err(error)
            }
        }
    }

    pub(super) fn is_worth_another_run(
        &self,
        attempt: u32,
        error: &(dyn std::error::Error + 'static),
    ) -> bool {
        let has_waited = std::iter::successors(Some(error), |error| error.source()).any(S::has_waited);
        attempt < self.limits.attempts && !has_waited && Sort::of::<S>(error).is_worth_another_run()
    }

    /// A random part of a pause that doubles, so that the losers of a race do not meet again.
    pub(super) async fn pause_after(&self, attempt: u32) {
        let longest = self.limits.backoff * (1 << (attempt - 1).min(10));
        let share = RandomState::new().hash_one(attempt) as f64 / u64::MAX as f64;
        self.store.pause(Duration::mul_f64(longest, share)).await;
    }
}

impl<S: Store> std::fmt::Debug for Work<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work")
            .field("context", &self.context)
            .field("dispatcher", &self.dispatcher)
            .finish_non_exhaustive()
    }
}
