//! A commit proves itself: whatever errors handlers swallow, and whatever they say to the connection, either all of a
//! unit of work is in the database or nothing is, and `Ok` means all.

mod support;

use factum::{Dispatcher, Outcome, Sort, UnitOfWork};
use factum_store_postgres::{Error, Isolation, Postgres};
use sqlx::Connection as _;
use support::{Note, NoteWritten, Schema, announce, assert_works, insert, run, work};

/// Saves one note whose handlers do what they should not, and answers the error.
async fn save(schema: &Schema, dispatcher: Dispatcher<Postgres>) -> factum::Error {
    let store = schema.store().await;
    let work = work(&store, dispatcher);
    let mut uow = work.begin().await.unwrap();
    uow.add(Note::written("first", "well"));
    let error = uow.save_changes().await.expect_err("the transaction was ended");
    assert_eq!(schema.counts().await, (0, 0), "something of it remains");
    for n in 0..3 {
        assert_works(schema, &support::work(&store, Dispatcher::new()), &format!("afterwards {n}")).await;
    }
    error
}

fn is(error: &factum::Error, expected: impl Fn(&Error) -> bool) -> bool {
    let factum::Error::Store(source) = error else { return false };
    source.downcast_ref().is_some_and(expected) && error.sort::<Postgres>() == Sort::Permanent
}

macro_rules! says {
    ($name:ident, $sql:literal) => {
        async fn $name(_: &NoteWritten, uow: &mut UnitOfWork<Postgres>) -> Outcome {
            let _ = sqlx::raw_sql($sql).execute(uow.connection().await?).await;
            Ok(())
        }
    };
}
says!(fail, "SELECT 1 / 0");
says!(rollback, "ROLLBACK");
says!(rollback_begin, "ROLLBACK; BEGIN; CREATE TEMPORARY TABLE of_its_own (x integer)");
says!(rollback_in_vain, "ROLLBACK; BEGIN; SELECT 1 / 0");

#[tokio::test]
async fn a_swallowed_error_is_no_commit() {
    for announces in [false, true] {
        let Some(schema) = Schema::new("a_swallowed_error_is_no_commit").await else { return };
        let mut dispatcher = Dispatcher::new().on::<NoteWritten>(fail);
        if announces {
            dispatcher = dispatcher.on::<NoteWritten>(announce);
        }
        let error = save(&schema, dispatcher).await;
        assert!(is(&error, |error| matches!(error, Error::Swallowed(_))), "{error}");
    }
}

#[tokio::test]
async fn a_rollback_by_a_handler_is_no_commit() {
    for (announces, which) in [(false, 0), (true, 0), (false, 1), (true, 1)] {
        let Some(schema) = Schema::new("a_rollback_by_a_handler_is_no_commit").await else { return };
        let mut dispatcher = Dispatcher::new();
        if announces {
            dispatcher = dispatcher.on::<NoteWritten>(announce);
        }
        dispatcher = match which {
            0 => dispatcher.on::<NoteWritten>(rollback),
            _ => dispatcher.on::<NoteWritten>(rollback_begin),
        };
        let error = save(&schema, dispatcher).await;
        assert!(is(&error, |error| matches!(error, Error::Ended)), "{announces} {which}: {error}");
    }
}

#[tokio::test]
async fn a_transaction_of_a_handlers_own_that_failed_is_no_commit() {
    let name = "a_transaction_of_a_handlers_own_that_failed_is_no_commit";
    let Some(schema) = Schema::new(name).await else { return };
    let dispatcher = Dispatcher::new().on::<NoteWritten>(rollback_in_vain).on::<NoteWritten>(announce);
    let error = save(&schema, dispatcher).await;
    assert!(is(&error, |error| matches!(error, Error::Swallowed(_))), "{error}");
}

async fn commit(_: &NoteWritten, uow: &mut UnitOfWork<Postgres>) -> Outcome {
    run(uow.connection().await?, "COMMIT").await;
    Ok(())
}

/// What it committed stays, and nobody says that it was announced.
#[tokio::test]
async fn a_commit_by_a_handler_is_not_vouched_for() {
    let Some(schema) = Schema::new("a_commit_by_a_handler_is_not_vouched_for").await else { return };
    let work =
        work(&schema.store().await, Dispatcher::new().on::<NoteWritten>(commit).on::<NoteWritten>(announce));
    let mut uow = work.begin().await.unwrap();
    uow.add(Note::written("first", "well"));
    let error = uow.save_changes().await.unwrap_err();
    assert!(is(&error, |error| matches!(error, Error::Ended)), "{error}");
    assert_eq!(schema.counts().await, (1, 0));
}

