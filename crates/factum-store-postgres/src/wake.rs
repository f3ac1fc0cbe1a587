//! How processes tell each other that something is in the outbox: `NOTIFY` and `LISTEN`, on connections of their own.
//!
//! A hint and no more: relays look by themselves at intervals. It refuses to be part of a business transaction, where it
//! would make all commits of the database wait for each other, and it carries nothing.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use factum::port::Hint;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// At most so often others are told.
const PAUSE: Duration = Duration::from_millis(25);

/// After a failure, and at most after so many of them.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// A listener that has heard nothing for so long asks whether anybody is there; no answer is waited for longer.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Two tasks, each begun when it is first needed, ended with the store.
#[derive(Debug)]
pub(crate) struct Wake {
    /// For a connection each, opened when it is needed.
    line: Line,
    channel: Arc<str>,
    /// Behind a pooler that shares sessions nobody can listen.
    deaf: bool,
    tell: Arc<Notify>,
    /// The session that tells others: what it says need not be told to this process.
    own: Arc<AtomicI32>,
    tasks: [OnceLock<Task>; 2],
}

/// How to get a connection, and how long to wait for one.
#[derive(Clone, Debug)]
struct Line {
    options: PgConnectOptions,
    wait: Duration,
}

impl Line {
    /// A pool for a single listener, which sqlx wants: what a pool takes back it talks to first, and where nobody answers
    /// that never ends.
    fn single(&self) -> PgPool {
        let single = PgPoolOptions::new().max_connections(1).max_lifetime(None).acquire_timeout(self.wait);
        single.connect_lazy_with(self.options.clone())
    }
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
    pub(crate) fn new(options: PgConnectOptions, wait: Duration, channel: String, deaf: bool) -> Self {
        Self {
            line: Line { options, wait },
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
            let (line, channel) = (self.line.clone(), Arc::clone(&self.channel));
            (line, channel, Arc::clone(hint), Arc::clone(&self.own))
        };
        start(listening, || {
            let (line, channel, hint, own) = begin();
            listen(line, channel, hint, own)
        });
    }

    /// Tells other processes, soon.
    pub(crate) fn tell(&self) {
        let [_, telling] = &self.tasks;
        start(telling, || {
            tell(self.line.clone(), Arc::clone(&self.channel), Arc::clone(&self.tell), Arc::clone(&self.own))
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

async fn listen(line: Line, channel: Arc<str>, hint: Arc<Hint>, own: Arc<AtomicI32>) {
    let mut pause = AGAIN;
    loop {
        match hear(&line.single(), &channel, &hint, &own, &mut pause).await {
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

async fn tell(line: Line, channel: Arc<str>, asked: Arc<Notify>, own: Arc<AtomicI32>) {
    // In one flight, for poolers; the channel is made of checked names.
    let sql: Arc<str> = format!("SELECT pg_notify('{channel}', ''), pg_backend_pid()").into();
    let mut open = None;
    loop {
        asked.notified().await;
        match timeout(SILENCE_MAX, say(&mut open, &line, &sql)).await {
            Ok(Ok(pid)) => own.store(pid, Ordering::Relaxed),
            Ok(Err(error)) => tracing::debug!(%error, "other processes were not told of a commit"),
            Err(_) => tracing::debug!("other processes were not told of a commit: nobody answers"),
        }
        sleep(PAUSE).await;
    }
}

/// Says it, and answers by which session. A connection is kept only if it has answered; one that broke while it lay idle
/// is replaced.
async fn say(open: &mut Option<PgConnection>, line: &Line, sql: &Arc<str>) -> Result<i32, sqlx::Error> {
    let say = || sqlx::raw_sql(AssertSqlSafe(Arc::clone(sql)));
    if let Some(mut db) = open.take()
        && let Ok(row) = say().fetch_one(&mut db).await
    {
        *open = Some(db);
        return row.try_get(1);
    }
    let mut db = line.options.connect().await?;
    let row = say().fetch_one(&mut db).await?;
    *open = Some(db);
    row.try_get(1)
}
