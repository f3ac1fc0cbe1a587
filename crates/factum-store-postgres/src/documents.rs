//! Ready-made persistence: an aggregate's state as JSON, in one table.

use factum::{BoxError, DocumentChange, Documents, Version, Written};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::Postgres;

/// All changes in one statement. One document is changed once in it: who deletes one and puts it back does that in two.
const WRITE_MANY: &str = "WITH
    change (collection, id, expected, body, place) AS MATERIALIZED (
        SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) WITH ORDINALITY),
    gone AS (
        DELETE FROM factum_document AS d USING change AS c
        WHERE c.body IS NULL AND d.collection = c.collection AND d.id = c.id AND d.version = c.expected
        RETURNING c.place),
    changed AS (
        UPDATE factum_document AS d SET body = c.body::json, version = d.version + 1 FROM change AS c
        WHERE c.body IS NOT NULL AND d.collection = c.collection AND d.id = c.id AND d.version = c.expected
        RETURNING c.place),
    fresh AS (
        INSERT INTO factum_document (collection, id, version, body)
        SELECT collection, id, 1, body::json FROM change WHERE expected IS NULL AND body IS NOT NULL
        ORDER BY collection COLLATE \"C\", id COLLATE \"C\"
        ON CONFLICT DO NOTHING RETURNING collection, id)
    SELECT place FROM gone UNION ALL SELECT place FROM changed
    UNION ALL SELECT c.place FROM change AS c JOIN fresh USING (collection, id)";

const INSERT: &str =
    "INSERT INTO factum_document (collection, id, version, body) VALUES ($1, $2, 1, $3::text::json)
    ON CONFLICT DO NOTHING";

const UPDATE: &str = "UPDATE factum_document SET body = $3::text::json, version = version + 1
    WHERE collection = $1 AND id = $2 AND version = $4";

const DELETE: &str = "DELETE FROM factum_document WHERE collection = $1 AND id = $2 AND version = $3";

impl Documents for Postgres {
    async fn get(
        connection: &mut PgConnection,
        collection: &'static str,
        id: &str,
    ) -> Result<Option<(Vec<u8>, Version)>, BoxError> {
        let sql = "SELECT body::text, version FROM factum_document WHERE collection = $1 AND id = $2";
        let row = sqlx::query(sql).bind(collection).bind(id).fetch_optional(connection).await?;
        let found = |row: PgRow| -> Result<_, BoxError> {
            Ok((row.try_get::<String, _>(0)?.into_bytes(), row.try_get(1)?))
        };
        row.map(found).transpose()
    }

    async fn put(
        connection: &mut PgConnection,
        collection: &'static str,
        id: &str,
        expected: Option<Version>,
        document: Vec<u8>,
    ) -> Result<Written, BoxError> {
        let sql = if expected.is_some() { UPDATE } else { INSERT };
        let query = sqlx::query(sql).bind(collection).bind(id).bind(String::from_utf8(document)?);
        let query = if expected.is_some() { query.bind(expected) } else { query };
        Ok(Written::one_row(query.execute(connection).await?.rows_affected()))
    }

    async fn get_many(
        connection: &mut PgConnection,
        collection: &'static str,
        ids: Vec<String>,
    ) -> Result<Vec<(String, Vec<u8>, Version)>, BoxError> {
        let sql =
            "SELECT id, body::text, version FROM factum_document WHERE collection = $1 AND id = ANY ($2)";
        let rows = sqlx::query(sql).bind(collection).bind(ids).fetch_all(connection).await?;
        let found =
            |row: &PgRow| Ok((row.try_get(0)?, row.try_get::<String, _>(1)?.into_bytes(), row.try_get(2)?));
        rows.iter().map(found).collect()
    }

    async fn write_many(
        connection: &mut PgConnection,
        changes: Vec<DocumentChange>,
    ) -> Result<Vec<Written>, BoxError> {
        let mut written = vec![Written::Stale; changes.len()];
        let mut left: Vec<_> = changes.into_iter().enumerate().collect();
        while !left.is_empty() {
            let (now, later) = each_once(left);
            write(connection, now, &mut written).await?;
            left = later;
        }
        Ok(written)
    }

    async fn scan(
        connection: &mut PgConnection,
        collection: &'static str,
        after: &str,
        most: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, BoxError> {
        let sql = "SELECT id, body::text FROM factum_document WHERE collection = $1 AND id > $2 ORDER BY id LIMIT $3";
        let query = sqlx::query(sql).bind(collection).bind(after);
        let rows = query.bind(i64::try_from(most).unwrap_or(i64::MAX)).fetch_all(connection).await?;
        let found = |row: &PgRow| Ok((row.try_get(0)?, row.try_get::<String, _>(1)?.into_bytes()));
        rows.iter().map(found).collect()
    }

    async fn delete(
        connection: &mut PgConnection,
        collection: &'static str,
        id: &str,
        expected: Version,
    ) -> Result<Written, BoxError> {
        let query = sqlx::query(DELETE).bind(collection).bind(id).bind(expected);
        Ok(Written::one_row(query.execute(connection).await?.rows_affected()))
    }
}

type Placed = (usize, DocumentChange);

/// The first change of each document, and what is left. In one order, so that units of work that change the same
/// documents wait for each other in one direction.
fn each_once(changes: Vec<Placed>) -> (Vec<Placed>, Vec<Placed>) {
    let mut seen = std::collections::HashSet::new();
    let (mut now, later): (Vec<_>, Vec<_>) =
        changes.into_iter().partition(|(_, change)| seen.insert((change.collection, change.id.clone())));
    now.sort_unstable_by(|(_, a), (_, b)| (a.collection, &a.id).cmp(&(b.collection, &b.id)));
    (now, later)
}

async fn write(
    connection: &mut PgConnection,
    changes: Vec<Placed>,
    written: &mut [Written],
) -> Result<(), BoxError> {
    let mut places = Vec::with_capacity(changes.len());
    let (mut collections, mut ids, mut expected, mut bodies) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (place, change) in changes {
        places.push(place);
        collections.push(change.collection);
        ids.push(change.id);
        expected.push(change.expected);
        bodies.push(change.document.map(String::from_utf8).transpose()?);
    }
    let query = sqlx::query(WRITE_MANY).bind(collections).bind(ids).bind(expected).bind(bodies);
    for row in query.fetch_all(connection).await? {
        let nth: i64 = row.try_get(0)?;
        let place = usize::try_from(nth - 1).ok().and_then(|nth| places.get(nth));
        if let Some(fresh) = place.and_then(|place| written.get_mut(*place)) {
            *fresh = Written::Fresh;
        }
    }
    Ok(())
}
