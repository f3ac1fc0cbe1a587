//! Notes on PostgreSQL.

use factum::{BoxError, Loaded, Persist, Version, Written};
use factum_store_postgres::Postgres;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, PgPool, Row as _};

use super::{Note, Notes, TEXT, envelope, payload};
use crate::Outcome;
use crate::fill::TYPE;

impl Persist<Postgres> for Note {
    async fn load(id: &i64, db: &mut PgConnection) -> Result<Option<Loaded<Self>>, BoxError> {
        let sql = "SELECT text, version FROM notes WHERE id = $1";
        let Some(row) = sqlx::query(sql).bind(id).fetch_optional(db).await? else { return Ok(None) };
        Ok(Some(Loaded::new(Self::loaded(*id, row.try_get(0)?), row.try_get(1)?)))
    }

    async fn insert(&self, db: &mut PgConnection) -> Result<Written, BoxError> {
        insert(db, self.id, &self.text).await?;
        Ok(Written::Fresh)
    }

    async fn update(&self, version: Version, db: &mut PgConnection) -> Result<Written, BoxError> {
        let sql = "UPDATE notes SET text = $1, version = version + 1 WHERE id = $2 AND version = $3";
        let done = sqlx::query(sql).bind(&self.text).bind(self.id).bind(version).execute(db).await?;
        Ok(Written::one_row(done.rows_affected()))
    }

    async fn delete(&self, version: Version, db: &mut PgConnection) -> Result<Written, BoxError> {
        let sql = "DELETE FROM notes WHERE id = $1 AND version = $2";
        let done = sqlx::query(sql).bind(self.id).bind(version).execute(db).await?;
        Ok(Written::one_row(done.rows_affected()))
    }
}

/// Both sides' insert.
async fn insert(db: &mut PgConnection, id: i64, text: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO notes VALUES ($1, $2, 1)").bind(id).bind(text).execute(db).await.map(drop)
}

/// All columns that a unit of work gives a value; the time is the database's.
const APPEND: &str =
    "INSERT INTO factum_outbox (source, id, type, partitionkey, datacontenttype, correlationid, data)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

impl Notes for Postgres {
    type Pool = PgPool;

    async fn open(url: &str, connections: u32) -> Outcome<Self> {
        Ok(Self::options(url).connections(connections).connect().await?)
    }

    async fn pool(url: &str, connections: u32) -> Outcome<PgPool> {
        let options = PgPoolOptions::new().max_connections(connections).min_connections(connections);
        Ok(options.test_before_acquire(false).connect(url).await?)
    }

    async fn by_hand(pool: &PgPool, id: i64, announces: bool) -> Outcome<()> {
        let mut tx = pool.begin().await?;
        insert(&mut tx, id, TEXT).await?;
        if announces {
            let envelope = envelope(id);
            sqlx::query(APPEND)
                .bind(envelope.source.as_str())
                .bind(envelope.id.as_str())
                .bind(&*envelope.r#type)
                .bind(envelope.partitionkey.as_deref())
                .bind(&*envelope.datacontenttype)
                .bind(envelope.correlationid.as_deref())
                .bind(&*envelope.data)
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }

    async fn raw_by_hand(pool: &PgPool, id: i64) -> Outcome<()> {
        let mut tx = pool.begin().await?;
        insert(&mut tx, id, TEXT).await?;
        let sql = "INSERT INTO raw_outbox (id, topic, key, payload) VALUES (gen_random_uuid(), $1, $2, $3)";
        sqlx::query(sql).bind(TYPE).bind(id.to_string()).bind(payload(id)).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    async fn append(&self, pool: &PgPool, id: i64) -> Outcome<()> {
        let mut tx = pool.begin().await?;
        insert(&mut tx, id, TEXT).await?;
        Postgres::append(self, &mut tx, &[envelope(id)]).await?;
        tx.commit().await?;
        self.wake();
        Ok(())
    }

    fn wake_relays(&self) {
        self.wake();
    }
}
