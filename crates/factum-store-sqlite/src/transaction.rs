//! A unit of work's transaction: opened by the first query, the outbox appended last.

use std::sync::Arc;
use std::time::Duration;

use factum::port::{Access, Claim, Claiming, Intent, Mark, NotCommitted};
use factum::{BoxError, Envelope, Sort, Store};
use sqlx::SqliteConnection;

use crate::error::Error;
use crate::session::Held;
use crate::texts::KEPT;
use crate::to_the_end::to_the_end;
use crate::{Shared, Sqlite, inbox, outbox};

/// A transaction that holds nothing until its first query. Dropped, it rolls back.
#[derive(Debug)]
pub struct Tx {
    shared: Arc<Shared>,
    intent: Intent,
    held: Option<Held>,
}

impl Tx {
    async fn held(&mut self) -> Result<&mut Held, Error> {
        match self.held {
            Some(ref mut held) => Ok(held),
            None => {
                let held = begin(&self.shared, &self.intent).await?;
                Ok(self.held.insert(held))
            }
        }
    }
}

async fn begin(shared: &Shared, intent: &Intent) -> Result<Held, Error> {
    match intent.access {
        Access::Write => shared.writer.begin(&intent.who).await,
        Access::Read => shared.readers.begin().await,
    }
}

impl Store for Sqlite {
    type Tx = Tx;
    type Connection = SqliteConnection;

    async fn begin(&self, intent: &Intent) -> Result<Tx, BoxError> {
        Ok(Tx { shared: Arc::clone(&self.shared), intent: intent.clone(), held: None })
    }

    async fn connection(tx: &mut Tx) -> Result<&mut SqliteConnection, BoxError> {
        Ok(tx.held().await?.connection())
    }

    async fn claim(tx: &mut Tx, claiming: Claiming<'_>) -> Result<Vec<Claim>, BoxError> {
        Ok(inbox::claim(tx.held().await?.connection(), claiming).await?)
    }

    async fn checkpoint(tx: &mut Tx, projection: &str, marks: &[Mark]) -> Result<(), BoxError> {
        Ok(inbox::checkpoint(tx.held().await?.connection(), projection, marks).await?)
    }

    async fn commit(tx: Tx, outbox: Vec<Envelope>) -> Result<(), NotCommitted> {
        if tx.held.is_none() && outbox.is_empty() {
            return Ok(());
        }
        to_the_end(commit(tx, outbox)).await
    }

    async fn rollback(tx: Tx) {
        if let Some(held) = tx.held {
            held.roll_back().await;
        }
    }

    fn sort(error: &(dyn std::error::Error + 'static)) -> Option<Sort> {
        crate::error::sort(error)
    }

    fn has_waited(error: &(dyn std::error::Error + 'static)) -> bool {
        crate::error::has_waited(error)
    }

    async fn pause(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Of the envelopes of a commit at most so many go in its last trip.
const LAST_MAX: usize = 16;

/// Appends all but the last few, in powers of two: few texts serve every number, and their statements stay prepared.
/// Preparing one for just so many rows would cost more than the further trip.
async fn append_ahead(shared: &Shared, held: &mut Held, outbox: &mut Vec<Envelope>) -> Result<(), Error> {
    while outbox.len() > LAST_MAX {
        let rest = outbox.split_off(1 << (outbox.len() - 1).min(KEPT).ilog2());
        let ahead = std::mem::replace(outbox, rest);
        outbox::append_rows(&shared.texts.append, held.connection(), ahead).await?;
    }
    Ok(())
}

async fn commit(tx: Tx, mut outbox: Vec<Envelope>) -> Result<(), NotCommitted> {
    let Tx { shared, intent, held } = tx;
    let mut held = match held {
        Some(held) => held,
        None => begin(&shared, &intent).await?,
    };
    if intent.access == Access::Read {
        held.roll_back().await;
        return if outbox.is_empty() { Ok(()) } else { Err(Error::ReadOnly.into()) };
    }
    if outbox.is_empty() {
        return held.commit(None).await;
    }
    if let Err(error) = append_ahead(&shared, &mut held, &mut outbox).await {
        held.roll_back().await;
        return Err(error.into());
    }
    let batch = outbox::last_batch(&shared.texts.append, outbox);
    held.commit(Some(batch?)).await?;
    shared.hint.give();
    Ok(())
}
