//! Decides who leads, from what was seen of the Lease and of the app: a pure state machine.
//!
//! ```text
//!   GET, watch ──LeaseRead, LeaseWatched──▶ ┌──────────┐ ──ReadLease──────▶ GET
//!   own writes ──LeaseWritten─────────────▶ │          │ ──WriteLease─────▶ create / replace (resourceVersion)
//!   its record ──RecordRead, -Written─────▶ │          │ ──Read-, WriteRecord▶ <lease>.first (plain apps)
//!   exec, health, requests ───────────────▶ │          │ ──AwaitLeadLock──▶ lead.lock; Answer: who asked
//!   role.json ────RoleWritten─────────────▶ │          │
//!   status.json ─AppSeen, AppSilent───────▶ │ Election │ ──PublishRole────▶ role.json
//!   status.lock ─AppDied──────────────────▶ │          │ ──UpdateEndpoints▶ EndpointSlice
//!   StatefulSet ─MembersSeen──────────────▶ │          │ ──Tell───────────▶ log, Events, counters
//!   SIGTERM, timer ──Stop, Wake───────────▶ └──────────┘ ──Stopped────────▶ exit
//! ```
//!
//! A step takes one input and the time, remembers the input, and then decides everything anew from what is known
//! (`election`): it judges the Lease (`counts`), publishes (`publish`), asks the rules in a fixed order for the one write
//! to make (`take`, `release`), and asks whether a look is due (`sight`). No rule has a state of its own: a write that
//! failed is wanted again in the next step, or no longer wanted. One function does all waiting: `due(at)` answers whether
//! the time has come, and if not, it makes [`Election::deadline`] no later than `at`.
//!
//! At most one GET and one write are under way. The shell carries each out once, with a time-out, and reports the outcome.
//! The core decides whether and when to try again, with growing pauses. Validity counts from the step that asked for the
//! write, which is never after the request began.
//!
//! # The rules
//!
//! The numbers and marks are those of docs/design.md. Promises bind a *fencing* app, which needs the Lease only to learn
//! who leads; a *plain* app has nothing but the Lease.
//!
//! **Which Lease counts**, before any rule (`counts`):
//! - of another cluster: never touched, and nobody here leads by it;
//! - more than a million terms above the promise: an edit by hand, left out of every maximum \[L8\];
//! - below the promise, or of its term with another incarnation: as if there was no Lease \[L12\];
//! - held by no member, or without an incarnation: as if nobody held it. The holder is name **and** incarnation \[S10\].
//!
//! **Taking** (`take`, `off_lease`), only with an app that is alive and eligible, on a pod that is wanted:
//! 1. The Lease names this pod and incarnation, for a term above the promise: lead, even if the app is draining by now (the
//!    Lease was transferred to it, and the pod that did so has stopped leading). Another incarnation of this pod: a new
//!    term with the own one (fencing: while it campaigns; plain: if the role.json found at the start names that incarnation
//!    as this pod's. Another pod of this name may still be running, so rules 2 and 3 handle any other incarnation).
//! 2. No Lease, or no holder: the leader writes it again at once, with its own term, or a new one where the Lease's is
//!    above \[L11\]. Plain apps otherwise wait: up to 50 ms if it was cleared and says that the app has stopped \[A11\], two
//!    lost-times if it was only cleared, else a duration; each clear, and each renewal of a holder that counts as none,
//!    starts a wait of its own. Others than the preferred pod wait four lost-times \[A10\], unfit ones a duration more
//!    \[A9\]. Where there is no Lease, one without a holder is created, so that its version shows what happens meanwhile.
//!    One that nobody ever held is taken at once by whoever created the record of terms, and saw no term \[A1\].
//!    A duration is that of the last holder where it is longer, and a cleared Lease below a term that was seen waits for
//!    one: it went back in time.
//! 3. (plain) It was not renewed for a duration, seen without a gap: take it. So, too, if it names this run again after it was
//!    seen without it: it went back in time, and the run neither renews nor clears it.
//! 4. (fencing) The app says `campaign` for the Lease's term or above, or nobody holds it; after the rank delay: take it.
//!    The bootstrap is the campaign of a volume marked for it.
//! 5. (fencing) As 4, but no request about the Lease got an answer for a duration: lead without it, one lost-time later.
//!    When the API answers, rule 2 writes that term; a Lease with a higher one wins.
//!
//! `paused` stops 2 (except for the leader's own), 3, 4 and 5.
//!
//! **Besides** (`take`): the holder renews after a third of the duration or a little less, and repairs edits. `needTerm`
//! starts a new term only where the app leads \[L3\]. A Lease that has been void for 10 s is written for a leader whose
//! sidecar is blind. No sign of the Lease for a duration: one GET \[L13\].
//!
//! **Letting go** (`release`): never by letting it expire. The holder transfers the Lease to the successor in one
//! compare-and-swap, or clears the holder: when the app hands over, when it died, when a plain app's sidecar ends or is
//! asked to, when its app is unfit, or when its pod is no longer wanted. A plain app's leadership is over when the clear is
//! sent, whatever happens to the request; only a confirmed write of its own starts another \[A2\]. It is sent when the
//! role.json that says so stands in its place, and under `exec` when `lead.lock` is free, and not before \[A5\]: `plain` has
//! the picture.
//!
//! **A new term** is always above the Lease's, the promise, `needTerm`, every term that was seen and, for plain apps, the
//! record of terms, into which it is written before it begins \[A12\] (`record`). At 2^31 - 1 there is no next term: that is an
//! error, never a wrap.
//!
//! # What is not promised
//!
//! That only one pod believes it leads. For fencing apps the promises of a majority decide that, and every claim from here
//! is a suggestion. For plain apps two sidecars never publish `leader` with claims that are valid at the same time,
//! provided nobody edits the Lease by hand and clocks run at the same speed. A process that stands still cannot withdraw
//! its word, so readers compare `valid_until`. A silent watch hides an outage of the API server shorter than half a
//! duration; a plain holder then has the other half to renew.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use leasehold_election::{
//!     App, Body, Config, Effect, Election, Input, Lease, PodRole, ReadOutcome, RecordWritten, Term, Version, Why,
//! };
//!
//! let mut election = Election::new(Config {
//!     name: "web-0".into(),
//!     address: "10.0.0.7:80".into(),
//!     app: App::Plain { incarnation: uuid::Uuid::from_u128(1), exec: false },
//!     duration: Duration::from_secs(15),
//!     lost_time: Duration::from_secs(1),
//!     fitness_patience: Duration::from_secs(3),
//!     stop_bound: Duration::from_secs(50),
//!     seed: 0,
//!     old_role: None,
//! });
//! let effects = election.step(Duration::ZERO, Input::Wake);
//! assert!(effects.contains(&Effect::ReadLease));
//! assert_eq!(election.role().map(|role| role.role), Some(PodRole::Follower));
//!
//! // The Lease is as its manifest has it. Whoever creates the record of terms takes it at once.
//! let lease = Lease { version: Version("41".into()), renewed: None, body: Body::default() };
//! let effects = election.step(Duration::ZERO, Input::LeaseRead(ReadOutcome::Found(lease)));
//! let Some(Effect::WriteRecord(record)) = effects.last() else { panic!("{effects:?}") };
//! assert_eq!((&record.expected, record.term), (&None, Term(1)));
//! let created = RecordWritten::Written { version: Version("42".into()) };
//! let effects = election.step(Duration::from_millis(5), Input::RecordWritten(created));
//! let Some(Effect::WriteLease(write)) = effects.last() else { panic!("{effects:?}") };
//! assert_eq!((write.why, write.body.term), (Why::TakeFree, Term(1)));
//! ```

mod app;
mod counts;
mod effect;
mod election;
mod event;
mod fitness;
mod input;
mod lease;
mod off_lease;
mod plain;
mod plants;
mod publish;
mod record;
mod release;
mod sight;
mod take;
mod timing;

pub use app::{AppState, AppStatus, Claim, HandOver, Promise};
pub use effect::{Effect, Ending, Leader, LeaseWrite, PodRole, RecordWrite, RoleView, Why};
pub use election::{App, Config, Election, OldRole};
pub use event::Event;
pub use fitness::{FAILURES_MAX, Fitness, Leadership};
pub use input::{Input, Member, ReadOutcome, RecordRead, RecordWritten, Watched, WriteOutcome};
pub use lease::{Body, Lease, Term, Version, annotation};
pub use plants::Fault;
#[cfg(feature = "plants")]
pub use plants::plant;
pub use record::RECORD_SUFFIX;
