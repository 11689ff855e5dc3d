//! What happens on the peer side, for the driver.

use leasehold_replication::{Answer, Claim, ConnId, Frame, Hello, InviteAnswer, PeerState, RequestId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::link::Link;

/// What happens on the peer side, for the driver. Give each to [`Peers::admit`](super::Peers::admit).
#[derive(Debug)]
pub enum PeerEvent {
    /// Somebody dialled us and said hello.
    Hello {
        /// The new connection.
        conn: ConnId,
        /// What it said.
        hello: Hello,
        /// The way to it.
        link: Link,
    },
    /// The leader that we dialled answered.
    Answered {
        /// The connection.
        conn: ConnId,
        /// Its answer.
        answer: Answer,
    },
    /// A frame came.
    Frame {
        /// By this connection.
        conn: ConnId,
        /// The frame.
        frame: Frame,
        /// Held by a piece of a snapshot until it is kept: see [`Admitted`](super::Admitted).
        room: Option<OwnedSemaphorePermit>,
    },
    /// Bytes of a frame came that is not whole yet.
    Heard {
        /// By this connection.
        conn: ConnId,
    },
    /// A connection ended. Nothing follows by it.
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
        /// Which pod was asked.
        name: String,
        /// Which run of this kind of request it was.
        run: u64,
        /// What it said; none when it could not be had.
        said: Said,
    },
}

/// The outcome of a request of ours.
#[derive(Debug)]
pub enum Said {
    /// To an invitation.
    Invite(Option<InviteAnswer>),
    /// To the question for its state.
    State(Option<PeerState>),
}
