//! MariaDB.

use std::ops::{Deref, DerefMut};

use crate::error::Result;
use crate::folder::Folder;
use crate::ping::Protocol;
use crate::port::Port;
use crate::processes::Signal;
use crate::program::{self, User};
use crate::server::{Recipe, Server};

const PACKAGE: &str = "mariadb-server";

/// A private MariaDB with the user `root`, without a password, and the empty database `test`. It is as durable as by
/// default: a commit is flushed to the disk.
///
/// ```no_run
/// # async fn test() -> factum_launcher::Result<()> {
/// use factum_launcher::MariaDb;
///
/// let mut mariadb = MariaDb::start_with(&[("innodb_autoinc_lock_mode", "1")]).await?;
/// mariadb.kill()?;
/// mariadb.start_again().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MariaDb(Server);

impl MariaDb {
    /// Starts one with its own defaults.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with further settings, as in `[mariadbd]` of its configuration file.
    ///
    /// # Errors
    /// It is not installed, or does not start; a setting that it does not know is shown in the error.
    pub async fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let install = program::find("mariadb-install-db", &[], PACKAGE)?;
        let server = program::find("mariadbd", &[], PACKAGE)?;
        let user = User::instead_of_root("mysql", PACKAGE)?;
        let port = Port::free()?;
        let folder = Folder::new(user)?;
        let data = format!("--datadir={}", folder.path().join("data").display());
        // One that starts removes all temporary tables that it finds, of others too.
        let tmp = format!("--tmpdir={}", folder.path().display());
        let mut prepare = program::command(&install, user);
        prepare.args(["--no-defaults", &data, &tmp, "--auth-root-authentication-method=normal"]);
        program::run(prepare, folder.path()).await?;
        let mut command = program::command(&server, user);
        command.args([
            "--no-defaults",
            &data,
            &tmp,
            "--socket=socket",
            "--pid-file=pid",
            "--bind-address=127.0.0.1",
        ]);
        // Tests break connections on purpose: the host must not be locked out for that.
        command.args(["--skip-name-resolve", "--max-connect-errors=1000000000"]);
        command.arg(format!("--port={}", port.number()));
        command.args(settings.iter().map(|(name, value)| format!("--{name}={value}")));
        let recipe = Recipe {
            name: "MariaDB",
            url: format!("mysql://root@127.0.0.1:{}/test", port.number()),
            protocol: Protocol::MySql,
            graceful: Signal::TERM,
            commands: vec![command],
            stale: &[],
        };
        Ok(Self(Server::start(recipe, port, Vec::new(), folder).await?))
    }
}

impl Deref for MariaDb {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl DerefMut for MariaDb {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}
