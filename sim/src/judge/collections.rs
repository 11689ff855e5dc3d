//! What must hold of collections (section 10 of docs/design.md): by what the entries changed where they were applied first.
//!
//! ```text
//!   the same data everywhere after each entry; a snapshot is the same, whoever writes it          applied(), is_written()
//!   unique holds; records fit the schema in force; a transaction is done whole or not at all       look_at()
//!   nothing goes before its time: not by the command, nor by a good clock [T1]                     look_at(), check_time()
//!   a definition that is acknowledged is in force or pending; a key is done once                   look_at()
//!   after healing: no change is pending, nothing is long over, and all that was reported is there  unsettled_data()
//! ```

use crate::model::books::{Books, EPOCH_MS};
use crate::model::cluster::Cluster;
use crate::model::data::fits;
use crate::model::facts::Facts;
use crate::model::pod::Pod;
use leasehold_documents::{Action, Applied, Change, ChangeKind, Command, Condition, Documents, Outcome, Work};
use leasehold_replication::{Position, Seq};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A leader's clock may be so far from a good one: a good one is within a second, the rule allows 5, and an echo may take 5.
const AHEAD_MAX_MS: u64 = 12_000;
/// A clock is good when it has been right for this long: longer than what was measured counts.
const GOOD_MIN: Duration = Duration::from_secs(16);
/// What is over for longer than this must be gone, in the end.
const LATE_MAX_MS: u64 = 10_000;

fn text_of(record: &str, name: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(record).ok()?;
    Some(value.get(name)?.as_str()?.to_owned())
}

impl Books {
    /// A replica has applied this entry: its data are those of all others.
    pub(crate) fn applied(&mut self, facts: &mut Facts, who: &str, documents: &Documents) -> bool {
        let (at, sum) = (documents.applied().seq.0 as usize, documents.sum());
        match self.sums.get(at - 1) {
            Some(known) if *known == sum => false,
            Some(known) => {
                let position = documents.applied();
                facts.violated(format!("the data of {who} after {position} have the sum {sum}, not {known}"));
                false
            }
            None => {
                self.sums.push(sum);
                true
            }
        }
    }

    /// A replica writes a snapshot, or one was read.
    pub(crate) fn is_written(&mut self, facts: &mut Facts, who: &str, at: Position, text: Vec<u8>) {
        let known = self.stored.entry(at.seq).or_insert_with(|| text.clone().into());
        if **known != text {
            let (one, other) = (String::from_utf8_lossy(known), String::from_utf8_lossy(&text));
            facts.violated(format!("{who} writes another snapshot at {at} than was written before:\n{one}\n{other}"));
        }
    }

    /// The first replica has applied it.
    pub(crate) fn look_at(
        &mut self,
        facts: &mut Facts,
        (command, answer): (&[u8], &Applied),
        changes: &[Change],
        documents: &Documents,
    ) {
        let at = documents.applied();
        let Ok(command) = Command::decode(command) else { return };
        let before = self.records.clone();
        if let Some(why) = self.note(&command, changes) {
            facts.violated(format!("{at}: {why}"));
        }
        let why = self.wrong_definitions(changes, documents);
        let why = why.or_else(|| self.wrong_answer(&command, answer, changes, documents));
        let why = why.or_else(|| self.wrong_whole(&command, answer, changes, &before));
        let why = why.or_else(|| self.wrong_key(&command, answer, changes, documents));
        if let Some(why) = why {
            facts.violated(format!("{at}: {why}"));
        }
    }

    /// The first replica has applied voters, which may define something.
    pub(crate) fn note_voters(&mut self, changes: &[Change]) {
        let nothing = Command::new(Work::PauseExpiry { paused: false });
        let _ = self.note(&nothing, changes); // definitions alone, of which nothing can be wrong
    }

