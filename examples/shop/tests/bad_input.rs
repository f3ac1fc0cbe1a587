//! The program as its caller sees it when the input is bad: one line on standard error, nothing on standard
//! output, status 2.

use std::fs;
use std::path::Path;

use support::{Database, report, shop};

mod support;

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

const GOOD: &str = "00001 19970101 1 11.77\n00001 19970112 2 12.00\n00002 19970112 5 77.00\n";
const ANOTHER: &str = "00003 19970113 3 0.00\n";

/// Every kind of bad line, and what is said of it.
fn bad_lines() -> Vec<(Vec<u8>, &'static str)> {
    let number = "number of CDs: expected a whole number from 1 to 1000000, such as 2; found ";
    let amount = "amount: expected dollars with two decimals, at most 1000000.00, such as 11.77; found ";
    let say = |line: &str, complaint: String| (line.as_bytes().to_vec(), &*complaint.leak());
    vec![
        (b"00003 19970113 3 \xff".to_vec(), "amount: expected UTF-8 text; found the byte 0xff"),
        say("00003 19970113 3", {
            let fields = "(customer id, date, number of CDs, amount)";
            format!("fields: expected 4 separated by spaces {fields}; found 3 in \"00003 19970113 3\"")
        }),
        say("00003 20010229 3 0.00", {
            let expected = "expected a day that exists, as YYYYMMDD, such as 19970101";
            format!("date: {expected}; found \"20010229\"")
        }),
        say("00003 19970113 0 0.00", format!("{number}\"0\"")),
        say("00003 19970113 1.5 0.00", format!("{number}\"1.5\"")),
        say("00003 19970113 3 12.5", format!("{amount}\"12.5\"")),
        say("00003 19970113 3 1000000.01", format!("{amount}\"1000000.01\"")),
        say(&" ".repeat(4_097), "line: expected at most 4096 bytes; found a longer one".to_owned()),
    ]
}

#[tokio::test]
async fn what_was_placed_before_a_bad_line_stays_and_the_corrected_file_goes_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--purchases", "p.txt", "--data-dir", "databases", "--json"];
    for (line, complaint) in bad_lines() {
        let bad = [GOOD.as_bytes(), &line, b"\n", ANOTHER.as_bytes()].concat();
        fs::write(folder.path().join("p.txt"), bad).unwrap();
        assert_refused(&arguments, folder.path(), &format!("p.txt:4: {complaint}"));
        let mut ordering = Database::open(&folder.path().join("databases"), "ordering").await;
        assert_eq!(ordering.count("orders").await, 3, "{complaint}");
        assert_eq!(ordering.count("buyers").await, 2, "{complaint}");
    }
    fs::write(folder.path().join("p.txt"), [GOOD, ANOTHER].concat()).unwrap();
    let report = report(&shop(&arguments, folder.path()));
    assert_eq!((&report["purchases"], &report["customers"]), (&4.into(), &3.into()));
    assert_eq!((&report["cds"], &report["revenue_cents"]), (&11.into(), &10_077.into()));
    assert_eq!((&report["orders_confirmed"], &report["reconciled"]), (&4.into(), &true.into()));
    assert_eq!(report["receipts"], 24);
}

#[test]
fn a_folder_that_is_a_file_and_a_database_that_is_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::write(folder.path().join("folder/ordering.db"), "no database, but some text\n".repeat(100)).unwrap();
    for (data_dir, named) in [("file", "--data-dir file: expected a folder"), ("folder", "ordering.db: ")] {
        let output = shop(&["--limit", "1", "--data-dir", data_dir, "--json"], folder.path());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(named) && stderr.lines().count() == 1, "{stderr}");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{stderr}");
    }
}

#[cfg(not(feature = "full"))]
#[test]
fn a_server_that_this_build_cannot_reach_is_refused_with_the_feature_that_can() {
    let folder = tempfile::tempdir().unwrap();
    for (option, scheme) in
        [("--store", "postgres"), ("--store", "mysql"), ("--bus", "nats"), ("--bus", "amqp")]
    {
        let url = format!("{scheme}://me:s3cret@host/x");
        let complaint =
            format!("{option}: {scheme}: is not compiled in; build the shop with --features full");
        assert_refused(&[option, &url], folder.path(), &complaint);
    }
}

#[test]
fn a_url_that_means_nothing_is_refused_without_being_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let store = "--store: expected sqlite:, postgres://HOST/DATABASE or mysql://HOST; found";
    let bus = "--bus: expected memory:, nats://HOST or amqp://HOST; found";
    for (arguments, complaint) in [
        (["--store", "oracle://me:s3cret@host"], format!("{store} oracle:")),
        (["--store", "s3cret"], format!("{store} something without a scheme")),
        (["--bus", "kafka://me:s3cret@host"], format!("{bus} kafka:")),
        (["--bus", "me:s3cret@host"], format!("{bus} something without a scheme")),
    ] {
        assert_refused(&arguments, folder.path(), &complaint);
    }
}

#[test]
fn what_a_run_has_left_in_its_folder_is_removed_by_cleanup() {
    let folder = tempfile::tempdir().unwrap();
    report(&shop(&["--limit", "1", "--data-dir", "databases", "--json"], folder.path()));
    fs::write(folder.path().join("databases/mine.txt"), "x").unwrap();
    let cleanup = || String::from_utf8(shop(&["--cleanup", "--data-dir", "databases"], folder.path()).stdout);
    let removed = cleanup().unwrap();
    for service in ["ordering", "inventory", "payment", "insight"] {
        assert!(removed.contains(&format!("removed file databases/{service}.db\n")), "{removed}");
        assert!(!folder.path().join(format!("databases/{service}.db")).exists());
    }
    assert!(folder.path().join("databases/mine.txt").exists());
    assert_eq!(cleanup().unwrap(), "nothing was there to be removed\n");
    let missing =
        "--data-dir none: expected a folder that can be written to; No such file or directory (os error 2)";
    assert_refused(&["--cleanup", "--data-dir", "none"], folder.path(), missing);
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

    use support::command;

    const SIGABRT: i32 = 6;
    let folder = tempfile::tempdir().unwrap();
    // Its input never ends while we hold the pipe, so nothing but the abort can end it.
    let arguments = ["--purchases", "/dev/stdin", "--data-dir", "databases", "--crash-after-ms", "1"];
    let mut child = command(&arguments, folder.path()).stdin(Stdio::piped()).spawn().unwrap();
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
        "--store <URL>",
        "--bus <URL>",
        "--namespace <NAME>",
        "--cleanup",
        "--no-relay",
        "Exit status: 0",
    ] {
        assert!(help.contains(word), "{word} is missing in\n{help}");
    }
    assert_eq!(output.status.code(), Some(0));
}
