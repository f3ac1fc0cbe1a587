//! A commit proves itself: whatever errors handlers swallow, and whatever they say to the connection, either all of a
//! unit of work is in the file or nothing is, and `Ok` means all.

mod support;

use factum::{Dispatcher, Outcome, Sort, UnitOfWork};
use factum_store_sqlite::{Error, Sqlite};
use sqlx::Connection as _;
use support::{File, Note, NoteWritten, announce, assert_works, insert, work};

/// Saves one note whose handlers do what they should not, and answers the error.
async fn save(file: &File, dispatcher: Dispatcher<Sqlite>) -> factum::Error {
    let store = file.store().await;
    let work = work(&store, dispatcher);
    let mut uow = work.begin().await.unwrap();
    uow.add(Note::written("first", "well"));
    let error = uow.save_changes().await.expect_err("the transaction was ended");
    assert_eq!(file.counts().await, (0, 0), "something of it remains");
    assert_works(file, &support::work(&store, Dispatcher::new()), "afterwards").await;
    error
}

fn is_ended(error: &factum::Error) -> bool {
    let factum::Error::Store(source) = error else { return false };
    matches!(source.downcast_ref(), Some(Error::Ended)) && error.sort::<Sqlite>() == Sort::Permanent
}

async fn swallow(_: &NoteWritten, uow: &mut UnitOfWork<Sqlite>) -> Outcome {
    let db = uow.connection().await?;
    insert(db, "second", "bad").await.expect_err("the trigger refuses");
    Ok(())
}

/// After `swallow` every statement would commit by itself.
async fn write_on(_: &NoteWritten, uow: &mut UnitOfWork<Sqlite>) -> Outcome {
    let db = uow.connection().await?;
    insert(db, "third", "well").await.expect_err("no commit but the unit of work's own may pass");
    Ok(())
}

#[tokio::test]
async fn a_swallowed_error_that_rolled_back_leaves_nothing() {
    let file = File::new();
    let error = save(&file, Dispatcher::new().on::<NoteWritten>(swallow).on::<NoteWritten>(announce)).await;
    assert!(is_ended(&error), "{error}");
}

#[tokio::test]
async fn what_is_written_after_a_swallowed_error_is_not_committed() {
    let file = File::new();
    let dispatcher = Dispatcher::new().on::<NoteWritten>(swallow).on::<NoteWritten>(write_on);
    let error = save(&file, dispatcher.on::<NoteWritten>(announce)).await;
    assert!(is_ended(&error), "{error}");
}

macro_rules! says {
    ($name:ident, $sql:literal) => {
        async fn $name(_: &NoteWritten, uow: &mut UnitOfWork<Sqlite>) -> Outcome {
            let _ = sqlx::raw_sql($sql).execute(uow.connection().await?).await;
            Ok(())
        }
    };
}
says!(rollback, "ROLLBACK");
says!(rollback_begin, "ROLLBACK; BEGIN IMMEDIATE; INSERT INTO notes VALUES ('of its own', 'well', 1)");
says!(
    rollback_begin_savepoint,
    "ROLLBACK; BEGIN IMMEDIATE; SAVEPOINT a; INSERT INTO notes VALUES ('x', 'well', 1)"
);
says!(commit, "COMMIT");

#[tokio::test]
async fn a_rollback_by_a_handler_is_no_commit() {
    let file = File::new();
    assert!(is_ended(&save(&file, Dispatcher::new().on::<NoteWritten>(rollback)).await));
    let file = File::new();
    let error = save(&file, Dispatcher::new().on::<NoteWritten>(announce).on::<NoteWritten>(rollback)).await;
    assert!(is_ended(&error));
}

#[tokio::test]
async fn a_transaction_of_a_handlers_own_is_not_the_unit_of_works() {
    for dispatcher in [
        Dispatcher::new().on::<NoteWritten>(rollback_begin),
        Dispatcher::new().on::<NoteWritten>(rollback_begin_savepoint),
    ] {
        let file = File::new();
        assert!(is_ended(&save(&file, dispatcher.on::<NoteWritten>(announce)).await));
    }
}

#[tokio::test]
async fn a_commit_by_a_handler_commits_nothing() {
    let file = File::new();
    assert!(is_ended(&save(&file, Dispatcher::new().on::<NoteWritten>(commit)).await));
}

async fn change_the_hooks(_: &NoteWritten, uow: &mut UnitOfWork<Sqlite>) -> Outcome {
    uow.connection().await?.lock_handle().await?.set_commit_hook(|| true);
    Ok(())
}

