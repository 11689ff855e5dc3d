//! Collections, in runs of their own (`--collections`): the commands are those of the store, and each store has the real
//! documents, with a steward that decides as the shipped one does. The wall clocks of a minority are wrong at times.
//!
//! ```text
//!   clients ─▶ definitions, writes, transactions, some with a key and sent again ─▶ a leader's view ─▶ command ─▶ log
//!   steward, twice a second: tells the core the time of day ─▶ what is over expires, if clocks agree ─▶ changes get on
//!   chaos ─▶ heal, clocks right ─▶ settled? ─▶ no change pending, nothing long over, all as reported?
//! ```
//!
//! A schema is the shell's to check: here it is one member that must be there (`model::data::fits`).

use crate::model::books::EPOCH_MS;
use crate::model::client::COMMAND_AT;
use crate::model::cluster::Cluster;
use crate::model::data::{Data, fits, required, restored, stored};
use crate::model::event::Event;
use crate::model::life::Life;
use crate::plant::{Plant, Shell};
use bytes::Bytes;
use leasehold_documents::steward::{Misfit, Step, next_change, next_expiry};
use leasehold_documents::{
    Action, Collection, Command, Condition, Define, DefinitionCondition, Documents, IdRef, Key, On, Operation, Seen,
    Work,
};
use leasehold_replication::{Entry, Input, Payload, Phase, Position, Proposal, Seq};
use std::time::Duration;

/// How often a steward looks.
const LOOKS_EVERY: Duration = Duration::from_millis(500);
/// Usual time between two changes of clocks, in milliseconds.
const CLOCKS_EVERY: u64 = 2_500;
/// How long the data may take to settle.
const SETTLES_IN: Duration = Duration::from_secs(40);

const NAMES: [&str; 2] = ["orders", "stock"];
const DEFINITIONS: [&str; 8] = [
    r#"{"id":"string"}"#,
    r#"{"id":"string","indexes":[{"fields":["/x"],"unique":true}]}"#,
    r#"{"id":"string","indexes":[{"fields":[{"path":"/n","type":"number"},"/x"]}],"expires":"/t"}"#,
    r#"{"id":"string","expires":"/t","maxRecords":8}"#,
    r#"{"id":"string","indexes":[{"fields":["/x"],"unique":true}],"expires":"/t"}"#,
    r#"{"id":"string","schema":{"required":["n"]}}"#,
    r#"{"id":"string","schema":{"required":["x"]},"indexes":[{"fields":["/x"],"unique":true}]}"#,
    r#"{"id":"string","schema":{"required":["n"]},"expires":"/t"}"#,
];

impl Cluster {
    // ---- the shell

    /// The data that a store begins with, whose newest snapshot is this one.
    pub(crate) fn open_data(&mut self, pod: usize, snapshot: Position) {
        if !self.settings.collections {
            return;
        }
        let documents = self.data_at(pod, snapshot);
        let began_at = self.pods[pod].volume.log.last_seq();
        let life = self.pods[pod].store.life;
        if let Some(up) = self.pods[pod].store.up_mut() {
            up.data = Some(Box::new(Data::new(documents, began_at)));
        }
        self.schedule(self.now, Event::StewardLooks { life });
    }

    /// The snapshot at that position takes the place of the data.
    pub(crate) fn install_data(&mut self, pod: usize, snapshot: Position) {
        if !self.settings.collections {
            return;
        }
        let documents = self.data_at(pod, snapshot);
        if let Some(data) = self.pods[pod].store.up_mut().and_then(|up| up.data.as_mut()) {
            data.documents = documents;
        }
    }

    fn data_at(&mut self, pod: usize, snapshot: Position) -> Documents {
        if snapshot == Position::ZERO {
            return Documents::new();
        }
        let text = self.books.stored.get(&snapshot.seq).cloned();
        let found = text.ok_or_else(|| "it was never written".to_owned()).and_then(|text| restored(snapshot, &text));
        found.unwrap_or_else(|why| {
            self.violation(format!("pod-{pod} cannot read the snapshot at {snapshot}: {why}"));
            Documents::new()
        })
    }

    /// A snapshot of the data is written.
    pub(crate) fn write_data(&mut self, pod: usize) {
        let found = &self.pods[pod];
        if let Some(data) = found.store.up().and_then(|up| up.data.as_ref()) {
            let text = stored(&data.documents);
            self.books.is_written(&mut self.facts, &found.name, data.documents.applied(), text);
        }
    }

