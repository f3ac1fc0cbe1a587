//! A TCP proxy that breaks connections on purpose. It knows no protocol, and waits for nothing but the delays that a
//! test asks for: the rest happens at a byte, or at once.

mod connection;
mod faults;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use crate::error::{Error, Result};
use crate::port::Port;
use faults::Shared;

pub use faults::{Counts, End, Way};

/// A proxy in front of a server, on a free port of 127.0.0.1. When it is dropped, its port is closed and its
/// connections are, too.
///
/// All faults are off at first. Each holds for the connections that are open and for those to come, from the next byte
/// that is passed on. [`heal`](Self::heal) takes them away.
///
/// ```no_run
/// # async fn test() -> factum_launcher::Result<()> {
/// use factum_launcher::{End, Nats, Proxy, Way};
///
/// let nats = Nats::start().await?;
/// let proxy = Proxy::to(nats.address()).await?;
/// let url = proxy.instead_of(nats.url());
/// // Connect to `url`; then lose the connection after the third byte of the answer.
/// proxy.cut_after(Way::ToClient, 3, End::Reset);
/// // Send; then make sure that it happened, so that the test means something.
/// proxy.until(|counts| counts.cut == 1).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    shared: Arc<Shared>,
    doors: mpsc::UnboundedSender<Door>,
    listening: AbortHandle,
}

/// Wanted: an open or a closed port; and who waits for it.
#[derive(Debug)]
struct Door {
    open: bool,
    done: oneshot::Sender<io::Result<()>>,
}

impl Proxy {
    /// Listens, and passes all connections on to `server`. It runs on the runtime that this is called on.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn to(server: SocketAddr) -> Result<Self> {
        let port = Port::free()?;
        let shared = Arc::new(Shared::new(server));
        let (doors, wanted) = mpsc::unbounded_channel();
        let listening = tokio::spawn(listen(port.address(), Arc::clone(&shared), wanted)).abort_handle();
        let proxy = Self { port, shared, doors, listening };
        proxy.admit().await?;
        Ok(proxy)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `url` with the proxy's host and port in place of its own.
    pub fn instead_of(&self, url: &str) -> String {
        let begin = url.find("://").map_or(0, |at| at + 3);
        let (scheme, rest) = url.split_at(begin);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let user = authority.rfind('@').map_or("", |at| authority.split_at(at + 1).0);
        format!("{scheme}{user}{}{path}", self.address())
    }

    /// Passes new connections on to this server from now on. Those that are open stay where they are.
    pub fn redirect(&self, server: SocketAddr) {
        self.shared.faults.send_modify(|faults| faults.server = server);
    }

    /// Each byte leaves this much later than it came. Order stays, and so does throughput up to 1 MiB in flight.
    pub fn delay(&self, way: Way, delay: Duration) {
        self.shared.change(way, |faults| faults.delay = delay);
    }

    /// At most this many bytes a second on each connection; `None` for as many as it can. At least one.
    pub fn throttle(&self, way: Way, bytes_per_second: Option<u64>) {
        self.shared.change(way, |faults| faults.bytes_per_second = bytes_per_second.map(|rate| rate.max(1)));
    }

    /// Holds everything back, or lets it go: as when a network is cut and comes back, nothing is lost. Up to 1 MiB of
    /// each connection waits in the proxy, the rest at its sender.
    pub fn stall(&self, way: Way, on: bool) {
        self.shared.change(way, |faults| faults.stalled = on);
    }

    /// Takes everything, and the end of a connection as well, and passes nothing on: a black hole. A connection that
    /// lost bytes in it stays silent in that direction after it is switched off, because what followed would be
    /// garbage.
    pub fn swallow(&self, way: Way, on: bool) {
        self.shared.change(way, |faults| faults.swallowed = on);
    }

    /// Ends a connection, both sides of it, as soon as exactly `bytes` bytes have passed on it in this direction, counted
    /// for each connection from now; with 0, as soon as there is a byte to pass. Only the first connection that comes
    /// so far is ended. A later call replaces an earlier one.
    pub fn cut_after(&self, way: Way, bytes: u64, end: End) {
        self.shared.arm(way, bytes, end);
    }

    /// Takes away all faults but a closed port. What a black hole took stays lost.
    pub fn heal(&self) {
        self.shared.heal();
    }

    /// Ends all open connections, both sides. Those to come are admitted.
    pub fn end_all(&self, end: End) {
        self.shared.order(end);
    }

    /// Closes the port: who connects is refused. Open connections go on.
    ///
    /// # Errors
    /// The runtime that the proxy was made on is gone.
    pub async fn refuse(&self) -> Result<()> {
        self.set_door(false).await
    }

    /// Opens the port again after [`refuse`](Self::refuse).
    ///
    /// # Errors
    /// Another program took the port, or the runtime that the proxy was made on is gone.
    pub async fn admit(&self) -> Result<()> {
        self.set_door(true).await
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// How many connections are open.
    pub fn connections(&self) -> u64 {
        self.counts().open()
    }

    /// Waits until the counts are as wanted. Without a time limit: it is the test's.
    pub async fn until(&self, wanted: impl FnMut(&Counts) -> bool) -> Counts {
        let mut counts = self.shared.counts.subscribe();
        // Its sender lives as long as this proxy.
        counts.wait_for(wanted).await.map_or_else(|_| self.counts(), |counts| *counts)
    }

    async fn set_door(&self, open: bool) -> Result<()> {
        let (done, outcome) = oneshot::channel();
        let gone = || io::Error::other("the runtime of the proxy is gone");
        let asked = self.doors.send(Door { open, done });
        let outcome = match asked {
            Ok(()) => outcome.await.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(gone()),
        };
        outcome.map_err(Error::io(format!("listen on {}", self.address())))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Owns the connections: they end with it.
async fn listen(address: SocketAddr, shared: Arc<Shared>, mut wanted: mpsc::UnboundedReceiver<Door>) {
    let mut listener = None;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            door = wanted.recv() => {
                let Some(Door { open, done }) = door else { return };
                let outcome = set(&mut listener, open, address).await;
                let _ = done.send(outcome);
            }
            Some(client) = accept(listener.as_ref()) => {
                let connection = shared.admit();
                connections.spawn(connection::serve(client, connection));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn set(listener: &mut Option<TcpListener>, open: bool, address: SocketAddr) -> io::Result<()> {
    if !open {
        *listener = None;
    } else if listener.is_none() {
        *listener = Some(TcpListener::bind(address).await?);
    }
    Ok(())
}

/// `None` if the client was gone before it was seen.
async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(client, _)| client),
        None => std::future::pending().await,
    }
}
