//! Ready-made persistence: an aggregate's state as JSON, in one table.

use factum::{BoxError, Documents, Version, Written};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::Sqlite;

impl Documents for Sqlite {
    async fn get(
        connection: &mut SqliteConnection,
        collection: &'static str,
        id: &str,
    ) -> Result<Option<(Vec<u8>, Version)>, BoxError> {
        let sql = "SELECT body, version FROM factum_document WHERE collection = ? AND id = ?";
        let row = sqlx::query(sql).bind(collection).bind(id).fetch_optional(connection).await?;
        let found = |row: SqliteRow| -> Result<_, BoxError> {
            Ok((row.try_get::<String, _>(0)?.into_bytes(), row.try_get(1)?))
        };
        row.map(found).transpose()
    }

    async fn put(
        connection: &mut SqliteConnection,
        collection: &'static str,
        id: &str,
        expected: Option<Version>,
        document: Vec<u8>,
    ) -> Result<Written, BoxError> {
        let document = String::from_utf8(document)?;
        let query = match expected {
            None => sqlx::query(
                "INSERT INTO factum_document (body, collection, id, version) VALUES (?, ?, ?, 1) ON CONFLICT DO NOTHING",
            )
            .bind(document)
            .bind(collection)
            .bind(id),
            Some(version) => sqlx::query(
                "UPDATE factum_document SET body = ?, version = version + 1 WHERE collection = ? AND id = ? AND version = ?",
            )
            .bind(document)
            .bind(collection)
            .bind(id)
            .bind(version),
        };
        Ok(Written::one_row(query.execute(connection).await?.rows_affected()))
    }

    async fn scan(
        connection: &mut SqliteConnection,
        collection: &'static str,
        after: &str,
        most: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, BoxError> {
        let sql = "SELECT id, body FROM factum_document WHERE collection = ? AND id > ? ORDER BY id LIMIT ?";
        let query = sqlx::query(sql).bind(collection).bind(after);
        let rows = query.bind(i64::try_from(most).unwrap_or(i64::MAX)).fetch_all(connection).await?;
        let found = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get::<String, _>(1)?.into_bytes()));
        rows.iter().map(found).collect()
    }

    async fn delete(
        connection: &mut SqliteConnection,
        collection: &'static str,
        id: &str,
        expected: Version,
    ) -> Result<Written, BoxError> {
        let sql = "DELETE FROM factum_document WHERE collection = ? AND id = ? AND version = ?";
        let query = sqlx::query(sql).bind(collection).bind(id).bind(expected);
        Ok(Written::one_row(query.execute(connection).await?.rows_affected()))
    }
}
