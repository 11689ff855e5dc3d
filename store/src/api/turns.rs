//! One patch of a record after the other.
//!
//! Where a collection has a schema, the leader merges a patch over its view and proposes the result on the tag that it saw.
//! Of many at once all but one would lose that race, and try again: so those of one record wait for each other here. A
//! record that nobody patches takes no room.

use leasehold_documents::Id;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// How many patches may hold a turn or wait for one. At the bound: refused, and the client tries again.
const TURNS_MAX: usize = 4_096;

/// A record, by its collection and id.
type Record = (Box<str>, Id);

/// The records that are being patched. A clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    records: Arc<Mutex<HashMap<Record, Queue>>>,
    room: Arc<Semaphore>,
}

/// Those that hold the turn of one record or wait for it. It goes with the last of them.
#[derive(Debug)]
struct Queue {
    one: Arc<Semaphore>,
    length: usize,
}

/// Nobody else patches the record.
#[derive(Debug)]
pub(super) struct Turn {
    _place: Place,
    _permit: OwnedSemaphorePermit,
    _room: OwnedSemaphorePermit,
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// Too many wait.
    Full,
    /// It did not come in time.
    Late,
}

/// One that holds a turn or waits for it.
#[derive(Debug)]
struct Place {
    turns: Turns,
    record: Record,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { records: Arc::default(), room: Arc::new(Semaphore::new(TURNS_MAX)) }
    }
}

impl Turns {
    /// Waits until nobody else patches that record.
    pub(super) async fn take(&self, collection: &str, id: &Id, deadline: Instant) -> Result<Turn, NoTurn> {
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| NoTurn::Full)?;
        let record = (collection.into(), id.clone());
        let one = {
            let mut records = self.lock();
            let new = || Queue { one: Arc::new(Semaphore::new(1)), length: 0 };
            let queue = records.entry(record.clone()).or_insert_with(new);
            queue.length += 1;
            Arc::clone(&queue.one)
        };
        let place = Place { turns: self.clone(), record };
        // Nobody closes it.
        let permit = timeout_at(deadline, one.acquire_owned()).await.ok().and_then(Result::ok).ok_or(NoTurn::Late)?;
        Ok(Turn { _permit: permit, _place: place, _room: room })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Record, Queue>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut records = self.turns.lock();
        if let Some(queue) = records.get_mut(&self.record) {
            queue.length -= 1;
            if queue.length == 0 {
                records.remove(&self.record);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;
    use uuid::Uuid;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[tokio::test]
    async fn one_turn_at_a_time_for_each_record_and_no_room_is_kept() {
        let turns = Turns::default();
        let (a, b) = (Id::Text("a".into()), Id::Uuid(Uuid::nil()));
        let first = turns.take("orders", &a, soon()).await.unwrap();
        let others = [turns.take("orders", &b, soon()).await.unwrap(), turns.take("parts", &a, soon()).await.unwrap()];
        assert_eq!(turns.take("orders", &a, soon()).await.unwrap_err(), NoTurn::Late);
        let waiting = tokio::spawn({
            let (turns, a) = (turns.clone(), a.clone());
            async move { turns.take("orders", &a, Instant::now() + Duration::from_secs(10)).await.map(drop) }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        drop(others);
        assert_eq!(turns.lock().len(), 0);
        assert_eq!(turns.room.available_permits(), TURNS_MAX);
    }

    #[tokio::test]
    async fn a_turn_that_is_not_had_in_time_leaves_nothing_behind() {
        let turns = Turns::default();
        let a = Id::Text("a".into());
        let first = turns.take("orders", &a, soon()).await.unwrap();
        assert_eq!(turns.take("orders", &a, Instant::now()).await.unwrap_err(), NoTurn::Late);
        assert_eq!(turns.take("orders", &a, Instant::now()).await.unwrap_err(), NoTurn::Late, "it is still held");
        drop(first);
        assert_eq!(turns.lock().len(), 0);
    }
}
