//! What was given up, of both sides, and what waits behind it.
//!
//! A key is held for a side while a row of it that holds something is left. On a subscription's side the dead letter of
//! a key is followed by rows that wait; requeued, discarded or skipped, it lets the next of them go, and that one, once
//! it is finished, the one after it. On the relay's side what waits simply stays in the outbox.
//!
//! Whoever puts a row behind another holds that one until he commits, so that whoever removes it meanwhile waits, and
//! sees what has come to stand behind it.

use std::sync::Arc;

use factum::integration::{DeadLetter, OnDeadLetter, Side};
use factum::port::{Waiting, sequence};
use factum::{Envelope, EventId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::error::Error;
use crate::rows::{self, COLUMNS, Moment, READ, Reader, json};
use crate::texts::{Query, Text, Texts};

/// What `side` says for the relay; no name of a subscription has a colon.
pub(crate) const RELAY: &str = ":relay";

const TABLE: &str = "factum_dead_letter";

pub(crate) const IS_KEPT: &str =
    "SELECT 1 FROM {prefix}dead_letter WHERE side = $1 AND source = $2 AND id = $3 FOR KEY SHARE";

/// The oldest row that holds a key.
pub(crate) const HOLDER: &str = "SELECT n FROM {prefix}dead_letter WHERE side = $1 AND source = $2
    AND (ordering_key = $3 AND holds > 0 OR id = $4) ORDER BY n LIMIT 1 FOR KEY SHARE";

pub(crate) const FORGET_ATTEMPTS: &str =
    "DELETE FROM {prefix}attempt WHERE subscription = $1 AND source = $2 AND id = $3";

/// Releases the oldest row of a key that waits, if nothing is before it.
pub(crate) const RELEASE_NEXT: &str = "UPDATE {prefix}dead_letter SET state = 'released' WHERE n =
        (SELECT min(n) FROM {prefix}dead_letter
         WHERE side = $1 AND source = $2 AND ordering_key = $3 AND state = 'waiting')
    AND NOT EXISTS (SELECT 1 FROM {prefix}dead_letter
         WHERE side = $1 AND source = $2 AND ordering_key = $3 AND holds > 0 AND state <> 'waiting')";

pub(crate) const REMOVE: &str = "DELETE FROM {prefix}dead_letter
    WHERE side = $1 AND source = $2 AND id = $3 AND state = $4 RETURNING ordering_key";

pub(crate) const RELEASE: &str =
    "UPDATE {prefix}dead_letter SET state = 'released', holds = least(holds, 1::smallint)
    WHERE side = $1 AND source = $2 AND id = $3 AND state = 'dead'";

pub(crate) const HALTED: &str =
    "SELECT EXISTS (SELECT 1 FROM {prefix}dead_letter WHERE side = $1 AND state = 'dead' AND holds = 2)";

pub(crate) const GENERATION: &str = "UPDATE {prefix}meta SET generation = generation + 1";

fn put(conflict: &str) -> String {
    format!(
        "INSERT INTO {{prefix}}dead_letter AS d (side, state, holds, ordering_key, sequence, attempts, reason, at, {COLUMNS})
         VALUES ($1, $2, $3, $4, $5, $6, $7, coalesce($8, clock_timestamp()),
            $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21::jsonb, $22)
         ON CONFLICT (side, source, id) DO {conflict}"
    )
}

/// What is there already stays as it is.
pub(crate) fn put_behind() -> String {
    put("NOTHING")
}

/// One that was released and failed again is dead again; one that is dead already stays as it is.
pub(crate) fn put_dead() -> String {
    put("UPDATE SET state = excluded.state, holds = excluded.holds, attempts = excluded.attempts,
            reason = excluded.reason, at = excluded.at WHERE d.state <> 'dead'")
}

pub(crate) fn put_back_text() -> String {
    format!(
        "INSERT INTO {{prefix}}outbox (seq, {COLUMNS}) OVERRIDING SYSTEM VALUE SELECT seq, {COLUMNS}
         FROM {{prefix}}dead_letter WHERE side = ':relay' AND source = $1 AND id = $2 AND state = 'dead'"
    )
}

/// What may be tried: the oldest released row of each key.
pub(crate) fn released_text() -> String {
    format!(
        "SELECT attempts, sequence, {READ} FROM {{prefix}}dead_letter WHERE n IN
            (SELECT min(n) FROM {{prefix}}dead_letter WHERE side = $1 AND state = 'released' GROUP BY source, ordering_key)
         ORDER BY n LIMIT $2"
    )
}

pub(crate) fn oldest_text() -> String {
    format!(
        "SELECT side, reason, attempts, at, seq, sequence, (SELECT incarnation FROM {{prefix}}meta), {READ}
         FROM {{prefix}}dead_letter WHERE state = 'dead' ORDER BY n LIMIT $1"
    )
}

pub(crate) fn side_name(side: &Side) -> &str {
    match side {
        Side::Relay => RELAY,
        Side::Subscription(name) => name,
    }
}

/// What a dead letter with this policy holds.
pub(crate) fn holds(policy: OnDeadLetter) -> i16 {
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
    holds: i16,
    attempts: u32,
    reason: &'a str,
    /// `None`: now.
    at: Option<Moment>,
}

async fn place(
    texts: &Texts,
    db: &mut PgConnection,
    text: &Text,
    place: Place<'_>,
    envelope: &Envelope,
) -> Result<(), Error> {
    let query = texts.query(text).bind(place.side.to_owned()).bind(place.state).bind(place.holds);
    let query = query
        .bind(envelope.ordering_key().to_owned())
        .bind(owned(&envelope.sequence))
        .bind(i32::try_from(place.attempts).unwrap_or(i32::MAX))
        .bind(place.reason.replace('\0', "\u{fffd}"))
        .bind(place.at);
    bind(query, envelope)?.execute(db).await?;
    Ok(())
}

fn bind(query: Query, envelope: &Envelope) -> Result<Query, sqlx::Error> {
    Ok(query
        .bind(envelope.source.to_string())
        .bind(envelope.id.to_string())
        .bind(envelope.r#type.to_string())
        .bind(owned(&envelope.subject))
        .bind(owned(&envelope.partitionkey))
        .bind(Moment::from(envelope.time))
        .bind(envelope.datacontenttype.to_string())
        .bind(owned(&envelope.dataschema))
        .bind(owned(&envelope.correlationid))
        .bind(envelope.causationid.as_ref().map(ToString::to_string))
        .bind(owned(&envelope.traceparent))
        .bind(owned(&envelope.tracestate))
        .bind(json(envelope)?)
        .bind(envelope.data.to_vec()))
}

fn owned(text: &Option<Arc<str>>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

fn of_event(texts: &Texts, text: &Text, side: &str, source: &str, id: &EventId) -> Query {
    texts.query(text).bind(side.to_owned()).bind(source.to_owned()).bind(id.to_string())
}

/// Whether a subscription has a row for this event, whatever its state; it stays until this transaction ends.
pub(crate) async fn is_kept(
    texts: &Texts,
    db: &mut PgConnection,
    subscription: &str,
    envelope: &Envelope,
) -> Result<bool, Error> {
    let query = of_event(texts, &texts.is_kept, subscription, &envelope.source, &envelope.id);
    Ok(query.fetch_optional(db).await?.is_some())
}

/// Puts a delivery behind what holds its key.
pub(crate) async fn wait_behind(
    texts: &Texts,
    db: &mut PgConnection,
    subscription: &str,
    envelope: &Envelope,
) -> Result<(), Error> {
    let key = envelope.ordering_key();
    let query = texts.query(&texts.holder).bind(subscription.to_owned()).bind(envelope.source.to_string());
    let query = query.bind(key.to_owned()).bind(envelope.id.to_string());
    if query.fetch_optional(&mut *db).await?.is_none() {
        return Err(Error::Moved { key: key.to_owned() });
    }
    let waiting = Place { side: subscription, state: "waiting", holds: 1, attempts: 0, reason: "", at: None };
    place(texts, db, &texts.put_behind, waiting, envelope).await
}

/// Keeps a dead letter of a subscription.
pub(crate) async fn give_up(
    texts: &Texts,
    db: &mut PgConnection,
    dead: DeadLetter,
    policy: OnDeadLetter,
) -> Result<(), Error> {
    let side = side_name(&dead.side);
    let envelope = &dead.envelope;
    let query = of_event(texts, &texts.forget_attempts, side, &envelope.source, &envelope.id);
    query.execute(&mut *db).await?;
    let kept = Place {
        side,
        state: "dead",
        holds: holds(policy),
        attempts: dead.attempts,
        reason: &dead.reason,
        at: Some(dead.at.into()),
    };
    place(texts, db, &texts.put_dead, kept, envelope).await?;
    release_next(texts, db, side, &envelope.source, envelope.ordering_key()).await
}

async fn release_next(
    texts: &Texts,
    db: &mut PgConnection,
    side: &str,
    source: &str,
    key: &str,
) -> Result<(), Error> {
    let query = texts.query(&texts.release_next).bind(side.to_owned()).bind(source.to_owned());
    query.bind(key.to_owned()).execute(db).await?;
    Ok(())
}

/// Removes a row in this state, and lets the next of its key go. `false`: there is none.
pub(crate) async fn remove(
    texts: &Texts,
    db: &mut PgConnection,
    side: &str,
    source: &str,
    id: &EventId,
    state: &'static str,
) -> Result<bool, Error> {
    let removed =
        of_event(texts, &texts.remove, side, source, id).bind(state).fetch_optional(&mut *db).await?;
    let Some(row) = removed else { return Ok(false) };
    release_next(texts, db, side, source, row.try_get(0)?).await?;
    Ok(true)
}

/// Puts a dead letter of the relay back into the outbox, under the `seq` that it had. `false`: there is none.
pub(crate) async fn put_back(
    texts: &Texts,
    db: &mut PgConnection,
    source: &str,
    id: &EventId,
) -> Result<bool, Error> {
    let query = texts.query(&texts.put_back).bind(source.to_owned()).bind(id.to_string());
    query.execute(&mut *db).await?;
    remove(texts, db, RELAY, source, id, "dead").await
}

/// Releases a dead letter of a subscription. `false`: there is none.
pub(crate) async fn release(
    texts: &Texts,
    db: &mut PgConnection,
    subscription: &str,
    source: &str,
    id: &EventId,
) -> Result<bool, Error> {
    let query = of_event(texts, &texts.release_dead, subscription, source, id);
    Ok(query.execute(db).await?.rows_affected() > 0)
}

pub(crate) fn waiting(rows: &[PgRow]) -> Result<Vec<Waiting>, Error> {
    let mut reader = Reader::default();
    let one = |row: &PgRow| {
        let mut envelope = reader.envelope(row, 2, TABLE)?;
        envelope.sequence = rows::text(row, 1)?;
        let attempts: i32 = row.try_get(0)?;
        Ok(Waiting { envelope: Arc::new(envelope), attempts: attempts.unsigned_abs() })
    };
    rows.iter().map(one).collect()
}

pub(crate) fn dead_letters(rows: &[PgRow]) -> Result<Vec<DeadLetter>, Error> {
    let mut reader = Reader::default();
    rows.iter().map(|row| dead_letter(&mut reader, row)).collect()
}

fn dead_letter(reader: &mut Reader, row: &PgRow) -> Result<DeadLetter, Error> {
    let side = match row.try_get::<&str, _>(0)? {
        RELAY => Side::Relay,
        name => Side::Subscription(name.into()),
    };
    let mut envelope = reader.envelope(row, 7, TABLE)?;
    envelope.sequence = match row.try_get::<Option<i64>, _>(4)? {
        Some(seq) => Some(sequence(row.try_get(6)?, seq)),
        None => rows::text(row, 5)?,
    };
    let attempts: i32 = row.try_get(2)?;
    let at = row.try_get_unchecked::<Moment, _>(3)?.into();
    Ok(DeadLetter::new(side, envelope, row.try_get(1)?, attempts.unsigned_abs(), at))
}
