//! The inbox: what a subscription has handled, and how often it tried what it could not.

use std::sync::Arc;

use factum::integration::{DeadLetter, OnDeadLetter, Side};
use factum::port::{Claim, Claiming, InboxStore, Mark, Waiting};
use factum::{BoxError, BoxFuture, Envelope, EventId};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, Row as _, SqliteConnection};

use crate::error::Error;
use crate::rows;
use crate::texts::{ByRows, rows_of};
use crate::{Sqlite, dead_letters};

/// One trip for the common case. Whatever is not answered was handled before, or is parked. Tries of what is claimed
/// need not be counted any more. The deliveries come as one JSON array: a row of parameters for each would be another
/// text for each number of them, and preparing a long one costs more than running it.
macro_rules! claiming {
    ($unless:literal) => {
        concat!(
            "WITH new (source, id) AS (SELECT value ->> 0, value ->> 1 FROM json_each(?3))
             DELETE FROM factum_attempt WHERE subscription = ?1 AND (source, id) IN (SELECT source, id FROM new);
             WITH new (source, id, partitionkey) AS
                 (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?3))
             INSERT INTO factum_inbox (subscription, source, id, partitionkey, handled_at)
             SELECT ?1, source, id, partitionkey, ?2 FROM new WHERE ",
            $unless,
            " ON CONFLICT DO NOTHING RETURNING source, id"
        )
    };
}

const CLAIM: &str = claiming!(
    "NOT EXISTS (SELECT 1 FROM factum_dead_letter AS d WHERE d.side = ?1 AND d.source = new.source
     AND (d.id = new.id OR d.holds > 0 AND d.ordering_key = coalesce(new.partitionkey, new.id)))"
);

/// What was released may pass the dead letter that holds its key, as long as nobody has discarded it.
const CLAIM_RELEASED: &str = claiming!(
    "EXISTS (SELECT 1 FROM factum_dead_letter AS d WHERE d.side = ?1 AND d.source = new.source
     AND d.id = new.id AND d.state = 'released')"
);

impl Sqlite {
    /// Claims deliveries from the inbox on a connection of your own, in a transaction of your own on the same file, with no
    /// unit of work. Handle those that are [`Claim::First`] in the same transaction. Answers in the order of the envelopes.
    ///
    /// # Errors
    /// SQLite refused; the transaction is yours to roll back.
    pub async fn claim(
        &self,
        connection: &mut SqliteConnection,
        claiming: Claiming<'_>,
    ) -> Result<Vec<Claim>, Error> {
        claim(connection, claiming).await
    }
}

pub(crate) async fn claim(
    connection: &mut SqliteConnection,
    claiming: Claiming<'_>,
) -> Result<Vec<Claim>, Error> {
    let sql = if claiming.released { CLAIM_RELEASED } else { CLAIM };
    let deliveries: Vec<_> = claiming.envelopes.iter().map(|envelope| delivery(envelope)).collect();
    let deliveries = serde_json::to_string(&deliveries).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let query = sqlx::query(sql).bind(claiming.subscription).bind(rows::now()).bind(deliveries);
    let first = query.fetch_all(&mut *connection).await?;
    if first.len() == claiming.envelopes.len() {
        return Ok(vec![Claim::First; first.len()]);
    }
    let mut claims = Vec::with_capacity(claiming.envelopes.len());
    for envelope in claiming.envelopes {
        claims.push(match is_among(&first, envelope)? {
            true => Claim::First,
            false => refused(connection, claiming, envelope).await?,
        });
    }
    Ok(claims)
}

fn delivery(envelope: &Envelope) -> [Option<&str>; 3] {
    [Some(envelope.source.as_str()), Some(envelope.id.as_str()), envelope.partitionkey.as_deref()]
}

