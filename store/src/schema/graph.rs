//! The subschemas of a schema, and which of them leads to which: what is known of it before it is compiled.
//!
//! ```text
//!   in place    allOf anyOf oneOf not if then else dependentSchemas $ref $dynamicRef     the same value is checked again
//!   one deeper  properties patternProperties additionalProperties propertyNames          a member,
//!               items prefixItems contains unevaluatedProperties unevaluatedItems        or an element of it
//! ```
//!
//! A reference that leads back to itself in place never ends. Two that lead to the same place double the work, at each level
//! of a record if the schema refers to itself. So two numbers are bounded, for every record of at most [`LEVELS_MAX`] levels:
//! how often one value is checked ([`CHECKS_MAX`]), and how many checks are under way at once ([`NESTED_MAX`]).
//!
//! Both are computed level by level, from above: every pattern and `additionalProperties` count for each member that they
//! may be for. So a schema may be refused that no record would make slow.

use super::shown::cut;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// How deep a record may be: what our reader of JSON accepts.
const LEVELS_MAX: usize = 128;
/// How often one value may be checked: by that many subschemas.
pub(super) const CHECKS_MAX: u64 = 1_000;
/// How many checks may be under way, each within the one before: the stack of a thread has 2 MiB.
pub(super) const NESTED_MAX: u64 = 512;
/// The steps in which the two numbers are found; a schema that needs more is refused.
const STEPS_MAX: u64 = 4_000_000;
/// Patterns of one schema.
const PATTERNS_MAX: usize = 128;

/// The schema of all schemas of the one draft that is understood.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Those that are checked. (`idn-email` and `idn-hostname` need tables that are not in this build.)
const FORMATS: [&str; 17] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uri-template",
    "uuid",
];

/// What is wrong, and where in the schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) pointer: String,
    pub(super) what: String,
}

impl Wrong {
    fn new(pointer: &str, what: impl Into<String>) -> Wrong {
        Wrong { pointer: pointer.to_owned(), what: what.into() }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Graph<'a> {
    /// The root is the first.
    nodes: Vec<Node<'a>>,
    patterns: usize,
}

/// A subschema. Others by their places in the list.
#[derive(Debug, Default)]
struct Node<'a> {
    pointer: String,
    in_place: Vec<usize>,
    /// How often what is in place is checked: `unevaluatedProperties` and its kin check it once more.
    again: u64,
    members: Level<&'a str>,
    elements: Level<usize>,
    /// Of the names of members.
    names: Option<usize>,
}

/// What is checked one level deeper.
#[derive(Debug)]
struct Level<K> {
    /// For this one alone.
    one: BTreeMap<K, usize>,
    /// For all that `one` does not name.
    others: Vec<usize>,
    /// For any.
    any: Vec<usize>,
}

impl<K> Default for Level<K> {
    fn default() -> Self {
        Level { one: BTreeMap::new(), others: Vec::new(), any: Vec::new() }
    }
}

/// The subschemas as they are found; references are resolved when all are known.
#[derive(Default)]
struct Walk<'a> {
    nodes: Vec<Node<'a>>,
    by_pointer: HashMap<String, usize>,
    anchors: HashMap<&'a str, usize>,
    references: Vec<(usize, String, &'a str)>,
    patterns: usize,
}

impl<'a> Graph<'a> {
    /// Of this schema.
    pub(super) fn of(schema: &'a Value) -> Result<Graph<'a>, Wrong> {
        let mut walk = Walk::default();
        walk.schema(schema, String::new())?;
        for (from, pointer, reference) in std::mem::take(&mut walk.references) {
            let to = walk.target(&pointer, reference)?;
            walk.nodes[from].in_place.push(to);
        }
        Ok(Graph { nodes: walk.nodes, patterns: walk.patterns })
    }

    /// How many patterns it has.
    pub(super) fn patterns(&self) -> usize {
        self.patterns
    }
}

impl<'a> Walk<'a> {
    fn schema(&mut self, schema: &'a Value, pointer: String) -> Result<usize, Wrong> {
        let place = self.nodes.len();
        self.nodes.push(Node { pointer: pointer.clone(), again: 1, ..Node::default() });
        self.by_pointer.insert(pointer.clone(), place);
        match schema {
            Value::Bool(_) => {}
            Value::Object(members) => {
                for (keyword, value) in members {
                    self.keyword(place, members, keyword, value, &format!("{pointer}/{}", escaped(keyword)))?;
                }
            }
            _ => return Err(Wrong::new(&pointer, "a schema is an object, true or false")),
        }
        Ok(place)
    }

