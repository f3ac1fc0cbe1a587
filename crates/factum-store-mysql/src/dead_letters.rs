//! What was given up, of both sides, and what waits behind it.
//!
//! A key is held for a side while a row of it that holds something is left. On a subscription's side the dead letter of
//! a key is followed by rows that wait; requeued, discarded or skipped, it lets the next of them go, and that one, once
//! it is finished, the one after it. On the relay's side what waits simply stays in the outbox.

use std::sync::Arc;

use factum::integration::{DeadLetter, OnDeadLetter, Side};
use factum::port::{Waiting, sequence};
use factum::{Envelope, EventId, Timestamp};
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::{Arguments as _, Row as _};

use crate::error::Error;
use crate::rows::{self, Common, columns};
use crate::texts::{Text, Texts};

/// What `side` says for the relay; no name of a subscription has a colon.
pub(crate) const RELAY: &str = ":relay";

const TABLE: &str = "dead_letter";

macro_rules! put {
    () => {
        concat!(
            "INSERT INTO {p}dead_letter (side, state, holds, ordering_key, sequence, attempts, reason, at, ",
            columns!(),
            ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE "
        )
    };
}

/// What is there already stays as it is.
pub(crate) const PUT_BEHIND: &str = concat!(put!(), "n = n");

/// One that was released and failed again is dead again; one that is dead already stays as it is. `state` comes last:
/// what is set before it looks at the old one.
pub(crate) const PUT_DEAD: &str = concat!(
    put!(),
    "holds = if(state = 'dead', holds, values(holds)), attempts = if(state = 'dead', attempts, values(attempts)),
     reason = if(state = 'dead', reason, values(reason)), at = if(state = 'dead', at, values(at)), state = 'dead'"
);

pub(crate) const IS_KEPT: &str =
    "SELECT EXISTS (SELECT 1 FROM {p}dead_letter WHERE side = ? AND source = ? AND id = ?)";

pub(crate) const FORGET_ATTEMPT: &str =
    "DELETE FROM {p}attempt WHERE subscription = ? AND source = ? AND id = ?";

/// The oldest row of a key that waits, and how many are before it that hold the key.
pub(crate) const NEXT: &str = "SELECT min(CASE WHEN state = 'waiting' THEN n END),
        CAST(coalesce(sum(CASE WHEN holds > 0 AND state <> 'waiting' THEN 1 ELSE 0 END), 0) AS SIGNED)
    FROM {p}dead_letter WHERE side = ? AND source = ? AND ordering_key = ?";

pub(crate) const RELEASE_NEXT: &str = "UPDATE {p}dead_letter SET state = 'released' WHERE n = ?";

/// Whoever removes a row of a key has it to himself.
pub(crate) const FIND: &str = "SELECT n, ordering_key FROM {p}dead_letter
    WHERE side = ? AND source = ? AND id = ? AND state = ? FOR UPDATE";

pub(crate) const REMOVE: &str = "DELETE FROM {p}dead_letter WHERE n = ?";

pub(crate) const PUT_BACK: &str = concat!(
    "INSERT INTO {p}outbox (seq, ",
    columns!(),
    ") SELECT seq, ",
    columns!(),
    " FROM {p}dead_letter WHERE side = ':relay' AND source = ? AND id = ? AND state = 'dead'"
);

pub(crate) const RELEASE: &str = "UPDATE {p}dead_letter SET state = 'released', holds = least(holds, 1)
    WHERE side = ? AND source = ? AND id = ? AND state = 'dead'";

/// The oldest released row of each key.
pub(crate) const RELEASED: &str = concat!(
    "SELECT d.attempts, d.sequence, ",
    columns!("d"),
    " FROM (SELECT min(n) AS n FROM {p}dead_letter WHERE side = ? AND state = 'released'
         GROUP BY source, ordering_key ORDER BY n LIMIT ?) AS oldest
     JOIN {p}dead_letter AS d ON d.n = oldest.n ORDER BY d.n"
);

pub(crate) const HALTED: &str =
    "SELECT EXISTS (SELECT 1 FROM {p}dead_letter WHERE side = ? AND state = 'dead' AND holds = 2)";

pub(crate) const OLDEST: &str = concat!(
    "SELECT side, reason, attempts, at, seq, sequence, ",
    columns!(),
    " FROM {p}dead_letter WHERE state = 'dead' ORDER BY n LIMIT ?"
);

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
    text: &Text,
    db: &mut MySqlConnection,
    place: Place<'_>,
    envelope: &Envelope,
) -> Result<(), Error> {
    let mut arguments = MySqlArguments::default();
    let mut add = || {
        arguments.add(place.side)?;
        arguments.add(place.state)?;
        arguments.add(place.holds)?;
        arguments.add(envelope.ordering_key())?;
        arguments.add(envelope.sequence.as_deref())?;
        arguments.add(i64::from(place.attempts))?;
        arguments.add(place.reason)?;
        arguments.add(place.at)?;
        rows::bind(&mut arguments, envelope)
    };
    add().map_err(sqlx::Error::Encode)?;
    text.query_with(arguments).execute(db).await?;
    Ok(())
}

/// Whether a subscription has a row for this event, whatever its state.
pub(crate) async fn is_kept(
    texts: &Texts,
    db: &mut MySqlConnection,
    subscription: &str,
    envelope: &Envelope,
) -> Result<bool, Error> {
    let query = texts.is_kept.scalar::<i64>().bind(subscription.to_owned()).bind(envelope.source.to_string());
    Ok(query.bind(envelope.id.as_str().to_owned()).fetch_one(db).await? != 0)
}

