//! The members of a JSON object that a client sent, by name: read in place, for most requests are small and each counts.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// In the order of the names; of members with the same name the last one.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(Vec<(Text<'a>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// The value of that member.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (&*name.0, *value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'a>, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members: Vec<(Text<'de>, &'de RawValue)> = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                // Stable: the last one of a name is behind the others.
                members.sort_by(|(one, _), (other, _)| one.0.cmp(&other.0));
                members.dedup_by(|later, earlier| {
                    let is_same = later.0.0 == earlier.0.0;
                    if is_same {
                        earlier.1 = later.1;
                    }
                    is_same
                });
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A string as it is read: a part of what was sent, if it has no escapes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Any)
    }
}

/// So many names are compared one by one.
const FEW: usize = 16;

/// The names that an object had so far.
#[derive(Debug, Default)]
pub(super) struct Seen<'a> {
    few: Vec<Text<'a>>,
    more: HashSet<Text<'a>>,
}

impl<'a> Seen<'a> {
    /// Fails if it was there.
    pub(super) fn enter(&mut self, name: Text<'a>) -> Result<(), Text<'a>> {
        if self.few.contains(&name) || self.more.contains(&name) {
            return Err(name);
        }
        if self.few.len() < FEW {
            self.few.push(name);
        } else {
            self.more.insert(name);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_name_with_or_without_escapes() {
        let members: Members<'_> = serde_json::from_str(r#"{"b":1,"\u0061":[2],"b":3}"#).unwrap();
        let all: Vec<(&str, &str)> = members.iter().map(|(name, value)| (name, value.get())).collect();
        assert_eq!(all, [("a", "[2]"), ("b", "3")]);
        assert_eq!(members.get("a").unwrap().get(), "[2]");
        assert!(members.get("c").is_none());
        assert!(serde_json::from_str::<Members<'_>>("[1]").is_err());
    }

    #[test]
    fn a_name_is_new_once_however_many_there_are() {
        let mut seen = Seen::default();
        for number in 0..3 * FEW {
            assert!(seen.enter(Text(number.to_string().into())).is_ok());
        }
        for number in 0..3 * FEW {
            assert!(seen.enter(Text(number.to_string().into())).is_err());
        }
    }
}