    /// Every keyword of the draft is here; what it must be like is left to its meta-schema.
    fn keyword(
        &mut self,
        place: usize,
        schema: &'a Map<String, Value>,
        keyword: &'a str,
        value: &'a Value,
        at: &str,
    ) -> Result<(), Wrong> {
        match keyword {
            "allOf" | "anyOf" | "oneOf" => {
                let found = self.array(value, at)?;
                self.nodes[place].in_place.extend(found);
            }
            "not" | "if" | "then" | "else" => {
                let found = self.schema(value, at.to_owned())?;
                self.nodes[place].in_place.push(found);
            }
            "dependentSchemas" => {
                let found = self.object(value, at)?;
                self.nodes[place].in_place.extend(found.into_values());
            }
            "$ref" | "$dynamicRef" => {
                let Some(reference) = value.as_str() else { return Err(Wrong::new(at, "it is a string")) };
                self.references.push((place, at.to_owned(), reference));
            }
            "properties" => self.nodes[place].members.one = self.object(value, at)?,
            "patternProperties" => {
                let found = self.object(value, at)?;
                self.count_patterns(found.len(), at)?;
                self.nodes[place].members.any.extend(found.into_values());
            }
            "additionalProperties" => {
                let found = self.schema(value, at.to_owned())?;
                self.nodes[place].members.others.push(found);
            }
            "unevaluatedProperties" => {
                let found = self.schema(value, at.to_owned())?;
                self.nodes[place].members.others.push(found);
                self.nodes[place].again += 1;
            }
            "propertyNames" => self.nodes[place].names = Some(self.schema(value, at.to_owned())?),
            "prefixItems" => {
                let found = self.array(value, at)?;
                self.nodes[place].elements.one = found.into_iter().enumerate().collect();
            }
            "items" => {
                let found = self.schema(value, at.to_owned())?;
                self.nodes[place].elements.others.push(found);
            }
            "contains" => {
                let found = self.schema(value, at.to_owned())?;
                self.nodes[place].elements.any.push(found);
            }
            "unevaluatedItems" => {
                let found = self.schema(value, at.to_owned())?;
                self.nodes[place].elements.others.push(found);
                self.nodes[place].again += 1;
            }
            "$defs" => {
                self.object(value, at)?;
            }
            // An annotation: nothing is checked by it.
            "contentSchema" => {
                self.schema(value, at.to_owned())?;
            }
            "$anchor" | "$dynamicAnchor" => {
                let Some(name) = value.as_str() else { return Err(Wrong::new(at, "it is a string")) };
                if self.anchors.insert(name, place).is_some_and(|other| other != place) {
                    return Err(Wrong::new(at, format!("the anchor {name:?} stands at two places")));
                }
            }
            "$schema" => {
                if value.as_str().map(|uri| uri.trim_end_matches('#')) != Some(DRAFT) {
                    return Err(Wrong::new(at, format!("the draft that is understood is {DRAFT}")));
                }
                if place != 0 {
                    return Err(Wrong::new(at, "only the outermost schema says which draft it is of"));
                }
            }
            "$id" if place != 0 => {
                let what = "only the outermost schema has an id; refer to one under `$defs` by \"#/$defs/…\"";
                return Err(Wrong::new(at, what));
            }
            "format" => {
                if let Some(format) = value.as_str().filter(|format| !FORMATS.contains(format)) {
                    let what = format!("no format {:?} is known; these are: {}", cut(format, 50), FORMATS.join(", "));
                    return Err(Wrong::new(at, what));
                }
            }
            "pattern" => self.count_patterns(1, at)?,
            "$id" | "$comment" | "type" | "enum" | "const" | "multipleOf" | "maximum" | "exclusiveMaximum"
            | "minimum" | "exclusiveMinimum" | "maxLength" | "minLength" | "maxItems" | "minItems" | "uniqueItems"
            | "maxContains" | "minContains" | "maxProperties" | "minProperties" | "required" | "dependentRequired"
            | "title" | "description" | "default" | "deprecated" | "readOnly" | "writeOnly" | "examples"
            | "contentEncoding" | "contentMediaType" => {}
            _ => return Err(Wrong::new(at, unknown(keyword, schema))),
        }
        Ok(())
    }

    fn count_patterns(&mut self, more: usize, at: &str) -> Result<(), Wrong> {
        self.patterns += more;
        if self.patterns > PATTERNS_MAX {
            return Err(Wrong::new(at, format!("a schema has at most {PATTERNS_MAX} patterns")));
        }
        Ok(())
    }

