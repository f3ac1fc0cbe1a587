//! Ready-made persistence: an aggregate's state as JSON, in one table.

use factum::{BoxError, DocumentChange, Documents, Version, Written};
use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Either, Executor as _, Row as _, SqliteConnection};

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
        let change = DocumentChange { collection, id: id.into(), expected, document: Some(document) };
        one(Self::write_many(connection, vec![change]).await?)
    }

    async fn get_many(
        connection: &mut SqliteConnection,
        collection: &'static str,
        ids: Vec<String>,
    ) -> Result<Vec<(String, Vec<u8>, Version)>, BoxError> {
        let sql = "SELECT id, body, version FROM factum_document
            WHERE collection = ? AND id IN (SELECT value FROM json_each(?))";
        let query = sqlx::query(sql).bind(collection).bind(serde_json::to_string(&ids)?);
        let found = |row: &SqliteRow| {
            Ok((row.try_get(0)?, row.try_get::<String, _>(1)?.into_bytes(), row.try_get(2)?))
        };
        query.fetch_all(connection).await?.iter().map(found).collect()
    }

    /// Changes of one kind go in one trip to sqlx's thread, which is most of what one costs. No two are of the same
    /// document, but for one that is deleted and put back: so deletes go first, and otherwise the order is free.
    async fn write_many(
        connection: &mut SqliteConnection,
        changes: Vec<DocumentChange>,
    ) -> Result<Vec<Written>, BoxError> {
        let mut all = vec![Written::Stale; changes.len()];
        let mut by_kind = [Kind::Delete, Kind::Insert, Kind::Update].map(|kind| (kind, Vec::new()));
        for (place, change) in changes.into_iter().enumerate() {
            by_kind[Kind::of(&change) as usize].1.push((place, change));
        }
        for (kind, mut left) in by_kind {
            while !left.is_empty() {
                // Powers of two, so that a few texts serve every number, and their statements stay prepared.
                let rest = left.split_off(1 << left.len().min(TRIP_MAX).ilog2());
                kind.write(connection, left, &mut all).await?;
                left = rest;
            }
        }
        Ok(all)
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
        let change = DocumentChange { collection, id: id.into(), expected: Some(expected), document: None };
        one(Self::write_many(connection, vec![change]).await?)
    }
}

fn one(written: Vec<Written>) -> Result<Written, BoxError> {
    written.first().copied().ok_or_else(|| sqlx::Error::WorkerCrashed.into())
}

/// Statements in one trip; a power of two.
const TRIP_MAX: usize = 64;

/// What a change does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Delete,
    Insert,
    Update,
}

impl Kind {
    fn of(change: &DocumentChange) -> Self {
        match (&change.document, change.expected) {
            (None, _) => Self::Delete,
            (Some(_), None) => Self::Insert,
            (Some(_), Some(_)) => Self::Update,
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Insert => {
                "INSERT INTO factum_document (body, collection, id, version) VALUES (?, ?, ?, 1) ON CONFLICT DO NOTHING;"
            }
            Self::Update => {
                "UPDATE factum_document SET body = ?, version = version + 1 WHERE collection = ? AND id = ? AND version = ?;"
            }
            Self::Delete => "DELETE FROM factum_document WHERE collection = ? AND id = ? AND version = ?;",
        }
    }

    /// One statement for each change, in one trip.
    async fn write(
        self,
        connection: &mut SqliteConnection,
        changes: Vec<(usize, DocumentChange)>,
        written: &mut [Written],
    ) -> Result<(), BoxError> {
        let mut places = changes.iter().map(|(place, _)| *place).collect::<Vec<_>>().into_iter();
        // The text is a constant, repeated: nothing of the application's is in it.
        let mut query = sqlx::query(AssertSqlSafe(self.sql().repeat(changes.len())));
        for (_, DocumentChange { collection, id, expected, document }) in changes {
            if let Some(document) = document {
                query = query.bind(String::from_utf8(document)?);
            }
            query = query.bind(collection).bind(id);
            if let Some(version) = expected {
                query = query.bind(version);
            }
        }
        let mut answers = connection.fetch_many(query);
        while let Some(answer) = answers.try_next().await? {
            if let (Either::Left(done), Some(place)) = (answer, places.next()) {
                written[place] = Written::one_row(done.rows_affected());
            }
        }
        // If sqlx's thread dies half-way, the answers just end.
        if places.next().is_none() { Ok(()) } else { Err(sqlx::Error::WorkerCrashed.into()) }
    }
}
