//! One publishing channel: what is sent on it, what is unanswered, and what becomes of that when the channel ends.
//!
//! A key always takes the same lane, so its envelopes reach the broker in the order in which they were handed over.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use factum::Envelope;
use factum::integration::{Answer, Confirm};
use lapin::Channel;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::confirms::{Confirms, Identity, Verdict};
use crate::connection::{Link, Up};
use crate::error::{NOT_FOUND, PRECONDITION_FAILED, reply_code};
use crate::headers;
use crate::publish::Room;
use crate::topology::Topology;

/// One publication on its way to the broker.
pub(crate) struct Item {
    pub(crate) envelope: Envelope,
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) pending: Pending,
}

/// The part of it that waits for an answer.
pub(crate) struct Pending {
    pub(crate) confirm: Confirm,
    pub(crate) since: Instant,
    /// Given back with the answer.
    pub(crate) room: Room,
}

impl Pending {
    fn answer(self, answer: Answer) {
        drop(self.room);
        self.confirm.answer(answer);
    }
}

/// Why a channel is no longer used.
enum End {
    /// Its connection is gone.
    Lost(Arc<str>),
    /// The broker closed it, or it failed otherwise.
    Failed(lapin::Error),
    /// The broker did not answer in time.
    Silent,
    /// Nobody publishes any more.
    Done,
}

/// Publishes what comes in.
pub(crate) struct Lane {
    link: Arc<Link>,
    topology: Arc<Topology>,
    inbox: mpsc::UnboundedReceiver<Item>,
    deadline: Duration,
    /// Not sent yet, because the broker takes nothing at the moment.
    waiting: VecDeque<Item>,
    /// How many are to go one by one, after one of them made the broker close the channel.
    one_by_one: usize,
    /// When the broker last gave a sign of taking something.
    heard: Instant,
}

impl Lane {
    pub(crate) fn new(
        link: Arc<Link>,
        topology: Arc<Topology>,
        inbox: mpsc::UnboundedReceiver<Item>,
        deadline: Duration,
    ) -> Self {
        let (waiting, heard) = (VecDeque::new(), Instant::now());
        Self { link, topology, inbox, deadline, waiting, one_by_one: 0, heard }
    }

    /// Ends when the bus does.
    pub(crate) async fn run(mut self) {
        while let Some(up) = self.next_connection().await {
            let mut confirms = Confirms::new();
            let end = match self.open(&up).await {
                Ok(channel) => self.serve(&up, &Arc::new(channel), &mut confirms).await,
                Err(_) => End::Silent,
            };
            if let End::Done = end {
                return;
            }
            self.conclude(&up, end, confirms).await;
        }
    }

    /// Waits for a connection. What comes in meanwhile cannot be sent, and its sender need not wait to learn it.
    async fn next_connection(&mut self) -> Option<Up> {
        let link = Arc::clone(&self.link);
        let mut up = std::pin::pin!(link.up());
        loop {
            tokio::select! {
                biased;
                up = &mut up => return up,
                item = self.inbox.recv() => {
                    item?.pending.answer(Answer::Unknown("not connected to RabbitMQ".into()));
                }
            }
        }
    }

    async fn open(&self, up: &Up) -> Result<Channel, crate::Error> {
        let channel = self.topology.channel(up).await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        up.ask("asking for confirms", confirms).await?;
        Ok(channel)
    }

    async fn serve(&mut self, up: &Up, channel: &Arc<Channel>, confirms: &mut Confirms<Pending>) -> End {
        let mut blocked = up.blocked.clone();
        let mut tick = tokio::time::interval((self.deadline / 8).max(Duration::from_millis(20)));
        let link = Arc::clone(&self.link);
        let mut lost = std::pin::pin!(link.lost(up.generation));
        self.heard = Instant::now();
        loop {
            let is_blocked = *blocked.borrow_and_update();
            self.send_waiting(is_blocked, channel, confirms);
            tokio::select! {
                biased;
                why = &mut lost => return End::Lost(why),
                verdicts = poll_fn(|cx| confirms.poll(cx)) => {
                    if let Some(error) = self.answer(verdicts, confirms.len()) {
                        return End::Failed(error);
                    }
                }
                item = self.inbox.recv() => match item {
                    Some(item) => self.accept(item),
                    None => return End::Done,
                },
                changed = blocked.changed() => match changed {
                    Ok(()) => self.heard = Instant::now(),
                    Err(_) => return End::Lost("the connection was lost".into()),
                },
                now = tick.tick() => if self.expire(now, confirms) && !is_blocked {
                    return End::Silent;
                },
            }
        }
    }

