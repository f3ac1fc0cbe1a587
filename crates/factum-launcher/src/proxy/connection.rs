//! One connection through the proxy: two pumps, each of which obeys the faults of its direction, byte by byte.

use std::convert::Infallible;
use std::future::pending;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
// tidy: allow(sleep): a delay is what a test asks for
use tokio::time::{Duration, Instant, sleep_until};

use super::faults::{Admitted, End, Faults, OneWay, Shared, SinceArmed, Way};

const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks in flight in one direction: together 1 MiB.
const CHUNKS: usize = 64;
/// A throttled connection passes a twentieth of a second's bytes at a time.
const PIECES_A_SECOND: u64 = 20;

/// Passes a client's connection on until it ends, or is ended.
pub(super) async fn serve(mut client: TcpStream, mut admitted: Admitted) {
    let address = admitted.shared.faults.borrow().server;
    let mut server = match TcpStream::connect(address).await {
        Ok(server) => server,
        Err(_) => return drop(client.set_zero_linger()),
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let outcome = {
        let shared = std::sync::Arc::clone(&admitted.shared);
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let pumps = async {
            let ended = tokio::try_join!(
                Pump::new(&shared, Way::ToServer, to_server).run(from_client),
                Pump::new(&shared, Way::ToClient, to_client).run(from_server),
            );
            ended.err().unwrap_or(End::Close)
        };
        tokio::select! {
            ended = pumps => ended,
            ordered = admitted.ordered() => ordered,
        }
    };
    tokio::join!(end(client, outcome), end(server, outcome));
}

async fn end(mut stream: TcpStream, how: End) {
    match how {
        End::Reset => drop(stream.set_zero_linger()),
        // First a FIN: to be dropped while something is left unread would be a reset.
        End::Close => drop(stream.shutdown().await),
    }
}

/// What came from one side.
enum Arrival {
    Bytes(Vec<u8>),
    /// It said that it has no more to say.
    Finished,
    /// It is gone.
    Broken,
}

/// What the faults say to what comes next.
enum Verdict {
    /// At most so many bytes may pass now.
    Pass(usize),
    Swallow,
}

struct Pump<'a> {
    shared: &'a Shared,
    way: Way,
    to: WriteHalf<'a>,
    faults: watch::Receiver<Faults>,
    since_armed: SinceArmed,
    /// When a throttled connection may pass the next byte.
    free_at: Instant,
    /// A black hole took bytes of it: no more may come.
    lossy: bool,
}

impl<'a> Pump<'a> {
    fn new(shared: &'a Shared, way: Way, to: WriteHalf<'a>) -> Self {
        let faults = shared.faults.subscribe();
        let since_armed = SinceArmed::default();
        Self { shared, way, to, faults, since_armed, free_at: Instant::now(), lossy: false }
    }

    /// Until this direction is finished, or the connection is to end.
    async fn run(mut self, from: ReadHalf<'_>) -> Result<(), End> {
        let (arrived, arrivals) = mpsc::channel(CHUNKS);
        tokio::select! {
            outcome = self.write(arrivals) => outcome,
            never = read(from, arrived) => match never {},
        }
    }

    async fn write(&mut self, mut arrivals: mpsc::Receiver<(Instant, Arrival)>) -> Result<(), End> {
        while let Some((at, arrival)) = arrivals.recv().await {
            match arrival {
                Arrival::Bytes(bytes) => self.pass(at, &bytes).await?,
                Arrival::Finished => {
                    self.until_open(at).await;
                    let _ = self.to.shutdown().await;
                    return Ok(());
                }
                Arrival::Broken => {
                    self.until_open(at).await;
                    return Err(End::Reset);
                }
            }
        }
        Ok(())
    }

    async fn pass(&mut self, at: Instant, mut bytes: &[u8]) -> Result<(), End> {
        while !bytes.is_empty() {
            match self.verdict(at).await {
                Verdict::Swallow => {
                    self.lossy = true;
                    self.shared.swallowed(bytes.len());
                    return Ok(());
                }
                Verdict::Pass(most) => {
                    let wanted = bytes.len().min(most);
                    let (allowed, cut) = self.shared.pass(self.way, wanted, &mut self.since_armed);
                    let (now, later) = bytes.split_at(allowed.min(wanted));
                    self.put(now).await?;
                    if let Some(end) = cut {
                        self.shared.was_cut();
                        return Err(end);
                    }
                    bytes = later;
                }
            }
        }
        Ok(())
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), End> {
        if self.to.write_all(bytes).await.is_err() {
            // That the receiver is gone is news for the sender, and goes the other way.
            self.opposite_is_open().await;
            return Err(End::Reset);
        }
        self.shared.passed(self.way, bytes.len());
        Ok(())
    }

    /// Waits out delays, the rate and stalls; at once where a black hole is.
    async fn verdict(&mut self, at: Instant) -> Verdict {
        loop {
            let faults = *self.faults.borrow_and_update().of(self.way);
            if faults.swallowed || self.lossy {
                return Verdict::Swallow;
            }
            let due = self.due(at, &faults);
            if !faults.stalled && due <= Instant::now() {
                return Verdict::Pass(self.piece(&faults));
            }
            tokio::select! {
                () = sleep_until(due), if !faults.stalled => {}
                _ = self.faults.changed() => {}
            }
        }
    }

    fn due(&self, at: Instant, faults: &OneWay) -> Instant {
        let delayed = at + faults.delay;
        if faults.bytes_per_second.is_some() { delayed.max(self.free_at) } else { delayed }
    }

    /// How much may pass now, which takes the connection's time.
    fn piece(&mut self, faults: &OneWay) -> usize {
        let Some(rate) = faults.bytes_per_second else { return CHUNK_BYTES };
        let piece = (rate / PIECES_A_SECOND).clamp(1, CHUNK_BYTES as u64);
        self.free_at = Instant::now() + Duration::from_nanos(piece.saturating_mul(1_000_000_000) / rate);
        piece as usize
    }

    /// Waits until what is no byte may pass: an end that a black hole keeps for itself.
    async fn until_open(&mut self, at: Instant) {
        while matches!(self.verdict(at).await, Verdict::Swallow) {
            if self.lossy || self.faults.changed().await.is_err() {
                return pending().await;
            }
        }
    }

    async fn opposite_is_open(&mut self) {
        let way = self.way.opposite();
        let open = |faults: &Faults| !faults.of(way).swallowed && !faults.of(way).stalled;
        if self.faults.wait_for(open).await.is_err() {
            pending().await
        }
    }
}

/// Reads as fast as the queue has room, to the end, and then keeps the connection open.
async fn read(mut from: ReadHalf<'_>, arrived: mpsc::Sender<(Instant, Arrival)>) -> Infallible {
    loop {
        let mut bytes = Vec::with_capacity(CHUNK_BYTES);
        let arrival = match from.read_buf(&mut bytes).await {
            Ok(0) => Arrival::Finished,
            Ok(_) => Arrival::Bytes(bytes),
            Err(_) => Arrival::Broken,
        };
        let was_last = !matches!(arrival, Arrival::Bytes(_));
        let refused = arrived.send((Instant::now(), arrival)).await.is_err();
        if was_last || refused {
            // The sender stays: without it the writer would take the queue for finished.
            return pending().await;
        }
    }
}
