//! JSON numbers by their exact decimal value, and as bytes that sort as they do.
//!
//! ```text
//!   number = 0x02                                                     zero, also -0 and 0e9
//!          | 0x03 | exponent + 400, u16 big-endian | pairs | 0x00     above zero
//!          | 0x01 | the complement of all that                        below zero
//!   value  = d.ddd… x 10^exponent, the first digit not 0              pair = 1 + 10 * digit + next digit (0 behind the last)
//! ```
//!
//! 1, 1.0 and 10e-1 have the same bytes. No number's bytes begin another one's.

/// The most significant digits of a number that an index tells from others.
pub const DIGITS_MAX: usize = 40;
/// The highest exponent of ten of such a number, and the lowest one without its sign.
pub const EXPONENT_MAX: i64 = 400;

const BELOW: u8 = 1;
const ZERO: u8 = 2;
const ABOVE: u8 = 3;

/// A number within those bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    is_negative: bool,
    /// Of the first digit.
    exponent: i64,
    /// 0 to 9 each; neither the first nor the last one is 0. Empty: zero.
    digits: Vec<u8>,
}

impl Decimal {
    /// From the text of a JSON number; none if it is not one, or out of bounds.
    pub(crate) fn parse(text: &str) -> Option<Decimal> {
        let (is_negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, shift) = match rest.split_once(['e', 'E']) {
            None => (rest, 0),
            Some((mantissa, shift)) => (mantissa, exponent_of(shift)?),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            None => (mantissa, ""),
            Some((_, "")) => return None,
            Some(both) => both,
        };
        let is_digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
        if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) || !is_digits(whole) || !is_digits(fraction)
        {
            return None;
        }
        let mut digits: Vec<u8> = Vec::new();
        let (mut first, mut zeros) = (0, 0);
        for (at, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
            match digit - b'0' {
                0 if digits.is_empty() => {}
                0 => zeros += 1,
                digit => {
                    if digits.is_empty() {
                        first = at;
                    }
                    if digits.len() + zeros + 1 > DIGITS_MAX {
                        return None;
                    }
                    digits.resize(digits.len() + std::mem::take(&mut zeros), 0);
                    digits.push(digit);
                }
            }
        }
        if digits.is_empty() {
            return Some(Decimal { is_negative: false, exponent: 0, digits });
        }
        let exponent = i64::try_from(whole.len()).ok()? - 1 - i64::try_from(first).ok()? + shift;
        (-EXPONENT_MAX..=EXPONENT_MAX).contains(&exponent).then_some(Decimal { is_negative, exponent, digits })
    }

    /// Appends the bytes.
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        if self.digits.is_empty() {
            to.push(ZERO);
            return;
        }
        to.push(if self.is_negative { BELOW } else { ABOVE });
        let begin = to.len();
        let exponent = u16::try_from(self.exponent + EXPONENT_MAX).expect("the exponent is within its bounds");
        to.extend_from_slice(&exponent.to_be_bytes());
        to.extend(self.digits.chunks(2).map(|pair| 1 + 10 * pair[0] + pair.get(1).copied().unwrap_or(0)));
        to.push(0);
        if self.is_negative {
            to[begin..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }

    /// As an integer; none if it is none, or has more than 18 digits.
    pub(crate) fn integer(&self) -> Option<i64> {
        let after = self.exponent + 1 - i64::try_from(self.digits.len()).ok()?;
        if self.digits.is_empty() {
            return Some(0);
        }
        if after < 0 || self.exponent > 17 {
            return None;
        }
        let value = self.digits.iter().fold(0, |value, digit| value * 10 + i64::from(*digit));
        let value = (0..after).fold(value, |value, _| value * 10);
        Some(if self.is_negative { -value } else { value })
    }
}

