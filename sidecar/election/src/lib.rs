//! Who leads, decided from what was seen of the Lease and of the app: a pure state machine.
//!
//! ```text
//!   GET, watch ──LeaseRead, LeaseWatched──▶ ┌──────────┐ ──ReadLease──────▶ GET
//!   own writes ──LeaseWritten─────────────▶ │          │ ──WriteLease─────▶ create / replace (resourceVersion)
//!   status.json ─AppSeen, AppSilent───────▶ │ Election │ ──PublishRole────▶ role.json
//!   status.lock ─AppDied──────────────────▶ │          │ ──UpdateEndpoints▶ EndpointSlice
//!   StatefulSet ─MembersSeen──────────────▶ │          │ ──Tell───────────▶ log, Events, counters
//!   SIGTERM, timer ──Stop, Wake───────────▶ └──────────┘ ──Stopped────────▶ exit
//! ```
//!
//! A step takes one input and the time, remembers what it says, and then decides everything anew from what is known
//! (`election`): it judges the Lease (`counts`), publishes (`publish`), asks the rules in a fixed order for the one write
//! that is to be made (`take`, `release`), and asks whether a look is due (`sight`). No rule has a state of its own: what
//! could not be written is wanted again in the next step, or no longer. Waiting is done by one function, `due(at)`: it
//! answers whether the time has come, and if not it sees to it that [`Election::deadline`] is no later.
//!
//! At most one GET and one write are under way. The shell carries each out once, with a time-out, and reports what came
//! of it; whether and when to try again, with pauses that grow, is decided here. Validity counts from the step that asked
//! for the write, which is never after the request began.
//!
//! # The rules
//!
//! They carry the numbers and marks of docs/design.md. A *fencing* app is bound by promises and needs the Lease only to
//! be told who leads; a *plain* app has nothing but the Lease.
//!
//! **Which Lease counts**, before any rule (`counts`):
//! - of another cluster: never touched, and nobody here leads by it;
//! - more than a million terms above the promise: an edit by hand, left out of every maximum \[L8\];
//! - below the promise, or of its term with another incarnation: as if there was no Lease \[L12\];
//! - held by no member, or without an incarnation: as if nobody held it. The holder is name **and** incarnation \[S10\].
//!
//! **Taking** (`take`, `off_lease`), only with an app that is alive and eligible, on a pod that is wanted:
//! 1. The Lease names this pod and incarnation, for a term above the promise: lead, also with an app that drains by now
//!    (it was chosen, and whoever chose it has stopped leading). Another incarnation of this pod: a new
//!    term with the own one (fencing: while it campaigns; plain: if the role.json found at the start names that incarnation
//!    as this pod's. Another pod of this name may run on, so any other is left to rules 2 and 3).
//! 2. No Lease, or no holder: the leader writes it again at once, with its own term, or a new one where the Lease's is
//!    above \[L11\]. Plain apps otherwise wait: two lost-times if it was cleared, else a duration; each clear, and each
//!    renewal of a holder that counts as none, begins a wait of its own.
//! 3. (plain) It was not renewed for a duration, seen without a gap: take it.
//! 4. (fencing) The app says `campaign` for the Lease's term or above, or nobody holds it; after the rank delay: take it.
//!    The bootstrap is the campaign of a volume marked for it.
//! 5. (fencing) As 4, but no request about the Lease got an answer for a duration: lead without it, one lost-time later.
//!    When the API answers, rule 2 writes that term; a Lease with a higher one wins.
//!
//! `paused` stops 2 (but for the leader's own), 3, 4 and 5.
//!
//! **Besides** (`take`): the holder renews every third of the duration, and mends what was edited. `needTerm` starts a new
//! term only where the app leads \[L3\]. A Lease of no account is written after 10 s for a leader whose sidecar is blind.
//! No sign of the Lease for a duration: one GET \[L13\].
//!
//! **Letting go** (`release`): never by letting it run out. A transfer to the successor in one compare-and-swap, or the
//! holder is cleared: when the app hands over, when it died, when a plain app's sidecar ends or is asked to, or its
//! pod is no longer wanted. A plain app's leadership is over when the clear is sent, whatever becomes of it; another begins
//! with an own write that was confirmed.
//!
//! **A new term** is always above the Lease's, the promise, `needTerm` and every term that was seen, and at most
//! 2^31 - 1: then it is an error, never a wrap.
//!
//! # What is not promised
//!
//! That only one pod believes it leads. For fencing apps that is decided by the promises of a majority, and every claim
//! from here is a suggestion. For plain apps two sidecars never publish `leader` with claims that are valid at the same
//! time as long as nobody edits the Lease by hand, if clocks run at the same speed; a process that stands still cannot
//! take its word back, which is why readers compare `valid_until`. A silent watch hides an outage of the API server
//! shorter than half a duration; a plain holder then has the other half to renew.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use leasehold_election::{App, Config, Effect, Election, Input, ReadOutcome, Role, Why};
//!
//! let mut election = Election::new(Config {
//!     name: "web-0".into(),
//!     address: "10.0.0.7:80".into(),
//!     app: App::Plain { incarnation: uuid::Uuid::from_u128(1) },
//!     duration: Duration::from_secs(15),
//!     lost_time: Duration::from_secs(1),
//!     stop_bound: Duration::from_secs(50),
//!     seed: 0,
//!     old_role: None,
//! });
//! let effects = election.step(Duration::ZERO, Input::Wake);
//! assert!(effects.contains(&Effect::ReadLease));
//! assert_eq!(election.role().map(|role| role.role), Some(Role::Follower));
//!
//! // There is none: somebody may still lead by the one that is gone, so it is looked for again, and then created.
//! election.step(Duration::ZERO, Input::LeaseRead(ReadOutcome::NotFound));
//! let mut now = Duration::ZERO;
//! let created = loop {
//!     now = election.deadline().expect("there is something to wait for");
//!     for effect in election.step(now, Input::Wake) {
//!         match effect {
//!             Effect::ReadLease => drop(election.step(now, Input::LeaseRead(ReadOutcome::NotFound))),
//!             Effect::WriteLease(write) => assert_eq!(write.why, Why::TakeFree),
//!             _ => {}
//!         }
//!     }
//!     if now >= Duration::from_secs(15) {
//!         break now;
//!     }
//! };
//! assert_eq!(created, Duration::from_secs(15));
//! ```

mod app;
mod counts;
mod effect;
mod election;
mod event;
mod input;
mod lease;
mod off_lease;
mod plants;
mod publish;
mod release;
mod sight;
mod take;
mod timing;

pub use app::{AppState, AppStatus, Claim, HandOver, Promise};
pub use effect::{Effect, Leader, LeaseWrite, Role, RoleView, Why};
pub use election::{App, Config, Election, OldRole};
pub use event::Event;
pub use input::{Input, Member, ReadOutcome, Watched, WriteOutcome};
pub use lease::{Body, Lease, Term, Version, annotation};
pub use plants::Fault;
#[cfg(feature = "plants")]
pub use plants::plant;
