//! PgBouncer in transaction mode, in front of a private PostgreSQL.

use std::ops::{Deref, DerefMut};

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::ping::Protocol;
use crate::port::Port;
use crate::postgres::Postgres;
use crate::processes::Signal;
use crate::program::{self, User};
use crate::server::{Recipe, Server};

const PACKAGE: &str = "pgbouncer";

/// A private PgBouncer: each transaction gets one of a few connections to a [`Postgres`], whichever is free, and what
/// belongs to a session (a prepared statement, `SET`, `LISTEN`, an advisory lock) does not last.
///
/// Its own database `pgbouncer` answers `SHOW POOLS` and the like.
///
/// ```no_run
/// # async fn test() -> factum_launcher::Result<()> {
/// use factum_launcher::{PgBouncer, Postgres};
///
/// let postgres = Postgres::start().await?;
/// let pooled = PgBouncer::over(&postgres, 2).await?;
/// println!("{}", pooled.url());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PgBouncer(Server);

impl PgBouncer {
    /// Starts one with `pool_size` connections for each database and user.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub async fn over(postgres: &Postgres, pool_size: u32) -> Result<Self> {
        Self::over_with(postgres, pool_size, &[]).await
    }

    /// The same with further settings, as in `[pgbouncer]` of its configuration file; `("pool_mode", "session")` too.
    ///
    /// # Errors
    /// It is not installed, or does not start; a setting that it does not know is shown in the error.
    pub async fn over_with(postgres: &Postgres, pool_size: u32, settings: &[(&str, &str)]) -> Result<Self> {
        let program = program::find("pgbouncer", &[], PACKAGE)?;
        let user = User::instead_of_root("postgres", PACKAGE)?;
        let port = Port::free()?;
        let folder = Folder::new(user)?;
        let text = configuration(port.number(), postgres.address().port(), pool_size, settings);
        let written = std::fs::write(folder.path().join("users"), "\"postgres\" \"\"\n")
            .and_then(|()| std::fs::write(folder.path().join("pgbouncer.ini"), text));
        written.map_err(Error::io("write the configuration of PgBouncer"))?;
        let mut command = program::command(&program, user);
        command.arg("pgbouncer.ini");
        let recipe = Recipe {
            name: "PgBouncer",
            url: format!("postgres://postgres@127.0.0.1:{}/postgres", port.number()),
            protocol: Protocol::Postgres,
            graceful: Signal::TERM,
            commands: vec![command],
            stale: &[],
        };
        Ok(Self(Server::start(recipe, port, Vec::new(), folder).await?))
    }
}

/// Of a name that is given twice, PgBouncer takes the last value.
fn configuration(port: u16, server: u16, pool_size: u32, settings: &[(&str, &str)]) -> String {
    let further: String = settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    format!(
        "[databases]\n\
         * = host=127.0.0.1 port={server}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = users\n\
         admin_users = postgres\n\
         pool_mode = transaction\n\
         default_pool_size = {pool_size}\n\
         max_client_conn = 1000\n\
         ignore_startup_parameters = extra_float_digits\n\
         {further}"
    )
}

impl Deref for PgBouncer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl DerefMut for PgBouncer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}
