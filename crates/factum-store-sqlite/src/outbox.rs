//! The outbox: written with a commit, read and emptied by relays that hold leases on its buckets.

use std::time::Duration;

use factum::port::{
    Asked, Found, Lease, Leased, OutboxRow, OutboxStore, Read, Settlement, read_back, sequence,
};
use factum::{BoxError, BoxFuture, Envelope};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, Row as _, SqliteConnection};

use crate::dead_letters;
use crate::error::Error;
use crate::rows::{self, columns};
use crate::session::Batch;
use crate::texts::{ByRows, rows_of};
use crate::{Shared, Sqlite};

/// Rows of one statement: 15 parameters each, of the 32,766 that SQLite takes.
const ROWS_MAX: usize = 1_000;

pub(crate) fn append_text(rows: usize) -> String {
    let statement = |rows| {
        let values = rows_of(rows, rows::COLUMNS + 1);
        format!(concat!("INSERT INTO factum_outbox (bucket, ", columns!(), ") VALUES {}"), values)
    };
    let whole = std::iter::repeat_n(ROWS_MAX, rows / ROWS_MAX);
    let rest = Some(rows % ROWS_MAX).filter(|rest| *rest > 0);
    whole.chain(rest).map(statement).collect::<Vec<_>>().join("; ")
}

pub(crate) fn last_batch(texts: &ByRows, outbox: Vec<Envelope>) -> Result<Batch, Error> {
    let rows = outbox.len();
    let query = texts.query(rows, arguments(outbox.into_iter())?);
    Ok(Batch { query, statements: rows.div_ceil(ROWS_MAX) })
}

/// Appends rows ahead of the last batch, in a trip of their own.
pub(crate) async fn append_rows(
    texts: &ByRows,
    db: &mut SqliteConnection,
    rows: Vec<Envelope>,
) -> Result<(), Error> {
    texts.query(rows.len(), arguments(rows.into_iter())?).execute(db).await?;
    Ok(())
}

