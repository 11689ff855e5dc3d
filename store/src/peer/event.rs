//! What happens on the peer side, for the driver.

use leasehold_replication::{Claim, ConnId, Frame, Hello, HelloAnswer, InviteAnswer, PeerState, RequestId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::link::Link;

/// What happens on the peer side, for the driver. Give each to [`Peers::admit`](super::Peers::admit).
#[derive(Debug)]
pub enum PeerEvent {
    /// Another replica dialled us and said hello.
    Hello {
        /// The new connection.
        conn: ConnId,
        /// Its hello.
        hello: Hello,
        /// The way to it.
        link: Link,
    },
    /// The leader that we dialled answered.
    Answered {
        /// The connection.
        conn: ConnId,
        /// Its answer.
        answer: HelloAnswer,
    },
    /// A frame arrived.
    Frame {
        /// On this connection.
        conn: ConnId,
        /// The frame.
        frame: Frame,
        /// Held by a piece of a snapshot until it is kept: see [`Admitted`](super::Admitted).
        room: Option<OwnedSemaphorePermit>,
    },
    /// A frame came with an entry, or a record, of a format that this build does not know. The connection ends.
    Unreadable {
        /// By this connection.
        conn: ConnId,
        /// What it was.
        what: String,
    },
    /// Bytes of a frame came that is not whole yet.
    Heard {
        /// On this connection.
        conn: ConnId,
    },
    /// A connection ended. Nothing follows on it.
    Closed {
        /// The connection.
        conn: ConnId,
    },
    /// A leader invites us.
    Invited {
        /// The number of the request.
        request: RequestId,
        /// Its claim.
        claim: Claim,
        /// Where the answer goes.
        reply: oneshot::Sender<InviteAnswer>,
    },
    /// A request of ours ended.
    Asked {
        /// The pod.
        name: String,
        /// The number of this request among those of its kind.
        run: u64,
        /// Its answer; none if there was none.
        said: Said,
    },
}

/// The outcome of a request of ours.
#[derive(Debug)]
pub enum Said {
    /// To an invitation.
    Invite(Option<InviteAnswer>),
    /// To a question for its state.
    State(Option<PeerState>),
}
