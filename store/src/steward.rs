//! The leader's steps: what becomes of collections without a client that waits for each piece of it.
//!
//! ```text
//!   every second, and when a change begins
//!      ├─ file     what of the collections file is not in force ─────────────────────────────▶ `Define`, `NoteFile`
//!      ├─ changes  the pending change of a definition ──records behind its cursor, checked──▶ `Advance` | `DoesNotFit`
//!      └─ expiry   records whose time is over ─────────────────────────────────────────────▶ `Expire`
//! ```
//!
//! It runs on every replica and does nothing where that does not lead. All that a step needs is in the data that the log made,
//! so the next leader continues where the last one stopped, and a step that was proposed twice does nothing the second time.
//!
//! One step is under way at a time, as one more write among those of clients; its size is bounded where it is applied. A
//! write that is refused (no majority, no disk, another leader) is no error: the next second tries again.
//!
//! Expiry uses the time of day only while that and the monotonic clock agree ([`Clock`]), and while the clocks of a majority
//! of the voters agree with it ([`Clocks`](leasehold_replication::Clocks)). It takes at most a tenth of the history for
//! watchers a second.

mod change;
mod expiry;
pub mod file;
mod proposal;
mod quarrel;
#[cfg(test)]
mod tests;

use crate::handle::Handle;
use crate::schema::Schemas;
use crate::wall_clock;
use leasehold_documents::steward::{Clock, Mark, Misfit, Step, next_change, next_expiry};
use leasehold_documents::{Collection, Documents, On, Outcome, Work};
use leasehold_replication::CLOCKS_APART_MAX;
use proposal::propose;
use quarrel::{News, Quarrel};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{error, info, warn};

/// How often it looks.
const TICK: Duration = Duration::from_secs(1);

/// Does the steps of this replica while it leads. Never ends.
pub async fn run(handle: Handle, mut file: Option<file::Applier>) {
    let mut steward = Steward::new(handle);
    let (mut clock, begun) = (Clock::default(), Instant::now());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = ticks.tick() => {
                // On each replica: so the next leader need not wait for a minute.
                let now_ms = clock.look(wall_clock::now_ms(), begun.elapsed());
                steward.stuck.clear();
                steward.look_at_clocks(now_ms).await;
                if let Some(file) = &mut file {
                    file.look().await;
                }
            }
            () = steward.handle.change_begun(), if !steward.is_busy => {}
            // The next step at once, but never before a tick that is due.
            () = tokio::task::yield_now(), if steward.is_busy => {}
        }
        steward.change().await;
    }
}

struct Steward {
    handle: Handle,
    schemas: Schemas,
    /// A change got on a moment ago: there may be more to do at once.
    is_busy: bool,
    /// Changes that a step did not move. Not again before the next second.
    stuck: Vec<Mark>,
    served: Served,
    quarrel: Quarrel,
}

/// The collections that had their turn last, so that none waits for another's many steps.
#[derive(Default)]
struct Served {
    change: String,
    expiry: String,
}

impl Steward {
    fn new(handle: Handle) -> Steward {
        Steward {
            handle,
            schemas: Schemas::default(),
            is_busy: false,
            stuck: Vec::new(),
            served: Served::default(),
            quarrel: Quarrel::default(),
        }
    }

    /// One step of one pending change.
    async fn change(&mut self) {
        self.is_busy = false;
        if !self.handle.leads() {
            return;
        }
        let next = next_change(&self.handle.documents(), &self.served.change, &self.stuck);
        let Some((mark, collection)) = next else { return };
        self.served.change.clone_from(&mark.collection);
        let schemas = self.schemas.clone();
        let step = tokio::task::spawn_blocking(move || change::step(&collection, &schemas)).await;
        let step = match step {
            Ok(Ok(Some(step))) => step,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                let collection = mark.collection;
                warn!(collection, pointer = error.pointer, %error, "this build cannot read the schema of a pending definition; \
                    DELETE /api/collections/<name>/pending gives it up");
                return;
            }
            Err(error) => {
                error!(collection = mark.collection, %error, "checking records against a pending definition failed");
                return;
            }
        };
        let on = On::at(&mark.collection, mark.epoch);
        if let Step::DoesNotFit { id, misfit: Misfit { pointer, rule }, .. } = &step {
            info!(collection = mark.collection, %id, pointer, rule, "a record does not fit the pending definition");
        }
        self.is_busy = self.propose(step.work(on)).await;
        let now = self.handle.documents();
        if self.is_busy
            && now.collection(&mark.collection).and_then(|found| Mark::of(&mark.collection, found)).as_ref()
                == Some(&mark)
        {
            warn!(
                collection = mark.collection,
                "a step of a pending definition changed nothing; trying again in a second"
            );
            self.stuck.push(mark);
        }
    }

    /// Once a second. `now_ms`: the time of day, if the clocks of this process agree. What is over goes if those of a majority
    /// agree with it, too \[T1\].
    async fn look_at_clocks(&mut self, now_ms: Option<u64>) {
        let clocks = self.handle.clocks();
        let matters = now_ms.is_some() && self.handle.leads() && has_times(&self.handle.documents());
        let (apart_seconds, limit_seconds) =
            (clocks.apart.map(|apart| apart.as_secs_f64()), CLOCKS_APART_MAX.as_secs());
        match self.quarrel.look(matters.then_some(clocks.agree)) {
            Some(News::Paused) => warn!(
                apart_seconds,
                limit_seconds,
                "nothing expires: the clocks of a majority of the pods are not known to be within the limit of this one's; \
                 set the clocks right (NTP)"
            ),
            Some(News::Resumed) => info!(apart_seconds, "records expire again: the clocks of a majority agree"),
            None => {}
        }
        self.expire(now_ms.filter(|_| clocks.agree)).await;
    }

    /// What expires in this second. `now_ms`: the time of day, if it may be used.
    async fn expire(&mut self, now_ms: Option<u64>) {
        let Some(now_ms) = now_ms else { return };
        for _ in 0..expiry::steps_a_second(self.handle.history().bytes_max()) {
            if !self.handle.leads() {
                return;
            }
            let found = next_expiry(&self.handle.documents(), &self.served.expiry, now_ms);
            let Some((collection, epoch)) = found else { return };
            let is_done = self.propose(Work::Expire { on: On::at(&collection, epoch), upto_ms: now_ms }).await;
            self.served.expiry = collection;
            if !is_done {
                return;
            }
        }
    }

    /// Through the log. False: it was not done, or nobody knows.
    async fn propose(&self, work: Work<'_>) -> bool {
        match propose(&self.handle, work).await {
            Some(Outcome::Stepped) => true,
            // Somebody was faster: a client changed the definition, or gave the change up.
            None | Some(Outcome::DefinitionChanged | Outcome::NoCollection | Outcome::Missing) => false,
            Some(other) => {
                error!(outcome = ?other, "a step had an impossible outcome");
                false
            }
        }
    }
}

/// Some collection has records with a time, and they may expire.
fn has_times(documents: &Documents) -> bool {
    let expires = |(_, collection): (&str, &Collection)| collection.definition().expires.is_some();
    !documents.expiry_paused() && documents.collections().any(expires)
}
