//! Processes as `/proc` shows them, and signals to them. It knows nothing of who started them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::kill_process;
pub(crate) use rustix::process::{Pid, Signal};

use crate::error::{Error, Result};

/// The kernel acts on SIGSTOP and SIGKILL at once, save where a process waits for a disk.
const SIGNAL_LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn all() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
}

/// Whether its working directory is `folder` or lies below. It has none once it is dead.
pub(crate) fn works_in(pid: Pid, folder: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
}

/// Whether each of its threads is stopped by a signal, or dead.
pub(crate) fn is_stopped(pid: Pid) -> bool {
    every_thread(pid, &['T', 't', 'Z', 'X'])
}

/// Whether all of it is dead, even if nobody has reaped it yet.
pub(crate) fn is_dead(pid: Pid) -> bool {
    every_thread(pid, &['Z', 'X'])
}

fn every_thread(pid: Pid, states: &[char]) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok()).all(|stat| {
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_none_or(|state| states.contains(&state))
    })
}

/// Its resident memory in bytes; 0 if it is gone.
pub(crate) fn resident_bytes(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Sends a signal. That the process is gone is no failure.
pub(crate) fn signal(pid: Pid, signal: Signal) -> Result<()> {
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(Error::io(format!("signal process {pid}"))(error)),
    }
}

/// Waits until the kernel has carried out a signal.
pub(crate) fn wait_until(what: &str, done: impl Fn() -> bool) -> Result<()> {
    let end = Instant::now() + SIGNAL_LIMIT;
    while !done() {
        if Instant::now() > end {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Err(Error::io(format!("wait until all processes {what}"))(late));
        }
        std::thread::yield_now();
    }
    Ok(())
}
