//! The inbox: what a subscription has handled, and how often it tried what it could not.

use std::sync::Arc;

use factum::integration::{DeadLetter, OnDeadLetter, Side};
use factum::port::{Claim, Claiming, InboxStore, Mark, Waiting};
use factum::{BoxError, BoxFuture, Envelope, EventId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::error::Error;
use crate::texts::{Query, Texts};
use crate::{Postgres, dead_letters};

/// What is new goes on unless it, or its key, is a dead letter.
pub(crate) const UNLESS_DEAD: &str = "NOT EXISTS (SELECT 1 FROM {prefix}dead_letter AS d WHERE d.side = $1
    AND d.source = new.source AND (d.id = new.id OR d.holds > 0 AND d.ordering_key = coalesce(new.partitionkey, new.id)))";

/// What was released may pass the dead letter that holds its key, as long as nobody has discarded it.
pub(crate) const IF_RELEASED: &str = "EXISTS (SELECT 1 FROM {prefix}dead_letter AS d WHERE d.side = $1
    AND d.source = new.source AND d.id = new.id AND d.state = 'released')";

/// One trip for the common case. Whatever is not answered was handled before, or is parked. Tries of what is claimed
/// need not be counted any more. In one order, so that two claims that meet wait for each other in one direction.
pub(crate) fn claim_text(which: &str) -> String {
    format!(
        "WITH new (source, id, partitionkey) AS (SELECT * FROM unnest($2::text[], $3::text[], $4::text[])),
         forgotten AS (DELETE FROM {{prefix}}attempt AS a USING new
            WHERE a.subscription = $1 AND a.source = new.source AND a.id = new.id)
         INSERT INTO {{prefix}}inbox (subscription, source, id, partitionkey)
         SELECT $1, source, id, partitionkey FROM new WHERE {which}
         ORDER BY source COLLATE \"C\", id COLLATE \"C\" ON CONFLICT DO NOTHING RETURNING source, id"
    )
}

/// Which of these were handled before.
pub(crate) const HANDLED: &str = "SELECT i.source, i.id FROM {prefix}inbox AS i
    JOIN unnest($2::text[], $3::text[]) AS asked (source, id) ON i.source = asked.source AND i.id = asked.id
    WHERE i.subscription = $1";

pub(crate) const CHECKPOINT: &str = "INSERT INTO {prefix}checkpoint AS c (projection, source, events, last)
    SELECT $1, source, events, last FROM unnest($2::text[], $3::bigint[], $4::text[]) AS mark (source, events, last)
    ORDER BY source COLLATE \"C\"
    ON CONFLICT (projection, source) DO UPDATE SET events = c.events + excluded.events, last = excluded.last";

pub(crate) const COUNT: &str = "INSERT INTO {prefix}attempt AS a (subscription, source, id, attempts)
    SELECT $1, source, id, 1 FROM unnest($2::text[], $3::text[]) AS tried (source, id)
    ORDER BY source COLLATE \"C\", id COLLATE \"C\"
    ON CONFLICT (subscription, source, id) DO UPDATE SET attempts = a.attempts + 1 RETURNING source, id, attempts";

pub(crate) const EXCUSE: &str = "UPDATE {prefix}attempt AS a SET attempts = a.attempts - 1
    FROM unnest($2::text[], $3::text[]) AS tried (source, id)
    WHERE a.subscription = $1 AND a.source = tried.source AND a.id = tried.id AND a.attempts > 0";

impl Postgres {
    /// Claims deliveries from the inbox on a connection of your own, in a transaction of your own on the same database, with
    /// no unit of work. Handle those that are [`Claim::First`] in the same transaction. Answers in the order of the envelopes.
    ///
    /// # Errors
    /// PostgreSQL refused; the transaction is yours to roll back.
    pub async fn claim(
        &self,
        connection: &mut PgConnection,
        claiming: Claiming<'_>,
    ) -> Result<Vec<Claim>, Error> {
        claim_with(&self.shared.texts, connection, claiming).await
    }
}

pub(crate) async fn claim_with(
    texts: &Texts,
    db: &mut PgConnection,
    claiming: Claiming<'_>,
) -> Result<Vec<Claim>, Error> {
    let text = if claiming.released { &texts.claim_released } else { &texts.claim };
    let keys: Vec<_> = claiming.envelopes.iter().map(|one| one.partitionkey.as_deref()).collect();
    let query = identified(texts.query(text), claiming.subscription, claiming.envelopes).bind(keys);
    let first = query.fetch_all(&mut *db).await?;
    if first.len() == claiming.envelopes.len() {
        return Ok(vec![Claim::First; first.len()]);
    }
    let others: Vec<_> = claiming.envelopes.iter().filter(|one| !is_among(&first, one)).cloned().collect();
    let query = identified(texts.query(&texts.handled), claiming.subscription, &others);
    let handled = query.fetch_all(&mut *db).await?;
    let mut claims = Vec::with_capacity(claiming.envelopes.len());
    for envelope in claiming.envelopes {
        claims.push(if is_among(&first, envelope) {
            Claim::First
        } else if is_among(&handled, envelope) {
            Claim::Duplicate
        } else {
            refused(texts, db, claiming, envelope).await?
        });
    }
    Ok(claims)
}