    /// Keeps what was changed. What is wrong with that?
    fn note(&mut self, command: &Command<'_>, changes: &[Change]) -> Option<String> {
        for change in changes {
            match change {
                Change::Definition { collection, definition: None, .. } => {
                    self.definitions.remove(&**collection);
                    self.records.remove(&**collection);
                }
                Change::Definition { collection, definition: Some(definition), .. } => {
                    self.definitions.insert(collection.to_string(), definition.to_json());
                }
                Change::Record(change) => {
                    let records = self.records.entry(change.collection.to_string()).or_default();
                    let known = records.remove(&change.id.to_string());
                    if let Some(record) = &change.record {
                        records.insert(change.id.to_string(), record.as_str().to_owned());
                    }
                    if (change.kind == ChangeKind::Created) == known.is_some() {
                        return Some(format!("{} was {known:?}, and is {:?}", change.id, change.kind));
                    }
                    if change.kind == ChangeKind::Expired {
                        self.expired += 1;
                        let Work::Expire { upto_ms, .. } = command.work else {
                            return Some("something expired without a step".to_owned());
                        };
                        let known = known.unwrap_or_default();
                        let value: serde_json::Value = serde_json::from_str(&known).unwrap_or_default();
                        if value.get("t").and_then(serde_json::Value::as_u64).is_none_or(|t| t * 1_000 > upto_ms) {
                            return Some(format!("{known} expired at {upto_ms}"));
                        }
                    }
                }
            }
        }
        None
    }

    /// Of each collection that changed: does everything hold that its definition says?
    fn wrong_definitions(&self, changes: &[Change], documents: &Documents) -> Option<String> {
        let names: BTreeSet<&str> = changes.iter().map(Change::collection).collect();
        for name in names {
            let (Some(collection), Some(records)) = (documents.collection(name), self.records.get(name)) else {
                continue;
            };
            let definition = collection.definition();
            if let Some((id, record)) = records.iter().find(|(_, record)| !fits(definition, record)) {
                return Some(format!("{id} of {name} does not fit {:?}: {record}", definition.schema));
            }
            if definition.indexes.iter().any(|index| index.unique && index.fields.len() == 1) {
                let values = records.values().filter_map(|record| text_of(record, "x"));
                let mut seen = BTreeSet::new();
                if let Some(twice) = values.into_iter().find(|value| !seen.insert(value.clone())) {
                    return Some(format!("{twice:?} is not unique in {name}: {records:?}"));
                }
            }
            if definition.records_max.is_some_and(|most| records.len() as u64 > most) && changes.len() == 1 {
                let is_created = matches!(&changes[0], Change::Record(change) if change.kind == ChangeKind::Created);
                if is_created {
                    return Some(format!("{name} has {} records", records.len()));
                }
            }
        }
        None
    }

    /// A definition whose change was acknowledged is in force, or pending.
    fn wrong_answer(
        &self,
        command: &Command<'_>,
        answer: &Applied,
        changes: &[Change],
        documents: &Documents,
    ) -> Option<String> {
        if !answer.outcome.is_done() && !changes.is_empty() && command.key.is_none() {
            return Some(format!("{:?} changed {changes:?}", answer.outcome));
        }
        let Work::Define(define) = &command.work else { return None };
        let found = documents.collection(define.collection);
        let is_so = match answer.outcome {
            Outcome::Defined { .. } | Outcome::Unchanged => {
                found.is_some_and(|found| found.definition().to_json() == define.definition)
            }
            Outcome::Pending => found.is_some_and(|found| {
                found.pending().is_some_and(|pending| pending.definition.to_json() == define.definition)
            }),
            _ => true,
        };
        (!is_so).then(|| format!("{:?}, and {} is not {}", answer.outcome, define.collection, define.definition))
    }

