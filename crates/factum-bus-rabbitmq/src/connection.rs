//! One connection that is made again whenever it is lost, each time with a new generation number.
//!
//! What was under way in one generation is over with it: nobody waits for an answer that can no longer come, and
//! nothing of it is done again by itself. Lapin's own recovery stays switched off, because it goes on as if nothing
//! had happened.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::tcp::OwnedTLSConfig;
use lapin::types::LongString;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, Event};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::error::Error;

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How often to look whether it is still there.
const LOOK: Duration = Duration::from_secs(1);
/// How long saying good-bye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// How to connect.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) uri: AMQPUri,
    pub(crate) name: String,
    /// In PEM.
    pub(crate) certificate_authority: Option<String>,
    /// For one try.
    pub(crate) deadline: Duration,
    /// For each answer afterwards.
    pub(crate) answers_within: Duration,
}

impl Recipe {
    /// One try.
    pub(crate) async fn connect(&self) -> Result<Connection, Error> {
        let properties = ConnectionProperties::default().with_connection_name(LongString::from(&*self.name));
        let what = || format!("connecting to {}:{}", self.uri.authority.host, self.uri.authority.port);
        let tls = OwnedTLSConfig { identity: None, cert_chain: self.certificate_authority.clone() };
        let runtime = lapin::runtime::default_runtime().map_err(|error| Error::of(what(), error))?;
        let connect = Connection::connect_uri_with_config(self.uri.clone(), properties, tls, runtime);
        match tokio::time::timeout(self.deadline, connect).await {
            Ok(connected) => connected.map_err(|error| Error::of(what(), error)),
            Err(_) => Err(Error::NoAnswer { what: what(), after: self.deadline }),
        }
    }
}

/// A connection of one generation.
#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) generation: u64,
    pub(crate) connection: Arc<Connection>,
    /// Whether the broker takes nothing at the moment.
    pub(crate) blocked: watch::Receiver<bool>,
    answers_within: Duration,
}

impl Up {
    /// Waits for the broker's answer: not longer than the deadline, nor longer than the connection lasts. What lapin
    /// is asked to do while a connection dies may never end.
    pub(crate) async fn ask<T>(
        &self,
        what: impl Into<String>,
        answer: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Error> {
        tokio::select! {
            answer = ask(self.answers_within, what, answer) => answer,
            () = self.gone() => Err(Error::Down { why: "the connection was lost".into() }),
        }
    }

    async fn gone(&self) {
        let mut blocked = self.blocked.clone();
        // Its keeper holds the sender as long as it holds the connection.
        while blocked.changed().await.is_ok() {}
    }
}

/// Waits for the broker's answer, not longer than `deadline`.
pub(crate) async fn ask<T>(
    deadline: Duration,
    what: impl Into<String>,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(deadline, answer).await {
        Ok(answer) => answer.map_err(|error| Error::of(what, error)),
        Err(_) => Err(Error::NoAnswer { what: what.into(), after: deadline }),
    }
}

#[derive(Clone)]
enum State {
    Down(Arc<str>),
    Up(Up),
    Closed,
}

/// A handle of the connection. Dropped, it ends.
pub(crate) struct Link {
    state: watch::Receiver<State>,
    orders: mpsc::UnboundedSender<Order>,
    keeper: JoinHandle<()>,
}

enum Order {
    /// It does not answer.
    Suspect(u64),
    Close,
}

impl Link {
    /// Connects, and keeps connected.
    pub(crate) async fn open(recipe: Recipe) -> Result<Self, Error> {
        let first = recipe.connect().await?;
        let (state, states) = watch::channel(State::Down("not connected yet".into()));
        let (orders, received) = mpsc::unbounded_channel();
        let mut keeper = Keeper { recipe, state, orders: received, generation: 0 };
        // Whoever opens it finds it open.
        let up = keeper.begin(first);
        let keeper = tokio::spawn(async move { keeper.keep(up).await });
        Ok(Self { state: states, orders, keeper })
    }

    /// Whether something can be published at the moment.
    pub(crate) fn takes(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(up) if !*up.blocked.borrow())
    }

    /// Waits for a connection, however long it takes. `None`: it was closed for good.
    pub(crate) async fn up(&self) -> Option<Up> {
        let mut state = self.state.clone();
        let is_settled = |state: &State| !matches!(state, State::Down(_));
        match state.wait_for(is_settled).await.as_deref() {
            Ok(State::Up(up)) => Some(up.clone()),
            _ => None,
        }
    }

    /// Waits for a connection as long as `deadline`.
    pub(crate) async fn up_within(&self, deadline: Duration) -> Result<Up, Error> {
        match tokio::time::timeout(deadline, self.up()).await {
            Ok(Some(up)) => Ok(up),
            Ok(None) => Err(Error::Closed),
            Err(_) => Err(Error::Down { why: self.why_down() }),
        }
    }