    /// Entries are applied to the data.
    pub(crate) fn apply_data(&mut self, pod: usize, entries: &[Entry]) {
        let replays_half = self.settings.plant == Some(Plant::Shell(Shell::ReplaySkipsHalf));
        let found = &mut self.pods[pod];
        let Some(data) = found.store.up_mut().and_then(|up| up.data.as_mut()) else { return };
        for entry in entries {
            if self.facts.is_violated() {
                return;
            }
            let mut changes = Vec::new();
            let mut done = None;
            match &entry.payload {
                Payload::Command(command) => {
                    let command = command.get(COMMAND_AT..).unwrap_or_default();
                    let half =
                        (replays_half && entry.position.seq <= data.began_at).then(|| half_of(command)).flatten();
                    let applied = half.as_deref().unwrap_or(command);
                    match data.documents.apply(entry.position, applied, &mut changes) {
                        Ok(answer) => done = Some((command, answer)),
                        Err(unknown) => {
                            let position = entry.position;
                            return self.violation(format!("pod-{pod} cannot apply {position}: {unknown} [C1]"));
                        }
                    }
                }
                Payload::Voters(voters) => data.documents.voters(entry.position, voters.format, &mut changes),
                Payload::Empty => data.documents.skip(entry.position),
            }
            drop(data.documents.take_discarded());
            let is_first = self.books.applied(&mut self.facts, &found.name, &data.documents);
            match done {
                Some((command, answer)) if is_first => {
                    self.books.look_at(&mut self.facts, (command, &answer), &changes, &data.documents);
                }
                None if is_first => self.books.note_voters(&changes),
                Some(_) | None => {}
            }
        }
    }

    // ---- clients

    /// A client's write, as a leader with these data makes it.
    pub(crate) fn some_write(&mut self, pod: usize, after: Seq) -> Proposal {
        let truth = EPOCH_MS + self.now.as_millis() as u64;
        let documents = self.pods[pod].store.up().and_then(|up| up.data.as_ref()).map(|data| data.documents.clone());
        match documents.and_then(|documents| self.some_command(&documents, truth)) {
            Some(command) => self.clients.write_command(after, &command),
            None => self.clients.write(after),
        }
    }

