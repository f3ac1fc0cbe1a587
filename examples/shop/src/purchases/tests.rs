//! Whole files, good and bad, and the figures of the real one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;

use proptest::prelude::*;

use super::*;

const HEADER: &str = " customer_id  date number_of_cds  dollar_value\r\n";

fn purchases(bytes: impl Into<Vec<u8>>) -> Purchases {
    let source = io::Cursor::new(bytes.into());
    Purchases::new("purchases.txt".into(), Lines::new(Box::new(source)), None)
}

/// How many purchases were read, and the error that ended the reading.
fn outcome(bytes: impl Into<Vec<u8>>) -> (usize, Option<String>) {
    let mut count = 0;
    for purchase in purchases(bytes) {
        match purchase {
            Ok(_) => count += 1,
            Err(error) => return (count, Some(error.to_string())),
        }
    }
    (count, None)
}

fn real() -> Vec<Purchase> {
    Purchases::built_in().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_file_is_read_with_and_without_header_line_ends_and_a_blank_line_at_the_end() {
    let body = " 00001 19970101  1   11.77\n 00002 19970112  1   12.00";
    for header in ["", HEADER, "customer_id date number_of_cds dollar_value\n"] {
        for end in ["", "\n", "\r\n", "\n\n", "\r\n\r\n", "\n   ", "\n   \n"] {
            assert_eq!(outcome(format!("{header}{body}{end}")), (2, None), "{header:?} {end:?}");
        }
    }
}

#[test]
fn purchases_before_the_bad_line_are_read_and_none_after_it() {
    let file = format!("{HEADER}00001 19970101 1 11.77\n00002 19970112 1 12.5\n00003 19970112 1 12.00\n");
    let mut purchases = purchases(file);
    assert_eq!(purchases.next().unwrap().unwrap().customer, 1);
    let error = purchases.next().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "purchases.txt:3: amount: expected dollars with two decimals, at most 1000000.00, such as 11.77; \
         found \"12.5\""
    );
    assert_eq!(error.line(), Some(3));
    assert!(purchases.next().is_none());
}

#[test]
fn a_file_without_a_purchase_is_refused() {
    let expected = "purchases.txt: expected at least one purchase; found none";
    for empty in ["", "\n", "\r\n", "   ", HEADER, &format!("{HEADER}\n")] {
        assert_eq!(outcome(empty), (0, Some(expected.into())), "{empty:?}");
    }
}

#[test]
fn a_blank_line_that_is_not_the_last_is_refused() {
    let good = "00001 19970101 1 11.77\n";
    let at = |line: u64| {
        format!(
            "purchases.txt:{line}: fields: expected 4 separated by spaces (customer id, date, number of CDs, \
             amount); found 0 in \"\""
        )
    };
    assert_eq!(outcome(format!("{good}\n{good}")), (1, Some(at(2))));
    assert_eq!(outcome(format!("{good}{good}\n\n")), (2, Some(at(3))));
    assert_eq!(outcome(format!("\n{good}")), (0, Some(at(1))));
    assert_eq!(outcome(format!("{HEADER}\n{good}")), (0, Some(at(2))));
}

#[test]
fn a_header_that_comes_twice_or_late_is_refused() {
    let (count, error) = outcome(format!("{HEADER}{HEADER}"));
    assert_eq!(count, 0);
    assert!(error.unwrap().starts_with("purchases.txt:2: customer id: "));
    let (count, error) = outcome(format!("00001 19970101 1 11.77\n{HEADER}"));
    assert_eq!(count, 1);
    assert!(error.unwrap().starts_with("purchases.txt:2: customer id: "));
}

#[test]
fn a_line_that_is_too_long_is_refused_where_it_stands() {
    let file = format!("00001 19970101 1 11.77\n{}", "1".repeat(1_000_000));
    let expected = "purchases.txt:2: line: expected at most 4096 bytes; found a longer one";
    assert_eq!(outcome(file), (1, Some(expected.into())));
}

