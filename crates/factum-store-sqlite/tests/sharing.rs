//! One writer, many who want it: in this process, in another, and while the file is opened for the first time.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use factum::integration::Inspect as _;
use factum::port::{BucketSet, InboxStore as _, OutboxStore as _, Read};
use factum::unit_of_work::Context;
use factum::{BoxError, Dispatcher, Sort, UnitOfWork};
use factum_store_sqlite::{Error, Sqlite, Synchronous};
use support::{File, SOURCE, insert, work, write_note};

fn source_of(error: &factum::Error) -> &Error {
    let factum::Error::Store(source) = error else { panic!("{error}") };
    source.downcast_ref().expect("an error of this store")
}

async fn impatient(file: &File) -> Sqlite {
    drop(file.store().await);
    let options = Sqlite::options(file.path()).synchronous(Synchronous::Off).readers(1);
    options.wait(Duration::from_millis(50)).open().await.unwrap()
}

#[tokio::test]
async fn waiting_for_the_writer_names_who_holds_it() {
    let file = File::new();
    let store = impatient(&file).await;
    let work = work(&store, Dispatcher::new());
    let mut holder = work.with(Context::of(SOURCE).who("the night shift")).begin().await.unwrap();
    holder.connection().await.unwrap();

    let mut waiting = work.begin().await.unwrap();
    let error = waiting.connection().await.unwrap_err();
    assert!(
        matches!(source_of(&error), Error::WriterHeld { by, .. } if &**by == "the night shift"),
        "{error}"
    );
    assert_eq!(error.sort::<Sqlite>(), Sort::Transient);

    holder.roll_back().await;
    waiting.connection().await.expect("it is free now");
}

#[tokio::test]
async fn a_unit_of_work_inside_another_is_told_once_that_it_waits_for_itself() {
    let file = File::new();
    let store = impatient(&file).await;
    let work = work(&store, Dispatcher::new());
    let (outer, inner) = (AtomicU32::new(0), AtomicU32::new(0));
    let error = work
        .run(async |uow| {
            outer.fetch_add(1, Ordering::Relaxed);
            uow.connection().await?;
            let nested = work.run(async |uow| {
                inner.fetch_add(1, Ordering::Relaxed);
                uow.connection().await?;
                Ok(())
            });
            nested.await?;
            Ok(())
        })
        .await
        .unwrap_err();
    assert!(error.to_string().contains("for the writer"), "{error}");
    assert_eq!((outer.into_inner(), inner.into_inner()), (1, 1), "waiting again would not help");
}

#[tokio::test]
async fn waiting_for_another_process_names_the_file() {
    let file = File::new();
    let store = impatient(&file).await;
    let mut other = file.look().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let work = work(&store, Dispatcher::new()).limits(|limits| limits.attempts = 1);
    let error = write_note::<File>(&work, "first").await.unwrap_err();
    assert!(
        matches!(source_of(&error), Error::FileHeld { .. }) && error.to_string().contains("test.db"),
        "{error}"
    );
    assert_eq!(error.sort::<Sqlite>(), Sort::Transient);
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    write_note::<File>(&work, "first").await.unwrap();
}

#[tokio::test]
async fn readers_wait_for_no_writer_and_see_a_snapshot() {
    let file = File::new();
    let store = impatient(&file).await;
    let work = work(&store, Dispatcher::new());
    write_note::<File>(&work, "first").await.unwrap();
    let mut reader = work.read().await.unwrap();
    assert!(reader.find::<support::Note>(&"first".into()).await.unwrap().is_some());
    write_note::<File>(&work, "second").await.unwrap();
    let mut writer = work.begin().await.unwrap();
    insert(writer.connection().await.unwrap(), "third", "well").await.unwrap();
    assert!(reader.find::<support::Note>(&"second".into()).await.unwrap().is_none());
    reader.roll_back().await;
    let mut reader = work.read().await.unwrap();
    assert!(reader.find::<support::Note>(&"second".into()).await.unwrap().is_some());

    let mut another = work.read().await.unwrap();
    let error = another.connection().await.unwrap_err();
    assert!(matches!(source_of(&error), Error::ReadersHeld { readers: 1, .. }), "{error}");
    drop(reader);
    another.connection().await.unwrap();
}

