//! How the shop reaches the servers that it can live on, and how it leaves them. Each service has a schema (PostgreSQL) or
//! a database (MariaDB) of its own, since documents of one service are not another's.

use std::sync::Arc;

use factum::{BoxError, EventBus};
use factum_bus_nats::Nats;
use factum_bus_rabbitmq::RabbitMq;
use factum_store_mysql::{MySql, Options};
use factum_store_postgres::Postgres;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};

use super::{Namespace, Url};
use crate::Failure;
use crate::composition::NAMES;

/// Connections of one service: four of them share a server, with others.
const CONNECTIONS: u32 = 6;

fn store_failed<E: Into<BoxError>>(error: E) -> Failure {
    Failure::Server { option: "--store", source: error.into() }
}

fn bus_failed<E: Into<BoxError>>(error: E) -> Failure {
    Failure::Server { option: "--bus", source: error.into() }
}

/// A service's schema, which is made as needed.
pub(super) async fn postgres(url: &Url, namespace: &Namespace, service: &str) -> Result<Postgres, Failure> {
    let options =
        Postgres::options(url.secret()).schema(namespace.database(service)).connections(CONNECTIONS);
    options.migrate().await.map_err(store_failed)?;
    options.connect().await.map_err(store_failed)
}

/// A service's database, which is made as needed.
pub(super) async fn mysql(url: &Url, namespace: &Namespace, service: &str) -> Result<MySql, Failure> {
    let name = namespace.database(service);
    let server = mysql_server(url)?;
    let mut db: MySqlConnection = server.connect().await.map_err(store_failed)?;
    // The name is a checked one.
    let create = format!("CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4");
    db.execute(AssertSqlSafe(create)).await.map_err(store_failed)?;
    db.close().await.map_err(store_failed)?;
    let options = Options::with(server.database(&name)).connections(CONNECTIONS);
    options.migrate().await.map_err(store_failed)?;
    options.connect().await.map_err(store_failed)
}

fn mysql_server(url: &Url) -> Result<MySqlConnectOptions, Failure> {
    url.secret().parse().map_err(|error: sqlx::Error| store_failed(error))
}

/// Removes schemas with all that is in them; answers which.
pub(super) async fn drop_schemas(url: &Url, namespace: &Namespace) -> Result<Vec<String>, Failure> {
    let mut db = PgConnection::connect(url.secret()).await.map_err(store_failed)?;
    let there = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1)";
    let mut removed = Vec::new();
    for name in NAMES.map(|name| namespace.database(name)) {
        if sqlx::query_scalar(there).bind(&name).fetch_one(&mut db).await.map_err(store_failed)? {
            let drop = format!("DROP SCHEMA {name} CASCADE");
            db.execute(AssertSqlSafe(drop)).await.map_err(store_failed)?;
            removed.push(format!("schema {name}"));
        }
    }
    db.close().await.map_err(store_failed)?;
    Ok(removed)
}

/// Removes databases; answers which.
pub(super) async fn drop_databases(url: &Url, namespace: &Namespace) -> Result<Vec<String>, Failure> {
    let mut db: MySqlConnection = mysql_server(url)?.connect().await.map_err(store_failed)?;
    let there = "SELECT EXISTS (SELECT 1 FROM information_schema.schemata WHERE schema_name = ?)";
    let mut removed = Vec::new();
    for name in NAMES.map(|name| namespace.database(name)) {
        let found: bool =
            sqlx::query_scalar(there).bind(&name).fetch_one(&mut db).await.map_err(store_failed)?;
        if found {
            db.execute(AssertSqlSafe(format!("DROP DATABASE {name}"))).await.map_err(store_failed)?;
            removed.push(format!("database {name}"));
        }
    }
    db.close().await.map_err(store_failed)?;
    Ok(removed)
}

/// NATS, with the streams and consumers of this namespace.
pub(super) async fn nats(url: &Url, namespace: &Namespace) -> Result<Arc<dyn EventBus>, Failure> {
    let options = Nats::options(url.secret()).namespace(namespace.as_str()).name("shop");
    Ok(Arc::new(options.connect().await.map_err(bus_failed)?))
}

/// RabbitMQ, with the exchanges and queues of this namespace.
pub(super) async fn rabbitmq(url: &Url, namespace: &Namespace) -> Result<Arc<dyn EventBus>, Failure> {
    let options = RabbitMq::options(url.secret()).namespace(namespace.as_str()).connection_name("shop");
    Ok(Arc::new(options.connect().await.map_err(bus_failed)?))
}

/// Removes all of this namespace from NATS; answers how much it was.
pub(super) async fn clean_up_nats(url: &Url, namespace: &Namespace) -> Result<Vec<String>, Failure> {
    let options = Nats::options(url.secret()).namespace(namespace.as_str());
    let removed = options.clean_up().await.map_err(bus_failed)?;
    Ok(counted(removed, "streams and buckets", namespace))
}

/// Removes all of this namespace from RabbitMQ; answers how much it was.
pub(super) async fn clean_up_rabbitmq(url: &Url, namespace: &Namespace) -> Result<Vec<String>, Failure> {
    let options = RabbitMq::options(url.secret()).namespace(namespace.as_str());
    let removed = options.clean_up().await.map_err(bus_failed)?;
    Ok(counted(removed, "exchanges and queues", namespace))
}

fn counted(count: usize, what: &str, namespace: &Namespace) -> Vec<String> {
    (count > 0).then(|| format!("{count} {what} of {namespace}")).into_iter().collect()
}
