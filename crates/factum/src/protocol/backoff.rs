//! How long to wait before trying again, spread by a seed that comes in, so that a run can be repeated exactly.
//!
//! It counts nothing and remembers no failure: whoever tries knows its attempts.

use std::time::Duration;

/// Doubles from `first` up to `longest`, then picks evenly between nothing and that ("full jitter"): those who failed
/// together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure.
    pub first: Duration,
    /// No wait is longer.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after so many failures; 0 counts as 1.
    pub fn delay(&self, attempt: u32, jitter: &mut Jitter) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let most = self.first.saturating_mul(1 << doublings).min(self.longest);
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(jitter.up_to(nanos))
    }
}

/// A small pseudo-random sequence (SplitMix64): the same seed, the same waits. Not for secrets.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// Begins the sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number, between 0 and `most`, both included.
    pub fn up_to(&mut self, most: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * (u128::from(most) + 1);
        u64::try_from(wide >> 64).unwrap_or(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS: fn(u64) -> Duration = Duration::from_millis;

    fn longest_of(attempt: u32) -> Duration {
        let backoff = Backoff { first: MILLIS(200), longest: Duration::from_secs(300) };
        let mut jitter = Jitter::new(7);
        (0..2_000).map(|_| backoff.delay(attempt, &mut jitter)).max().unwrap_or_default()
    }

    #[test]
    fn the_wait_doubles_and_stays_under_the_longest() {
        for (attempt, most) in [(0, 200), (1, 200), (2, 400), (5, 3_200), (12, 300_000), (u32::MAX, 300_000)]
        {
            let longest = longest_of(attempt);
            assert!(longest <= MILLIS(most), "attempt {attempt} waited {longest:?}");
            assert!(
                longest >= MILLIS(most * 9 / 10),
                "attempt {attempt} never waited near {most} ms: {longest:?}"
            );
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_waits_and_another_seed_gives_others() {
        let backoff = Backoff { first: MILLIS(200), longest: MILLIS(5_000) };
        let waits = |seed| {
            let mut jitter = Jitter::new(seed);
            (1..20).map(|attempt| backoff.delay(attempt, &mut jitter)).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    #[test]
    fn up_to_reaches_both_ends() {
        let mut jitter = Jitter::new(3);
        let drawn: Vec<u64> = (0..200).map(|_| jitter.up_to(3)).collect();
        assert_eq!(drawn.iter().min(), Some(&0));
        assert_eq!(drawn.iter().max(), Some(&3));
    }
}
