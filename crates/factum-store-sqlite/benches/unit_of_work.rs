//! What a unit of work adds to its SQL: one row and one outbox row, or one row alone, beside the same statements by hand
//! on one connection. Each way writes a file of its own on the same disk.

#[path = "support/notes.rs"]
mod notes;
#[path = "../../factum/benches/support/rounds.rs"]
mod rounds;

use std::path::Path;
use std::time::{Duration, Instant};

use factum::{BoxError, Work};
use factum_store_sqlite::{Sqlite, Synchronous};
use notes::Note;
use rounds::{Figure, Rounds};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqliteConnection};

const ROUNDS: i64 = 401;
/// Transactions of each way in a round.
const REPEATS: i64 = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    for synchronous in [Synchronous::Off, Synchronous::Full] {
        for announces in [true, false] {
            compare(synchronous, announces).await?;
        }
    }
    Ok(())
}

/// `run`, `begin` with `save_changes`, and the SQL by hand, in turns.
async fn compare(synchronous: Synchronous, announces: bool) -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let (run, _) = opened(&folder.path().join("run.db"), synchronous).await?;
    let (save, _) = opened(&folder.path().join("save.db"), synchronous).await?;
    let (_, mut db) = opened(&folder.path().join("hand.db"), synchronous).await?;
    let (run, save) = (notes::work(&run, announces), notes::work(&save, announces));
    let (mut of_run, mut of_save, mut of_hand) = (Rounds::default(), Rounds::default(), Rounds::default());
    for round in 0..ROUNDS {
        let ids = round * REPEATS..(round + 1) * REPEATS;
        of_hand.note(by_hand(&mut db, ids.clone(), announces).await?, REPEATS as usize);
        of_run.note(by_run(&run, ids.clone()).await?, REPEATS as usize);
        of_save.note(by_save(&save, ids).await?, REPEATS as usize);
    }
    let rows = ROUNDS * REPEATS;
    assert_eq!(notes::counts(&mut db).await, (rows, if announces { rows } else { 0 }));
    for (way, ours) in [("run", &of_run), ("save_changes", &of_save)] {
        let what = format!(
            r#""bench":"unit of work","way":"{way}","synchronous":"{synchronous:?}","outbox_rows":{}"#,
            i32::from(announces)
        );
        println!("{}", Figure { what: &what, ours, by_hand: &of_hand });
    }
    Ok(())
}

/// A file with the tables of both, the store that has it open, and a connection of one's own with the same settings.
async fn opened(file: &Path, synchronous: Synchronous) -> Result<(Sqlite, SqliteConnection), BoxError> {
    let store = Sqlite::options(file).synchronous(synchronous).open().await?;
    let own = match synchronous {
        Synchronous::Full => SqliteSynchronous::Full,
        Synchronous::Normal => SqliteSynchronous::Normal,
        Synchronous::Off => SqliteSynchronous::Off,
    };
    let options = SqliteConnectOptions::new().filename(file).journal_mode(SqliteJournalMode::Wal);
    let mut db = options.synchronous(own).connect().await?;
    notes::create(&mut db).await?;
    Ok((store, db))
}

async fn by_run(work: &Work<Sqlite>, ids: std::ops::Range<i64>) -> Result<Duration, BoxError> {
    let began = Instant::now();
    for id in ids {
        let body = async |uow: &mut factum::UnitOfWork<Sqlite>| {
            uow.add(Note::written(id));
            Ok(())
        };
        let _ = work.run(body).await?;
    }
    Ok(began.elapsed())
}

async fn by_save(work: &Work<Sqlite>, ids: std::ops::Range<i64>) -> Result<Duration, BoxError> {
    let began = Instant::now();
    for id in ids {
        let mut uow = work.begin().await?;
        uow.add(Note::written(id));
        let _ = uow.save_changes().await?;
    }
    Ok(began.elapsed())
}

async fn by_hand(
    db: &mut SqliteConnection,
    ids: std::ops::Range<i64>,
    announces: bool,
) -> Result<Duration, BoxError> {
    let began = Instant::now();
    for id in ids {
        notes::by_hand(db, id, announces).await?;
    }
    Ok(began.elapsed())
}
