//! Who may take which bucket, and for how long: judged by the database's clock alone, in one statement.

use std::time::Duration;

use factum::port::{Asked, Lease, Leased};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::error::Error;
use crate::texts::{Query, Texts};

/// `$1` owner, `$2` for how many ms, `$3` how many buckets at most, `$4` what to give back. What it has just given back it
/// takes again only where nothing else is free. Rows are locked in the order
/// of buckets, so that relays never wait for each other in a circle, and what is taken is decided on rows that are
/// locked: whoever waited for somebody who renewed finds that it is not free.
pub(crate) const LEASE: &str = "WITH
    clock AS MATERIALIZED (SELECT clock_timestamp() AS now, make_interval(secs => $2::bigint / 1000.0) AS lasts),
    presence AS (
        INSERT INTO {prefix}relay AS r (owner, until, lasts) SELECT $1, now + lasts, lasts FROM clock
        ON CONFLICT (owner) DO UPDATE SET until = excluded.until, lasts = excluded.lasts),
    others AS (
        SELECT count(*) AS relays FROM {prefix}relay AS r, clock
        WHERE r.owner <> $1 AND r.until > now AND r.until <= now + r.lasts),
    locked AS MATERIALIZED (
        SELECT l.bucket, l.owner IS NOT DISTINCT FROM $1 AS mine FROM {prefix}lease AS l
        WHERE l.owner IS NOT DISTINCT FROM $1 OR l.owner IS NULL OR l.until <= (SELECT now FROM clock)
            OR l.until > (SELECT now FROM clock) + l.lasts
        ORDER BY l.bucket FOR UPDATE OF l),
    kept AS (SELECT bucket FROM locked WHERE mine AND bucket <> ALL ($4::smallint[])),
    taken AS (
        SELECT bucket FROM locked WHERE bucket NOT IN (SELECT bucket FROM kept)
        ORDER BY mine, bucket LIMIT greatest($3 - (SELECT count(*) FROM kept), 0)),
    changed AS (
        UPDATE {prefix}lease AS l SET
            owner = CASE WHEN h.held THEN $1 END,
            epoch = l.epoch + h.new,
            until = CASE WHEN h.held THEN now + clock.lasts ELSE '-infinity' END,
            lasts = clock.lasts
        FROM clock, (
            SELECT bucket, true AS held, 0 AS new FROM kept
            UNION ALL SELECT bucket, true, 1 FROM taken
            UNION ALL SELECT bucket, false, 0 FROM locked
                WHERE mine AND bucket = ANY ($4::smallint[]) AND bucket NOT IN (SELECT bucket FROM taken)) AS h
        WHERE l.bucket = h.bucket RETURNING l.bucket, l.epoch, h.held)
    SELECT (SELECT relays FROM others) + 1,
        coalesce(array_agg(bucket ORDER BY bucket) FILTER (WHERE held), '{}'),
        coalesce(array_agg(epoch ORDER BY bucket) FILTER (WHERE held), '{}') FROM changed";

/// Gives all back.
pub(crate) const RELEASE: &str = "WITH
    gone AS (DELETE FROM {prefix}relay WHERE owner = $1),
    locked AS MATERIALIZED (
        SELECT bucket FROM {prefix}lease WHERE owner = $1 ORDER BY bucket FOR UPDATE)
    UPDATE {prefix}lease AS l SET owner = NULL, until = '-infinity' FROM locked WHERE l.bucket = locked.bucket";

/// Presences of relays that are long gone.
pub(crate) const CLEAN_UP: &str = "DELETE FROM {prefix}relay
    WHERE until < clock_timestamp() - interval '1 hour' OR until > clock_timestamp() + lasts + interval '1 hour'";

pub(crate) fn lease_query(texts: &Texts, owner: &str, asked: Asked) -> Query {
    let give_back: Vec<_> = asked.give_back.iter().map(i16::from).collect();
    texts
        .query(&texts.lease)
        .bind(owner.to_owned())
        .bind(millis(asked.duration))
        .bind(i64::try_from(asked.most).unwrap_or(i64::MAX))
        .bind(give_back)
}

/// At most a hundred years, so that no sum overflows.
fn millis(duration: Duration) -> i64 {
    const MAX: i64 = 100 * 365 * 24 * 3_600_000;
    i64::try_from(duration.as_millis()).unwrap_or(MAX).min(MAX)
}

pub(crate) fn leased(row: &PgRow) -> Result<Leased, Error> {
    let relays: i64 = row.try_get(0)?;
    let (buckets, epochs): (Vec<i16>, Vec<i64>) = (row.try_get(1)?, row.try_get(2)?);
    let leases = buckets.into_iter().zip(epochs);
    let leases = leases.map(|(bucket, epoch)| Lease { bucket: bucket.to_le_bytes()[0], epoch });
    Ok(Leased { leases: leases.collect(), relays: usize::try_from(relays).unwrap_or(usize::MAX) })
}
