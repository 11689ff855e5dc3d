//! When `sidecar exec` starts, ends and kills its command CMD: a pure state machine, without IO, clock or randomness.
//!
//! ```text
//!   role.json changed ──RoleSeen─────────▶ ┌────────────────┐ ──TryEnter──▶ status.lock, for the whole life
//!   status.lock ───────Entered───────────▶ │    Wrapper     │ ──TryLock───▶ lead.lock
//!   lead.lock ─────────Locked────────────▶ │                │ ──CheckRole─▶ reads role.json anew
//!   role.json ─────────RoleChecked───────▶ │ wait ▶ check ▶ │ ──Start─────▶ CMD, which inherits lead.lock
//!   SIGCHLD ───────────Ended, Gone───────▶ │   run ▶ end    │ ──Stop──────▶ SIGTERM to its process group
//!   SIGTERM, … ────────Signalled─────────▶ │                │ ──Kill──────▶ SIGKILL to every descendant
//!   deadline() ────────Wake──────────────▶ └────────────────┘ ──Unlock────▶ lead.lock        ──Exit──▶ the end
//! ```
//!
//! The time of one claim, here of 15 s (d: the Lease's duration), renewed every third of it:
//!
//! ```text
//!   renewed at 0          5 s                10.5 s       13.5 s   15 s
//!      ├────────────────────┼───────────────────┼────────────┼───────┤
//!                        renewal due        Stop: SIGTERM   Kill   validUntil
//!                                               ├─ the grace ─┤ the margin: d/10
//! ```
//!
//! What always holds:
//!
//! 1. CMD starts only by a claim that was read while `lead.lock` was held. (The sidecar replaces role.json first, and looks at
//!    the lock then: so it never finds the lock free while a CMD of that term can still start.)
//! 2. Whenever the wrapper runs at or after validUntil minus the margin, it kills whatever is left of CMD, until nothing is.
//! 3. `lead.lock` is freed only when no descendant is left.
//! 4. A leadership that ended stays ended for its CMD: a later claim, even of the same term, starts a new one.
//!
//! Not promised: that CMD is dead at validUntil when the wrapper itself did not run (frozen, starved). The guard process of the
//! shell covers the wrapper alone being frozen; nothing here covers a whole machine or container that was.

mod claim;
mod effect;
mod input;
mod run;
mod wrapper;

#[cfg(test)]
mod tests;

pub use claim::{Claim, Sight, margin};
pub use effect::{Effect, Saying};
pub use input::Input;
pub use wrapper::{LOST_CODE, OnLost, Settings, Wrapper};
