//! Several relays share one outbox, and die.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use factum_torture::{ATTEMPTS, Arrival, Database, Kind, RelayProcess, Say, Tap, Torn, Written};

const PROGRAM: &str = env!("CARGO_BIN_EXE_torture-relay");
const PATIENCE: Duration = Duration::from_secs(240);
const SOON: Duration = Duration::from_secs(60);
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

/// A database of the test's own, and the tap that its relays publish to.
struct Scene {
    database: Database,
    store: Torn,
    tap: Tap,
}

impl Scene {
    /// `None`, after saying so, where the server is missing.
    async fn open(
        kind: Kind,
        test: &str,
        say: impl Fn(&Arrival) -> Say + Send + Sync + 'static,
    ) -> Option<Self> {
        let database = Database::fresh(kind, &format!("{test} on {kind:?}")).await.expect("a database")?;
        let store = database.open().await.expect("a store");
        let tap = Tap::saying(say).await.expect("a tap");
        Some(Self { database, store, tap })
    }

    async fn start(&self, lease: Duration) -> RelayProcess {
        let relay = RelayProcess::start(Path::new(PROGRAM), &self.database, self.tap.address(), lease);
        relay.await.expect("a relay")
    }

    async fn start_many(&self, relays: usize, lease: Duration) -> Vec<RelayProcess> {
        let mut running = Vec::new();
        for _ in 0..relays {
            running.push(self.start(lease).await);
        }
        running
    }

    /// Two that share the buckets.
    async fn start_two(&self, lease: Duration) -> [RelayProcess; 2] {
        let mut both = [self.start(lease).await, self.start(lease).await];
        for relay in &mut both {
            shares(relay, 2, "it shares").await;
        }
        both
    }

    async fn write(&self, of_each: u64, in_one: u64) -> Written {
        self.store.write(64, of_each, in_one).await.expect("they are committed")
    }

    async fn arrived(&self, what: &str, all: u64) {
        let all = usize::try_from(all).expect("it fits");
        self.tap.until(what, PATIENCE, |history| history.distinct() == all).await;
    }

    async fn settled(&self) {
        self.store.settled().await.expect("it is settled");
    }

    /// Ends relays, checks that all of it arrived in order, removes the database, and answers how often something came
    /// again.
    async fn end(self, running: impl IntoIterator<Item = RelayProcess>, written: &Written) -> usize {
        for relay in running {
            relay.end().await.expect("it ends");
        }
        let history = self.tap.history();
        history.check(written);
        drop(self.store);
        self.database.remove().await.expect("it is removed");
        history.repeats()
    }
}

/// Waits until a relay has its share of the buckets, as one of so many.
async fn shares(relay: &mut RelayProcess, relays: usize, what: &str) {
    let shared = tokio::time::timeout(SOON, relay.shares_with(relays)).await;
    shared.unwrap_or_else(|_| panic!("{what}: not within {SOON:?}")).expect(what);
}

fn confirm(_: &Arrival) -> Say {
    Say::Confirmed
}

