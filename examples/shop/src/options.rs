//! What can be typed behind `shop`, and what it means.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;

use crate::deployment::Deployment;

/// Runs four services over real purchases and compares their databases at the end.
///
/// Every purchase is placed as an order; ordering, inventory and payment settle it among themselves by
/// integration events, and insight keeps the figures. By default everything is embedded: SQLite files and an
/// in-memory bus, one process, no server.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "shop",
    version,
    max_term_width = 100,
    after_help = "Exit status: 0 all figures agree, 1 some differ or a service failed, 2 bad input or usage."
)]
pub struct Options {
    /// Read the purchases from FILE instead of the built-in CDNOW data (69,659 purchases)
    ///
    /// One purchase a line: customer id, date as YYYYMMDD, number of CDs, dollars with two decimals,
    /// separated by spaces.
    #[arg(long, value_name = "FILE")]
    pub purchases: Option<PathBuf>,

    /// Place the first N purchases only
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    limit: Option<u64>,

    /// Decline the payment of so many orders in a hundred (never of one for $0.00)
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    pub decline: u8,

    /// Refuse so many orders in a hundred for want of stock
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    pub refuse: u8,

    /// Choose which orders --decline and --refuse hit: the same seed, the same orders
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Abort the process after N milliseconds, as a power cut would (for tests)
    #[arg(long, value_name = "N")]
    crash_after_ms: Option<u64>,

    /// Print the report and nothing else on standard output, as JSON on one line, and no progress
    #[arg(long)]
    pub json: bool,

    /// Remove all that runs in this place have left in the databases and on the bus, say what, and do nothing else
    #[arg(long)]
    pub cleanup: bool,

    /// Relay nothing: the program `relay` does, in another process with the same --store, --bus and --namespace
    #[arg(long)]
    pub no_relay: bool,

    /// Where it lives.
    #[command(flatten)]
    pub deployment: Deployment,
}

impl Options {
    /// How many purchases to place at most.
    pub fn limit(&self) -> usize {
        self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
    }

    /// When to abort the process.
    pub fn crash_after(&self) -> Option<Duration> {
        self.crash_after_ms.map(Duration::from_millis)
    }
}

fn percent() -> RangedU64ValueParser<u8> {
    RangedU64ValueParser::new().range(0..=100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(arguments: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(std::iter::once("shop").chain(arguments.split_whitespace()))
    }

    #[test]
    fn the_options_are_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn without_arguments_the_whole_built_in_file_is_placed_and_nothing_goes_wrong() {
        let options = parse("").unwrap();
        assert_eq!(options.limit(), usize::MAX);
        assert_eq!((options.decline, options.refuse, options.json), (0, 0, false));
        let Deployment { store, bus, namespace, data_dir } = options.deployment;
        assert_eq!((store.secret(), bus.secret()), ("sqlite:", "memory:"));
        assert_eq!((options.purchases, data_dir, namespace), (None, None, None));
        assert_eq!((options.cleanup, options.no_relay), (false, false));
        assert!(parse("").unwrap().crash_after().is_none());
    }

    #[test]
    fn every_option_is_understood() {
        let options = parse(
            "--purchases p.txt --limit 5 --data-dir d --decline 7 --refuse 100 --seed 3 --crash-after-ms 250 --json \
             --store postgres://a/b --bus nats://c --namespace n-1 --cleanup --no-relay",
        )
        .unwrap();
        assert_eq!(options.purchases, Some("p.txt".into()));
        assert_eq!(options.limit(), 5);
        assert_eq!(options.deployment.data_dir, Some("d".into()));
        assert_eq!((options.decline, options.refuse, options.seed), (7, 100, 3));
        assert_eq!(options.crash_after(), Some(Duration::from_millis(250)));
        assert!(options.json && options.cleanup && options.no_relay);
        let Deployment { store, bus, namespace, .. } = options.deployment;
        assert_eq!((store.secret(), bus.secret()), ("postgres://a/b", "nats://c"));
        assert_eq!(namespace.unwrap().as_str(), "n-1");
    }

    #[test]
    fn bad_usage_is_refused_with_exit_status_2() {
        for bad in [
            "--decline 101",
            "--decline -1",
            "--refuse 7.5",
            "--limit 0",
            "--limit x",
            "--seed -1",
            "--nonsense",
            "file.txt",
            "--purchases",
            "--crash-after-ms soon",
            "--namespace Shop",
        ] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad}");
        }
    }
}