    /// Takes the item, and what else is there, up to a handful: answers want to be looked at as well.
    fn accept(&mut self, item: Item) {
        const HANDFUL: usize = 64;
        self.waiting.push_back(item);
        for _ in 1..HANDFUL {
            let Ok(item) = self.inbox.try_recv() else { break };
            self.waiting.push_back(item);
        }
    }

    fn send_waiting(&mut self, is_blocked: bool, channel: &Arc<Channel>, confirms: &mut Confirms<Pending>) {
        while !is_blocked && (self.one_by_one == 0 || confirms.len() == 0) {
            let Some(Item { envelope, exchange, routing_key, pending }) = self.waiting.pop_front() else {
                break;
            };
            let properties = headers::properties(&envelope);
            let Envelope { source, id, data, .. } = envelope;
            let channel = Arc::clone(channel);
            confirms.add(Identity { source, id }, pending, async move {
                let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
                channel.basic_publish(exchange, routing_key, options, &data, properties).await?.await
            });
        }
    }

    /// Answers what has waited too long, and says whether the broker was silent all the time.
    fn expire(&mut self, now: Instant, confirms: &mut Confirms<Pending>) -> bool {
        let is_over = |pending: &Pending| now - pending.since >= self.deadline;
        let sent = confirms.give_up(is_over);
        let unsent = self.waiting.iter().take_while(|item| is_over(&item.pending)).count();
        let was_silent = !sent.is_empty() && now - self.heard >= self.deadline;
        let unsent = self.waiting.drain(..unsent).map(|item| item.pending);
        for pending in sent.into_iter().chain(unsent) {
            let why = format!("RabbitMQ did not answer within {:?}", self.deadline);
            pending.answer(Answer::Unknown(why));
        }
        was_silent
    }

    /// Gives the answers, and returns the error that ended the channel, if one did.
    fn answer(&mut self, verdicts: Vec<(Pending, Verdict)>, in_flight: usize) -> Option<lapin::Error> {
        let mut failure = None;
        let (went_alone, count) = (self.one_by_one > 0, verdicts.len());
        for (pending, verdict) in verdicts {
            match verdict {
                Verdict::Taken => pending.answer(Answer::Confirmed),
                Verdict::Returned => pending.answer(Answer::Unroutable),
                // Other queues may have it. It says nothing against the envelope: a queue is full, or moving.
                Verdict::Nacked => {
                    pending.answer(Answer::Unknown("RabbitMQ could not store it in every queue".into()));
                }
                Verdict::Failed(error) => {
                    pending.answer(failed(&error, went_alone));
                    failure = Some(error);
                }
            }
        }
        self.heard = Instant::now();
        self.one_by_one = match &failure {
            // One of them was the cause; alone, it will show.
            Some(error) if is_objection(error) && !went_alone => count + in_flight,
            _ => self.one_by_one.saturating_sub(count),
        };
        failure
    }

    async fn conclude(&mut self, up: &Up, end: End, confirms: Confirms<Pending>) {
        let why = match end {
            End::Lost(why) => why.to_string(),
            End::Silent => {
                self.link.suspect(up.generation);
                self.link.lost(up.generation).await.to_string()
            }
            End::Failed(error) => {
                if reply_code(&error) == Some(NOT_FOUND) {
                    self.topology.forget().await;
                }
                error.to_string()
            }
            End::Done => return,
        };
        let sent = confirms.give_up_all().into_iter();
        for pending in sent.chain(self.waiting.drain(..).map(|item| item.pending)) {
            pending.answer(Answer::Unknown(why.clone()));
        }
    }
}

/// The broker closes the channel over one message, such as one that is too large for it.
fn is_objection(error: &lapin::Error) -> bool {
    reply_code(error) == Some(PRECONDITION_FAILED)
}

/// The one that went alone is the one that the broker objected to.
fn failed(error: &lapin::Error, went_alone: bool) -> Answer {
    match went_alone && is_objection(error) {
        true => Answer::Refused(error.to_string()),
        false => Answer::Unknown(error.to_string()),
    }
}
