//! The command `shop`: options in, report out. Everything else is in the library, where tests reach it.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use shop::{Failure, Options, Report};

fn main() -> ExitCode {
    let options = Options::parse();
    if options.cleanup {
        return clean_up(&options);
    }
    let outcome = shop::run(&options);
    // Whoever closed the pipe does not want to read it; the exit status still tells.
    let _ = show(&outcome, options.json);
    ExitCode::from(shop::exit_status(&outcome))
}

fn clean_up(options: &Options) -> ExitCode {
    match shop::clean_up(options) {
        Ok(removed) => {
            let _ = write!(io::stdout(), "{removed}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(io::stderr(), "shop: {failure}");
            ExitCode::from(failure.exit_status())
        }
    }
}

fn show(outcome: &Result<Report, Failure>, json: bool) -> io::Result<()> {
    match outcome {
        Ok(report) if json => writeln!(io::stdout(), "{}", report.to_json()?),
        Ok(report) => write!(io::stdout(), "{report}"),
        Err(failure) => writeln!(io::stderr(), "shop: {failure}"),
    }
}
