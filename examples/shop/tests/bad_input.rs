//! The program as its caller sees it when the input is bad: one line on standard error, nothing on standard
//! output, status 2.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn shop(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shop")).args(arguments).current_dir(folder).output().unwrap()
}

fn assert_refused(arguments: &[&str], folder: &Path, expected: &str) {
    let output = shop(arguments, folder);
    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("shop: {expected}\n"), "{arguments:?}");
    assert_eq!(output.stdout, b"", "{arguments:?}");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
}

#[test]
fn a_missing_file_a_directory_and_an_empty_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("empty.txt"), "").unwrap();
    for (file, complaint) in [
        ("none.txt", "expected a file of purchases; there is no such file"),
        (".", "expected a file of purchases; found a directory"),
        ("empty.txt", "expected at least one purchase; found none"),
    ] {
        let arguments = ["--purchases", file, "--data-dir", "databases", "--json"];
        assert_refused(&arguments, folder.path(), &format!("{file}: {complaint}"));
    }
}

#[test]
fn a_bad_line_is_refused_with_file_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.txt"), "00001 19970101 1 11.77\n00001 20010229 1 11.77\n").unwrap();
    assert_refused(
        &["--purchases", "bad.txt", "--data-dir", "databases"],
        folder.path(),
        "bad.txt:2: date: expected a day that exists, as YYYYMMDD, such as 19970101; found \"20010229\"",
    );
}

#[test]
fn bad_usage_is_refused_with_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let output = shop(&["--decline", "101"], folder.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("101 is not in 0..=100"));
}

#[cfg(unix)]
#[test]
fn the_process_aborts_itself_when_told_to() {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    const SIGABRT: i32 = 6;
    let folder = tempfile::tempdir().unwrap();
    // Its input never ends while we hold the pipe, so nothing but the abort can end it.
    let mut child = Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(["--purchases", "/dev/stdin", "--data-dir", "databases", "--crash-after-ms", "1"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let input = child.stdin.take();
    assert_eq!(child.wait().unwrap().signal(), Some(SIGABRT));
    drop(input);
}

#[test]
fn help_names_every_option_and_the_exit_status() {
    let folder = tempfile::tempdir().unwrap();
    let output = shop(&["--help"], folder.path());
    let help = String::from_utf8(output.stdout).unwrap();
    for word in [
        "--purchases <FILE>",
        "--limit <N>",
        "--data-dir <DIR>",
        "--decline <PERCENT>",
        "--refuse <PERCENT>",
        "--seed <N>",
        "--crash-after-ms <N>",
        "--json",
        "Exit status: 0",
    ] {
        assert!(help.contains(word), "{word} is missing in\n{help}");
    }
    assert_eq!(output.status.code(), Some(0));
}
