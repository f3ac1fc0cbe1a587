//! What becomes of rows that a bus has answered for, where their partition keeps them: their bits are set, and only while
//! the relay that says so still holds their buckets.

use std::collections::BTreeMap;

use factum::port::{Lease, Settlement};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::{Partitioned, Partitions};
use crate::Postgres;
use crate::error::Error;
use crate::names::Names;
use crate::settle as plain;
use crate::texts::{Query, Text};

/// So many chunks beyond the one that is asked for get rows along with it.
const AHEAD: i64 = 16;

#[derive(Debug)]
pub(super) struct Texts {
    /// Sets bits, and need not be on the disk at once: see [`plain::confirmed`].
    mark: Text,
    /// The same within a transaction that does more.
    mark_within: Text,
    reached: Text,
    lock: Text,
    reach: Text,
}

impl Texts {
    pub(super) fn new(partitions: Partitions, names: &Names) -> Self {
        let fill = |text: &str| Text::from(names.fill(text));
        Self {
            mark: fill(&mark(partitions, "(SELECT set_config('synchronous_commit', 'off', true))")),
            mark_within: fill(&mark(partitions, "NULL")),
            reached: fill("SELECT max(chunk) FROM {prefix}outbox_settled"),
            lock: fill(LOCK),
            reach: fill(REACH),
        }
    }
}

/// `$1` chunks, `$2` the bits that are wanted in each, `$3` how many, `$4` and `$5` the first and the last number, `$6`
/// owner, `$7` and `$8` buckets and their epochs. As a rule all are there and may be settled: they are counted, and bits
/// are put together one by one only where that is not so. Answers how many bits were set that had not been, and the highest chunk that has no row
/// yet, of which nothing was set.
///
/// The planner does not see the lists, `(SELECT $1)`: it would count them, and plan anew each time.
///
/// Rows of chunks are locked in order, so that settlements never wait for each other in a circle, and what was not set is
/// counted on rows that are locked. A chunk below the highest that has no row is settled as a whole, and stays so.
fn mark(partitions: Partitions, last: &str) -> String {
    let (row, first) = (partitions.slot("o.seq"), partitions.slot("w.first"));
    let rows = format!(
        "FROM {{prefix}}outbox AS o WHERE o.seq >= w.first AND o.seq <= w.last AND {row} = {first}
         AND get_bit(w.mask, (o.seq & 1023)::integer) = 1 AND ((SELECT buckets FROM held) >> o.bucket) & 1 <> 0"
    );
    format!(
        "WITH want AS MATERIALIZED (
            SELECT w.chunk, w.mask::bit(1024) AS mask, w.rows, w.first, w.last
            FROM unnest((SELECT $1::bigint[]), (SELECT $2::text[]), (SELECT $3::bigint[]), (SELECT $4::bigint[]),
                (SELECT $5::bigint[])) AS w (chunk, mask, rows, first, last)),
         held AS MATERIALIZED (
            SELECT coalesce(bit_or(1::bigint << l.bucket::integer), 0) AS buckets FROM {{prefix}}lease AS l
            JOIN unnest((SELECT $7::smallint[]), (SELECT $8::bigint[])) AS mine (bucket, epoch) ON l.bucket = mine.bucket AND l.epoch = mine.epoch
            WHERE l.owner = $6),
         found AS MATERIALIZED (
            SELECT w.chunk, CASE WHEN r.rows = w.rows THEN w.mask
                ELSE (SELECT bit_or(set_bit(0::bit(1024), (o.seq & 1023)::integer, 1)) {rows}) END AS bits
            FROM want AS w CROSS JOIN LATERAL (SELECT count(*) AS rows {rows}) AS r WHERE r.rows > 0),
         locked AS MATERIALIZED (
            SELECT s.chunk, s.bits FROM {{prefix}}outbox_settled AS s WHERE s.chunk IN (SELECT chunk FROM found)
            ORDER BY s.chunk FOR UPDATE OF s),
         new AS MATERIALIZED (
            SELECT l.chunk, l.bits | f.bits AS bits, f.bits & ~l.bits AS added FROM locked AS l JOIN found AS f USING (chunk)),
         marked AS (
            UPDATE {{prefix}}outbox_settled AS s SET bits = n.bits FROM new AS n
            WHERE s.chunk = n.chunk AND n.added <> 0::bit(1024))
         SELECT (SELECT coalesce(sum(length(replace(added::text, '0', ''))), 0) FROM new),
            (SELECT max(f.chunk) FROM found AS f WHERE f.chunk > (SELECT max(chunk) FROM {{prefix}}outbox_settled)),
            {last}"
    )
}

