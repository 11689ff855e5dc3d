//! The store's decisions, as one pure state machine: whom to promise, what is committed, who counts, when to let go.
//!
//! Start with [`Replica`]; what goes in and comes out is in [`Input`] and [`Effect`]. There is no clock, socket, file,
//! task or random source in this crate: the store's shell and the simulator drive the same code.

mod bootstrap;
mod catchup;
mod claim;
mod draining;
mod entry;
mod following;
mod freshness;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod leading;
mod log;
mod losing;
mod membership;
mod message;
mod pace;
mod plants;
mod reads;
mod replica;
mod role;
mod room;
mod stall;
mod status;
mod step;
mod voters;
mod went_back;

pub use claim::{Claim, ClusterId, Incarnation, Position, Promise, ReplicaId, Seq, Term};
pub use entry::{
    DurableState, Entry, Payload, RECORD_BODY_BYTES_MAX, RECORD_HEADER_BYTES, Record, RecordError, SnapshotMark,
    record_length,
};
pub use message::{
    Answer, Body, FRAME_BYTES_MAX, Frame, FrameError, Hello, InviteAnswer, PeerState, RefusalCode,
    SNAPSHOT_PIECE_BYTES, SnapshotPart, SnapshotPiece,
};
pub use plants::Fault;
#[cfg(feature = "plants")]
pub use plants::plant;
pub use replica::Replica;
pub use room::{Level, Limit, Room, Shortage};
pub use status::{FollowerStatus, Phase, Pulse, PulseRest, Since, Status};
pub use step::{
    Config, ConnId, Effect, Input, LeaderView, Member, Proposal, ProposalId, ReadId, Recovered, Refusal, RequestId,
    RoleView, SnapshotMeta, Target, Ticket,
};
pub use voters::{Voter, Voters};
pub use went_back::{KnownVolume, WentBack};

/// The format of records, frames and snapshots that this version writes, and the highest that it reads.
pub const FORMAT: u32 = 1;
/// The lowest format that this version reads.
pub const FORMAT_MIN: u32 = 1;