#[tokio::test]
async fn a_relay_reads_while_units_of_work_have_every_reader() {
    let file = File::new();
    let store = impatient(&file).await;
    let work = work(&store, Dispatcher::new());
    write_note::<File>(&work, "first").await.unwrap();
    let mut reader = work.read().await.unwrap();
    reader.connection().await.unwrap();
    assert_eq!(store.backlog().await.unwrap().outbox, 1);
    let all = Read { buckets: BucketSet::ALL, above: 0, except: Vec::new(), rows_max: 9, bytes_max: 1 << 20 };
    assert_eq!(store.read(all).await.unwrap().rows.len(), 1);
    assert!(!store.halted("copies").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_31_two_handles_write_to_one_file_and_nobody_sees_busy() {
    const EACH: usize = 100;
    let file = File::new();
    let stores = [file.store().await, file.open().await];
    let mut tasks = tokio::task::JoinSet::new();
    for (handle, store) in stores.iter().enumerate() {
        for task in 0..2 {
            let work = work(store, Dispatcher::new()).limits(|limits| limits.attempts = 1);
            tasks.spawn(async move {
                for n in 0..EACH {
                    let id = format!("{handle} {task} {n}");
                    let body = async |uow: &mut UnitOfWork<Sqlite>| -> Result<(), BoxError> {
                        uow.find::<support::Note>(&"nobody".into()).await?;
                        uow.add(support::Note::written(&id, "well"));
                        uow.announce(&support::NoteWrittenV1 { id: id.clone() })?;
                        Ok(())
                    };
                    work.run(body).await.map(drop).map_err(|error| error.to_string())?;
                }
                Ok::<_, String>(())
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    let all = 4 * EACH as i64;
    assert_eq!(file.counts().await, (all, all));
}

/// Whether the one that waits is there before the one that begins again. Two handles take turns as two processes do.
async fn the_one_that_waits_goes_first(file: &File, stores: &[Sqlite; 2]) -> bool {
    let [ours, theirs] = stores.each_ref().map(|store| work(store, Dispatcher::new()));
    let went = Arc::new(AtomicU32::new(0));
    let mut uow = ours.begin().await.unwrap();
    uow.connection().await.unwrap();
    let waiting = tokio::spawn({
        let went = Arc::clone(&went);
        async move {
            let mut uow = theirs.begin().await.unwrap();
            uow.connection().await.unwrap();
            went.fetch_add(1, Ordering::SeqCst);
            uow.roll_back().await;
        }
    });
    // For so long nobody may begin again and again.
    let over = Instant::now() + Duration::from_millis(100);
    while Instant::now() < over || !file.somebody_is_next() {
        tokio::task::yield_now().await;
    }
    uow.roll_back().await;
    let mut again = ours.begin().await.unwrap();
    again.connection().await.unwrap();
    let first = went.load(Ordering::SeqCst) == 1;
    again.roll_back().await;
    waiting.await.unwrap();
    first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_31_who_begins_again_at_once_lets_another_process_go_first() {
    const ROUNDS: usize = 9;
    let file = File::new();
    let stores = [file.store().await, file.open().await];
    let mut first = 0;
    for _ in 0..ROUNDS {
        first += usize::from(the_one_that_waits_goes_first(&file, &stores).await);
    }
    // A machine that is busy elsewhere may keep who is next from its turn until courtesy ends.
    assert!(first > ROUNDS / 2, "{first} of {ROUNDS}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_that_open_a_new_file_at_once_make_its_tables_once() {
    for _ in 0..5 {
        let file = File::new();
        let opened: Vec<_> = (0..8)
            .map(|_| tokio::spawn(Sqlite::options(file.path()).synchronous(Synchronous::Off).open()))
            .collect();
        let mut incarnations = Vec::new();
        for store in opened {
            let store = store.await.unwrap().unwrap();
            incarnations.push(store.incarnation().to_owned());
            assert_eq!(store.backlog().await.unwrap().outbox, 0);
        }
        incarnations.dedup();
        assert_eq!(incarnations.len(), 1);
        let sql = "SELECT count(*) FROM factum_migrations";
        let steps: i64 = sqlx::query_scalar(sql).fetch_one(&mut file.look().await).await.unwrap();
        assert_eq!(steps, 2);
    }
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    let file = File::new();
    drop(file.open().await);
    let sql = "INSERT INTO factum_migrations VALUES (999, 'tomorrow')";
    sqlx::raw_sql(sql).execute(&mut file.look().await).await.unwrap();
    let error = Sqlite::open(file.path()).await.unwrap_err();
    assert!(matches!(error, Error::NewerSchema { found: 999, .. }), "{error}");
}