/// Puts a delivery behind the dead letter of its key.
pub(crate) async fn put_behind(
    texts: &Texts,
    db: &mut MySqlConnection,
    subscription: &str,
    envelope: &Envelope,
) -> Result<(), Error> {
    let place =
        Place { side: subscription, state: "waiting", holds: 1, attempts: 0, reason: "", at: rows::now() };
    put(&texts.put_behind, db, place, envelope).await
}

/// Keeps a dead letter of a subscription.
pub(crate) async fn give_up(
    texts: &Texts,
    db: &mut MySqlConnection,
    dead: DeadLetter,
    policy: OnDeadLetter,
) -> Result<(), Error> {
    let side = side_name(&dead.side);
    let forget = texts.forget_attempt.query().bind(side.to_owned()).bind(dead.envelope.source.to_string());
    forget.bind(dead.envelope.id.as_str().to_owned()).execute(&mut *db).await?;
    let place = Place {
        side,
        state: "dead",
        holds: holds(policy),
        attempts: dead.attempts,
        reason: rows::clip(&dead.reason),
        at: dead.at.as_micros(),
    };
    put(&texts.put_dead, db, place, &dead.envelope).await?;
    release_next(texts, db, side, &dead.envelope.source, dead.envelope.ordering_key()).await
}

/// Releases the oldest row of a key that waits, if nothing is before it.
async fn release_next(
    texts: &Texts,
    db: &mut MySqlConnection,
    side: &str,
    source: &str,
    key: &str,
) -> Result<(), Error> {
    let query = texts.next.query().bind(side.to_owned()).bind(source.to_owned()).bind(key.to_owned());
    let row = query.fetch_one(&mut *db).await?;
    if let (Some(next), 0) = (row.try_get::<Option<i64>, _>(0)?, row.try_get::<i64, _>(1)?) {
        texts.release_next.query().bind(next).execute(db).await?;
    }
    Ok(())
}

/// Removes a row in this state, and lets the next of its key go. `false`: there is none.
pub(crate) async fn remove(
    texts: &Texts,
    db: &mut MySqlConnection,
    side: &str,
    source: &str,
    id: &EventId,
    state: &'static str,
) -> Result<bool, Error> {
    let find = texts.find.query().bind(side.to_owned()).bind(source.to_owned());
    let find = find.bind(id.as_str().to_owned()).bind(state);
    let Some(row) = find.fetch_optional(&mut *db).await? else { return Ok(false) };
    let (n, key): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
    texts.remove.query().bind(n).execute(&mut *db).await?;
    release_next(texts, db, side, source, &key).await?;
    Ok(true)
}

/// Puts a dead letter of the relay back into the outbox, under the `seq` that it had. `false`: there is none.
pub(crate) async fn put_back(
    texts: &Texts,
    db: &mut MySqlConnection,
    source: &str,
    id: &EventId,
) -> Result<bool, Error> {
    let query = texts.put_back.query().bind(source.to_owned()).bind(id.as_str().to_owned());
    query.execute(&mut *db).await?;
    remove(texts, db, RELAY, source, id, "dead").await
}

/// Releases a dead letter of a subscription. `false`: there is none.
pub(crate) async fn release(
    texts: &Texts,
    db: &mut MySqlConnection,
    subscription: &str,
    source: &str,
    id: &EventId,
) -> Result<bool, Error> {
    let query = texts.release.query().bind(subscription.to_owned()).bind(source.to_owned());
    Ok(query.bind(id.as_str().to_owned()).execute(db).await?.rows_affected() > 0)
}

/// What may be tried: the oldest released row of each key.
pub(crate) async fn released(
    texts: &Texts,
    db: &mut MySqlConnection,
    subscription: &str,
    most: usize,
) -> Result<Vec<Waiting>, Error> {
    let query = texts.released.query().bind(subscription.to_owned());
    let rows = query.bind(i64::try_from(most).unwrap_or(i64::MAX)).fetch_all(db).await?;
    let mut common = Common::default();
    rows.iter()
        .map(|row| {
            let mut envelope = rows::read(row, 2, TABLE, &mut common)?;
            envelope.sequence = rows::text(row, 1)?;
            Ok(Waiting { envelope: Arc::new(envelope), attempts: attempts(row, 0)? })
        })
        .collect()
}

/// Whether a dead letter stops the whole subscription.
pub(crate) async fn halted(
    texts: &Texts,
    db: &mut MySqlConnection,
    subscription: &str,
) -> Result<bool, Error> {
    Ok(texts.halted.scalar::<i64>().bind(subscription.to_owned()).fetch_one(db).await? != 0)
}

/// The oldest dead letters.
pub(crate) async fn oldest(
    texts: &Texts,
    db: &mut MySqlConnection,
    incarnation: &str,
    most: usize,
) -> Result<Vec<DeadLetter>, Error> {
    let query = texts.oldest.query().bind(i64::try_from(most).unwrap_or(i64::MAX));
    query.fetch_all(db).await?.iter().map(|row| dead_letter(row, incarnation)).collect()
}

fn attempts(row: &MySqlRow, at: usize) -> Result<u32, sqlx::Error> {
    Ok(u32::try_from(row.try_get::<i64, _>(at)?).unwrap_or_default())
}

fn dead_letter(row: &MySqlRow, incarnation: &str) -> Result<DeadLetter, Error> {
    let side = match row.try_get::<&str, _>(0)? {
        RELAY => Side::Relay,
        name => Side::Subscription(name.into()),
    };
    let mut envelope = rows::read(row, 6, TABLE, &mut Common::default())?;
    envelope.sequence = match row.try_get::<Option<i64>, _>(4)? {
        Some(seq) => Some(sequence(incarnation, seq)),
        None => rows::text(row, 5)?,
    };
    let at = Timestamp::from_micros(row.try_get(3)?);
    Ok(DeadLetter::new(side, envelope, row.try_get(1)?, attempts(row, 2)?, at))
}
