//! Times in records: integer seconds since 1970, or `YYYY-MM-DDTHH:MM:SS[.fff]Z`, of the years 0 to 9999.
//!
//! A number of milliseconds is no time (before the year 9999 it is larger than any of seconds, for every moment since 1978):
//! a client that mistakes the unit learns it at its first write, not when nothing ever expires.

use crate::letters::letters;
use crate::number::Decimal;

/// 0000-01-01T00:00:00Z, in seconds since 1970.
const FIRST: i64 = -62_167_219_200;
/// 9999-12-31T23:59:59Z.
const LAST: i64 = 253_402_300_799;

/// The time that this JSON value is, in milliseconds since 1970.
///
/// # Errors
/// What it must be, for people.
pub(crate) fn of_json(raw: &str) -> Result<i64, &'static str> {
    const NONE: &str =
        "a time must be whole seconds since 1970, or a text as 2030-12-31T23:59:59Z or 2030-12-31T23:59:59.999Z";
    let of_number = || Decimal::parse(raw)?.integer().filter(|at| (FIRST..=LAST).contains(at)).map(|at| at * 1000);
    match raw.as_bytes().first() {
        Some(b'"') => letters(raw).and_then(|text| of_text(&text)),
        Some(_) => of_number(),
        None => None,
    }
    .ok_or(NONE)
}

fn of_text(text: &str) -> Option<i64> {
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let text = text.as_bytes();
    let (seconds, rest) = text.split_at_checked(FORM.len())?;
    let is_so = |form: &[u8], text: &[u8]| {
        form.len() == text.len()
            && form
                .iter()
                .zip(text)
                .all(|(form, byte)| if *form == b'd' { byte.is_ascii_digit() } else { form == byte })
    };
    let number = |digits: &[u8]| digits.iter().fold(0, |value, digit| value * 10 + i64::from(*digit - b'0'));
    if !is_so(FORM, seconds) {
        return None;
    }
    let ms = match rest {
        b"Z" => 0,
        rest if is_so(b".dddZ", rest) => number(&rest[1..4]),
        _ => return None,
    };
    let at = |from: usize, to: usize| number(&seconds[from..to]);
    let (year, month, day) = (at(0, 4), at(5, 7), at(8, 10));
    let (hour, minute, second) = (at(11, 13), at(14, 16), at(17, 19));
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some((((days_before(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms)
}

/// The days since 1970. Years begin in March here, so the day that a leap year adds is the last one.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_years = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    of_years + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_whole_seconds_or_a_text_in_one_form() {
        for (json, ms) in [
            ("0", 0),
            ("1700000000", 1_700_000_000_000),
            ("17e8", 1_700_000_000_000),
            ("-1", -1_000),
            ("253402300799", LAST * 1000),
            ("\"1970-01-01T00:00:00Z\"", 0),
            ("\"1969-12-31T23:59:59.999Z\"", -1),
            ("\"2023-11-14T22:13:20Z\"", 1_700_000_000_000),
            ("\"2024-02-29T12:00:00.250Z\"", 1_709_208_000_250),
            ("\"2000-02-29T00:00:00Z\"", 951_782_400_000),
            ("\"0000-01-01T00:00:00Z\"", FIRST * 1000),
            ("\"9999-12-31T23:59:59Z\"", LAST * 1000),
            ("\"2023-11-14\\u005422:13:20Z\"", 1_700_000_000_000),
        ] {
            assert_eq!(of_json(json), Ok(ms), "{json}");
        }
    }

    #[test]
    fn anything_else_is_no_time() {
        for json in [
            "1.5",
            "1700000000000",
            "-62167219201",
            "true",
            "[]",
            "{}",
            "\"\"",
            "\"1700000000\"",
            "\"2023-11-14\"",
            "\"2023-11-14T22:13:20\"",
            "\"2023-11-14 22:13:20Z\"",
            "\"2023-11-14t22:13:20z\"",
            "\"2023-11-14T22:13:20+00:00\"",
            "\"2023-11-14T22:13:20.5Z\"",
            "\"2023-11-14T22:13:20.123456Z\"",
            "\"2023-11-14T22:13:20.Z\"",
            "\"2023-02-29T00:00:00Z\"",
            "\"1900-02-29T00:00:00Z\"",
            "\"2023-13-01T00:00:00Z\"",
            "\"2023-00-01T00:00:00Z\"",
            "\"2023-04-31T00:00:00Z\"",
            "\"2023-01-00T00:00:00Z\"",
            "\"2023-01-01T24:00:00Z\"",
            "\"2023-01-01T00:60:00Z\"",
            "\"2016-12-31T23:59:60Z\"",
            "\"2023-11-14T22:13:2éZ\"",
            "\" 2023-11-14T22:13:20Z\"",
        ] {
            assert!(of_json(json).is_err(), "{json}");
        }
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let mut before = days_before(-1, 12, 31);
        for year in 0..=2400_i64 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if of_text(&format!("{year:04}-{month:02}-{day:02}T00:00:00Z")).is_some() {
                        assert_eq!(days_before(year, month, day), before + 1, "{year}-{month}-{day}");
                        before += 1;
                    }
                }
            }
        }
    }
}