fn arguments(outbox: impl ExactSizeIterator<Item = Envelope>) -> Result<SqliteArguments, Error> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(outbox.len() * (rows::COLUMNS + 1), 0);
    for envelope in outbox {
        arguments.add(i64::from(envelope.bucket())).map_err(sqlx::Error::Encode)?;
        rows::bind(&mut arguments, envelope).map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

impl Sqlite {
    /// Appends envelopes to the outbox on a connection of your own, in a transaction of your own on the same file, with no
    /// unit of work. Nothing proves that commit: there is no [`Committed`](factum::Committed) for it. Call
    /// [`wake`](Self::wake) after it.
    ///
    /// # Errors
    /// SQLite refused, for example because an event with this source and id is there already; the transaction is yours to
    /// roll back.
    pub async fn append(
        &self,
        connection: &mut SqliteConnection,
        envelopes: &[Envelope],
    ) -> Result<(), Error> {
        if envelopes.is_empty() {
            return Ok(());
        }
        append_rows(&self.shared.texts.append, connection, envelopes.to_vec()).await
    }
}

/// Milliseconds since 1970, by the database's clock.
macro_rules! now {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
}

/// `?1` the owner, `?2` for how long, `?3` how many buckets at most, `?4` the buckets to give back.
///
/// A lease that ends later than its own length from now has expired: the clock was set back.
const LEASE: &str = concat!(
    "DELETE FROM factum_relay WHERE until <= ",
    now!(),
    " OR until > ",
    now!(),
    " + lasts;
    INSERT INTO factum_relay (owner, until, lasts) VALUES (?1, ",
    now!(),
    " + ?2, ?2) ON CONFLICT DO UPDATE SET until = excluded.until, lasts = excluded.lasts;
    UPDATE factum_lease SET owner = NULL WHERE owner = ?1 AND (?4 >> bucket) & 1;
    UPDATE factum_lease SET until = ",
    now!(),
    " + ?2, lasts = ?2 WHERE owner = ?1;
    UPDATE factum_lease SET owner = ?1, epoch = epoch + 1, lasts = ?2, until = ",
    now!(),
    " + ?2 WHERE bucket IN (
        SELECT bucket FROM factum_lease
        WHERE owner IS NULL OR owner <> ?1 AND (until <= ",
    now!(),
    " OR until > ",
    now!(),
    " + lasts)
        ORDER BY bucket LIMIT max(0, ?3 - (SELECT count(*) FROM factum_lease WHERE owner = ?1)));
    SELECT relays, bucket, epoch
    FROM (SELECT count(*) AS relays FROM factum_relay) LEFT JOIN factum_lease ON owner = ?1 ORDER BY bucket"
);

/// The generation, and then a row or none. Sizes are summed before data is read, so that a batch takes no more memory
/// than it may.
const READ: &str = concat!(
    "WITH next AS (
        SELECT seq, length(data) AS bytes FROM factum_outbox AS o
        WHERE seq > ?1 AND (?2 >> bucket) & 1 AND seq NOT IN (SELECT value FROM json_each(?5))
          AND NOT EXISTS (SELECT 1 FROM factum_dead_letter WHERE side = ':relay' AND holds = 2)
          AND NOT EXISTS (SELECT 1 FROM factum_dead_letter AS d WHERE d.side = ':relay' AND d.holds > 0
              AND d.source = o.source AND d.ordering_key = coalesce(o.partitionkey, o.id))
        ORDER BY seq LIMIT ?3),
    sized AS (SELECT seq, sum(bytes) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - bytes AS before FROM next)
    SELECT (SELECT CAST(value AS INTEGER) FROM factum_meta WHERE name = 'generation'), seq, bucket, attempts, ",
    columns!(),
    " FROM (SELECT 1) LEFT JOIN factum_outbox ON seq IN (SELECT seq FROM sized WHERE before < ?4) ORDER BY seq"
);

/// Rows `?1` (a JSON list) whose bucket's lease is still `?2`'s, with the epochs of `?3` (a JSON list of pairs).
macro_rules! fenced {
    ($seqs:literal) => {
        concat!(
            "seq IN (",
            $seqs,
            ") AND bucket IN (SELECT l.bucket FROM json_each(?3) AS mine JOIN factum_lease AS l ON l.bucket = mine.value ->> 0 WHERE l.epoch = mine.value ->> 1 AND l.owner = ?2)"
        )
    };
}

const CONFIRMED: &str =
    concat!("DELETE FROM factum_outbox WHERE ", fenced!("SELECT value FROM json_each(?1)"));

const FAILED: &str = concat!(
    "UPDATE factum_outbox SET attempts = try.value ->> 1, next_attempt = try.value ->> 2, reason = try.value ->> 3
     FROM json_each(?1) AS try WHERE seq = try.value ->> 0 AND ",
    fenced!("SELECT value ->> 0 FROM json_each(?1)")
);

const GIVEN_UP: &str = concat!(
    "INSERT INTO factum_dead_letter (side, state, holds, ordering_key, seq, bucket, attempts, reason, at, ",
    columns!(),
    ") SELECT ':relay', 'dead', last.value ->> 3, coalesce(partitionkey, o.id), seq, bucket, last.value ->> 1, last.value ->> 2, ?4, ",
    "o.source, o.id, o.type, subject, partitionkey, time, datacontenttype, dataschema, correlationid, causationid, traceparent, tracestate, extensions, data
     FROM json_each(?1) AS last JOIN factum_outbox AS o ON o.seq = last.value ->> 0 WHERE ",
    fenced!("SELECT value ->> 0 FROM json_each(?1)"),
    // An event that was announced again, and is a dead letter already, must not keep all else from being settled.
    " ON CONFLICT DO NOTHING"
);

const GONE: &str =
    concat!("DELETE FROM factum_outbox WHERE ", fenced!("SELECT value ->> 0 FROM json_each(?1)"));

impl OutboxStore for Sqlite {
    fn lease<'a>(&'a self, owner: &'a str, asked: Asked) -> BoxFuture<'a, Result<Leased, BoxError>> {
        Box::pin(async move {
            let mut held = self.write("relay: lease").await?;
            let query = sqlx::query(LEASE)
                .bind(owner)
                .bind(i64::try_from(asked.duration.as_millis()).unwrap_or(i64::MAX / 4))
                .bind(i64::try_from(asked.most).unwrap_or(i64::MAX))
                .bind(asked.give_back.bits().cast_signed());
            let rows = query.fetch_all(held.connection()).await?;
            Sqlite::finish(held).await?;
            Ok(leased(&rows)?)
        })
    }

    fn release<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let mut held = self.write("relay: release").await?;
            let sql = "DELETE FROM factum_relay WHERE owner = ?1;
                UPDATE factum_lease SET owner = NULL, until = 0 WHERE owner = ?1";
            sqlx::query(sql).bind(owner).execute(held.connection()).await?;
            Sqlite::finish(held).await
        })
    }

    fn read<'a>(&'a self, read: Read) -> BoxFuture<'a, Result<Found, BoxError>> {
        Box::pin(async move {
            let mut held = self.shared.own_reader.take().await?;
            let query = sqlx::query(READ)
                .bind(read.above)
                .bind(read.buckets.bits().cast_signed())
                .bind(i64::try_from(read.rows_max).unwrap_or(i64::MAX))
                .bind(i64::try_from(read.bytes_max.max(1)).unwrap_or(i64::MAX))
                .bind(serde_json::to_string(&read.except)?);
            let rows = query.fetch_all(held.connection()).await?;
            Ok(found(&rows, &self.shared)?)
        })
    }

    fn settle<'a>(
        &'a self,
        owner: &'a str,
        leases: &'a [Lease],
        settlement: &'a Settlement,
    ) -> BoxFuture<'a, Result<usize, BoxError>> {
        Box::pin(async move {
            if settlement.is_empty() {
                return Ok(0);
            }
            let leases: Vec<_> = leases.iter().map(|lease| (lease.bucket, lease.epoch)).collect();
            let leases = serde_json::to_string(&leases)?;
            let mut held = self.write("relay: settle").await?;
            let mut rows = 0;
            for (sql, list) in changes(settlement)? {
                let query = sqlx::query(sql).bind(list).bind(owner).bind(leases.as_str());
                let done = query.bind(rows::now()).execute(held.connection()).await?.rows_affected();
                rows += if sql == GIVEN_UP { 0 } else { done };
            }
            Sqlite::finish(held).await?;
            Ok(usize::try_from(rows)?)
        })
    }

    fn hint(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.hint.wait(&self.seen))
    }
}

