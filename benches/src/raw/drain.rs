//! The two loops: claim, publish, delete; and read in order, publish, delete.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{PAGE, RawBus, RawStore, WINDOW};
use crate::Outcome;

/// Several workers: lock rows that nobody else has locked, publish them, await every acknowledgement, delete, commit.
/// There is no order between the workers. Ends when `rows` are deleted, and gives the connections back.
pub(crate) async fn claim<S: RawStore, B: RawBus>(workers: Vec<(S, B)>, rows: u64) -> Outcome<Vec<S>> {
    let mut tasks = JoinSet::new();
    for (mut store, mut bus) in workers {
        tasks.spawn(async move {
            let mut done = 0;
            loop {
                let page = store.claim().await?;
                let seqs: Vec<i64> = page.iter().map(|row| row.seq).collect();
                if !seqs.is_empty() {
                    B::acknowledged(bus.send(&page).await?).await?;
                }
                let n = seqs.len();
                store.claimed(seqs).await?;
                done += n as u64;
                if n == 0 {
                    return Outcome::Ok((done, store));
                }
            }
        });
    }
    let (mut done, mut stores) = (0, Vec::new());
    while let Some(ended) = tasks.join_next().await {
        let (n, store) = ended??;
        done += n;
        stores.push(store);
    }
    whole(done, rows)?;
    Ok(stores)
}

/// One reader that is always a page or two ahead, one publisher with a window, one deleter on a connection of its own.
/// Ends when so many rows above a `seq` are deleted; says where the last one was, and gives the connections back.
pub(crate) async fn ordered<S: RawStore, B: RawBus>(
    mut reader: S,
    deleter: S,
    mut bus: B,
    above: i64,
    rows: u64,
) -> Outcome<(i64, [S; 2])> {
    let (pages, mut page) = mpsc::channel(2);
    let reading = tokio::spawn(async move {
        let (mut above, mut left) = (above, rows);
        while left > 0 {
            let page = reader.read(above).await?;
            let Some(last) = page.last() else { break };
            (above, left) = (last.seq, left.saturating_sub(page.len() as u64));
            if pages.send(page).await.is_err() {
                break;
            }
        }
        Outcome::Ok((above, reader))
    });
    // What waits here, what is being sent and what is being waited for is the window.
    let (sent, in_flight) = mpsc::channel::<(Vec<i64>, B::Sent)>(WINDOW - 2);
    let (acknowledged, deletable) = mpsc::channel(16);
    let waiting = tokio::spawn(wait::<B>(in_flight, acknowledged));
    let deleting = tokio::spawn(delete(deletable, deleter));
    while let Some(page) = page.recv().await {
        let seqs = page.iter().map(|row| row.seq).collect();
        let page = bus.send(&page).await?;
        if sent.send((seqs, page)).await.is_err() {
            break;
        }
    }
    drop(sent);
    let (last, reader) = reading.await??;
    waiting.await??;
    let (done, deleter) = deleting.await??;
    whole(done, rows)?;
    Ok((last, [reader, deleter]))
}

/// Lets a page through when the broker has all of it.
async fn wait<B: RawBus>(
    mut in_flight: mpsc::Receiver<(Vec<i64>, B::Sent)>,
    acknowledged: mpsc::Sender<Vec<i64>>,
) -> Outcome<()> {
    while let Some((seqs, page)) = in_flight.recv().await {
        B::acknowledged(page).await?;
        if acknowledged.send(seqs).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Deletes what is there, up to four pages in one statement.
async fn delete<S: RawStore>(mut deletable: mpsc::Receiver<Vec<i64>>, mut store: S) -> Outcome<(u64, S)> {
    let mut done = 0;
    while let Some(mut seqs) = deletable.recv().await {
        while seqs.len() < 4 * PAGE {
            let Ok(more) = deletable.try_recv() else { break };
            seqs.extend(more);
        }
        done += seqs.len() as u64;
        store.delete(seqs).await?;
    }
    Ok((done, store))
}

fn whole(done: u64, rows: u64) -> Outcome<()> {
    if done == rows { Ok(()) } else { Err(format!("the raw loop moved {done} rows of {rows}").into()) }
}