    fn some_command(&mut self, documents: &Documents, truth: u64) -> Option<Bytes> {
        let name = *self.rng.pick(&NAMES);
        let epoch = documents.collection(name).and_then(Collection::epoch);
        let on = On { collection: name, epoch };
        let ids: [String; 2] = [self.rng.below(6).to_string(), (6 + self.rng.below(3)).to_string()];
        let (id, other_id) = (IdRef::Text(&ids[0]), IdRef::Text(&ids[1]));
        let seconds = (truth / 1_000 + self.rng.between(0, 30)).saturating_sub(5);
        let record = self.some_record(&ids[0], seconds);
        let conditions = [Condition::None, Condition::None, Condition::None, Condition::Exists, Condition::Absent];
        let condition = *self.rng.pick(&conditions);
        let what = self.rng.below(100);
        if epoch.is_none() || what < 6 {
            let define = *self.rng.pick(&DEFINITIONS);
            let (condition, unless_expired_ms) = (DefinitionCondition::None, None);
            let work = Work::Define(Define { collection: name, definition: define, condition, unless_expired_ms });
            return self.encoded(truth, None, work, documents);
        }
        let of = |action| Operation { id, action, condition, seen: Seen::Any };
        let found = documents.collection(name)?;
        let patch = format!(r#"{{"n":{}}}"#, self.rng.below(9));
        let work = match what {
            6 => Work::Drop { collection: name, condition: DefinitionCondition::None, with_records: true },
            7 => Work::GiveUp { collection: name },
            8..25 => Work::One(on, of(Action::Delete)),
            25..40 if accepts(found, &record) => Work::One(on, of(Action::Create { record: &record })),
            40..50 if required_of(found).is_none() => Work::One(on, of(Action::Patch { patch: &patch })),
            50..70 => return self.some_transaction(documents, truth, (id, other_id), &record),
            70..85 if accepts(found, &record) => {
                // With a key; and some that was sent before is sent again.
                let again = !self.books.requests.is_empty() && self.rng.chance(400);
                if !again {
                    self.books.requests.push((name.to_owned(), ids[0].clone(), record.clone()));
                }
                let number =
                    if again { self.rng.below(self.books.requests.len()) } else { self.books.requests.len() - 1 };
                let (name, id, record) = self.books.requests[number].clone();
                let on = On { collection: &name, epoch: documents.collection(&name).and_then(Collection::epoch) };
                let key_name = format!("k{number}");
                let key = Key { name: &key_name, request: number as u128 };
                let put = Operation::new(IdRef::Text(&id), Action::Put { record: &record }, Condition::None);
                let is_good = documents.collection(&name).is_some_and(|found| accepts(found, &record));
                return is_good.then(|| self.encoded(truth, Some(key), Work::One(on, put), documents)).flatten();
            }
            _ if accepts(found, &record) => Work::One(on, of(Action::Put { record: &record })),
            _ => Work::One(on, of(Action::Check)),
        };
        self.encoded(truth, None, work, documents)
    }

    fn some_transaction(
        &mut self,
        documents: &Documents,
        truth: u64,
        (id, other_id): (IdRef<'_>, IdRef<'_>),
        record: &str,
    ) -> Option<Bytes> {
        let on = |name| On { collection: name, epoch: documents.collection(name).and_then(Collection::epoch) };
        let both = NAMES.map(on);
        if both.iter().any(|on| on.epoch.is_none()) {
            return None;
        }
        let is_good = |name| documents.collection(name).is_some_and(|found| accepts(found, record));
        if !NAMES.iter().all(|name| is_good(name)) {
            return None;
        }
        let checked = *self.rng.pick(&[Condition::Exists, Condition::Absent]);
        let put = Operation::new(id, Action::Put { record }, Condition::None);
        let create = Operation::new(id, Action::Create { record }, Condition::None);
        let delete = Operation::new(id, Action::Delete, Condition::None);
        let check = Operation::new(other_id, Action::Check, checked);
        let second = if self.rng.chance(500) { create } else { delete };
        let operations = vec![(0, put), (1, check), (1, second)];
        self.encoded(truth, None, Work::Transaction(both.to_vec(), operations), documents)
    }

    fn encoded(&self, time_ms: u64, key: Option<Key<'_>>, work: Work<'_>, documents: &Documents) -> Option<Bytes> {
        let command = Command { time_ms, key, work };
        (command.needs() <= documents.format()).then(|| command.encode(documents.format()))
    }

    fn some_record(&mut self, id: &str, seconds: u64) -> String {
        let mut record = format!(r#"{{"id":"{id}""#);
        if self.rng.chance(700) {
            record += &format!(r#","x":"{}""#, self.rng.below(7));
        }
        if self.rng.chance(700) {
            record += &format!(r#","n":{}"#, self.rng.below(9));
        }
        if self.rng.chance(600) {
            record += &format!(r#","t":{seconds}"#);
        }
        record + "}"
    }

    /// One more entry of a backup, the first of which are its voters.
    pub(crate) fn commit_to_backup(&mut self, documents: &mut Documents, position: Position, format: u32) {
        let mut changes = Vec::new();
        if position.seq == Seq(1) {
            documents.voters(position, format, &mut changes);
            self.books.applied(&mut self.facts, "the backup", documents);
            return self.books.note_voters(&changes);
        }
        let command = self.some_command(documents, EPOCH_MS);
        let answer = command.as_ref().map(|command| documents.apply(position, command, &mut changes));
        if answer.is_none() {
            documents.skip(position);
        }
        drop(documents.take_discarded());
        self.books.applied(&mut self.facts, "the backup", documents);
        if let (Some(command), Some(Ok(answer))) = (&command, &answer) {
            self.books.look_at(&mut self.facts, (command, answer), &changes, documents);
        }
    }

    // ---- the steward

    /// Twice a second. It does what `store/src/steward.rs` does.
    pub(crate) fn steward_looks(&mut self, life: Life) {
        let pod = life.pod;
        self.schedule(self.now + LOOKS_EVERY, Event::StewardLooks { life });
        let wall_ms = self.pods[pod].wall_ms(self.now);
        self.step_store(pod, Input::TimeOfDay { ms: wall_ms });
        if self.pods[pod].store.life != life {
            return;
        }
        let local = self.pods[pod].local(self.now);
        let Some(up) = self.pods[pod].store.up_mut() else { return };
        let agree = up.replica.clocks().agree;
        let leads = up.status.phase == Phase::Leading;
        let Some(data) = &mut up.data else { return };
        let time = data.clock.look(wall_ms, local).filter(|_| agree);
        data.stuck.clear();
        if !leads {
            return;
        }
        let documents = data.documents.clone();
        let due = time.and_then(|time| Some((time, next_expiry(&documents, &data.expired, time)?)));
        let change = next_change(&documents, &data.changed, &data.stuck);
        if let Some((upto_ms, (name, epoch))) = due {
            data.expired.clone_from(&name);
            self.check_time(pod, upto_ms);
            self.propose(life, &documents, Work::Expire { on: On::at(&name, epoch), upto_ms }, wall_ms);
        }
        if let Some((mark, collection)) = change {
            if let Some(data) = self.pods[pod].store.up_mut().and_then(|up| up.data.as_mut()) {
                data.changed.clone_from(&mark.collection);
            }
            let pending = collection.pending().map(|pending| pending.definition.clone());
            let misfit = || Misfit { pointer: String::new(), rule: "required".to_owned() };
            let check = |record: &str| pending.as_ref().is_some_and(|pending| !fits(pending, record)).then(misfit);
            if let Some(step) = Step::of(&collection, check) {
                self.propose(life, &documents, step.work(On::at(&mark.collection, mark.epoch)), wall_ms);
            }
        }
    }

    fn propose(&mut self, life: Life, documents: &Documents, work: Work<'_>, wall_ms: u64) {
        if self.pods[life.pod].store.life != life || !self.pods[life.pod].store.is_up() {
            return;
        }
        let Some(command) = self.encoded(wall_ms, None, work, documents) else { return };
        let proposal = self.clients.write_command(self.facts.applied_seq(), &command);
        self.step_store(life.pod, Input::Propose(vec![proposal]));
    }

    // ---- clocks

    /// Somebody sets the clock of a pod, right or wrong; those of a majority stay right.
    pub(crate) fn change_clocks(&mut self) {
        if !self.chaos.is_on() {
            return;
        }
        let at = self.now + self.rng.millis(1, 2 * CLOCKS_EVERY);
        self.schedule(at, Event::ClocksChange);
        let pod = self.rng.below(self.pods.len());
        let others = self.pods.iter().enumerate().filter(|(other, one)| *other != pod && one.wall_good_since.is_none());
        let may_be_wrong = 2 * (others.count() + 1) < self.pods.len();
        let ahead_ms = match self.rng.below(4) {
            0 | 1 if may_be_wrong => *self.rng.pick(&[-3_600_000, -7_000, 4_000, 20_000, 60_000, 3_600_000]),
            _ => self.rng.between(0, 2_000) as i64 - 1_000,
        };
        self.set_clock(pod, ahead_ms);
    }

    fn set_clock(&mut self, pod: usize, ahead_ms: i64) {
        self.trace.add(self.now, || format!("pod-{pod} its wall clock is {ahead_ms} ms ahead from now on"));
        let now = self.now;
        let pod = &mut self.pods[pod];
        pod.wall_ahead_ms = ahead_ms;
        let is_good = ahead_ms.abs() <= 1_000;
        pod.wall_good_since = is_good.then(|| pod.wall_good_since.unwrap_or(now));
    }

    /// After everything was healed.
    pub(crate) fn settle_data(&mut self) -> Result<(), String> {
        (0..self.pods.len()).for_each(|pod| self.set_clock(pod, 0));
        let until = self.now + SETTLES_IN;
        while let Some(why) = self.unsettled_data() {
            if self.facts.is_violated() {
                return Ok(());
            }
            if self.now > until {
                return Err(format!("liveness: the data do not settle: {why}\n{}", self.explain()));
            }
            self.run_until(self.now + Duration::from_millis(200));
        }
        self.compare_data()
    }
}

/// May this record be written there, by the schemas that a leader checks?
fn accepts(collection: &Collection, record: &str) -> bool {
    let pending = collection.pending().map(|pending| &pending.definition);
    fits(collection.definition(), record) && pending.is_none_or(|pending| fits(pending, record))
}

fn required_of(collection: &Collection) -> Option<&str> {
    let pending = collection.pending().and_then(|pending| required(&pending.definition));
    required(collection.definition()).or(pending)
}

/// (planted) A transaction without the last of its operations.
fn half_of(command: &[u8]) -> Option<Bytes> {
    let Command { time_ms, key, work } = Command::decode(command).ok()?;
    let Work::Transaction(on, mut operations) = work else { return None };
    operations.pop();
    Some(Command { time_ms, key, work: Work::Transaction(on, operations) }.encode(2))
}
