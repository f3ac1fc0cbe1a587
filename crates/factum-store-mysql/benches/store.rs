//! What the store costs beside the same SQL by hand: a unit of work that inserts one row and announces one event, and an
//! outbox that is read and emptied, by calls in turn and by a relay. `cargo bench -p factum-store-mysql [ROWS]`; it needs a server (`FACTUM_MYSQL`), and
//! says how long each takes in microseconds, the median and the mean, in turns.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use factum::integration::{Answer, Capabilities, Deliveries, Interest, Publication};
use factum::port::{Access, Asked, BucketSet, Intent, OutboxStore as _, Read, Settlement, Store as _};
use factum::{BoxError, BoxFuture, Envelope, EventBus};
use factum_runtime::Relay;
use factum_store_mysql::{MySql, Options};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

const DATABASE: &str = "factum_bench";

type Done<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn envelope(n: usize) -> Envelope {
    let id = format!("018f9c2e-0000-7000-8000-{n:012x}");
    let mut envelope = Envelope::new(
        id.as_str(),
        "https://shop.example/ordering",
        "com.example.shop.ordering.order-placed.v1",
        vec![b'x'; 200],
    );
    envelope.partitionkey = Some(format!("order {}", n % 10_000).into());
    envelope
}

async fn by_hand(db: &mut MySqlConnection, n: usize, envelope: &Envelope) -> Done {
    db.execute("START TRANSACTION").await?;
    sqlx::query("INSERT INTO row_of_mine VALUES (?, ?)")
        .bind(n as i64)
        .bind("some text")
        .execute(&mut *db)
        .await?;
    let sql =
        "INSERT INTO factum_outbox (source, id, type, partitionkey, time, data) VALUES (?, ?, ?, ?, ?, ?)";
    let query =
        sqlx::query(sql).bind(envelope.source.as_str()).bind(envelope.id.as_str()).bind(&*envelope.r#type);
    let query = query.bind(envelope.partitionkey.as_deref()).bind(envelope.time.as_micros());
    query.bind(&*envelope.data).execute(&mut *db).await?;
    db.execute("COMMIT").await?;
    Ok(())
}

async fn by_store(store: &MySql, n: usize, envelope: Envelope) -> Done {
    let mut tx = store.begin(&Intent { access: Access::Write, who: "bench".into() }).await?;
    let db = MySql::connection(&mut tx).await?;
    let query = sqlx::query("INSERT INTO row_of_mine VALUES (?, ?)").bind(n as i64).bind("some text");
    query.execute(&mut **db).await?;
    MySql::commit(tx, vec![envelope]).await.map_err(|_| "it did not commit".into())
}

fn say(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let mean = times.iter().sum::<Duration>().as_micros() / times.len().max(1) as u128;
    let median = times.get(times.len() / 2).copied().unwrap_or_default().as_micros();
    println!("{what}: median {median} µs, mean {mean} µs");
}

async fn units_of_work(store: &MySql, db: &mut MySqlConnection) -> Done {
    let (mut hand, mut ours) = (Vec::new(), Vec::new());
    for round in 0..10 {
        for n in 0..200 {
            let n = round * 1_000 + n;
            let (mine, theirs) = (envelope(2 * n), envelope(2 * n + 1));
            let began = Instant::now();
            by_hand(db, 2 * n, &mine).await?;
            hand.push(began.elapsed());
            let began = Instant::now();
            by_store(store, 2 * n + 1, theirs).await?;
            ours.push(began.elapsed());
        }
    }
    say("a row and an event, by hand", hand);
    say("a row and an event, by the store", ours);
    Ok(())
}

async fn fill(store: &MySql, db: &mut MySqlConnection, rows: usize) -> Done {
    db.execute("DELETE FROM factum_outbox").await?;
    let all: Vec<_> = (0..rows).map(|n| envelope(n + 1_000_000)).collect();
    for some in all.chunks(5_000) {
        db.execute("BEGIN").await?;
        store.append(db, some).await?;
        db.execute("COMMIT").await?;
    }
    Ok(())
}

/// Confirms whatever it is given.
struct Yes(tokio::sync::watch::Sender<usize>);

impl EventBus for Yes {
    fn capabilities(&self) -> Capabilities {
        let mut able = Capabilities::none();
        able.fail_stop = true;
        able.ordered = true;
        able
    }

    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let rows = batch.len();
            batch.into_iter().for_each(|publication| publication.confirm.answer(Answer::Confirmed));
            self.0.send_modify(|confirmed| *confirmed += rows);
            Ok(())
        })
    }

    fn subscribe<'a>(&'a self, _: Interest) -> BoxFuture<'a, Result<Box<dyn Deliveries>, BoxError>> {
        Box::pin(async { Err("it only takes".into()) })
    }

    fn close<'a>(&'a self, _: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

