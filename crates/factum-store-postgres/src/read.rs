//! What a relay reads: rows that are committed, durable and not held back, and no younger one of a key before an older.

use std::sync::PoisonError;
use std::time::Instant;

use factum::port::{Found, Measure, OutboxRow, Read, read_back, sequence};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::Postgres;
use crate::error::Error;
use crate::rows::{self, READ, Reader};
use crate::writers::{Look, Shown, Verdict};

/// The last number that was drawn, and who may still commit a row of the outbox; see `writers`. The number comes first,
/// and is asked for before the locks are looked at: `MATERIALIZED`, and a list that depends on it. A role that may not see
/// the sequence is told of none.
const LOOK: &str = "(WITH drawn AS MATERIALIZED (SELECT coalesce(CASE
            WHEN has_sequence_privilege(s.name, 'USAGE, SELECT') THEN pg_sequence_last_value(s.name::regclass) END, 0) AS last
            FROM pg_get_serial_sequence('{prefix}outbox', 'seq') AS s (name))
        SELECT drawn.last::text || ARRAY (SELECT l.virtualtransaction FROM pg_catalog.pg_locks AS l
            WHERE l.locktype = 'relation' AND l.relation = '{prefix}outbox'::regclass
            AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
            AND l.mode = 'RowExclusiveLock' AND l.granted AND drawn.last >= 0)
        FROM drawn)";

/// Asked at the first row that is shown and not known to be durable, after the snapshot was taken, and once: a subquery
/// that depends on nothing. A commit is visible before it is durable where its `synchronous_commit` is off; all others are
/// made visible when they are on the disk. Each row says what it was when the row was written. If the log is not on the
/// disk as far as it is written, this statement writes a record, and waits for its own commit: then all that it has seen
/// is on the disk too. True or false where it was asked, and either way that is so.
const BARRIER: &str = "(SELECT CASE WHEN pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn() THEN
            CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END
            IS NULL OR pg_logical_emit_message(true, 'factum', '') IS NOT NULL
        ELSE false END)";

/// Whether the commit of a row did not wait for the disk, and may be younger than `$6`: transactions that had ended when
/// everything was last known to be on the disk. A long outbox was written by such; without this each read of it would wait
/// for the disk, because settlements write to the log all the time.
///
/// Numbers of transactions go round: a mark that is half-way round is none, and everything is young.
const YOUNG: &str =
    "NOT o.synchronous AND age(o.xmin) <= (SELECT CASE WHEN age(mark) BETWEEN 0 AND 1000000000 THEN age(mark) ELSE 2147483647 END
        FROM (SELECT $6::text::xid AS mark) AS m)";

/// `$1` above, `$2` buckets, `$3` rows, `$4` bytes, see [`Measure`], `$5` not these, `$6` see [`YOUNG`]. First one row of
/// facts, then the rows: all by one snapshot. A batch takes no more memory than it may.
///
/// Whether any dead letter holds anything is asked once, and only if one does is each row looked up.
///
/// So that the planner walks the index, whatever it believes about the table: it takes `= 1` for rare, and `<> 0` for
/// common; and a number that it does not see, `(SELECT $3)`, for small. `NOT IN` of a subquery is looked up in a hash;
/// `<> ALL` of an array would be walked for each row.
pub(crate) fn text(look: bool, measure: Measure) -> String {
    text_of(&format!("{{prefix}}outbox AS o WHERE {SHOWN} {FIRST}"), look, measure)
}

/// What of these buckets is above, not in hand, and not held back.
pub(crate) const SHOWN: &str = "o.seq > (SELECT $1::bigint) AND ((SELECT $2::bigint) >> o.bucket) & 1 <> 0 AND o.seq NOT IN (SELECT unnest((SELECT $5::bigint[])))
                AND NOT EXISTS (SELECT 1 FROM {prefix}dead_letter WHERE side = ':relay' AND holds = 2)
                AND (NOT (SELECT EXISTS (SELECT 1 FROM {prefix}dead_letter WHERE side = ':relay' AND holds > 0))
                    OR NOT EXISTS (SELECT 1 FROM {prefix}dead_letter AS d WHERE d.side = ':relay' AND d.holds > 0
                        AND d.source = o.source AND d.ordering_key = coalesce(o.partitionkey, o.id)))";

/// The oldest of them.
pub(crate) const FIRST: &str = "ORDER BY o.seq LIMIT (SELECT $3::bigint)";

/// Whatever the rows, called `o`, are taken from.
pub(crate) fn text_of(rows: &str, look: bool, measure: Measure) -> String {
    let nothing = ["text"; 3].map(|kind| format!("NULL::{kind}")).join(", ");
    let look = if look { LOOK } else { "NULL::text[]" };
    let facts = format!(
        "SELECT m.generation AS seq, NULL::smallint, NULL::integer, {look}, NULL::boolean,
            m.incarnation, pg_snapshot_xmin(pg_current_snapshot())::text, {nothing}, NULL::timestamptz, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text,
            NULL::text, NULL::text, NULL::bytea
         FROM {{prefix}}meta AS m"
    );
    let columns =
        |of: &str| READ.split(", ").map(|column| format!("{of}.{column}")).collect::<Vec<_>>().join(", ");
    match measure {
        Measure::Share => {
            let columns = columns("o");
            let columns = columns.strip_suffix("o.data").unwrap_or(&columns);
            format!(
                "{facts} UNION ALL
                (SELECT o.seq, o.bucket, o.attempts, NULL::text[], CASE WHEN {YOUNG} THEN {BARRIER} END, {columns}
                    CASE WHEN octet_length(o.data) <= (SELECT $4::bigint) THEN o.data END FROM {rows})"
            )
        }
        Measure::Sum => {
            let columns = columns("r");
            format!(
                "{facts} UNION ALL
                SELECT r.seq, r.bucket, r.attempts, NULL::text[], CASE WHEN r.is_young THEN {BARRIER} END, {columns}
                FROM (SELECT n.*, sum(octet_length(n.data)) OVER (ORDER BY n.seq ROWS UNBOUNDED PRECEDING)
                        - octet_length(n.data) AS before
                    FROM (SELECT o.*, {YOUNG} AS is_young FROM {rows}) AS n) AS r
                WHERE r.before < (SELECT $4::bigint)"
            )
        }
    }
}

