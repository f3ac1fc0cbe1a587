//! The day of a purchase: a date that exists in the Gregorian calendar, and nothing more.
//!
//! It refuses time of day, time zones and arithmetic; the file has none, and nobody here needs them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A day from 0001-01-01 to 9999-12-31 that exists; it is shown as `YYYY-MM-DD` and ordered by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// The day, or `None` where the calendar has no such day or the year is not in 1..=9999.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let exists = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day);
        exists.then_some(Self { year, month, day })
    }

    /// Reads eight digits, `YYYYMMDD`; `None` for anything else.
    pub fn from_digits(text: &str) -> Option<Self> {
        if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number: u32 = text.parse().ok()?;
        let year = u16::try_from(number / 10_000).ok()?;
        let month = u8::try_from(number / 100 % 100).ok()?;
        let day = u8::try_from(number % 100).ok()?;
        Self::new(year, month, day)
    }

    /// The year, 1..=9999.
    pub fn year(self) -> u16 {
        self.year
    }

    /// The month, 1..=12.
    pub fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1.
    pub fn day(self) -> u8 {
        self.day
    }

    /// The month as a key that sorts by time, such as `1997-01`.
    pub fn year_month(self) -> String {
        format!("{:04}-{:02}", self.year, self.month)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a day that exists, as YYYY-MM-DD; found {0:?}")]
pub struct NotADate(String);

impl FromStr for Date {
    type Err = NotADate;

    /// Reads what [`Display`](fmt::Display) shows, `YYYY-MM-DD`.
    fn from_str(text: &str) -> Result<Self, NotADate> {
        let read = match text.as_bytes() {
            [_, _, _, _, b'-', _, _, b'-', _, _] => Self::from_digits(&text.replace('-', "")),
            _ => None,
        };
        read.ok_or_else(|| NotADate(text.to_owned()))
    }
}

impl TryFrom<String> for Date {
    type Error = NotADate;

    fn try_from(text: String) -> Result<Self, NotADate> {
        text.parse()
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.to_string()
    }
}

fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_shown_as_year_month_day() {
        let date = Date::from_digits("19970103").unwrap();
        assert_eq!(date.to_string(), "1997-01-03");
        assert_eq!(date.year_month(), "1997-01");
        assert_eq!((date.year(), date.month(), date.day()), (1997, 1, 3));
    }

    #[test]
    fn only_days_of_the_calendar_are_dates() {
        for exists in ["20000229", "19960229", "19971231", "00010101", "99991231", "19970430"] {
            assert!(Date::from_digits(exists).is_some(), "{exists}");
        }
        for absent in
            ["20010229", "19000229", "19970431", "19971301", "19970001", "19970100", "19970132", "00000101"]
        {
            assert!(Date::from_digits(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn only_eight_digits_are_a_date() {
        for text in ["", "1997010", "199701011", "+1997010", "1997-1-1", "1997010a", "１９９７０１０１"]
        {
            assert!(Date::from_digits(text).is_none(), "{text}");
        }
    }

    #[test]
    fn dates_are_ordered_by_time() {
        let days =
            ["19970101", "19970201", "19970202", "19980101"].map(|text| Date::from_digits(text).unwrap());
        assert!(days.is_sorted());
    }
    #[test]
    fn what_is_shown_can_be_read() {
        let date = Date::new(1997, 1, 3).unwrap();
        assert_eq!("1997-01-03".parse(), Ok(date));
        assert_eq!(serde_json::to_string(&date).unwrap(), "\"1997-01-03\"");
        assert_eq!(serde_json::from_str::<Date>("\"1997-01-03\"").unwrap(), date);
    }

    #[test]
    fn a_text_that_is_no_day_is_not_read() {
        for text in ["", "19970103", "1997-02-29", "1997-1-003", "97-01-03", "1997-01-03T", "----------"] {
            assert_eq!(text.parse::<Date>(), Err(NotADate(text.to_owned())));
        }
    }
}