    fn array(&mut self, value: &'a Value, at: &str) -> Result<Vec<usize>, Wrong> {
        let Some(schemas) = value.as_array() else { return Err(Wrong::new(at, "it is an array of schemas")) };
        schemas.iter().enumerate().map(|(index, schema)| self.schema(schema, format!("{at}/{index}"))).collect()
    }

    fn object(&mut self, value: &'a Value, at: &str) -> Result<BTreeMap<&'a str, usize>, Wrong> {
        let Some(schemas) = value.as_object() else { return Err(Wrong::new(at, "it is an object of schemas")) };
        schemas
            .iter()
            .map(|(name, schema)| Ok((name.as_str(), self.schema(schema, format!("{at}/{}", escaped(name)))?)))
            .collect()
    }

    fn target(&self, at: &str, reference: &str) -> Result<usize, Wrong> {
        let shown = cut(reference, 100);
        let Some(fragment) = reference.strip_prefix('#') else {
            let what = format!(
                "{shown:?} is another document, and none is read: put what it stands for under `$defs`, and refer to it by \
                 \"#/$defs/…\""
            );
            return Err(Wrong::new(at, what));
        };
        let found = match decoded(fragment) {
            Some(fragment) if fragment.is_empty() || fragment.starts_with('/') => self.by_pointer.get(&fragment),
            Some(fragment) => self.anchors.get(fragment.as_str()),
            None => None,
        };
        found.copied().ok_or_else(|| Wrong::new(at, format!("no schema is at {shown:?}")))
    }
}

/// Of what is not a keyword: what is meant, perhaps.
fn unknown(keyword: &str, schema: &Map<String, Value>) -> String {
    let instead = match keyword {
        "definitions" => "; it is `$defs` since draft 2019-09",
        "dependencies" => "; it is `dependentRequired` or `dependentSchemas` since draft 2019-09",
        "additionalItems" => "; it is `items` beside `prefixItems` since draft 2020-12",
        "$recursiveRef" | "$recursiveAnchor" => "; it is `$dynamicRef` and `$dynamicAnchor` since draft 2020-12",
        "id" if schema.contains_key("type") => "; it is `$id`",
        "$vocabulary" => "; vocabularies are not supported",
        _ => "",
    };
    format!("{:?} is not a keyword of JSON Schema 2020-12{instead}", cut(keyword, 50))
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A fragment is percent-encoded.
fn decoded(fragment: &str) -> Option<String> {
    let mut bytes = fragment.bytes();
    let mut decoded = Vec::with_capacity(fragment.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok().filter(|two| !two.starts_with('+'))?, 16).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(decoded).ok()
}

impl Graph<'_> {
    /// The two numbers.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let order = self.in_place_order()?;
        let closures = self.closures(&order)?;
        self.check_nested(&order)?;
        self.check_levels(&closures)
    }

    /// The places of all subschemas, what is in place of another before that one.
    fn in_place_order(&self) -> Result<Vec<usize>, Wrong> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            Not,
            Entered,
            Left,
        }
        let mut seen = vec![Seen::Not; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        for start in 0..self.nodes.len() {
            // A stack of our own: references may make a long chain.
            let mut stack = vec![(start, 0)];
            while let Some((place, next)) = stack.pop() {
                match self.nodes[place].in_place.get(next) {
                    _ if seen[place] == Seen::Left => {}
                    Some(inner) => {
                        seen[place] = Seen::Entered;
                        stack.push((place, next + 1));
                        match seen[*inner] {
                            Seen::Not => stack.push((*inner, 0)),
                            Seen::Entered => {
                                let what = "its references lead back to itself, and never end";
                                return Err(Wrong::new(&self.nodes[*inner].pointer, what));
                            }
                            Seen::Left => {}
                        }
                    }
                    None => {
                        seen[place] = Seen::Left;
                        order.push(place);
                    }
                }
            }
        }
        Ok(order)
    }

    /// For each subschema all by which the same value is checked, and how often.
    fn closures(&self, order: &[usize]) -> Result<Vec<Vec<(usize, u64)>>, Wrong> {
        let mut closures: Vec<Vec<(usize, u64)>> = vec![Vec::new(); self.nodes.len()];
        let mut steps = 0;
        for place in order {
            let node = &self.nodes[*place];
            let mut counts = BTreeMap::from([(*place, 1)]);
            for inner in &node.in_place {
                for (other, count) in &closures[*inner] {
                    *counts.entry(*other).or_insert(0) += count * node.again;
                }
                // Before the sum of many such sums is too large, too.
                self.bounded(*place, counts.values().sum())?;
                self.spend(&mut steps, counts.len())?;
            }
            closures[*place] = counts.into_iter().collect();
        }
        Ok(closures)
    }

