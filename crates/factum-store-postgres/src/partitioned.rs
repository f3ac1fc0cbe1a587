//! An outbox in a ring of partitions: confirmed rows are not deleted one by one, they go with their whole partition.
//!
//! The numbers of `seq` are divided into *chunks* of 1024. A settlement sets the bits of its rows in the row of their
//! chunk, in `{prefix}outbox_settled`. So of every number that was ever drawn it can be said whether it is *settled*:
//!
//! - above the highest chunk that has a row there, none is;
//! - in a chunk that has a row, those whose bit is set are;
//! - in any other chunk, all are: the row of a chunk is removed only once all its bits are set.
//!
//! A bit is set for two reasons: a bus has confirmed the row, or the database has given it up as a dead letter (`settle`);
//! or there is no row with this number and, proven by a look at the locks, nobody may still commit one (`clean`).
//!
//! A partition holds a range of numbers, and again every `COUNT` ranges. It is emptied by `TRUNCATE` once every number
//! that it holds is settled; see `clean` for what is proven, and when. The ring has a place for any number, so no `INSERT`
//! ever fails for want of a partition, and none is made, attached or dropped while anybody works: that would need a lock
//! on the whole table, which every open writer holds off.

mod clean;
mod settle;

use factum::port::Measure;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::error::Error;
use crate::names::Names;
use crate::rows::COLUMNS;
use crate::texts::{Text, Texts};
use crate::{inspect, read, schema};

pub(crate) use clean::clean_up;
pub(crate) use settle::settle;

/// Partitions of a ring: one is written, one is read, one is emptied, and one is a reserve. Every read has to begin in
/// each of them.
const COUNT: i64 = 4;

/// Numbers of a chunk, and the bits of its row.
const CHUNK: i64 = 1024;

/// A chunk with all its bits.
const FULL: &str = "~(0::bit(1024))";

/// What number `o.seq` has to do with a chunk called `k`.
const IN_CHUNK: &str = "o.seq >= k.first AND o.seq <= k.last";

/// Not in a chunk whose row says otherwise.
const IS_LEFT: &str = "(k.bits IS NULL OR get_bit(k.bits, (o.seq & 1023)::integer) = 0)";

/// How the outbox of a database is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partitions {
    rows: i64,
}

impl Partitions {
    /// Whole chunks.
    pub(crate) fn of(rows: u64) -> Self {
        const MOST: u64 = 1 << 40;
        let rows = rows.clamp(1, MOST).next_multiple_of(CHUNK.unsigned_abs());
        Self { rows: rows.cast_signed() }
    }

    /// As the database has it.
    pub(crate) fn found(rows: Option<i64>) -> Option<Self> {
        rows.map(|rows| Self { rows })
    }

    /// Which partition a number is in; as it stands in the partition key, so that the planner knows it again.
    fn slot(self, seq: &str) -> String {
        format!("(({seq} / {}) % {COUNT})", self.rows)
    }

    fn schema(self) -> String {
        let key = self.slot("seq");
        let each: String = (0..COUNT).map(partition).collect();
        let chunks = chunks("");
        format!(
            "ALTER TABLE {{prefix}}outbox RENAME TO {{bare}}outbox_plain;
            ALTER SEQUENCE {{prefix}}outbox_seq_seq RENAME TO {{bare}}outbox_plain_seq;
            CREATE TABLE {{prefix}}outbox (LIKE {{prefix}}outbox_plain INCLUDING ALL EXCLUDING INDEXES)
                PARTITION BY LIST ({key});
            DROP TABLE {{prefix}}outbox_plain;
            {each}
            CREATE TABLE {{prefix}}outbox_settled (chunk bigint PRIMARY KEY, bits bit(1024) NOT NULL)
                WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
            COMMENT ON TABLE {{prefix}}outbox_settled IS 'Which rows of the outbox have left. Leave it alone.';
            INSERT INTO {{prefix}}outbox_settled VALUES (-1, {FULL});
            CREATE TABLE {{prefix}}outbox_closing (
                one boolean PRIMARY KEY DEFAULT true CHECK (one),
                proven bigint NOT NULL DEFAULT 0,
                drawn bigint NOT NULL DEFAULT 0,
                writers text[] NOT NULL DEFAULT '{{}}',
                after bigint NOT NULL DEFAULT -1
            ) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
            INSERT INTO {{prefix}}outbox_closing DEFAULT VALUES;
            CREATE VIEW {{prefix}}outbox_unsettled AS SELECT o.* FROM {chunks} AS k CROSS JOIN LATERAL
                (SELECT o.* FROM {{prefix}}outbox AS o WHERE {IN_CHUNK} AND {IS_LEFT} OFFSET 0) AS o;
            COMMENT ON VIEW {{prefix}}outbox_unsettled IS 'What of the outbox has still to leave.';
            UPDATE {{prefix}}meta SET partition_rows = {};",
            self.rows
        )
    }