/// Whoever gives chunks their rows does so alone, and sees what others have done: none is given one again that was full,
/// and removed.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('{prefix}outbox_settled', 0)),
    set_config('synchronous_commit', 'off', true)";

/// Up to chunk `$1` and some more, and no further than numbers have been drawn. Without a gap: what has none and is not
/// above all that have is settled.
const REACH: &str = "INSERT INTO {prefix}outbox_settled (chunk, bits)
    SELECT n, 0::bit(1024) FROM generate_series((SELECT max(chunk) + 1 FROM {prefix}outbox_settled),
        (SELECT least($1, last_value >> 10) + $2 FROM {prefix}outbox_seq_seq)) AS n";

/// Whether the number of row `o` is left.
fn unsettled() -> String {
    "(o.seq >> 10 > (SELECT max(chunk) FROM {prefix}outbox_settled) OR EXISTS (
        SELECT 1 FROM {prefix}outbox_settled AS s WHERE s.chunk = o.seq >> 10
        AND get_bit(s.bits, (o.seq & 1023)::integer) = 0))"
        .into()
}

pub(super) fn failed() -> String {
    format!("{} AND {}", plain::FAILED, unsettled())
}

pub(super) fn given_up() -> String {
    let order = "ORDER BY o.seq ON CONFLICT";
    plain::given_up().replace(order, &format!("AND {} {order}", unsettled()))
}

/// Numbers, as bits of their chunks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    chunks: Vec<i64>,
    /// As PostgreSQL reads a string of bits: `x` and hexadecimal digits, the bit of the lowest number first.
    masks: Vec<String>,
    rows: Vec<i64>,
    firsts: Vec<i64>,
    lasts: Vec<i64>,
}

impl Wanted {
    fn of(seqs: impl IntoIterator<Item = i64>) -> Self {
        let mut chunks: BTreeMap<i64, (i64, i64, [u8; 256])> = BTreeMap::new();
        for seq in seqs {
            let (first, last, digits) = chunks.entry(seq >> 10).or_insert((seq, seq, [0; 256]));
            (*first, *last) = ((*first).min(seq), (*last).max(seq));
            let [low, high, ..] = (seq & 1023).to_le_bytes();
            let bit = usize::from(u16::from_le_bytes([low, high]));
            if let Some(digit) = digits.get_mut(bit / 4) {
                *digit |= 8 >> (bit % 4);
            }
        }
        let mut wanted = Self::default();
        for (chunk, (first, last, digits)) in chunks {
            wanted.rows.push(digits.iter().map(|digit| i64::from(digit.count_ones())).sum());
            let digits = digits.iter().filter_map(|digit| char::from_digit(u32::from(*digit), 16));
            wanted.chunks.push(chunk);
            wanted.masks.push(std::iter::once('x').chain(digits).collect());
            wanted.firsts.push(first);
            wanted.lasts.push(last);
        }
        wanted
    }

    fn bind(self, query: Query, owner: &str, leases: &[Lease]) -> Query {
        let query =
            query.bind(self.chunks).bind(self.masks).bind(self.rows).bind(self.firsts).bind(self.lasts);
        query.bind(owner.to_owned()).bind(plain::buckets(leases)).bind(plain::epochs(leases))
    }
}

/// How many were marked, and the highest chunk that has no row yet.
fn marked(row: Option<&PgRow>) -> Result<(u64, Option<i64>), sqlx::Error> {
    let row = row.ok_or(sqlx::Error::RowNotFound)?;
    Ok((row.try_get::<i64, _>(0)?.unsigned_abs(), row.try_get(1)?))
}

