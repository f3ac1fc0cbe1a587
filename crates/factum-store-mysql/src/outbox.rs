//! The outbox: written with a commit, read and emptied by relays that hold leases on its buckets.

use factum::port::{
    Access, Asked, Found, Lease, Leased, Measure, OutboxRow, OutboxStore, Read, Settlement, read_back,
    sequence,
};
use factum::{BoxError, BoxFuture, Envelope};
use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Either, Row as _};

use crate::error::Error;
use crate::horizon::{LOOK_ROWS, Look};
use crate::rows::{self, Common, columns};
use crate::texts::{KEPT, Texts, rows_of};
use crate::{MySql, Shared, inbox, lease, settle};

/// Up to so many envelopes go in one statement, whatever their number; more go in powers of two, so that few statements
/// serve every number, and stay prepared.
const ONE_STATEMENT: usize = 16;

/// What a statement needs beside its envelopes.
const STATEMENT_BYTES: usize = 4 << 10;

pub(crate) fn append_text(rows: usize) -> String {
    let values = rows_of(rows, rows::COLUMNS);
    format!(concat!("INSERT INTO {{p}}outbox (", columns!(), ") VALUES {}"), values)
}

/// First one row of facts, the generation and the lowest of the numbers that are watched and have a row; then the rows, by
/// the same snapshot. The data of a row that is larger than its share is left out. Whether any dead letter holds anything
/// is asked once, and only if one does is each row looked up. Parameters: watched, share, above, buckets, except, rows.
pub(crate) fn read_text() -> String {
    let columns = columns!("o");
    let columns = columns.strip_suffix("o.data").unwrap_or(columns);
    let nothing = vec!["NULL"; rows::COLUMNS + 3].join(", ");
    format!(
        "(SELECT meta.number,
            (SELECT min(w.seq) FROM JSON_TABLE(?, '$[*]' COLUMNS (seq BIGINT PATH '$')) AS watched
                STRAIGHT_JOIN {{p}}outbox AS w ON w.seq = watched.seq), {nothing}
         FROM {{p}}meta AS meta WHERE meta.name = 'generation')
        UNION ALL
        (SELECT NULL, NULL, o.seq, o.bucket, o.attempts, {columns} if(o.size <= ?, o.data, NULL)
         FROM {{p}}outbox AS o
         WHERE o.seq > ? AND (? >> o.bucket) & 1
           AND o.seq NOT IN (SELECT e.seq FROM JSON_TABLE(?, '$[*]' COLUMNS (seq BIGINT PATH '$')) AS e)
           AND NOT EXISTS (SELECT 1 FROM {{p}}dead_letter WHERE side = ':relay' AND holds = 2)
           AND (NOT EXISTS (SELECT 1 FROM {{p}}dead_letter WHERE side = ':relay' AND holds > 0)
             OR NOT EXISTS (SELECT 1 FROM {{p}}dead_letter AS d WHERE d.side = ':relay' AND d.holds > 0
                AND d.source = o.source AND d.ordering_key = coalesce(o.partitionkey, o.id)))
         ORDER BY o.seq LIMIT ?)"
    )
}

/// The facts, and then a row or none. Sizes are summed before data is read, so that a batch takes no more memory than it
/// may: three times the work. Parameters: watched, above, buckets, except, rows, bytes.
pub(crate) const READ_SUMMED: &str = concat!(
    "SELECT meta.number,
        (SELECT min(w.seq) FROM JSON_TABLE(?, '$[*]' COLUMNS (seq BIGINT PATH '$')) AS watched
            STRAIGHT_JOIN {p}outbox AS w ON w.seq = watched.seq),
        o.seq, o.bucket, o.attempts, ",
    columns!("o"),
    " FROM {p}meta AS meta
     LEFT JOIN (
        SELECT seq FROM (
            SELECT seq, sum(size) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - size AS bytes_before FROM (
                SELECT seq, size FROM {p}outbox AS p
                WHERE seq > ? AND (? >> bucket) & 1
                  AND seq NOT IN (SELECT e.seq FROM JSON_TABLE(?, '$[*]' COLUMNS (seq BIGINT PATH '$')) AS e)
                  AND NOT EXISTS (SELECT 1 FROM {p}dead_letter WHERE side = ':relay' AND holds = 2)
                  AND NOT EXISTS (SELECT 1 FROM {p}dead_letter AS d WHERE d.side = ':relay' AND d.holds > 0
                      AND d.source = p.source AND d.ordering_key = coalesce(p.partitionkey, p.id))
                ORDER BY seq LIMIT ?) AS next) AS sized
        WHERE bytes_before < ?) AS chosen ON TRUE
     LEFT JOIN {p}outbox AS o ON o.seq = chosen.seq
     WHERE meta.name = 'generation'"
);

/// A commit that waits for the disk, and so for all that committed before it. InnoDB shows what is committed before it
/// is flushed.
pub(crate) const BARRIER: &str = "UPDATE {p}meta SET number = number + 1 WHERE name = 'barrier'";

