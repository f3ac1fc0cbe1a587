//! A relay's process, from outside.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::{Database, Kind};

/// A relay that runs in a process of its own. Dropped, it is killed.
pub struct RelayProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl RelayProcess {
    /// Starts `program` (`torture-relay`), and waits until its store is open.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(
        program: &Path,
        database: &Database,
        tap: SocketAddr,
        lease: Duration,
    ) -> io::Result<Self> {
        let kind = match database.kind {
            Kind::Sqlite => "sqlite",
            Kind::Postgres => "postgres",
            Kind::MySql => "mysql",
        };
        let mut child = Command::new(program)
            .args([kind, &database.url, &database.name, &tap.to_string(), &lease.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let out = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let mut relay = Self { child, lines: BufReader::new(out).lines() };
        match relay.lines.next_line().await?.as_deref() {
            Some("ready") => Ok(relay),
            other => Err(io::Error::other(format!("it said {other:?} instead of being ready"))),
        }
    }

    /// Waits until it has its share of the buckets, as one of so many.
    ///
    /// # Errors
    /// It ended.
    pub async fn shares_with(&mut self, relays: usize) -> io::Result<()> {
        let share = 64_usize.div_ceil(relays);
        while let Some(line) = self.lines.next_line().await? {
            let mut words = line.split(' ').filter_map(|word| word.parse::<usize>().ok());
            if let (Some(buckets), Some(of)) = (words.next(), words.next())
                && of == relays
                && (share.saturating_sub(relays).max(1)..=share).contains(&buckets)
            {
                return Ok(());
            }
        }
        Err(io::Error::other("it has ended"))
    }

    /// Kills it at once, and waits until it is gone.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Stops it where it is.
    ///
    /// # Errors
    /// It is gone.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It is gone.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(kill_process(pid.ok_or_else(|| io::Error::other("it is gone"))?, signal)?)
    }

    /// Tells it to end, and gives what it says of what it did.
    ///
    /// # Errors
    /// It ended badly.
    pub async fn end(mut self) -> io::Result<String> {
        drop(self.child.stdin.take());
        let mut said = String::new();
        while let Some(line) = self.lines.next_line().await? {
            said = line;
        }
        let status = self.child.wait().await?;
        if status.success() { Ok(said) } else { Err(io::Error::other(format!("{status}: {said}"))) }
    }
}