    fn bounded(&self, place: usize, checks: u64) -> Result<(), Wrong> {
        if checks <= CHECKS_MAX {
            return Ok(());
        }
        let what = format!(
            "one value would be checked by more than {CHECKS_MAX} subschemas, through `$ref`, `allOf` and the like: it could \
             take very long"
        );
        Err(Wrong::new(&self.nodes[place].pointer, what))
    }

    fn spend(&self, steps: &mut u64, more: usize) -> Result<(), Wrong> {
        *steps += more as u64;
        if *steps <= STEPS_MAX {
            return Ok(());
        }
        Err(Wrong::new("", "it refers to itself in too many ways to say how long a check may take"))
    }

    /// How often a value so many levels below one that a subschema is for is checked because of that.
    fn check_levels(&self, closures: &[Vec<(usize, u64)>]) -> Result<(), Wrong> {
        let mut checks: Vec<u64> =
            closures.iter().map(|closure| closure.iter().map(|(_, count)| count).sum()).collect();
        let mut is_target = vec![false; self.nodes.len()];
        is_target[0] = true;
        for target in self.nodes.iter().flat_map(Node::deeper) {
            is_target[target] = true;
        }
        let mut steps = 0;
        for _ in 0..LEVELS_MAX {
            let mut deeper = vec![0; self.nodes.len()];
            for (place, closure) in closures.iter().enumerate().filter(|(place, _)| is_target[*place]) {
                let (mut members, mut elements) = (Most::default(), Most::default());
                let mut names = 0;
                for (other, count) in closure {
                    let node = &self.nodes[*other];
                    members.add(&node.members, *count, &checks);
                    elements.add(&node.elements, *count, &checks);
                    names += node.names.map_or(0, |names| count * checks[names]);
                    self.spend(&mut steps, 1 + node.deeper().count())?;
                }
                deeper[place] = members.most().max(elements.most()).max(names);
                self.bounded(place, deeper[place])?;
            }
            if deeper == checks {
                break;
            }
            checks = deeper;
        }
        Ok(())
    }

    /// How many checks are under way at once.
    fn check_nested(&self, order: &[usize]) -> Result<(), Wrong> {
        let mut above = vec![0; self.nodes.len()];
        let mut steps = 0;
        for _ in 0..LEVELS_MAX {
            let mut nested = vec![0; self.nodes.len()];
            for place in order {
                let node = &self.nodes[*place];
                let in_place = node.in_place.iter().map(|inner| nested[*inner]).max();
                let deeper = node.deeper().map(|target| above[target]).max();
                nested[*place] = 1 + in_place.max(deeper).unwrap_or(0);
                if nested[*place] > NESTED_MAX {
                    let what = format!(
                        "more than {NESTED_MAX} subschemas could be checked within each other, in a record of {LEVELS_MAX} \
                         levels: use fewer `$ref`, `allOf` and the like in a row"
                    );
                    return Err(Wrong::new(&node.pointer, what));
                }
                self.spend(&mut steps, 1 + node.in_place.len() + node.deeper().count())?;
            }
            if nested == above {
                break;
            }
            above = nested;
        }
        Ok(())
    }
}

impl Node<'_> {
    fn deeper(&self) -> impl Iterator<Item = usize> + '_ {
        self.members.all().chain(self.elements.all()).chain(self.names)
    }
}

impl<K> Level<K> {
    fn all(&self) -> impl Iterator<Item = usize> + '_ {
        self.one.values().chain(&self.others).chain(&self.any).copied()
    }
}

/// The member, or element, that is checked most often: those that are named, against any other.
struct Most<K> {
    /// Checks of one that nothing names.
    others: i64,
    /// By how much more one that is named is checked.
    named: BTreeMap<K, i64>,
}

impl<K> Default for Most<K> {
    fn default() -> Self {
        Most { others: 0, named: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Most<K> {
    fn add(&mut self, level: &Level<K>, count: u64, checks: &[u64]) {
        // At most `CHECKS_MAX` each, of at most 64 KiB of text.
        let sum = |targets: &[usize]| targets.iter().map(|target| (count * checks[*target]) as i64).sum::<i64>();
        let others = sum(&level.others);
        self.others += others + sum(&level.any);
        for (name, target) in &level.one {
            *self.named.entry(*name).or_insert(0) += sum(&[*target]) - others;
        }
    }

    fn most(&self) -> u64 {
        let more = self.named.values().copied().max().unwrap_or(0).max(0);
        u64::try_from(self.others + more).unwrap_or(0)
    }
}
