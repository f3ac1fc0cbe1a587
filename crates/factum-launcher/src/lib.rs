//! Private servers for tests, ours to kill and freeze, and a TCP proxy that breaks connections.
//!
//! - [`Postgres`], [`PgBouncer`], [`MariaDb`], [`Nats`], [`RabbitMq`]: real servers in temporary folders, each a
//!   [`Server`].
//! - [`Process`]: a program under test, the same for a relay or a service.
//! - [`Proxy`]: between a client and a server, it delays, holds back, swallows, cuts at a byte.
//! - [`or_skip`]: what a test does where a program is missing.
//!
//! Nothing that is started here outlives the process that started it, however that ends. It is for Linux, and needs
//! `/proc`, `/bin/sh` and `find`.

mod error;
mod folder;
mod mariadb;
mod nats;
mod pgbouncer;
mod ping;
mod port;
mod postgres;
mod process;
mod processes;
mod program;
mod proxy;
mod rabbitmq;
mod server;
mod skip;

pub use error::{Error, Result};
pub use mariadb::MariaDb;
pub use nats::Nats;
pub use pgbouncer::PgBouncer;
pub use postgres::Postgres;
pub use process::Process;
pub use proxy::{Counts, End, Proxy, Way};
pub use rabbitmq::RabbitMq;
pub use server::Server;
pub use skip::or_skip;
