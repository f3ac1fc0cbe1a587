//! One thing after the other happens, any that can; and in the end all that is left.

use std::time::Duration;

use super::{Faults, Input, KEYS, NO_FAULTS, PARKED, SKIPPED, Stored, World};

impl World {
    pub(super) fn step(&mut self) {
        let at = self.pick(2);
        match self.random.up_to(11) {
            0 => {
                self.commit();
                if self.random.up_to(999) < self.faults.requeues * 12 {
                    self.requeue();
                }
            }
            1..=3 => self.carry_out(at),
            4 | 5 => {
                if let Some(answer) = self.nodes[at].answers.pop_front() {
                    self.tell(at, answer);
                }
            }
            6..=8 => self.answer(at),
            9 => self.tell(at, Input::Hint),
            _ => {
                let pauses = self.chance(self.faults.pauses);
                let millis = self.random.up_to(if pauses { 15_000 } else { 30 });
                self.now += Duration::from_millis(millis);
                // One of them may sleep through it.
                let woken = if pauses { at..at + 1 } else { 0..2 };
                woken.for_each(|at| self.tell(at, Input::Tick));
            }
        }
    }

    /// Somebody's transaction: draws a `seq` now, or commits the one that it drew.
    fn commit(&mut self) {
        let key = self.random.up_to(KEYS - 1);
        let seq = match self.store.drawn.remove(&key) {
            Some(seq) => seq,
            None => {
                self.store.last += 1;
                if self.chance(30) {
                    self.store.drawn.insert(key, self.store.last);
                    return;
                }
                self.store.last
            }
        };
        let r#type = if key.is_multiple_of(2) { PARKED } else { SKIPPED };
        self.store.rows.insert(seq, Stored { key, r#type, attempts: 0 });
        self.all.insert(seq, key);
    }

    /// A person puts a dead letter back, under the `seq` that it had; those of its key that followed come after it.
    fn requeue(&mut self) {
        // What follows a skipped one may be on its way.
        let parked = self.store.dead.iter().rfind(|(_, row)| self.store.parked.contains(&row.key));
        let Some((seq, row)) = parked.map(|(seq, row)| (*seq, row.clone())) else { return };
        self.store.dead.remove(&seq);
        self.store.parked.remove(&row.key);
        self.store.rows.insert(seq, Stored { attempts: 0, ..row });
        self.store.generation += 1;
    }

    /// All that is asked is done and answered, and time goes on as the relays want it; ends when nothing is left.
    pub(super) fn run_dry(&mut self) {
        self.faults = Faults { fail_stop: self.faults.fail_stop, ..NO_FAULTS };
        for (key, seq) in std::mem::take(&mut self.store.drawn) {
            self.store.rows.insert(seq, Stored { key, r#type: PARKED, attempts: 0 });
            self.all.insert(seq, key);
        }
        let began = self.now;
        while self.left() > 0 {
            assert!(self.now < began + Duration::from_secs(120), "{} rows are left", self.left());
            for at in 0..2 {
                while !self.nodes[at].at_bus.is_empty() {
                    self.answer(at);
                }
                while !self.nodes[at].asked.is_empty() {
                    self.carry_out(at);
                }
                while let Some(answer) = self.nodes[at].answers.pop_front() {
                    self.tell(at, answer);
                }
            }
            (0..2).for_each(|at| self.tell(at, Input::Tick));
            if self.nodes.iter().all(|node| node.asked.is_empty() && node.at_bus.is_empty()) {
                let wake = self.nodes.iter().map(|node| node.relay.wake_at()).min().unwrap_or_default();
                assert!(wake > self.now, "a relay wants to be asked again at once");
                self.now = wake.min(self.now + Duration::from_secs(20));
            }
        }
    }
}
