//! factum's store on PostgreSQL.
