//! PostgreSQL, without its own tools for start and stop: those believe in files that a killed server leaves behind.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::ping::Protocol;
use crate::port::Port;
use crate::processes::Signal;
use crate::program::{self, User};
use crate::server::{Recipe, Server};

const PACKAGE: &str = "postgresql";

/// A private PostgreSQL with the user and the database `postgres`, without passwords. It is as durable as by default:
/// `fsync` is on. Version 14 or newer; of several, the newest.
///
/// ```no_run
/// # async fn test() -> factum_launcher::Result<()> {
/// use factum_launcher::Postgres;
///
/// let lazy = [("synchronous_commit", "off"), ("wal_writer_delay", "10s")];
/// let mut postgres = Postgres::start_with(&lazy).await?;
/// postgres.kill()?; // what was committed lately is gone
/// postgres.start_again().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Postgres(Server);

impl Postgres {
    /// Starts one with its own defaults.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with further settings, as in `postgresql.conf`.
    ///
    /// # Errors
    /// It is not installed, or does not start; a setting that it does not know is shown in the error.
    pub async fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let mut initdb = Programs::find()?.command("initdb");
        initdb.args(["--pgdata=data", "--username=postgres", "--auth=trust", "--encoding=UTF8"]);
        initdb.args(["--locale=C.UTF-8", "--no-sync", "--no-instructions"]);
        Self::start_after(initdb, settings).await
    }

    /// Starts a second server that follows this one, asynchronously, and answers queries. It is promoted by
    /// `SELECT pg_promote()`; to follow synchronously, set `synchronous_standby_names` to `*` on the first one.
    ///
    /// # Errors
    /// This one does not run, or the second one does not start.
    pub async fn start_standby(&self, settings: &[(&str, &str)]) -> Result<Self> {
        let mut backup = Programs::find()?.command("pg_basebackup");
        backup.args(["--pgdata=data", "--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname"]);
        backup.arg(format!("host=127.0.0.1 port={} user=postgres", self.address().port()));
        Self::start_after(backup, settings).await
    }

    /// Starts one on the data that `prepare` makes.
    async fn start_after(prepare: Command, settings: &[(&str, &str)]) -> Result<Self> {
        let programs = Programs::find()?;
        let port = Port::free()?;
        let folder = Folder::new(programs.user)?;
        program::run(prepare, folder.path()).await?;
        let mut command = programs.command("postgres");
        command.args(["-D", "data", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        // One flush instead of one for each of a thousand files: a killed server is back in a quarter of a second.
        command.args(["-c", "recovery_init_sync_method=syncfs"]);
        command.arg("-c").arg(format!("port={}", port.number()));
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let recipe = Recipe {
            name: "PostgreSQL",
            url: format!("postgres://postgres@127.0.0.1:{}/postgres", port.number()),
            protocol: Protocol::Postgres,
            graceful: Signal::INT, // "fast": it ends its sessions
            commands: vec![command],
            // Its process id may by now be somebody else's.
            stale: &["data/postmaster.pid"],
        };
        Ok(Self(Server::start(recipe, port, Vec::new(), folder).await?))
    }
}

/// The programs of one version, and who runs them.
struct Programs {
    folder: PathBuf,
    user: Option<User>,
}

impl Programs {
    fn find() -> Result<Self> {
        // What stands in `PATH` may be a link to one of them, without the others.
        let server = program::find("postgres", &installed(), PACKAGE)?;
        let server = server.canonicalize().map_err(Error::io("find PostgreSQL"))?;
        let folder = server.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { folder, user: User::instead_of_root("postgres", PACKAGE)? })
    }

    fn command(&self, name: &str) -> Command {
        program::command(&self.folder.join(name), self.user)
    }
}

/// Where Debian puts the versions, the newest first.
fn installed() -> Vec<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = folders
        .filter_map(|folder| {
            Some((folder.file_name().to_str()?.parse::<u32>().ok()?, folder.path().join("bin")))
        })
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, folder)| folder).collect()
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl DerefMut for Postgres {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}
