//! A database of the test's own, on a server that it may share: opened by the test and by every relay's process.

use std::sync::Arc;
use std::time::Duration;

use factum::BoxError;
use factum::integration::Backlog;
use factum::port::OutboxStore;
use factum_conformance::service::{MYSQL, POSTGRES, Server};
use factum_store_mysql::MySql;
use factum_store_postgres::Postgres;
use factum_store_sqlite::Sqlite;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::{Written, write, write_one};

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    Sqlite,
    /// A schema of its own.
    Postgres,
    /// A database of its own.
    MySql,
}

/// Where the tables are, as a relay's process is told: a URL, and a name on that server.
#[derive(Clone, Debug)]
pub struct Database {
    /// Which database.
    pub kind: Kind,
    /// Of the server, or of the file.
    pub url: String,
    /// Of the schema or database.
    pub name: String,
}

/// An open store.
#[derive(Clone)]
pub enum Torn {
    /// On a file.
    Sqlite(Sqlite),
    /// On PostgreSQL.
    Postgres(Postgres),
    /// On MariaDB.
    MySql(MySql),
}

impl Kind {
    /// The server that it needs, if any.
    pub fn server(self) -> Option<Server> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(POSTGRES),
            Self::MySql => Some(MYSQL),
        }
    }
}

impl Database {
    /// A new one, empty. `None`, after saying so, where its server is missing.
    ///
    /// # Errors
    /// The server refuses.
    ///
    /// # Panics
    /// The server is missing and must be there.
    pub async fn fresh(kind: Kind, test: &str) -> Result<Option<Self>, BoxError> {
        let url = match kind.server() {
            Some(server) => match server.url_or_skip(test) {
                Some(url) => url,
                None => return Ok(None),
            },
            None => format!("sqlite:{}", tempfile::tempdir()?.keep().join("torn.db").display()),
        };
        Self::on(kind, url).await.map(Some)
    }

    /// A new one on a server of the test's own.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn on(kind: Kind, url: String) -> Result<Self, BoxError> {
        let name = format!("torture_{}", uuid::Uuid::now_v7().simple());
        let database = Self { kind, url, name };
        match kind {
            Kind::Sqlite => {}
            Kind::Postgres => {
                database.execute(&format!("CREATE SCHEMA {}", database.name)).await?;
                Postgres::options(&database.url).schema(&database.name).migrate().await?;
            }
            Kind::MySql => {
                database.execute(&format!("CREATE DATABASE {}", database.name)).await?;
                MySql::options(&database.mysql_url()).migrate().await?;
            }
        }
        Ok(database)
    }

    /// Opens it.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub async fn open(&self) -> Result<Torn, BoxError> {
        Ok(match self.kind {
            Kind::Sqlite => {
                let file = self.url.trim_start_matches("sqlite:");
                Torn::Sqlite(Sqlite::open(file).await?)
            }
            Kind::Postgres => Torn::Postgres(
                Postgres::options(&self.url).schema(&self.name).connections(10).connect().await?,
            ),
            Kind::MySql => Torn::MySql(MySql::options(&self.mysql_url()).connections(10).connect().await?),
        })
    }

    /// Removes it from its server.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn remove(self) -> Result<(), BoxError> {
        match self.kind {
            Kind::Sqlite => {
                let file = std::path::Path::new(self.url.trim_start_matches("sqlite:"));
                Ok(file.parent().map_or(Ok(()), std::fs::remove_dir_all)?)
            }
            Kind::Postgres => self.execute(&format!("DROP SCHEMA {} CASCADE", self.name)).await,
            Kind::MySql => self.execute(&format!("DROP DATABASE {}", self.name)).await,
        }
    }

    /// Runs statements of the test's own on the server.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn execute(&self, sql: &str) -> Result<(), BoxError> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.kind {
            Kind::Sqlite => {
                sqlx::raw_sql(sql).execute(&mut sqlx::SqliteConnection::connect(&self.url).await?).await?;
            }
            Kind::Postgres => {
                sqlx::raw_sql(sql).execute(&mut sqlx::PgConnection::connect(&self.url).await?).await?;
            }
            Kind::MySql => {
                sqlx::raw_sql(sql).execute(&mut sqlx::MySqlConnection::connect(&self.url).await?).await?;
            }
        }
        Ok(())
    }

    /// Lets the database's clock go on for so long: it is what leases are judged by, and no virtual one.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn pass(&self, time: Duration) -> Result<(), BoxError> {
        let seconds = time.as_secs_f64();
        match self.kind {
            Kind::Sqlite => Err("SQLite's clock is the machine's".into()),
            Kind::Postgres => self.execute(&format!("SELECT pg_sleep({seconds})")).await,
            Kind::MySql => self.execute(&format!("SELECT sleep({seconds})")).await,
        }
    }

    /// The URL of the database of this name.
    fn mysql_url(&self) -> String {
        let server = self.url.rsplit_once('/').map_or(self.url.as_str(), |(server, _)| server);
        format!("{server}/{}", self.name)
    }
}

impl Torn {
    /// As a relay sees it.
    pub fn outbox(&self) -> Arc<dyn OutboxStore> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::MySql(store) => Arc::new(store.clone()),
        }
    }

    /// As tools see it.
    pub fn inspect(&self) -> &dyn factum::integration::Inspect {
        match self {
            Self::Sqlite(store) => store,
            Self::Postgres(store) => store,
            Self::MySql(store) => store,
        }
    }

    /// Waits until the outbox is empty.
    ///
    /// # Errors
    /// The store failed.
    pub async fn settled(&self) -> Result<(), BoxError> {
        self.until(|backlog| backlog.outbox == 0).await.map(drop)
    }

    /// Waits until what is to be done is as wished.
    ///
    /// # Errors
    /// The store failed, or it was not within two minutes.
    pub async fn until(&self, is: impl Fn(&Backlog) -> bool) -> Result<Backlog, BoxError> {
        let mut every = tokio::time::interval(Duration::from_millis(10));
        let waited = tokio::time::timeout(Duration::from_secs(120), async {
            loop {
                every.tick().await;
                let backlog = self.inspect().backlog().await?;
                if is(&backlog) {
                    return Ok(backlog);
                }
            }
        });
        waited.await.unwrap_or_else(|_| Err("the outbox was not as wished within two minutes".into()))
    }

    /// As [`write`](crate::write).
    ///
    /// # Errors
    /// The store failed.
    pub async fn write(&self, keys: u64, of_each: u64, in_one: u64) -> Result<Written, BoxError> {
        match self {
            Self::Sqlite(store) => write(store, keys, of_each, in_one).await,
            Self::Postgres(store) => write(store, keys, of_each, in_one).await,
            Self::MySql(store) => write(store, keys, of_each, in_one).await,
        }
    }

    /// As [`write_one`](crate::write_one).
    ///
    /// # Errors
    /// The store failed.
    pub async fn write_one(&self, key: u64, n: u64) -> Result<(), BoxError> {
        match self {
            Self::Sqlite(store) => write_one(store, key, n).await,
            Self::Postgres(store) => write_one(store, key, n).await,
            Self::MySql(store) => write_one(store, key, n).await,
        }
    }
}
