//! How processes tell each other that something is in the outbox: `NOTIFY` and `LISTEN`, on connections of their own.
//!
//! A hint and no more: relays look by themselves at intervals. It refuses to be part of a business transaction, where it
//! would make all commits of the database wait for each other, and it carries nothing.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use factum::port::Hint;
use sqlx::postgres::{PgListener, PgPool};
use sqlx::{AssertSqlSafe, Row as _};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// At most so often others are told.
const PAUSE: Duration = Duration::from_millis(25);

/// After a failure, and at most after so many of them.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// A listener that has heard nothing for so long asks whether anybody is there.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Two tasks, each begun when it is first needed, ended with the store.
#[derive(Debug)]
pub(crate) struct Wake {
    /// One connection each, opened when it is needed.
    listening: PgPool,
    telling: PgPool,
    channel: Arc<str>,
    /// Behind a pooler that shares sessions nobody can listen.
    deaf: bool,
    tell: Arc<Notify>,
    /// The session that tells others: what it says need not be told to this process.
    own: Arc<AtomicI32>,
    tasks: [OnceLock<Task>; 2],
}

/// Ends with the store.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Wake {
    pub(crate) fn new(listening: PgPool, telling: PgPool, channel: String, deaf: bool) -> Self {
        Self {
            listening,
            telling,
            channel: channel.into(),
            deaf,
            tell: Arc::default(),
            own: Arc::default(),
            tasks: [OnceLock::new(), OnceLock::new()],
        }
    }

    /// Begins to listen, unless that has begun.
    pub(crate) fn listen(&self, hint: &Arc<Hint>) {
        if self.deaf {
            return;
        }
        let [listening, _] = &self.tasks;
        let begin = || {
            let (pool, channel) = (self.listening.clone(), Arc::clone(&self.channel));
            (pool, channel, Arc::clone(hint), Arc::clone(&self.own))
        };
        start(listening, || {
            let (pool, channel, hint, own) = begin();
            listen(pool, channel, hint, own)
        });
    }

    /// Tells other processes, soon.
    pub(crate) fn tell(&self) {
        let [_, telling] = &self.tasks;
        start(telling, || {
            tell(
                self.telling.clone(),
                Arc::clone(&self.channel),
                Arc::clone(&self.tell),
                Arc::clone(&self.own),
            )
        });
        self.tell.notify_one();
    }
}

fn start<F: Future<Output = ()> + Send + 'static>(task: &OnceLock<Task>, work: impl FnOnce() -> F) {
    if task.get().is_none()
        && let Ok(runtime) = Handle::try_current()
    {
        task.get_or_init(|| Task(runtime.spawn(work())));
    }
}

async fn listen(pool: PgPool, channel: Arc<str>, hint: Arc<Hint>, own: Arc<AtomicI32>) {
    let mut pause = AGAIN;
    loop {
        match hear(&pool, &channel, &hint, &own, &mut pause).await {
            Ok(never) => match never {},
            Err(error) => tracing::debug!(%error, "listening for commits of other processes was interrupted"),
        }
        // Whatever was said meanwhile was not heard.
        hint.give();
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN_MAX);
    }
}

async fn hear(
    pool: &PgPool,
    channel: &str,
    hint: &Hint,
    own: &AtomicI32,
    pause: &mut Duration,
) -> Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(channel).await?;
    // After it is certain that whatever comes now will be heard.
    hint.give();
    *pause = AGAIN;
    loop {
        match timeout(SILENCE_MAX, listener.try_recv()).await {
            Ok(Ok(Some(told))) if told.process_id() == own.load(Ordering::Relaxed).unsigned_abs() => {}
            Ok(Ok(Some(_))) => hint.give(),
            Ok(Ok(None)) => return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let asked = sqlx::raw_sql("SELECT 1").execute(&mut listener);
                let silent = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
                timeout(SILENCE_MAX, asked).await.map_err(silent)??;
            }
        }
    }
}

async fn tell(pool: PgPool, channel: Arc<str>, asked: Arc<Notify>, own: Arc<AtomicI32>) {
    // In one flight, for poolers; the channel is made of checked names.
    let sql: Arc<str> = format!("SELECT pg_notify('{channel}', ''), pg_backend_pid()").into();
    loop {
        asked.notified().await;
        let told = sqlx::raw_sql(AssertSqlSafe(Arc::clone(&sql))).fetch_one(&pool).await;
        match told.and_then(|row| row.try_get(1)) {
            Ok(pid) => own.store(pid, Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, "other processes were not told of a commit"),
        }
        sleep(PAUSE).await;
    }
}