/// How many of these envelopes go in the next statement.
fn next_batch(envelopes: &[Envelope], packet_max: usize) -> Result<usize, Error> {
    let most = match envelopes.len() {
        few @ ..=ONE_STATEMENT => few,
        many => 1 << many.min(KEPT).ilog2(),
    };
    let allowed = packet_max.saturating_sub(STATEMENT_BYTES);
    let (mut bytes, mut rows) = (0, 0);
    for envelope in envelopes.iter().take(most) {
        let more = rows::bytes(envelope);
        if bytes + more > allowed {
            break;
        }
        bytes += more;
        rows += 1;
    }
    match (rows, envelopes.first()) {
        (0, Some(first)) => Err(Error::TooLarge { bytes: rows::bytes(first), allowed: packet_max }),
        _ => Ok(rows),
    }
}

/// Appends to the outbox.
pub(crate) async fn append(
    texts: &Texts,
    packet_max: usize,
    db: &mut MySqlConnection,
    mut envelopes: &[Envelope],
) -> Result<(), Error> {
    while !envelopes.is_empty() {
        let (batch, rest) = envelopes.split_at(next_batch(envelopes, packet_max)?);
        let mut arguments = MySqlArguments::default();
        for envelope in batch {
            rows::check_length("an envelope's source", &envelope.source)?;
            rows::bind(&mut arguments, envelope).map_err(sqlx::Error::Encode)?;
        }
        texts.append.query(batch.len(), arguments).execute(&mut *db).await?;
        envelopes = rest;
    }
    Ok(())
}

impl MySql {
    /// Appends envelopes to the outbox on a connection of your own, in a transaction of your own on the same database,
    /// with no unit of work. Nothing proves that commit: there is no [`Committed`](factum::Committed) for it. Call
    /// [`wake`](Self::wake) after it.
    ///
    /// # Errors
    /// The server refused, for example because an event with this source and id is there already; the transaction is
    /// yours to roll back.
    pub async fn append(
        &self,
        connection: &mut MySqlConnection,
        envelopes: &[Envelope],
    ) -> Result<(), Error> {
        append(&self.shared.texts, self.shared.packet_max, connection, envelopes).await
    }
}

impl OutboxStore for MySql {
    fn lease<'a>(&'a self, owner: &'a str, asked: Asked) -> BoxFuture<'a, Result<Leased, BoxError>> {
        Box::pin(self.in_time(async move {
            let mut held = self.shared.own.take().await?;
            let (texts, db) = held.parts()?;
            let leased = lease::lease(texts, db, &self.shared.known, owner, asked).await?;
            held.give_back();
            Ok(leased)
        }))
    }

    fn release<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(self.in_time(async move {
            let mut held = self.shared.own.take().await?;
            let (texts, db) = held.parts()?;
            lease::release(texts, db, &self.shared.known, owner).await?;
            held.give_back();
            Ok(())
        }))
    }

    fn read<'a>(&'a self, read: Read) -> BoxFuture<'a, Result<Found, BoxError>> {
        Box::pin(self.in_time(async move {
            // One read at a time, so that a look of another's does not count for a snapshot that is older.
            let mut horizon = self.shared.horizon.lock().await;
            let mut held = self.shared.own.take().await?;
            let (texts, db) = held.parts()?;
            let now = self.shared.began.elapsed();
            if let Some((above, up_to)) = horizon.wants_look(now) {
                let look = look(texts, db, above, up_to, horizon.watched()).await?;
                horizon.looked(now, &look);
            }
            let (mut found, above) = loop {
                self.readers.follow(&horizon);
                let above = read.above.min(self.readers.shown(read.buckets));
                match next(&self.shared, texts, db, &read, above, horizon.watched()).await? {
                    Some((found, None)) => break (found, above),
                    Some((_, Some(appeared))) => horizon.appeared(appeared),
                    None => {}
                }
            };
            if !found.rows.is_empty() && !self.shared.is_lazy {
                texts.barrier.query().execute(&mut *db).await?;
            }
            held.give_back();
            horizon.shown(found.rows.iter().map(|row| row.seq));
            let end = end_of(&found.rows, &read);
            found.floor = self.readers.read(read.buckets, above, end, horizon.proven());
            Ok(found)
        }))
    }

    fn settle<'a>(
        &'a self,
        owner: &'a str,
        leases: &'a [Lease],
        settlement: &'a Settlement,
    ) -> BoxFuture<'a, Result<usize, BoxError>> {
        Box::pin(self.in_time(async move {
            if settlement.is_empty() {
                return Ok(0);
            }
            if settle::is_plain(settlement) {
                let mut held = self.shared.own.take().await?;
                let (texts, db) = held.parts()?;
                let rows = settle::confirm(texts, db, owner, leases, &settlement.confirmed).await?;
                held.give_back();
                return Ok(usize::try_from(rows)?);
            }
            let mut held = self.shared.own.begin(Access::Write).await?;
            let (texts, db) = held.parts()?;
            let rows = settle::settle(texts, db, owner, leases, settlement).await?;
            self.finish(held).await?;
            Ok(usize::try_from(rows)?)
        }))
    }

    fn hint(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.hint.wait(&self.seen))
    }

    fn clean_up(&self) -> BoxFuture<'_, Result<bool, BoxError>> {
        Box::pin(self.in_time(async move {
            let mut held = self.shared.own.take().await?;
            let (texts, db) = held.parts()?;
            texts.forget_dead.query().execute(&mut *db).await?;
            let forgotten = texts.forget_attempts.query().execute(db).await?.rows_affected();
            held.give_back();
            Ok(forgotten >= inbox::FORGOTTEN_MAX)
        }))
    }
}

