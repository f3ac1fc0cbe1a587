//! What follows from the bus's answers, and from what the store has written of them.

use std::time::Duration;

use super::rows::Stands;
use super::settling::Fate;
use super::{Output, Relay, Report};
use crate::integration::{Answer, OnDeadLetter};
use crate::port::{FailedTry, GivenUp};

impl Relay {
    pub(super) fn answered(&mut self, now: Duration, answers: Vec<(u64, Answer)>, out: &mut Vec<Output>) {
        for (ticket, answer) in answers {
            // An answer to what was let go of changes nothing.
            let Some(at) = self.hand.rows.sent(ticket) else { continue };
            let key = self.hand.rows[at].key;
            self.hand.keys[key].unanswered -= 1;
            if self.hand.rows[at].stands == Stands::Disowned {
                self.hand.rows.remove(at);
            } else {
                self.hand.rows.answer(at);
                self.note(now, at, answer);
            }
            if self.hand.keys[key].unanswered == 0 {
                self.judge(now, key, out);
            }
        }
    }

    fn note(&mut self, now: Duration, at: u32, answer: Answer) {
        let key = self.hand.rows[at].key;
        if answer == Answer::Confirmed {
            self.bus_failures = 0;
            self.kinds.get(self.hand.rows[at].kind).told = false;
            self.settling.push(now, self.hand.rows.handle(at), Fate::Confirmed);
            return;
        }
        // Of several of a key that failed in one batch only the first says why: the others stopped behind it.
        let behind = match self.hand.keys[key].failed.take() {
            Some(first) if self.hand.rows[first.0].seq < self.hand.rows[at].seq => {
                self.hand.keys[key].failed = Some(first);
                Some(at)
            }
            other => {
                self.hand.keys[key].failed = Some((at, answer));
                other.map(|(at, _)| at)
            }
        };
        if let Some(at) = behind {
            self.hand.forget_row(at, &self.scan);
        }
    }

    /// All that was on its way of a key is answered.
    fn judge(&mut self, now: Duration, key: u32, out: &mut Vec<Output>) {
        let Some((at, answer)) = self.hand.keys[key].failed.take() else {
            self.hand.keys[key].unroutable = 0;
            self.hand.look_at(key, &self.scan);
            return;
        };
        self.hand.forget_waiting(key, &self.scan);
        match answer {
            Answer::Confirmed => {}
            Answer::Refused(reason) => self.refused(now, at, reason, out),
            Answer::Unroutable => self.unroutable(now, at, out),
            Answer::Unknown(reason) => {
                self.hand.forget_row(at, &self.scan);
                self.bus_failed(now, reason, out);
                self.hand.rest(key, self.bus_rests_until);
            }
        }
    }

    fn refused(&mut self, now: Duration, at: u32, reason: String, out: &mut Vec<Output>) {
        self.bus_failures = 0;
        let held = &mut self.hand.rows[at];
        held.attempts = held.attempts.saturating_add(1);
        let (seq, key, attempts, kind) = (held.seq, held.key, held.attempts, held.kind);
        let handle = self.hand.rows.handle(at);
        self.hand.keys[key].settling += 1;
        if attempts < self.options.attempts_max {
            let again_after = self.options.refused.delay(attempts, &mut self.jitter);
            self.hand.keys[key].missing.add(seq);
            self.hand.rest(key, now + again_after);
            out.push(Output::Report(Report::Refused { seq, attempts, reason: reason.clone() }));
            self.settling.push(now, handle, Fate::Failed(FailedTry { seq, attempts, again_after, reason }));
            return;
        }
        let kind = self.kinds.get(kind);
        let (policy, r#type) = (kind.policy, kind.name.clone());
        out.push(Output::Report(Report::GivenUp { seq, r#type, policy, reason: reason.clone() }));
        self.settling.push(now, handle, Fate::GivenUp(GivenUp { seq, attempts, reason, policy }));
        if policy == OnDeadLetter::Halt {
            self.halting = Some(handle);
            self.forget_all_waiting();
        }
    }

    fn unroutable(&mut self, now: Duration, at: u32, out: &mut Vec<Output>) {
        let (key, kind) = (self.hand.rows[at].key, self.hand.rows[at].kind);
        self.hand.forget_row(at, &self.scan);
        let state = &mut self.hand.keys[key];
        state.unroutable = state.unroutable.saturating_add(1);
        let until = now + self.options.unroutable.delay(state.unroutable, &mut self.jitter);
        self.hand.rest(key, until);
        let kind = self.kinds.get(kind);
        kind.rests_until = kind.rests_until.max(until);
        if !std::mem::replace(&mut kind.told, true) {
            out.push(Output::Report(Report::Unroutable(kind.name.clone())));
        }
    }

    /// Nothing that is in hand may still be published; what a read on its way brings neither.
    fn forget_all_waiting(&mut self) {
        self.scan.restart();
        for key in self.hand.keys.all() {
            self.hand.forget_waiting(key, &self.scan);
            self.hand.look_at(key, &self.scan);
        }
    }

    /// The row whose dead letter halts this route, until that is written; from then on the store shows no rows.
    pub(super) fn halting(&self) -> Option<u64> {
        self.halting.filter(|handle| self.hand.rows.answered(*handle).is_some())
    }

    pub(super) fn settle(&mut self, now: Duration, out: &mut Vec<Output>) {
        let unanswered = self.hand.rows.unanswered();
        if now < self.settling.due_at(unanswered, self.is_closing(), &self.options) {
            return;
        }
        if let Some(settlement) = self.settling.begin(now, &self.hand.rows) {
            out.push(Output::Settle(self.leases.held(), settlement));
        }
    }

    pub(super) fn settled(&mut self, now: Duration, changed: usize) {
        let written = self.settling.written();
        if changed < written.len() {
            // Somebody else may hold a bucket now; what belongs to it is dropped when the answer says so.
            self.leases.hurry(now);
        }
        let reading = self.scan.reading().is_some();
        for (handle, fate) in written {
            let Some(at) = self.hand.rows.answered(handle) else { continue };
            let key = self.hand.rows[at].key;
            self.hand.rows.written(at, reading);
            let state = &mut self.hand.keys[key];
            match fate {
                Fate::Confirmed => continue,
                Fate::Failed(_) | Fate::GivenUp(GivenUp { policy: OnDeadLetter::Skip, .. }) => {}
                // The store shows no rows of the key any more: there is nothing to wait for.
                Fate::GivenUp(_) => state.missing.range = None,
            }
            state.settling -= 1;
            state.missing.left_out_in = self.scan.number();
            self.hand.look_at(key, &self.scan);
        }
    }
}
