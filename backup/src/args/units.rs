//! Times and sizes as people write them: `10s`, `168h`, `1Gi`.

use std::time::Duration;

/// The longest time: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// A whole number and a unit: s, m, h or d.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let form = "a time is a whole number and a unit: 10s, 5m, 24h, 7d";
    let (number, unit) = split(text).ok_or(form)?;
    let seconds = match unit {
        "s" => Some(number),
        "m" => number.checked_mul(60),
        "h" => number.checked_mul(3600),
        "d" => number.checked_mul(24 * 3600),
        _ => return Err(form.to_owned()),
    };
    let time = seconds.map(Duration::from_secs).filter(|time| !time.is_zero() && *time <= LONGEST);
    time.ok_or_else(|| "a time is at least 1s and at most ten years".to_owned())
}

/// A whole number, and Ki, Mi, Gi or nothing.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let form = "a size is a whole number and a unit: 512Mi, 1Gi";
    let (number, unit) = split(text).ok_or(form)?;
    let shift = match unit {
        "" => 0,
        "Ki" => 10,
        "Mi" => 20,
        "Gi" => 30,
        "Ti" => 40,
        _ => return Err(form.to_owned()),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "that size is too large".to_owned())
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    number.parse().ok().map(|number| (number, unit.trim()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_numbers_with_units() {
        assert_eq!(time("10s").unwrap(), Duration::from_secs(10));
        assert_eq!(time("168h").unwrap(), time("7d").unwrap());
        assert_eq!((bytes("1Gi").unwrap(), bytes("7").unwrap()), (1 << 30, 7));
        for bad in ["", "10", "0s", "-1s", "1w", "99999999999999999999s", "9999999999999999d", "10000d"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        for bad in ["", "Gi", "1G", "-1", "99999999999Ti"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
