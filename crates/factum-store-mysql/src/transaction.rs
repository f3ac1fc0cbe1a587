//! A unit of work's transaction: opened by the first query, the outbox appended last.

use std::sync::Arc;
use std::time::Duration;

use factum::port::{Access, Claim, Claiming, Intent, Mark, NotCommitted};
use factum::{BoxError, Envelope, Sort, Store};

use crate::error::Error;
use crate::pool::Held;
use crate::session::Connection;
use crate::to_the_end::to_the_end;
use crate::{MySql, Shared, inbox, outbox};

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
                let held = self.shared.units.begin(self.access).await?;
                Ok(self.held.insert(held))
            }
        }
    }
}

impl Store for MySql {
    type Tx = Tx;
    type Connection = Connection;

    async fn begin(&self, intent: &Intent) -> Result<Tx, BoxError> {
        Ok(Tx { shared: Arc::clone(&self.shared), access: intent.access, held: None })
    }

    async fn connection(tx: &mut Tx) -> Result<&mut Connection, BoxError> {
        Ok(tx.held().await?.connection()?)
    }

    async fn claim(tx: &mut Tx, claiming: Claiming<'_>) -> Result<Vec<Claim>, BoxError> {
        let (texts, db) = tx.held().await?.parts()?;
        Ok(inbox::claim(texts, db, claiming).await?)
    }

    async fn checkpoint(tx: &mut Tx, projection: &str, marks: &[Mark]) -> Result<(), BoxError> {
        let (texts, db) = tx.held().await?.parts()?;
        Ok(inbox::checkpoint(texts, db, projection, marks).await?)
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
    let mut held = match held {
        Some(held) => held,
        None => shared.units.begin(access).await?,
    };
    if access == Access::Read {
        held.roll_back().await;
        return if outbox.is_empty() { Ok(()) } else { Err(Error::ReadOnly.into()) };
    }
    let (texts, db) = held.parts()?;
    if let Err(error) = outbox::append(texts, shared.packet_max, db, &outbox).await {
        return Err(held.refuse(error).await);
    }
    held.commit(shared.patience).await?;
    if !outbox.is_empty() {
        shared.hint.give();
    }
    Ok(())
}
