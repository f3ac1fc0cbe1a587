//! Partitions are emptied whole, once it is proven that nothing in them is left, and nothing is lost to whoever comes after.
//!
//! Two proofs, one for numbers and one for rows.
//!
//! **A number without a row** (its transaction was rolled back) is *closed* like a settled one, once nobody may still
//! commit a row with it. Whoever draws a number holds a lock on the outbox from before that until after his end is visible
//! (see `writers`). So: read how far numbers have been drawn; then see who holds the lock; wait until none of these does.
//! A snapshot that is taken after that shows every row up to that number that there will ever be. A transaction that
//! stays open for hours holds up the closing of numbers, and nothing else: numbers that all have their rows need none.
//! What a look has shown is kept in the database, not in a process: after a crash, or on a replica that is promoted, the
//! sequence may be behind what a process remembers, but never behind what that same database remembers.
//!
//! **A partition** is emptied under its own `ACCESS EXCLUSIVE` lock. No open transaction has a row in it then, prepared
//! ones included: each would hold a lock on it. What is committed in it is seen by a snapshot taken under the lock, and
//! whether all of that is settled is read off the chunks. Whoever has drawn a number of this partition and not yet come
//! to its lock inserts into an empty partition afterwards, and nothing of his is lost. So it needs no more than that, and
//! `TRUNCATE` waits for nobody else: neither for writers, who are in other partitions, nor for a lock on the whole table.
//!
//! The partition that is written, and the one that will be soon, are left alone. The lock is waited for so briefly that
//! relays, which read all partitions, hardly notice.

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::{COUNT, FULL, Partitioned, Partitions};
use crate::Postgres;
use crate::error::{Error, code};
use crate::names::Names;
use crate::texts::Text;

/// How many chunks are looked through at a time.
const CHUNKS_MAX: i64 = 256;

/// How many full ones are removed at a time.
const REMOVED_MAX: i64 = 10_000;

#[derive(Debug)]
pub(super) struct Texts {
    remembered: Text,
    drawn: Text,
    look: Text,
    remember: Text,
    close: Text,
    remove: Text,
    ripe: Text,
    /// By partition.
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    lock: Text,
    is_settled: Text,
    empty: Text,
}

impl Texts {
    pub(super) fn new(partitions: Partitions, names: &Names) -> Self {
        let fill = |text: &str| Text::from(names.fill(text));
        let slot = |slot| Slot {
            lock: fill(&lock(slot)),
            is_settled: fill(&format!("SELECT {}", is_settled(partitions, slot))),
            empty: fill(&format!("TRUNCATE TABLE {{prefix}}outbox_{slot}")),
        };
        Self {
            remembered: fill(REMEMBERED),
            drawn: fill(DRAWN),
            look: fill(LOOK),
            remember: fill(REMEMBER),
            close: fill(&close(partitions)),
            remove: fill(&remove()),
            ripe: fill(&ripe(partitions)),
            slots: (0..COUNT).map(slot).collect(),
        }
    }
}

/// One at a time: who finds it locked leaves it to the other.
const REMEMBERED: &str =
    "SELECT proven, drawn, writers, after FROM {prefix}outbox_closing FOR UPDATE SKIP LOCKED";

const REMEMBER: &str = "UPDATE {prefix}outbox_closing SET proven = $1, drawn = $2, writers = $3, after = $4";

const DRAWN: &str = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {prefix}outbox_seq_seq";

const LOOK: &str = "SELECT DISTINCT l.virtualtransaction FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'relation' AND l.relation = '{prefix}outbox'::regclass
    AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    AND l.mode = 'RowExclusiveLock' AND l.granted";

/// Chunks above `$1` that end at or below `$2`, `$3` at most: sets the bits of all numbers that have no row. Answers how
/// many it has looked through, the last of them, and how many it has changed. Whoever puts a dead letter back clears a bit
/// together with the row that it stands for: a chunk in which anything has changed since the rows were looked at is left
/// for the next time. It waits for nobody.
fn close(partitions: Partitions) -> String {
    let (row, first) = (partitions.slot("o.seq"), partitions.slot("(c.chunk << 10)"));
    format!(
        "WITH seen AS MATERIALIZED (
            SELECT s.chunk, s.bits FROM {{prefix}}outbox_settled AS s
            WHERE s.chunk > $1 AND s.chunk < ($2::bigint + 1) >> 10 AND s.bits <> {FULL} ORDER BY s.chunk LIMIT $3),
         there AS MATERIALIZED (
            SELECT c.chunk, c.bits, r.rows FROM seen AS c CROSS JOIN LATERAL (
                SELECT coalesce(bit_or(set_bit(0::bit(1024), (o.seq & 1023)::integer, 1)), 0::bit(1024)) AS rows
                FROM {{prefix}}outbox AS o
                WHERE o.seq >= c.chunk << 10 AND o.seq <= (c.chunk << 10) + 1023 AND {row} = {first}) AS r),
         locked AS MATERIALIZED (
            SELECT s.chunk, s.bits FROM {{prefix}}outbox_settled AS s WHERE s.chunk IN (SELECT chunk FROM seen)
            ORDER BY s.chunk FOR UPDATE OF s SKIP LOCKED),
         closed AS (
            UPDATE {{prefix}}outbox_settled AS s SET bits = t.bits | ~t.rows FROM there AS t JOIN locked AS l USING (chunk)
            WHERE s.chunk = t.chunk AND l.bits = t.bits AND (t.bits | ~t.rows) <> t.bits RETURNING s.chunk)
         SELECT (SELECT count(*) FROM seen), (SELECT max(chunk) FROM seen), (SELECT count(*) FROM closed)"
    )
}