/// Subscription, sources and ids, as `$1` to `$3`.
fn identified(query: Query, subscription: &str, envelopes: &[Arc<Envelope>]) -> Query {
    let sources: Vec<_> = envelopes.iter().map(|one| one.source.as_str()).collect();
    let ids: Vec<_> = envelopes.iter().map(|one| one.id.as_str()).collect();
    query.bind(subscription.to_owned()).bind(sources).bind(ids)
}

fn is_among(rows: &[PgRow], envelope: &Envelope) -> bool {
    rows.iter().any(|row| {
        row.try_get::<&str, _>(1).is_ok_and(|id| id == envelope.id.as_str())
            && row.try_get::<&str, _>(0).is_ok_and(|source| source == envelope.source.as_str())
    })
}

/// What has no inbox row has to wait, unless it was discarded.
async fn refused(
    texts: &Texts,
    db: &mut PgConnection,
    claiming: Claiming<'_>,
    envelope: &Envelope,
) -> Result<Claim, Error> {
    if claiming.released && !dead_letters::is_kept(texts, db, claiming.subscription, envelope).await? {
        return Ok(Claim::Duplicate);
    }
    dead_letters::wait_behind(texts, db, claiming.subscription, envelope).await?;
    Ok(Claim::Parked)
}

/// Adds to how far a projection is in each source.
pub(crate) async fn checkpoint(
    texts: &Texts,
    db: &mut PgConnection,
    projection: &str,
    marks: &[Mark],
) -> Result<(), Error> {
    if marks.is_empty() {
        return Ok(());
    }
    let sources: Vec<_> = marks.iter().map(|mark| &*mark.source).collect();
    let events: Vec<_> = marks.iter().map(|mark| i64::try_from(mark.events).unwrap_or(i64::MAX)).collect();
    let last: Vec<_> = marks.iter().map(|mark| mark.last.as_str()).collect();
    let query = texts.query(&texts.checkpoint).bind(projection.to_owned());
    query.bind(sources).bind(events).bind(last).execute(db).await?;
    Ok(())
}

/// In the order of the envelopes.
fn attempts(rows: &[PgRow], envelopes: &[Arc<Envelope>]) -> Result<Vec<u32>, sqlx::Error> {
    let of = |envelope: &Arc<Envelope>| {
        let row = rows.iter().find(|row| is_among(std::slice::from_ref(*row), envelope));
        let attempts: i32 = row.ok_or(sqlx::Error::RowNotFound)?.try_get(2)?;
        Ok(attempts.unsigned_abs())
    };
    envelopes.iter().map(of).collect()
}

impl InboxStore for Postgres {
    fn count_attempts<'a>(
        &'a self,
        subscription: &'a str,
        envelopes: &'a [Arc<Envelope>],
    ) -> BoxFuture<'a, Result<Vec<u32>, BoxError>> {
        Box::pin(async move {
            let texts = &self.shared.texts;
            let query = identified(texts.query(&texts.count), subscription, envelopes);
            let rows = self.shared.sessions.fetch(&texts.begin_own, query).await?;
            Ok(attempts(&rows, envelopes)?)
        })
    }

    fn excuse_attempts<'a>(
        &'a self,
        subscription: &'a str,
        envelopes: &'a [Arc<Envelope>],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let texts = &self.shared.texts;
            let query = identified(texts.query(&texts.excuse), subscription, envelopes);
            self.shared.sessions.execute(&texts.begin_own, query).await?;
            Ok(())
        })
    }

    fn give_up<'a>(&'a self, dead: DeadLetter, policy: OnDeadLetter) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            if dead.side == Side::Relay {
                return Err(Error::NotOfASubscription.into());
            }
            let mut held = self.own().await?;
            dead_letters::give_up(&self.shared.texts, held.connection(), dead, policy).await?;
            Ok(held.finish().await?)
        })
    }

    fn released<'a>(
        &'a self,
        subscription: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Waiting>, BoxError>> {
        Box::pin(async move {
            let texts = &self.shared.texts;
            let query = texts.query(&texts.released).bind(subscription.to_owned());
            let query = query.bind(i64::try_from(most).unwrap_or(i64::MAX));
            let rows = self.shared.sessions.fetch(&texts.begin_own, query).await?;
            Ok(dead_letters::waiting(&rows)?)
        })
    }

    fn finished<'a>(
        &'a self,
        subscription: &'a str,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let mut held = self.own().await?;
            let db = held.connection();
            dead_letters::remove(&self.shared.texts, db, subscription, source, id, "released").await?;
            Ok(held.finish().await?)
        })
    }

    fn halted<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<bool, BoxError>> {
        Box::pin(async move {
            let texts = &self.shared.texts;
            let query = texts.query(&texts.halted).bind(subscription.to_owned());
            let rows = self.shared.sessions.fetch(&texts.begin_own, query).await?;
            Ok(rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?)
        })
    }
}