/// Where [`BARRIER`] is.
const BARRIER_AT: usize = 4;

/// Where the columns of an envelope begin.
const ENVELOPE: usize = 5;

/// Where the data is.
const DATA: usize = ENVELOPE + rows::COUNT - 1;

/// A read that missed a writer is made again; after so many no writer is left alone.
const AGAIN_MAX: usize = 2;

pub(crate) async fn read(store: &Postgres, read: &Read) -> Result<Found, Error> {
    let mut tries = 0;
    loop {
        let writers = || {
            let mut writers = store.shared.writers.lock().unwrap_or_else(PoisonError::into_inner);
            writers.of_life(store.shared.sessions.opened());
            writers
        };
        let opened = store.shared.sessions.opened();
        let plan = writers().plan(read, tries >= AGAIN_MAX, Instant::now());
        let Some((found, shown)) = ask(store, read, plan.begin, plan.look).await? else { continue };
        let mut writers = writers();
        if store.shared.sessions.opened() != opened {
            continue;
        }
        match writers.absorb(&plan, &shown, Instant::now()) {
            Verdict::Sound(floor) => return Ok(Found { floor, ..found }),
            Verdict::Again => tries += 1,
        }
    }
}

/// `None`: it has to be asked again. What was known to be durable may be of another life of the server than the one that
/// has answered, or a row is larger than its share.
async fn ask(store: &Postgres, read: &Read, begin: i64, look: bool) -> Result<Option<(Found, Shown)>, Error> {
    let (texts, sessions) = (&store.shared.texts, &store.shared.sessions);
    let opened = sessions.opened();
    let durable = if sessions.manners().pooled { 0 } else { store.shared.durable.below(opened) };
    // Of a number of 64 bits the database keeps 32 with each row.
    let [_, _, _, _, low @ ..] = durable.to_be_bytes();
    let (rows_max, bytes_max) = (read.rows_max.max(1), read.bytes_max.max(1));
    let measure = store.shared.measures.next();
    let (plain, looking, bytes) = match measure {
        Measure::Share => (&texts.read, &texts.read_and_look, (bytes_max / rows_max).max(1)),
        Measure::Sum => (&texts.read_summed, &texts.read_summed_and_look, bytes_max),
    };
    let text = if look { looking } else { plain };
    let query = texts
        .query(text)
        .bind(begin)
        .bind(read.buckets.bits().cast_signed())
        .bind(i64::try_from(read.rows_max).unwrap_or(i64::MAX))
        .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
        .bind(read.except.clone())
        .bind(u32::from_be_bytes(low).to_string());
    let rows = sessions.fetch(&texts.begin_own, query).await?;
    let same_life = sessions.opened() == opened;
    if durable != 0 && !same_life {
        return Ok(None);
    }
    let mut rows = rows.into_iter();
    let facts = rows.next().ok_or(sqlx::Error::RowNotFound)?;
    let incarnation: &str = facts.try_get(ENVELOPE)?;
    let ended: &str = facts.try_get(ENVELOPE + 1)?;
    let mut reader = Reader::default();
    let mut is_durable = false;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        is_durable |= row.try_get_unchecked::<Option<bool>, _>(BARRIER_AT)?.is_some();
        if row.try_get_unchecked::<Option<&[u8]>, _>(DATA)?.is_none() {
            // A shorter answer would pass for the end of the outbox.
            store.shared.measures.is_large();
            return Ok(None);
        }
        found.push(outbox_row(&mut reader, &row, incarnation)?);
    }
    if is_durable && same_life {
        // All that this read could see is on the disk: whatever such a transaction wrote needs no waiting any more.
        store.shared.durable.note(opened, ended.parse().unwrap_or_default());
    }
    let bytes: usize = found.iter().map(|row| row.envelope.data.len()).sum();
    let shown = Shown {
        last: found.last().map(|row| row.seq),
        cut: found.len() >= read.rows_max || bytes >= bytes_max,
        look: facts.try_get::<Option<Vec<String>>, _>(3)?.and_then(Look::read),
    };
    Ok(Some((Found { rows: found, floor: 0, generation: facts.try_get(0)? }, shown)))
}

fn outbox_row(reader: &mut Reader, row: &PgRow, incarnation: &str) -> Result<OutboxRow, Error> {
    let seq = row.try_get_unchecked(0)?;
    let bucket: i16 = row.try_get_unchecked(1)?;
    let attempts: i32 = row.try_get_unchecked(2)?;
    let mut envelope = reader.envelope(row, ENVELOPE, "factum_outbox")?;
    envelope.sequence = Some(sequence(incarnation, seq));
    let source = envelope.source.clone();
    Ok(OutboxRow {
        seq,
        bucket: bucket.to_le_bytes()[0],
        attempts: attempts.unsigned_abs(),
        envelope: read_back(envelope, source),
    })
}
