//! A moment, to the microsecond, in UTC. It is read strictly: a time that two services read differently is worse than
//! one that is refused.

use std::fmt;
use std::str::FromStr;

/// Microseconds since 1970-01-01T00:00:00Z; printed and parsed as RFC 3339. Years 0000 to 9999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A text that is no time of RFC 3339, within the years 0000 to 9999 in UTC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time of RFC 3339, such as {EXAMPLE}")]
pub struct NotATime(String);

const EXAMPLE: &str = "2026-11-25T18:30:00Z";
const MICROS: i64 = 1_000_000;
const DAY: i64 = 86_400;

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// As microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Later by so many microseconds.
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Reads a time of RFC 3339, with any offset, `T` and `Z` in either case.
    ///
    /// Digits of the second beyond the sixth are cut off. A leap second, which is only at 23:59:60 UTC, becomes the last
    /// microsecond before it: the count of microseconds has no place for it.
    ///
    /// # Errors
    /// [`NotATime`].
    pub fn parse(text: &str) -> Result<Self, NotATime> {
        parse(text.as_bytes()).ok_or_else(|| NotATime(text.chars().take(60).collect()))
    }
}

impl FromStr for Timestamp {
    type Err = NotATime;
    fn from_str(text: &str) -> Result<Self, NotATime> {
        Self::parse(text)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(MICROS);
        let micros = self.0.rem_euclid(MICROS);
        let (year, month, day) = civil_from_days(seconds.div_euclid(DAY));
        let of_day = seconds.rem_euclid(DAY);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        if !(0..10_000).contains(&year) {
            return write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z");
        }
        // Each envelope that leaves has one: the same text, without the machinery of formatting, in a tenth of the time.
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let parts =
            [(0, 4, year), (5, 2, month), (8, 2, day), (11, 2, hour), (14, 2, minute), (17, 2, second)];
        for (at, digits, number) in parts.into_iter().chain([(20, 6, micros)]) {
            let mut rest = number;
            for digit in text.iter_mut().skip(at).take(digits).rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

fn parse(text: &[u8]) -> Option<Timestamp> {
    let (whole, rest) = text.split_at_checked("2026-11-25T18:30:00".len())?;
    let is = |at: usize, what: u8| whole[at].eq_ignore_ascii_case(&what);
    if !(is(4, b'-') && is(7, b'-') && is(10, b't') && is(13, b':') && is(16, b':')) {
        return None;
    }
    let number = |from, to| number(&whole[from..to]);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 {
        return None;
    }
    let (micros, offset) = fraction(rest)?;
    let of_day = hour * 3600 + minute * 60 - offset_seconds(offset)?;
    let days = days_from_civil(year, month, day);
    let (second, micros) = match second {
        0..=59 => (second, micros),
        60 if of_day.rem_euclid(DAY) == DAY - 60 => (59, MICROS - 1),
        _ => return None,
    };
    let seconds = days * DAY + of_day + second;
    let in_range = (days_from_civil(0, 1, 1) * DAY..days_from_civil(10_000, 1, 1) * DAY).contains(&seconds);
    in_range.then_some(Timestamp(seconds * MICROS + micros))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// Microseconds, and what follows them.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(text) = text.strip_prefix(b".") else { return Some((0, text)) };
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let kept = digits.min(6);
    let scale = 10_i64.pow(6 - kept as u32);
    Some((number(&text[..kept])? * scale, &text[digits..]))
}

fn offset_seconds(text: &[u8]) -> Option<i64> {
    match text {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), rest @ ..] if rest.len() == 5 && rest[2] == b':' => {
            let (hours, minutes) = (number(&rest[..2])?, number(&rest[3..])?);
            let seconds = (hours <= 23 && minutes <= 59).then_some(hours * 3600 + minutes * 60)?;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// H. Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

/// H. Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn micros(text: &str) -> i64 {
        Timestamp::parse(text).unwrap().as_micros()
    }

    #[test]
    fn the_examples_of_rfc_3339_are_read() {
        assert_eq!(micros("1985-04-12T23:20:50.52Z"), 482_196_050_520_000);
        assert_eq!(micros("1996-12-19T16:39:57-08:00"), micros("1996-12-20T00:39:57Z"));
        assert_eq!(micros("1937-01-01T12:00:27.87+00:20"), micros("1937-01-01T11:40:27.870000Z"));
        assert_eq!(micros("1970-01-01t00:00:00z"), 0);
        assert_eq!(micros("1970-01-01T00:00:00-00:00"), 0);
    }

    #[test]
    fn a_leap_second_becomes_the_last_microsecond_before_it() {
        assert_eq!(
            Timestamp::parse("1990-12-31T23:59:60Z").unwrap().to_string(),
            "1990-12-31T23:59:59.999999Z"
        );
        assert_eq!(micros("1990-12-31T15:59:60.5-08:00"), micros("1990-12-31T23:59:60Z"));
        assert!(Timestamp::parse("1990-12-31T23:58:60Z").is_err(), "a leap second is at the end of a day");
    }

    #[test]
    fn digits_beyond_the_microsecond_are_cut_off() {
        assert_eq!(micros("1970-01-01T00:00:00.1234569999999999999999999Z"), 123_456);
        assert_eq!(micros("1969-12-31T23:59:59.0000019Z"), -999_999);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-11-25",
            "2026-11-25 18:30:00Z",
            "2026-11-25T18:30:00",
            "2026-11-25T18:30Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-11-31T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "2026-11-25T24:00:00Z",
            "2026-11-25T18:60:00Z",
            "2026-11-25T18:30:61Z",
            "2026-11-25T18:30:00.Z",
            "2026-11-25T18:30:00,5Z",
            "2026-11-25T18:30:00+2:00",
            "2026-11-25T18:30:00+0200",
            "2026-11-25T18:30:00+24:00",
            "2026-11-25T18:30:00+02:60",
            "2026-11-25T18:30:00ZZ",
            "+026-11-25T18:30:00Z",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2026-11-25T18:30:0äZ",
        ] {
            let error = Timestamp::parse(text).expect_err(text).to_string();
            assert_eq!(error, format!("{text:?} is no time of RFC 3339, such as 2026-11-25T18:30:00Z"));
        }
    }

    #[test]
    fn the_first_and_the_last_moment_are_read_and_printed() {
        for text in
            ["0000-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "2000-02-29T12:00:00.000001Z"]
        {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(micros in -62_167_219_200_000_000_i64..253_402_300_800_000_000) {
            let time = Timestamp::from_micros(micros);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }

        #[test]
        fn an_offset_moves_a_time_by_itself(minutes in 0_i64..1440) {
            let text = format!("2026-11-25T18:30:00+{:02}:{:02}", minutes / 60, minutes % 60);
            prop_assert_eq!(micros(&text), micros("2026-11-25T18:30:00Z") - minutes * 60 * MICROS);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = Timestamp::parse(&text);
        }
    }
}