async fn relay(store: &MySql, db: &mut MySqlConnection, rows: usize, relays: usize) -> Done {
    fill(store, db, rows).await?;
    store.release("bench").await?;
    let bus = Arc::new(Yes(tokio::sync::watch::Sender::new(0)));
    let mut confirmed = bus.0.subscribe();
    let began = Instant::now();
    let (ends, _) = tokio::sync::broadcast::channel::<()>(1);
    let mut running = Vec::new();
    for _ in 0..relays {
        let relay = Relay::new(Arc::new(store.clone()), bus.clone());
        let mut end = ends.subscribe();
        running.push(tokio::spawn(relay.run(async move {
            let _ = end.recv().await;
        })));
    }
    confirmed.wait_for(|confirmed| *confirmed >= rows).await?;
    println!("{relays} relays: {:.0} rows a second", rows as f64 / began.elapsed().as_secs_f64());
    ends.send(())?;
    for relay in running {
        relay.await??;
    }
    println!("confirmed {} of {rows}", *confirmed.borrow());
    Ok(())
}

async fn drain(store: &MySql, db: &mut MySqlConnection, rows: usize) -> Done {
    fill(store, db, rows).await?;
    let asked = Asked { duration: Duration::from_secs(600), most: 64, give_back: BucketSet::default() };
    let leases = store.lease("bench", asked).await?.leases;
    let (mut above, mut reads, mut settles) = (0, Vec::new(), Vec::new());
    let began = Instant::now();
    loop {
        let read =
            Read { buckets: BucketSet::ALL, above, except: vec![], rows_max: 1_000, bytes_max: 4 << 20 };
        let at = Instant::now();
        let found = store.read(read).await?;
        reads.push(at.elapsed());
        let Some(last) = found.rows.last() else { break };
        above = last.seq;
        let confirmed = found.rows.iter().map(|row| row.seq).collect();
        let at = Instant::now();
        store.settle("bench", &leases, &Settlement { confirmed, ..Settlement::default() }).await?;
        settles.push(at.elapsed());
    }
    println!("read and settled {:.0} rows a second", rows as f64 / began.elapsed().as_secs_f64());
    say("a read of 1,000 rows", reads);
    say("settling them", settles);
    Ok(())
}

#[tokio::main]
async fn main() -> Done {
    let rows = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(50_000);
    let url = std::env::var("FACTUM_MYSQL").unwrap_or("mysql://root@127.0.0.1:3306/test".into());
    let server = MySqlConnectOptions::from_str(&url)?;
    let recreate = format!("DROP DATABASE IF EXISTS {DATABASE}; CREATE DATABASE {DATABASE}");
    let mut db = server.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(recreate)).execute(&mut db).await?;
    let options = Options::with(server.clone().database(DATABASE));
    options.migrate().await?;
    let store = options.connect().await?;
    let mut db = server.database(DATABASE).connect().await?;
    db.execute("CREATE TABLE row_of_mine (n BIGINT PRIMARY KEY, text VARCHAR(100) NOT NULL) ENGINE = InnoDB")
        .await?;
    units_of_work(&store, &mut db).await?;
    drain(&store, &mut db, rows).await?;
    for relays in [1, 4] {
        relay(&store, &mut db, rows, relays).await?;
    }
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {DATABASE}"))).execute(&mut db).await?;
    Ok(())
}
