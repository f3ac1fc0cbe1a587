//! Who relays which buckets: rows that relays take, renew and give back, by the database's clock. Each statement commits
//! by itself, changes rows of one table, in the order of their key, and counts without a lock, so that no two relays wait
//! for each other. A relay that just goes on sends one statement.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use factum::BoxError;
use factum::port::{Asked, BucketSet, Lease, Leased};
use sqlx::Row as _;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::rows::db_now;
use crate::texts::Texts;

/// A lease that ends later than its own length from now has expired: the clock was set back.
macro_rules! is_free {
    () => {
        concat!("(owner IS NULL OR until <= ", db_now!(), " OR until > ", db_now!(), " + lasts)")
    };
}

/// Who is at work: whoever has a lease says so by that, and the others by their presence.
macro_rules! at_work {
    () => {
        concat!(
            "(SELECT owner FROM {p}relay WHERE until > ",
            db_now!(),
            " AND until <= ",
            db_now!(),
            " + lasts UNION SELECT owner FROM {p}lease WHERE until > ",
            db_now!(),
            " AND until <= ",
            db_now!(),
            " + lasts) AS at_work"
        )
    };
}

/// Renews what somebody holds, and gives back what he no longer wants. It answers by what an `UPDATE` can say: the rows
/// that it found, and, if there are any, as the last inserted id, how many others are at work, times 256, and how many
/// buckets are free. An `UPDATE` of several tables would lock all that it counts, and each relay wait for all others.
/// It walks over the key; told to sort by it, MariaDB would collect the rows first, and wait for those of others.
/// Parameters: give back, until (an interval), owner, lasts, give back, owner.
pub(crate) const RENEW: &str = concat!(
    "UPDATE {p}lease
     SET until = if((? >> bucket) & 1, 0, ",
    db_now!(),
    " + ?) + 0 * last_insert_id((SELECT others.n * 256 + free.n FROM
            (SELECT count(*) AS n FROM ",
    at_work!(),
    " WHERE owner <> ?) AS others, (SELECT count(*) AS n FROM {p}lease WHERE ",
    is_free!(),
    ") AS free)), lasts = ?,
         owner = if((? >> bucket) & 1, NULL, owner)
     WHERE owner = ?"
);

/// Parameters: owner, until (an interval), lasts.
pub(crate) const ARRIVE: &str = concat!(
    "INSERT INTO {p}relay (owner, until, lasts) VALUES (?, ",
    db_now!(),
    " + ?, ?)
     ON DUPLICATE KEY UPDATE until = values(until), lasts = values(lasts)"
);

/// Parameters: owner, until (an interval), lasts, the buckets.
pub(crate) const TAKE: &str = concat!(
    "UPDATE {p}lease SET owner = ?, epoch = epoch + 1, until = ",
    db_now!(),
    " + ?, lasts = ?
     WHERE (? >> bucket) & 1 AND ",
    is_free!(),
    " ORDER BY bucket"
);

/// Parameter: owner. State 1 is his, 2 is free.
pub(crate) const LEASES: &str = concat!(
    "SELECT bucket, epoch, CASE WHEN owner = ? THEN 1 WHEN ",
    is_free!(),
    " THEN 2 ELSE 0 END,
         (SELECT count(*) FROM ",
    at_work!(),
    ")
     FROM {p}lease ORDER BY bucket"
);

pub(crate) const LET_GO: &str = "UPDATE {p}lease SET owner = NULL, until = 0 WHERE owner = ?";

pub(crate) const LEAVE: &str = "DELETE FROM {p}relay WHERE owner = ?";

/// Those whose presence has ended an hour ago.
pub(crate) const FORGET_DEAD: &str =
    concat!("DELETE FROM {p}relay WHERE until < ", db_now!(), " - 3600000000 ORDER BY owner LIMIT 100");

/// All buckets, as one relay sees them.
struct Table {
    mine: Vec<Lease>,
    free: Vec<u8>,
    relays: usize,
}

impl Table {
    async fn look(texts: &Texts, db: &mut MySqlConnection, owner: &str) -> Result<Self, BoxError> {
        let mut table = Self { mine: Vec::new(), free: Vec::new(), relays: 0 };
        for row in texts.leases.query().bind(owner.to_owned()).fetch_all(db).await? {
            table.add(&row)?;
        }
        Ok(table)
    }

    fn add(&mut self, row: &MySqlRow) -> Result<(), BoxError> {
        let bucket = u8::try_from(row.try_get::<i64, _>(0)?)?;
        self.relays = usize::try_from(row.try_get::<i64, _>(3)?)?;
        match row.try_get::<i64, _>(2)? {
            1 => self.mine.push(Lease { bucket, epoch: row.try_get(1)? }),
            2 => self.free.push(bucket),
            _ => {}
        }
        Ok(())
    }
}

/// What an owner held when all buckets were looked at last.
#[derive(Debug)]
struct Kept {
    leases: Vec<Lease>,
    /// How many rows a renewal of just that has found; 0 where nobody knows.
    found: u64,
}

/// What each owner of this process held. Nobody else gives him a bucket, so that as many rows are the same ones.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashMap<Box<str>, Kept>>);

impl Known {
    fn of(&self, owner: &str, found: u64) -> Option<Vec<Lease>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = known.get(owner)?;
        (kept.found == found && found > 0).then(|| kept.leases.clone())
    }

    fn keep(&self, owner: &str, leases: &[Lease], found: u64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(owner.into(), Kept { leases: leases.to_vec(), found });
    }

    fn forget(&self, owner: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(owner);
    }
}

pub(crate) async fn lease(
    texts: &Texts,
    db: &mut MySqlConnection,
    known: &Known,
    owner: &str,
    asked: Asked,
) -> Result<Leased, BoxError> {
    let lasts = micros(asked.duration);
    let give_back = asked.give_back.bits();
    let renew = texts.renew.query().bind(give_back).bind(lasts).bind(owner.to_owned()).bind(lasts);
    let renew = renew.bind(give_back).bind(owner.to_owned());
    let renewed = renew.execute(&mut *db).await?;
    let (mut found, told) = (renewed.rows_affected(), renewed.last_insert_id());
    let (others, free) = (told / 256, told % 256);
    if asked.give_back.is_empty()
        && let Some(leases) = known.of(owner, found)
        && (free == 0 || leases.len() >= asked.most)
    {
        return Ok(Leased { leases, relays: usize::try_from(others)?.saturating_add(1) });
    }
    // It may have no lease that says that it is at work.
    if found == 0 || !asked.give_back.is_empty() {
        texts.arrive.query().bind(owner.to_owned()).bind(lasts).bind(lasts).execute(&mut *db).await?;
    }
    let mut table = Table::look(texts, db, owner).await?;
    let room = asked.most.saturating_sub(table.mine.len());
    let wanted: BucketSet = table.free.iter().copied().take(room).collect();
    if !wanted.is_empty() {
        let take = texts.take.query().bind(owner.to_owned()).bind(lasts).bind(lasts).bind(wanted.bits());
        take.execute(&mut *db).await?;
        table = Table::look(texts, db, owner).await?;
    }
    if !wanted.is_empty() || !asked.give_back.is_empty() {
        found = 0;
    }
    known.keep(owner, &table.mine, found);
    Ok(Leased { leases: table.mine, relays: table.relays })
}

pub(crate) async fn release(
    texts: &Texts,
    db: &mut MySqlConnection,
    known: &Known,
    owner: &str,
) -> Result<(), BoxError> {
    known.forget(owner);
    texts.let_go.query().bind(owner.to_owned()).execute(&mut *db).await?;
    texts.leave.query().bind(owner.to_owned()).execute(db).await?;
    Ok(())
}

/// Nothing lasts longer than some thousand years, so that no sum overflows.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 64)
}
