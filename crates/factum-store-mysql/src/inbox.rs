//! The inbox: what a subscription has handled, and how often it tried what it could not.

use std::collections::HashSet;
use std::sync::Arc;

use factum::integration::{DeadLetter, OnDeadLetter, Side};
use factum::port::{Access, Claim, Claiming, InboxStore, Mark, Waiting};
use factum::{BoxError, BoxFuture, Envelope, EventId};
use sqlx::Row as _;
use sqlx::mysql::MySqlConnection;

use crate::error::Error;
use crate::rows;
use crate::texts::Texts;
use crate::{MySql, dead_letters};

/// Deliveries as a table, from one JSON array: a row of parameters for each would be another text for each number of
/// them. They are compared by their bytes.
macro_rules! deliveries {
    () => {
        "JSON_TABLE(?, '$[*]' COLUMNS (
            source VARCHAR(255) {bin} PATH '$[0]', id VARCHAR(255) {bin} PATH '$[1]',
            partitionkey VARCHAR(512) {bin} PATH '$[2]'))"
    };
}

/// Whatever is not inserted was handled before, or is parked. Parameters: subscription, handled_at, deliveries,
/// subscription.
macro_rules! claiming {
    ($unless:literal) => {
        concat!(
            "INSERT IGNORE INTO {p}inbox (subscription, source, id, partitionkey, handled_at)
             SELECT ?, new.source, new.id, new.partitionkey, ? FROM ",
            deliveries!(),
            " AS new WHERE ",
            $unless
        )
    };
}

pub(crate) const CLAIM: &str = claiming!(
    "NOT EXISTS (SELECT 1 FROM {p}dead_letter AS d WHERE d.side = ? AND d.source = new.source
     AND (d.id = new.id OR d.holds > 0 AND d.ordering_key = coalesce(new.partitionkey, new.id)))"
);

/// What was released may pass the dead letter that holds its key, as long as nobody has discarded it.
pub(crate) const CLAIM_RELEASED: &str = claiming!(
    "EXISTS (SELECT 1 FROM {p}dead_letter AS d WHERE d.side = ? AND d.source = new.source
     AND d.id = new.id AND d.state = 'released')"
);

/// Which of these this claim has inserted: they have its time. Parameters: deliveries, subscription, handled_at.
pub(crate) const CLAIMED: &str = concat!(
    "SELECT i.source, i.id FROM ",
    deliveries!(),
    " AS new STRAIGHT_JOIN {p}inbox AS i WHERE i.subscription = ? AND i.source = new.source
      AND i.id = new.id AND i.handled_at = ?"
);

/// Tries of what was handled need not be counted any more; some of them. A claim leaves them where they are: that would
/// be another trip for each.
pub(crate) const FORGET_ATTEMPTS: &str = "DELETE a FROM (
        SELECT tried.subscription, tried.source, tried.id FROM {p}attempt AS tried
        STRAIGHT_JOIN {p}inbox AS i ON i.subscription = tried.subscription AND i.source = tried.source AND i.id = tried.id
        LIMIT 1000) AS handled
    STRAIGHT_JOIN {p}attempt AS a
        ON a.subscription = handled.subscription AND a.source = handled.source AND a.id = handled.id";

/// As many as [`FORGET_ATTEMPTS`] removes at most.
pub(crate) const FORGOTTEN_MAX: u64 = 1_000;

pub(crate) const IS_HANDLED: &str =
    "SELECT EXISTS (SELECT 1 FROM {p}inbox WHERE subscription = ? AND source = ? AND id = ?)";

pub(crate) const CHECKPOINT: &str =
    "INSERT INTO {p}checkpoint (projection, source, events, last) VALUES (?, ?, ?, ?)
    ON DUPLICATE KEY UPDATE events = events + values(events), last = values(last)";

/// Parameters: subscription, deliveries.
pub(crate) const COUNT: &str = concat!(
    "INSERT INTO {p}attempt (subscription, source, id, attempts) SELECT ?, tried.source, tried.id, 1 FROM ",
    deliveries!(),
    " AS tried ON DUPLICATE KEY UPDATE attempts = {p}attempt.attempts + 1"
);

