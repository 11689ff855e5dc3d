//! Times as people write them in flags: `100ms`, `15s`, `1m`, `2h`.

use std::time::Duration;

/// The longest time that a flag accepts. We never wait a whole day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A whole number and a unit: ms, s, m or h; at most 24h. For clap's `value_parser`.
///
/// # Errors
/// A sentence that names the expected format.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "a time is a whole number and a unit: 100ms, 15s, 1m".to_owned())?;
    let milliseconds = match unit.trim() {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "" => return Err("a time needs a unit: ms, s, m or h".to_owned()),
        other => return Err(format!("a time is a whole number and a unit (ms, s, m or h); {other:?} is not a unit")),
    };
    let time = milliseconds.map(Duration::from_millis).filter(|time| *time <= LONGEST);
    time.ok_or_else(|| "a time is at most 24h".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_whole_number_and_a_unit() {
        for (text, milliseconds) in [
            ("100ms", 100),
            ("15s", 15_000),
            ("1m", 60_000),
            ("2h", 7_200_000),
            ("15 s", 15_000),
            ("0s", 0),
            ("24h", 86_400_000),
        ] {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
        for bad in ["", "s", "1", "-1s", "1d", "1h1m", "ms", "25h", "18446744073709551615h", "99999999999999999999s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let fraction = parse("1.5s").unwrap_err();
        assert!(fraction.contains("whole number") && fraction.contains(".5s"), "{fraction}");
    }
}
