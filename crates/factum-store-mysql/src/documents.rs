//! Ready-made persistence: an aggregate's state as JSON, in one table.

use std::collections::HashMap;

use factum::{BoxError, DocumentChange, Documents, Version, Written};
use sqlx::Row as _;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use crate::MySql;
use crate::error::{DUPLICATE, number};
use crate::session::Connection;
use crate::texts::{Text, Texts};

pub(crate) const GET: &str = "SELECT body, version FROM {p}document WHERE collection = ? AND id = ?";

pub(crate) const GET_MANY: &str = "SELECT d.id, d.body, d.version
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(512) {bin} PATH '$')) AS wanted
    STRAIGHT_JOIN {p}document AS d WHERE d.collection = ? AND d.id = wanted.id";

pub(crate) const SCAN: &str =
    "SELECT id, body FROM {p}document WHERE collection = ? AND id > ? ORDER BY id LIMIT ?";

pub(crate) const INSERT: &str = "INSERT INTO {p}document (body, collection, id, version) VALUES (?, ?, ?, 1)";

pub(crate) const UPDATE: &str =
    "UPDATE {p}document SET body = ?, version = version + 1 WHERE collection = ? AND id = ? AND version = ?";

pub(crate) const DELETE: &str = "DELETE FROM {p}document WHERE collection = ? AND id = ? AND version = ?";

/// Changes as a table, from one JSON array.
macro_rules! changes {
    () => {
        "JSON_TABLE(?, '$[*]' COLUMNS (collection VARCHAR(64) {bin} PATH '$[0]', id VARCHAR(512) {bin} PATH '$[1]',
            version BIGINT PATH '$[2]', body LONGTEXT {bin} PATH '$[3]')) AS changes"
    };
}

pub(crate) const INSERT_MANY: &str = concat!(
    "INSERT INTO {p}document (collection, id, version, body)
     SELECT changes.collection, changes.id, 1, changes.body FROM ",
    changes!()
);

macro_rules! join {
    () => {
        " STRAIGHT_JOIN {p}document AS d ON d.collection = changes.collection AND d.id = changes.id"
    };
}

pub(crate) const UPDATE_MANY: &str = concat!(
    "UPDATE ",
    changes!(),
    join!(),
    " SET d.body = changes.body, d.version = d.version + 1 WHERE d.version = changes.version"
);

pub(crate) const DELETE_MANY: &str =
    concat!("DELETE d FROM ", changes!(), join!(), " WHERE d.version = changes.version");

/// Those of some changes whose document has the version that they would have given it.
pub(crate) const ADVANCED: &str =
    concat!("SELECT d.collection, d.id FROM ", changes!(), join!(), " WHERE d.version = changes.version + 1");

impl Documents for MySql {
    async fn get(
        connection: &mut Connection,
        collection: &'static str,
        id: &str,
    ) -> Result<Option<(Vec<u8>, Version)>, BoxError> {
        let (texts, db) = connection.parts();
        let row = texts.get.query().bind(collection).bind(id.to_owned()).fetch_optional(db).await?;
        let found = |row: MySqlRow| -> Result<_, BoxError> {
            Ok((row.try_get::<String, _>(0)?.into_bytes(), row.try_get(1)?))
        };
        row.map(found).transpose()
    }

    async fn put(
        connection: &mut Connection,
        collection: &'static str,
        id: &str,
        expected: Option<Version>,
        document: Vec<u8>,
    ) -> Result<Written, BoxError> {
        let (texts, db) = connection.parts();
        let change = DocumentChange { collection, id: id.into(), expected, document: Some(document) };
        Kind::of(&change).write_one(texts, db, change).await
    }

    async fn get_many(
        connection: &mut Connection,
        collection: &'static str,
        ids: Vec<String>,
    ) -> Result<Vec<(String, Vec<u8>, Version)>, BoxError> {
        let (texts, db) = connection.parts();
        let query = texts.get_many.query().bind(serde_json::to_string(&ids)?).bind(collection);
        let found = |row: &MySqlRow| {
            Ok((row.try_get(0)?, row.try_get::<String, _>(1)?.into_bytes(), row.try_get(2)?))
        };
        query.fetch_all(db).await?.iter().map(found).collect()
    }

    /// Changes of one kind go in one statement. No two are of the same document, but for one that is deleted and put
    /// back: so deletes go first, and otherwise the order is free.
    async fn write_many(
        connection: &mut Connection,
        changes: Vec<DocumentChange>,
    ) -> Result<Vec<Written>, BoxError> {
        let (texts, db) = connection.parts();
        let mut all = vec![Written::Stale; changes.len()];
        let mut by_kind = [Kind::Delete, Kind::Insert, Kind::Update].map(|kind| (kind, Vec::new()));
        for (place, change) in changes.into_iter().enumerate() {
            by_kind[Kind::of(&change) as usize].1.push((place, change));
        }
        for (kind, changes) in by_kind {
            kind.write(texts, db, changes, &mut all).await?;
        }
        Ok(all)
    }

