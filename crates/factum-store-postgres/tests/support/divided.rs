//! A store whose outbox is in partitions, and a relay by hand that reads and settles it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use factum::IntegrationEvent as _;
use factum::port::{Lease, OutboxStore as _, Settlement};
use factum_store_postgres::Postgres;
use sqlx::PgConnection;

use crate::support::{self, Schema, all_above, lease_all, run, scalar};

/// Small ones. The numbers 1 to 1023 are in the first, 1024 to 2047 in the second, and so on.
pub(crate) const ROWS: u64 = 1024;

/// A store whose outbox is divided, and a relay's leases on all of it.
pub(crate) struct Divided {
    pub(crate) schema: Schema,
    pub(crate) store: Postgres,
    pub(crate) leases: Vec<Lease>,
}

impl Divided {
    pub(crate) async fn new(test: &str) -> Option<Self> {
        Some(Self::of(Schema::new(test).await?, ROWS).await)
    }

    pub(crate) async fn of(schema: Schema, rows: u64) -> Self {
        schema.options().partitioned(rows).migrate().await.expect("tables");
        // It finds out by itself.
        let store = schema.options().connect().await.expect("a store");
        let leases = lease_all(&store, "relay").await.leases;
        Self { schema, store, leases }
    }

    /// Confirms all that there is to read, but for some; answers what it was.
    pub(crate) async fn publish_but(&self, not: &[&str]) -> Vec<String> {
        let mut published = Vec::new();
        loop {
            let rows = self.store.read(all_above(0)).await.unwrap().rows;
            let rows = rows.iter().filter(|row| !not.contains(&row.envelope.id.as_str()));
            let (seqs, new): (Vec<_>, Vec<_>) =
                rows.map(|row| (row.seq, row.envelope.id.to_string())).unzip();
            if seqs.is_empty() {
                return published;
            }
            let settlement = Settlement { confirmed: seqs.clone(), ..Settlement::default() };
            let settled = self.store.settle("relay", &self.leases, &settlement).await.unwrap();
            assert_eq!(settled, seqs.len());
            published.extend(new);
        }
    }

    pub(crate) async fn publish(&self) -> Vec<String> {
        self.publish_but(&[]).await
    }

    /// Often enough for anything that can be cleaned up.
    pub(crate) async fn clean_up(&self) {
        for _ in 0..4 {
            self.store.clean_up().await.unwrap();
        }
    }

    /// The bytes of the rows in each partition.
    pub(crate) async fn sizes(&self) -> [i64; 4] {
        let mut db = self.schema.look().await;
        let mut sizes = [0; 4];
        for (n, size) in sizes.iter_mut().enumerate() {
            *size = scalar(&mut db, &format!("SELECT pg_relation_size('factum_outbox_{n}')")).await;
        }
        sizes
    }

    /// Which partitions hold nothing.
    pub(crate) async fn empty(&self) -> [bool; 4] {
        self.sizes().await.map(|size| size == 0)
    }

    pub(crate) async fn begin(&self) -> PgConnection {
        let mut db = self.schema.look().await;
        run(&mut db, "BEGIN").await;
        db
    }
}

/// So many rows in one statement.
pub(crate) async fn fill(db: &mut PgConnection, name: &str, rows: u64) {
    let sql = format!(
        "INSERT INTO factum_outbox (source, id, type, partitionkey, data)
         SELECT '{}', '{name} ' || n, '{}', (n % 50)::text, convert_to('{{\"id\":\"' || n || '\"}}', 'UTF8')
         FROM generate_series(1, {rows}) AS n",
        support::SOURCE,
        support::NoteWrittenV1::TYPE
    );
    run(db, &sql).await;
}
