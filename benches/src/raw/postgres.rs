//! The raw limit's table on PostgreSQL, by tokio-postgres: binary, prepared, statements of one step in one flight.

use bytes::Bytes;
use futures_util::future::join;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

use super::{Headers, PAGE, RawStore, Row};
use crate::Outcome;

/// What a person makes who needs an outbox for one service.
pub(crate) const TABLE: &str = "CREATE TABLE raw_outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    topic text NOT NULL,
    key text NOT NULL,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)";

/// A connection with its statements.
pub(crate) struct Postgres {
    client: Client,
    claim: Statement,
    read: Statement,
    delete: Statement,
    above: i64,
    with_id: bool,
    connection: JoinHandle<()>,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Postgres {
    fn rows(&self, found: &[tokio_postgres::Row]) -> Outcome<Vec<Row>> {
        let row = |row: &tokio_postgres::Row| {
            let id = if self.with_id { Some(row.try_get::<_, String>(2)?) } else { None };
            Ok(Row { seq: row.try_get(0)?, payload: Bytes::copy_from_slice(row.try_get(1)?), id })
        };
        found.iter().map(row).collect()
    }
}

impl RawStore for Postgres {
    async fn open(url: &str, headers: Headers) -> Outcome<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let connection = tokio::spawn(async move {
            // Its error is also the answer to whatever is asked next.
            let _ = connection.await;
        });
        // A delete that is lost in a crash of the database costs repeats, no messages: nobody waits for the disk.
        client.batch_execute("SET synchronous_commit = off").await?;
        let with_id = headers != Headers::None;
        let columns = if with_id { "seq, payload, id::text" } else { "seq, payload" };
        let select = format!("SELECT {columns} FROM raw_outbox WHERE seq > $1 ORDER BY seq LIMIT {PAGE}");
        let claim = client.prepare(&format!("{select} FOR UPDATE SKIP LOCKED")).await?;
        let read = client.prepare(&select).await?;
        let delete = client.prepare("DELETE FROM raw_outbox WHERE seq = ANY($1)").await?;
        Ok(Self { client, claim, read, delete, above: 0, with_id, connection })
    }

    async fn claim(&mut self) -> Outcome<Vec<Row>> {
        let above: [&(dyn ToSql + Sync); 1] = [&self.above];
        let (begun, found) =
            join(self.client.batch_execute("BEGIN"), self.client.query(&self.claim, &above)).await;
        begun?;
        let found = found?;
        let rows = self.rows(&found)?;
        // Nothing of this run comes back below it: a worker that fails ends the run.
        self.above = rows.first().map_or(self.above, |row| row.seq - 1);
        Ok(rows)
    }

    async fn claimed(&mut self, seqs: Vec<i64>) -> Outcome<()> {
        let seqs: [&(dyn ToSql + Sync); 1] = [&seqs];
        let (deleted, committed) =
            join(self.client.execute(&self.delete, &seqs), self.client.batch_execute("COMMIT")).await;
        deleted?;
        Ok(committed?)
    }

    async fn read(&mut self, above: i64) -> Outcome<Vec<Row>> {
        let found = self.client.query(&self.read, &[&above]).await?;
        self.rows(&found)
    }

    async fn delete(&mut self, seqs: Vec<i64>) -> Outcome<()> {
        let n = seqs.len() as u64;
        let deleted = self.client.execute(&self.delete, &[&seqs]).await?;
        if deleted == n { Ok(()) } else { Err(format!("deleted {deleted} rows of {n}").into()) }
    }
}
