//! What tools look at, and what a person may do about it.

use factum::integration::{Backlog, DeadLetter, Inspect, Side};
use factum::port::Access;
use factum::{BoxError, BoxFuture, EventId, Timestamp};
use sqlx::Row as _;
use sqlx::mysql::MySqlConnection;

use crate::pool::Held;
use crate::texts::Texts;
use crate::{MySql, dead_letters};

/// What waits on the relay's side stays in the outbox, behind a dead letter of its key, or of any key if that halts.
pub(crate) const BACKLOG: &str = "SELECT
    (SELECT count(*) FROM {p}outbox),
    (SELECT count(*) FROM {p}outbox AS o WHERE EXISTS (
        SELECT 1 FROM {p}dead_letter AS d WHERE d.side = ':relay'
        AND (d.holds = 2 OR d.holds = 1 AND d.source = o.source AND d.ordering_key = coalesce(o.partitionkey, o.id)))),
    (SELECT min(time) FROM {p}outbox),
    (SELECT count(*) FROM {p}inbox),
    (SELECT count(*) FROM {p}dead_letter WHERE state = 'dead'),
    (SELECT count(*) FROM {p}dead_letter WHERE state <> 'dead')";

pub(crate) const TURN_OVER: &str = "UPDATE {p}meta SET number = number + 1 WHERE name = 'generation'";

async fn backlog(texts: &Texts, db: &mut MySqlConnection) -> Result<Backlog, BoxError> {
    let row = texts.backlog.query().fetch_one(db).await?;
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

impl MySql {
    /// What was held back, or was not there, may have appeared anywhere: readers learn of it by the generation.
    async fn acted(&self, mut held: Held, found: bool) -> Result<bool, BoxError> {
        if found {
            let (texts, db) = held.parts()?;
            texts.turn_over.query().execute(db).await?;
        }
        self.finish(held).await?;
        if found {
            self.wake();
        }
        Ok(found)
    }
}

impl Inspect for MySql {
    fn backlog<'a>(&'a self) -> BoxFuture<'a, Result<Backlog, BoxError>> {
        Box::pin(self.in_time(async move {
            let mut held = self.shared.own.take().await?;
            let (texts, db) = held.parts()?;
            let backlog = backlog(texts, db).await?;
            held.give_back();
            Ok(backlog)
        }))
    }

    fn dead_letters<'a>(&'a self, most: usize) -> BoxFuture<'a, Result<Vec<DeadLetter>, BoxError>> {
        Box::pin(self.in_time(async move {
            let mut held = self.shared.own.take().await?;
            let (texts, db) = held.parts()?;
            let oldest =
                dead_letters::oldest(texts, db, self.incarnation().unwrap_or_default(), most).await?;
            held.give_back();
            Ok(oldest)
        }))
    }

    fn requeue<'a>(
        &'a self,
        side: &'a Side,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<bool, BoxError>> {
        Box::pin(self.in_time(async move {
            let mut held = self.shared.own.begin(Access::Write).await?;
            let (texts, db) = held.parts()?;
            let found = match side {
                Side::Relay => dead_letters::put_back(texts, db, source, id).await?,
                Side::Subscription(name) => dead_letters::release(texts, db, name, source, id).await?,
            };
            self.acted(held, found).await
        }))
    }

    fn discard<'a>(
        &'a self,
        side: &'a Side,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<bool, BoxError>> {
        Box::pin(self.in_time(async move {
            let mut held = self.shared.own.begin(Access::Write).await?;
            let (texts, db) = held.parts()?;
            let side = dead_letters::side_name(side);
            let found = dead_letters::remove(texts, db, side, source, id, "dead").await?;
            self.acted(held, found).await
        }))
    }
}
