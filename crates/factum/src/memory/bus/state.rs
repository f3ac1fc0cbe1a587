//! What all handles, consumers and deliveries of one bus share, behind one lock.
//!
//! Under the lock things are only decided. Waking and answering run code of others, so they come after it, in
//! [`Effects`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::queue::{Passage, Queue};
use super::tap::Taps;
use super::{Closed, MemoryBusOptions};
use crate::integration::{Answer, Confirm};
use crate::port::Timer;

pub(super) struct Shared {
    pub(super) timer: Box<dyn Timer>,
    pub(super) options: MemoryBusOptions,
    /// Envelopes that were taken and whose answer has not been given yet.
    unanswered: AtomicUsize,
    state: Mutex<State>,
}

impl Shared {
    pub(super) fn new(timer: Box<dyn Timer>, options: MemoryBusOptions) -> Self {
        let options = options.queue_bound(options.queue_bound.max(1));
        Self { timer, options, unanswered: AtomicUsize::new(0), state: Mutex::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock: a panic cannot have left half a change behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state under the lock, and wakes and answers after it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let value = change(&mut self.lock(), &mut effects);
        effects.run(self);
        value
    }

    /// An envelope was taken and will be answered. Under the lock.
    pub(super) fn expect_answer(&self) {
        self.unanswered.fetch_add(1, Ordering::SeqCst);
    }

    fn answered(&self, count: usize) {
        if count > 0 && self.unanswered.fetch_sub(count, Ordering::SeqCst) == count {
            self.change(|state, effects| state.look_for_quiet(effects));
        }
    }

    pub(super) fn is_quiet(&self, state: &State) -> bool {
        self.unanswered.load(Ordering::SeqCst) == 0 && state.in_flight() == 0
    }
}

/// What has to be done after the lock was released.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) wake: Vec<Waker>,
    /// To envelopes that were not taken.
    pub(super) answers: Vec<(Confirm, Answer)>,
    /// To envelopes that were taken.
    settled: Vec<(Confirm, Answer)>,
}

impl Effects {
    /// A queue is done with it. The last one answers.
    pub(super) fn settle(&mut self, passage: Arc<Passage>, answer: Answer) {
        if let Some(last) = Arc::into_inner(passage) {
            self.settled.push((last.confirm, answer));
        }
    }

    fn run(self, shared: &Shared) {
        let settled = self.settled.len();
        for (confirm, answer) in self.answers.into_iter().chain(self.settled) {
            confirm.answer(answer);
        }
        for waker in self.wake {
            waker.wake();
        }
        shared.answered(settled);
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) queues: Vec<Queue>,
    by_name: HashMap<String, usize>,
    /// The queues that take a type.
    pub(super) routes: HashMap<String, Vec<usize>>,
    pub(super) taps: Taps,
    pub(super) closing: bool,
    pub(super) ended: bool,
    ids: u64,
    quiet: Vec<(u64, Waker)>,
}

impl State {
    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// Registers the subscription and its types, and adds a consumer to it.
    pub(super) fn subscribe(
        &mut self,
        name: String,
        types: Vec<String>,
        prefetch: usize,
    ) -> Result<(usize, usize), Closed> {
        if self.closing {
            return Err(Closed);
        }
        let queue = *self.by_name.entry(name).or_insert_with(|| {
            self.queues.push(Queue::default());
            self.queues.len() - 1
        });
        for r#type in types {
            let takers = self.routes.entry(r#type).or_default();
            if !takers.contains(&queue) {
                takers.push(queue);
            }
        }
        Ok((queue, self.queues[queue].join(prefetch)))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.queues.iter().map(|queue| queue.len + queue.line_len()).sum()
    }

    pub(super) fn refuse_publishing(&mut self, effects: &mut Effects) {
        self.closing = true;
        for queue in &mut self.queues {
            queue.dissolve_line(&mut effects.wake);
        }
        self.look_for_quiet(effects);
    }

    pub(super) fn end(&mut self, effects: &mut Effects) {
        self.ended = true;
        for queue in &mut self.queues {
            for passage in queue.end(&mut effects.wake) {
                effects.settle(passage, Answer::Unknown("the bus closed before all had handled it".into()));
            }
        }
        self.look_for_quiet(effects);
    }

    /// Wakes those who wait for quiet, to look for themselves.
    pub(super) fn look_for_quiet(&mut self, effects: &mut Effects) {
        effects.wake.extend(self.quiet.drain(..).map(|(_, waker)| waker));
    }

    pub(super) fn wait_for_quiet(&mut self, id: u64, waker: &Waker) {
        self.forget_quiet(id);
        self.quiet.push((id, waker.clone()));
    }

    pub(super) fn forget_quiet(&mut self, id: u64) {
        self.quiet.retain(|(other, _)| *other != id);
    }
}
