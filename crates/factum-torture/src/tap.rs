//! A bus that is a socket of the test's: what a relay publishes arrives there, is noted, and is answered as the test
//! says. A frame is a ticket, the key and the data, each with its length; an answer is the ticket and one byte.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use factum::integration::{
    Answer, Capabilities, Confirm, Deliveries, Durability, EventBus, Interest, Publication,
};
use factum::{BoxError, BoxFuture};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use crate::{Arrival, History};

/// What the tap says to an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// It is taken.
    Confirmed = 0,
    /// It will not be taken.
    Refused = 1,
    /// Nobody takes its type.
    Unroutable = 2,
    /// It is taken, and told so later: when [`Tap::let_go`] is called.
    Later = 3,
}

type Saying = dyn Fn(&Arrival) -> Say + Send + Sync;

/// The listening end: notes what arrives, in one order for all connections.
#[derive(Clone)]
pub struct Tap {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    history: Mutex<History>,
    changed: Notify,
    say: Box<Saying>,
    held: Mutex<Vec<Held>>,
}

/// An answer that was held back, and who waits for it.
type Held = (mpsc::UnboundedSender<(u64, Say)>, u64);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tap {
    /// Confirms everything.
    ///
    /// # Errors
    /// No port is free.
    pub async fn open() -> io::Result<Self> {
        Self::saying(|_| Say::Confirmed).await
    }

    /// Answers as told. What is refused or unroutable is not noted as having arrived.
    ///
    /// # Errors
    /// No port is free.
    pub async fn saying(say: impl Fn(&Arrival) -> Say + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Shared {
            history: Mutex::default(),
            changed: Notify::new(),
            say: Box::new(say),
            held: Mutex::default(),
        };
        let shared = Arc::new(shared);
        let tap = Self { address, shared };
        let shared = Arc::clone(&tap.shared);
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serve(connection, stream, Arc::clone(&shared)));
            }
        });
        Ok(tap)
    }

    /// Where a [`TapBus`] connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A copy of what has arrived.
    pub fn history(&self) -> History {
        locked(&self.shared.history).clone()
    }

    /// Looks at what has arrived.
    pub fn look<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&locked(&self.shared.history))
    }

    /// Gives the answers that were held back, and says how many.
    pub fn let_go(&self) -> usize {
        let held = std::mem::take(&mut *locked(&self.shared.held));
        held.iter().for_each(|(answers, ticket)| _ = answers.send((*ticket, Say::Confirmed)));
        held.len()
    }

    /// Waits until what has arrived is as wished.
    ///
    /// # Panics
    /// It was not within `limit`.
    pub async fn until(&self, what: &str, limit: Duration, is: impl Fn(&History) -> bool) {
        let waited = tokio::time::timeout(limit, async {
            loop {
                let changed = self.shared.changed.notified();
                if self.look(&is) {
                    return;
                }
                changed.await;
            }
        });
        if waited.await.is_err() {
            let (distinct, repeats) = self.look(|history| (history.distinct(), history.repeats()));
            panic!("{what}: not within {limit:?}; {distinct} arrived, and {repeats} again");
        }
    }
}

async fn serve(connection: usize, stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    let mut read = BufReader::with_capacity(1 << 16, read);
    let (answers, answered) = mpsc::unbounded_channel();
    tokio::spawn(answer(write, answered));
    while let Ok((ticket, key, data)) = receive(&mut read).await {
        let n = data.parse().unwrap_or(u64::MAX);
        let arrival = Arrival { connection, key, n };
        let said = (shared.say)(&arrival);
        if matches!(said, Say::Confirmed | Say::Later) {
            locked(&shared.history).note(arrival);
            shared.changed.notify_waiters();
        }
        match said {
            Say::Later => locked(&shared.held).push((answers.clone(), ticket)),
            _ => _ = answers.send((ticket, said)),
        }
    }
}

