//! All our SQL, with the prefix of the tables in it: made once, when a store connects. sqlx finds a prepared statement
//! by its text.

use std::sync::{Arc, OnceLock};

use sqlx::mysql::{MySql, MySqlArguments};
use sqlx::query::{Query, QueryScalar};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::prefix::Prefix;
use crate::server::Make;
use crate::{dead_letters, documents, inbox, inspect, lease, outbox, settle};

/// A query that owns its arguments.
pub(crate) type Ours = Query<'static, MySql, MySqlArguments>;

/// One statement. Nothing of the application's is in it but the checked prefix.
#[derive(Clone, Debug)]
pub(crate) struct Text(Arc<str>);

impl Text {
    fn new(sql: &str, prefix: &Prefix, make: Make) -> Self {
        let bin = format!("CHARACTER SET utf8mb4 COLLATE {}", make.collation());
        Self(prefix.sql(sql).replace("{bin}", &bin).into())
    }

    fn sql(&self) -> SqlStr {
        AssertSqlSafe(Arc::clone(&self.0)).into_sql_str()
    }

    pub(crate) fn query(&self) -> Ours {
        sqlx::query(self.sql())
    }

    pub(crate) fn query_with(&self, arguments: MySqlArguments) -> Ours {
        sqlx::query_with(self.sql(), arguments)
    }

    pub(crate) fn scalar<T>(&self) -> QueryScalar<'static, MySql, T, MySqlArguments>
    where
        (T,): for<'r> sqlx::FromRow<'r, sqlx::mysql::MySqlRow>,
    {
        sqlx::query_scalar(self.sql())
    }
}

macro_rules! texts {
    ($($name:ident: $sql:expr,)*) => {
        /// See the module.
        #[derive(Debug)]
        pub(crate) struct Texts {
            $(pub(crate) $name: Text,)*
            pub(crate) append: ByRows,
            pub(crate) prefix: Prefix,
        }

        impl Texts {
            pub(crate) fn new(prefix: &Prefix, make: Make) -> Self {
                Self {
                    $($name: Text::new($sql, prefix, make),)*
                    append: ByRows::new(prefix.clone(), make),
                    prefix: prefix.clone(),
                }
            }
        }
    };
}

texts! {
    read: &outbox::read_text(),
    read_summed: outbox::READ_SUMMED,
    barrier: outbox::BARRIER,
    renew: lease::RENEW,
    arrive: lease::ARRIVE,
    take: lease::TAKE,
    leases: lease::LEASES,
    let_go: lease::LET_GO,
    leave: lease::LEAVE,
    forget_dead: lease::FORGET_DEAD,
    fence: settle::FENCE,
    hold: settle::HOLD,
    confirmed_alone: settle::CONFIRMED_ALONE,
    confirmed: settle::CONFIRMED,
    failed: settle::FAILED,
    given_up: settle::GIVEN_UP,
    claim: inbox::CLAIM,
    claim_released: inbox::CLAIM_RELEASED,
    claimed: inbox::CLAIMED,
    forget_attempts: inbox::FORGET_ATTEMPTS,
    is_handled: inbox::IS_HANDLED,
    checkpoint: inbox::CHECKPOINT,
    count: inbox::COUNT,
    excuse: inbox::EXCUSE,
    counted: inbox::COUNTED,
    put_behind: dead_letters::PUT_BEHIND,
    put_dead: dead_letters::PUT_DEAD,
    is_kept: dead_letters::IS_KEPT,
    forget_attempt: dead_letters::FORGET_ATTEMPT,
    next: dead_letters::NEXT,
    release_next: dead_letters::RELEASE_NEXT,
    find: dead_letters::FIND,
    remove: dead_letters::REMOVE,
    put_back: dead_letters::PUT_BACK,
    release: dead_letters::RELEASE,
    released: dead_letters::RELEASED,
    halted: dead_letters::HALTED,
    oldest: dead_letters::OLDEST,
    turn_over: inspect::TURN_OVER,
    backlog: inspect::BACKLOG,
    get: documents::GET,
    get_many: documents::GET_MANY,
    scan: documents::SCAN,
    insert: documents::INSERT,
    update: documents::UPDATE,
    delete: documents::DELETE,
    insert_many: documents::INSERT_MANY,
    update_many: documents::UPDATE_MANY,
    delete_many: documents::DELETE_MANY,
    advanced: documents::ADVANCED,
}

/// Up to so many rows a text of its own is kept, and its statement stays prepared.
pub(crate) const KEPT: usize = 64;

/// The text that appends, for each number of rows.
#[derive(Debug)]
pub(crate) struct ByRows {
    prefix: Prefix,
    make: Make,
    kept: [OnceLock<Text>; KEPT + 1],
}

impl ByRows {
    fn new(prefix: Prefix, make: Make) -> Self {
        Self { prefix, make, kept: std::array::from_fn(|_| OnceLock::new()) }
    }

    /// The query for so many rows, [`KEPT`] at most; beyond that its statement is prepared each time.
    pub(crate) fn query(&self, rows: usize, arguments: MySqlArguments) -> Ours {
        let make = || Text::new(&outbox::append_text(rows), &self.prefix, self.make);
        match self.kept.get(rows) {
            Some(kept) => kept.get_or_init(make).query_with(arguments),
            None => make().query_with(arguments).persistent(false),
        }
    }
}

/// `(?,?),(?,?)`
pub(crate) fn rows_of(rows: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    vec![row; rows].join(",")
}
