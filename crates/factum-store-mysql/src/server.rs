//! What server this is, and whether what it acknowledges can be relied on. It refuses what it does not know to work.

use sqlx::mysql::MySqlConnection;
use sqlx::{Executor as _, Row as _};

use crate::error::Error;
use crate::options::Options;

/// What the server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Server {
    version: String,
    flush: Option<String>,
    writes_binlog: bool,
    sync_binlog: Option<String>,
    in_cluster: bool,
    pub(crate) packet_max: usize,
}

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    MariaDb,
    MySql,
}

impl Make {
    /// Compares texts by their bytes, trailing spaces included.
    pub(crate) fn collation(self) -> &'static str {
        match self {
            Self::MariaDb => "utf8mb4_nopad_bin",
            Self::MySql => "utf8mb4_0900_bin",
        }
    }
}

const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN
    ('version', 'innodb_flush_log_at_trx_commit', 'log_bin', 'sync_binlog', 'wsrep_on', 'max_allowed_packet')";

impl Server {
    pub(crate) async fn ask(db: &mut MySqlConnection) -> Result<Self, Error> {
        let mut server = Self::default();
        for row in db.fetch_all(VARIABLES).await? {
            let (name, value): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let is_on = value.eq_ignore_ascii_case("on") || value == "1";
            match name.to_ascii_lowercase().as_str() {
                "version" => server.version = value,
                "innodb_flush_log_at_trx_commit" => server.flush = Some(value),
                "log_bin" => server.writes_binlog = is_on,
                "sync_binlog" => server.sync_binlog = Some(value),
                "wsrep_on" => server.in_cluster = is_on,
                "max_allowed_packet" => server.packet_max = value.parse().unwrap_or(16 << 20),
                _ => {}
            }
        }
        Ok(server)
    }

    /// Which server it is, if it is one that is known to work.
    pub(crate) fn make(&self) -> Result<Make, Error> {
        let (make, least) = match self.version.contains("MariaDB") {
            true => (Make::MariaDb, (10, 6, 0)),
            false => (Make::MySql, (8, 0, 17)),
        };
        match numbers(&self.version) {
            Some(found) if found >= least => Ok(make),
            _ => Err(Error::OldServer { found: self.version.clone() }),
        }
    }

    /// Whether a commit that was acknowledged is on the disk.
    pub(crate) fn check(&self, options: &Options) -> Result<Make, Error> {
        let make = self.make()?;
        if self.in_cluster {
            return Err(Error::Cluster);
        }
        if !options.accepts_lazy_flush {
            is_one("innodb_flush_log_at_trx_commit", self.flush.as_deref())?;
            // With a binary log, recovery rolls back what is not in it.
            if self.writes_binlog {
                is_one("sync_binlog", self.sync_binlog.as_deref())?;
            }
        }
        Ok(make)
    }
}

fn is_one(variable: &'static str, found: Option<&str>) -> Result<(), Error> {
    match found {
        Some("1") => Ok(()),
        found => Err(Error::LazyFlush { variable, found: found.unwrap_or("unknown").into() }),
    }
}

/// The first three numbers of a version such as `10.11.19-MariaDB-0+deb12u1`. Some proxies put `5.5.5-` before the
/// version of a MariaDB.
fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let version = match version.strip_prefix("5.5.5-") {
        Some(rest) if version.contains("MariaDB") => rest,
        _ => version,
    };
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let mut parts = version.get(..end)?.split('.').map(str::parse);
    let (major, minor) = (parts.next()?.ok()?, parts.next()?.ok()?);
    Some((major, minor, parts.next().and_then(Result::ok).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str) -> Server {
        Server { version: version.into(), flush: Some("1".into()), ..Server::default() }
    }

    #[test]
    fn f_29_servers_that_are_too_old_are_refused() {
        for (version, make) in [
            ("10.6.0-MariaDB", Make::MariaDb),
            ("10.11.19-MariaDB-0+deb12u1", Make::MariaDb),
            ("5.5.5-10.11.2-MariaDB-log", Make::MariaDb),
            ("11.4.2-MariaDB", Make::MariaDb),
            ("8.0.17", Make::MySql),
            ("8.4.0-commercial", Make::MySql),
            ("9.1.0", Make::MySql),
        ] {
            assert_eq!(server(version).make().unwrap(), make, "{version}");
        }
        for version in
            ["10.5.29-MariaDB", "5.5.5-10.5.1-MariaDB", "8.0.16", "5.7.44-log", "5.5.5", "MariaDB", ""]
        {
            let error = server(version).make().unwrap_err();
            assert!(error.to_string().contains("MariaDB 10.6 or MySQL 8.0.17 is needed"), "{error}");
        }
    }

    #[test]
    fn f_32_a_server_that_flushes_lazily_is_refused_unless_that_is_accepted() {
        let strict = Options::new("mysql://127.0.0.1/test");
        let lazy = strict.clone().accept_lazy_flush(true);
        let check = |server: &Server, options| server.check(options).map(drop);
        let mut server = server("10.6.0-MariaDB");
        check(&server, &strict).unwrap();
        for flush in [Some("0".to_owned()), Some("2".to_owned()), None] {
            server.flush = flush;
            let error = check(&server, &strict).unwrap_err();
            assert!(error.to_string().contains("SET GLOBAL innodb_flush_log_at_trx_commit = 1"), "{error}");
            check(&server, &lazy).unwrap();
        }
        server.flush = Some("1".into());
        server.writes_binlog = true;
        server.sync_binlog = Some("0".into());
        let error = check(&server, &strict).unwrap_err();
        assert!(error.to_string().contains("SET GLOBAL sync_binlog = 1"), "{error}");
        check(&server, &lazy).unwrap();
        server.in_cluster = true;
        assert!(matches!(check(&server, &lazy), Err(Error::Cluster)));
    }
}
