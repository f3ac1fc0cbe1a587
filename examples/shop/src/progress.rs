//! How far the run is, for a person who watches: a bar on a terminal, plain lines otherwise, always on
//! standard error.
//!
//! It refuses to be a source of figures: the report is made from the databases, never from what was counted
//! here.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::grouped;

/// The shortest time between two plain lines: a log is not a terminal.
pub const PLAIN_LINE_EVERY: Duration = Duration::from_secs(2);

const REDRAWS_A_SECOND: u8 = 10;

/// How many orders have come how far, in the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Orders placed.
    pub placed: u64,
    /// Of them, those confirmed or cancelled.
    pub closed: u64,
}

/// Shows [`Counts`] as they grow.
pub struct Progress {
    output: Output,
    total: Option<u64>,
    last: Counts,
}

enum Output {
    Bar(ProgressBar),
    Lines { throttle: Throttle, since: Instant },
    Silent,
}

impl Progress {
    /// A bar where standard error is a terminal, plain lines otherwise, nothing where `silent`. `total` is
    /// how many orders there will be, where that is known.
    pub fn new(silent: bool, total: Option<u64>) -> Self {
        let output = if silent {
            Output::Silent
        } else if io::stderr().is_terminal() {
            Output::Bar(bar(total))
        } else {
            Output::Lines { throttle: Throttle::new(PLAIN_LINE_EVERY), since: Instant::now() }
        };
        Self { output, total, last: Counts::default() }
    }

    /// Corrects how many orders there will be.
    pub fn set_total(&mut self, total: u64) {
        self.total = Some(total);
        if let Output::Bar(bar) = &self.output {
            bar.set_length(total);
        }
    }

    /// Shows where the run is now. Cheap enough to call after every order.
    pub fn show(&mut self, counts: Counts) {
        self.last = counts;
        match &mut self.output {
            Output::Bar(bar) => {
                bar.set_position(counts.closed);
                bar.set_message(format!("{} placed", grouped(counts.placed)));
            }
            Output::Lines { throttle, since } => {
                if throttle.passes(since.elapsed()) {
                    write_line(counts, self.total);
                }
            }
            Output::Silent => {}
        }
    }

    /// Removes the bar, and says nothing more: the run has failed, and what it says is its failure.
    pub fn give_up(self) {
        if let Output::Bar(bar) = self.output {
            bar.finish_and_clear();
        }
    }

    /// Removes the bar, or writes a last line.
    pub fn finish(self) {
        match self.output {
            Output::Bar(bar) => bar.finish_and_clear(),
            Output::Lines { .. } => write_line(self.last, self.total),
            Output::Silent => {}
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_A_SECOND);
    let template = "{wide_bar} {human_pos} of {human_len} orders closed, {msg}, {eta} left";
    // The template is a constant; were it wrong, indicatif's own bar is better than none.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(total, target).with_style(style)
}

fn write_line(counts: Counts, total: Option<u64>) {
    // Nobody has to be able to read it.
    let _ = writeln!(io::stderr(), "{}", line(counts, total));
}

fn line(counts: Counts, total: Option<u64>) -> String {
    let of = total.map(|total| format!(" of {}", grouped(total))).unwrap_or_default();
    format!("{}{of} orders placed, {} closed", grouped(counts.placed), grouped(counts.closed))
}

/// Lets one through, then none for a while.
struct Throttle {
    every: Duration,
    next: Duration,
}

impl Throttle {
    fn new(every: Duration) -> Self {
        Self { every, next: every }
    }

    /// Whether one passes now, at this time since the start.
    fn passes(&mut self, now: Duration) -> bool {
        let passes = now >= self.next;
        if passes {
            self.next = now + self.every;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_line_passes_in_two_seconds() {
        let mut throttle = Throttle::new(PLAIN_LINE_EVERY);
        let passed: Vec<u64> =
            (0..10_000).filter(|millis| throttle.passes(Duration::from_millis(*millis))).collect();
        assert_eq!(passed, [2_000, 4_000, 6_000, 8_000]);
    }

    #[test]
    fn a_late_line_moves_the_next_one() {
        let mut throttle = Throttle::new(PLAIN_LINE_EVERY);
        assert!(throttle.passes(Duration::from_millis(5_000)));
        assert!(!throttle.passes(Duration::from_millis(6_999)));
        assert!(throttle.passes(Duration::from_millis(7_000)));
    }

    #[test]
    fn a_line_says_how_far_the_run_is() {
        let counts = Counts { placed: 12_000, closed: 9_500 };
        assert_eq!(line(counts, Some(69_659)), "12,000 of 69,659 orders placed, 9,500 closed");
        assert_eq!(line(counts, None), "12,000 orders placed, 9,500 closed");
    }

    #[test]
    fn the_bar_has_a_template_of_its_own() {
        let bar = bar(Some(10));
        bar.set_draw_target(ProgressDrawTarget::hidden());
        bar.set_position(3);
        assert_eq!((bar.position(), bar.length()), (3, Some(10)));
    }
}