/// Sees which numbers have rows: first all of them, and then those that are committed.
async fn look(
    texts: &Texts,
    db: &mut MySqlConnection,
    above: i64,
    up_to: i64,
    watched: impl Iterator<Item = i64>,
) -> Result<Look, sqlx::Error> {
    let seqs = texts.prefix.sql("SELECT seq FROM {p}outbox WHERE ");
    let between = format!("seq > {above} AND seq <= {up_to}");
    let end = format!("ORDER BY seq LIMIT {LOOK_ROWS}");
    let watched: String = watched.map(|seq| format!(", {seq}")).collect();
    let text = format!(
        "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; {seqs}{between} OR seq IN (-1{watched}) {end}; {seqs}{between} {end}"
    );
    let mut answers = sqlx::raw_sql(AssertSqlSafe(text)).fetch_many(db);
    let mut shown = [Vec::new(), Vec::new()];
    let mut statement = 0;
    while let Some(answer) = answers.try_next().await? {
        match answer {
            Either::Left(_) => statement += 1,
            Either::Right(row) if statement == 1 => shown[0].push(row.try_get(0)?),
            Either::Right(row) => shown[1].push(row.try_get(0)?),
        }
    }
    let [any, committed] = shown;
    let ends = [&any, &committed].into_iter().filter(|seqs| seqs.len() >= LOOK_ROWS);
    let up_to = ends.filter_map(|seqs: &Vec<i64>| seqs.last().copied()).min().unwrap_or(up_to);
    Ok(Look { above, up_to, any, committed })
}

/// Where the data of a row is.
const DATA: usize = 5 + rows::COLUMNS - 1;

/// The next rows above a `seq`, and the lowest number that is watched and has a row by now. `None`: a row is larger than
/// its share, and it has to be asked again; a shorter answer would pass for the end of the outbox.
async fn next(
    shared: &Shared,
    texts: &Texts,
    db: &mut MySqlConnection,
    read: &Read,
    above: i64,
    watched: impl Iterator<Item = i64>,
) -> Result<Option<(Found, Option<i64>)>, BoxError> {
    let watched = serde_json::to_string(&watched.collect::<Vec<_>>())?;
    let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let (rows_max, bytes_max) = (read.rows_max.max(1), read.bytes_max.max(1));
    let measure = shared.measures.next();
    let query = match measure {
        Measure::Share => texts.read.query().bind(watched).bind(number((bytes_max / rows_max).max(1))),
        Measure::Sum => texts.read_summed.query().bind(watched),
    };
    let query = query
        .bind(above)
        .bind(read.buckets.bits())
        .bind(serde_json::to_string(&read.except)?)
        .bind(number(read.rows_max));
    let query = if measure == Measure::Sum { query.bind(number(bytes_max)) } else { query };
    let rows = query.fetch_all(db).await?;
    let mut found = Found { rows: Vec::with_capacity(rows.len()), floor: 0, generation: 0 };
    let mut common = Common::default();
    let mut appeared = None;
    for row in &rows {
        if let Some(generation) = row.try_get(0)? {
            (found.generation, appeared) = (generation, row.try_get(1)?);
        }
        let Some(seq) = row.try_get(2)? else { continue };
        if row.try_get::<Option<&[u8]>, _>(DATA)?.is_none() {
            shared.measures.is_large();
            return Ok(None);
        }
        found.rows.push(outbox_row(row, seq, shared, &mut common)?);
    }
    if appeared.is_some() {
        found.rows.clear();
    }
    found.rows.sort_unstable_by_key(|row| row.seq);
    Ok(Some((found, appeared)))
}

/// Up to where a read has looked.
fn end_of(rows: &[OutboxRow], read: &Read) -> i64 {
    let bytes: usize = rows.iter().map(|row| row.envelope.data.len()).sum();
    let is_full = rows.len() >= read.rows_max || bytes >= read.bytes_max.max(1);
    match rows.last() {
        Some(last) if is_full => last.seq,
        None if read.rows_max == 0 => 0,
        _ => i64::MAX,
    }
}

fn outbox_row(row: &MySqlRow, seq: i64, shared: &Shared, common: &mut Common) -> Result<OutboxRow, BoxError> {
    let mut envelope = rows::read(row, 5, "outbox", common)?;
    envelope.sequence = Some(sequence(shared.incarnation.as_deref().unwrap_or_default(), seq));
    let source = envelope.source.clone();
    Ok(OutboxRow {
        seq,
        bucket: u8::try_from(row.try_get::<i64, _>(3)?)?,
        attempts: u32::try_from(row.try_get::<i64, _>(4)?)?,
        envelope: read_back(envelope, source),
    })
}
