//! A private server, whichever it is: started, killed, frozen, started again. What differs between the servers (their
//! programs, their settings) is in the file of each.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

// tidy: allow(sleep): a server has no event for being ready
use tokio::time::{sleep, timeout};

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::ping::Protocol;
use crate::port::Port;
use crate::processes::{self, Pid, Signal};

/// RabbitMQ needs ten seconds on a busy machine, and crash recovery of a database some more.
const LIMIT: Duration = Duration::from_secs(120);
/// How long one question may stay without an answer before it is asked anew.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// A server of our own, on a free port of 127.0.0.1, with its data in a temporary folder.
///
/// When it is dropped, all of its processes are killed and the folder is removed; a guardian process does so if this
/// process is killed.
#[derive(Debug)]
pub struct Server {
    recipe: Recipe,
    /// Those of our children that nobody has reaped.
    running: Vec<Child>,
    _ports: Vec<Port>,
    address: SocketAddr,
    folder: Folder,
}

/// What makes one server different from another.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    pub(crate) protocol: Protocol,
    /// The signal that ends it gracefully.
    pub(crate) graceful: Signal,
    /// Run in this order, in the folder; the last one is the server itself.
    pub(crate) commands: Vec<Command>,
    /// Files that a killed server leaves behind and that keep it from starting, relative to the folder.
    pub(crate) stale: &'static [&'static str],
}

impl Server {
    /// Starts it and waits until it answers at `port`.
    pub(crate) async fn start(
        recipe: Recipe,
        port: Port,
        further: Vec<Port>,
        folder: Folder,
    ) -> Result<Self> {
        let address = port.address();
        let ports = further.into_iter().chain([port]).collect();
        let mut server = Self { recipe, running: Vec::new(), address, _ports: ports, folder };
        server.start_again().await?;
        Ok(server)
    }

    /// Its URL, with a user who may do everything. The same after it was started again.
    pub fn url(&self) -> &str {
        &self.recipe.url
    }

    /// Where it listens. The same after it was started again.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder that holds its data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The end of what it has written so far: some 4 KiB.
    pub fn log(&self) -> String {
        self.folder.log()
    }

    /// The ids of all of its processes; none when it does not run.
    pub fn pids(&self) -> Vec<i32> {
        self.folder.pids().into_iter().map(|pid| pid.as_raw_nonzero().get()).collect()
    }

    /// The resident memory of all of its processes, in bytes. Memory that they share is counted in each.
    pub fn rss(&self) -> u64 {
        self.folder.pids().into_iter().map(processes::resident_bytes).sum()
    }

    /// Whether it answers a client that logs in, within five seconds.
    pub async fn answers(&self) -> bool {
        let ping = self.recipe.protocol.ping(self.address());
        matches!(timeout(PATIENCE, ping).await, Ok(Ok(())))
    }

    /// Stops all of its processes where they are, by SIGSTOP: connections stay open, nobody answers.
    ///
    /// # Errors
    /// The system refuses the signal.
    pub fn freeze(&self) -> Result<()> {
        self.folder.freeze()
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// The system refuses the signal.
    pub fn thaw(&self) -> Result<()> {
        self.folder.thaw()
    }

    /// Kills all of its processes at one instant, by SIGKILL. What was written to the operating system stays, as when
    /// the process crashes; this is no power cut. Does nothing when it does not run.
    ///
    /// # Errors
    /// The system refuses the signal, or a process does not end.
    pub fn kill(&mut self) -> Result<()> {
        self.folder.kill()?;
        for mut child in self.running.drain(..) {
            // Whatever it did to its working directory.
            let _ = child.kill();
            child.wait().map_err(Error::io("reap a server"))?;
        }
        Ok(())
    }

    /// Asks it to end, and waits until it has. A frozen one goes on for that.
    ///
    /// # Errors
    /// It does not end within two minutes; it is killed then.
    pub async fn stop(&mut self) -> Result<()> {
        self.thaw()?;
        if let Some(server) = self.running.last_mut() {
            processes::signal(Pid::from_child(server), self.recipe.graceful)?;
            let ended = timeout(LIMIT, until_it_ends(server)).await;
            if ended.is_err() {
                let late = self.late("end");
                self.kill()?;
                return Err(late);
            }
        }
        self.kill()
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), with the same data on the same port, and
    /// waits until it answers.
    ///
    /// # Errors
    /// It still runs, ends before it answers, or does not answer within two minutes. What it wrote is in the error.
    pub async fn start_again(&mut self) -> Result<()> {
        if !self.folder.pids().is_empty() {
            return Err(Error::Running { name: self.recipe.name });
        }
        self.kill()?;
        for file in self.recipe.stale {
            let _ = std::fs::remove_file(self.folder.path().join(file));
        }
        for command in &mut self.recipe.commands {
            self.running.push(self.folder.spawn(command)?);
        }
        let outcome = self.until_it_answers().await;
        if outcome.is_err() {
            self.kill()?;
        }
        outcome
    }

    async fn until_it_answers(&mut self) -> Result<()> {
        let end = Instant::now() + LIMIT;
        while !self.answers().await {
            if let Some(status) = self.status()? {
                return Err(Error::Ended { name: self.recipe.name, status, log: self.log() });
            }
            if Instant::now() > end {
                return Err(self.late("answer"));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// How the server ended, if it did.
    fn status(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.running.last_mut().map(Child::try_wait).transpose();
        status.map(Option::flatten).map_err(Error::io("wait for a server"))
    }

    fn late(&self, what: &'static str) -> Error {
        Error::Late { name: self.recipe.name, what, waited: LIMIT, log: self.log() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// An error to ask for its state counts as its end: what is left of it is killed.
async fn until_it_ends(server: &mut Child) {
    while let Ok(None) = server.try_wait() {
        sleep(PAUSE).await;
    }
}