    async fn scan(
        connection: &mut Connection,
        collection: &'static str,
        after: &str,
        most: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, BoxError> {
        let (texts, db) = connection.parts();
        let query = texts.scan.query().bind(collection).bind(after.to_owned());
        let rows = query.bind(i64::try_from(most).unwrap_or(i64::MAX)).fetch_all(db).await?;
        let found = |row: &MySqlRow| Ok((row.try_get(0)?, row.try_get::<String, _>(1)?.into_bytes()));
        rows.iter().map(found).collect()
    }

    async fn delete(
        connection: &mut Connection,
        collection: &'static str,
        id: &str,
        expected: Version,
    ) -> Result<Written, BoxError> {
        let (texts, db) = connection.parts();
        let change = DocumentChange { collection, id: id.into(), expected: Some(expected), document: None };
        Kind::Delete.write_one(texts, db, change).await
    }
}

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

    fn one(self, texts: &Texts) -> &Text {
        match self {
            Self::Delete => &texts.delete,
            Self::Insert => &texts.insert,
            Self::Update => &texts.update,
        }
    }

    fn many(self, texts: &Texts) -> &Text {
        match self {
            Self::Delete => &texts.delete_many,
            Self::Insert => &texts.insert_many,
            Self::Update => &texts.update_many,
        }
    }

    /// Writes changes of this kind, and answers for each in its place.
    async fn write(
        self,
        texts: &Texts,
        db: &mut MySqlConnection,
        mut changes: Vec<(usize, DocumentChange)>,
        written: &mut [Written],
    ) -> Result<(), BoxError> {
        if changes.len() < 2 {
            for (place, change) in changes {
                written[place] = self.write_one(texts, db, change).await?;
            }
            return Ok(());
        }
        // In the order of their key, so that no two transactions wait for each other.
        changes.sort_unstable_by(|(_, a), (_, b)| (a.collection, &a.id).cmp(&(b.collection, &b.id)));
        let list = as_json(&changes)?;
        let done = match self.many(texts).query().bind(list.clone()).execute(&mut *db).await {
            Err(error) if self == Self::Insert && number(&error) == Some(DUPLICATE) => None,
            done => Some(done?.rows_affected()),
        };
        if done == Some(changes.len() as u64) {
            changes.iter().for_each(|(place, _)| written[*place] = Written::Fresh);
            return Ok(());
        }
        self.tell(texts, db, changes, list, written).await
    }

    /// Somebody was faster with one of them, at least: which.
    async fn tell(
        self,
        texts: &Texts,
        db: &mut MySqlConnection,
        changes: Vec<(usize, DocumentChange)>,
        list: String,
        written: &mut [Written],
    ) -> Result<(), BoxError> {
        if self == Self::Insert {
            // Nothing of the statement is left.
            for (place, change) in changes {
                written[place] = self.write_one(texts, db, change).await?;
            }
            return Ok(());
        }
        let mut advanced = HashMap::new();
        if self == Self::Update {
            for row in texts.advanced.query().bind(list).fetch_all(db).await? {
                advanced.insert((row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?), ());
            }
        }
        let is_fresh = |change: &DocumentChange| {
            advanced.contains_key(&(change.collection.to_owned(), change.id.clone()))
        };
        // Somebody else may have made the same step with each that was lost; one of them is stale all the same, and one
        // is enough to roll everything back.
        let hidden = changes.iter().all(|(_, change)| is_fresh(change));
        for (place, change) in &changes {
            written[*place] = if !hidden && is_fresh(change) { Written::Fresh } else { Written::Stale };
        }
        Ok(())
    }

    async fn write_one(
        self,
        texts: &Texts,
        db: &mut MySqlConnection,
        change: DocumentChange,
    ) -> Result<Written, BoxError> {
        let DocumentChange { collection, id, expected, document } = change;
        let mut query = self.one(texts).query();
        if let Some(document) = document {
            query = query.bind(String::from_utf8(document)?);
        }
        query = query.bind(collection).bind(id);
        if let Some(version) = expected {
            query = query.bind(version);
        }
        match query.execute(db).await {
            Err(error) if self == Self::Insert && number(&error) == Some(DUPLICATE) => Ok(Written::Stale),
            done => Ok(Written::one_row(done?.rows_affected())),
        }
    }
}

fn as_json(changes: &[(usize, DocumentChange)]) -> Result<String, BoxError> {
    let mut rows = Vec::with_capacity(changes.len());
    for (_, DocumentChange { collection, id, expected, document }) in changes {
        let body = document.as_deref().map(std::str::from_utf8).transpose()?;
        rows.push((collection, id, expected, body));
    }
    Ok(serde_json::to_string(&rows)?)
}
