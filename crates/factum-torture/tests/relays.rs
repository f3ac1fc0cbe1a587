//! Several relays share one outbox, and die.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use factum_torture::{ATTEMPTS, Database, Kind, RelayProcess, Say, Tap};

const PROGRAM: &str = env!("CARGO_BIN_EXE_torture-relay");
const PATIENCE: Duration = Duration::from_secs(240);
const LONG: Duration = Duration::from_secs(10);

/// What a relay has on its way at most: handed over and unanswered, or answered and not settled.
const WINDOW: usize = 4_096;

/// Events of each of 64 keys: 200,000 in all where `FACTUM_TORTURE` is `full`, a tenth of it otherwise.
fn many() -> u64 {
    match std::env::var("FACTUM_TORTURE").as_deref() {
        Ok("full") => 3_125,
        _ => 312,
    }
}

async fn start(database: &Database, tap: &Tap, lease: Duration) -> RelayProcess {
    RelayProcess::start(Path::new(PROGRAM), database, tap.address(), lease).await.expect("a relay")
}

/// 64 keys, no faults: every event once, in order.
async fn share(kind: Kind, relays: usize, of_each: u64) {
    let test = format!("{relays} relays on {kind:?}");
    let Some(database) = Database::fresh(kind, &test).await.expect("a database") else { return };
    let tap = Tap::open().await.expect("a tap");
    let store = database.open().await.expect("a store");
    let mut running = Vec::new();
    for _ in 0..relays {
        running.push(start(&database, &tap, LONG).await);
    }
    for relay in &mut running {
        tokio::time::timeout(PATIENCE, relay.shares_with(relays)).await.expect("in time").expect("a share");
    }
    let written = store.write(64, of_each, 100).await.expect("they are committed");
    let all = 64 * usize::try_from(of_each).expect("it fits");
    tap.until("all of it", PATIENCE, |history| history.distinct() == all).await;
    for relay in running {
        relay.end().await.expect("it ends");
    }
    let history = tap.history();
    history.check(&written);
    assert_eq!(history.repeats(), 0, "without faults nothing comes twice");
    let brought = history.arrivals().iter().map(|arrival| arrival.connection);
    let workers = brought.collect::<std::collections::HashSet<_>>().len();
    assert_eq!(workers, relays, "they all work");
    assert_eq!(store.inspect().backlog().await.expect("a backlog").outbox, 0);
    drop(store);
    database.remove().await.expect("it is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_41_two_relays_on_a_file_bring_every_event_once_and_in_order() {
    share(Kind::Sqlite, 2, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_41_two_relays_on_postgres_bring_every_event_once_and_in_order() {
    share(Kind::Postgres, 2, many()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_41_four_relays_on_postgres_bring_every_event_once_and_in_order() {
    share(Kind::Postgres, 4, many()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_41_eight_relays_on_postgres_bring_every_event_once_and_in_order() {
    share(Kind::Postgres, 8, many()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_41_two_relays_on_mariadb_bring_every_event_once_and_in_order() {
    share(Kind::MySql, 2, many()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_41_four_relays_on_mariadb_bring_every_event_once_and_in_order() {
    share(Kind::MySql, 4, many()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_41_eight_relays_on_mariadb_bring_every_event_once_and_in_order() {
    share(Kind::MySql, 8, many()).await;
}

/// Leases of a second, and every 200 ms one of the relays is killed and another begins.
async fn kill(kind: Kind, of_each: u64) {
    let test = format!("killed relays on {kind:?}");
    let Some(database) = Database::fresh(kind, &test).await.expect("a database") else { return };
    let tap = Tap::open().await.expect("a tap");
    let store = database.open().await.expect("a store");
    let lease = Duration::from_secs(1);
    let mut running = std::collections::VecDeque::new();
    for _ in 0..3 {
        running.push_back(start(&database, &tap, lease).await);
    }
    let writing = tokio::spawn({
        let store = store.clone();
        async move { store.write(64, of_each, 20).await.expect("they are committed") }
    });
    let mut kills = 0;
    let mut every = tokio::time::interval(Duration::from_millis(200));
    while !writing.is_finished() || kills < 20 {
        every.tick().await;
        if let Some(oldest) = running.pop_front() {
            oldest.kill().expect("it is killed");
            kills += 1;
        }
        running.push_back(start(&database, &tap, lease).await);
    }
    let written = writing.await.expect("the writers");
    let all = 64 * usize::try_from(of_each).expect("it fits");
    tap.until("all of it", PATIENCE, |history| history.distinct() == all).await;
    for relay in running {
        relay.end().await.expect("it ends");
    }
    let history = tap.history();
    history.check(&written);
    println!("{kind:?}: {kills} kills, {} repeats", history.repeats());
    assert!(history.repeats() <= kills * WINDOW, "{} repeats in {kills} kills", history.repeats());
    assert_eq!(store.inspect().backlog().await.expect("a backlog").outbox, 0);
    drop(store);
    database.remove().await.expect("it is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_46_relays_on_a_file_that_are_killed_all_the_time_lose_nothing_and_keep_the_order() {
    kill(Kind::Sqlite, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_46_relays_on_postgres_that_are_killed_all_the_time_lose_nothing_and_keep_the_order() {
    kill(Kind::Postgres, many() / 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_46_relays_on_mariadb_that_are_killed_all_the_time_lose_nothing_and_keep_the_order() {
    kill(Kind::MySql, many() / 3).await;
}

/// The number that a relay gave under this name when it ended.
fn count(said: &str, name: &str) -> u64 {
    let rest = said.split_once(&format!("{name}: ")).expect("it is told").1;
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}

/// A relay stops in the midst of its work, another takes over and finishes; when the first goes on, its answers come.
async fn freeze(kind: Kind) {
    let test = format!("a frozen relay on {kind:?}");
    let Some(database) = Database::fresh(kind, &test).await.expect("a database") else { return };
    let tap = Tap::saying(|arrival| match arrival.connection {
        0 => Say::Later,
        _ => Say::Confirmed,
    });
    let tap = tap.await.expect("a tap");
    let store = database.open().await.expect("a store");
    let lease = Duration::from_millis(900);
    let mut frozen = start(&database, &tap, lease).await;
    frozen.shares_with(1).await.expect("it works alone");
    let written = store.write(64, 20, 64).await.expect("they are committed");
    tap.until("the first of each key", PATIENCE, |history| history.distinct() == 64).await;
    frozen.freeze().expect("it is frozen");
    let heir = start(&database, &tap, lease).await;
    tap.until("all of it", PATIENCE, |history| history.distinct() == 64 * 20).await;
    store.settled().await.expect("it is settled");
    assert_eq!(tap.let_go(), 64, "its answers were on their way to it all the time");
    frozen.thaw().expect("it goes on");
    // It is as good as any other now: it gets its share again, and what comes next is brought once.
    frozen.shares_with(2).await.expect("it shares");
    let said = frozen.end().await.expect("it ends");
    assert_eq!(count(&said, "settled"), 0, "a late completion changes nothing: {said}");
    let said = heir.end().await.expect("it ends");
    assert_eq!(count(&said, "settled"), 64 * 20, "{said}");
    let history = tap.history();
    history.check(&written);
    assert_eq!(history.repeats(), 64, "what the first had brought came again, and nothing else");
    drop(store);
    database.remove().await.expect("it is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_43_a_frozen_relay_on_a_file_completes_nothing_when_it_goes_on() {
    freeze(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_43_a_frozen_relay_on_postgres_completes_nothing_when_it_goes_on() {
    freeze(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_43_a_frozen_relay_on_mariadb_completes_nothing_when_it_goes_on() {
    freeze(Kind::MySql).await;
}

/// One poisoned key among 64, and eight relays: it is tried as often as it may be by all of them together.
async fn poison(kind: Kind) {
    let test = format!("a poisoned key on {kind:?}");
    let Some(database) = Database::fresh(kind, &test).await.expect("a database") else { return };
    let refused = Arc::new(AtomicU32::new(0));
    let tap = Tap::saying({
        let refused = Arc::clone(&refused);
        move |arrival| match arrival.key.as_str() {
            "key 0" => {
                refused.fetch_add(1, Ordering::SeqCst);
                Say::Refused
            }
            _ => Say::Confirmed,
        }
    });
    let tap = tap.await.expect("a tap");
    let store = database.open().await.expect("a store");
    let mut running = Vec::new();
    for _ in 0..8 {
        running.push(start(&database, &tap, LONG).await);
    }
    let mut written = store.write(64, 20, 64).await.expect("they are committed");
    tap.until("all other keys", PATIENCE, |history| history.distinct() == 63 * 20).await;
    let parked =
        store.until(|backlog| backlog.dead_letters == 1 && backlog.outbox == 19).await.expect("a backlog");
    assert_eq!(parked.outbox_parked, 19, "the rest of the key waits");
    for relay in running {
        relay.end().await.expect("it ends");
    }
    let dead = store.inspect().dead_letters(10).await.expect("dead letters");
    assert_eq!((dead[0].attempts, refused.load(Ordering::SeqCst)), (ATTEMPTS, ATTEMPTS));
    written.remove("key 0");
    let history = tap.history();
    history.check(&written);
    assert_eq!(history.repeats(), 0);
    drop(store);
    database.remove().await.expect("it is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_50_eight_relays_on_postgres_try_a_refused_envelope_no_more_often_than_one() {
    poison(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_50_eight_relays_on_mariadb_try_a_refused_envelope_no_more_often_than_one() {
    poison(Kind::MySql).await;
}

/// Answers come late, and relays look for work all the time: nobody takes what another is at work on.
async fn slow(kind: Kind) {
    let test = format!("a slow bus on {kind:?}");
    let Some(database) = Database::fresh(kind, &test).await.expect("a database") else { return };
    let tap = Tap::saying(|_| Say::Later).await.expect("a tap");
    let store = database.open().await.expect("a store");
    let mut running = Vec::new();
    for _ in 0..8 {
        running.push(start(&database, &tap, LONG).await);
    }
    let answering = tokio::spawn({
        let tap = tap.clone();
        async move {
            let mut every = tokio::time::interval(Duration::from_millis(50));
            loop {
                every.tick().await;
                tap.let_go();
            }
        }
    });
    let written = store.write(64, 60, 16).await.expect("they are committed");
    tap.until("all of it", PATIENCE, |history| history.distinct() == 64 * 60).await;
    store.settled().await.expect("it is settled");
    answering.abort();
    for relay in running {
        relay.end().await.expect("it ends");
    }
    let history = tap.history();
    history.check(&written);
    assert_eq!(history.repeats(), 0, "nobody takes what another has on its way");
    drop(store);
    database.remove().await.expect("it is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_49_relays_on_postgres_leave_alone_what_another_has_on_its_way() {
    slow(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_49_relays_on_mariadb_leave_alone_what_another_has_on_its_way() {
    slow(Kind::MySql).await;
}

/// Relays are frozen past their lease and go on, round by round: each time the other takes over, and both share again.
async fn heal(kind: Kind) {
    let test = format!("relays that freeze on {kind:?}");
    let Some(database) = Database::fresh(kind, &test).await.expect("a database") else { return };
    let tap = Tap::open().await.expect("a tap");
    let lease = Duration::from_millis(600);
    let mut one = start(&database, &tap, lease).await;
    let mut two = start(&database, &tap, lease).await;
    one.shares_with(2).await.expect("it shares");
    two.shares_with(2).await.expect("it shares");
    for _ in 0..4 {
        one.freeze().expect("it is frozen");
        two.shares_with(1).await.expect("it takes over");
        one.thaw().expect("it goes on");
        two.shares_with(2).await.expect("they share again");
        one.shares_with(2).await.expect("they share again");
        std::mem::swap(&mut one, &mut two);
    }
    let store = database.open().await.expect("a store");
    let written = store.write(64, 20, 64).await.expect("they are committed");
    tap.until("all of it", PATIENCE, |history| history.distinct() == 64 * 20).await;
    for relay in [one, two] {
        relay.end().await.expect("it ends");
    }
    let history = tap.history();
    history.check(&written);
    assert_eq!(history.repeats(), 0, "one of them at a time holds a bucket");
    drop(store);
    database.remove().await.expect("it is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_44_relays_on_postgres_that_freeze_and_go_on_share_again_by_themselves() {
    heal(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_44_relays_on_mariadb_that_freeze_and_go_on_share_again_by_themselves() {
    heal(Kind::MySql).await;
}

/// Answers take several leases: who is at work renews, and nobody takes his work from him.
async fn renew(kind: Kind) {
    let test = format!("answers that take long on {kind:?}");
    let Some(database) = Database::fresh(kind, &test).await.expect("a database") else { return };
    let tap = Tap::saying(|_| Say::Later).await.expect("a tap");
    let store = database.open().await.expect("a store");
    let lease = Duration::from_millis(600);
    let mut one = start(&database, &tap, lease).await;
    let mut two = start(&database, &tap, lease).await;
    one.shares_with(2).await.expect("it shares");
    two.shares_with(2).await.expect("it shares");
    let written = store.write(64, 1, 64).await.expect("they are committed");
    tap.until("all of it", PATIENCE, |history| history.distinct() == 64).await;
    database.pass(lease * 4).await.expect("the database's clock goes on");
    assert_eq!(tap.history().repeats(), 0, "nobody took over");
    assert_eq!(tap.let_go(), 64);
    store.settled().await.expect("it is settled");
    for relay in [one, two] {
        relay.end().await.expect("it ends");
    }
    tap.history().check(&written);
    assert_eq!(tap.history().repeats(), 0);
    drop(store);
    database.remove().await.expect("it is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn f_42_a_relay_on_postgres_keeps_its_lease_however_long_answers_take() {
    renew(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_42_a_relay_on_mariadb_keeps_its_lease_however_long_answers_take() {
    renew(Kind::MySql).await;
}
