//! JSON as the model sees it: objects are lists of members, anything else is its letters.

use std::cmp::Ordering;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Object(Vec<(String, Json)>),
    /// A string, a number, an array, true, false or null, as it was sent.
    Other(String),
}

impl Json {
    /// Of text without white space between its tokens.
    pub(crate) fn parse(text: &str) -> Json {
        let (json, rest) = value(text);
        assert_eq!(rest, "", "behind the JSON {text:?}");
        json
    }

    pub(crate) fn write(&self) -> String {
        match self {
            Json::Other(text) => text.clone(),
            Json::Object(members) => {
                let members: Vec<String> =
                    members.iter().map(|(name, value)| format!("{name:?}:{}", value.write())).collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }

    /// What stands there; null counts as absent.
    pub(crate) fn at(&self, path: &str) -> Option<&Json> {
        let mut here = self;
        for name in path.strip_prefix('/').expect("a JSON Pointer").split('/') {
            let Json::Object(members) = here else { return None };
            here = members.iter().find(|(member, _)| member == name).map(|(_, value)| value)?;
        }
        (*here != Json::Other("null".into())).then_some(here)
    }

    /// RFC 7396: members keep their order, new ones come last.
    pub(crate) fn merge(self, patch: Json) -> Json {
        let Json::Object(changes) = patch else { return patch };
        let mut members = match self {
            Json::Object(members) => members,
            Json::Other(_) => Vec::new(),
        };
        for (name, change) in changes {
            let place = members.iter().position(|(member, _)| *member == name);
            match (place, change) {
                (Some(place), Json::Other(null)) if null == "null" => {
                    members.remove(place);
                }
                (None, Json::Other(null)) if null == "null" => {}
                (Some(place), change) => members[place].1 = members[place].1.clone().merge(change),
                (None, change) => members.push((name, Json::Object(Vec::new()).merge(change))),
            }
        }
        Json::Object(members)
    }
}

fn value(text: &str) -> (Json, &str) {
    let Some(mut rest) = text.strip_prefix('{') else { return other(text) };
    let mut members = Vec::new();
    if let Some(rest) = rest.strip_prefix('}') {
        return (Json::Object(members), rest);
    }
    loop {
        let (name, after) = other(rest);
        let Json::Other(name) = name else { unreachable!("a name is no object") };
        let (member, after) = value(after.strip_prefix(':').expect("a colon"));
        members.push((serde_json::from_str(&name).expect("a name"), member));
        rest = after.get(1..).expect("a comma or the end");
        if after.starts_with('}') {
            return (Json::Object(members), rest);
        }
    }
}

fn other(text: &str) -> (Json, &str) {
    let (mut depth, mut is_text, mut is_escaped) = (0, false, false);
    let end = text.find(|letter: char| {
        if is_text {
            (is_text, is_escaped) = (is_escaped || letter != '"', !is_escaped && letter == '\\');
            return false;
        }
        match letter {
            '"' => is_text = true,
            '[' | '{' => depth += 1,
            ',' | ':' | ']' | '}' if depth == 0 => return true,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        false
    });
    let (token, rest) = text.split_at(end.unwrap_or(text.len()));
    (Json::Other(token.to_owned()), rest)
}

/// What an index or a filter sees of a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Typed {
    Boolean(bool),
    Number(Number),
    Text(String),
    /// Of another type, or not there: the last.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Boolean,
}

impl Kind {
    pub(crate) fn of(self, value: Option<&Json>) -> Typed {
        let Some(Json::Other(text)) = value else { return Typed::None };
        match (self, text.as_str()) {
            (Kind::Text, text) if text.starts_with('"') => Typed::Text(letters(text)),
            (Kind::Boolean, "true") => Typed::Boolean(true),
            (Kind::Boolean, "false") => Typed::Boolean(false),
            (Kind::Number, text) => Number::parse(text).map_or(Typed::None, Typed::Number),
            _ => Typed::None,
        }
    }

    /// A value of a query, as it is in the address.
    pub(crate) fn of_letters(self, text: &str) -> Typed {
        match self {
            Kind::Text => Typed::Text(text.to_owned()),
            Kind::Number | Kind::Boolean => self.of(Some(&Json::Other(text.to_owned()))),
        }
    }
}

/// The letters of a JSON string.
pub(crate) fn letters(text: &str) -> String {
    serde_json::from_str(text).expect("a string")
}

/// A number by its exact value: 0.ddd times 10^exponent, the first digit not 0; none that has more than 40 digits, or is too far off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    sign: i8,
    exponent: i64,
    digits: String,
}

impl Number {
    fn parse(text: &str) -> Option<Number> {
        let (is_negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        if !rest.starts_with(|letter: char| letter.is_ascii_digit()) {
            return None;
        }
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0');
        let shift = whole.len() as i64 - (all.len() - digits.len()) as i64;
        let digits = digits.trim_end_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Number { sign: 0, exponent: 0, digits });
        }
        let exponent = exponent.parse::<i64>().ok()? + shift;
        // d.ddd times 10^400 is the last one.
        let is_in = digits.len() <= 40 && (-400..=400).contains(&(exponent - 1));
        is_in.then_some(Number { sign: if is_negative { -1 } else { 1 }, exponent, digits })
    }
}

impl Number {
    fn whole(&self) -> Option<i64> {
        let zeros = usize::try_from(self.exponent).ok()?.checked_sub(self.digits.len())?;
        let number: i64 = format!("0{}{}", self.digits, "0".repeat(zeros)).parse().ok()?;
        Some(number * i64::from(self.sign))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let size = |one: &Number, other: &Number| (one.exponent, &one.digits).cmp(&(other.exponent, &other.digits));
        self.sign.cmp(&other.sign).then_with(|| if self.sign < 0 { size(other, self) } else { size(self, other) })
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The time at which a record goes, in milliseconds since 1970. The model knows those of the first minute of 1970.
pub(crate) fn time(value: Option<&Json>) -> Result<Option<i64>, ()> {
    let Some(value) = value else { return Ok(None) };
    let Json::Other(text) = value else { return Err(()) };
    if let Some(number) = Number::parse(text) {
        // 1.0 is as whole as 1. Beyond the year 9999 there is no time, and below 0 the model knows the first ones only.
        return number
            .whole()
            .filter(|seconds| *seconds < 253_402_300_800)
            .map(|seconds| Some(seconds * 1000))
            .ok_or(());
    }
    let seconds = text.strip_prefix("\"1970-01-01T00:00:").and_then(|rest| rest.strip_suffix("Z\"")).ok_or(())?;
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "000"));
    let number = |text: &str| text.parse::<i64>().map_err(|_| ());
    Ok(Some(number(whole)? * 1000 + number(fraction)?))
}
