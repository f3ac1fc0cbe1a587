//! Each server really starts, answers, dies, and comes back with its data; and nothing of it is left behind.

use factum_launcher::{MariaDb, Nats, PgBouncer, Postgres, RabbitMq, Server, or_skip};

/// What holds for every server, whichever it is.
async fn lives_and_dies(server: &mut Server) {
    assert!(server.answers().await, "{}", server.log());
    assert!(server.rss() > 1 << 20, "{} bytes", server.rss());
    assert!(server.start_again().await.unwrap_err().to_string().contains("still running"));

    server.freeze().unwrap();
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
    lives_and_dies(&mut nats).await;
    assert!(nats.folder().join("jetstream").is_dir());
    leaves_nothing(nats);
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
    lives_and_dies(&mut postgres).await;
    leaves_nothing(postgres);
}

#[tokio::test]
async fn mariadb_lives_and_dies() {
    let Some(mut mariadb) = or_skip("mariadb_lives_and_dies", MariaDb::start().await) else { return };
    lives_and_dies(&mut mariadb).await;
    leaves_nothing(mariadb);
}

#[tokio::test]
async fn rabbitmq_lives_and_dies() {
    let Some(mut rabbitmq) = or_skip("rabbitmq_lives_and_dies", RabbitMq::start().await) else { return };
    lives_and_dies(&mut rabbitmq).await;
    let users = rabbitmq.ctl(&["list_users"]).await.unwrap();
    assert!(users.contains("guest"), "{users}");
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
    leaves_nothing(pooled);
}
