//! URLs that do not work: what is said of them, and that no password is in it.

use std::path::Path;

use crate::support::shop;

/// One line, status 2, and not a word of the password.
fn refusal(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output =
        shop(&[&["--limit", "1", "--namespace", "none"], arguments].concat(), Path::new(folder.path()));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{stderr}");
    assert!(!stderr.contains("s3cret"), "{stderr}");
    assert!(stderr.starts_with("shop: --") && stderr.lines().count() == 1, "{stderr}");
    stderr
}

#[test]
fn a_server_that_is_not_there_is_refused_at_once_and_no_password_is_shown() {
    for (option, url) in [
        ("--store", "postgres://me:s3cret@127.0.0.1:1/shop"),
        ("--store", "mysql://me:s3cret@127.0.0.1:1/shop"),
        ("--bus", "nats://me:s3cret@127.0.0.1:1"),
        ("--bus", "amqp://me:s3cret@127.0.0.1:1/%2f"),
    ] {
        let said = refusal(&[option, url, "--data-dir", "databases"]);
        assert!(said.starts_with(&format!("shop: {option}: ")), "{said}");
    }
}

#[test]
fn a_url_that_is_none_is_refused_without_being_repeated() {
    for (option, url) in [
        ("--store", "postgres://me:s3cret@:x/"),
        ("--store", "mysql://me:s3cret@:x/"),
        ("--store", "s3cret"),
        ("--bus", "nats://me:s3cret@:x"),
        ("--bus", "amqp://me:s3cret@:x"),
        ("--bus", "kafka://me:s3cret@a"),
    ] {
        let said = refusal(&[option, url, "--data-dir", "databases"]);
        assert!(said.starts_with(&format!("shop: {option}: ")), "{said}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let said = refusal(&["--no-relay"]);
    assert!(said.starts_with("shop: --bus: memory: is in one process"), "{said}");
    let said = refusal(&["--store", "memory:", "--bus", "nats://127.0.0.1:1"]);
    assert!(said.starts_with("shop: --store: memory: goes with"), "{said}");
    let said = refusal(&["--store", "sqlite:some/path.db"]);
    assert!(said.contains("--data-dir"), "{said}");
    let said = refusal(&["--cleanup"]);
    assert!(said.starts_with("shop: --data-dir: say in which folder"), "{said}");
}
