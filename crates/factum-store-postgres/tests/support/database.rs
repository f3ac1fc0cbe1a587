//! A database of a test's own, on the server that all share.

use sqlx::Connection as _;

use crate::support::{Schema, run};

/// A database of its own, for what is set for a whole database.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    pub(crate) async fn new(schema: &Schema, settings: &[&str]) -> (Self, String) {
        let name = format!("db_{}", schema.name);
        let mut db = schema.look().await;
        run(&mut db, &format!("DROP DATABASE IF EXISTS {name}")).await;
        run(&mut db, &format!("CREATE DATABASE {name}")).await;
        for setting in settings {
            run(&mut db, &format!("ALTER DATABASE {name} SET {setting}")).await;
        }
        let (server, _) = schema.url.rsplit_once('/').unwrap();
        let url = format!("{server}/{name}");
        (Self { server: schema.url.clone(), name }, url)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (url, name) = (self.server.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut db = sqlx::PgConnection::connect(&url).await.unwrap();
                run(&mut db, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
            });
        });
        let _ = dropping.join();
    }
}
