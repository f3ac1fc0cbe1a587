//! What was given up, of both sides, and what waits behind it.
//!
//! A key is held for a side while a row of it that holds something is left. On a subscription's side the dead letter of
//! a key is followed by rows that wait; requeued, discarded or skipped, it lets the next of them go, and that one, once
//! it is finished, the one after it. On the relay's side what waits simply stays in the outbox.

use std::sync::Arc;

use factum::integration::{DeadLetter, OnDeadLetter, Side};
use factum::port::{Waiting, sequence};
use factum::{Envelope, EventId, Timestamp};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, Row as _, SqliteConnection};

use crate::error::Error;
use crate::rows::{self, columns};

/// What `side` says for the relay; no name of a subscription has a colon.
pub(crate) const RELAY: &str = ":relay";

const TABLE: &str = "factum_dead_letter";

pub(crate) fn side_name(side: &Side) -> &str {
    match side {
        Side::Relay => RELAY,
        Side::Subscription(name) => name,
    }
}

/// What a dead letter with this policy holds.
pub(crate) fn holds(policy: OnDeadLetter) -> i64 {
    match policy {
        OnDeadLetter::Skip => 0,
        OnDeadLetter::Park => 1,
        OnDeadLetter::Halt => 2,
    }
}

macro_rules! put {
    () => {
        concat!(
            "INSERT INTO factum_dead_letter (side, state, holds, ordering_key, sequence, attempts, reason, at, ",
            columns!(),
            ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO "
        )
    };
}

/// What is there already stays as it is.
const PUT_BEHIND: &str = concat!(put!(), "NOTHING");

/// One that was released and failed again is dead again; one that is dead already stays as it is.
const PUT_DEAD: &str = concat!(
    put!(),
    "UPDATE SET state = excluded.state, holds = excluded.holds, attempts = excluded.attempts,
        reason = excluded.reason, at = excluded.at WHERE state <> 'dead'"
);

/// The state of a row, and why.
struct Place<'a> {
    side: &'a str,
    state: &'static str,
    holds: i64,
    attempts: u32,
    reason: &'a str,
    at: i64,
}

async fn put(
    db: &mut SqliteConnection,
    sql: &'static str,
    place: Place<'_>,
    envelope: Envelope,
) -> Result<(), Error> {
    let mut arguments = SqliteArguments::default();
    let add = || {
        arguments.add(place.side)?;
        arguments.add(place.state)?;
        arguments.add(place.holds)?;
        arguments.add(envelope.ordering_key())?;
        arguments.add(envelope.sequence.clone())?;
        arguments.add(i64::from(place.attempts))?;
        arguments.add(place.reason)?;
        arguments.add(place.at)?;
        rows::bind(&mut arguments, envelope)
    };
    add().map_err(sqlx::Error::Encode)?;
    sqlx::query_with(sql, arguments).execute(db).await?;
    Ok(())
}

/// Whether a subscription has a row for this event, whatever its state.
pub(crate) async fn is_kept(
    db: &mut SqliteConnection,
    subscription: &str,
    envelope: &Envelope,
) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM factum_dead_letter WHERE side = ? AND source = ? AND id = ?)";
    let query = sqlx::query_scalar(sql).bind(subscription).bind(envelope.source.as_str());
    Ok(query.bind(envelope.id.as_str()).fetch_one(db).await?)
}

/// Puts a delivery behind the dead letter of its key.
pub(crate) async fn put_behind(
    db: &mut SqliteConnection,
    subscription: &str,
    envelope: &Envelope,
) -> Result<(), Error> {
    let place =
        Place { side: subscription, state: "waiting", holds: 1, attempts: 0, reason: "", at: rows::now() };
    put(db, PUT_BEHIND, place, envelope.clone()).await
}

/// Keeps a dead letter of a subscription.
pub(crate) async fn give_up(
    db: &mut SqliteConnection,
    dead: DeadLetter,
    policy: OnDeadLetter,
) -> Result<(), Error> {
    let side = side_name(&dead.side);
    let sql = "DELETE FROM factum_attempt WHERE subscription = ? AND source = ? AND id = ?";
    let (source, id) = (dead.envelope.source.as_str(), dead.envelope.id.as_str());
    sqlx::query(sql).bind(side).bind(source).bind(id).execute(&mut *db).await?;
    let place = Place {
        side,
        state: "dead",
        holds: holds(policy),
        attempts: dead.attempts,
        reason: &dead.reason,
        at: dead.at.as_micros(),
    };
    let (source, key) = (dead.envelope.source.clone(), dead.envelope.ordering_key().to_owned());
    put(db, PUT_DEAD, place, dead.envelope).await?;
    release_next(db, side, &source, &key).await
}