/// The highest stays: what lies above it is not settled.
fn remove() -> String {
    format!(
        "WITH full_ones AS MATERIALIZED (
            SELECT s.chunk FROM {{prefix}}outbox_settled AS s
            WHERE s.bits = {FULL} AND s.chunk < (SELECT max(chunk) FROM {{prefix}}outbox_settled)
            ORDER BY s.chunk LIMIT $1 FOR UPDATE OF s SKIP LOCKED)
         DELETE FROM {{prefix}}outbox_settled AS s WHERE s.chunk IN (SELECT chunk FROM full_ones)"
    )
}

/// Whether nothing in a partition is left. What has been drawn is asked for after the snapshot: a row that this shows has
/// a number up to that. Chunks beyond it have their rows ahead of time.
fn is_settled(partitions: Partitions, slot: i64) -> String {
    let of = partitions.slot("(s.chunk << 10)");
    format!(
        "(NOT EXISTS (SELECT 1 FROM {{prefix}}outbox_settled AS s WHERE {of} = {slot} AND s.bits <> {FULL}
            AND s.chunk <= (SELECT last_value >> 10 FROM {{prefix}}outbox_seq_seq))
          AND NOT EXISTS (SELECT 1 FROM {{prefix}}outbox_{slot} AS o
            WHERE o.seq >= (SELECT (max(chunk) + 1) << 10 FROM {{prefix}}outbox_settled)))"
    )
}

/// By partition: whether it takes any room and is not about to be written, and whether nothing in it is left.
fn ripe(partitions: Partitions) -> String {
    let (now, soon) =
        (partitions.slot("last_value"), partitions.slot(&format!("(last_value + {})", partitions.rows / 4)));
    let one = |slot| {
        format!(
            "SELECT {slot} AS slot, pg_relation_size('{{prefix}}outbox_{slot}') > 0 AND {slot} NOT IN ({now}, {soon}) AS takes,
                {} AS is_settled FROM {{prefix}}outbox_seq_seq",
            is_settled(partitions, slot)
        )
    };
    (0..COUNT).map(one).collect::<Vec<_>>().join(" UNION ALL ")
}

/// Readers of all partitions wait behind whoever waits for the lock.
fn lock(slot: i64) -> String {
    format!("SET LOCAL lock_timeout = '50ms'; LOCK TABLE {{prefix}}outbox_{slot} IN ACCESS EXCLUSIVE MODE")
}

/// A transaction that holds the lock on the outbox.
type Writer = String;

/// What is known of numbers that nobody may use any more.
#[derive(Debug, Default)]
struct Closing {
    /// No row with a number up to this will ever be committed that is not there.
    proven: i64,
    /// The same will be true up to this,
    drawn: i64,
    /// once none of these holds the lock any more.
    writers: Vec<Writer>,
    /// The chunk that was looked through last.
    after: i64,
}

impl Closing {
    /// Takes in how far numbers have been drawn, and who held the lock after that.
    fn note(&mut self, drawn: i64, look: Vec<Writer>) {
        let before = self.writers.len();
        self.writers.retain(|writer| look.contains(writer));
        if self.writers.len() < before {
            // What is prepared may be one of those that are gone, under another name.
            self.writers.extend(look.iter().filter(|writer| writer.starts_with('-')).cloned());
        }
        if self.writers.is_empty() {
            self.proven = self.proven.max(self.drawn);
            self.drawn = drawn;
            self.writers = look;
        }
        if self.writers.is_empty() {
            self.proven = self.proven.max(self.drawn);
        }
    }
}

/// What became of a partition.
enum Emptied {
    Yes,
    /// Something is left in it after all.
    No,
    /// Somebody has a lock on it.
    Busy,
}