/// Parameters: deliveries, subscription.
pub(crate) const COUNTED: &str = concat!(
    "SELECT a.source, a.id, a.attempts FROM ",
    deliveries!(),
    " AS tried STRAIGHT_JOIN {p}attempt AS a WHERE a.subscription = ? AND a.source = tried.source
      AND a.id = tried.id"
);

/// Parameters: subscription, source, id.
pub(crate) const EXCUSE: &str = "UPDATE {p}attempt SET attempts = attempts - 1
    WHERE subscription = ? AND source = ? AND id = ? AND attempts > 0";

impl MySql {
    /// Claims deliveries from the inbox on a connection of your own, in a transaction of your own on the same database,
    /// with no unit of work. Handle those that are [`Claim::First`] in the same transaction, which must not be
    /// `REPEATABLE READ` or higher: there a claim does not see why it was refused. Answers in the order of the envelopes.
    ///
    /// # Errors
    /// The server refused; the transaction is yours to roll back.
    pub async fn claim(
        &self,
        connection: &mut MySqlConnection,
        claiming: Claiming<'_>,
    ) -> Result<Vec<Claim>, Error> {
        claim(&self.shared.texts, connection, claiming).await
    }
}

/// Deliveries as JSON, in the order of the inbox's key: so that no two claims wait for each other.
fn deliveries(envelopes: &[Arc<Envelope>]) -> Result<String, Error> {
    let mut all = Vec::with_capacity(envelopes.len());
    for envelope in envelopes {
        rows::check_length("an envelope's source", &envelope.source)?;
        rows::check_length("an envelope's id", envelope.id.as_str())?;
        all.push([
            Some(envelope.source.as_str()),
            Some(envelope.id.as_str()),
            envelope.partitionkey.as_deref(),
        ]);
    }
    all.sort_unstable();
    Ok(serde_json::to_string(&all).map_err(|error| sqlx::Error::Encode(error.into()))?)
}

pub(crate) async fn claim(
    texts: &Texts,
    db: &mut MySqlConnection,
    claiming: Claiming<'_>,
) -> Result<Vec<Claim>, Error> {
    let Claiming { subscription, envelopes, released } = claiming;
    rows::check_length("the name of a subscription", subscription)?;
    if envelopes.is_empty() {
        return Ok(Vec::new());
    }
    let (list, at) = (deliveries(envelopes)?, rows::now());
    let text = if released { &texts.claim_released } else { &texts.claim };
    let query = text.query().bind(subscription.to_owned()).bind(at).bind(list.clone());
    let done = query.bind(subscription.to_owned()).execute(&mut *db).await?.rows_affected();
    if done == envelopes.len() as u64 {
        return Ok(vec![Claim::First; envelopes.len()]);
    }
    let query = texts.claimed.query().bind(list).bind(subscription.to_owned()).bind(at);
    let mut first = HashSet::new();
    for row in query.fetch_all(&mut *db).await? {
        first.insert((row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?));
    }
    if first.len() as u64 != done {
        return Err(Error::ClaimsMet);
    }
    let mut claims = Vec::with_capacity(envelopes.len());
    for envelope in envelopes {
        let key = (envelope.source.to_string(), envelope.id.as_str().to_owned());
        claims.push(match first.contains(&key) {
            true => Claim::First,
            false => refused(texts, db, claiming, envelope).await?,
        });
    }
    Ok(claims)
}

/// Why a delivery got no inbox row: it has one, or it has to wait.
async fn refused(
    texts: &Texts,
    db: &mut MySqlConnection,
    claiming: Claiming<'_>,
    envelope: &Envelope,
) -> Result<Claim, Error> {
    let query = texts.is_handled.scalar::<i64>().bind(claiming.subscription.to_owned());
    let query = query.bind(envelope.source.to_string()).bind(envelope.id.as_str().to_owned());
    if query.fetch_one(&mut *db).await? != 0 {
        return Ok(Claim::Duplicate);
    }
    if claiming.released && !dead_letters::is_kept(texts, db, claiming.subscription, envelope).await? {
        // It was discarded meanwhile.
        return Ok(Claim::Duplicate);
    }
    dead_letters::put_behind(texts, db, claiming.subscription, envelope).await?;
    Ok(Claim::Parked)
}

