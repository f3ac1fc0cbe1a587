//! What becomes of rows that a bus has answered for: deleted, tried again, or kept as dead letters, and only while the
//! relay that says so still holds their buckets.

use std::time::Duration;

use factum::port::{FailedTry, GivenUp, Lease, Settlement};
use sqlx::PgConnection;

use crate::Postgres;
use crate::dead_letters::holds;
use crate::error::Error;
use crate::partitioned;
use crate::rows::COLUMNS;
use crate::texts::{Query, Text, Texts};

/// `$1` rows, `$2` owner, `$3` and `$4` buckets and their epochs. It may commit without waiting for the disk: what a
/// crash of the database takes back is published again, and nothing is lost. Of a list that the planner does not see,
/// `(SELECT $1)`, it believes that it is short, and looks each row up; and the set of buckets is made once, where a
/// subquery would be joined row by row, and an array walked.
pub(crate) fn confirmed(which: &str) -> String {
    format!(
        "DELETE FROM {{prefix}}outbox WHERE {which}
         AND ((SELECT coalesce(bit_or(1::bigint << l.bucket::integer), 0) FROM {{prefix}}lease AS l
             JOIN unnest((SELECT $3::smallint[]), (SELECT $4::bigint[])) AS mine (bucket, epoch) ON l.bucket = mine.bucket AND l.epoch = mine.epoch
             WHERE l.owner = (SELECT $2::text)) >> bucket) & 1 <> 0
         AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL"
    )
}

/// Any rows.
pub(crate) const LISTED: &str = "seq = ANY ((SELECT $1)::bigint[])";

/// Any rows, in ascending order, of which few are left out: the index is walked from the first to the last, and each row
/// looked up in a hash of the list. It takes half of what a look into the index for each row takes. `NOT IN` is looked up
/// in a hash; `IN` would become a join, row by row.
pub(crate) const DENSE: &str =
    "seq >= (SELECT ($1::bigint[])[1]) AND seq <= (SELECT ($1::bigint[])[cardinality($1)])
         AND NOT (seq NOT IN (SELECT unnest((SELECT $1::bigint[]))))";

/// Whether at least half of the numbers from the first to the last are in the list.
fn is_dense(seqs: &[i64]) -> bool {
    match (seqs.first(), seqs.last()) {
        (Some(first), Some(last)) => last.abs_diff(*first) < 2 * seqs.len() as u64,
        _ => false,
    }
}

/// Which of the leases still hold; nobody takes one of them over before this transaction has ended. What is kept as a dead
/// letter is kept for good, whatever a commit is by default.
pub(crate) const FENCE: &str = "SELECT l.bucket FROM {prefix}lease AS l
    JOIN unnest($2::smallint[], $3::bigint[]) AS mine (bucket, epoch) ON l.bucket = mine.bucket AND l.epoch = mine.epoch
    WHERE l.owner = $1 AND (SELECT CASE WHEN current_setting('synchronous_commit') <> 'off' THEN 'kept'
        ELSE set_config('synchronous_commit', 'on', true) END) IS NOT NULL
    ORDER BY l.bucket FOR SHARE OF l";

/// `$1` rows, `$2` buckets that still hold.
pub(crate) const GONE: &str =
    "DELETE FROM {prefix}outbox WHERE seq = ANY ((SELECT $1)::bigint[]) AND bucket = ANY ($2)";

pub(crate) const FAILED: &str = "UPDATE {prefix}outbox AS o SET attempts = try.attempts, reason = try.reason,
        next_attempt = clock_timestamp() + make_interval(secs => try.after / 1000.0)
    FROM unnest($1::bigint[], $3::integer[], $4::text[], $5::bigint[]) AS try (seq, attempts, reason, after)
    WHERE o.seq = try.seq AND o.bucket = ANY ($2)";

/// An event that was announced again, and is a dead letter already, must not keep all else from being settled.
pub(crate) fn given_up() -> String {
    let columns: Vec<_> = COLUMNS.split(", ").map(|column| format!("o.{column}")).collect();
    format!(
        "INSERT INTO {{prefix}}dead_letter (side, state, holds, ordering_key, seq, bucket, attempts, reason, at, {COLUMNS})
         SELECT ':relay', 'dead', last.holds, coalesce(o.partitionkey, o.id), o.seq, o.bucket, last.attempts, last.reason,
            clock_timestamp(), {}
         FROM unnest($1::bigint[], $3::integer[], $4::text[], $5::smallint[]) AS last (seq, attempts, reason, holds)
         JOIN {{prefix}}outbox AS o ON o.seq = last.seq WHERE o.bucket = ANY ($2)
         ORDER BY o.seq ON CONFLICT DO NOTHING",
        columns.join(", ")
    )
}

