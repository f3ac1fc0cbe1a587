//! Handing a batch over: each envelope enters all of its queues at once, or waits in line for the one that is full.
//!
//! Whoever waits stands in one line only and holds nothing meanwhile, so that two publishers cannot wait for each
//! other. A batch goes on one envelope a turn: a large one does not keep a small one out.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Closed;
use super::queue::{Key, Passage};
use super::state::{Effects, Shared, State};
use crate::integration::{Answer, Publication};
use crate::{BoxError, Envelope};

/// Ends when all of the batch was taken or answered. Dropped before, the rest is answered `Unknown`.
pub(super) struct Publish {
    shared: Arc<Shared>,
    batch: VecDeque<Publication>,
    /// Keys of which one was not taken, and the answer that the later ones of it get.
    stopped: HashMap<Key, Answer>,
    standing: Option<Standing>,
}

/// Its place in the line of a queue.
#[derive(Clone, Copy)]
struct Standing {
    queue: usize,
    id: u64,
}

impl Publish {
    pub(super) fn new(shared: Arc<Shared>, batch: Vec<Publication>) -> Self {
        Self { shared, batch: batch.into(), stopped: HashMap::new(), standing: None }
    }

    fn advance(
        &mut self,
        state: &mut State,
        effects: &mut Effects,
        waker: &Waker,
    ) -> Poll<Result<(), Closed>> {
        while let Some(next) = self.batch.front() {
            if state.closing {
                self.leave_line(state, effects);
                return Poll::Ready(Err(Closed));
            }
            let answer = self.objection(&next.envelope, state);
            if answer.is_none()
                && let Some(full) = self.obstacle(&next.envelope, state)
            {
                self.stand(full, state, effects, waker);
                return Poll::Pending;
            }
            self.leave_line(state, effects);
            if let Some(publication) = self.batch.pop_front() {
                match answer {
                    Some(answer) => self.stop(publication, answer, state, effects),
                    None => self.enter(publication, state, effects),
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Why the bus does not take it, if so.
    fn objection(&self, envelope: &Envelope, state: &State) -> Option<Answer> {
        if !self.stopped.is_empty() {
            let stopped = self.stopped.get(&Key::of(envelope));
            if stopped.is_some() {
                return stopped.cloned();
            }
        }
        let (bytes, most) = (envelope.data.len(), self.shared.options.data_bytes_max);
        if bytes > most {
            return Some(Answer::Refused(format!("data has {bytes} bytes, this bus takes {most}")));
        }
        match state.routes.contains_key(&*envelope.r#type) {
            true => None,
            false => Some(Answer::Unroutable),
        }
    }

    /// The queue that it has to wait for, if any.
    fn obstacle(&self, envelope: &Envelope, state: &State) -> Option<usize> {
        let bound = self.shared.options.queue_bound;
        let mut takers = state.routes.get(&*envelope.r#type)?.iter().copied();
        match self.standing {
            None => takers.find(|&at| state.queues[at].len >= bound || state.queues[at].line_len() > 0),
            Some(it) if state.queues[it.queue].is_first_in_line(it.id) => {
                takers.find(|&at| state.queues[at].len >= bound)
            }
            Some(it) => Some(it.queue),
        }
    }

    fn enter(&self, publication: Publication, state: &mut State, effects: &mut Effects) {
        let envelope = Arc::new(publication.envelope.into_inner());
        state.taps.record(&envelope);
        let Some(takers) = state.routes.get(&*envelope.r#type) else { return };
        let passage = Arc::new(Passage { envelope, confirm: publication.confirm });
        self.shared.expect_answer();
        for &taker in takers {
            state.queues[taker].push(Arc::clone(&passage));
            state.queues[taker].rouse(&mut effects.wake);
        }
    }

    /// It was not taken: later ones of its key must not get ahead of it.
    fn stop(&mut self, publication: Publication, answer: Answer, state: &mut State, effects: &mut Effects) {
        let Publication { envelope, confirm } = publication;
        let key = Key::of(&envelope);
        if answer == Answer::Unroutable {
            state.taps.record(&Arc::new(envelope.into_inner()));
        }
        self.stopped.entry(key).or_insert_with(|| match &answer {
            Answer::Refused(_) => Answer::Unknown("not taken: one before it of its key was refused".into()),
            other => other.clone(),
        });
        effects.answers.push((confirm, answer));
    }

    fn stand(&mut self, queue: usize, state: &mut State, effects: &mut Effects, waker: &Waker) {
        if self.standing.is_some_and(|standing| standing.queue != queue) {
            self.leave_line(state, effects);
        }
        let standing = *self.standing.get_or_insert_with(|| Standing { queue, id: state.next_id() });
        state.queues[queue].stand(standing.id, waker);
    }

    fn leave_line(&mut self, state: &mut State, effects: &mut Effects) {
        if let Some(standing) = self.standing.take() {
            let queue = &mut state.queues[standing.queue];
            queue.leave(standing.id);
            queue.call_next(self.shared.options.queue_bound, &mut effects.wake);
            state.look_for_quiet(effects);
        }
    }
}

impl Future for Publish {
    type Output = Result<(), BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let shared = Arc::clone(&this.shared);
        let outcome = shared.change(|state, effects| this.advance(state, effects, cx.waker()));
        if outcome.is_ready() {
            this.batch.clear();
        }
        outcome.map_err(Into::into)
    }
}

impl Drop for Publish {
    fn drop(&mut self) {
        if self.standing.is_some() {
            let shared = Arc::clone(&self.shared);
            shared.change(|state, effects| self.leave_line(state, effects));
        }
    }
}