/// Releases the oldest row of a key that waits, if nothing is before it.
async fn release_next(db: &mut SqliteConnection, side: &str, source: &str, key: &str) -> Result<(), Error> {
    let sql = "UPDATE factum_dead_letter SET state = 'released' WHERE n =
            (SELECT min(n) FROM factum_dead_letter
             WHERE side = ?1 AND source = ?2 AND ordering_key = ?3 AND state = 'waiting')
        AND NOT EXISTS (SELECT 1 FROM factum_dead_letter
             WHERE side = ?1 AND source = ?2 AND ordering_key = ?3 AND holds > 0 AND state <> 'waiting')";
    sqlx::query(sql).bind(side).bind(source).bind(key).execute(db).await?;
    Ok(())
}

/// Removes a row in this state, and lets the next of its key go. `false`: there is none.
pub(crate) async fn remove(
    db: &mut SqliteConnection,
    side: &str,
    source: &str,
    id: &EventId,
    state: &'static str,
) -> Result<bool, Error> {
    let sql = "DELETE FROM factum_dead_letter WHERE side = ? AND source = ? AND id = ? AND state = ?
        RETURNING ordering_key";
    let query = sqlx::query_scalar(sql).bind(side).bind(source).bind(id.as_str()).bind(state);
    let removed: Option<String> = query.fetch_all(&mut *db).await?.pop();
    if let Some(key) = &removed {
        release_next(db, side, source, key).await?;
    }
    Ok(removed.is_some())
}

/// Puts a dead letter of the relay back into the outbox, under the `seq` that it had. `false`: there is none.
pub(crate) async fn put_back(db: &mut SqliteConnection, source: &str, id: &EventId) -> Result<bool, Error> {
    let sql = concat!(
        "INSERT INTO factum_outbox (seq, bucket, ",
        columns!(),
        ") SELECT seq, bucket, ",
        columns!(),
        " FROM factum_dead_letter WHERE side = ':relay' AND source = ? AND id = ? AND state = 'dead'"
    );
    sqlx::query(sql).bind(source).bind(id.as_str()).execute(&mut *db).await?;
    remove(db, RELAY, source, id, "dead").await
}

/// Releases a dead letter of a subscription. `false`: there is none.
pub(crate) async fn release(
    db: &mut SqliteConnection,
    subscription: &str,
    source: &str,
    id: &EventId,
) -> Result<bool, Error> {
    let sql = "UPDATE factum_dead_letter SET state = 'released', holds = min(holds, 1)
        WHERE side = ? AND source = ? AND id = ? AND state = 'dead'";
    let query = sqlx::query(sql).bind(subscription).bind(source).bind(id.as_str());
    Ok(query.execute(db).await?.rows_affected() > 0)
}

/// What may be tried: the oldest released row of each key.
pub(crate) async fn released(
    db: &mut SqliteConnection,
    subscription: &str,
    most: usize,
) -> Result<Vec<Waiting>, Error> {
    let sql = concat!(
        "SELECT attempts, sequence, ",
        columns!(),
        " FROM factum_dead_letter WHERE n IN (SELECT min(n) FROM factum_dead_letter
             WHERE side = ? AND state = 'released' GROUP BY source, ordering_key)
         ORDER BY n LIMIT ?"
    );
    let query = sqlx::query(sql).bind(subscription).bind(i64::try_from(most).unwrap_or(i64::MAX));
    let rows = query.fetch_all(db).await?;
    rows.iter()
        .map(|row| {
            let mut envelope = rows::read(row, 2, TABLE)?;
            envelope.sequence = rows::text(row, 1)?;
            Ok(Waiting { envelope: Arc::new(envelope), attempts: row.try_get(0)? })
        })
        .collect()
}

/// Whether a dead letter stops the whole subscription.
pub(crate) async fn halted(db: &mut SqliteConnection, subscription: &str) -> Result<bool, Error> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM factum_dead_letter WHERE side = ? AND state = 'dead' AND holds = 2)";
    Ok(sqlx::query_scalar(sql).bind(subscription).fetch_one(db).await?)
}

/// The oldest dead letters.
pub(crate) async fn oldest(
    db: &mut SqliteConnection,
    incarnation: &str,
    most: usize,
) -> Result<Vec<DeadLetter>, Error> {
    let sql = concat!(
        "SELECT side, reason, attempts, at, seq, sequence, ",
        columns!(),
        " FROM factum_dead_letter WHERE state = 'dead' ORDER BY n LIMIT ?"
    );
    let query = sqlx::query(sql).bind(i64::try_from(most).unwrap_or(i64::MAX));
    query.fetch_all(db).await?.iter().map(|row| dead_letter(row, incarnation)).collect()
}

fn dead_letter(row: &SqliteRow, incarnation: &str) -> Result<DeadLetter, Error> {
    let side = match row.try_get::<&str, _>(0)? {
        RELAY => Side::Relay,
        name => Side::Subscription(name.into()),
    };
    let mut envelope = rows::read(row, 6, TABLE)?;
    envelope.sequence = match row.try_get::<Option<i64>, _>(4)? {
        Some(seq) => Some(sequence(incarnation, seq)),
        None => rows::text(row, 5)?,
    };
    let at = Timestamp::from_micros(row.try_get(3)?);
    Ok(DeadLetter::new(side, envelope, row.try_get(1)?, row.try_get(2)?, at))
}