/// The statements of a settlement, each with its list as JSON.
fn changes(settlement: &Settlement) -> Result<Vec<(&'static str, String)>, BoxError> {
    let mut changes = Vec::new();
    if !settlement.confirmed.is_empty() {
        changes.push((CONFIRMED, serde_json::to_string(&settlement.confirmed)?));
    }
    if !settlement.failed.is_empty() {
        let at = |after: Duration| {
            rows::now().saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX))
        };
        let failed = settlement.failed.iter();
        let failed: Vec<_> =
            failed.map(|row| (row.seq, row.attempts, at(row.again_after), &row.reason)).collect();
        changes.push((FAILED, serde_json::to_string(&failed)?));
    }
    if !settlement.given_up.is_empty() {
        let given_up = settlement.given_up.iter();
        let given_up: Vec<_> = given_up
            .map(|row| (row.seq, row.attempts, &row.reason, dead_letters::holds(row.policy)))
            .collect();
        let list = serde_json::to_string(&given_up)?;
        changes.push((GIVEN_UP, list.clone()));
        changes.push((GONE, list));
    }
    Ok(changes)
}

fn leased(rows: &[SqliteRow]) -> Result<Leased, sqlx::Error> {
    let mut leased = Leased::default();
    for row in rows {
        leased.relays = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default();
        if let Some(bucket) = row.try_get(1)? {
            leased.leases.push(Lease { bucket, epoch: row.try_get(2)? });
        }
    }
    Ok(leased)
}

fn found(rows: &[SqliteRow], shared: &Shared) -> Result<Found, Error> {
    // Writers take turns: none commits below what another has committed.
    let mut found = Found { rows: Vec::with_capacity(rows.len()), floor: i64::MAX, generation: 0 };
    for row in rows {
        found.generation = row.try_get(0)?;
        if let Some(seq) = row.try_get(1)? {
            found.rows.push(outbox_row(row, seq, shared)?);
        }
    }
    Ok(found)
}

fn outbox_row(row: &SqliteRow, seq: i64, shared: &Shared) -> Result<OutboxRow, Error> {
    let mut envelope = rows::read(row, 4, "factum_outbox")?;
    envelope.sequence = Some(sequence(&shared.incarnation, seq));
    let source = envelope.source.clone();
    Ok(OutboxRow {
        seq,
        bucket: row.try_get(2)?,
        attempts: row.try_get(3)?,
        envelope: read_back(envelope, source),
    })
}
