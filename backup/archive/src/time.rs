//! The leaders' time: milliseconds since 1970, as entries have it. 0: no leader has said one.
//!
//! ```text
//!   "2026-11-30T15:31:28.123Z"   in lines of files, and for people (null where nobody said a time)
//!   20261130T153128.123Z         in names of objects (00000000T000000.000Z where nobody said a time)
//! ```
//!
//! It comes from the leaders' clocks, and apply keeps the maximum, so it never falls within one cluster. It is for people: which
//! of two entries is the later one is said by their sequences alone.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The form in names of a time that nobody said.
const UNSAID: &str = "00000000T000000.000Z";
/// 9999-12-30T21:59:59.999Z, before `Timestamp::MAX`: names have four digits for the year.
const LAST_MS: u64 = 253_402_207_199_999;

/// A leaders' time in milliseconds since 1970; 0: nobody said one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

/// A text is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time; write it as 2026-11-30T15:31:28Z")]
pub struct NoTime(pub String);

impl Time {
    /// Nobody said a time.
    pub const UNSAID: Time = Time(0);

    /// These milliseconds; later than the end of the year 9999: that.
    pub fn from_ms(ms: u64) -> Time {
        Time(ms.min(LAST_MS))
    }

    /// Milliseconds since 1970; 0: nobody said one.
    pub fn ms(self) -> u64 {
        self.0
    }

    /// Has a leader said it?
    pub fn is_said(self) -> bool {
        self.0 != 0
    }

    /// As names of objects have it.
    pub fn to_name(self) -> String {
        if self.is_said() { self.to_utc("%Y%m%dT%H%M%S.%3fZ") } else { UNSAID.to_owned() }
    }

    /// What [`Time::to_name`] wrote; none: anything else.
    pub fn from_name(text: &str) -> Option<Time> {
        if text == UNSAID {
            return Some(Time::UNSAID);
        }
        if text.len() != UNSAID.len() || !text.is_ascii() {
            return None;
        }
        let (date, clock) = (text.get(..8)?, text.get(9..)?);
        let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..)?);
        let (hour, minute, second) = (clock.get(..2)?, clock.get(2..4)?, clock.get(4..)?);
        let time = format!("{year}-{month}-{day}T{hour}:{minute}:{second}").parse::<Time>().ok()?;
        // Only the one form: two names of one object would be two objects.
        (time.is_said() && time.to_name() == text).then_some(time)
    }

    fn to_utc(self, form: &str) -> String {
        // In range by `from_ms`.
        let time = i64::try_from(self.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
        time.strftime(form).to_string()
    }
}

impl std::str::FromStr for Time {
    type Err = NoTime;

    /// RFC 3339, with any offset. Parts of a millisecond are cut.
    fn from_str(text: &str) -> Result<Time, NoTime> {
        let time: Timestamp = text.parse().map_err(|_| NoTime(text.to_owned()))?;
        u64::try_from(time.as_millisecond()).map(Time::from_ms).map_err(|_| NoTime(text.to_owned()))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_said() { f.write_str(&self.to_utc("%Y-%m-%dT%H:%M:%S.%3fZ")) } else { f.write_str("unknown time") }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_said() { serializer.collect_str(self) } else { serializer.serialize_none() }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let said = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        said.map_or(Ok(Time::UNSAID), |text| text.parse().map_err(serde::de::Error::custom))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_is_written_so_in_names_and_lines() {
        let time: Time = "2026-11-30T15:31:28.123Z".parse().unwrap();
        assert_eq!(time.to_name(), "20261130T153128.123Z");
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"2026-11-30T15:31:28.123Z\"");
        assert_eq!("2026-11-30T16:31:28.123999+01:00".parse(), Ok(time));
        assert_eq!(Time::UNSAID.to_name(), "00000000T000000.000Z");
        assert_eq!(serde_json::to_string(&Time::UNSAID).unwrap(), "null");
        assert_eq!(serde_json::from_str::<Time>("null").unwrap(), Time::UNSAID);
        assert_eq!(Time::from_ms(u64::MAX).to_name(), "99991230T215959.999Z");
    }

    #[test]
    fn anything_else_is_no_time() {
        for bad in [
            "",
            "20261130T153128.123",
            "20261130T153128Z",
            "20261330T153128.123Z",
            "20261130T153160.123Z",
            "ä0261130T15312",
        ] {
            assert_eq!(Time::from_name(bad), None, "{bad}");
        }
        for bad in ["", "yesterday", "2026-11-30", "1969-12-31T00:00:00Z", "2026-11-30T15:31:28"] {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn each_time_returns_from_its_names(ms in 0..=LAST_MS) {
            let time = Time::from_ms(ms);
            prop_assert_eq!(Time::from_name(&time.to_name()), Some(time));
            prop_assert_eq!(serde_json::from_str::<Time>(&serde_json::to_string(&time).unwrap()).unwrap(), time);
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC*") {
            let _ = (Time::from_name(&text), text.parse::<Time>());
        }
    }
}
