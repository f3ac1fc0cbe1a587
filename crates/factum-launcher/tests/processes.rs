//! What is started is killed, frozen, read; and nothing of it outlives us, however we end.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use factum_launcher::{Nats, Postgres, Process};
use tokio::time::timeout;

const WATCHDOG: Duration = Duration::from_secs(60);
/// Makes a test play the parent that is killed.
const PARENT: &str = "FACTUM_LAUNCHER_PARENT";

fn shell(script: &str) -> Process {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    Process::start(command).unwrap()
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn lines_come_one_by_one_and_then_no_more() {
    let mut process = shell("echo one; echo 'ready 5432'; echo two; echo aside >&2; exit 3");
    assert_eq!(process.line_with("ready ").await.unwrap(), "5432");
    assert_eq!(process.line().await.unwrap(), "two");
    assert_eq!(process.line().await, None);
    assert_eq!(process.ended().await.unwrap().code(), Some(3));
    assert_eq!(process.log(), "aside\n");
    assert_eq!(process.kill().unwrap().code(), Some(3));
}

#[tokio::test]
async fn a_frozen_process_does_nothing_until_it_is_thawed() {
    let mut process = shell("while :; do echo tick; done");
    process.line().await.unwrap();
    process.freeze().unwrap();
    assert!(process.rss() > 0);
    // All that was written before is read; nothing follows while it is frozen.
    while timeout(Duration::from_millis(100), process.line()).await.is_ok() {}
    process.thaw().unwrap();
    assert_eq!(timeout(WATCHDOG, process.line()).await.unwrap().unwrap(), "tick");
}

#[tokio::test]
async fn a_killed_process_takes_with_it_what_it_started() {
    let mut process = shell("setsid sleep 1000 & echo $!; (setsid sleep 1000 & echo $!); wait");
    let first: i32 = process.line().await.unwrap().parse().unwrap();
    let orphan: i32 = process.line().await.unwrap().parse().unwrap();
    assert!(is_alive(first) && is_alive(orphan));
    let status = process.kill().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert!(!is_alive(first) && !is_alive(orphan) && !is_alive(process.pid()));
    assert_eq!(process.rss(), 0);
}

#[tokio::test]
async fn a_process_is_asked_to_end() {
    let mut process = shell("trap 'echo ending; exit 7' TERM; echo ready; while :; do sleep 0.01; done");
    process.line_with("ready").await.unwrap();
    process.terminate().unwrap();
    assert_eq!(timeout(WATCHDOG, process.ended()).await.unwrap().unwrap().code(), Some(7));
    assert_eq!(process.line().await.unwrap(), "ending");
}

#[tokio::test]
async fn what_is_dropped_is_killed() {
    let mut process = shell("setsid sleep 1000 & echo $!; wait");
    let (child, pid) = (process.line().await.unwrap().parse().unwrap(), process.pid());
    drop(process);
    assert!(!is_alive(child) && !is_alive(pid));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let error = Process::start(Command::new("/no/such/program")).unwrap_err().to_string();
    assert!(error.starts_with("start /no/such/program: No such file"), "{error}");
}

#[tokio::test]
async fn nothing_outlives_a_parent_that_is_killed() {
    const NAME: &str = "nothing_outlives_a_parent_that_is_killed";
    if std::env::var_os(PARENT).is_some() {
        return play_the_parent().await;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", NAME, "--nocapture"]).env(PARENT, "1");
    let mut parent = Process::start(command).unwrap();
    let started = timeout(WATCHDOG, parent.line_with("started:")).await.unwrap().expect("it started them");
    let (folders, pids): (Vec<_>, Vec<_>) =
        started.split_whitespace().partition(|word| word.starts_with('/'));
    let pids: Vec<i32> = pids.iter().map(|pid| pid.parse().unwrap()).collect();
    assert!(folders.iter().all(|folder| Path::new(folder).exists()));
    // One of PostgreSQL's may be the end of the session that asked whether it answers.
    assert!(pids.iter().filter(|pid| is_alive(**pid)).count() >= pids.len() - 1);

    parent.kill().unwrap();
    let gone = async {
        while pids.iter().any(|pid| is_alive(*pid)) || folders.iter().any(|folder| Path::new(folder).exists())
        {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(WATCHDOG, gone).await.is_ok(), "left: {started}");
}

/// Starts what is on this machine and waits to be killed.
async fn play_the_parent() {
    let child = shell("setsid sleep 1000 & echo ready; wait");
    let mut words = vec![child.pid().to_string()];
    let (nats, postgres) = (Nats::start().await, Postgres::start().await);
    for server in [nats.as_deref(), postgres.as_deref()].into_iter().flatten() {
        words.push(server.folder().display().to_string());
        words.extend(server.pids().iter().map(ToString::to_string));
    }
    println!("\nstarted: {}", words.join(" "));
    std::future::pending::<()>().await;
    drop(child);
}
