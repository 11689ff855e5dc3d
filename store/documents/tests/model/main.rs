//! The data against a model of them: maps and lists, written from docs/design.md (sections 4 and 10) and docs/collections.md, not
//! from the code of the crate.
//!
//! ```text
//!   steps ──story──▶ order ──▶ model                                   answer, changes, look: must be equal,
//!                      └─encoded─▶ the store, without a break           entry by entry; and every query must have
//!                                  a replica that restores snapshots    what a look at each record finds, in order
//!                                  the changes, replayed from one       (`replay`): the same sum of the data
//! ```
//!
//! `MODEL_CASES` says how many histories there are: 256, and more in `make nightly`.

mod definition;
mod json;
mod look;
mod model;
mod order;
mod question;
mod story;

use leasehold_documents::Documents;
use leasehold_documents::replay::Replay;
use leasehold_replication::Position;
use model::{Answer, Change, Model};
use order::Order;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use story::{Dice, Mood, Step, moods, steps};

/// Two replicas, an archive and the model, after the same entries.
struct World {
    model: Model,
    /// What a deposed leader still sees.
    before: Model,
    /// It never restarts.
    one: Documents,
    /// It begins anew with its own snapshot, now and then.
    other: Documents,
    /// It begins anew with a snapshot of the other, now and then, and sees changes alone.
    archived: Replay,
    last: Option<Order>,
}

impl Default for World {
    fn default() -> World {
        World {
            model: Model::default(),
            before: Model::default(),
            one: Documents::new(),
            other: Documents::new(),
            archived: Replay::new(Documents::new()),
            last: None,
        }
    }
}

impl World {
    fn position(&self) -> Position {
        Position::new(1, self.one.applied().seq.0 + 1)
    }

    fn raise(&mut self) {
        let (position, mut changes) = (self.position(), Vec::new());
        let mut told = Vec::new();
        self.one.voters(position, 2, &mut told);
        self.other.voters(position, 2, &mut Vec::new());
        self.model.voters(&mut changes);
        self.archived.apply(position.seq, self.one.time_ms(), &told).expect("the next entry");
    }

    fn restart(&mut self) {
        self.other = look::restored(self.other.applied(), &look::stored(&self.other));
        // Half of the archives go on from long ago.
        if self.other.applied().seq.0.is_multiple_of(2) {
            self.archived = Replay::new(self.other.clone());
        }
    }

    fn entry(&mut self, order: &Order) -> Result<(), TestCaseError> {
        let (position, bytes) = (self.position(), order.encode());
        let (mut expected_changes, mut changes, mut same) = (Vec::new(), Vec::new(), Vec::new());
        let expected: Answer = self.model.apply(order, &mut expected_changes);
        let answer = self.one.apply(position, &bytes, &mut changes).expect("a known command");
        let again = self.other.apply(position, &bytes, &mut same).expect("a known command");
        let shown: Vec<Change> = changes.iter().map(look::change).collect();
        prop_assert_eq!(look::answer(&answer), expected, "{:?}", order);
        prop_assert_eq!(shown, expected_changes, "{:?}", order);
        prop_assert_eq!(look::of_store(&self.one), look::of_model(&self.model), "{:?}", order);
        prop_assert_eq!((&again, &same), (&answer, &changes), "the replica that restarted, {:?}", order);
        prop_assert_eq!(self.one.sum(), self.other.sum(), "{:?}", order);
        prop_assert_eq!(self.one.check_sum(), Ok(()));
        let archived = self.archived.apply(position.seq, self.one.time_ms(), &changes);
        prop_assert_eq!(archived, Ok(()), "{:?}", order);
        prop_assert_eq!(self.archived.data_sum(), self.one.data_sum(), "{:?}", order);
        Ok(())
    }

    fn ask(&self, dice: &mut Dice) -> Result<(), TestCaseError> {
        for (name, of) in &self.model.collections {
            for query in question::questions(of, dice) {
                for documents in [&self.one, &self.other] {
                    let found = documents.collection(name).expect("the looks are equal");
                    prop_assert_eq!(question::judge(of, found, &query), Ok(()), "{} {:?}", name, query);
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, mood: Mood, step: Step) -> Result<(), TestCaseError> {
        let mut dice = Dice::new(step.1.rotate_left(17));
        if dice.one_in(8) {
            self.restart();
        }
        // A leader that does not know that its proposal arrived, or that of the leader before it, makes it once more.
        let order = match self.last.take() {
            Some(last) if dice.one_in(15) => last,
            _ => story::order(mood, step, &self.model, &self.before),
        };
        if dice.one_in(4) {
            self.before = self.model.clone();
        }
        self.entry(&order)?;
        self.last = Some(order);
        // Asking costs more than all else.
        if dice.one_in(3) { self.ask(&mut dice) } else { Ok(()) }
    }
}

fn cases() -> u32 {
    std::env::var("MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_data_are_those_of_the_model_after_each_entry(mood in moods(), steps in steps(90)) {
        let mut world = World::default();
        world.raise();
        for step in steps {
            world.step(mood, step)?;
        }
        prop_assert_eq!(look::stored(&world.one), look::stored(&world.other));
        let restored = world.archived.into_restored();
        prop_assert_eq!(restored.map(|restored| look::kept(&restored)), Ok(look::kept(&world.one)));
    }
}
