//! Other replicas: who is connected, what is sent to them, what they ask.
//!
//! ```text
//!   driver ──dial, send, answer, close──▶ Peers ──Link (bounded queue)──▶ connection task ──▶ socket
//!   driver ◀──admit── PeerEvent (bounded) ◀────────────────────────────── connection task ◀── socket
//!                          ▲
//!   GET /v1/replicate ─────┤ (listener: hello, then a connection task)
//!   POST /v1/claim ────────┘ (listener)      GET /v1/state (listener: from the last published state, no driver)
//!   GET /v1/forward ──▶ the port for clients (listener; clients' writes that another replica sends on: `forward`)
//!   driver ──invite, ask_state──▶ request task ──▶ another pod's listener; its answer comes back as a PeerEvent
//! ```
//!
//! Bounds: a connection whose queue is full is closed, and the state machine is notified; the other end dials again and
//! catches up from the journal. If the driver is slow, the connection tasks wait for it and TCP holds the sender back.
//!
//! Order: within a connection nothing overtakes anything, except that heartbeats and their echoes may pass the pieces of a
//! snapshot: a long snapshot must not look like a silent leader.
//!
//! Before any of that a connection passes the checks of [`trust`].
//!
//! A peer's bytes are never trusted: anything that is not a hello, not a frame or not of this protocol closes the
//! connection, is counted (`leasehold_store_peer_rejected_total`) and logged with the address of its sender.

mod config;
mod connection;
mod counted;
mod dialer;
mod event;
mod forward;
mod link;
mod listener;
mod protocol;
mod reach;
mod rejection;
mod remote;
mod request;
#[cfg(test)]
mod tests;
pub mod trust;

pub use config::PeerConfig;
pub use event::{PeerEvent, Said};
pub use forward::{ForwardError, ForwardWay};
pub use link::{Link, PieceReader, SnapshotOut};
pub use listener::{Listener, PeerStateReceiver};
pub use protocol::CLUSTER;
pub use rejection::Rejection;

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::net::IpAddr;
use std::time::Duration;

use leasehold_replication::{Claim, ConnId, Frame, Hello, HelloAnswer, Input, InviteAnswer, RequestId, Target};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// How many events may wait for the driver. Beyond them connections wait, and TCP holds their senders back.
pub const EVENTS_MAX: usize = 128;
/// How many invitations may wait for the state machine's answer. Beyond them the oldest are dropped (their senders ask
/// again).
const INVITATIONS_MAX: usize = 256;
/// An event for the state machine.
#[derive(Debug)]
pub struct Admitted {
    /// As the state machine receives it.
    pub input: Input,
    /// The permit of a piece of a snapshot. While held, it counts against the few pieces that a connection admits before
    /// they are kept.
    pub room: Option<OwnedSemaphorePermit>,
}

/// All connections and requests of this replica, as the driver sees them.
#[derive(Debug)]
pub struct Peers {
    config: PeerConfig,
    events: mpsc::Sender<PeerEvent>,
    tasks: TaskTracker,
    links: HashMap<ConnId, Link>,
    /// Requests under way: at most one for each pod and kind.
    asking: HashMap<(Kind, String), Asking>,
    runs: u64,
    invitations: HashMap<RequestId, oneshot::Sender<InviteAnswer>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Invite,
    State,
}

#[derive(Debug)]
struct Asking {
    run: u64,
    claim: Option<Claim>,
    /// The addresses that it asks. One that has become known since deserves another attempt.
    addresses: Vec<IpAddr>,
    task: AbortHandle,
}

impl Asking {
    /// Does it ask at every address that is known now?
    fn knows(&self, to: &Target) -> bool {
        to.addresses.iter().all(|address| self.addresses.contains(address))
    }
}

impl Peers {
    /// No connections yet. Events go to `events` (make it with [`EVENTS_MAX`]).
    pub fn new(config: PeerConfig, events: mpsc::Sender<PeerEvent>) -> Peers {
        Peers {
            config,
            events,
            tasks: TaskTracker::new(),
            links: HashMap::new(),
            asking: HashMap::new(),
            runs: 0,
            invitations: HashMap::new(),
        }
    }

    /// Receives an event and returns the input for the state machine: nothing, if we closed the connection in the meantime,
    /// or a request had no answer.
    pub fn admit(&mut self, event: PeerEvent) -> Option<Admitted> {
        let mut held = None;
        let input = match event {
            PeerEvent::Hello { conn, hello, link } => {
                self.links.insert(conn, link);
                Some(Input::Hello { conn, hello })
            }
            PeerEvent::Answered { conn, answer } => {
                if matches!(answer, HelloAnswer::Refused { .. }) {
                    self.links.remove(&conn)?;
                } else {
                    self.links.get(&conn)?;
                }
                Some(Input::Answered { conn, answer })
            }
            PeerEvent::Frame { conn, frame, room } => {
                held = room;
                self.links.get(&conn).map(|_| Input::Frame { conn, frame })
            }
            PeerEvent::Unreadable { conn, what } => self.links.get(&conn).map(|_| Input::Unreadable { conn, what }),
            PeerEvent::Heard { conn } => self.links.get(&conn).map(|_| Input::Heard { conn }),
            PeerEvent::Closed { conn } => self.links.remove(&conn).map(|_| Input::Closed { conn }),
            PeerEvent::Invited { request, claim, reply } => {
                self.invitations.retain(|_, waiting| !waiting.is_closed());
                if self.invitations.len() >= INVITATIONS_MAX {
                    return None; // dropping `reply` tells the asker to try later
                }
                self.invitations.insert(request, reply);
                Some(Input::Invited { request, claim })
            }
            PeerEvent::Asked { name, run, said } => {
                let kind = match &said {
                    Said::Invite(_) => Kind::Invite,
                    Said::State(_) => Kind::State,
                };
                match self.asking.entry((kind, name.clone())) {
                    MapEntry::Occupied(asking) if asking.get().run == run => drop(asking.remove()),
                    // A newer one replaced it while this event waited.
                    _ => return None,
                }
                match said {
                    Said::Invite(answer) => answer.map(|answer| Input::InviteAnswered { name, answer }),
                    Said::State(state) => state.map(|state| Input::StateAnswered { name, state }),
                }
            }
        };
        input.map(|input| Admitted { input, room: held })
    }

