//! Servers that tests need: where they are, and what happens where one is missing. A test skips itself aloud, or fails
//! where the environment says that the server must be there: silence would look like success.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// A server that a test needs, and the environment variable that says where it is.
///
/// ```
/// use factum_conformance::service;
///
/// # fn test() {
/// let Some(url) = service::POSTGRES.url_or_skip("rows_leave_by_state") else { return };
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// What people call it.
    pub name: &'static str,
    /// Holds its URL.
    pub variable: &'static str,
    /// Where it is if the variable is not set.
    pub default: &'static str,
    /// Where it listens if the URL does not say.
    pub port: u16,
}

/// PostgreSQL, with a user who may create databases.
pub const POSTGRES: Server = Server {
    name: "PostgreSQL",
    variable: "FACTUM_POSTGRES",
    default: "postgres://postgres@127.0.0.1:5432/postgres",
    port: 5432,
};

/// MariaDB or MySQL, with a user who may create databases.
pub const MYSQL: Server = Server {
    name: "MariaDB",
    variable: "FACTUM_MYSQL",
    default: "mysql://root@127.0.0.1:3306/test",
    port: 3306,
};

/// NATS with JetStream.
pub const NATS: Server =
    Server { name: "NATS", variable: "FACTUM_NATS", default: "nats://127.0.0.1:4222", port: 4222 };

/// RabbitMQ.
pub const RABBITMQ: Server = Server {
    name: "RabbitMQ",
    variable: "FACTUM_RABBITMQ",
    default: "amqp://guest:guest@127.0.0.1:5672/%2f",
    port: 5672,
};

/// What must be there: `all`, or names of variables, separated by commas.
const REQUIRED: &str = "FACTUM_REQUIRE";

impl Server {
    /// Where it is, whether or not it is there.
    pub fn url(&self) -> String {
        std::env::var(self.variable).unwrap_or_else(|_| self.default.to_owned())
    }

    /// Where it is, if it answers; `None` after saying so.
    ///
    /// # Panics
    /// It does not answer, and `FACTUM_REQUIRE` says that it must.
    pub fn url_or_skip(&self, test: &str) -> Option<String> {
        self.is_there_or_skip(test).then(|| self.url())
    }

    /// Whether it answers; `false` after saying so.
    ///
    /// # Panics
    /// It does not answer, and `FACTUM_REQUIRE` says that it must.
    pub fn is_there_or_skip(&self, test: &str) -> bool {
        let url = self.url();
        let Some(why) = self.unreachable(&url) else { return true };
        let Self { name, variable, .. } = self;
        let advice =
            format!("no {name} at {} ({why}); set {variable} to the URL of one", without_secret(&url));
        assert!(!self.is_required(), "{test}: {advice}. {REQUIRED} says that it must be there.");
        eprintln!("SKIPPED: {test}: {advice}");
        false
    }

    fn is_required(&self) -> bool {
        let required = std::env::var(REQUIRED).unwrap_or_default();
        required.split(',').map(str::trim).any(|name| name == "all" || name == self.variable)
    }

    fn unreachable(&self, url: &str) -> Option<String> {
        let mut addresses = match address(url, self.port).to_socket_addrs() {
            Ok(addresses) => addresses,
            Err(error) => return Some(error.to_string()),
        };
        let mut why = Some("no address".into());
        addresses.find_map(|address| {
            why = TcpStream::connect_timeout(&address, Duration::from_secs(5)).err().map(|e| e.to_string());
            why.is_none().then_some(())
        });
        why
    }
}

/// `host:port` of a URL.
fn address(url: &str, port: u16) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { host.to_owned() } else { format!("{host}:{port}") }
}

fn without_secret(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Server =
        Server { name: "Nobody", variable: "FACTUM_NOBODY", default: "no://a:b@127.0.0.1:1/x", port: 1 };

    #[test]
    fn a_url_names_host_and_port() {
        assert_eq!(address("postgres://me:p%40ss@db.example:6543/shop?x=1", 5432), "db.example:6543");
        assert_eq!(address("nats://db.example", 4222), "db.example:4222");
        assert_eq!(address("mysql://root@[::1]/test", 3306), "[::1]:3306");
    }

    #[test]
    fn a_missing_server_is_told_without_its_password() {
        assert!(NOBODY.unreachable(&NOBODY.url()).is_some());
        assert_eq!(without_secret(&NOBODY.url()), "no://127.0.0.1:1/x");
    }
}
