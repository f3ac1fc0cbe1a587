//! A relay's process, from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use factum::BoxError;
use factum_launcher::Process;

use crate::{Database, Kind};

/// A relay that runs in a process of its own. Dropped, it is killed.
pub struct RelayProcess(Process);

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
    ) -> Result<Self, BoxError> {
        let kind = match database.kind {
            Kind::Sqlite => "sqlite",
            Kind::Postgres => "postgres",
            Kind::MySql => "mysql",
        };
        let mut command = Command::new(program);
        command.args([kind, &database.url, &database.name, &tap.to_string(), &lease.as_millis().to_string()]);
        let mut process = Process::start(command)?;
        match process.line().await.as_deref() {
            Some("ready") => Ok(Self(process)),
            other => {
                Err(format!("it said {other:?} instead of being ready, and wrote: {}", process.log()).into())
            }
        }
    }

    /// Waits until it has its share of the buckets, as one of so many.
    ///
    /// # Errors
    /// It ended.
    pub async fn shares_with(&mut self, relays: usize) -> Result<(), BoxError> {
        let share = 64_usize.div_ceil(relays);
        while let Some(line) = self.0.line_with("works on ").await {
            let mut words = line.split(' ').filter_map(|word| word.parse::<usize>().ok());
            if let (Some(buckets), Some(of)) = (words.next(), words.next())
                && of == relays
                && (share.saturating_sub(relays).max(1)..=share).contains(&buckets)
            {
                return Ok(());
            }
        }
        Err(format!("it has ended: {}", self.0.log()).into())
    }

    /// Kills it at once.
    ///
    /// # Errors
    /// The system refuses the signal.
    pub fn kill(mut self) -> Result<(), BoxError> {
        self.0.kill()?;
        Ok(())
    }

    /// Stops it where it is.
    ///
    /// # Errors
    /// The system refuses the signal.
    pub fn freeze(&self) -> Result<(), BoxError> {
        Ok(self.0.freeze()?)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// The system refuses the signal.
    pub fn thaw(&self) -> Result<(), BoxError> {
        Ok(self.0.thaw()?)
    }

    /// What of it is in memory, in bytes.
    pub fn rss(&self) -> u64 {
        self.0.rss()
    }

    /// Tells it to end, and gives what it says of what it did.
    ///
    /// # Errors
    /// It ended badly.
    pub async fn end(mut self) -> Result<String, BoxError> {
        self.0.terminate()?;
        let said = self.0.line_with("ended ").await;
        let status = self.0.ended().await?;
        said.filter(|_| status.success()).ok_or_else(|| format!("{status}: {}", self.0.log()).into())
    }
}
