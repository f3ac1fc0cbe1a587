//! The input: real purchases, one a line, read strictly and one at a time.
//!
//! The format: lines ended by LF or CR LF; on each, four fields separated by spaces: customer id (1 to 10
//! digits), date (`YYYYMMDD`), number of CDs (from 1), amount in dollars with two decimals. The first line
//! may be a header, `customer_id date number_of_cds dollar_value`. The last line may lack its line end, and
//! one blank line may follow it.
//!
//! It refuses to guess: the first line that is not a purchase ends the reading with an [`InputError`] that
//! names file, line and field. What was read before it stands. Nothing here knows what an order is.

mod error;
mod identity;
mod lines;
mod parse;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::iter::FusedIterator;
use std::path::Path;

use uuid::Uuid;

use crate::kernel::Date;

pub use self::error::{FOUND_CHARS_MAX, Fault, Field, InputError};
use self::identity::{Content, Identities};
use self::lines::Lines;

/// The longest line, in bytes without its line end.
pub const LINE_BYTES_MAX: usize = 4096;
/// The most CDs of one purchase.
pub const CDS_MAX: u32 = 1_000_000;
/// The largest amount of one purchase, in cents: $1,000,000.00.
pub const AMOUNT_CENTS_MAX: i64 = 100_000_000;

/// The data set that is compiled in, so that the binary alone is enough to run; see `data/README.md` for its
/// origin.
const BUILT_IN: &[u8] = include_bytes!("../data/cdnow.txt");
const BUILT_IN_NAME: &str = "cdnow.txt (built in)";

/// Somebody bought some CDs on a day, for an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// Made of the content and the how-manieth of that content this is: the same in every run, whatever
    /// stands around the line.
    pub id: Uuid,
    /// Who bought, 0..=9,999,999,999; leading zeros in the file do not count.
    pub customer: u64,
    /// When.
    pub date: Date,
    /// How many CDs, 1..=[`CDS_MAX`].
    pub cds: u32,
    /// For how much in all, in cents, 0..=[`AMOUNT_CENTS_MAX`]. The number of CDs need not divide it.
    pub amount_cents: i64,
}

impl Purchase {
    fn new(id: Uuid, content: Content) -> Self {
        let Content { customer, date, cds, amount_cents } = content;
        Self { id, customer, date, cds, amount_cents }
    }

    /// The shelf that the CDs come from: `cd-` and the unit price in whole dollars, rounded down. A stand-in:
    /// the data has no titles.
    pub fn shelf(&self) -> String {
        format!("cd-{}", self.amount_cents / i64::from(self.cds) / 100)
    }
}

/// The purchases of one file, in its order. It ends after the last one, or after the first error.
///
/// Memory: one line, and about 50 bytes for each distinct purchase so far, to tell repeated ones apart.
pub struct Purchases {
    file: String,
    lines: Lines,
    line: u64,
    identities: Identities,
    lines_expected: Option<u64>,
    any: bool,
    ended: bool,
}

impl Purchases {
    /// The data set that is compiled into the program.
    pub fn built_in() -> Self {
        let expected = count_lines(BUILT_IN).ok();
        Self::new(BUILT_IN_NAME.to_owned(), Lines::new(Box::new(BUILT_IN)), expected)
    }

    /// The purchases in a file.
    ///
    /// # Errors
    ///
    /// There is no such file, it is a directory, or it may not be read.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        let name = path.display().to_string();
        let fault = |fault| InputError::of_file(&name, fault);
        let file = File::open(path).map_err(|source| fault(unopened(source)))?;
        let metadata = file.metadata().map_err(|source| fault(Fault::Unreadable(source)))?;
        if metadata.is_dir() {
            return Err(fault(Fault::Directory));
        }
        // A pipe can be read only once, so its length stays unknown.
        let expected = if metadata.is_file() { File::open(path).and_then(count_lines).ok() } else { None };
        Ok(Self::new(name, Lines::new(Box::new(BufReader::new(file))), expected))
    }

    fn new(file: String, lines: Lines, lines_expected: Option<u64>) -> Self {
        Self {
            file,
            lines,
            line: 0,
            identities: Identities::default(),
            lines_expected,
            any: false,
            ended: false,
        }
    }

    /// About how many purchases there are, header included, where that can be known beforehand. For a
    /// progress bar, and for nothing else.
    pub fn lines_expected(&self) -> Option<u64> {
        self.lines_expected
    }

    fn read(&mut self) -> Result<Option<Purchase>, InputError> {
        let mut content = self.next_content()?;
        if self.line == 1 && content.is_none() {
            content = self.next_content()?;
        }
        match content {
            Some(content) => {
                self.any = true;
                Ok(Some(Purchase::new(self.identities.next(&content), content)))
            }
            None if self.any => Ok(None),
            None => Err(InputError::of_file(&self.file, Fault::Empty)),
        }
    }

    /// The content of the next line; `None` for the header, the blank line at the end, and the end.
    fn next_content(&mut self) -> Result<Option<Content>, InputError> {
        let line = self.line + 1;
        let fault = |fault| InputError::of_line(&self.file, line, fault);
        let Some(bytes) = self.lines.next().map_err(fault)? else {
            return Ok(None);
        };
        self.line = line;
        if line == 1 && parse::is_header(bytes) {
            return Ok(None);
        }
        let blank = parse::is_blank(bytes);
        let content = parse::content(bytes).map(Some).map_err(fault);
        // A blank line is as wrong as any other, unless nothing follows it.
        if blank && matches!(self.lines.next(), Ok(None)) {
            return Ok(None);
        }
        content
    }
}

impl Iterator for Purchases {
    type Item = Result<Purchase, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read().transpose();
        self.ended = !matches!(read, Some(Ok(_)));
        read
    }
}

impl FusedIterator for Purchases {}

fn unopened(source: io::Error) -> Fault {
    match source.kind() {
        io::ErrorKind::NotFound => Fault::Missing,
        io::ErrorKind::IsADirectory => Fault::Directory,
        _ => Fault::Unreadable(source),
    }
}

fn count_lines(mut source: impl Read) -> io::Result<u64> {
    let mut buffer = [0; 64 * 1024];
    let mut count = 0;
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(count),
            read => count += buffer.iter().take(read).filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

#[cfg(test)]
mod tests;
