//! What tools look at, and what a person may do about it.

use factum::integration::{Backlog, DeadLetter, Inspect, Side};
use factum::{BoxError, BoxFuture, EventId, Timestamp};
use sqlx::{Row as _, SqliteConnection};

use crate::error::Error;
use crate::session::Held;
use crate::{Sqlite, dead_letters};

/// What waits on the relay's side stays in the outbox, behind a dead letter of its key, or of any key if that halts.
const BACKLOG: &str = "SELECT
    (SELECT count(*) FROM factum_outbox),
    (SELECT count(*) FROM factum_outbox AS o WHERE EXISTS (
        SELECT 1 FROM factum_dead_letter AS d WHERE d.side = ':relay'
        AND (d.holds = 2 OR d.holds = 1 AND d.source = o.source AND d.ordering_key = coalesce(o.partitionkey, o.id)))),
    (SELECT min(time) FROM factum_outbox),
    (SELECT count(*) FROM factum_inbox),
    (SELECT count(*) FROM factum_dead_letter WHERE state = 'dead'),
    (SELECT count(*) FROM factum_dead_letter WHERE state <> 'dead')";

const TURN_OVER: &str = "UPDATE factum_meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'generation'";

async fn backlog(db: &mut SqliteConnection) -> Result<Backlog, Error> {
    let row = sqlx::query(BACKLOG).fetch_one(db).await?;
    let count = |at: usize| row.try_get::<i64, _>(at).map(i64::unsigned_abs);
    let mut backlog = Backlog::default();
    backlog.outbox = count(0)?;
    backlog.outbox_parked = count(1)?;
    backlog.oldest = row.try_get::<Option<i64>, _>(2)?.map(Timestamp::from_micros);
    backlog.inbox = count(3)?;
    backlog.dead_letters = count(4)?;
    backlog.parked = count(5)? + backlog.outbox_parked;
    Ok(backlog)
}

impl Sqlite {
    /// What was held back, or was not there, may have appeared anywhere: readers learn of it by the generation.
    async fn acted(&self, mut held: Held, found: bool) -> Result<bool, BoxError> {
        if found {
            sqlx::query(TURN_OVER).execute(held.connection()).await?;
        }
        Self::finish(held).await?;
        if found {
            self.wake();
        }
        Ok(found)
    }
}

impl Inspect for Sqlite {
    fn backlog<'a>(&'a self) -> BoxFuture<'a, Result<Backlog, BoxError>> {
        Box::pin(async move {
            let mut held = self.shared.own_reader.take().await?;
            Ok(backlog(held.connection()).await?)
        })
    }

    fn dead_letters<'a>(&'a self, most: usize) -> BoxFuture<'a, Result<Vec<DeadLetter>, BoxError>> {
        Box::pin(async move {
            let mut held = self.shared.own_reader.take().await?;
            Ok(dead_letters::oldest(held.connection(), &self.shared.incarnation, most).await?)
        })
    }

    fn requeue<'a>(
        &'a self,
        side: &'a Side,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<bool, BoxError>> {
        Box::pin(async move {
            let mut held = self.write("requeue a dead letter").await?;
            let db = held.connection();
            let found = match side {
                Side::Relay => dead_letters::put_back(db, source, id).await?,
                Side::Subscription(name) => dead_letters::release(db, name, source, id).await?,
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
            let mut held = self.write("discard a dead letter").await?;
            let side = dead_letters::side_name(side);
            let found = dead_letters::remove(held.connection(), side, source, id, "dead").await?;
            self.acted(held, found).await
        })
    }
}
