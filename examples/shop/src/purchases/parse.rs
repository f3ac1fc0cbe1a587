//! One line of the file: its four fields, checked strictly and in whole numbers.
//!
//! No floating point anywhere: dollars become cents digit by digit. Only ASCII digits count, so `+1`, `1e3`
//! and digits of other scripts are refused.

use super::error::{Fault, Field};
use super::identity::Content;
use super::{AMOUNT_CENTS_MAX, CDS_MAX, Date};

const HEADER: [&str; 4] = ["customer_id", "date", "number_of_cds", "dollar_value"];
const CUSTOMER_ID_DIGITS_MAX: usize = 10;

/// Whether the line has the names of the four fields, as the first line of the file may.
pub(super) fn is_header(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(|text| fields(text).eq(HEADER))
}

/// Whether nothing but spaces stands on the line.
pub(super) fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| *byte == b' ')
}

/// What a purchase line says.
pub(super) fn content(line: &[u8]) -> Result<Content, Fault> {
    let text = utf8(line)?;
    let [customer, date, cds, amount] = four_fields(text)?;
    Ok(Content {
        customer: read(Field::CustomerId, customer, customer_id)?,
        date: read(Field::Date, date, Date::from_digits)?,
        cds: read(Field::NumberOfCds, cds, number_of_cds)?,
        amount_cents: read(Field::Amount, amount, amount_cents)?,
    })
}

fn fields(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|field| !field.is_empty())
}

fn utf8(line: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(line).map_err(|error| {
        let (before, rest) = line.split_at(error.valid_up_to());
        let byte = rest.first().copied().unwrap_or_default();
        Fault::NotUtf8 { field: Field::ALL.get(fields_begun(before)).copied(), byte }
    })
}

/// How many fields stand before the byte that follows `before`.
fn fields_begun(before: &[u8]) -> usize {
    let count = before.split(|byte| *byte == b' ').filter(|field| !field.is_empty()).count();
    let inside_a_field = before.last().is_some_and(|byte| *byte != b' ');
    count - usize::from(inside_a_field)
}

fn four_fields(text: &str) -> Result<[&str; 4], Fault> {
    let mut rest = fields(text);
    match (rest.next(), rest.next(), rest.next(), rest.next(), rest.next()) {
        (Some(customer), Some(date), Some(cds), Some(amount), None) => Ok([customer, date, cds, amount]),
        _ => Err(Fault::FieldCount { found: fields(text).count(), text: text.trim().to_owned() }),
    }
}

