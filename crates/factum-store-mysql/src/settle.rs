//! What a relay writes down: fenced by the epochs of its leases, by listed `seq`, in the order of their key.

use std::collections::HashSet;
use std::time::Duration;

use factum::BoxError;
use factum::port::{BucketSet, Lease, Settlement};
use sqlx::mysql::MySqlConnection;

use crate::dead_letters;
use crate::rows::{self, columns};
use crate::texts::{Text, Texts};

/// Whose lease still has this owner and one of these epochs; nobody else takes it before this transaction has ended.
/// Parameters: leases, owner.
pub(crate) const FENCE: &str = "
    SELECT l.bucket FROM JSON_TABLE(?, '$[*]' COLUMNS (bucket INT PATH '$[0]', epoch BIGINT PATH '$[1]')) AS mine
    STRAIGHT_JOIN {p}lease AS l ON l.bucket = mine.bucket AND l.epoch = mine.epoch
    WHERE l.owner = ? ORDER BY l.bucket LOCK IN SHARE MODE";

/// Deletes what was confirmed, where nothing else is to be settled: one statement that commits by itself. The fence comes
/// first, as one row, because a JSON table is read anew for each row before it. Parameters: leases, owner, seqs.
pub(crate) const CONFIRMED_ALONE: &str = "
    DELETE o FROM (
        SELECT bit_or(1 << l.bucket) AS buckets
        FROM JSON_TABLE(?, '$[*]' COLUMNS (bucket INT PATH '$[0]', epoch BIGINT PATH '$[1]')) AS mine
        STRAIGHT_JOIN {p}lease AS l ON l.bucket = mine.bucket AND l.epoch = mine.epoch
        WHERE l.owner = ?) AS fence
    STRAIGHT_JOIN JSON_TABLE(?, '$[*]' COLUMNS (seq BIGINT PATH '$')) AS listed
    STRAIGHT_JOIN {p}outbox AS o ON o.seq = listed.seq
    WHERE (fence.buckets >> o.bucket) & 1";

/// Takes all rows of a settlement in the order of their key, before its statements take some each. They are told of no
/// others: a statement waits for each row that it lists, another relay's too. So two that list rows of each other's,
/// because leases have moved, do not wait in a circle. Parameters: seqs, buckets.
pub(crate) const HOLD: &str = "
    SELECT o.seq FROM JSON_TABLE(?, '$[*]' COLUMNS (seq BIGINT PATH '$')) AS listed
    STRAIGHT_JOIN {p}outbox AS o ON o.seq = listed.seq
    WHERE (? >> o.bucket) & 1 FOR UPDATE";

/// Parameters: seqs, buckets.
pub(crate) const CONFIRMED: &str = "
    DELETE o FROM JSON_TABLE(?, '$[*]' COLUMNS (seq BIGINT PATH '$[0]')) AS listed
    STRAIGHT_JOIN {p}outbox AS o ON o.seq = listed.seq
    WHERE (? >> o.bucket) & 1";

/// Parameters: tries, buckets.
pub(crate) const FAILED: &str = "
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (
        seq BIGINT PATH '$[0]', attempts INT PATH '$[1]', again BIGINT PATH '$[2]', reason TEXT PATH '$[3]')) AS listed
    STRAIGHT_JOIN {p}outbox AS o ON o.seq = listed.seq
    SET o.attempts = listed.attempts, o.next_attempt = listed.again, o.reason = listed.reason
    WHERE (? >> o.bucket) & 1";

/// An event that was announced again, and is a dead letter already, must not keep all else from being settled.
/// Parameters: at, rows, buckets.
pub(crate) const GIVEN_UP: &str = concat!(
    "INSERT INTO {p}dead_letter (side, state, holds, ordering_key, seq, attempts, reason, at, ",
    columns!(),
    ") SELECT ':relay', 'dead', listed.holds, coalesce(o.partitionkey, o.id), o.seq, listed.attempts, listed.reason, ?, ",
    columns!("o"),
    " FROM JSON_TABLE(?, '$[*]' COLUMNS (
        seq BIGINT PATH '$[0]', attempts INT PATH '$[1]', reason TEXT PATH '$[2]', holds INT PATH '$[3]')) AS listed
    STRAIGHT_JOIN {p}outbox AS o ON o.seq = listed.seq
    WHERE (? >> o.bucket) & 1
    ON DUPLICATE KEY UPDATE n = n"
);

fn json<T: serde::Serialize>(list: &[T]) -> Result<String, BoxError> {
    Ok(serde_json::to_string(list)?)
}

