//! What arrived, in the order in which it did, and what must be true of it.

use std::collections::HashMap;

/// One envelope at the tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which connection of which relay brought it, in the order of connecting.
    pub connection: usize,
    /// Its ordering key.
    pub key: String,
    /// The how-manieth of its key it is, from 0.
    pub n: u64,
}

/// All that arrived.
#[derive(Clone, Debug, Default)]
pub struct History {
    arrivals: Vec<Arrival>,
    /// The next of each key that has not arrived yet.
    next: HashMap<String, u64>,
    repeats: usize,
    /// What came before an older one of its key had.
    overtakings: Vec<Arrival>,
}

impl History {
    /// Notes an arrival.
    pub fn note(&mut self, arrival: Arrival) {
        let next = self.next.entry(arrival.key.clone()).or_default();
        match arrival.n {
            n if n < *next => self.repeats += 1,
            n if n == *next => *next += 1,
            n => {
                self.overtakings.push(arrival.clone());
                *next = n + 1;
            }
        }
        self.arrivals.push(arrival);
    }

    /// How many arrived that had not arrived before.
    pub fn distinct(&self) -> usize {
        self.next.values().sum::<u64>() as usize - self.overtakings.len()
    }

    /// How many arrived again.
    pub fn repeats(&self) -> usize {
        self.repeats
    }

    /// In the order of arrival.
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// Checks that of each of these keys so many have arrived, each first in its order, and nothing else.
    ///
    /// # Panics
    /// Something was lost, invented, or came before an older one of its key.
    pub fn check(&self, expected: &HashMap<String, u64>) {
        let first = |arrivals: &[Arrival]| arrivals.first().map(|one| format!("{} {}", one.key, one.n));
        assert!(
            self.overtakings.is_empty(),
            "{} came before an older one of their key, the first was {:?}",
            self.overtakings.len(),
            first(&self.overtakings)
        );
        for (key, count) in expected {
            let came = self.next.get(key).copied().unwrap_or_default();
            assert_eq!(came, *count, "of key {key}");
        }
        let invented: Vec<_> = self.next.keys().filter(|key| !expected.contains_key(*key)).collect();
        assert!(invented.is_empty(), "nobody committed {invented:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[u64]) -> History {
        let mut history = History::default();
        numbers.iter().for_each(|n| history.note(Arrival { connection: 0, key: "a".into(), n: *n }));
        history
    }

    fn holds(history: &History, count: u64) -> bool {
        let expected = [("a".to_owned(), count)].into();
        std::panic::catch_unwind(|| history.check(&expected)).is_ok()
    }

    #[test]
    fn a_history_is_right_when_all_came_and_first_in_order() {
        assert!(holds(&of(&[0, 1, 0, 1, 2]), 3));
        assert_eq!((of(&[0, 1, 0, 1, 2]).repeats(), of(&[0, 1, 0, 1, 2]).distinct()), (2, 3));
        assert!(!holds(&of(&[0, 1]), 3), "one is lost");
        assert!(!holds(&of(&[0, 2, 1]), 3), "one overtook another");
        assert!(!holds(&of(&[0, 1, 2, 3]), 3), "one too many");
    }
}
