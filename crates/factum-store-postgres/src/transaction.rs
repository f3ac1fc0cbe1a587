//! A unit of work's transaction: begun by the first query, the outbox appended last.

use std::sync::Arc;
use std::time::Duration;

use factum::port::{Access, Claim, Claiming, Intent, Mark, NotCommitted};
use factum::{BoxError, Envelope, Sort, Store};
use sqlx::PgConnection;

use crate::error::Error;
use crate::session::Held;
use crate::to_the_end::to_the_end;
use crate::{Postgres, Shared, inbox, outbox};

/// A transaction that holds nothing until its first query. Dropped, it rolls back.
#[derive(Debug)]
pub struct Tx {
    shared: Arc<Shared>,
    access: Access,
    held: Option<Held>,
}

impl Tx {
    async fn held(&mut self) -> Result<&mut Held, Error> {
        match self.held {
            Some(ref mut held) => Ok(held),
            None => {
                let held = begin(&self.shared, self.access).await?;
                Ok(self.held.insert(held))
            }
        }
    }
}

async fn begin(shared: &Shared, access: Access) -> Result<Held, Error> {
    let text = match access {
        Access::Write => &shared.texts.begin,
        Access::Read => &shared.texts.begin_read,
    };
    shared.sessions.begin(text).await
}

impl Store for Postgres {
    type Tx = Tx;
    type Connection = PgConnection;

    async fn begin(&self, intent: &Intent) -> Result<Tx, BoxError> {
        Ok(Tx { shared: Arc::clone(&self.shared), access: intent.access, held: None })
    }

    async fn connection(tx: &mut Tx) -> Result<&mut PgConnection, BoxError> {
        Ok(tx.held().await?.connection())
    }

    async fn claim(tx: &mut Tx, claiming: Claiming<'_>) -> Result<Vec<Claim>, BoxError> {
        let shared = Arc::clone(&tx.shared);
        Ok(inbox::claim_with(&shared.texts, tx.held().await?.connection(), claiming).await?)
    }

    async fn checkpoint(tx: &mut Tx, projection: &str, marks: &[Mark]) -> Result<(), BoxError> {
        let shared = Arc::clone(&tx.shared);
        Ok(inbox::checkpoint(&shared.texts, tx.held().await?.connection(), projection, marks).await?)
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

async fn commit(tx: Tx, outbox: Vec<Envelope>) -> Result<(), NotCommitted> {
    let Tx { shared, access, held } = tx;
    if access == Access::Read {
        if let Some(held) = held {
            held.roll_back().await;
        }
        return if outbox.is_empty() { Ok(()) } else { Err(Error::ReadOnly.into()) };
    }
    let held = match held {
        Some(held) => held,
        None => begin(&shared, access).await?,
    };
    if outbox.is_empty() {
        return held.commit_alone(&shared.texts.commit_alone).await;
    }
    let (last, rows) = outbox::append_query(&shared.texts, &outbox, true)?;
    held.commit(last, rows).await?;
    shared.announced();
    Ok(())
}