async fn nest(_: &NoteWritten, uow: &mut UnitOfWork<Postgres>) -> Outcome {
    let db = uow.connection().await?;
    let mut kept = db.begin().await?;
    insert(&mut kept, "kept", "well").await?;
    kept.commit().await?;
    let mut undone = db.begin().await?;
    insert(&mut undone, "undone", "bad").await.unwrap_err();
    undone.rollback().await?;
    let mut dropped = db.begin().await?;
    insert(&mut dropped, "dropped", "well").await?;
    drop(dropped);
    std::mem::forget(db.begin().await?);
    Ok(())
}

#[tokio::test]
async fn transactions_nested_by_sqlx_are_savepoints() {
    for announces in [false, true] {
        let Some(schema) = Schema::new("transactions_nested_by_sqlx_are_savepoints").await else { return };
        let store = schema.store().await;
        let mut dispatcher = Dispatcher::new().on::<NoteWritten>(nest);
        if announces {
            dispatcher = dispatcher.on::<NoteWritten>(announce);
        }
        let work = work(&store, dispatcher);
        for n in 0..3 {
            let mut uow = work.begin().await.unwrap();
            uow.add(Note::written(&format!("first {n}"), "well"));
            let _ = uow.save_changes().await.unwrap();
            assert_eq!(schema.counts().await, (2, if announces { n + 1 } else { 0 }));
            run(&mut schema.look().await, "DELETE FROM notes").await;
        }
    }
}

#[tokio::test]
async fn a_constraint_that_is_checked_at_commit_rolls_everything_back() {
    let name = "a_constraint_that_is_checked_at_commit_rolls_everything_back";
    let Some(schema) = Schema::new(name).await else { return };
    let store = schema.store().await;
    let mut db = schema.look().await;
    run(&mut db, "ALTER TABLE notes ADD UNIQUE (text) DEFERRABLE INITIALLY DEFERRED").await;
    for announces in [false, true] {
        let mut dispatcher = Dispatcher::new();
        if announces {
            dispatcher = dispatcher.on::<NoteWritten>(announce);
        }
        let work = work(&store, dispatcher);
        let mut uow = work.begin().await.unwrap();
        uow.add(Note::written("first", "same"));
        uow.add(Note::written("second", "same"));
        let error = uow.save_changes().await.unwrap_err();
        assert_eq!(error.sort::<Postgres>(), Sort::Permanent, "{error}");
        assert_eq!(schema.counts().await, (0, 0));
    }
    assert_works(&schema, &work(&store, Dispatcher::new()), "afterwards").await;
}

#[tokio::test]
async fn a_reader_sees_one_snapshot_and_cannot_write() {
    let Some(schema) = Schema::new("a_reader_sees_one_snapshot_and_cannot_write").await else { return };
    let work = work(&schema.store().await, Dispatcher::new());
    let mut uow = work.read().await.unwrap();
    assert!(uow.find::<Note>(&"first".into()).await.unwrap().is_none());
    support::write_note::<Schema>(&work, "first").await.unwrap();
    assert!(uow.find::<Note>(&"other".into()).await.unwrap().is_none());
    let seen = support::scalar(uow.connection().await.unwrap(), "SELECT count(*) FROM notes").await;
    assert_eq!(seen, 0);
    insert(uow.connection().await.unwrap(), "second", "well").await.unwrap_err();
    assert_eq!(schema.counts().await, (1, 1));
}

#[tokio::test]
async fn every_transaction_has_the_isolation_that_was_asked_for() {
    let name = "every_transaction_has_the_isolation_that_was_asked_for";
    let Some(schema) = Schema::new(name).await else { return };
    schema.options().migrate().await.unwrap();
    let asked = [
        (Isolation::ReadCommitted, "read committed"),
        (Isolation::RepeatableRead, "repeatable read"),
        (Isolation::Serializable, "serializable"),
    ];
    for (isolation, said) in asked {
        let store = schema.options().isolation(isolation).connect().await.unwrap();
        let mut uow = work(&store, Dispatcher::new()).begin().await.unwrap();
        let db = uow.connection().await.unwrap();
        let found: String = sqlx::query_scalar("SHOW transaction_isolation").fetch_one(db).await.unwrap();
        assert_eq!(found, said);
    }
}

#[tokio::test]
async fn nothing_to_save_takes_no_connection() {
    let Some(schema) = Schema::new("nothing_to_save_takes_no_connection").await else { return };
    schema.options().migrate().await.unwrap();
    let store =
        schema.options().connections(1).wait(std::time::Duration::from_millis(50)).connect().await.unwrap();
    let work = work(&store, Dispatcher::new());
    let mut holder = work.begin().await.unwrap();
    holder.connection().await.unwrap();
    let _ = work.begin().await.unwrap().save_changes().await.unwrap();
    let mut other = work.begin().await.unwrap();
    let error = other.connection().await.unwrap_err();
    assert!(error.to_string().contains("waited 50ms for one of 1 connections"), "{error}");
    assert_eq!(error.sort::<Postgres>(), Sort::Transient);
}
