//! A program under test, such as a relay: to be killed every 200 ms, frozen past its lease, and read line by line.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;
// tidy: allow(sleep): the system has no event for the end of a child
use tokio::time::sleep;

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::processes::{self, Pid, Signal};

const PAUSE: Duration = Duration::from_millis(2);

/// A child process. It, and what it starts in turn, is killed when this is dropped; a guardian process does so if this
/// process is killed.
///
/// ```no_run
/// # async fn test() -> factum_launcher::Result<()> {
/// use std::process::Command;
///
/// use factum_launcher::Process;
///
/// let mut relay = Process::start(Command::new("/path/to/relay"))?;
/// relay.line_with("ready").await;
/// relay.freeze()?;
/// relay.thaw()?;
/// let status = relay.kill()?;
/// assert!(!status.success());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    folder: Folder,
}

impl Process {
    /// Starts it. Its working directory becomes a temporary folder of its own, by which its processes are known: so
    /// its path and arguments ought to be absolute. It reads nothing; its standard output comes as lines, its standard
    /// error goes to [`log`](Self::log).
    ///
    /// # Errors
    /// The program is not there or cannot be run.
    pub fn start(mut command: Command) -> Result<Self> {
        let folder = Folder::new(None)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(folder.open_log()?);
        let mut child = folder.spawn_apart(&mut command)?;
        let (read, lines) = mpsc::unbounded_channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || read_lines(stdout, &read));
        }
        Ok(Self { child, lines, folder })
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        Pid::from_child(&self.child).as_raw_nonzero().get()
    }

    /// The next line of its standard output, without its end; `None` when there are no more.
    pub async fn line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// The next line of its standard output that begins with this, without it; what comes before is dropped. `None`
    /// when there are no more.
    pub async fn line_with(&mut self, beginning: &str) -> Option<String> {
        loop {
            if let Some(rest) = self.line().await?.strip_prefix(beginning) {
                return Some(rest.to_owned());
            }
        }
    }

    /// The end of what it wrote to its standard error so far: some 4 KiB.
    pub fn log(&self) -> String {
        self.folder.log()
    }

    /// Its resident memory in bytes, and that of all it started; 0 when it has ended.
    pub fn rss(&self) -> u64 {
        self.folder.pids().into_iter().map(processes::resident_bytes).sum()
    }

    /// Stops it where it is, by SIGSTOP.
    ///
    /// # Errors
    /// The system refuses the signal.
    pub fn freeze(&self) -> Result<()> {
        self.folder.freeze()
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    ///
    /// # Errors
    /// The system refuses the signal.
    pub fn thaw(&self) -> Result<()> {
        self.folder.thaw()
    }

    /// Asks it to end, by SIGTERM. Wait for that by [`ended`](Self::ended).
    ///
    /// # Errors
    /// The system refuses the signal.
    pub fn terminate(&self) -> Result<()> {
        processes::signal(Pid::from_child(&self.child), Signal::TERM)
    }

    /// Kills it, and what it started, by SIGKILL. Says how it ended: by itself, if it was faster.
    ///
    /// # Errors
    /// The system refuses the signal.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.folder.kill()?;
        // Whatever it did to its working directory.
        let _ = self.child.kill();
        self.child.wait().map_err(Error::io("reap a process"))
    }

    /// Waits until it has ended, by itself or by a signal, and says how. Without a time limit: it is the test's.
    ///
    /// # Errors
    /// The system does not know the process any more.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait().map_err(Error::io("wait for a process"))? {
                return Ok(status);
            }
            sleep(PAUSE).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// To the end of the output, or until nobody wants it. Bytes that are no UTF-8 are replaced.
fn read_lines(stdout: ChildStdout, read: &mpsc::UnboundedSender<String>) {
    for line in BufReader::new(stdout).split(b'\n').map_while(std::io::Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
        if read.send(line).is_err() {
            return;
        }
    }
}