    /// Of a transaction all is done, or nothing.
    fn wrong_whole(
        &mut self,
        command: &Command<'_>,
        answer: &Applied,
        changes: &[Change],
        before: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> Option<String> {
        let Work::Transaction(collections, operations) = &command.work else { return None };
        if answer.outcome != Outcome::BatchDone {
            return (!changes.is_empty())
                .then(|| format!("a transaction is {:?}, and changed {changes:?}", answer.outcome));
        }
        self.transactions += 1;
        for (at, operation) in operations {
            let name = collections[usize::from(*at)].collection;
            let id = operation.id.to_string();
            let now = self.records.get(name).and_then(|records| records.get(&id));
            let was = before.get(name).and_then(|records| records.get(&id));
            let is_so = match operation.action {
                Action::Create { record } | Action::Put { record } => now.is_some_and(|now| now == record),
                Action::Delete => now.is_none() && was.is_some(),
                Action::Check if operation.condition == Condition::Exists => was.is_some(),
                Action::Check if operation.condition == Condition::Absent => was.is_none(),
                Action::Check | Action::Patch { .. } => true,
            };
            if !is_so {
                return Some(format!("a transaction is done, but for {operation:?} in {name}: {was:?}, {now:?}"));
            }
        }
        None
    }

    /// What was sent again under its key is done once, and answered alike.
    fn wrong_key(
        &mut self,
        command: &Command<'_>,
        answer: &Applied,
        changes: &[Change],
        documents: &Documents,
    ) -> Option<String> {
        let (Some(key), Work::One(on, _)) = (&command.key, &command.work) else { return None };
        let place = (on.collection.to_owned(), key.name.to_owned());
        match self.answers.get(&place) {
            Some(known) if known != answer || !changes.is_empty() => {
                Some(format!("{place:?} was answered {known:?}, and now {answer:?} with {changes:?}"))
            }
            Some(_) => None,
            None => {
                let is_kept = !matches!(
                    answer.outcome,
                    Outcome::Invalid(_) | Outcome::DefinitionChanged | Outcome::NoCollection | Outcome::Contention
                );
                if is_kept && documents.format() >= 2 {
                    self.answers.insert(place, answer.clone());
                }
                None
            }
        }
    }
}

impl Cluster {
    /// A leader's steward uses its time of day: it must not be far ahead where a majority of its voters have good clocks.
    pub(crate) fn check_time(&mut self, pod: usize, now_ms: u64) {
        let since = |pod: &Pod| pod.wall_good_since.is_some_and(|since| since + GOOD_MIN <= self.now);
        let is_good = |replica| self.pods.iter().any(|pod| pod.volume.replica == replica && since(pod));
        let voters = self.pods[pod].volume.log.voters();
        let are_good = voters.is_some_and(|(_, voters)| voters.is_majority(is_good));
        let truth = EPOCH_MS + self.now.as_millis() as u64;
        if are_good && now_ms > truth + AHEAD_MAX_MS {
            let early = now_ms - truth;
            self.violation(format!("pod-{pod} lets records expire {early} ms before their time [T1]"));
        }
    }

    /// What is still wrong with the data, a while after everything was healed.
    pub(crate) fn unsettled_data(&self) -> Option<String> {
        let truth = EPOCH_MS + self.now.as_millis() as u64;
        let leader = self.pods[self.leader()?].store.up()?;
        let documents = &leader.data.as_ref()?.documents;
        for (name, collection) in documents.collections() {
            if collection.pending().is_some() {
                return Some(format!("a change of {name} is still pending"));
            }
            if documents.overdue(name, truth - LATE_MAX_MS, 1) > 0 {
                return Some(format!("records of {name} are long over"));
            }
        }
        None
    }

    /// Everywhere is what was reported as changed.
    pub(crate) fn compare_data(&self) -> Result<(), String> {
        for pod in &self.pods {
            let Some(data) = pod.store.up().and_then(|up| up.data.as_ref()) else { continue };
            if data.documents.applied().seq != Seq(self.books.sums.len() as u64) {
                continue;
            }
            let defined: Vec<(String, String)> = (data.documents.collections())
                .filter(|(_, collection)| collection.defined().is_some())
                .map(|(name, collection)| (name.to_owned(), collection.definition().to_json()))
                .collect();
            let known: Vec<(String, String)> = self.books.definitions.clone().into_iter().collect();
            if defined != known {
                return Err(format!("{} has the definitions {defined:?}, reported were {known:?}", pod.name));
            }
            for (name, collection) in data.documents.collections() {
                let records = self.books.records.get(name);
                let is_known = |record: &leasehold_documents::Record| {
                    let id = collection.id_of(record).map(|id| id.to_string()).unwrap_or_default();
                    records.and_then(|records| records.get(&id)).is_some_and(|known| known == record.as_str())
                };
                let count = records.map_or(0, BTreeMap::len);
                if collection.len() != count || !collection.after(0).all(|(_, record)| is_known(record)) {
                    return Err(format!("{} has other records of {name} than were reported: {records:?}", pod.name));
                }
            }
            if let Err(wrong) = data.documents.check_sum() {
                return Err(format!("{}: {wrong}", pod.name));
            }
        }
        Ok(())
    }
}