pub(crate) async fn settle(
    store: &Postgres,
    partitioned: &Partitioned,
    owner: &str,
    leases: &[Lease],
    settlement: &Settlement,
) -> Result<u64, Error> {
    let (own, texts, sessions) = (&partitioned.settling, &store.shared.texts, &store.shared.sessions);
    if settlement.failed.is_empty() && settlement.given_up.is_empty() {
        let mut changed = 0;
        // Once more where a chunk had no row; it has one then.
        for _ in 0..2 {
            let wanted = Wanted::of(settlement.confirmed.iter().copied());
            let query = wanted.bind(texts.query(&own.mark), owner, leases);
            let rows = sessions.fetch(&texts.begin_own, query).await?;
            let (marked, beyond) = marked(rows.first())?;
            changed += marked;
            let Some(beyond) = beyond else { break };
            own.reach(store, beyond).await?;
        }
        return Ok(changed);
    }
    let given_up = settlement.given_up.iter().map(|row| row.seq);
    let gone: Vec<_> = settlement.confirmed.iter().copied().chain(given_up).collect();
    if let Some(last) = gone.iter().max() {
        own.reach_if_need_be(store, last >> 10).await?;
    }
    let mut held = store.own().await?;
    let rows = all(store, own, held.connection(), owner, leases, settlement, gone).await;
    let rows = held.note(rows)?;
    held.finish().await?;
    Ok(rows)
}

/// All kinds, in the order of locks: leases first, chunks after the rows of the outbox.
async fn all(
    store: &Postgres,
    own: &Texts,
    db: &mut PgConnection,
    owner: &str,
    leases: &[Lease],
    settlement: &Settlement,
    gone: Vec<i64>,
) -> Result<u64, sqlx::Error> {
    let texts = &store.shared.texts;
    let held = plain::fence(texts, &mut *db, owner, leases).await?;
    let within = |text: &Text, rows: Vec<i64>| texts.query(text).bind(rows).bind(held.clone());
    let mut changed = 0;
    if !settlement.failed.is_empty() {
        let query = within(&texts.failed, settlement.failed.iter().map(|row| row.seq).collect());
        changed += plain::bind_failed(query, &settlement.failed).execute(&mut *db).await?.rows_affected();
    }
    let given_up: Vec<_> = settlement.given_up.iter().map(|row| row.seq).collect();
    if !given_up.is_empty() {
        let query = within(&texts.given_up, given_up.clone());
        plain::bind_given_up(query, &settlement.given_up).execute(&mut *db).await?;
    }
    let query = Wanted::of(gone).bind(texts.query(&own.mark_within), owner, leases);
    changed += marked(Some(&query.fetch_one(&mut *db).await?))?.0;
    if !given_up.is_empty() {
        // It is among the dead letters, and may come back under its number.
        within(&texts.gone, given_up).execute(&mut *db).await?;
    }
    Ok(changed)
}

impl Texts {
    async fn reach_if_need_be(&self, store: &Postgres, chunk: i64) -> Result<(), Error> {
        let texts = &store.shared.texts;
        let rows = store.shared.sessions.fetch(&texts.begin_own, texts.query(&self.reached)).await?;
        let reached: i64 = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
        if reached < chunk { self.reach(store, chunk).await } else { Ok(()) }
    }

    /// Gives chunks up to this one their rows.
    async fn reach(&self, store: &Postgres, chunk: i64) -> Result<(), Error> {
        let texts = &store.shared.texts;
        let mut held = store.own().await?;
        let done = async {
            let db = held.connection();
            texts.query(&self.lock).execute(&mut *db).await?;
            texts.query(&self.reach).bind(chunk).bind(AHEAD).execute(&mut *db).await
        };
        let done = done.await;
        held.note(done)?;
        Ok(held.finish().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_bits_of_their_chunks_the_lowest_first() {
        let wanted = Wanted::of([1023, 1, 1024 + 6, 1022]);
        assert_eq!(
            (&*wanted.chunks, &*wanted.firsts, &*wanted.lasts),
            (&[0, 1][..], &[1, 1030][..], &[1023, 1030][..])
        );
        assert_eq!(wanted.rows, [3, 1]);
        assert_eq!(wanted.masks[0], format!("x4{}3", "0".repeat(254)));
        assert_eq!(wanted.masks[1], format!("x02{}", "0".repeat(254)));
        assert_eq!(Wanted::of([]), Wanted::default());
    }
}