/// Closes, removes and empties; answers whether more may be emptied soon.
pub(crate) async fn clean_up(store: &Postgres, partitioned: &Partitioned) -> Result<bool, Error> {
    let (texts, own) = (&store.shared.texts, &partitioned.cleaning);
    let mut held = store.own().await?;
    let closed = look_and_close(store, own, held.connection()).await;
    held.note(closed)??;
    held.finish().await?;
    let remove = texts.query(&own.remove).bind(REMOVED_MAX);
    store.shared.sessions.execute(&texts.begin_own, remove).await?;
    let mut more = false;
    for row in store.shared.sessions.fetch(&texts.begin_own, texts.query(&own.ripe)).await? {
        let (slot, takes, is_settled): (i32, bool, bool) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let slot = usize::try_from(slot).ok().and_then(|slot| own.slots.get(slot));
        let Some(slot) = slot.filter(|_| takes) else { continue };
        match if is_settled { empty(store, slot).await? } else { Emptied::No } {
            Emptied::Yes => {}
            Emptied::No => more = true,
            Emptied::Busy => return Ok(false),
        }
    }
    Ok(more)
}

/// First how far, then who; and then, in statements of their own and so with younger snapshots, what has no row.
async fn look_and_close(
    store: &Postgres,
    own: &Texts,
    db: &mut PgConnection,
) -> Result<Result<(), Error>, sqlx::Error> {
    let texts = &store.shared.texts;
    let Some(row) = texts.query(&own.remembered).fetch_optional(&mut *db).await? else { return Ok(Ok(())) };
    let mut closing = Closing {
        proven: row.try_get(0)?,
        drawn: row.try_get(1)?,
        writers: row.try_get(2)?,
        after: row.try_get(3)?,
    };
    let drawn: i64 = texts.query(&own.drawn).fetch_one(&mut *db).await?.try_get(0)?;
    if drawn < closing.drawn {
        return Ok(Err(Error::SetBack { found: drawn, before: closing.drawn }));
    }
    let look = texts.query(&own.look).fetch_all(&mut *db).await?;
    let look = look.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Writer>, _>>()?;
    closing.note(drawn, look);
    let close = texts.query(&own.close).bind(closing.after).bind(closing.proven).bind(CHUNKS_MAX);
    let row = close.fetch_one(&mut *db).await?;
    let (seen, last): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    // Round and round: one that stays half full holds up no other.
    closing.after = last.filter(|_| seen == CHUNKS_MAX).unwrap_or(-1);
    let remember = texts.query(&own.remember).bind(closing.proven).bind(closing.drawn);
    remember.bind(closing.writers).bind(closing.after).execute(db).await?;
    Ok(Ok(()))
}

async fn empty(store: &Postgres, slot: &Slot) -> Result<Emptied, Error> {
    let texts = &store.shared.texts;
    let mut held = store.own().await?;
    let done = async {
        let db = held.connection();
        sqlx::raw_sql(AssertSqlSafe(Text::clone(&slot.lock))).execute(&mut *db).await?;
        let is_settled: bool = texts.query(&slot.is_settled).fetch_one(&mut *db).await?.try_get(0)?;
        if is_settled {
            sqlx::raw_sql(AssertSqlSafe(Text::clone(&slot.empty))).execute(&mut *db).await?;
        }
        Ok(is_settled)
    };
    let done = done.await;
    match held.note(done) {
        Ok(true) => {
            held.finish().await?;
            Ok(Emptied::Yes)
        }
        Ok(false) => {
            held.roll_back().await;
            Ok(Emptied::No)
        }
        Err(error) if code(&error).is_some_and(|code| code == LOCK_NOT_AVAILABLE) => {
            held.roll_back().await;
            Ok(Emptied::Busy)
        }
        Err(error) => Err(error.into()),
    }
}

const LOCK_NOT_AVAILABLE: &str = "55P03";

#[cfg(test)]
mod tests {
    use super::*;

    fn look<const N: usize>(writers: [&str; N]) -> Vec<Writer> {
        writers.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn where_nobody_writes_all_that_was_drawn_is_proven_at_once() {
        let mut closing = Closing::default();
        closing.note(70, look([]));
        assert_eq!(closing.proven, 70);
    }

    #[test]
    fn what_was_drawn_is_proven_once_whoever_was_seen_after_that_is_gone() {
        let mut closing = Closing::default();
        closing.note(70, look(["3/7", "4/1"]));
        closing.note(80, look(["3/7", "5/1"]));
        assert_eq!(closing.proven, 0);
        // Whoever came later holds nothing up: his numbers are above.
        closing.note(90, look(["5/1", "6/1"]));
        assert_eq!(closing.proven, 70);
        closing.note(95, look(["6/2"]));
        assert_eq!(closing.proven, 90);
    }

    #[test]
    fn a_transaction_that_is_prepared_under_another_name_is_not_gone() {
        let mut closing = Closing::default();
        closing.note(70, look(["3/7"]));
        for _ in 0..3 {
            closing.note(80, look(["-1/99", "4/1"]));
            assert_eq!(closing.proven, 0);
        }
        closing.note(90, look(["4/2"]));
        assert_eq!(closing.proven, 70);
    }
}
