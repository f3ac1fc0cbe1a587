//! SQL texts that depend on a number of rows, made once: sqlx finds a prepared statement by its text.

use std::sync::{Arc, OnceLock};

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteArguments;

use crate::session::Query;

/// Up to so many rows a text is kept, and its statement stays prepared. A unit of work asks for no more; who appends
/// more in a transaction of his own has them prepared each time.
pub(crate) const KEPT: usize = 64;

/// A text for each number of rows.
#[derive(Debug)]
pub(crate) struct ByRows {
    make: fn(usize) -> String,
    kept: [OnceLock<Arc<str>>; KEPT + 1],
}

impl ByRows {
    pub(crate) fn new(make: fn(usize) -> String) -> Self {
        Self { make, kept: std::array::from_fn(|_| OnceLock::new()) }
    }

    /// The query for so many rows. Its text is made by [`new`](Self::new)'s function from a number alone: nothing of
    /// the application's is in it.
    pub(crate) fn query(&self, rows: usize, arguments: SqliteArguments) -> Query {
        match self.kept.get(rows) {
            Some(kept) => {
                let text = kept.get_or_init(|| (self.make)(rows).into());
                sqlx::query_with(AssertSqlSafe(Arc::clone(text)), arguments)
            }
            None => sqlx::query_with(AssertSqlSafe((self.make)(rows)), arguments).persistent(false),
        }
    }
}

/// `(?, ?), (?, ?)`
pub(crate) fn rows_of(rows: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    vec![row; rows].join(",")
}
