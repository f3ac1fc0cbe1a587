//! A commit proves itself: whatever errors handlers swallow, and whatever they say to the connection, either all of a
//! unit of work is in the tables or nothing is, and `Ok` means all.

mod support;

use factum::{Dispatcher, Outcome, Sort, UnitOfWork};
use factum_conformance::store::notes::Notes as _;
use factum_store_mysql::{Error, MySql};
use sqlx::Connection as _;
use support::{Database, Note, NoteWritten, announce, assert_works, insert, work};

/// Saves one note whose handlers do what they should not.
async fn save(database: &Database, dispatcher: Dispatcher<MySql>) -> Result<(), factum::Error> {
    let store = database.store().await;
    let work = work(&store, dispatcher);
    let mut uow = work.begin().await.unwrap();
    uow.add(Note::written("first", "well"));
    uow.save_changes().await.map(drop)
}

/// Nothing of it may remain, and the store goes on.
async fn assert_ended(database: &Database, dispatcher: Dispatcher<MySql>) {
    let error = save(database, dispatcher).await.expect_err("the transaction was ended");
    assert_eq!(database.counts().await, (0, 0), "something of it remains");
    let factum::Error::Store(source) = &error else { panic!("{error}") };
    assert!(matches!(source.downcast_ref(), Some(Error::Ended(_))), "{error}");
    assert_eq!(error.sort::<MySql>(), Sort::Permanent, "{error}");
    let work = work(&database.store().await, Dispatcher::new());
    assert_works(database, &work, "afterwards").await;
}

/// Deadlocks, as its victim, and swallows that.
struct Careless(Database);

impl factum::Handler<NoteWritten, MySql> for Careless {
    async fn handle(&self, _: &NoteWritten, uow: &mut UnitOfWork<MySql>) -> Outcome {
        self.0.deadlock(uow.connection().await?).await;
        Ok(())
    }
}

async fn write_on(_: &NoteWritten, uow: &mut UnitOfWork<MySql>) -> Outcome {
    let error = insert(uow.connection().await?, "second", "well").await.expect_err("the server refuses");
    assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("XAE07"));
    Ok(())
}

#[tokio::test]
async fn f_07_a_swallowed_deadlock_leaves_nothing() {
    let Some(database) = Database::or_skip("f_07_a_swallowed_deadlock_leaves_nothing") else { return };
    let dispatcher = Dispatcher::new().on::<NoteWritten>(Careless(database.again()));
    assert_ended(&database, dispatcher).await;
}

#[tokio::test]
async fn what_is_written_after_a_swallowed_deadlock_is_refused() {
    let name = "what_is_written_after_a_swallowed_deadlock_is_refused";
    let Some(database) = Database::or_skip(name) else { return };
    let dispatcher = Dispatcher::new().on::<NoteWritten>(Careless(database.again()));
    assert_ended(&database, dispatcher.on::<NoteWritten>(write_on).on::<NoteWritten>(announce)).await;
}

/// What a handler says to the connection, one after the other, and whether the server lets it.
const REFUSED: [&str; 12] = [
    "COMMIT",
    "ROLLBACK",
    "BEGIN",
    "START TRANSACTION",
    "ROLLBACK; BEGIN; INSERT INTO notes VALUES ('of its own', 'well', 1)",
    "CREATE TABLE surprise (x INT)",
    "ALTER TABLE notes ADD COLUMN surprise INT",
    "TRUNCATE TABLE notes",
    "LOCK TABLES notes WRITE",
    "XA START 'another'",
    "XA COMMIT 'another' ONE PHASE",
    "DROP TABLE notes",
];

async fn say_all(_: &NoteWritten, uow: &mut UnitOfWork<MySql>) -> Outcome {
    for sql in REFUSED {
        let said = sqlx::raw_sql(sql).execute(&mut **uow.connection().await?).await;
        said.expect_err(sql);
    }
    sqlx::raw_sql("SET autocommit = 1; SET autocommit = 0").execute(&mut **uow.connection().await?).await?;
    Ok(())
}

async fn fail(_: &NoteWritten, _: &mut UnitOfWork<MySql>) -> Outcome {
    Err("no".into())
}

