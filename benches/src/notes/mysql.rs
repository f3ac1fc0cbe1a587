//! Notes on MariaDB or MySQL.

use factum::{BoxError, Loaded, Persist, Version, Written};
use factum_store_mysql::{Connection, MySql};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::{MySqlConnection, MySqlPool, Row as _};

use super::{Note, Notes, TEXT, envelope, payload};
use crate::Outcome;
use crate::fill::TYPE;

impl Persist<MySql> for Note {
    async fn load(id: &i64, db: &mut Connection) -> Result<Option<Loaded<Self>>, BoxError> {
        let sql = "SELECT text, version FROM notes WHERE id = ?";
        let Some(row) = sqlx::query(sql).bind(id).fetch_optional(&mut **db).await? else { return Ok(None) };
        Ok(Some(Loaded::new(Self::loaded(*id, row.try_get(0)?), row.try_get(1)?)))
    }

    async fn insert(&self, db: &mut Connection) -> Result<Written, BoxError> {
        insert(db, self.id, &self.text).await?;
        Ok(Written::Fresh)
    }

    async fn update(&self, version: Version, db: &mut Connection) -> Result<Written, BoxError> {
        let sql = "UPDATE notes SET text = ?, version = version + 1 WHERE id = ? AND version = ?";
        let done = sqlx::query(sql).bind(&self.text).bind(self.id).bind(version).execute(&mut **db).await?;
        Ok(Written::one_row(done.rows_affected()))
    }

    async fn delete(&self, version: Version, db: &mut Connection) -> Result<Written, BoxError> {
        let sql = "DELETE FROM notes WHERE id = ? AND version = ?";
        let done = sqlx::query(sql).bind(self.id).bind(version).execute(&mut **db).await?;
        Ok(Written::one_row(done.rows_affected()))
    }
}

/// Both sides' insert.
async fn insert(db: &mut MySqlConnection, id: i64, text: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO notes VALUES (?, ?, 1)").bind(id).bind(text).execute(db).await.map(drop)
}

/// All columns that a unit of work gives a value; the time is the database's.
const APPEND: &str =
    "INSERT INTO factum_outbox (source, id, type, partitionkey, datacontenttype, correlationid, data)
    VALUES (?, ?, ?, ?, ?, ?, ?)";

impl Notes for MySql {
    type Pool = MySqlPool;

    async fn open(url: &str, connections: u32) -> Outcome<Self> {
        Ok(Self::options(url).connections(connections).connect().await?)
    }

    async fn pool(url: &str, connections: u32) -> Outcome<MySqlPool> {
        let options = MySqlPoolOptions::new().max_connections(connections).min_connections(connections);
        Ok(options.test_before_acquire(false).connect(url).await?)
    }

    async fn by_hand(pool: &MySqlPool, id: i64, announces: bool) -> Outcome<()> {
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

    async fn raw_by_hand(pool: &MySqlPool, id: i64) -> Outcome<()> {
        let mut tx = pool.begin().await?;
        insert(&mut tx, id, TEXT).await?;
        let sql = "INSERT INTO raw_outbox (id, topic, `key`, payload) VALUES (uuid(), ?, ?, ?)";
        sqlx::query(sql).bind(TYPE).bind(id.to_string()).bind(payload(id)).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    async fn append(&self, pool: &MySqlPool, id: i64) -> Outcome<()> {
        let mut tx = pool.begin().await?;
        insert(&mut tx, id, TEXT).await?;
        MySql::append(self, &mut tx, &[envelope(id)]).await?;
        tx.commit().await?;
        self.wake();
        Ok(())
    }

    fn wake_relays(&self) {
        self.wake();
    }
}
