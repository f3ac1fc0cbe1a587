//! What tools look at, and what a person may do about it.

use factum::integration::{Backlog, DeadLetter, Inspect, Side};
use factum::{BoxError, BoxFuture, EventId};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::error::Error;
use crate::rows::Moment;
use crate::{Postgres, dead_letters};

/// What waits on the relay's side stays in the outbox, behind a dead letter of its key, or of any key if that halts.
pub(crate) const BACKLOG: &str = "SELECT
    (SELECT count(*) FROM {prefix}outbox),
    (SELECT count(*) FROM {prefix}outbox AS o WHERE
        EXISTS (SELECT 1 FROM {prefix}dead_letter AS d WHERE d.side = ':relay' AND d.holds = 2)
        OR (o.source, coalesce(o.partitionkey, o.id)) IN
            (SELECT d.source, d.ordering_key FROM {prefix}dead_letter AS d WHERE d.side = ':relay' AND d.holds = 1)),
    (SELECT min(time) FROM {prefix}outbox),
    (SELECT count(*) FROM {prefix}inbox),
    (SELECT count(*) FROM {prefix}dead_letter WHERE state = 'dead'),
    (SELECT count(*) FROM {prefix}dead_letter WHERE state <> 'dead')";

fn backlog(row: &PgRow) -> Result<Backlog, Error> {
    let count = |at: usize| row.try_get::<i64, _>(at).map(i64::unsigned_abs);
    let mut backlog = Backlog::default();
    backlog.outbox = count(0)?;
    backlog.outbox_parked = count(1)?;
    backlog.oldest = row.try_get_unchecked::<Option<Moment>, _>(2)?.map(Into::into);
    backlog.inbox = count(3)?;
    backlog.dead_letters = count(4)?;
    backlog.parked = count(5)? + backlog.outbox_parked;
    Ok(backlog)
}

impl Postgres {
    /// What was held back, or was not there, may have appeared anywhere: readers learn of it by the generation.
    async fn acted(&self, mut held: crate::session::Held, found: bool) -> Result<bool, BoxError> {
        if found {
            let texts = &self.shared.texts;
            texts.query(&texts.generation).execute(held.connection()).await?;
        }
        held.finish().await?;
        if found {
            self.shared.announced();
        }
        Ok(found)
    }
}

impl Inspect for Postgres {
    fn backlog<'a>(&'a self) -> BoxFuture<'a, Result<Backlog, BoxError>> {
        Box::pin(async move {
            let texts = &self.shared.texts;
            let rows = self.shared.sessions.fetch(&texts.begin_own, texts.query(&texts.backlog)).await?;
            Ok(backlog(rows.first().ok_or(sqlx::Error::RowNotFound)?)?)
        })
    }

    fn dead_letters<'a>(&'a self, most: usize) -> BoxFuture<'a, Result<Vec<DeadLetter>, BoxError>> {
        Box::pin(async move {
            let texts = &self.shared.texts;
            let query = texts.query(&texts.oldest).bind(i64::try_from(most).unwrap_or(i64::MAX));
            let rows = self.shared.sessions.fetch(&texts.begin_own, query).await?;
            Ok(dead_letters::dead_letters(&rows)?)
        })
    }

    fn requeue<'a>(
        &'a self,
        side: &'a Side,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<bool, BoxError>> {
        Box::pin(async move {
            let texts = &self.shared.texts;
            let mut held = self.own().await?;
            let db = held.connection();
            let found = match side {
                Side::Relay => dead_letters::put_back(texts, db, source, id).await?,
                Side::Subscription(name) => dead_letters::release(texts, db, name, source, id).await?,
            };
            self.acted(held, found).await
        })
    }

    fn discard<'a>(
        &'a self,
        side: &'a Side,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<bool, BoxError>> {
        Box::pin(async move {
            let mut held = self.own().await?;
            let side = dead_letters::side_name(side);
            let db = held.connection();
            let found = dead_letters::remove(&self.shared.texts, db, side, source, id, "dead").await?;
            self.acted(held, found).await
        })
    }
}
