//! A temporary folder whose processes all end with it. A process belongs to it if its working directory lies in it:
//! that stays true for children that made a session of their own (PostgreSQL, Erlang) and for those whose parent died,
//! where process groups and ancestry lose them.
//!
//! A guardian, a shell that waits for the end of a pipe from us, kills what is in the folder and removes it: also when
//! we are killed by SIGKILL and can do nothing more.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::error::{Error, Result};
use crate::processes::{self, Pid};
use crate::program::User;

/// Its own working directory is `/`, so it never finds itself. `find` fails where a process ends under its eyes, which
/// is no failure. It looks again when the folder is gone, for who was just about to be started when we were killed.
const GUARDIAN: &str = r#"
trap '' HUP INT TERM
kill_all() {
    while pids=$(find /proc/[0-9]*/cwd -maxdepth 0 -lname "$1*" -printf '%h ' 2>/dev/null); [ -n "$pids" ]; do
        for pid in $pids; do kill -KILL "${pid#/proc/}" 2>/dev/null; done
        sleep 0.01
    done
}
read -r _
kill_all "$1"
rm -rf "$1"
kill_all "$1"
"#;

/// How much of the end of a log an error shows.
const LOG_TAIL_BYTES: u64 = 4096;

#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    guardian: Child,
}

impl Folder {
    /// A new one, which the user (if any) owns.
    pub(crate) fn new(user: Option<User>) -> Result<Self> {
        let temp = tempfile::Builder::new().prefix("factum-").tempdir().map_err(Error::io("a folder"))?;
        let path = temp.path().canonicalize().map_err(Error::io("a folder"))?;
        if let Some(User { uid, gid }) = user {
            chown(&path, Some(uid), Some(gid)).map_err(Error::io("give a folder to a user"))?;
        }
        let guardian = Command::new("/bin/sh")
            .args(["-c", GUARDIAN, "guardian"])
            .arg(&path)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::io("start the guardian of a folder, /bin/sh"))?;
        // From here on the guardian removes it.
        let _ = temp.keep();
        Ok(Self { path, guardian })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `command` a process of this folder that writes to its log, apart from signals of our terminal.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        let log = self.open_log()?;
        let as_well = log.try_clone().map_err(Error::io("the log of a server"))?;
        command.stdin(Stdio::null()).stdout(log).stderr(as_well);
        self.spawn_apart(command)
    }

    /// The same for a command that has its own places to read from and write to.
    pub(crate) fn spawn_apart(&self, command: &mut Command) -> Result<Child> {
        let what = format!("start {}", command.get_program().display());
        command.current_dir(&self.path).process_group(0).spawn().map_err(Error::io(what))
    }

    pub(crate) fn open_log(&self) -> Result<File> {
        let path = self.path.join("log");
        File::options().append(true).create(true).open(path).map_err(Error::io("the log of a server"))
    }

    /// The last lines of the log.
    pub(crate) fn log(&self) -> String {
        let tail = || {
            let mut file = File::open(self.path.join("log"))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            std::io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        tail().unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// All processes that run in it. One that is dead and only waits to be reaped does not count.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        processes::all().filter(|pid| processes::works_in(*pid, &self.path)).collect()
    }

    /// Stops all of them where they are. None runs any more when this returns.
    pub(crate) fn freeze(&self) -> Result<()> {
        loop {
            // One more round for what was forked meanwhile.
            let running: Vec<_> =
                self.pids().into_iter().filter(|pid| !processes::is_stopped(*pid)).collect();
            if running.is_empty() {
                return Ok(());
            }
            for pid in &running {
                processes::signal(*pid, processes::Signal::STOP)?;
            }
            processes::wait_until("stop", || running.iter().all(|pid| processes::is_stopped(*pid)))?;
        }
    }

    /// Lets all of them go on.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.pids().into_iter().try_for_each(|pid| processes::signal(pid, processes::Signal::CONT))
    }

    /// Kills all of them by SIGKILL, frozen first: at one instant, so that none sees another one die.
    pub(crate) fn kill(&self) -> Result<()> {
        self.freeze()?;
        let pids = self.pids();
        for pid in &pids {
            processes::signal(*pid, processes::Signal::KILL)?;
        }
        processes::wait_until("end", || pids.iter().all(|pid| processes::is_dead(*pid)))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = self.kill();
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
    }
}
