//! Each server really starts, answers, dies, and comes back with its data; and nothing of it is left behind.

use std::process::Command;
use std::time::Duration;

use factum_launcher::{MariaDb, Nats, PgBouncer, Postgres, RabbitMq, Server, or_skip};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

/// Long enough that an answer would have come.
const SILENCE: Duration = Duration::from_millis(200);

/// What holds for every server, whichever it is.
async fn lives_and_dies(server: &mut Server) {
    assert!(server.answers().await, "{}", server.log());
    assert!(server.rss() > 1 << 20, "{} bytes", server.rss());
    assert!(server.start_again().await.unwrap_err().to_string().contains("still running"));

    server.freeze().unwrap();
    assert!(timeout(SILENCE, server.answers()).await.is_err());
    let pids = server.pids();
    assert_eq!(states(&pids), vec!['T'; pids.len()]);
    server.thaw().unwrap();
    assert!(server.answers().await, "{}", server.log());

    server.kill().unwrap();
    assert!(server.pids().is_empty() && !server.answers().await);
    assert!(states(&pids).is_empty(), "left: {:?}", states(&pids));
    server.start_again().await.unwrap();
    assert!(server.answers().await, "{}", server.log());

    server.stop().await.unwrap();
    assert!(server.pids().is_empty() && !server.answers().await);
    server.start_again().await.unwrap();

    server.freeze().unwrap();
    server.kill().unwrap();
    server.start_again().await.unwrap();
    server.freeze().unwrap();
    server.stop().await.unwrap();
    server.start_again().await.unwrap();
    assert!(server.answers().await, "{}", server.log());
}

/// What a client program prints.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The state of each process that is still alive. Orphans are reaped by the machine's first process, some time.
fn states(pids: &[i32]) -> Vec<char> {
    let stat = |pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let states = pids.iter().filter_map(stat).filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next());
    states.filter(|state| !matches!(state, 'Z' | 'X')).collect()
}

fn leaves_nothing(server: impl std::ops::Deref<Target = Server>) {
    let (folder, pids) = (server.folder().to_owned(), server.pids());
    assert!(folder.exists() && !pids.is_empty());
    drop(server);
    assert!(!folder.exists());
    assert!(states(&pids).is_empty(), "left: {:?}", states(&pids));
}

#[tokio::test]
async fn nats_lives_and_dies() {
    let Some(mut nats) = or_skip("nats_lives_and_dies", Nats::start().await) else { return };
    let stream = r#"{"name":"KEPT","subjects":["kept"],"storage":"file"}"#;
    assert!(ask(&nats, "$JS.API.STREAM.CREATE.KEPT", stream).await.contains("\"did_create\":true"));
    assert!(ask(&nats, "kept", "once").await.contains("\"seq\":1"));
    lives_and_dies(&mut nats).await;
    assert!(ask(&nats, "kept", "twice").await.contains("\"seq\":2"));
    leaves_nothing(nats);
}

/// The answer of NATS to a request.
async fn ask(nats: &Nats, subject: &str, question: &str) -> String {
    let mut stream = BufReader::new(tokio::net::TcpStream::connect(nats.address()).await.unwrap());
    let length = question.len();
    let request = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB {subject} answer {length}\r\n{question}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut lines = stream.lines();
    let answer = async {
        while !lines.next_line().await.unwrap().unwrap().starts_with("MSG answer") {}
        lines.next_line().await.unwrap().unwrap()
    };
    timeout(Duration::from_secs(10), answer).await.expect("an answer")
}

#[tokio::test]
async fn a_setting_that_nats_does_not_know_is_shown() {
    let test = "a_setting_that_nats_does_not_know_is_shown";
    let Some(_) = or_skip(test, Nats::start().await) else { return };
    let error = Nats::start_with(&[("no_such_thing", "1")]).await.unwrap_err().to_string();
    assert!(error.starts_with("NATS ended") && error.contains("no_such_thing"), "{error}");
    let right = Nats::start_with(&[("max_payload", "1KB"), ("jetstream.max_file_store", "16MB")]).await;
    assert!(right.unwrap().answers().await);
}

#[tokio::test]
async fn postgres_lives_and_dies() {
    let Some(mut postgres) = or_skip("postgres_lives_and_dies", Postgres::start().await) else { return };
    let sql = |sql| run("psql", &[postgres.url(), "-tAc", sql]);
    sql("CREATE TABLE kept AS SELECT 42 AS answer");
    assert_eq!(sql("SHOW fsync"), "on");
    lives_and_dies(&mut postgres).await;
    assert_eq!(run("psql", &[postgres.url(), "-tAc", "SELECT answer FROM kept"]), "42");
    leaves_nothing(postgres);
}

#[tokio::test]
async fn mariadb_lives_and_dies() {
    let Some(mut mariadb) = or_skip("mariadb_lives_and_dies", MariaDb::start().await) else { return };
    let port = format!("-P{}", mariadb.address().port());
    let sql = |sql| run("mariadb", &["-h127.0.0.1", &port, "-uroot", "-N", "-e", sql, "test"]);
    sql("CREATE TABLE kept AS SELECT 42 AS answer");
    lives_and_dies(&mut mariadb).await;
    assert_eq!(sql("SELECT answer FROM kept"), "42");
    leaves_nothing(mariadb);
}

