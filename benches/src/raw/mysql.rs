//! The raw limit's table on MariaDB or MySQL, by sqlx: prepared reads, and deletes with the numbers in their text.

use bytes::Bytes;
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, Row as _};

use super::{Headers, PAGE, RawStore, Row};
use crate::Outcome;

/// What a person makes who needs an outbox for one service.
pub(crate) const TABLE: &str = "CREATE TABLE raw_outbox (
    seq bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id char(36) CHARACTER SET ascii NOT NULL,
    topic varchar(255) NOT NULL,
    `key` varchar(255) NOT NULL,
    payload mediumblob NOT NULL,
    created_at timestamp(6) NOT NULL DEFAULT current_timestamp(6)
) ENGINE = InnoDB";

/// A connection.
pub(crate) struct MySql {
    db: MySqlConnection,
    above: i64,
    with_id: bool,
}

impl MySql {
    async fn select(&mut self, above: i64, lock: bool) -> Outcome<Vec<Row>> {
        let id = if self.with_id { ", id" } else { "" };
        let lock = if lock { " FOR UPDATE SKIP LOCKED" } else { "" };
        let sql =
            format!("SELECT seq, payload{id} FROM raw_outbox WHERE seq > ? ORDER BY seq LIMIT {PAGE}{lock}");
        let found = sqlx::query(AssertSqlSafe(sql)).bind(above).fetch_all(&mut self.db).await?;
        let row = |row: &MySqlRow| {
            let id = if self.with_id { Some(row.try_get::<String, _>(2)?) } else { None };
            Ok(Row { seq: row.try_get(0)?, payload: Bytes::copy_from_slice(row.try_get(1)?), id })
        };
        found.iter().map(row).collect()
    }
}

impl RawStore for MySql {
    async fn open(url: &str, headers: Headers) -> Outcome<Self> {
        let mut db = MySqlConnection::connect(url).await?;
        let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
        sqlx::raw_sql(isolation).execute(&mut db).await?;
        Ok(Self { db, above: 0, with_id: headers != Headers::None })
    }

    async fn claim(&mut self) -> Outcome<Vec<Row>> {
        sqlx::raw_sql("BEGIN").execute(&mut self.db).await?;
        let rows = self.select(self.above, true).await?;
        self.above = rows.first().map_or(self.above, |row| row.seq - 1);
        Ok(rows)
    }

    async fn claimed(&mut self, seqs: Vec<i64>) -> Outcome<()> {
        self.delete(seqs).await?;
        sqlx::raw_sql("COMMIT").execute(&mut self.db).await?;
        Ok(())
    }

    async fn read(&mut self, above: i64) -> Outcome<Vec<Row>> {
        self.select(above, false).await
    }

    async fn delete(&mut self, seqs: Vec<i64>) -> Outcome<()> {
        // A row at a time by its key: for a list the planner may walk the table, and wait for what another worker has.
        let sql = format!(
            "DELETE r FROM JSON_TABLE('{seqs:?}', '$[*]' COLUMNS (seq bigint PATH '$')) AS j
             STRAIGHT_JOIN raw_outbox AS r ON r.seq = j.seq"
        );
        let deleted = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.db).await?.rows_affected();
        if deleted == seqs.len() as u64 { Ok(()) } else { Err(format!("deleted {deleted} rows").into()) }
    }
}
