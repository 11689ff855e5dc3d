//! What a leader does by itself: it looks at the data, and decides on the next step. Pure: the shell (and the simulator) says what
//! time it is and whether a record fits a schema, and proposes what comes of it.
//!
//! ```text
//!   data ──next_change──▶ a collection with a pending change ──Step::of──▶ `Advance` | `DoesNotFit`
//!        ──next_expiry──▶ a collection with records whose time is over ──▶ `Expire`
//! ```
//!
//! All that a decision needs is in the data, so the next leader continues where the last one stopped. Whether the time of day may be
//! used is for [`Clock`], and for [`Clocks`](leasehold_replication::Clocks) of the replicas.

mod change;
mod clock;
mod expiry;
mod turn;

pub use change::{Mark, Misfit, Step, new_schema, next_change};
pub use clock::{AGREED_MIN, Clock};
pub use expiry::next_expiry;
