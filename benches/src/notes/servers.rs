//! Notes on the servers: the same by either way, in two dialects of SQL.

use factum::{BoxError, Loaded, Persist, Version, Written};
use factum_store_mysql::MySql;
use factum_store_postgres::Postgres;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::{MySqlConnection, MySqlPool, PgConnection, PgPool, Row as _};

use super::{Note, Notes, TEXT, envelope, payload};
use crate::Outcome;
use crate::fill::TYPE;

/// `$given` is what a unit of work queries on: the driver's `$db`, or something that derefs to it.
macro_rules! notes_on {
    ($store:ty, $given:ty, $db:ty, $pool:ty, $pool_options:ty, {
        select: $select:literal,
        insert: $insert:literal,
        update: $update:literal,
        delete: $delete:literal,
        append: $append:literal,
        append_raw: $append_raw:literal,
    }) => {
        impl Persist<$store> for Note {
            async fn load(id: &i64, db: &mut $given) -> Result<Option<Loaded<Self>>, BoxError> {
                let db: &mut $db = db;
                let Some(row) = sqlx::query($select).bind(id).fetch_optional(db).await? else {
                    return Ok(None);
                };
                Ok(Some(Loaded::new(Self::loaded(*id, row.try_get(0)?), row.try_get(1)?)))
            }

            async fn insert(&self, db: &mut $given) -> Result<Written, BoxError> {
                let db: &mut $db = db;
                sqlx::query($insert).bind(self.id).bind(&self.text).execute(db).await?;
                Ok(Written::Fresh)
            }

            async fn update(&self, version: Version, db: &mut $given) -> Result<Written, BoxError> {
                let db: &mut $db = db;
                let query = sqlx::query($update).bind(&self.text).bind(self.id).bind(version);
                Ok(Written::one_row(query.execute(db).await?.rows_affected()))
            }

            async fn delete(&self, version: Version, db: &mut $given) -> Result<Written, BoxError> {
                let db: &mut $db = db;
                let query = sqlx::query($delete).bind(self.id).bind(version);
                Ok(Written::one_row(query.execute(db).await?.rows_affected()))
            }
        }

        impl Notes for $store {
            type Pool = $pool;

            async fn open(url: &str, connections: u32) -> Outcome<Self> {
                Ok(Self::options(url).connections(connections).connect().await?)
            }

            async fn pool(url: &str, connections: u32) -> Outcome<$pool> {
                let options =
                    <$pool_options>::new().max_connections(connections).min_connections(connections);
                Ok(options.test_before_acquire(false).connect(url).await?)
            }

            async fn by_hand(pool: &$pool, id: i64, announces: bool) -> Outcome<()> {
                let mut tx = pool.begin().await?;
                sqlx::query($insert).bind(id).bind(TEXT).execute(&mut *tx).await?;
                if announces {
                    // All columns that a unit of work gives a value; the time is the database's.
                    let envelope = envelope(id);
                    sqlx::query($append)
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

            async fn raw_by_hand(pool: &$pool, id: i64) -> Outcome<()> {
                let mut tx = pool.begin().await?;
                sqlx::query($insert).bind(id).bind(TEXT).execute(&mut *tx).await?;
                let append = sqlx::query($append_raw).bind(TYPE).bind(id.to_string()).bind(payload(id));
                append.execute(&mut *tx).await?;
                Ok(tx.commit().await?)
            }

            async fn append(&self, pool: &$pool, id: i64) -> Outcome<()> {
                let mut tx = pool.begin().await?;
                sqlx::query($insert).bind(id).bind(TEXT).execute(&mut *tx).await?;
                <$store>::append(self, &mut tx, &[envelope(id)]).await?;
                tx.commit().await?;
                self.wake();
                Ok(())
            }

            fn wake_relays(&self) {
                self.wake();
            }
        }
    };
}

notes_on!(Postgres, PgConnection, PgConnection, PgPool, PgPoolOptions, {
    select: "SELECT text, version FROM notes WHERE id = $1",
    insert: "INSERT INTO notes VALUES ($1, $2, 1)",
    update: "UPDATE notes SET text = $1, version = version + 1 WHERE id = $2 AND version = $3",
    delete: "DELETE FROM notes WHERE id = $1 AND version = $2",
    append: "INSERT INTO factum_outbox (source, id, type, partitionkey, datacontenttype, correlationid, data)
        VALUES ($1, $2, $3, $4, $5, $6, $7)",
    append_raw: "INSERT INTO raw_outbox (id, topic, key, payload) VALUES (gen_random_uuid(), $1, $2, $3)",
});

notes_on!(MySql, factum_store_mysql::Connection, MySqlConnection, MySqlPool, MySqlPoolOptions, {
    select: "SELECT text, version FROM notes WHERE id = ?",
    insert: "INSERT INTO notes VALUES (?, ?, 1)",
    update: "UPDATE notes SET text = ?, version = version + 1 WHERE id = ? AND version = ?",
    delete: "DELETE FROM notes WHERE id = ? AND version = ?",
    append: "INSERT INTO factum_outbox (source, id, type, partitionkey, datacontenttype, correlationid, data)
        VALUES (?, ?, ?, ?, ?, ?, ?)",
    append_raw: "INSERT INTO raw_outbox (id, topic, `key`, payload) VALUES (uuid(), ?, ?, ?)",
});