#[tokio::test]
async fn rabbitmq_lives_and_dies() {
    let Some(mut rabbitmq) = or_skip("rabbitmq_lives_and_dies", RabbitMq::start().await) else { return };
    rabbitmq.ctl(&["add_vhost", "kept"]).await.unwrap();
    lives_and_dies(&mut rabbitmq).await;
    let hosts = rabbitmq.ctl(&["list_vhosts", "--silent"]).await.unwrap();
    assert!(hosts.lines().any(|host| host == "kept"), "{hosts}");
    let error = rabbitmq.ctl(&["no_such_command"]).await.unwrap_err().to_string();
    assert!(error.contains("no_such_command"), "{error}");
    leaves_nothing(rabbitmq);
}

#[tokio::test]
async fn pgbouncer_lives_and_dies() {
    let Some(postgres) = or_skip("pgbouncer_lives_and_dies", Postgres::start().await) else { return };
    let pooled = PgBouncer::over(&postgres, 2).await;
    let Some(mut pooled) = or_skip("pgbouncer_lives_and_dies", pooled) else { return };
    lives_and_dies(&mut pooled).await;
    let admin = format!("postgres://postgres@{}/pgbouncer", pooled.address());
    let config = run("psql", &[&admin, "-tAc", "SHOW CONFIG"]);
    assert!(config.contains("pool_mode|transaction") && config.contains("default_pool_size|2|"), "{config}");
    assert_eq!(run("psql", &[pooled.url(), "-tAc", "SELECT 42"]), "42");
    leaves_nothing(pooled);
}

#[tokio::test]
async fn what_postgres_did_not_write_yet_is_lost_when_it_is_killed() {
    let test = "what_postgres_did_not_write_yet_is_lost_when_it_is_killed";
    let lazy = [("synchronous_commit", "off"), ("wal_writer_delay", "10s")];
    let Some(mut postgres) = or_skip(test, Postgres::start_with(&lazy).await) else { return };
    run("psql", &[postgres.url(), "-c", "CREATE TABLE lately (n int)", "-c", "CHECKPOINT"]);
    run("psql", &[postgres.url(), "-c", "INSERT INTO lately VALUES (1)"]);
    postgres.kill().unwrap();
    postgres.start_again().await.unwrap();
    assert_eq!(run("psql", &[postgres.url(), "-tAc", "SELECT count(*) FROM lately"]), "0");
}

#[tokio::test]
async fn a_setting_of_mariadb_and_of_rabbitmq_arrives() {
    let test = "a_setting_of_mariadb_and_of_rabbitmq_arrives";
    let mariadb = MariaDb::start_with(&[("innodb_autoinc_lock_mode", "1")]).await;
    let Some(mariadb) = or_skip(test, mariadb) else { return };
    let port = format!("-P{}", mariadb.address().port());
    let question = "SELECT @@innodb_autoinc_lock_mode";
    assert_eq!(run("mariadb", &["-h127.0.0.1", &port, "-uroot", "-N", "-e", question]), "1");
    let rabbitmq = RabbitMq::start_with(&[("consumer_timeout", "5000")]).await;
    let Some(rabbitmq) = or_skip(test, rabbitmq) else { return };
    let question = "application:get_env(rabbit, consumer_timeout).";
    assert_eq!(rabbitmq.ctl(&["eval", question]).await.unwrap().trim(), "{ok,5000}");
}

#[tokio::test]
async fn two_servers_of_a_kind_do_not_meet() {
    let (one, other) = tokio::join!(RabbitMq::start(), RabbitMq::start());
    let test = "two_servers_of_a_kind_do_not_meet";
    let (Some(one), Some(other)) = (or_skip(test, one), or_skip(test, other)) else { return };
    assert_ne!(one.address(), other.address());
    one.ctl(&["add_vhost", "mine"]).await.unwrap();
    assert!(!other.ctl(&["list_vhosts"]).await.unwrap().contains("mine"));
}

#[tokio::test]
async fn a_standby_of_postgres_follows_and_is_promoted() {
    let test = "a_standby_of_postgres_follows_and_is_promoted";
    let Some(mut first) = or_skip(test, Postgres::start().await) else { return };
    run("psql", &[first.url(), "-c", "CREATE TABLE kept AS SELECT 42 AS answer"]);
    let second = first.start_standby(&[]).await.unwrap();
    run("psql", &[first.url(), "-c", "ALTER SYSTEM SET synchronous_standby_names = '*'"]);
    run("psql", &[first.url(), "-c", "SELECT pg_reload_conf()"]);
    run("psql", &[first.url(), "-c", "SET synchronous_commit = remote_apply; UPDATE kept SET answer = 43"]);
    first.kill().unwrap();
    assert_eq!(run("psql", &[second.url(), "-tAc", "SELECT answer FROM kept"]), "43");
    assert_eq!(run("psql", &[second.url(), "-tAc", "SELECT pg_promote()"]), "t");
    run("psql", &[second.url(), "-c", "UPDATE kept SET answer = 44"]);
}
