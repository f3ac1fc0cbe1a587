//! The one connection of this process that writes, and who holds it.
//!
//! SQLite has one writer for a file. Inside the process those who wait for it queue fairly, and learn whom they waited
//! for; between processes SQLite polls, so here too, in short turns that somebody may stop waiting in.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::OwnedMutexGuard;

use crate::error::{Error, is_busy};
use crate::session::{Begin, Held, Session};

/// How long one turn of waiting for another process keeps the connection's thread busy.
pub(crate) const TURN: Duration = Duration::from_millis(100);

/// Who was lent the writer last, and when.
#[derive(Clone, Debug)]
struct Holder {
    who: Arc<str>,
    since: Instant,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Writer {
    slot: Arc<tokio::sync::Mutex<Option<Session>>>,
    holder: Mutex<Holder>,
    options: SqliteConnectOptions,
    file: PathBuf,
    wait: Duration,
}

impl Writer {
    pub(crate) fn new(options: SqliteConnectOptions, wait: Duration) -> Self {
        Self {
            slot: Arc::default(),
            holder: Mutex::new(Holder { who: "nobody".into(), since: Instant::now() }),
            file: options.get_filename().to_path_buf(),
            options,
            wait,
        }
    }

    /// Waits for the writer, and begins a transaction on it.
    pub(crate) async fn begin(&self, who: &Arc<str>) -> Result<Held, Error> {
        let began = Instant::now();
        let slot = self.lock(who).await?;
        let mut held = Held::take(slot, None, &self.options, self.wait).await?;
        loop {
            match held.begin(Begin::Write).await {
                Ok(()) => return Ok(held),
                Err(error) if is_busy(&error) && began.elapsed() < self.wait => {}
                Err(source) if is_busy(&source) => {
                    return Err(Error::FileHeld { file: self.file.clone(), waited: began.elapsed(), source });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    async fn lock(&self, who: &Arc<str>) -> Result<OwnedMutexGuard<Option<Session>>, Error> {
        let slot = Arc::clone(&self.slot);
        let slot = match Arc::clone(&slot).try_lock_owned() {
            Ok(free) => free,
            Err(_) => tokio::time::timeout(self.wait, slot.lock_owned()).await.map_err(|_| self.is_held())?,
        };
        let holder = Holder { who: Arc::clone(who), since: Instant::now() };
        *self.holder.lock().unwrap_or_else(PoisonError::into_inner) = holder;
        Ok(slot)
    }

    fn is_held(&self) -> Error {
        let Holder { who, since } = self.holder.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Error::WriterHeld { file: self.file.clone(), by: who, held: since.elapsed(), waited: self.wait }
    }
}