#[test]
fn bytes_that_are_not_utf8_are_refused_where_they_stand() {
    let (count, error) = outcome(b"00001 19970101 1 11.77\n00001 19970101 \xff 11.77\n".to_vec());
    let expected = "purchases.txt:2: number of CDs: expected UTF-8 text; found the byte 0xff";
    assert_eq!((count, error.as_deref()), (1, Some(expected)));
}

#[test]
fn a_file_that_is_not_there_and_a_directory_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let complaint = |path: &Path| Purchases::open(path).map(|_| ()).unwrap_err().to_string();
    let missing = folder.path().join("none.txt");
    let shown = missing.display();
    assert_eq!(complaint(&missing), format!("{shown}: expected a file of purchases; there is no such file"));
    let shown = folder.path().display();
    assert_eq!(complaint(folder.path()), format!("{shown}: expected a file of purchases; found a directory"));
}

#[test]
fn a_file_on_disk_is_read_and_its_lines_are_counted_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("purchases.txt");
    fs::write(&path, "00001 19970101 1 11.77\n00001 19970101 1 11.77\n").unwrap();
    let purchases = Purchases::open(&path).unwrap();
    assert_eq!(purchases.lines_expected(), Some(2));
    let ids: BTreeSet<Uuid> = purchases.map(|purchase| purchase.unwrap().id).collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn leading_zeros_make_no_other_customer() {
    let ids: Vec<_> = ["00001 19970101 1 11.77", "1 19970101 01 011.77"]
        .map(|line| purchases(line).next().unwrap().unwrap())
        .to_vec();
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn a_shelf_is_the_unit_price_in_whole_dollars_rounded_down() {
    let shelf = |cds, amount_cents| {
        Purchase { id: Uuid::nil(), customer: 1, date: Date::new(1997, 1, 1).unwrap(), cds, amount_cents }
            .shelf()
    };
    assert_eq!(shelf(1, 1_177), "cd-11");
    assert_eq!(shelf(2, 2_399), "cd-11");
    assert_eq!(shelf(2, 2_400), "cd-12");
    assert_eq!(shelf(3, 0), "cd-0");
    assert_eq!(shelf(99, 99), "cd-0");
}

#[test]
fn the_real_file_has_the_figures_of_its_readme() {
    let real = real();
    let cents = |purchases: &[Purchase]| purchases.iter().map(|purchase| purchase.amount_cents).sum::<i64>();
    let mut by_customer: HashMap<u64, usize> = HashMap::new();
    for purchase in &real {
        *by_customer.entry(purchase.customer).or_default() += 1;
    }
    assert_eq!(real.len(), 69_659);
    assert_eq!(by_customer.len(), 23_570);
    assert_eq!(by_customer.values().filter(|count| **count == 1).count(), 11_908);
    assert_eq!(by_customer[&14_048], 217);
    assert_eq!(real.iter().map(|purchase| u64::from(purchase.cds)).sum::<u64>(), 167_881);
    assert_eq!(real.iter().map(|purchase| purchase.cds).max(), Some(99));
    assert_eq!(cents(&real), 250_031_563);
    assert_eq!(real.iter().map(|purchase| purchase.amount_cents).max(), Some(128_601));
    assert_eq!(real.iter().filter(|purchase| purchase.amount_cents == 0).count(), 80);
    let undivided = real.iter().filter(|purchase| purchase.amount_cents % i64::from(purchase.cds) != 0);
    assert_eq!(undivided.count(), 18_269);
    let days: BTreeSet<Date> = real.iter().map(|purchase| purchase.date).collect();
    assert_eq!(days.len(), 546);
    assert_eq!(days.first().unwrap().to_string(), "1997-01-01");
    assert_eq!(days.last().unwrap().to_string(), "1998-06-30");
    assert_eq!(real.iter().map(Purchase::shelf).collect::<BTreeSet<_>>().len(), 140);
}

#[test]
fn the_real_file_has_the_months_of_its_readme() {
    let mut by_month: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for purchase in real() {
        let month = by_month.entry(purchase.date.year_month()).or_default();
        month.0 += 1;
        month.1 += purchase.amount_cents;
    }
    assert_eq!(by_month, readme_months());
}

/// The table of months in `data/README.md`.
fn readme_months() -> BTreeMap<String, (u64, i64)> {
    include_str!("../../data/README.md")
        .lines()
        .filter(|line| line.starts_with("| 199"))
        .map(|line| {
            let cells: Vec<String> = line.split('|').map(|cell| cell.trim().replace(',', "")).collect();
            (cells[1].clone(), (cells[2].parse().unwrap(), cells[3].parse().unwrap()))
        })
        .collect()
}

#[test]
fn every_purchase_of_the_real_file_has_an_identity_of_its_own() {
    let real = real();
    let ids: BTreeSet<Uuid> = real.iter().map(|purchase| purchase.id).collect();
    assert_eq!(ids.len(), real.len());
    let mut alike: HashMap<(u64, Date, u32, i64), usize> = HashMap::new();
    for purchase in &real {
        let content = (purchase.customer, purchase.date, purchase.cds, purchase.amount_cents);
        *alike.entry(content).or_default() += 1;
    }
    let repeated: Vec<usize> = alike.into_values().filter(|count| *count > 1).collect();
    assert_eq!(repeated.len(), 215);
    assert_eq!(repeated.iter().sum::<usize>(), 470);
    assert_eq!(repeated.iter().max(), Some(&9));
}

/// Bytes that look like a file often enough to reach every branch.
fn almost_a_file() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"00001 19970101 1 11.77\n".to_vec()),
        Just(HEADER.as_bytes().to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b" ".to_vec()),
        Just(b"20010229".to_vec()),
        Just(vec![b'9'; 5_000]),
        "[0-9]{1,22}\\.[0-9]{0,3}".prop_map(String::into_bytes),
        "\\PC{0,8}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..64),
    ];
    proptest::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn any_bytes_give_purchases_within_the_limits_or_one_short_line(bytes in almost_a_file()) {
        let newlines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let mut purchases = purchases(bytes);
        for purchase in purchases.by_ref() {
            match purchase {
                Ok(purchase) => {
                    prop_assert!((1..=CDS_MAX).contains(&purchase.cds));
                    prop_assert!((0..=AMOUNT_CENTS_MAX).contains(&purchase.amount_cents));
                    prop_assert!(purchase.customer <= 9_999_999_999);
                }
                Err(error) => {
                    let text = error.to_string();
                    prop_assert!(text.starts_with("purchases.txt:"));
                    prop_assert!(text.chars().count() <= 200, "{}", text);
                    prop_assert!(!text.chars().any(char::is_control), "{}", text);
                    prop_assert!(error.line().unwrap_or(1) <= newlines + 1);
                }
            }
        }
        prop_assert!(purchases.next().is_none());
    }

    #[test]
    fn what_is_written_is_read_again(
        customer in 0_u64..=9_999_999_999,
        (year, month, day) in (1_u16..=9999, 1_u8..=12, 1_u8..=28),
        cds in 1..=CDS_MAX,
        cents in 0..=AMOUNT_CENTS_MAX,
    ) {
        let line = format!("{customer:05} {year:04}{month:02}{day:02} {cds} {}.{:02}", cents / 100, cents % 100);
        let purchase = purchases(line).next().unwrap().unwrap();
        prop_assert_eq!(purchase.customer, customer);
        prop_assert_eq!(purchase.date, Date::new(year, month, day).unwrap());
        prop_assert_eq!(purchase.cds, cds);
        prop_assert_eq!(purchase.amount_cents, cents);
    }
}
