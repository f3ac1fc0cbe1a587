//! Where a test's shop lives: a store, a bus, and a namespace that nobody else has.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use factum_conformance::service::{MYSQL, NATS, POSTGRES, RABBITMQ, Server};
use factum_launcher::Process;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection};
use tokio::time::timeout;

use crate::support::{command, report};

/// Declined and seeded, so that every kind of event is told.
pub(crate) const TRIALS: [&str; 4] = ["--decline", "7", "--seed", "3"];

pub(crate) const WATCHDOG: Duration = Duration::from_secs(300);

/// Removed when it is dropped.
pub(crate) struct Place {
    pub(crate) store: String,
    pub(crate) bus: String,
    pub(crate) namespace: String,
    folder: tempfile::TempDir,
}

impl Place {
    /// On shared servers, by the names of stores and buses; `None`, after saying so, if one is not there.
    pub(crate) fn of(test: &str, store: &str, bus: &str) -> Option<Self> {
        let url = |kind: &str| match server(kind) {
            Some(server) => server.url_or_skip(test),
            None => Some(format!("{kind}:")),
        };
        Some(Self::at(url(store)?, url(bus)?))
    }

    /// On whatever servers.
    pub(crate) fn at(store: String, bus: String) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("t{nanos:x}-{:x}-{count}", std::process::id());
        Self { store, bus, namespace, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What says where it is, to every program.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let folder = self.folder().join("databases").display().to_string();
        let named = [
            ("--store", &self.store),
            ("--bus", &self.bus),
            ("--namespace", &self.namespace),
            ("--data-dir", &folder),
        ];
        named.into_iter().flat_map(|(option, value)| [option.to_owned(), value.clone()]).collect()
    }

    /// The shop here.
    pub(crate) fn shop(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments, self.folder());
        command.args(self.arguments());
        command
    }

    /// Runs the shop to its end.
    pub(crate) fn run(&self, limit: &str, further: &[&str]) -> Value {
        let output = self.shop(&["--limit", limit, "--json"]).args(TRIALS).args(further).output().unwrap();
        report(&output)
    }

    /// What `--cleanup` says.
    pub(crate) fn clean_up(&self) -> String {
        let output = self.shop(&["--cleanup"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.shop(&["--cleanup"]).output();
    }
}

/// One number of a service's database, asked over a connection of its own: the one before may have been killed.
pub(crate) async fn number(place: &Place, service: &str, from: &str) -> Option<i64> {
    let database = format!("{}_{service}", place.namespace.replace('-', "_"));
    let query = AssertSqlSafe(format!("SELECT count(*) FROM {database}.{from}"));
    let asked = async {
        match place.store.split(':').next() {
            Some("postgres") => {
                let mut db = PgConnection::connect(&place.store).await?;
                sqlx::query_scalar(query).fetch_one(&mut db).await
            }
            _ => {
                let mut db = MySqlConnection::connect(&place.store).await?;
                sqlx::query_scalar(query).fetch_one(&mut db).await
            }
        }
    };
    asked.await.ok()
}

/// Waits until there are so many.
pub(crate) async fn until_there_are(least: i64, place: &Place, service: &str, table: &str, shop: &Process) {
    let counted = async {
        while number(place, service, table).await.is_none_or(|found| found < least) {
            let _ = timeout(Duration::from_millis(50), std::future::pending::<()>()).await;
        }
    };
    let waited = timeout(WATCHDOG, counted).await;
    assert!(waited.is_ok(), "{service}.{table} never had {least} rows; the shop says: {}", shop.log());
}

fn server(kind: &str) -> Option<Server> {
    [("postgres", POSTGRES), ("mysql", MYSQL), ("nats", NATS), ("amqp", RABBITMQ)]
        .into_iter()
        .find_map(|(name, server)| (name == kind).then_some(server))
}
