//! A few connections, each in somebody's hands or at rest. Who drops one with work on its way leaves it to a task that
//! ends that work, by force if it must; only then it is lent again.
//!
//! Why not sqlx's pool: it asks each connection that comes back whether it is well, in a task of its own, and lends
//! again what a dropped query left in the middle of an answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use factum::port::{Access, NotCommitted};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, is_disconnected, is_ended};
use crate::session::{Connection, Failure};
use crate::texts::Texts;
use crate::to_the_end::to_the_end;

/// How long a statement that nobody waits for any more may go on before it is killed.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long the end of a transaction may take that somebody waits for.
const LONG_PATIENCE: Duration = Duration::from_secs(5);

/// See the module. Connections open when they are first needed.
#[derive(Debug)]
pub(crate) struct Pool {
    resting: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    options: Arc<MySqlConnectOptions>,
    texts: Arc<Texts>,
    connections: usize,
    wait: Duration,
}

impl Pool {
    pub(crate) fn new(
        options: Arc<MySqlConnectOptions>,
        texts: Arc<Texts>,
        connections: usize,
        wait: Duration,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(connections));
        Self { resting: Arc::default(), permits, options, texts, connections, wait }
    }

    /// A connection, as new.
    pub(crate) async fn take(&self) -> Result<Held, Error> {
        let permit = self.permit().await?;
        let session = loop {
            // What was used last is most likely to be there still.
            let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match resting {
                Some(mut session) => {
                    if session.is_there().await {
                        break session;
                    }
                }
                None => break self.open().await?,
            }
        };
        let (resting, options) = (Arc::clone(&self.resting), Arc::clone(&self.options));
        Ok(Held { held: Some(Hold { session, name: None, resting, options, _permit: permit }) })
    }

    async fn open(&self) -> Result<Connection, sqlx::Error> {
        let open = Connection::open(&self.options, self.wait, Arc::clone(&self.texts));
        tokio::time::timeout(self.wait, open).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// A connection on which a transaction is open.
    pub(crate) async fn begin(&self, access: Access) -> Result<Held, Error> {
        let mut held = self.take().await?;
        match held.begin(access).await {
            Err(error) if is_disconnected(&error) => {}
            begun => return Ok(begun.map(|()| held)?),
        }
        // Nothing was lost yet. All that rested is likely to be gone as well: the server was started again.
        drop(held);
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut held = self.take().await?;
        held.begin(access).await?;
        Ok(held)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(free) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(free);
        }
        match tokio::time::timeout(self.wait, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => {
                Err(Error::ConnectionsHeld { connections: self.connections, waited: self.wait })
            }
        }
    }
}

#[derive(Debug)]
struct Hold {
    session: Connection,
    /// Of the transaction that may be open.
    name: Option<String>,
    resting: Arc<Mutex<Vec<Connection>>>,
    options: Arc<MySqlConnectOptions>,
    /// Given back after the session.
    _permit: OwnedSemaphorePermit,
}

impl Hold {
    /// Puts the session to rest, as new.
    fn rest(self) {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).push(self.session);
    }

    /// Ends whatever is on its way, and puts the session to rest if that leaves it clean.
    async fn clean(mut self, patience: Duration) {
        let (name, id) = (self.name.take(), self.session.id());
        match tokio::time::timeout(patience, self.session.clean(name.as_deref())).await {
            Ok(true) => self.rest(),
            // The server may have been started again: then the others are gone as well.
            Ok(false) => self.resting.lock().unwrap_or_else(PoisonError::into_inner).clear(),
            Err(_) => {
                let options = Arc::clone(&self.options);
                // The socket is closed first, so that nothing else can begin on it.
                drop(self);
                let _ = tokio::time::timeout(LONG_PATIENCE, kill(&options, id)).await;
            }
        }
    }
}

/// A statement that waits for a lock does not notice that its client is gone.
async fn kill(options: &MySqlConnectOptions, id: u64) {
    if let Ok(mut other) = options.connect().await {
        let text = AssertSqlSafe(format!("KILL CONNECTION {id}"));
        // It may have ended by itself.
        let _ = sqlx::raw_sql(text).execute(&mut other).await;
    }
}

/// A session in somebody's hands. Until it is given back, or its transaction has ended, it counts as used: dropped, it is
/// cleaned by a task.
#[derive(Debug)]
pub(crate) struct Held {
    held: Option<Hold>,
}

impl Held {
    fn hold(&mut self) -> Result<&mut Hold, sqlx::Error> {
        // It is taken out only by what consumes it.
        self.held.as_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    async fn begin(&mut self, access: Access) -> Result<(), sqlx::Error> {
        let hold = self.hold()?;
        hold.name = Some(hold.session.begin(access).await?);
        Ok(())
    }

    pub(crate) fn connection(&mut self) -> Result<&mut Connection, sqlx::Error> {
        Ok(&mut self.hold()?.session)
    }

    /// Our SQL, and what it is sent on.
    pub(crate) fn parts(&mut self) -> Result<(&Texts, &mut MySqlConnection), sqlx::Error> {
        Ok(self.hold()?.session.parts())
    }

    /// Commits its transaction.
    pub(crate) async fn commit(mut self, patience: Duration) -> Result<(), NotCommitted> {
        let hold = self.hold()?;
        let name = hold.name.clone().unwrap_or_default();
        let waited = patience;
        let asked = tokio::time::timeout(waited, hold.session.commit(&name)).await;
        match asked.unwrap_or(Err(Failure::Unknown(Error::Silent { waited }))) {
            Ok(()) => {
                self.give_back();
                Ok(())
            }
            Err(failure) => {
                self.roll_back().await;
                Err(failure.into_not_committed())
            }
        }
    }

    /// Ends whatever is open, and waits until that has happened.
    pub(crate) async fn roll_back(mut self) {
        if let Some(hold) = self.held.take() {
            to_the_end(hold.clean(LONG_PATIENCE)).await;
        }
    }

    /// Rolls back, and says why.
    pub(crate) async fn refuse(self, error: Error) -> NotCommitted {
        self.roll_back().await;
        match error {
            Error::MySql(error) if is_ended(&error) => Error::Ended(error).into(),
            error => error.into(),
        }
    }

    /// It is as it was taken: every query was answered, and no transaction is open.
    pub(crate) fn give_back(mut self) {
        if let Some(mut hold) = self.held.take() {
            hold.name = None;
            hold.rest();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Without a runtime the session is dropped, which closes its socket.
        if let (Some(hold), Ok(runtime)) = (self.held.take(), Handle::try_current()) {
            runtime.spawn(hold.clean(PATIENCE));
        }
    }
}
