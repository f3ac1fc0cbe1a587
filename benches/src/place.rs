//! Where a run takes place: a database of its own on the given server, and names of its own on the given broker, both
//! removed at its end. It refuses a URL whose scheme it does not know.

use std::hash::{BuildHasher as _, RandomState};
use std::str::FromStr;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection};

use crate::{Outcome, machine};

/// A server with a database.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    Postgres(String),
    MySql(String),
}

impl FromStr for Store {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql") => Ok(Self::Postgres(url.to_owned())),
            Some("mysql" | "mariadb") => Ok(Self::MySql(url.to_owned())),
            _ => Err(format!("`{url}` is no store: postgres://user@host/database or mysql://user@host/")),
        }
    }
}

impl Store {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::MySql(_) => "mysql",
        }
    }

    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Postgres(url) | Self::MySql(url) => url,
        }
    }

    /// Runs statements that give nothing back.
    pub(crate) async fn run(&self, sql: impl Into<String>) -> Outcome<()> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.into()));
        match self {
            Self::Postgres(url) => {
                let mut db = PgConnection::connect(url).await?;
                sql.execute(&mut db).await?;
                db.close().await?;
            }
            Self::MySql(url) => {
                let mut db = MySqlConnection::connect(url).await?;
                sql.execute(&mut db).await?;
                db.close().await?;
            }
        }
        Ok(())
    }

    /// The one number that a statement gives.
    pub(crate) async fn ask(&self, sql: impl Into<String>) -> Outcome<i64> {
        let sql = AssertSqlSafe(sql.into());
        Ok(match self {
            Self::Postgres(url) => {
                let mut db = PgConnection::connect(url).await?;
                sqlx::query_scalar(sql).persistent(false).fetch_one(&mut db).await?
            }
            Self::MySql(url) => {
                let mut db = MySqlConnection::connect(url).await?;
                sqlx::query_scalar(sql).persistent(false).fetch_one(&mut db).await?
            }
        })
    }

    /// The same server, another database.
    fn at(&self, database: &str) -> Self {
        let url = with_database(self.url(), database);
        match self {
            Self::Postgres(_) => Self::Postgres(url),
            Self::MySql(_) => Self::MySql(url),
        }
    }
}

/// A broker.
#[derive(Clone, Debug)]
pub(crate) enum Bus {
    Nats(String),
    RabbitMq(String),
}

impl FromStr for Bus {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("nats" | "tls" | "natss") => Ok(Self::Nats(url.to_owned())),
            Some("amqp" | "amqps") => Ok(Self::RabbitMq(url.to_owned())),
            _ => Err(format!("`{url}` is no bus: nats://host:4222 or amqp://user:password@host/%2f")),
        }
    }
}

impl Bus {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Nats(_) => "nats",
            Self::RabbitMq(_) => "rabbitmq",
        }
    }

    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Nats(url) | Self::RabbitMq(url) => url,
        }
    }
}

/// A database that exists for one run.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    /// How to reach it.
    pub(crate) store: Store,
    server: Store,
    /// What it is called; a name that no other run has.
    pub(crate) name: String,
}

impl Database {
    pub(crate) async fn create(server: &Store) -> Outcome<Self> {
        let name = unique("factum_bench");
        server.run(format!("CREATE DATABASE {name}")).await?;
        Ok(Self { store: server.at(&name), server: server.clone(), name })
    }

    /// The processor time of the server's processes for those who are connected to this database, where the server has a
    /// process for each and they are on this machine.
    pub(crate) async fn cpu(&self) -> Outcome<Option<Duration>> {
        let Store::Postgres(url) = &self.server else { return Ok(None) };
        let sql = "SELECT pid::bigint FROM pg_stat_activity
                   WHERE datname = $1 AND inet_server_addr() = ANY (ARRAY['127.0.0.1', '::1']::inet[])";
        let mut db = PgConnection::connect(url).await?;
        let pids: Vec<i64> = sqlx::query_scalar(sql).bind(&self.name).fetch_all(&mut db).await?;
        Ok(machine::cpu_of_all(&pids).filter(|_| !pids.is_empty()))
    }

    /// The same server, another database of it.
    pub(crate) fn server(&self) -> &Store {
        &self.server
    }

    /// Removes it. A run that ends with an error, or is killed, leaves it behind: `factum_bench_…`.
    pub(crate) async fn drop(self) -> Outcome<()> {
        let force = match self.server {
            Store::Postgres(_) => " WITH (FORCE)",
            Store::MySql(_) => "",
        };
        self.server.run(format!("DROP DATABASE {}{force}", self.name)).await
    }
}

/// A name that no other run has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}_{:08x}", RandomState::new().hash_one(0u8) as u32)
}

fn with_database(url: &str, database: &str) -> String {
    let (url, query) =
        url.split_once('?').map_or((url, String::new()), |(url, query)| (url, format!("?{query}")));
    let authority = url.find("://").map_or(0, |at| at + 3);
    let server = url[authority..].find('/').map_or(url, |slash| &url[..authority + slash]);
    format!("{server}/{database}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_is_put_in_the_place_of_the_first() {
        let cases = [
            ("postgres://me@host:5432/there?sslmode=disable", "postgres://me@host:5432/x?sslmode=disable"),
            ("postgres://host", "postgres://host/x"),
            ("mysql://root@127.0.0.1:3306/", "mysql://root@127.0.0.1:3306/x"),
        ];
        for (url, expected) in cases {
            assert_eq!(with_database(url, "x"), expected);
        }
    }

    #[test]
    fn a_url_of_something_else_is_refused() {
        assert!("redis://127.0.0.1".parse::<Bus>().is_err() && "sqlite://x".parse::<Store>().is_err());
    }
}