async fn answer(write: OwnedWriteHalf, mut answered: mpsc::UnboundedReceiver<(u64, Say)>) {
    let mut write = BufWriter::new(write);
    while let Some((ticket, said)) = answered.recv().await {
        let written = async {
            write.write_u64(ticket).await?;
            write.write_u8(said as u8).await?;
            // More is to be said at once: one packet for many answers.
            if answered.is_empty() { write.flush().await } else { Ok(()) }
        };
        if written.await.is_err() {
            return;
        }
    }
}

async fn receive(read: &mut BufReader<OwnedReadHalf>) -> io::Result<(u64, String, String)> {
    let ticket = read.read_u64().await?;
    Ok((ticket, text(read).await?, text(read).await?))
}

async fn text(read: &mut BufReader<OwnedReadHalf>) -> io::Result<String> {
    let mut bytes = vec![0; usize::from(read.read_u16().await?)];
    read.read_exact(&mut bytes).await?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// The relay's end. Connects when it first publishes, and again after it was cut off.
pub struct TapBus {
    address: SocketAddr,
    line: tokio::sync::Mutex<Option<Line>>,
}

/// One connection.
struct Line {
    write: BufWriter<OwnedWriteHalf>,
    unanswered: Arc<Mutex<HashMap<u64, Confirm>>>,
    next: u64,
    /// Closed when the reading half has ended.
    alive: mpsc::Sender<()>,
}

impl TapBus {
    /// A bus that publishes to the tap at an address.
    pub fn to(address: SocketAddr) -> Self {
        Self { address, line: tokio::sync::Mutex::new(None) }
    }

    async fn connect(&self) -> io::Result<Line> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let unanswered = Arc::<Mutex<HashMap<u64, Confirm>>>::default();
        let (alive, ended) = mpsc::channel(1);
        let answers = Arc::clone(&unanswered);
        tokio::spawn(async move {
            hear(read, &answers).await;
            // Whatever is unanswered by now stays so.
            locked(&answers).clear();
            drop(ended);
        });
        Ok(Line { write: BufWriter::with_capacity(1 << 16, write), unanswered, next: 0, alive })
    }
}

async fn hear(read: OwnedReadHalf, unanswered: &Mutex<HashMap<u64, Confirm>>) {
    let mut read = BufReader::with_capacity(1 << 16, read);
    while let (Ok(ticket), Ok(said)) = (read.read_u64().await, read.read_u8().await) {
        let Some(confirm) = locked(unanswered).remove(&ticket) else { continue };
        confirm.answer(match said {
            0 => Answer::Confirmed,
            1 => Answer::Refused("the tap refuses it".into()),
            _ => Answer::Unroutable,
        });
    }
}

impl Line {
    async fn send(&mut self, batch: Vec<Publication>) -> io::Result<()> {
        for Publication { envelope, confirm } in batch {
            let ticket = self.next;
            self.next += 1;
            locked(&self.unanswered).insert(ticket, confirm);
            self.write.write_u64(ticket).await?;
            for bytes in [envelope.ordering_key().as_bytes(), &envelope.data] {
                self.write.write_u16(u16::try_from(bytes.len()).map_err(io::Error::other)?).await?;
                self.write.write_all(bytes).await?;
            }
        }
        self.write.flush().await
    }
}

impl EventBus for TapBus {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.durability = Durability::Written;
        capabilities
    }

    fn publish<'a>(&'a self, batch: Vec<Publication>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let mut line = self.line.lock().await;
            let mut open = match line.take().filter(|line| !line.alive.is_closed()) {
                Some(open) => open,
                None => self.connect().await?,
            };
            open.send(batch).await?;
            *line = Some(open);
            Ok(())
        })
    }

    fn subscribe<'a>(&'a self, _: Interest) -> BoxFuture<'a, Result<Box<dyn Deliveries>, BoxError>> {
        Box::pin(async { Err("nobody subscribes to a tap".into()) })
    }

    fn close<'a>(&'a self, _: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move { *self.line.lock().await = None })
    }
}
