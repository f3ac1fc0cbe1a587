//! One line of JSON for a figure, and medians: what is compared is measured in turn within one run, and a ratio is the
//! median over the rounds of ours divided by the limit of the same round. It refuses to compare runs with each other.

use std::fmt;

use serde_json::{Value, json};

/// What a round gave, once for each round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn note(&mut self, figure: f64) {
        self.0.push(figure);
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1) as f64;
        let (low, high) = ((last * share).floor() as usize, (last * share).ceil() as usize);
        match (sorted.get(low), sorted.get(high)) {
            (Some(low), Some(high)) => (low + high) / 2.0,
            _ => f64::NAN,
        }
    }

    /// Round by round, how many times the other's figure.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(ours, other)| ours / other).collect())
    }
}

/// A line, member by member, in the order in which they are put in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Vec<(String, Value)>);

impl Line {
    /// The members that every line begins with. What does not apply is null.
    pub(crate) fn of(bench: &str, store: Option<&str>, bus: Option<&str>) -> Self {
        let mut line = Self::default();
        line.put("bench", bench).put("store", store).put("bus", bus);
        for later in ["payload", "keys", "relays", "limit", "ours_per_s", "limit_per_s", "ratio"] {
            line.put(later, Value::Null);
        }
        line
    }

    pub(crate) fn put(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        match self.0.iter_mut().find(|(there, _)| there == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
        self
    }

    /// Rates of both sides, the ratio, and how far they spread.
    pub(crate) fn rates(&mut self, limit: &str, ours: &Rounds, by_hand: &Rounds) -> &mut Self {
        let ratios = ours.over(by_hand);
        self.put("limit", limit)
            .put("ours_per_s", ours.median().round())
            .put("limit_per_s", by_hand.median().round())
            .put("ratio", hundredths(ratios.median()))
            .put("ratio_least", hundredths(ratios.quantile(0.0)))
            .put("ratio_most", hundredths(ratios.quantile(1.0)))
            .put("rounds", ours.0.len())
    }

    pub(crate) fn print(&self) {
        println!("{self}");
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.0.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())));
        write!(f, "{{{}}}", members.collect::<Vec<_>>().join(","))
    }
}

/// Two decimals are more than a busy machine can hold.
pub(crate) fn hundredths(figure: f64) -> Value {
    json!((figure * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(figures: &[f64]) -> Rounds {
        Rounds(figures.to_vec())
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_middle_two() {
        assert_eq!(rounds(&[9.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(rounds(&[4.0, 1.0, 2.0, 9.0]).median(), 3.0);
        assert!(rounds(&[]).median().is_nan());
    }

    #[test]
    fn a_ratio_is_taken_within_a_round_and_not_between_medians() {
        let mut line = Line::of("relay", Some("postgres"), Some("nats"));
        line.rates("claim", &rounds(&[1.0, 20.0, 300.0]), &rounds(&[2.0, 10.0, 100.0]));
        let begins =
            r#"{"bench":"relay","store":"postgres","bus":"nats","payload":null,"keys":null,"relays":null,"#;
        let ends = r#""limit":"claim","ours_per_s":20.0,"limit_per_s":10.0,"ratio":2.0,"ratio_least":0.5,"ratio_most":3.0,"rounds":3}"#;
        assert_eq!(line.to_string(), format!("{begins}{ends}"));
        assert!(serde_json::from_str::<Value>(&line.to_string()).is_ok());
    }
}