    /// Waits as long as `deadline` until something can be published.
    pub(crate) async fn takes_within(&self, deadline: Duration) -> Result<(), Error> {
        let mut up = self.up_within(deadline).await?;
        match tokio::time::timeout(deadline, up.blocked.wait_for(|blocked| !blocked)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Blocked { waited: deadline }),
        }
    }

    /// Ends when the connection of this generation does.
    pub(crate) async fn lost(&self, generation: u64) -> Arc<str> {
        let mut state = self.state.clone();
        let is_over = |state: &State| !matches!(state, State::Up(up) if up.generation == generation);
        match state.wait_for(is_over).await.as_deref() {
            Ok(State::Down(why)) => Arc::clone(why),
            Ok(State::Up(_)) => "the connection was lost".into(),
            Ok(State::Closed) | Err(_) => "the bus was closed".into(),
        }
    }

    /// It does not answer: let go of it, and make another one.
    pub(crate) fn suspect(&self, generation: u64) {
        let _ = self.orders.send(Order::Suspect(generation));
    }

    /// Says good-bye, and stays closed.
    pub(crate) async fn close(&self) {
        let _ = self.orders.send(Order::Close);
        let mut state = self.state.clone();
        let closed = state.wait_for(|state| matches!(state, State::Closed));
        let _ = tokio::time::timeout(GOODBYE * 2, closed).await;
        self.keeper.abort();
    }

    fn why_down(&self) -> String {
        match &*self.state.borrow() {
            State::Down(why) => why.to_string(),
            State::Up(_) => "it came back too late".into(),
            State::Closed => "it was closed".into(),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// The task behind a link.
struct Keeper {
    recipe: Recipe,
    state: watch::Sender<State>,
    orders: mpsc::UnboundedReceiver<Order>,
    generation: u64,
}

/// A connection, with what it tells of itself.
struct Held {
    generation: u64,
    connection: Arc<Connection>,
    events: std::pin::Pin<Box<dyn futures_util::Stream<Item = Event> + Send>>,
    blocked: watch::Sender<bool>,
}

impl Keeper {
    fn begin(&mut self, connection: Connection) -> Held {
        self.generation += 1;
        let events = Box::pin(connection.events_listener());
        let (blocked, is_blocked) = watch::channel(connection.status().blocked());
        let (generation, connection) = (self.generation, Arc::new(connection));
        let answers_within = self.recipe.answers_within;
        let up = Up { generation, connection: Arc::clone(&connection), blocked: is_blocked, answers_within };
        self.state.send_replace(State::Up(up));
        Held { generation, connection, events, blocked }
    }

    async fn keep(mut self, mut held: Held) {
        while let Some(why) = self.hold(held).await {
            tracing::warn!(connection = self.recipe.name, why, "lost the connection to RabbitMQ");
            self.state.send_replace(State::Down(why.into()));
            let Some(connection) = self.connect_again().await else { break };
            tracing::info!(connection = self.recipe.name, "connected to RabbitMQ again");
            held = self.begin(connection);
        }
        self.state.send_replace(State::Closed);
    }

    /// Ends when the connection does, and says why. `None`: it was closed on purpose.
    async fn hold(&mut self, mut held: Held) -> Option<String> {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                // What happened before somebody listened was told to nobody.
                _ = look.tick() => if !held.connection.status().connected() {
                    return Some("it ended".into());
                },
                event = held.events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(reason, "RabbitMQ blocks publishers");
                        held.blocked.send_replace(true);
                    }
                    Some(Event::ConnectionUnblocked) => drop(held.blocked.send_replace(false)),
                    Some(Event::Error(error)) if !held.connection.status().connected() => {
                        return Some(error.to_string());
                    }
                    None => return Some("it ended".into()),
                    // The end of a channel is its owner's to notice.
                    Some(_) if held.connection.status().connected() => {}
                    Some(_) => return Some("it ended".into()),
                },
                order = self.orders.recv() => match order {
                    Some(Order::Suspect(generation)) if generation == held.generation => {
                        return Some("RabbitMQ did not answer in time".into());
                    }
                    Some(Order::Suspect(_)) => {}
                    Some(Order::Close) | None => {
                        let goodbye = held.connection.close(200, "good-bye".into());
                        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
                        return None;
                    }
                },
            }
        }
    }

    /// Tries until it is connected. `None`: it was closed meanwhile.
    async fn connect_again(&mut self) -> Option<Connection> {
        let mut backoff = BACKOFF_FIRST;
        loop {
            let attempt = async {
                tokio::time::sleep(jittered(backoff)).await;
                self.recipe.connect().await
            };
            let tried = tokio::select! {
                tried = attempt => tried,
                () = closing(&mut self.orders) => return None,
            };
            match tried {
                Ok(connection) => return Some(connection),
                Err(error) => drop(self.state.send_replace(State::Down(error.to_string().into()))),
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}

/// Ends when the connection is to be closed.
async fn closing(orders: &mut mpsc::UnboundedReceiver<Order>) {
    while let Some(Order::Suspect(_)) = orders.recv().await {}
}

/// Between half of it and all of it, so that many do not come at once.
fn jittered(backoff: Duration) -> Duration {
    let share = RandomState::new().hash_one(0u8) % 512;
    backoff / 2 + backoff / 1_024 * share as u32
}