#[tokio::test]
async fn a_commit_that_went_past_the_hooks_is_not_vouched_for() {
    let file = File::new();
    let store = file.store().await;
    let careless = work(&store, Dispatcher::new().on::<NoteWritten>(change_the_hooks));
    let mut uow = careless.begin().await.unwrap();
    uow.add(Note::written("first", "well"));
    let error = uow.save_changes().await.unwrap_err();
    assert_eq!(error.sort::<Sqlite>(), Sort::OutcomeUnknown);
    assert_works(&file, &work(&store, Dispatcher::new()), "afterwards").await;
}

async fn fill_the_disk(_: &NoteWritten, uow: &mut UnitOfWork<Sqlite>) -> Outcome {
    let db = uow.connection().await?;
    sqlx::raw_sql("PRAGMA max_page_count = 1").execute(&mut *db).await?;
    let error = insert(db, "big", &"x".repeat(4 << 20)).await.expect_err("the disk is full");
    assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("13"));
    sqlx::raw_sql("PRAGMA max_page_count = 1000000000").execute(&mut *db).await?;
    let _ = insert(db, "fourth", "well").await;
    Ok(())
}

#[tokio::test]
async fn a_swallowed_full_disk_leaves_all_or_nothing() {
    let file = File::new();
    let store = file.store().await;
    let work = work(&store, Dispatcher::new().on::<NoteWritten>(fill_the_disk).on::<NoteWritten>(announce));
    let mut uow = work.begin().await.unwrap();
    uow.add(Note::written("first", "well"));
    // SQLite may end the transaction when the disk is full, or undo the statement alone.
    match uow.save_changes().await {
        Ok(_) => assert_eq!(file.counts().await, (2, 1)),
        Err(error) => {
            assert!(is_ended(&error), "{error}");
            assert_eq!(file.counts().await, (0, 0));
        }
    }
    assert_works(&file, &support::work(&store, Dispatcher::new()), "afterwards").await;
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_outbox_rolls_everything_back() {
    let file = File::new();
    let store = file.store().await;
    let work = work(&store, Dispatcher::new());
    let mut uow = work.begin().await.unwrap();
    insert(uow.connection().await.unwrap(), "first", "well").await.unwrap();
    sqlx::raw_sql("PRAGMA max_page_count = 1").execute(uow.connection().await.unwrap()).await.unwrap();
    for n in 0..500 {
        uow.announce(&support::NoteWrittenV1 { id: format!("{n}{}", "x".repeat(400)) }).unwrap();
    }
    let error = uow.save_changes().await.unwrap_err();
    assert!(matches!(error, factum::Error::Store(_)), "{error}");
    assert_eq!(error.sort::<Sqlite>(), Sort::Transient);
    assert_eq!(file.counts().await, (0, 0));
}

async fn nest(_: &NoteWritten, uow: &mut UnitOfWork<Sqlite>) -> Outcome {
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
    let file = File::new();
    let store = file.store().await;
    let work = work(&store, Dispatcher::new().on::<NoteWritten>(nest).on::<NoteWritten>(announce));
    for n in 0..3 {
        let mut uow = work.begin().await.unwrap();
        uow.add(Note::written(&format!("first {n}"), "well"));
        let _ = uow.save_changes().await.unwrap();
        assert_eq!(file.counts().await, (2, n + 1));
        sqlx::raw_sql("DELETE FROM notes").execute(&mut file.look().await).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_to_save_opens_no_transaction() {
    let file = File::new();
    let work = work(&file.store().await, Dispatcher::new());
    let uow = work.begin().await.unwrap();
    let mut other = file.look().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let _ = uow.save_changes().await.unwrap();
}

#[tokio::test]
async fn a_reader_cannot_be_talked_into_writing() {
    let file = File::new();
    let work = work(&file.store().await, Dispatcher::new());
    let mut uow = work.read().await.unwrap();
    let db = uow.connection().await.unwrap();
    sqlx::raw_sql("PRAGMA query_only = OFF").execute(&mut *db).await.unwrap();
    insert(db, "first", "well").await.unwrap_err();
    assert_eq!(file.counts().await, (0, 0));
}

#[tokio::test]
async fn a_unit_of_work_that_only_looked_commits() {
    let file = File::new();
    let work = work(&file.store().await, Dispatcher::new());
    for _ in 0..2 {
        let mut uow = work.begin().await.unwrap();
        assert!(uow.find::<Note>(&"nobody".into()).await.unwrap().is_none());
        let _ = uow.save_changes().await.unwrap();
    }
}