/// Adds to how far a projection is in each source.
pub(crate) async fn checkpoint(
    texts: &Texts,
    db: &mut MySqlConnection,
    projection: &str,
    marks: &[Mark],
) -> Result<(), Error> {
    for mark in marks {
        let query = texts.checkpoint.query().bind(projection.to_owned()).bind(mark.source.to_string());
        let query = query.bind(i64::try_from(mark.events).unwrap_or(i64::MAX));
        query.bind(mark.last.as_str().to_owned()).execute(&mut *db).await?;
    }
    Ok(())
}

async fn count(
    texts: &Texts,
    db: &mut MySqlConnection,
    subscription: &str,
    envelopes: &[Arc<Envelope>],
) -> Result<Vec<u32>, BoxError> {
    let list = deliveries(envelopes)?;
    let count = texts.count.query().bind(subscription.to_owned()).bind(list.clone());
    count.execute(&mut *db).await?;
    let counted = texts.counted.query().bind(list).bind(subscription.to_owned()).fetch_all(db).await?;
    let attempts = |envelope: &Arc<Envelope>| {
        for row in &counted {
            if row.try_get::<&str, _>(1)? == envelope.id.as_str()
                && row.try_get::<&str, _>(0)? == envelope.source.as_str()
            {
                return Ok(u32::try_from(row.try_get::<i64, _>(2)?)?);
            }
        }
        Err(sqlx::Error::RowNotFound.into())
    };
    envelopes.iter().map(attempts).collect()
}

impl InboxStore for MySql {
    fn count_attempts<'a>(
        &'a self,
        subscription: &'a str,
        envelopes: &'a [Arc<Envelope>],
    ) -> BoxFuture<'a, Result<Vec<u32>, BoxError>> {
        Box::pin(self.in_time(async move {
            if envelopes.is_empty() {
                return Ok(Vec::new());
            }
            let mut held = self.shared.own.begin(Access::Write).await?;
            let (texts, db) = held.parts()?;
            let attempts = count(texts, db, subscription, envelopes).await?;
            self.finish(held).await?;
            Ok(attempts)
        }))
    }

    fn excuse_attempts<'a>(
        &'a self,
        subscription: &'a str,
        envelopes: &'a [Arc<Envelope>],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(self.in_time(async move {
            let mut held = self.shared.own.take().await?;
            let (texts, db) = held.parts()?;
            for envelope in envelopes {
                let query = texts.excuse.query().bind(subscription.to_owned());
                let query = query.bind(envelope.source.to_string()).bind(envelope.id.to_string());
                query.execute(&mut *db).await?;
            }
            held.give_back();
            Ok(())
        }))
    }

    fn give_up<'a>(&'a self, dead: DeadLetter, policy: OnDeadLetter) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(self.in_time(async move {
            if dead.side == Side::Relay {
                return Err(Error::NotOfASubscription.into());
            }
            let mut held = self.shared.own.begin(Access::Write).await?;
            let (texts, db) = held.parts()?;
            dead_letters::give_up(texts, db, dead, policy).await?;
            self.finish(held).await
        }))
    }

    fn released<'a>(
        &'a self,
        subscription: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Waiting>, BoxError>> {
        Box::pin(self.in_time(async move {
            let mut held = self.shared.own.take().await?;
            let (texts, db) = held.parts()?;
            let waiting = dead_letters::released(texts, db, subscription, most).await?;
            held.give_back();
            Ok(waiting)
        }))
    }

    fn finished<'a>(
        &'a self,
        subscription: &'a str,
        source: &'a str,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(self.in_time(async move {
            let mut held = self.shared.own.begin(Access::Write).await?;
            let (texts, db) = held.parts()?;
            dead_letters::remove(texts, db, subscription, source, id, "released").await?;
            self.finish(held).await
        }))
    }

    fn halted<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<bool, BoxError>> {
        Box::pin(self.in_time(async move {
            let mut held = self.shared.own.take().await?;
            let (texts, db) = held.parts()?;
            let halted = dead_letters::halted(texts, db, subscription).await?;
            held.give_back();
            Ok(halted)
        }))
    }
}
