//! The sum of a replica's data, as its shell keeps it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A hash of all data after one entry, as 32 hexadecimal digits in JSON. Equal data have equal sums, in every build of a
/// format; the format's number is part of what is hashed \[D2\].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sum(pub u128);

/// A text is not a [`Sum`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sum has 32 lower-case hexadecimal digits")]
pub struct NoSum;

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Sum {
    type Err = NoSum;

    fn from_str(text: &str) -> Result<Sum, NoSum> {
        let is_digit = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.as_bytes().iter().all(is_digit) {
            return Err(NoSum);
        }
        u128::from_str_radix(text, 16).map(Sum).map_err(|_| NoSum)
    }
}

impl Serialize for Sum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sum, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_32_digits_and_nothing_else() {
        let sum = Sum(0xbeef);
        let text = "0000000000000000000000000000beef";
        assert_eq!((sum.to_string().as_str(), text.parse()), (text, Ok(sum)));
        assert_eq!(serde_json::to_string(&sum).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Sum>(&format!("\"{text}\"")).unwrap(), sum);
        for other in ["", "beef", &format!("{text}0"), &text.to_uppercase(), &format!("+{}", &text[1..])] {
            assert_eq!(other.parse::<Sum>(), Err(NoSum), "{other:?}");
        }
    }
}