/// What stands behind the `e`. One that no other digits bring back within the bounds is as good as any other such one.
fn exponent_of(text: &str) -> Option<i64> {
    const FAR: i64 = 1 << 40;
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value = digits.bytes().fold(0, |value: i64, digit| (value * 10 + i64::from(digit - b'0')).min(FAR));
    Some(if is_negative { -value } else { value })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    fn bytes(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        Decimal::parse(text).unwrap().encode(&mut bytes);
        bytes
    }

    /// Both as integers of 500 digits behind the point and before it, compared as text.
    fn compare(left: &str, right: &str) -> Ordering {
        fn plain(text: &str) -> (bool, String) {
            let (is_negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
            let (mantissa, shift) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
            let shift: i64 = shift.parse().unwrap();
            let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap());
            let fraction_length = i64::try_from(fraction.len()).unwrap();
            let digits = format!("{whole}{fraction}{}", zeros(700 + shift - fraction_length));
            let digits = format!("{}{digits}", zeros(1500 - i64::try_from(digits.len()).unwrap()));
            let is_zero = digits.bytes().all(|digit| digit == b'0');
            (is_negative && !is_zero, digits)
        }
        match (plain(left), plain(right)) {
            ((false, left), (false, right)) => left.cmp(&right),
            ((true, left), (true, right)) => right.cmp(&left),
            ((true, _), (false, _)) => Ordering::Less,
            ((false, _), (true, _)) => Ordering::Greater,
        }
    }

    fn number() -> impl Strategy<Value = String> {
        let plain = ("-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,9})?", -30..30_i64).prop_map(|(text, shift)| match shift {
            -5..5 => text,
            shift => format!("{text}e{shift}"),
        });
        prop_oneof![plain, "-?[01](\\.[01]{1,3})?", "-?[1-9]0{0,3}e-?[0-3]"]
    }

    proptest! {
        #[test]
        fn bytes_sort_as_the_numbers_do((left, right) in (number(), number())) {
            prop_assert_eq!(bytes(&left).cmp(&bytes(&right)), compare(&left, &right), "{} {}", left, right);
        }
    }

    #[test]
    fn equal_numbers_have_the_same_bytes_however_they_are_written() {
        for same in [
            &["1", "1.0", "1e0", "10e-1", "0.1E+1", &format!("1.{}", "0".repeat(99))][..],
            &["0", "-0", "0.00", "0e99999", "-0e-5", "0e99999999999999999999999"],
            &["-1500", "-1.5e3", "-15E2"],
            &["0.1", &format!("0.{}1e500", "0".repeat(500))],
        ] {
            assert!(same.iter().all(|text| bytes(text) == bytes(same[0])), "{same:?}");
        }
        assert_eq!(bytes("12.5"), [3, 1, 145, 13, 51, 0]);
        assert_eq!(bytes("-12.5"), [1, 254, 110, 242, 204, 255]);
        assert_eq!(bytes("0"), [2]);
    }

    #[test]
    fn what_is_no_number_or_out_of_bounds_is_none() {
        let nines = "9".repeat(DIGITS_MAX);
        for good in [&nines, "1e400", "-9.9e400", "1e-400", &format!("{nines}e361"), &format!("1{}", "0".repeat(400))] {
            assert!(Decimal::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "-",
            "01",
            "-01",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "1e1.5",
            "0x1",
            "1 ",
            " 1",
            "NaN",
            "1_0",
            "é",
            "1e401",
            "1e-401",
            "1e999999999999999999999999",
            "1e-999999999999999999999999",
            &format!("{nines}9"),
            "--1",
        ] {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_integer_is_one_by_its_value() {
        let integer = |text: &str| Decimal::parse(text).unwrap().integer();
        for (text, value) in
            [("0", 0), ("-0.0", 0), ("1.0", 1), ("-12e2", -1200), ("999999999999999999", 999_999_999_999_999_999)]
        {
            assert_eq!(integer(text), Some(value), "{text}");
        }
        for text in ["0.5", "1e18", "1e-1", "12.5e0", "1e400"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }
}