/// 64 keys, no faults: every event once, in order.
async fn share(kind: Kind, relays: usize, of_each: u64) {
    let Some(scene) = Scene::open(kind, &format!("{relays} relays"), confirm).await else { return };
    let mut running = scene.start_many(relays, LONG).await;
    for relay in &mut running {
        shares(relay, relays, "a share").await;
    }
    let written = scene.write(of_each, 100).await;
    scene.arrived("all of it", 64 * of_each).await;
    for relay in running {
        relay.end().await.expect("it ends");
    }
    let history = scene.tap.history();
    let brought = history.arrivals().iter().map(|arrival| arrival.connection);
    let workers = brought.collect::<std::collections::HashSet<_>>().len();
    assert_eq!(workers, relays, "they all work");
    assert_eq!(scene.store.inspect().backlog().await.expect("a backlog").outbox, 0);
    assert_eq!(scene.end([], &written).await, 0, "without faults nothing comes twice");
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
    let Some(scene) = Scene::open(kind, "killed relays", confirm).await else { return };
    let lease = Duration::from_secs(1);
    let mut running = VecDeque::from(scene.start_many(3, lease).await);
    let writing = tokio::spawn({
        let store = scene.store.clone();
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
        running.push_back(scene.start(lease).await);
    }
    let written = writing.await.expect("the writers");
    scene.arrived("all of it", 64 * of_each).await;
    for relay in running {
        relay.end().await.expect("it ends");
    }
    assert_eq!(scene.store.inspect().backlog().await.expect("a backlog").outbox, 0);
    let repeats = scene.end([], &written).await;
    println!("{kind:?}: {kills} kills, {repeats} repeats");
    assert!(repeats <= kills * WINDOW, "{repeats} repeats in {kills} kills");
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
    let say = |arrival: &Arrival| match arrival.connection {
        0 => Say::Later,
        _ => Say::Confirmed,
    };
    let Some(scene) = Scene::open(kind, "a frozen relay", say).await else { return };
    let lease = Duration::from_millis(900);
    let mut frozen = scene.start(lease).await;
    shares(&mut frozen, 1, "it works alone").await;
    let written = scene.write(20, 64).await;
    scene.arrived("the first of each key", 64).await;
    frozen.freeze().expect("it is frozen");
    let heir = scene.start(lease).await;
    scene.arrived("all of it", 64 * 20).await;
    scene.settled().await;
    assert_eq!(scene.tap.let_go(), 64, "its answers were on their way to it all the time");
    frozen.thaw().expect("it goes on");
    // It is as good as any other now: it gets its share again.
    shares(&mut frozen, 2, "it shares").await;
    let said = frozen.end().await.expect("it ends");
    assert_eq!(count(&said, "settled"), 0, "a late completion changes nothing: {said}");
    let said = heir.end().await.expect("it ends");
    assert_eq!(count(&said, "settled"), 64 * 20, "{said}");
    let repeats = scene.end([], &written).await;
    assert_eq!(repeats, 64, "what the first had brought came again, and nothing else");
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
    let refused = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&refused);
    let say = move |arrival: &Arrival| match arrival.key.as_str() {
        "key 0" => {
            counted.fetch_add(1, Ordering::SeqCst);
            Say::Refused
        }
        _ => Say::Confirmed,
    };
    let Some(scene) = Scene::open(kind, "a poisoned key", say).await else { return };
    let running = scene.start_many(8, LONG).await;
    let mut written = scene.write(20, 64).await;
    scene.arrived("all other keys", 63 * 20).await;
    let given_up = scene.store.until(|backlog| backlog.dead_letters == 1 && backlog.outbox == 19);
    assert_eq!(given_up.await.expect("a backlog").outbox_parked, 19, "the rest of the key waits");
    for relay in running {
        relay.end().await.expect("it ends");
    }
    let dead = scene.store.inspect().dead_letters(10).await.expect("dead letters");
    assert_eq!((dead[0].attempts, refused.load(Ordering::SeqCst)), (ATTEMPTS, ATTEMPTS));
    written.remove("key 0");
    assert_eq!(scene.end([], &written).await, 0);
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
    let Some(scene) = Scene::open(kind, "a slow bus", |_| Say::Later).await else { return };
    let running = scene.start_many(8, LONG).await;
    let answering = tokio::spawn({
        let tap = scene.tap.clone();
        async move {
            let mut every = tokio::time::interval(Duration::from_millis(50));
            loop {
                every.tick().await;
                tap.let_go();
            }
        }
    });
    let written = scene.write(60, 16).await;
    scene.arrived("all of it", 64 * 60).await;
    scene.settled().await;
    answering.abort();
    assert_eq!(scene.end(running, &written).await, 0, "nobody takes what another has on its way");
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
    let Some(scene) = Scene::open(kind, "relays that freeze", confirm).await else { return };
    let [mut one, mut two] = scene.start_two(Duration::from_millis(600)).await;
    for _ in 0..4 {
        one.freeze().expect("it is frozen");
        shares(&mut two, 1, "it takes over").await;
        one.thaw().expect("it goes on");
        shares(&mut two, 2, "they share again").await;
        shares(&mut one, 2, "they share again").await;
        std::mem::swap(&mut one, &mut two);
    }
    let written = scene.write(20, 64).await;
    scene.arrived("all of it", 64 * 20).await;
    assert_eq!(scene.end([one, two], &written).await, 0, "one of them at a time holds a bucket");
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
    let Some(scene) = Scene::open(kind, "answers that take long", |_| Say::Later).await else { return };
    let lease = Duration::from_millis(600);
    let both = scene.start_two(lease).await;
    let written = scene.write(1, 64).await;
    scene.arrived("all of it", 64).await;
    scene.database.pass(lease * 4).await.expect("the database's clock goes on");
    assert_eq!(scene.tap.history().repeats(), 0, "nobody took over");
    assert_eq!(scene.tap.let_go(), 64);
    scene.settled().await;
    assert_eq!(scene.end(both, &written).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn f_42_a_relay_on_postgres_keeps_its_lease_however_long_answers_take() {
    renew(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_42_a_relay_on_mariadb_keeps_its_lease_however_long_answers_take() {
    renew(Kind::MySql).await;
}
