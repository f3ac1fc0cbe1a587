//! The shop as it is built by default is embedded only: what it needs for servers is behind a feature, whole.

use std::process::Command;

/// What the program is made of, by names.
fn packages(further: &[&str]) -> Vec<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args([
        "tree",
        "--offline",
        "--package",
        "shop",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    let output = tree.args(further).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

const SERVERS: [&str; 10] = [
    "factum-bus-nats",
    "factum-bus-rabbitmq",
    "factum-store-mysql",
    "factum-store-postgres",
    "async-nats",
    "lapin",
    "sqlx-mysql",
    "sqlx-postgres",
    "rustls",
    "ring",
];

#[test]
fn by_default_no_client_of_a_server_is_compiled() {
    let embedded = packages(&[]);
    assert!(embedded.iter().any(|name| name == "factum-store-sqlite"), "{embedded:?}");
    let found: Vec<_> = SERVERS.into_iter().filter(|name| embedded.iter().any(|it| it == name)).collect();
    assert_eq!(found, [""; 0]);
}

#[test]
fn with_the_feature_full_all_of_them_are() {
    let full = packages(&["--features", "full"]);
    let missing: Vec<_> = SERVERS.into_iter().filter(|name| !full.iter().any(|it| it == name)).collect();
    assert_eq!(missing, [""; 0]);
}