    /// Connects to a leader and says hello. `Answered` or `Closed` follows.
    pub fn dial(&mut self, conn: ConnId, to: Target, hello: Hello) {
        let (link, outbox) = link::link();
        self.links.insert(conn, link);
        self.tasks.spawn(dialer::dial(conn, to, hello, outbox, self.events.clone(), self.config.clone()));
    }

    /// Answers a hello. A refused connection ends when the refusal is sent. False: as of [`Peers::send`].
    #[must_use]
    pub fn answer(&mut self, conn: ConnId, answer: HelloAnswer) -> bool {
        let refused = matches!(answer, HelloAnswer::Refused { .. });
        let sent = self.put(conn, |link| link.answer(answer));
        if refused {
            self.links.remove(&conn);
        }
        sent
    }

    /// Queues a frame. False: the queue was full and the connection is closed now; the caller must notify the state
    /// machine. A connection that is gone already accepts everything: its `Closed` is on its way.
    #[must_use]
    pub fn send(&mut self, conn: ConnId, frame: Frame) -> bool {
        self.put(conn, |link| link.send(frame))
    }

    /// Queues a whole snapshot, to be sent in pieces. False: as of [`Peers::send`].
    #[must_use]
    pub fn send_snapshot(&mut self, conn: ConnId, snapshot: SnapshotOut) -> bool {
        self.put(conn, |link| link.send_snapshot(snapshot))
    }

    fn put(&mut self, conn: ConnId, put: impl FnOnce(&Link) -> bool) -> bool {
        let Some(link) = self.links.get(&conn) else { return true };
        if put(link) {
            return true;
        }
        warn!(?conn, "closed a peer connection: the peer reads too slowly");
        self.links.remove(&conn);
        false
    }

    /// Closes a connection once its queue is sent, or soon. No `Closed` is reported.
    pub fn close(&mut self, conn: ConnId) {
        self.links.remove(&conn);
    }

    /// Is this connection open, as far as is known here?
    pub fn has(&self, conn: ConnId) -> bool {
        self.links.contains_key(&conn)
    }

    /// Invites a pod. Drops an older claim of ours that is under way to it.
    pub fn invite(&mut self, to: Target, claim: Claim) {
        let key = (Kind::Invite, to.name.clone());
        match self.asking.get(&key) {
            Some(asking) if asking.claim.as_ref() == Some(&claim) && asking.knows(&to) => return,
            Some(asking) => asking.task.abort(),
            None => {}
        }
        let (config, asked, addresses) = (self.config.clone(), claim.clone(), to.addresses.clone());
        let task = self.ask(to.name.clone(), async move {
            let answer = request::invite(&to, &claim, &config).await;
            Said::Invite(told(answer, &to, &config))
        });
        self.asking.insert(key, Asking { run: self.runs, claim: Some(asked), addresses, task });
    }

    /// Asks a pod for its state, unless that question is under way.
    pub fn ask_state(&mut self, to: Target) {
        let key = (Kind::State, to.name.clone());
        match self.asking.get(&key) {
            Some(asking) if asking.knows(&to) => return,
            Some(asking) => asking.task.abort(),
            None => {}
        }
        let (config, addresses) = (self.config.clone(), to.addresses.clone());
        let task = self.ask(to.name.clone(), async move {
            let answer = request::state(&to, &config).await;
            Said::State(told(answer, &to, &config))
        });
        self.asking.insert(key, Asking { run: self.runs, claim: None, addresses, task });
    }

    fn ask(&mut self, name: String, request: impl Future<Output = Said> + Send + 'static) -> AbortHandle {
        self.runs += 1;
        let (run, events) = (self.runs, self.events.clone());
        let task = self.tasks.spawn(async move {
            let said = request.await;
            // Only a driver that is gone no longer receives events.
            let _ = events.send(PeerEvent::Asked { name, run, said }).await;
        });
        task.abort_handle()
    }

    /// Answers an invitation.
    pub fn answer_invite(&mut self, request: RequestId, answer: InviteAnswer) {
        if let Some(reply) = self.invitations.remove(&request) {
            let _ = reply.send(answer); // an asker that gave up asks again
        }
    }

    /// Closes everything, and gives queued data `time_max` to be sent.
    pub async fn finish(mut self, time_max: Duration) {
        for asking in self.asking.values() {
            asking.task.abort();
        }
        self.links.clear();
        self.tasks.close();
        let _ = tokio::time::timeout(time_max, self.tasks.wait()).await;
    }
}

fn told<T>(answer: Result<T, request::RequestError>, to: &Target, config: &PeerConfig) -> Option<T> {
    match answer {
        Ok(answer) => return Some(answer),
        Err(request::RequestError::Untrusted(reason, what)) => config.refused(&to.peer_address, reason, &what),
        Err(error) => debug!(pod = to.name, addresses = ?to.addresses, %error, "a peer did not answer"),
    }
    None
}
