//! What a proxy is told to break, and what it counts: shared by the test that sets it and the connections that obey.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// A direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What the client says.
    ToServer,
    /// What the server says.
    ToClient,
}

impl Way {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];

    pub(super) fn opposite(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// How a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By an RST, as when a host crashed: the other side gets `ConnectionReset`.
    Reset,
    /// By a FIN, as when a process ended: the other side reads to the end.
    Close,
}

/// What a proxy has seen. All of it only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Connections of clients.
    pub accepted: u64,
    /// Those that ended, for whatever reason.
    pub ended: u64,
    /// Those that [`Proxy::cut_after`](super::Proxy::cut_after) ended.
    pub cut: u64,
    /// Bytes that were passed on to the server.
    pub to_server: u64,
    /// Bytes that were passed on to clients.
    pub to_client: u64,
    /// Bytes that a black hole took.
    pub swallowed: u64,
}

impl Counts {
    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.ended)
    }

    /// Bytes that were passed on in a direction.
    pub fn bytes(&self, way: Way) -> u64 {
        match way {
            Way::ToServer => self.to_server,
            Way::ToClient => self.to_client,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// For connections to come.
    pub(super) server: SocketAddr,
    to_server: OneWay,
    to_client: OneWay,
}

impl Faults {
    pub(super) fn of(&self, way: Way) -> &OneWay {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        }
    }

    fn of_mut(&mut self, way: Way) -> &mut OneWay {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OneWay {
    pub(super) delay: Duration,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) stalled: bool,
    pub(super) swallowed: bool,
    cut: Option<Cut>,
    /// How often a cut was armed: connections count anew for each.
    armed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    after: u64,
    end: End,
}

/// Bytes that a connection has passed on since a cut was armed.
#[derive(Debug, Default)]
pub(super) struct SinceArmed {
    armed: u64,
    bytes: u64,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) faults: watch::Sender<Faults>,
    pub(super) counts: watch::Sender<Counts>,
    /// The last order to end all connections.
    orders: watch::Sender<End>,
}

impl Shared {
    pub(super) fn new(server: SocketAddr) -> Self {
        let faults = Faults { server, to_server: OneWay::default(), to_client: OneWay::default() };
        Self {
            faults: watch::Sender::new(faults),
            counts: watch::Sender::default(),
            orders: watch::Sender::new(End::Close),
        }
    }

    pub(super) fn change(&self, way: Way, change: impl FnOnce(&mut OneWay)) {
        self.faults.send_modify(|faults| change(faults.of_mut(way)));
    }

    pub(super) fn arm(&self, way: Way, after: u64, end: End) {
        self.change(way, |faults| {
            faults.armed += 1;
            faults.cut = Some(Cut { after, end });
        });
    }

    pub(super) fn heal(&self) {
        for way in Way::BOTH {
            self.change(way, |faults| *faults = OneWay { armed: faults.armed, ..OneWay::default() });
        }
    }

    pub(super) fn order(&self, end: End) {
        // `send` would keep an order from itself while nobody listens, which is as well.
        self.orders.send_replace(end);
    }

    /// What a new connection holds; it counts as open until that is dropped.
    pub(super) fn admit(self: &Arc<Self>) -> Admitted {
        self.counts.send_modify(|counts| counts.accepted += 1);
        Admitted { shared: Arc::clone(self), orders: self.orders.subscribe() }
    }

    /// How many of `wanted` bytes may pass, and whether the connection is to be ended then. A cut serves once.
    pub(super) fn pass(&self, way: Way, wanted: usize, since: &mut SinceArmed) -> (usize, Option<End>) {
        let mut verdict = (wanted, None);
        self.faults.send_if_modified(|faults| {
            let faults = faults.of_mut(way);
            let Some(Cut { after, end }) = faults.cut else { return false };
            if since.armed != faults.armed {
                *since = SinceArmed { armed: faults.armed, bytes: 0 };
            }
            let left = after.saturating_sub(since.bytes);
            since.bytes += wanted as u64;
            if since.bytes >= after {
                faults.cut = None;
                verdict = (usize::try_from(left).unwrap_or(wanted), Some(end));
            }
            false // nobody waits for it
        });
        verdict
    }

    pub(super) fn passed(&self, way: Way, bytes: usize) {
        self.counts.send_modify(|counts| match way {
            Way::ToServer => counts.to_server += bytes as u64,
            Way::ToClient => counts.to_client += bytes as u64,
        });
    }

    pub(super) fn swallowed(&self, bytes: usize) {
        self.counts.send_modify(|counts| counts.swallowed += bytes as u64);
    }

    pub(super) fn was_cut(&self) {
        self.counts.send_modify(|counts| counts.cut += 1);
    }
}

/// A connection's share of the proxy.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) shared: Arc<Shared>,
    orders: watch::Receiver<End>,
}

impl Admitted {
    /// Resolves at the next order to end all connections.
    pub(super) async fn ordered(&mut self) -> End {
        match self.orders.changed().await {
            Ok(()) => *self.orders.borrow_and_update(),
            Err(_) => End::Close,
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.counts.send_modify(|counts| counts.ended += 1);
    }
}