fn read<T>(field: Field, text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Fault> {
    parse(text).ok_or_else(|| Fault::BadField { field, text: text.to_owned() })
}

fn customer_id(text: &str) -> Option<u64> {
    if text.len() > CUSTOMER_ID_DIGITS_MAX { None } else { whole_number(text) }
}

fn number_of_cds(text: &str) -> Option<u32> {
    let cds = u32::try_from(whole_number(text)?).ok()?;
    (1..=CDS_MAX).contains(&cds).then_some(cds)
}

fn amount_cents(text: &str) -> Option<i64> {
    let (dollars, cents) = text.split_once('.')?;
    if cents.len() != 2 {
        return None;
    }
    let amount = whole_number(dollars)?.checked_mul(100)?.checked_add(whole_number(cents)?)?;
    i64::try_from(amount).ok().filter(|cents| *cents <= AMOUNT_CENTS_MAX)
}

/// One or more ASCII digits; `None` for anything else and for what does not fit.
fn whole_number(text: &str) -> Option<u64> {
    // `parse` alone would let a leading plus through.
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(line: &str) -> String {
        content(line.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_line_is_four_fields_with_any_spaces_around_them() {
        let expected =
            Content { customer: 2, date: Date::new(1997, 1, 12).unwrap(), cds: 5, amount_cents: 7_700 };
        for line in [" 00002 19970112  5   77.00", "2 19970112 5 77.00", "  00002   19970112 05 077.00  "] {
            assert_eq!(content(line.as_bytes()).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn the_limits_themselves_are_accepted() {
        let line = b"9999999999 99991231 1000000 1000000.00";
        let content = content(line).unwrap();
        assert_eq!(content.customer, 9_999_999_999);
        assert_eq!(content.cds, CDS_MAX);
        assert_eq!(content.amount_cents, AMOUNT_CENTS_MAX);
    }

    #[test]
    fn a_bad_amount_is_named() {
        for bad in [
            "12.5",
            "12",
            "12.",
            ".50",
            "12.500",
            "-1.00",
            "+1.00",
            "1e3",
            "1,000.00",
            "1000000.01",
            "$5.00",
            "1.-1",
            "1.+1",
            "NaN",
            "99999999999999999999.00",
            "184467440737095516.16",
        ] {
            assert_eq!(
                complaint(&format!("00001 19970101 1 {bad}")),
                format!(
                    "amount: expected dollars with two decimals, at most 1000000.00, such as 11.77; found \"{bad}\""
                )
            );
        }
    }

    #[test]
    fn a_bad_number_of_cds_is_named() {
        for bad in ["0", "-1", "+1", "1.0", "1000001", "4294967297", "18446744073709551617", "x", "２"] {
            assert_eq!(
                complaint(&format!("00001 19970101 {bad} 11.77")),
                format!(
                    "number of CDs: expected a whole number from 1 to 1000000, such as 2; found \"{bad}\""
                )
            );
        }
    }

    #[test]
    fn a_bad_date_is_named() {
        for bad in ["20010229", "1997010", "19971301", "tomorrow"] {
            assert_eq!(
                complaint(&format!("00001 {bad} 1 11.77")),
                format!("date: expected a day that exists, as YYYYMMDD, such as 19970101; found \"{bad}\"")
            );
        }
    }

    #[test]
    fn a_bad_customer_id_is_named() {
        for bad in ["12345678901", "-1", "+1", "0x1", "anna"] {
            assert_eq!(
                complaint(&format!("{bad} 19970101 1 11.77")),
                format!("customer id: expected 1 to 10 digits, such as 00001; found \"{bad}\"")
            );
        }
    }

    #[test]
    fn a_wrong_number_of_fields_is_counted() {
        let expected =
            "fields: expected 4 separated by spaces (customer id, date, number of CDs, amount); found ";
        assert_eq!(complaint(" 00001 19970101 1"), format!("{expected}3 in \"00001 19970101 1\""));
        assert_eq!(complaint("1 2 3 4 5 6"), format!("{expected}6 in \"1 2 3 4 5 6\""));
        assert_eq!(complaint(""), format!("{expected}0 in \"\""));
        assert_eq!(
            complaint("1\t19970101\t1\t11.77"),
            format!("{expected}1 in \"1\\t19970101\\t1\\t11.77\"")
        );
    }

    #[test]
    fn a_byte_that_is_not_utf8_is_named_with_its_field() {
        let complaint = |line: &[u8]| content(line).unwrap_err().to_string();
        assert_eq!(complaint(b" \xff"), "customer id: expected UTF-8 text; found the byte 0xff");
        assert_eq!(complaint(b" 1\xfe"), "customer id: expected UTF-8 text; found the byte 0xfe");
        assert_eq!(complaint(b"1 1997\xc3(01"), "date: expected UTF-8 text; found the byte 0xc3");
        assert_eq!(complaint(b"1 19970101 1 \x80"), "amount: expected UTF-8 text; found the byte 0x80");
        assert_eq!(complaint(b"1 2 3 4 \x80"), "fields: expected UTF-8 text; found the byte 0x80");
    }

    #[test]
    fn the_header_is_recognised_by_its_names() {
        assert!(is_header(b" customer_id  date number_of_cds  dollar_value"));
        assert!(!is_header(b" customer_id  date number_of_cds"));
        assert!(!is_header(b" 00001 19970101  1   11.77"));
        assert!(!is_header(b""));
    }
}
