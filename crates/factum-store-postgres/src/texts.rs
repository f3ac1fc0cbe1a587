//! All SQL of the store, made once from constants and checked names: sqlx finds a prepared statement by its text.

use std::sync::Arc;

use factum::port::Measure;
use sqlx::postgres::PgArguments;
use sqlx::{AssertSqlSafe, Postgres};

use crate::names::Names;
use crate::options::Isolation;
use crate::session::{Manners, Path};
use crate::{dead_letters, inbox, inspect, lease, outbox, read, settle};

/// A statement.
pub(crate) type Text = Arc<str>;

/// A query that owns its arguments.
pub(crate) type Query = sqlx::query::Query<'static, Postgres, PgArguments>;

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)+) => {
        /// One field for each statement.
        #[derive(Debug)]
        pub(crate) struct Texts {
            manners: Manners,
            /// Begins a transaction that writes, and marks it.
            pub(crate) begin: Text,
            /// Begins a transaction that reads one snapshot.
            pub(crate) begin_read: Text,
            /// Begins a transaction of the store's own.
            pub(crate) begin_own: Text,
            /// Proves and commits.
            pub(crate) commit_alone: Text,
            $($(#[$doc])* pub(crate) $name: Text,)+
        }

        impl Texts {
            pub(crate) fn new(names: &Names, isolation: Isolation, manners: Manners) -> Self {
                Self {
                    manners,
                    begin: begin(names, level(isolation), MARK, manners),
                    begin_read: begin(names, "REPEATABLE READ READ ONLY", "", manners),
                    begin_own: begin_own(manners),
                    commit_alone: COMMIT_ALONE.into(),
                    $($name: names.fill($text).into(),)+
                }
            }
        }
    };
}

texts! {
    append_one = &outbox::append_one();
    append_many = &outbox::append_many();
    claim = &inbox::claim_text(inbox::UNLESS_DEAD);
    claim_released = &inbox::claim_text(inbox::IF_RELEASED);
    handled = inbox::HANDLED;
    checkpoint = inbox::CHECKPOINT;
    count = inbox::COUNT;
    excuse = inbox::EXCUSE;
    is_kept = dead_letters::IS_KEPT;
    holder = dead_letters::HOLDER;
    put_behind = &dead_letters::put_behind();
    put_dead = &dead_letters::put_dead();
    forget_attempts = dead_letters::FORGET_ATTEMPTS;
    release_next = dead_letters::RELEASE_NEXT;
    remove = dead_letters::REMOVE;
    put_back = &dead_letters::put_back_text();
    release_dead = dead_letters::RELEASE;
    released = &dead_letters::released_text();
    halted = dead_letters::HALTED;
    oldest = &dead_letters::oldest_text();
    generation = dead_letters::GENERATION;
    backlog = inspect::BACKLOG;
    lease = lease::LEASE;
    release_leases = lease::RELEASE;
    clean_up = lease::CLEAN_UP;
    read = &read::text(false, Measure::Share);
    read_and_look = &read::text(true, Measure::Share);
    read_summed = &read::text(false, Measure::Sum);
    read_summed_and_look = &read::text(true, Measure::Sum);
    confirmed = &settle::confirmed(settle::LISTED);
    confirmed_dense = &settle::confirmed(settle::DENSE);
    fence = settle::FENCE;
    gone = settle::GONE;
    failed = settle::FAILED;
    given_up = &settle::given_up();
}

impl Texts {
    /// A query of one of the texts, which hold nothing of the application's but checked names. Behind a pooler nothing
    /// stays prepared.
    pub(crate) fn query(&self, text: &Text) -> Query {
        sqlx::query(AssertSqlSafe(Arc::clone(text))).persistent(!self.manners.pooled)
    }
}

fn level(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "READ COMMITTED",
        Isolation::RepeatableRead => "REPEATABLE READ",
        Isolation::Serializable => "SERIALIZABLE",
    }
}

/// Gone with the transaction: what asks for it at the end knows that it is still the same. Not `SELECT set_config(..)`,
/// which is planned and answers a row: that takes the server as long as all the rest of a `BEGIN` and a `COMMIT`.
const MARK: &str = "; SET LOCAL factum.mark = 'open'";

fn begin(names: &Names, level: &str, mark: &str, manners: Manners) -> Text {
    let path = "nullif(current_setting('search_path'), '')";
    let path = match manners.path {
        Path::AsItIs => String::new(),
        Path::Last => names.fill(&format!(
            "; SELECT set_config('search_path', concat_ws(', ', {path}, '{{schema}}'), true)"
        )),
        Path::First => names.fill(&format!(
            "; SELECT set_config('search_path', concat_ws(', ', '{{schema}}', {path}), true)"
        )),
    };
    let clear = clear(manners);
    format!("BEGIN ISOLATION LEVEL {level}{clear}{mark}{path}").into()
}

/// Where a session is ours it has no just-in-time compilation anyway.
fn begin_own(manners: Manners) -> Text {
    let jit = if manners.pooled { "; SET LOCAL jit = off" } else { "" };
    format!("BEGIN ISOLATION LEVEL READ COMMITTED{}{jit}", clear(manners)).into()
}

/// Behind a pooler the session has statements of others, under the names that sqlx will give to the application's.
fn clear(manners: Manners) -> &'static str {
    if manners.pooled { "; DEALLOCATE ALL" } else { "" }
}

/// What is true of the transaction that was begun, and of no other.
pub(crate) const IS_OPEN: &str = "current_setting('factum.mark', true) = 'open'";

/// In one flight. Where the mark is missing it divides by zero, and what comes after that is not done.
const COMMIT_ALONE: &str =
    "SELECT 1 / coalesce((current_setting('factum.mark', true) = 'open')::integer, 0); COMMIT";
