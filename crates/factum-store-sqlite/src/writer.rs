//! The one connection of this process that writes, and who holds it.
//!
//! SQLite has one writer for a file. Inside the process those who wait for it queue fairly, and learn whom they waited
//! for; between processes they poll, in short steps that somebody may stop waiting in, and take [turns](crate::turns).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::OwnedMutexGuard;

use crate::error::{Error, is_busy};
use crate::session::{Begin, Held, Session};
use crate::turns::Turns;

/// How long SQLite waits by itself for another process, and keeps the connection's thread busy: it asks twice.
pub(crate) const STEP: Duration = Duration::from_millis(1);

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
    turns: OnceLock<Turns>,
    options: SqliteConnectOptions,
    file: PathBuf,
    wait: Duration,
}

impl Writer {
    pub(crate) fn new(options: SqliteConnectOptions, wait: Duration) -> Self {
        Self {
            slot: Arc::default(),
            holder: Mutex::new(Holder { who: "nobody".into(), since: Instant::now() }),
            turns: OnceLock::new(),
            file: options.get_filename().to_path_buf(),
            options,
            wait,
        }
    }

    /// Waits for the writer, and begins a transaction on it.
    pub(crate) async fn begin(&self, who: &Arc<str>) -> Result<Held, Error> {
        let began = Instant::now();
        let slot = self.lock(who).await?;
        let mut held = Held::take(None, slot, &self.options, self.wait).await?;
        let mut turn = self.turns.get_or_init(|| Turns::of(&self.file)).wait(Instant::now());
        loop {
            let is_last = began.elapsed() >= self.wait;
            if turn.may_begin(Instant::now()) || is_last {
                match held.begin(Begin::Write).await {
                    Ok(()) => break,
                    Err(error) if is_busy(&error) && !is_last => turn.refused(Instant::now()),
                    Err(source) if is_busy(&source) => {
                        return Err(Error::FileHeld {
                            file: self.file.clone(),
                            waited: began.elapsed(),
                            source,
                        });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            match turn.pause(Instant::now()) {
                Duration::ZERO => {}
                pause => tokio::time::sleep(pause).await,
            }
        }
        turn.begun(Instant::now());
        Ok(held)
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