#[tokio::test]
async fn the_server_refuses_whatever_would_commit_half() {
    let Some(database) = Database::or_skip("the_server_refuses_whatever_would_commit_half") else { return };
    let saying = || Dispatcher::new().on::<NoteWritten>(say_all);
    save(&database, saying().on::<NoteWritten>(announce).on::<NoteWritten>(fail)).await.unwrap_err();
    assert_eq!(database.counts().await, (0, 0));
    save(&database, saying().on::<NoteWritten>(announce)).await.unwrap();
    assert_eq!(database.counts().await, (1, 1));
}

/// Puts a connection of its own in the place of the unit of work's.
struct Swap(Database);

impl factum::Handler<NoteWritten, MySql> for Swap {
    async fn handle(&self, _: &NoteWritten, uow: &mut UnitOfWork<MySql>) -> Outcome {
        let mut other = self.0.look().await;
        sqlx::raw_sql("XA START 'mine'").execute(&mut other).await?;
        std::mem::swap(&mut other, &mut **uow.connection().await?);
        Ok(())
    }
}

#[tokio::test]
async fn a_commit_on_another_connection_is_none() {
    let Some(database) = Database::or_skip("a_commit_on_another_connection_is_none") else { return };
    let error =
        save(&database, Dispatcher::new().on::<NoteWritten>(Swap(database.again()))).await.unwrap_err();
    assert!(error.to_string().contains("ended"), "{error}");
    assert_eq!(database.counts().await, (0, 0));
    database.assert_nobody_writes().await;
}

async fn nest(_: &NoteWritten, uow: &mut UnitOfWork<MySql>) -> Outcome {
    let db = uow.connection().await?;
    let mut kept = db.begin().await?;
    insert(&mut kept, "kept", "well").await?;
    kept.commit().await?;
    let mut undone = db.begin().await?;
    insert(&mut undone, "undone", "well").await?;
    undone.rollback().await?;
    let mut dropped = db.begin().await?;
    insert(&mut dropped, "dropped", "well").await?;
    drop(dropped);
    std::mem::forget(db.begin().await?);
    Ok(())
}

#[tokio::test]
async fn transactions_nested_by_sqlx_are_savepoints() {
    let Some(database) = Database::or_skip("transactions_nested_by_sqlx_are_savepoints") else { return };
    let store = database.store_with(|options| options.connections(1)).await;
    let work = work(&store, Dispatcher::new().on::<NoteWritten>(nest).on::<NoteWritten>(announce));
    for n in 0..3 {
        let mut uow = work.begin().await.unwrap();
        uow.add(Note::written(&format!("first {n}"), "well"));
        let _ = uow.save_changes().await.unwrap();
        assert_eq!(database.counts().await, (2, n + 1));
        database.run("DELETE FROM notes").await;
    }
}

#[tokio::test]
async fn a_reader_cannot_be_talked_into_writing() {
    let Some(database) = Database::or_skip("a_reader_cannot_be_talked_into_writing") else { return };
    let work = work(&database.store().await, Dispatcher::new());
    let mut uow = work.read().await.unwrap();
    let db = uow.connection().await.unwrap();
    for sql in ["COMMIT", "SET TRANSACTION READ WRITE", "START TRANSACTION READ WRITE"] {
        let _ = sqlx::raw_sql(sql).execute(&mut **db).await;
        insert(db, "first", "well").await.unwrap_err();
    }
    assert_eq!(database.counts().await, (0, 0));
}

#[tokio::test]
async fn an_outbox_that_is_refused_rolls_everything_back() {
    let Some(database) = Database::or_skip("an_outbox_that_is_refused_rolls_everything_back") else { return };
    let store = database.store().await;
    let long = format!("https://tests.example/{}", "x".repeat(255));
    let work = factum::Work::new(long, store.clone(), Dispatcher::new().on::<NoteWritten>(announce));
    let mut uow = work.begin().await.unwrap();
    uow.add(Note::written("first", "well"));
    let error = uow.save_changes().await.unwrap_err();
    assert!(error.to_string().contains("source has 277 characters, and 255 at most"), "{error}");
    assert_eq!(database.counts().await, (0, 0));
    assert_works(&database, &support::work(&store, Dispatcher::new()), "afterwards").await;
}
