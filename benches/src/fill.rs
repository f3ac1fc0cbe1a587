//! Rows to drain, put there by plain SQL, which nobody measures: the same payloads for both sides, keys drawn evenly by a
//! hash of the row's number, so that a key comes again sooner or later, as in life.

use crate::place::Store;
use crate::{Outcome, raw};

/// Who announces.
pub(crate) const SOURCE: &str = "https://bench.example/orders";
/// What.
pub(crate) const TYPE: &str = "com.example.bench.orders.order-placed.v1";

/// How rows are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) rows: u64,
    /// Bytes of each payload, at least 60.
    pub(crate) payload: u64,
    pub(crate) keys: u64,
}

/// The table of the raw limit.
pub(crate) async fn create_raw(store: &Store) -> Outcome<()> {
    let table = match store {
        Store::Postgres(_) => raw::postgres::TABLE,
        Store::MySql(_) => raw::mysql::TABLE,
    };
    store.run(table).await
}

/// Empties the raw limit's table and fills it.
pub(crate) async fn raw(store: &Store, rows: Rows) -> Outcome<()> {
    checkpoint(store).await;
    store.run("TRUNCATE TABLE raw_outbox").await?;
    append_raw(store, rows).await?;
    vacuum(store, "raw_outbox").await
}

/// Empties our outbox and fills it.
pub(crate) async fn ours(store: &Store, rows: Rows) -> Outcome<()> {
    checkpoint(store).await;
    store.run("TRUNCATE TABLE factum_outbox").await?;
    append_ours(store, rows).await?;
    vacuum(store, "factum_outbox").await
}

/// More rows for the raw limit.
pub(crate) async fn append_raw(store: &Store, rows: Rows) -> Outcome<()> {
    let Parts { number, key, payload, from, uuid } = parts(store, rows);
    let quoted = match store {
        Store::Postgres(_) => "key",
        Store::MySql(_) => "`key`",
    };
    store
        .run(format!(
            "INSERT INTO raw_outbox (id, topic, {quoted}, payload)
             SELECT {uuid}, 'bench.order-placed', {key}, {payload} FROM {from} ORDER BY {number}"
        ))
        .await
}

/// More rows for ours, with the columns that a unit of work gives a value.
pub(crate) async fn append_ours(store: &Store, rows: Rows) -> Outcome<()> {
    let Parts { number, key, payload, from, uuid } = parts(store, rows);
    let id = match store {
        Store::Postgres(_) => format!("{uuid}::text"),
        Store::MySql(_) => uuid.to_owned(),
    };
    store
        .run(format!(
            "INSERT INTO factum_outbox (source, id, type, partitionkey, correlationid, data)
             SELECT '{SOURCE}', id, '{TYPE}', ordering_key, id, payload FROM (
                 SELECT {number} AS number, {id} AS id, {key} AS ordering_key, {payload} AS payload FROM {from}
             ) AS made ORDER BY number"
        ))
        .await
}

struct Parts {
    number: &'static str,
    key: String,
    payload: String,
    from: String,
    uuid: &'static str,
}

fn parts(store: &Store, Rows { rows, payload, keys }: Rows) -> Parts {
    let text = payload.saturating_sub(2);
    match store {
        Store::Postgres(_) => Parts {
            number: "i",
            key: format!("'key-' || (hashint8(i) & 2147483647) % {keys}"),
            payload: format!(
                "convert_to(rpad('{{\"order\":' || i || ',\"text\":\"', {text}, 'x') || '\"}}', 'UTF8')"
            ),
            from: format!("generate_series(1, {rows}::bigint) AS i"),
            uuid: "gen_random_uuid()",
        },
        Store::MySql(_) => Parts {
            number: "i",
            key: format!("concat('key-', crc32(i) % {keys})"),
            payload: format!("concat(rpad(concat('{{\"order\":', i, ',\"text\":\"'), {text}, 'x'), '\"}}')"),
            from: format!(
                "(WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 999)
                  SELECT 1 + a.n + 1000 * b.n + 1000000 * c.n AS i FROM n AS a
                  JOIN n AS b ON b.n < {b} JOIN n AS c ON c.n < {c}
                  WHERE a.n + 1000 * b.n + 1000000 * c.n < {rows}) AS numbers",
                b = rows.div_ceil(1_000).min(1_000),
                c = rows.div_ceil(1_000_000),
            ),
            uuid: "uuid()",
        },
    }
}

/// What was written before is on the disk, and no checkpoint is due for a while. Before filling and not after: rows of an
/// outbox leave within the checkpoint that they came in, as a rule, and after a new one the log would have whole pages.
async fn checkpoint(store: &Store) {
    if let Store::Postgres(_) = store {
        // Only for those who may.
        let _ = store.run("CHECKPOINT").await;
    }
}

/// What filling leaves to be done is done now, and not while somebody is measured.
async fn vacuum(store: &Store, table: &str) -> Outcome<()> {
    match store {
        Store::Postgres(_) => store.run(format!("VACUUM ANALYZE {table}")).await,
        Store::MySql(_) => store.run(format!("ANALYZE TABLE {table}")).await,
    }
}