fn is_among(first: &[SqliteRow], envelope: &Envelope) -> Result<bool, sqlx::Error> {
    for row in first {
        if row.try_get::<&str, _>(1)? == envelope.id.as_str()
            && row.try_get::<&str, _>(0)? == envelope.source.as_str()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Why a delivery got no inbox row: it has one, or it has to wait.
async fn refused(
    db: &mut SqliteConnection,
    claiming: Claiming<'_>,
    envelope: &Envelope,
) -> Result<Claim, Error> {
    let sql = "SELECT 1 FROM factum_inbox WHERE subscription = ? AND source = ? AND id = ?";
    let query = sqlx::query(sql).bind(claiming.subscription);
    let handled =
        query.bind(envelope.source.as_str()).bind(envelope.id.as_str()).fetch_optional(&mut *db).await?;
    if handled.is_some() {
        return Ok(Claim::Duplicate);
    }
    if claiming.released && !dead_letters::is_kept(db, claiming.subscription, envelope).await? {
        // It was discarded meanwhile.
        return Ok(Claim::Duplicate);
    }
    dead_letters::put_behind(db, claiming.subscription, envelope).await?;
    Ok(Claim::Parked)
}

/// Adds to how far a projection is in each source.
pub(crate) async fn checkpoint(
    db: &mut SqliteConnection,
    projection: &str,
    marks: &[Mark],
) -> Result<(), Error> {
    let sql = "INSERT INTO factum_checkpoint (projection, source, events, last) VALUES (?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET events = events + excluded.events, last = excluded.last";
    for mark in marks {
        let query = sqlx::query(sql).bind(projection).bind(&*mark.source);
        let query = query.bind(i64::try_from(mark.events).unwrap_or(i64::MAX)).bind(mark.last.as_str());
        query.execute(&mut *db).await?;
    }
    Ok(())
}

/// Deliveries of one statement: 2 parameters each, of the 32,766 that SQLite takes.
const COUNTED_AT_ONCE: usize = 1_000;

/// `?1` is the subscription; then source and id of each.
fn count_text(rows: usize) -> String {
    format!(
        "WITH tried (source, id) AS (VALUES {}) INSERT INTO factum_attempt (subscription, source, id, attempts)
         SELECT ?, source, id, 1 FROM tried WHERE true
         ON CONFLICT DO UPDATE SET attempts = attempts + 1 RETURNING source, id, attempts",
        rows_of(rows, 2)
    )
}

async fn count(
    db: &mut SqliteConnection,
    subscription: &str,
    envelopes: &[Arc<Envelope>],
) -> Result<Vec<u32>, BoxError> {
    let mut arguments = SqliteArguments::default();
    for envelope in envelopes {
        arguments.add(envelope.source.as_str())?;
        arguments.add(envelope.id.as_str())?;
    }
    arguments.add(subscription)?;
    let counted = ByRows::new(count_text).query(envelopes.len(), arguments).fetch_all(db).await?;
    let attempts = |envelope: &Arc<Envelope>| {
        for row in &counted {
            if is_among(std::slice::from_ref(row), envelope)? {
                return row.try_get(2);
            }
        }
        Err(sqlx::Error::RowNotFound)
    };
    Ok(envelopes.iter().map(attempts).collect::<Result<_, _>>()?)
}

impl InboxStore for Sqlite {
    fn count_attempts<'a>(
        &'a self,
        subscription: &'a str,
        envelopes: &'a [Arc<Envelope>],
    ) -> BoxFuture<'a, Result<Vec<u32>, BoxError>> {
        Box::pin(async move {
            let mut held = self.write("subscription: count attempts").await?;
            let mut attempts = Vec::with_capacity(envelopes.len());
            for envelopes in envelopes.chunks(COUNTED_AT_ONCE) {
                attempts.extend(count(held.connection(), subscription, envelopes).await?);
            }
            Sqlite::finish(held).await?;
            Ok(attempts)
        })
    }

    fn excuse_attempts<'a>(
        &'a self,
        subscription: &'a str,
        envelopes: &'a [Arc<Envelope>],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        const EXCUSE: &str = "UPDATE factum_attempt SET attempts = attempts - 1
            WHERE subscription = ? AND source = ? AND id = ? AND attempts > 0";
        Box::pin(async move {
            let mut held = self.write("subscription: excuse attempts").await?;
            for envelope in envelopes {
                let query = sqlx::query(EXCUSE).bind(subscription).bind(envelope.source.as_str());
                query.bind(envelope.id.as_str()).execute(held.connection()).await?;
            }
            Sqlite::finish(held).await
        })
    }

    fn give_up<'a>(&'a self, dead: DeadLetter, policy: OnDeadLetter) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            if dead.side == Side::Relay {
                return Err(Error::NotOfASubscription.into());
            }
            let mut held = self.write("subscription: give up").await?;
            dead_letters::give_up(held.connection(), dead, policy).await?;
            Sqlite::finish(held).await
        })
    }

    fn released<'a>(
        &'a self,
        subscription: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Waiting>, BoxError>> {
        Box::pin(async move {
            let mut held = self.shared.own_reader.take().await?;
            Ok(dead_letters::released(held.connection(), subscription, most).await?)
        })
    }

    fn finished<'a>(
        &'a self,
        subscription: &'a str,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let mut held = self.write("subscription: finished").await?;
            dead_letters::remove(held.connection(), subscription, source, id, "released").await?;
            Sqlite::finish(held).await
        })
    }

    fn halted<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<bool, BoxError>> {
        Box::pin(async move {
            let mut held = self.shared.own_reader.take().await?;
            Ok(dead_letters::halted(held.connection(), subscription).await?)
        })
    }
}