    /// Puts texts in the place of those that know an outbox of one table.
    pub(crate) fn instead(names: &Names, texts: &mut Texts) {
        let rows = rows_to_read();
        let fill = |text: &str| Text::from(names.fill(text));
        let read = |look, measure| fill(&read::text_of(&rows, look, measure));
        texts.read = read(false, Measure::Share);
        texts.read_and_look = read(true, Measure::Share);
        texts.read_summed = read(false, Measure::Sum);
        texts.read_summed_and_look = read(true, Measure::Sum);
        texts.backlog = fill(&inspect::BACKLOG.replace("{prefix}outbox", "{prefix}outbox_unsettled"));
        texts.failed = fill(&settle::failed());
        texts.given_up = fill(&settle::given_up());
        texts.put_back = fill(&put_back());
    }
}

fn partition(slot: i64) -> String {
    // A row is written once, and goes with the whole: there is next to nothing to vacuum.
    format!(
        "CREATE TABLE {{prefix}}outbox_{slot} PARTITION OF {{prefix}}outbox (PRIMARY KEY (seq)) FOR VALUES IN ({slot})
            WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
            autovacuum_vacuum_insert_threshold = -1,
            autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);\n"
    )
}

/// Chunks of which something is left, and all that lies above them as one: `first`, `last` and `bits`, if any.
fn chunks(which: &str) -> String {
    format!(
        "(SELECT s.chunk << 10 AS first, (s.chunk << 10) + 1023 AS last, s.bits FROM {{prefix}}outbox_settled AS s
            WHERE {which} s.chunk <= (SELECT last_value >> 10 FROM {{prefix}}outbox_seq_seq) AND s.bits <> {FULL}
          UNION ALL SELECT (max(chunk) + 1) << 10, {}, NULL FROM {{prefix}}outbox_settled
            HAVING (max(chunk) + 1) << 10 <= (SELECT last_value FROM {{prefix}}outbox_seq_seq)
          ORDER BY 1 OFFSET 0)",
        i64::MAX
    )
}

/// Chunk by chunk, and each by the index: what is settled is not walked over, however much of it there is. A sort by chunk
/// and number takes what comes in the order of chunks already, and goes no further than it is asked to.
fn rows_to_read() -> String {
    let (chunks, shown, first) =
        (chunks("s.chunk >= (SELECT $1::bigint) >> 10 AND"), read::SHOWN, read::FIRST);
    format!(
        "(SELECT k.first, n.* FROM {chunks} AS k CROSS JOIN LATERAL
            (SELECT o.*, o.xmin FROM {{prefix}}outbox AS o WHERE {IN_CHUNK} AND {IS_LEFT} AND {shown} {first}) AS n) AS o
         ORDER BY o.first, o.seq LIMIT (SELECT $3::bigint)"
    )
}

/// The number is left again. In a chunk whose row is gone all others are settled.
fn put_back() -> String {
    format!(
        "WITH back AS (
            INSERT INTO {{prefix}}outbox (seq, {COLUMNS}) OVERRIDING SYSTEM VALUE SELECT seq, {COLUMNS}
            FROM {{prefix}}dead_letter WHERE side = ':relay' AND source = $1 AND id = $2 AND state = 'dead' RETURNING seq)
         INSERT INTO {{prefix}}outbox_settled AS s (chunk, bits)
            SELECT seq >> 10, set_bit({FULL}, (seq & 1023)::integer, 0) FROM back
            WHERE seq >> 10 <= (SELECT max(chunk) FROM {{prefix}}outbox_settled)
         ON CONFLICT (chunk) DO UPDATE SET bits = s.bits & excluded.bits"
    )
}

/// What is asked of a partitioned outbox alone.
#[derive(Debug)]
pub(crate) struct Partitioned {
    settling: settle::Texts,
    cleaning: clean::Texts,
}

impl Partitioned {
    pub(crate) fn new(partitions: Partitions, names: &Names) -> Self {
        Self {
            settling: settle::Texts::new(partitions, names),
            cleaning: clean::Texts::new(partitions, names),
        }
    }
}

/// Divides an outbox that was made a moment ago, or makes sure that it is divided so.
pub(crate) async fn make(
    db: &mut PgConnection,
    names: &Names,
    asked: Partitions,
    is_new: bool,
) -> Result<(), Error> {
    let found = names.fill("SELECT partition_rows FROM {prefix}meta");
    let found: Option<i64> =
        sqlx::query_scalar(AssertSqlSafe(found)).persistent(false).fetch_one(&mut *db).await?;
    let tables = || names.to_string();
    match found {
        Some(rows) if rows == asked.rows => Ok(()),
        Some(found) => Err(Error::OtherPartitions { tables: tables(), found, asked: asked.rows }),
        None if is_new => schema::run(db, names, &asked.schema()).await,
        None => Err(Error::NotPartitioned { tables: tables() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_holds_whole_chunks() {
        let rows = |asked| Partitions::of(asked).rows;
        assert_eq!(
            [rows(0), rows(1), rows(1024), rows(1025), rows(1_000_000)],
            [1024, 1024, 1024, 2048, 1_000_448]
        );
        assert_eq!(rows(u64::MAX), 1 << 40);
    }
}
