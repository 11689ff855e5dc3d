//! The point to which data are restored: `latest`, a time, or a sequence.

use crate::time::Time;
use leasehold_replication::Seq;
use std::fmt;
use std::str::FromStr;

/// Which state of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The newest that the archive leads to.
    Latest,
    /// After the last entry with at most this time.
    Time(Time),
    /// After this entry.
    Seq(Seq),
}

/// A text is not a point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a point; write latest, a time as 2026-11-30T15:31:28Z, or a sequence as 812")]
pub struct NoPoint(String);

impl FromStr for Point {
    type Err = NoPoint;

    fn from_str(text: &str) -> Result<Point, NoPoint> {
        if text == "latest" {
            return Ok(Point::Latest);
        }
        let wrong = || NoPoint(text.to_owned());
        if text.bytes().all(|digit| digit.is_ascii_digit()) {
            let seq: Option<u64> = text.parse().ok();
            return seq.filter(|seq| *seq <= Seq::MAX.0).map(|seq| Point::Seq(Seq(seq))).ok_or_else(wrong);
        }
        text.parse().map(Point::Time).map_err(|_| wrong())
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Latest => f.write_str("latest"),
            Point::Time(time) => write!(f, "{time}"),
            Point::Seq(seq) => write!(f, "sequence {seq}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_latest_a_time_or_a_sequence() {
        assert_eq!("latest".parse(), Ok(Point::Latest));
        assert_eq!("812".parse(), Ok(Point::Seq(Seq(812))));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(Point::Time(Time::from_ms(1000))));
        for bad in ["", "newest", "-1", "99999999999999999999", "2026-11-30", "1969-12-31T00:00:00Z"] {
            assert!(bad.parse::<Point>().is_err(), "{bad}");
        }
    }
}
