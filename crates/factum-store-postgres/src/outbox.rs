//! The outbox as a unit of work sees it: written last, in one statement, whatever the number of envelopes.

use factum::Envelope;
use sqlx::PgConnection;

use crate::Postgres;
use crate::error::Error;
use crate::rows::{COLUMNS, COUNT, Moment, json};
use crate::texts::{IS_OPEN, Query, Texts};

/// Whether the transaction has to be a unit of work's own, `$15`, is asked in the same statement. A role that may only
/// insert can do this: it reads nothing.
pub(crate) fn append_one() -> String {
    let values: Vec<_> = (1..=COUNT).map(|n| format!("${n}")).collect();
    let values = values.join(", ").replace("$13", "$13::jsonb");
    format!("INSERT INTO {{prefix}}outbox ({COLUMNS}) SELECT {values} WHERE {IS_OPEN} OR NOT $15")
}

pub(crate) fn append_many() -> String {
    let columns = COLUMNS.replace("extensions", "extensions::jsonb");
    format!(
        "INSERT INTO {{prefix}}outbox ({COLUMNS}) SELECT {columns} FROM unnest($1::text[], $2::text[], $3::text[],
            $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
            $12::text[], $13::text[], $14::bytea[]) WITH ORDINALITY AS e ({COLUMNS}, place)
         WHERE {IS_OPEN} OR NOT $15 ORDER BY place"
    )
}

/// The statement that appends these, and how many rows it has to write: fewer were written if the transaction is not the
/// one that a unit of work began.
pub(crate) fn append_query(
    texts: &Texts,
    envelopes: &[Envelope],
    marked: bool,
) -> Result<(Query, u64), sqlx::Error> {
    let query = match envelopes {
        [one] => bind_one(texts.query(&texts.append_one), one)?,
        many => bind_many(texts.query(&texts.append_many), many)?,
    };
    Ok((query.bind(marked), u64::try_from(envelopes.len()).unwrap_or(u64::MAX)))
}

fn bind_one(query: Query, envelope: &Envelope) -> Result<Query, sqlx::Error> {
    let query = query
        .bind(envelope.source.to_string())
        .bind(envelope.id.to_string())
        .bind(envelope.r#type.to_string())
        .bind(owned(&envelope.subject))
        .bind(owned(&envelope.partitionkey))
        .bind(Moment::from(envelope.time))
        .bind(envelope.datacontenttype.to_string())
        .bind(owned(&envelope.dataschema))
        .bind(owned(&envelope.correlationid))
        .bind(envelope.causationid.as_ref().map(ToString::to_string))
        .bind(owned(&envelope.traceparent))
        .bind(owned(&envelope.tracestate))
        .bind(json(envelope)?)
        .bind(envelope.data.to_vec());
    Ok(query)
}

fn owned(text: &Option<std::sync::Arc<str>>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

fn bind_many(query: Query, envelopes: &[Envelope]) -> Result<Query, sqlx::Error> {
    fn all<'a, T>(envelopes: &'a [Envelope], of: impl Fn(&'a Envelope) -> T) -> Vec<T> {
        envelopes.iter().map(of).collect()
    }
    let extensions = envelopes.iter().map(json).collect::<Result<Vec<_>, _>>()?;
    let query = query
        .bind(all(envelopes, |envelope| envelope.source.as_str()))
        .bind(all(envelopes, |envelope| envelope.id.as_str()))
        .bind(all(envelopes, |envelope| envelope.r#type.as_ref()))
        .bind(all(envelopes, |envelope| envelope.subject.as_deref()))
        .bind(all(envelopes, |envelope| envelope.partitionkey.as_deref()))
        .bind(all(envelopes, |envelope| Moment::from(envelope.time)))
        .bind(all(envelopes, |envelope| envelope.datacontenttype.as_ref()))
        .bind(all(envelopes, |envelope| envelope.dataschema.as_deref()))
        .bind(all(envelopes, |envelope| envelope.correlationid.as_deref()))
        .bind(all(envelopes, |envelope| envelope.causationid.as_ref().map(factum::EventId::as_str)))
        .bind(all(envelopes, |envelope| envelope.traceparent.as_deref()))
        .bind(all(envelopes, |envelope| envelope.tracestate.as_deref()))
        .bind(extensions)
        .bind(all(envelopes, |envelope| &*envelope.data));
    Ok(query)
}

impl Postgres {
    /// Appends envelopes to the outbox on a connection of your own, in a transaction of your own on the same database, with
    /// no unit of work. Nothing proves that commit: there is no [`Committed`](factum::Committed) for it. Call
    /// [`Postgres::wake`] after it.
    ///
    /// # Errors
    /// PostgreSQL refused, for example because an event with this source and id is there already; the transaction is yours
    /// to roll back.
    pub async fn append(&self, connection: &mut PgConnection, envelopes: &[Envelope]) -> Result<(), Error> {
        if envelopes.is_empty() {
            return Ok(());
        }
        let (query, _) = append_query(&self.shared.texts, envelopes, false)?;
        query.execute(connection).await?;
        Ok(())
    }
}
