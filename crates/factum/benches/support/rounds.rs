//! Compares two ways to do the same work: in alternating rounds of one run, so that what else the machine does hits
//! both, and by medians, so that a disturbed round does not count. It refuses to compare runs with each other.

use std::fmt;
use std::time::Duration;

/// The times of one way, a figure a round, in nanoseconds for one unit of its work.
#[derive(Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    /// Notes a round that did `units` of work in `time`.
    pub(crate) fn note(&mut self, time: Duration, units: usize) {
        self.0.push(time.as_nanos() as f64 / units as f64);
    }

    /// The median of the rounds.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Of each round, how many times as long as the same round of `other` it took.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(ours, other)| ours / other).collect())
    }

    /// Below this share of the rounds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(((sorted.len() - 1) as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
    }
}

/// One line of JSON: a figure of ours beside the same work by hand.
pub(crate) struct Figure<'a> {
    /// What was measured, and under which conditions: members of the JSON object, without braces.
    pub(crate) what: &'a str,
    /// Our way.
    pub(crate) ours: &'a Rounds,
    /// By hand.
    pub(crate) by_hand: &'a Rounds,
}

impl fmt::Display for Figure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, ours, by_hand } = self;
        let ratios = ours.over(by_hand);
        write!(
            f,
            r#"{{{what},"ours_ns":{:.1},"by_hand_ns":{:.1},"ratio":{:.3},"ratio_p10":{:.3},"ratio_p90":{:.3},"rounds":{}}}"#,
            ours.median(),
            by_hand.median(),
            ratios.median(),
            ratios.quantile(0.1),
            ratios.quantile(0.9),
            ratios.0.len(),
        )
    }
}
