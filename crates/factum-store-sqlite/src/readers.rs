//! A few connections that only read: each sees a snapshot, and none waits for the writer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{OwnedMutexGuard, Semaphore};

use crate::error::Error;
use crate::session::{Begin, Held, Session};

type Slot = Arc<tokio::sync::Mutex<Option<Session>>>;

/// See the module. Connections open when they are first needed.
#[derive(Debug)]
pub(crate) struct Readers {
    slots: Vec<Slot>,
    permits: Arc<Semaphore>,
    options: SqliteConnectOptions,
    file: PathBuf,
    wait: Duration,
}

impl Readers {
    pub(crate) fn new(options: SqliteConnectOptions, readers: usize, wait: Duration) -> Self {
        Self {
            slots: (0..readers).map(|_| Slot::default()).collect(),
            permits: Arc::new(Semaphore::new(readers)),
            file: options.get_filename().to_path_buf(),
            options,
            wait,
        }
    }

    /// A connection for single queries, each of which sees a snapshot of its own.
    pub(crate) async fn take(&self) -> Result<Held, Error> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = match tokio::time::timeout(self.wait, permit).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(self.are_held()),
        };
        let slot = self.free_slot().ok_or_else(|| self.are_held())?;
        Ok(Held::take(Some(permit), slot, &self.options, self.wait).await?)
    }

    /// A connection on which a snapshot is taken by the first query.
    pub(crate) async fn begin(&self) -> Result<Held, Error> {
        let mut held = self.take().await?;
        held.begin(Begin::Read).await?;
        Ok(held)
    }

    /// There is one for every permit, because a slot is free before its permit is. Open ones come first.
    fn free_slot(&self) -> Option<OwnedMutexGuard<Option<Session>>> {
        let mut free = self.slots.iter().filter_map(|slot| Arc::clone(slot).try_lock_owned().ok());
        let first = free.next()?;
        if first.is_some() {
            return Some(first);
        }
        let open = free.find(|slot| slot.is_some());
        Some(open.unwrap_or(first))
    }

    fn are_held(&self) -> Error {
        Error::ReadersHeld { file: self.file.clone(), readers: self.slots.len(), waited: self.wait }
    }
}