pub(crate) fn buckets(leases: &[Lease]) -> Vec<i16> {
    leases.iter().map(|lease| i16::from(lease.bucket)).collect()
}

pub(crate) fn epochs(leases: &[Lease]) -> Vec<i64> {
    leases.iter().map(|lease| lease.epoch).collect()
}

pub(crate) async fn settle(
    store: &Postgres,
    owner: &str,
    leases: &[Lease],
    settlement: &Settlement,
) -> Result<usize, Error> {
    let texts = &store.shared.texts;
    if settlement.is_empty() {
        return Ok(0);
    }
    let rows = if let Some(own) = &store.shared.partitioned {
        partitioned::settle(store, own, owner, leases, settlement).await?
    } else if settlement.failed.is_empty() && settlement.given_up.is_empty() {
        let mut seqs = settlement.confirmed.clone();
        seqs.sort_unstable();
        let text = if is_dense(&seqs) { &texts.confirmed_dense } else { &texts.confirmed };
        let query = texts.query(text).bind(seqs).bind(owner.to_owned());
        let query = query.bind(buckets(leases)).bind(epochs(leases));
        store.shared.sessions.execute(&texts.begin_own, query).await?
    } else {
        let mut held = store.own().await?;
        let rows = all(texts, held.connection(), owner, leases, settlement).await;
        let rows = held.note(rows)?;
        held.finish().await?;
        rows
    };
    Ok(usize::try_from(rows).unwrap_or(usize::MAX))
}

/// All kinds, in the order of locks: leases first.
async fn all(
    texts: &Texts,
    db: &mut PgConnection,
    owner: &str,
    leases: &[Lease],
    settlement: &Settlement,
) -> Result<u64, sqlx::Error> {
    let held = fence(texts, &mut *db, owner, leases).await?;
    let within = |text: &Text, rows: Vec<i64>| texts.query(text).bind(rows).bind(held.clone());
    let mut changed = 0;
    if !settlement.confirmed.is_empty() {
        let query = within(&texts.gone, settlement.confirmed.clone());
        changed += query.execute(&mut *db).await?.rows_affected();
    }
    if !settlement.failed.is_empty() {
        let query = within(&texts.failed, settlement.failed.iter().map(|row| row.seq).collect());
        changed += bind_failed(query, &settlement.failed).execute(&mut *db).await?.rows_affected();
    }
    if !settlement.given_up.is_empty() {
        let rows = || settlement.given_up.iter().map(|row| row.seq).collect();
        let query = within(&texts.given_up, rows());
        bind_given_up(query, &settlement.given_up).execute(&mut *db).await?;
        changed += within(&texts.gone, rows()).execute(&mut *db).await?.rows_affected();
    }
    Ok(changed)
}

/// The buckets that still hold.
pub(crate) async fn fence(
    texts: &Texts,
    db: &mut PgConnection,
    owner: &str,
    leases: &[Lease],
) -> Result<Vec<i16>, sqlx::Error> {
    let fence = texts.query(&texts.fence).bind(owner.to_owned()).bind(buckets(leases)).bind(epochs(leases));
    fence.fetch_all(db).await?.iter().map(|row| sqlx::Row::try_get(row, 0)).collect()
}

pub(crate) fn bind_failed(query: Query, failed: &[FailedTry]) -> Query {
    let after = |after: Duration| i64::try_from(after.as_millis()).unwrap_or(i64::MAX).min(1 << 50);
    query
        .bind(failed.iter().map(|row| attempts(row.attempts)).collect::<Vec<_>>())
        .bind(failed.iter().map(|row| text(&row.reason)).collect::<Vec<_>>())
        .bind(failed.iter().map(|row| after(row.again_after)).collect::<Vec<_>>())
}

pub(crate) fn bind_given_up(query: Query, given_up: &[GivenUp]) -> Query {
    query
        .bind(given_up.iter().map(|row| attempts(row.attempts)).collect::<Vec<_>>())
        .bind(given_up.iter().map(|row| text(&row.reason)).collect::<Vec<_>>())
        .bind(given_up.iter().map(|row| holds(row.policy)).collect::<Vec<_>>())
}

fn attempts(attempts: u32) -> i32 {
    i32::try_from(attempts).unwrap_or(i32::MAX)
}

/// PostgreSQL keeps no NUL; a bus may say anything.
fn text(reason: &str) -> String {
    reason.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::is_dense;

    #[test]
    fn a_list_is_dense_where_at_least_half_of_its_range_is_in_it() {
        for dense in [&[7][..], &[7, 8, 9], &[7, 9], &[7, 10], &[7, 8, 12]] {
            assert!(is_dense(dense), "{dense:?}");
        }
        for sparse in [&[][..], &[7, 11], &[7, 8, 13], &[i64::MIN, i64::MAX]] {
            assert!(!is_dense(sparse), "{sparse:?}");
        }
    }
}