/// Whether a settlement says nothing but what was confirmed.
pub(crate) fn is_plain(settlement: &Settlement) -> bool {
    settlement.failed.is_empty() && settlement.given_up.is_empty()
}

/// The leases as a fence wants them: in the order of their key.
pub(crate) fn pairs(leases: &[Lease]) -> Result<String, BoxError> {
    let mut pairs: Vec<_> = leases.iter().map(|lease| (lease.bucket, lease.epoch)).collect();
    pairs.sort_unstable();
    json(&pairs)
}

/// In the order of their key, as everybody else takes rows.
fn ascending(seqs: &[i64]) -> Vec<i64> {
    let mut seqs = seqs.to_vec();
    seqs.sort_unstable();
    seqs
}

/// Deletes what was confirmed, and commits.
pub(crate) async fn confirm(
    texts: &Texts,
    db: &mut MySqlConnection,
    owner: &str,
    leases: &[Lease],
    confirmed: &[i64],
) -> Result<u64, BoxError> {
    let query = texts.confirmed_alone.query().bind(pairs(leases)?).bind(owner.to_owned());
    Ok(query.bind(json(&ascending(confirmed))?).execute(db).await?.rows_affected())
}

/// Settles all of it, in the transaction that is open. 0 where the fence lets nothing through.
pub(crate) async fn settle(
    texts: &Texts,
    db: &mut MySqlConnection,
    owner: &str,
    leases: &[Lease],
    settlement: &Settlement,
) -> Result<u64, BoxError> {
    let fence = texts.fence.scalar::<i64>().bind(pairs(leases)?).bind(owner.to_owned());
    let buckets = fence.fetch_all(&mut *db).await?;
    let buckets: BucketSet = buckets.into_iter().filter_map(|bucket| u8::try_from(bucket).ok()).collect();
    if buckets.is_empty() {
        return Ok(0);
    }
    let listed = json(&ascending(&all_of(settlement)))?;
    let hold = texts.hold.scalar::<i64>().bind(listed).bind(buckets.bits());
    let held = hold.fetch_all(&mut *db).await?.into_iter().collect();
    let settlement = &only(&held, settlement);
    let mut changed = 0;
    for (text, list) in changes(texts, settlement)? {
        changed += text.query().bind(list).bind(buckets.bits()).execute(&mut *db).await?.rows_affected();
    }
    if !settlement.given_up.is_empty() {
        let list = given_up(settlement)?;
        let bury = texts.given_up.query().bind(rows::now()).bind(list.clone()).bind(buckets.bits());
        bury.execute(&mut *db).await?;
        let gone = texts.confirmed.query().bind(list).bind(buckets.bits());
        changed += gone.execute(db).await?.rows_affected();
    }
    Ok(changed)
}

/// All rows that it speaks of.
fn all_of(settlement: &Settlement) -> Vec<i64> {
    let failed = settlement.failed.iter().map(|row| row.seq);
    let given_up = settlement.given_up.iter().map(|row| row.seq);
    settlement.confirmed.iter().copied().chain(failed).chain(given_up).collect()
}

/// What it says of these rows.
fn only(held: &HashSet<i64>, settlement: &Settlement) -> Settlement {
    let mut only = settlement.clone();
    only.confirmed.retain(|seq| held.contains(seq));
    only.failed.retain(|row| held.contains(&row.seq));
    only.given_up.retain(|row| held.contains(&row.seq));
    only
}

/// The statements of a settlement, each with its list as JSON.
fn changes<'a>(texts: &'a Texts, settlement: &Settlement) -> Result<Vec<(&'a Text, String)>, BoxError> {
    let mut changes = Vec::new();
    if !settlement.confirmed.is_empty() {
        let seqs: Vec<_> = ascending(&settlement.confirmed).into_iter().map(|seq| [seq]).collect();
        changes.push((&texts.confirmed, json(&seqs)?));
    }
    if !settlement.failed.is_empty() {
        let at = |after: Duration| {
            rows::now().saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX))
        };
        let failed = settlement.failed.iter();
        let mut failed: Vec<_> =
            failed.map(|row| (row.seq, row.attempts, at(row.again_after), rows::clip(&row.reason))).collect();
        failed.sort_unstable();
        changes.push((&texts.failed, json(&failed)?));
    }
    Ok(changes)
}

fn given_up(settlement: &Settlement) -> Result<String, BoxError> {
    let given_up = settlement.given_up.iter();
    let mut given_up: Vec<_> = given_up
        .map(|row| (row.seq, row.attempts, rows::clip(&row.reason), dead_letters::holds(row.policy)))
        .collect();
    given_up.sort_unstable();
    json(&given_up)
}
