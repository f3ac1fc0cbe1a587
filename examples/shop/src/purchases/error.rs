//! What is wrong with an input, said in one short line: file, line, field, what was expected, what stands
//! there.
//!
//! Text from the file is foreign: it is cut to [`FOUND_CHARS_MAX`] characters and its control characters are
//! escaped, so that no input can write to a terminal or fill a log.

use std::fmt::{self, Display};
use std::io;

use super::{AMOUNT_CENTS_MAX, CDS_MAX, LINE_BYTES_MAX};

/// The most characters of a bad line that an error shows, escapes included.
pub const FOUND_CHARS_MAX: usize = 40;

/// A field of a purchase line, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Who bought: 1 to 10 digits.
    CustomerId,
    /// When: `YYYYMMDD`.
    Date,
    /// How many CDs: a whole number from 1.
    NumberOfCds,
    /// For how much: dollars with two decimals.
    Amount,
}

impl Field {
    /// All four, as they stand on a line.
    pub const ALL: [Field; 4] = [Field::CustomerId, Field::Date, Field::NumberOfCds, Field::Amount];

    fn name(self) -> &'static str {
        match self {
            Field::CustomerId => "customer id",
            Field::Date => "date",
            Field::NumberOfCds => "number of CDs",
            Field::Amount => "amount",
        }
    }

    fn expected(self) -> String {
        match self {
            Field::CustomerId => "1 to 10 digits, such as 00001".into(),
            Field::Date => "a day that exists, as YYYYMMDD, such as 19970101".into(),
            Field::NumberOfCds => format!("a whole number from 1 to {CDS_MAX}, such as 2"),
            Field::Amount => {
                format!("dollars with two decimals, at most {}.00, such as 11.77", AMOUNT_CENTS_MAX / 100)
            }
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What kind of thing is wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// There is no such file.
    Missing,
    /// The path is a directory.
    Directory,
    /// The operating system refuses to open or to read it.
    Unreadable(io::Error),
    /// It ends without a single purchase.
    Empty,
    /// A line is longer than [`LINE_BYTES_MAX`].
    LineTooLong,
    /// A byte that is not UTF-8, in this field (`None`: behind the last one).
    NotUtf8 {
        /// The field that the byte stands in.
        field: Option<Field>,
        /// The first byte that is not UTF-8.
        byte: u8,
    },
    /// A line has more or fewer than four fields; a blank line that is not the last one has none.
    FieldCount {
        /// How many it has.
        found: usize,
        /// The line.
        text: String,
    },
    /// A field is not what it should be.
    BadField {
        /// Which one.
        field: Field,
        /// What stands there.
        text: String,
    },
}

/// An input that cannot be used, or not from this line on. Its text is one line, made for the person who
/// wrote the file.
#[derive(Debug)]
pub struct InputError {
    file: String,
    line: Option<u64>,
    fault: Fault,
}

impl InputError {
    pub(super) fn of_file(file: &str, fault: Fault) -> Self {
        Self { file: file.to_owned(), line: None, fault }
    }

    pub(super) fn of_line(file: &str, line: u64, fault: Fault) -> Self {
        Self { file: file.to_owned(), line: Some(line), fault }
    }

    /// The number of the bad line, from 1; `None` where the file as a whole is bad.
    pub fn line(&self) -> Option<u64> {
        self.line
    }

    /// What is wrong.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }
}

impl Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", escaped(&self.file))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl std::error::Error for InputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Unreadable(source) => Some(source),
            _ => None,
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing => f.write_str("expected a file of purchases; there is no such file"),
            Fault::Directory => f.write_str("expected a file of purchases; found a directory"),
            Fault::Unreadable(source) => write!(f, "expected a readable file of purchases; {source}"),
            Fault::Empty => f.write_str("expected at least one purchase; found none"),
            Fault::LineTooLong => {
                write!(f, "line: expected at most {LINE_BYTES_MAX} bytes; found a longer one")
            }
            Fault::NotUtf8 { field, byte } => {
                let place = field.map_or("fields", Field::name);
                write!(f, "{place}: expected UTF-8 text; found the byte 0x{byte:02x}")
            }
            Fault::FieldCount { found, text } => {
                let names = Field::ALL.map(Field::name).join(", ");
                write!(
                    f,
                    "fields: expected 4 separated by spaces ({names}); found {found} in {}",
                    Found(text)
                )
            }
            Fault::BadField { field, text } => {
                write!(f, "{field}: expected {}; found {}", field.expected(), Found(text))
            }
        }
    }
}

/// Foreign text in quotes, on one line, cut.
struct Found<'a>(&'a str);

impl Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CUT: &str = "...";
        let mut shown = String::new();
        let mut chars_shown = 0;
        let mut fits_with_cut = 0;
        for character in self.0.chars() {
            let escape = escape(character);
            chars_shown += escape.chars().count();
            if chars_shown > FOUND_CHARS_MAX {
                shown.truncate(fits_with_cut);
                shown.push_str(CUT);
                break;
            }
            shown.push_str(&escape);
            if chars_shown + CUT.len() <= FOUND_CHARS_MAX {
                fits_with_cut = shown.len();
            }
        }
        write!(f, "\"{shown}\"")
    }
}

fn escaped(text: &str) -> String {
    text.chars().map(escape).collect()
}

/// Quotes stay as they are, for a person to recognise; what cannot be seen does not.
fn escape(character: char) -> String {
    match character {
        '"' | '\'' => character.to_string(),
        _ => character.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> String {
        Found(text).to_string()
    }

    #[test]
    fn short_text_is_shown_whole() {
        let forty = "x".repeat(40);
        assert_eq!(found("12.5"), "\"12.5\"");
        assert_eq!(found(&forty), format!("\"{forty}\""));
    }

    #[test]
    fn long_text_is_cut_to_forty_characters() {
        let expected = format!("\"{}...\"", "x".repeat(37));
        assert_eq!(found(&"x".repeat(41)), expected);
        assert_eq!(found(&"x".repeat(4096)), expected);
        assert_eq!(found(&"é".repeat(41)), expected.replace('x', "é"));
    }

    #[test]
    fn escapes_count_as_what_they_show_and_are_never_cut_in_half() {
        let shown = found(&"\u{1b}".repeat(30));
        assert_eq!(shown, format!("\"{}...\"", "\\u{1b}".repeat(6)));
        assert!(shown.chars().count() <= FOUND_CHARS_MAX + 2);
    }

    #[test]
    fn nothing_of_foreign_text_reaches_the_terminal_raw() {
        assert_eq!(found("a\tb\u{1b}[2J"), "\"a\\tb\\u{1b}[2J\"");
        assert_eq!(found("a\u{202e}b"), "\"a\\u{202e}b\"");
        let error = InputError::of_file("a\nb\u{7}.txt", Fault::Missing);
        assert_eq!(error.to_string(), "a\\nb\\u{7}.txt: expected a file of purchases; there is no such file");
    }
}
