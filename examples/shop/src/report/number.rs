//! Whole numbers and cents as a person reads them. No floating point.

/// A count with its thousands apart: `69,659`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// An amount in cents, in dollars: `$2,500,315.63`, `-$0.05`.
pub fn dollars(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}${}.{:02}", grouped(cents / 100), cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let shown = [0, 12, 999, 1_000, 69_659, 100_000, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "12", "999", "1,000", "69,659", "100,000", "1,234,567"]);
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn cents_are_shown_as_dollars() {
        let shown = [0, 5, 1_177, 250_031_563, -5, -100_000].map(dollars);
        assert_eq!(shown, ["$0.00", "$0.05", "$11.77", "$2,500,315.63", "-$0.05", "-$1,000.00"]);
        assert_eq!(dollars(i64::MIN), "-$92,233,720,368,547,758.08");
    }
}
