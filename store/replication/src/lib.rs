//! Decides for the replicas of one cluster: whom to promise, what is committed, who counts, and when to let go. A pure
//! state machine.
//!
//! ```text
//!   role.json ──Role──────────▶ ┌─────────┐ ──Persist──────▶ journal ──▶ Persisted (back in)
//!   clients ────Propose, Read─▶ │         │ ──Apply────────▶ documents, and the clients that wait for them
//!   peers ──────Hello, Frame──▶ │ Replica │ ──Dial, Send───▶ peers
//!   disk ───────Persisted─────▶ │         │ ──AskState─────▶ the other pods: "whom do you hear?"
//!   SIGTERM ────Drain─────────▶ │         │ ──Invite───────▶ the other pods: "I lead, follow me"
//!   timer ──────Wake──────────▶ └─────────┘    status() ───▶ status.json, and from there to the sidecar
//! ```
//!
//! There is no clock, socket, file, task or random source in this crate: the store's shell and the simulator drive the
//! same code. [`Replica::step`] takes one [`Input`] and the time, and returns the [`Effect`]s to carry out, in order.
//! After the input it looks at everything that time or a durable write may have made possible, so no input can forget
//! to.
//!
//! If you know Raft, most of this is familiar: terms, a log, majorities, an empty first entry of each term. The
//! difference is who calls an election. Nobody here does. A sidecar holds a Kubernetes Lease, and its holder is
//! **said** to lead. Such a [`Claim`] may be wrong, late or twofold. The replicas decide whether it comes true.
//!
//! # What is promised, and what is not
//!
//! Promised, whatever clocks, networks, the Lease and the API server do, as long as volumes keep what they confirmed:
//!
//! - A write that was acknowledged is in the log of every leader of a later term.
//! - At most one run of one process opens for writes in a term.
//! - What is applied was committed, and all replicas apply the same entries in the same order.
//! - A strong read sees everything that anybody had applied when it arrived.
//!
//! Deliberately not promised:
//!
//! - That only one replica *believes* that it leads. One that stood still for an hour believes it when it wakes. If a
//!   majority has promised to another replica meanwhile, it can commit nothing: that majority no longer answers it.
//! - That a write without an answer was not done. A leader that is lost may take an entry with it, or leave it to the next
//!   one.
//! - Progress without a majority of the voters, or without anybody who says who leads.
//! - Safety for a volume that goes back in time while nobody who knows it answers ([`went_back`]).
//!
//! # A claim, a promise, a hello
//!
//! A claim has a term and an *incarnation*: one run of one process. It arrives by role.json or as the leader's invitation.
//! A replica accepts a claim above its own [`Promise`], unless the claim's term is absurd \[L8\]. A claim of a lower term,
//! or of the same term with another incarnation, changes nothing. Accepting a claim replaces the promise, and from that
//! moment nothing of a lower term is written or acknowledged \[S3\]. A promise never goes down, and within its term it
//! never moves to another incarnation: a restarted process has a new incarnation, so it cannot continue to lead in its old
//! term \[S10\].
//!
//! When the promise **and everything before it** is durable, the replica dials the leader and says [`Hello`]: "I promised
//! exactly you, and my log ends here". **The hello is the vote.** It stays true, because only this leader changes this log
//! from now on. So a leader may count hellos, and no replica says one early. Before its first promise after a start, a
//! replica also asks the others what they know of its volume \[E1\]: a volume that lost what it had acknowledged must not
//! vote.
//!
//! # A term, from its first hello to its first write
//!
//! ```text
//!   Counting ── a majority of the voters, itself included, promised durably ──▶ is one of their logs better?
//!                                             yes: Pulling ──▶ has it ──▶ count again      │ no
//!   Open for writes ◀── that entry is committed ── Opening: one empty entry of the term ◀──┘
//! ```
//!
//! - **Pull** \[L2\]: logs are compared by [`Position`], term first. If a voter has the better one, the leader asks it for
//!   what follows and cuts its own tail where the two differ. So the Lease may go to any voter: the best log need not win,
//!   because the winner copies it.
//! - **The opening entry** is empty and of the new term. It is needed because of the next point, and nothing is
//!   accepted before it is committed.
//! - **Commit**: an entry is committed when a majority of the voters has it durably, counting only entries of the leader's
//!   own term. Those before it are committed with it. A client gets its answer when the leader has then applied the write.
//! - **Followers** append what follows the position that the leader names, cut only at an entry of another term \[S5\],
//!   and ack how far they are durable *and* equal to the leader's log \[S4\]. One that lacks that position says so
//!   (`mismatch`), and the leader goes back. A follower commits what the leader has committed, as far as it has
//!   verified it.
//!
//! Every [`Frame`] carries the term and the leader's incarnation. One of any other is dropped.
//!
//! A leader stops for a voter's higher promise, or for somebody else's claim with a higher term. It does not stop
//! because the Lease is gone \[L11\]. Without a majority for the lost-time it refuses writes, says so, and keeps
//! trying.
//!
//! # A write becomes durable by an input
//!
//! [`Effect::Persist`] only *begins* a write. Its completion returns as [`Input::Persisted`], with its ticket, and
//! covers all writes before it. Until then the replica neither acks the entry, nor counts its own copy, nor says a
//! hello that rests on it. A client's answer needs a majority of such copies, which may lack the leader's. To
//! acknowledge before the fsync would need an input that nobody has sent. A disk that fails ends the process
//! ([`Input::PersistFailed`]). One that hangs makes the replica unfit to lead ([`Input::Disk`]), and a leader whose
//! followers can do without it lets go.
//!
//! # Voters and learners
//!
//! The log says who counts: an entry carries the whole set of [`Voters`], adds or removes exactly one, and takes effect
//! when it is appended, committed or not; the next such entry waits for its commit \[S7\]. Any other replica that syncs is
//! a *learner*. It becomes a voter when it is wanted and has caught up: it lacks no more bytes than it absorbs in a second
//! \[L14\]. The leader makes a change only if a majority of the *new* set is connected and has caught up, so no change can
//! stop the cluster. With fewer voters than the set's `floor` it refuses writes: an acknowledged write never exists on a
//! single volume while more are wanted \[L7\]. The first voter of all is an empty volume that every other wanted pod also
//! reported empty ([`bootstrap`]).
//!
//! # Snapshots
//!
//! The shell takes them ([`Input::SnapshotTaken`]); the log before one may go. Entries that are durable and applied leave
//! the memory beyond a bound, and are read back from the journal for a follower that is behind ([`Effect::LookUp`]). If
//! neither has what a follower lacks, the leader first sends its snapshot ([`Effect::SendSnapshot`],
//! [`Effect::InstallSnapshot`]), and entries after that.
//!
//! # Losing the leader, and letting go
//!
//! A connection that breaks, or silence for the lost-time, is a loss. A replica that lost the leader of term t asks every
//! voter: do you hear a leader of t or above? When a majority does not, itself included, it says `campaign: t` in its
//! [`Status`], and its rank among those that answered. Its sidecar may then take the Lease. This is a request, not a vote.
//!
//! A leader that is to end, or that role.json asks to hand over, chooses a voter that is fit and lacks next to nothing,
//! publishes it, and accepts writes until it receives the successor's claim. Then it promises and follows like any other
//! replica: its hello is a vote for its successor, which pulls what was in flight. What it did not pull was never
//! acknowledged. A draining replica stays until its successor is open \[L9\] and a majority is left without it.
//!
//! # Strong reads
//!
//! Any replica serves them. A follower asks the leader how far it must have applied. The leader answers with its commit,
//! but only when an entry of its own term is committed, and when a majority of the voters has echoed a heartbeat that
//! **began after** the question arrived \[S6\]: a leader does not notice that it was replaced, but a voter that echoes has
//! promised to nobody else at that moment. The follower answers when it has applied that much.
//!
//! # Replicas that check each other
//!
//! Equal logs do not prove equal data: a bit may flip, or a build may have a fault. Every second the leader asks for the
//! [`Sum`] of the data after one entry. If a majority of **all** voters has the same one, a replica with another one has
//! diverged, also if it is the leader ([`agreement`]). It serves nothing and never leads, but it still acks.
//!
//! # One fail-over
//!
//! Three voters, a, b and c; a leads in term 1. "x" is at 1/6 (term/sequence): it was acknowledged when a and b had
//! it, while c's disk hung. "y" is at 1/7 on a alone, and its client has no answer. Then a is killed. A message takes
//! 1 ms here, a write to a disk 2 ms. (`tests/scripts/02-fail-over.txt` has every line of it. Its clock starts
//! earlier: the leader is lost there at 24, here at 1, so 0 here is 23 there.)
//!
//! ```text
//!   ms   a               b                                   c
//!    0   dies            1/6, promised 1                     1/6 not yet durable, promised 1
//!    1                   its connection is reset: lost       likewise
//!                        "whom do you hear?" ─────────────▶  "nobody"
//!    3                   two of three hear nobody:
//!                        campaign 1, rank 0
//!   20                   b's sidecar has taken the Lease, and both read role.json: b leads in term 2
//!                        promises 2 to itself, to its disk   promises 2 to b, to its disk, behind 1/6
//!   22                   own promise durable                 1/6 and the promise durable, in this order
//!                        ◀──────────────── hello: promised 2 to b, my log ends at 1/6
//!   23                   two of three, no better log: 2/7 (empty) to its disk
//!                        append after 1/6: 2/7 ───────────▶
//!   24                                                       2/7 to its disk
//!   26                   ◀───────────────────────────── ack 7
//!   27                   2/7 is durable on two: committed, and 1/6 with it. Open.
//!
//!   50   starts again: promised 1, its log ends at 1/7. Asks what b and c know of it: it lacks nothing that it acked
//!   52   promises 2 to b. 54 hello: promised 2 to b, my log ends at 1/7
//!   55                   welcome; append after 1/6: 2/7
//!   56   1/7 is of another term than 2/7: cut. 2/7 to its disk
//! ```
//!
//! Even if "x" had never reached c, and the Lease had gone to c, c would have counted b's hello, pulled 1/6 from it, and
//! only then opened. The example at the end does that. And if a had only been cut off, it would have continued as leader of
//! term 1, without a majority: its "y" would never have been acknowledged, and would have been cut all the same.
//!
//! # Where to read what
//!
//! | what goes in | what it leads to | where |
//! | --- | --- | --- |
//! | [`Input::Role`], [`Input::Invited`] | a claim is taken, or deferred, or refused; [`Effect::AnswerInvite`] | [`promising`], [`following`] |
//! | [`Input::Answered`], [`Input::Closed`], [`Input::Heard`] | the leader is heard, or lost; [`Effect::Dial`] again | [`following`] |
//! | [`Input::Hello`], [`Input::InviteAnswered`] | [`Effect::Answer`]; a vote is counted, or a leadership ends | [`leading`] |
//! | [`Input::Frame`] | the [`Body`] says: entries, acks, heartbeats, reads; [`Effect::Send`] | [`message`], [`following`], [`leading`] |
//! | [`Input::Propose`] | [`Effect::Accepted`] or [`Effect::Rejected`]; done when [`Effect::Apply`] brings that position | [`leading`], [`mod@room`] |
//! | [`Input::Read`] | [`Effect::ReadReady`], [`Effect::ReadRefused`] | [`reads`]; [`freshness`]: how old data are |
//! | [`Input::Persisted`], [`Input::PersistFailed`] | acks, hellos, commits; [`Effect::Fail`] | [`replica`] |
//! | [`Input::Disk`] | hand-over, silence; [`Effect::GiveUp`] | [`stall`] |
//! | [`Input::Room`] | growth is refused, or the leadership goes elsewhere | [`mod@room`] |
//! | [`Input::TimeOfDay`] | the clocks of a majority agree, or not ([`Replica::clocks`]) | [`time_of_day`] |
//! | [`Input::StateAnswered`] | a campaign, a bootstrap, the first promise; [`Effect::MarkWentBack`] | [`losing`], [`bootstrap`], [`went_back`] |
//! | [`Input::Sum`], [`Input::SumIsFalse`] | [`Effect::TellSum`], and a verdict; [`Effect::MarkDiverged`] | [`agreement`] |
//! | [`Input::SnapshotTaken`], [`Input::SnapshotReceived`], [`Input::LookedUp`] | what a follower lacks; [`Effect::KeepPiece`] | [`catchup`], [`pace`], [`mod@log`] |
//! | [`Input::Unreadable`], any voters of a later format | [`Effect::Unreadable`]; who may stay, and when the format rises | [`formats`] |
//! | [`Input::Drain`] | a hand-over, and the end | [`draining`] |
//! | [`Input::Wake`] | [`Effect::AskState`], [`Effect::Invite`], heartbeats, what is due | all of them |
//!
//! [`membership`] decides about voters, [`stance`] has the state that exists only while a replica follows or leads,
//! [`volume`] what stands on the volume, [`progress`] what of it is committed and applied, [`step`] all inputs and
//! effects, [`entry`] and [`message`] the bytes, [`status`] what a replica says of itself. The rules with their marks
//! are in docs/design.md, section 5. Whole lives of small clusters, with every message, are told in `tests/scripts`.
//!
//! # Example
//!
//! A driver for three replicas, without time: disks and messages take none. The leader is lost, and the Lease goes to
//! the one replica that lacks the acknowledged write.
//!
//! ```
//! use bytes::Bytes;
//! use leasehold_replication::*;
//! use std::{collections::BTreeMap, collections::VecDeque, time::Duration};
//! use uuid::Uuid;
//!
//! /// By the number of a pod: db-0, db-1, db-2.
//! struct Cluster {
//!     pods: Vec<Replica>,
//!     applied: Vec<Vec<Entry>>,
//!     inputs: VecDeque<(usize, Input)>,
//!     /// (pod, its name of a connection) to the other end.
//!     ends: BTreeMap<(usize, ConnId), (usize, ConnId)>,
//!     /// It hears nothing, and nobody hears it.
//!     cut_off: Option<usize>,
//! }
//!
//! impl Cluster {
//!     fn run(&mut self) {
//!         while let Some((pod, input)) = self.inputs.pop_front() {
//!             for effect in self.pods[pod].step(Duration::ZERO, input) {
//!                 self.carry_out(pod, effect);
//!             }
//!         }
//!     }
//!
//!     fn carry_out(&mut self, pod: usize, effect: Effect) {
//!         match effect {
//!             // The disk. Its completion is an input, and the replica says nothing that rests on it before.
//!             Effect::Persist { ticket, .. } => self.inputs.push_back((pod, Input::Persisted { ticket })),
//!             Effect::Apply { entries } => self.applied[pod].extend(entries),
//!             // The network.
//!             Effect::Dial { conn, to, hello } => {
//!                 let (to, far) = (ordinal(&to.name), ConnId::Accepted(self.ends.len() as u64));
//!                 self.ends.extend([((pod, conn), (to, far)), ((to, far), (pod, conn))]);
//!                 self.deliver(pod, to, Input::Hello { conn: far, hello });
//!             }
//!             Effect::Answer { conn, answer } => {
//!                 let (to, conn) = self.ends[&(pod, conn)];
//!                 self.deliver(pod, to, Input::Answered { conn, answer });
//!             }
//!             Effect::Send { conn, frame } => {
//!                 let (to, conn) = self.ends[&(pod, conn)];
//!                 self.deliver(pod, to, Input::Frame { conn, frame });
//!             }
//!             Effect::AskState { to } => {
//!                 let state = self.pods[ordinal(&to.name)].status().peer_state(&to.name, volume(ordinal(&to.name)));
//!                 self.deliver(ordinal(&to.name), pod, Input::StateAnswered { name: to.name, state });
//!             }
//!             // Every replica reads role.json here, so no invitation is needed; the rest does not occur.
//!             _ => {}
//!         }
//!     }
//!
//!     fn deliver(&mut self, from: usize, to: usize, input: Input) {
//!         if self.cut_off != Some(from) && self.cut_off != Some(to) {
//!             self.inputs.push_back((to, input));
//!         }
//!     }
//!
//!     /// role.json says to all pods but the one that is cut off: this pod leads in this term.
//!     fn lead(&mut self, leader: usize, term: u64) {
//!         let name = format!("db-{leader}");
//!         let leader = LeaderView {
//!             term: Term(term),
//!             incarnation: run_of(leader),
//!             peer_address: format!("{name}:8090"),
//!             name,
//!             addresses: Vec::new(),
//!         };
//!         let view = RoleView { cluster_id: Some(CLUSTER), leader: Some(leader), ..RoleView::default() };
//!         for pod in (0..3).filter(|pod| self.cut_off != Some(*pod)) {
//!             self.inputs.push_back((pod, Input::Role(view.clone())));
//!         }
//!         self.run();
//!     }
//!
//!     fn has_applied(&self, pod: usize, what: &str) -> bool {
//!         let is_it = |entry: &Entry| matches!(&entry.payload, Payload::Command(command) if command == what.as_bytes());
//!         self.applied[pod].iter().any(is_it)
//!     }
//! }
//!
//! const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(1));
//! let mut cluster = Cluster {
//!     pods: (0..3).map(|pod| Replica::new(config(pod), volume_with_three_voters())).collect(),
//!     applied: vec![Vec::new(); 3],
//!     inputs: VecDeque::new(),
//!     ends: BTreeMap::new(),
//!     cut_off: None,
//! };
//!
//! // A leader opens: two hellos beside its own promise, and its empty entry is committed.
//! cluster.lead(0, 1);
//! assert!(cluster.pods[0].status().open);
//! assert_eq!(cluster.pods[0].position(), Position::new(1, 2));
//!
//! // A write, while db-2 hears nothing: two of three have it, and it is acknowledged.
//! cluster.cut_off = Some(2);
//! let proposal = Proposal { id: ProposalId(1), command: Bytes::from_static(b"kept"), grows: true };
//! cluster.inputs.push_back((0, Input::Propose(vec![proposal])));
//! cluster.run();
//! assert!(cluster.has_applied(0, "kept"));
//! assert_eq!(cluster.pods[2].position(), Position::new(1, 2));
//!
//! // The leader is lost, and the Lease goes to db-2, the one that lacks the write. db-1 promises to db-2 and says where
//! // its log ends; db-2 pulls what it lacks before it opens, so the write is there.
//! cluster.cut_off = Some(0);
//! cluster.lead(2, 2);
//! assert!(cluster.pods[2].status().open);
//! assert!(cluster.has_applied(2, "kept"));
//! assert_eq!(cluster.pods[2].position(), Position::new(2, 4));
//!
//! // The old leader believes that it leads. Nothing that it accepts is ever committed.
//! assert!(cluster.pods[0].status().open);
//! let proposal = Proposal { id: ProposalId(2), command: Bytes::from_static(b"lost"), grows: true };
//! cluster.inputs.push_back((0, Input::Propose(vec![proposal])));
//! cluster.run();
//! assert!(!cluster.has_applied(0, "lost"));
//! # fn ordinal(name: &str) -> usize {
//! #     name.rsplit('-').next().and_then(|digits| digits.parse().ok()).expect("a pod's name")
//! # }
//! # fn volume(pod: usize) -> ReplicaId {
//! #     ReplicaId(Uuid::from_u128(10 + pod as u128))
//! # }
//! # fn run_of(pod: usize) -> Incarnation {
//! #     Incarnation(Uuid::from_u128(20 + pod as u128))
//! # }
//! # fn config(pod: usize) -> Config {
//! #     Config {
//! #         name: format!("db-{pod}"),
//! #         replica: volume(pod),
//! #         incarnation: run_of(pod),
//! #         revision: String::new(),
//! #         heartbeat: Duration::from_millis(100),
//! #         lost_time: Duration::from_secs(1),
//! #         disk_stall: Duration::from_secs(2),
//! #         unready_after: Duration::from_secs(30),
//! #         log_memory_bytes: 1 << 20,
//! #         apply_bytes_max: 1 << 18,
//! #         hand_over_max: Duration::from_secs(2),
//! #         drain_min: Duration::from_secs(5),
//! #         drain_max: Duration::from_secs(55),
//! #         new_cluster_id: CLUSTER,
//! #         initial_data: Vec::new(),
//! #         initial_format: 1,
//! #         restore: None,
//! #         force_bootstrap: false,
//! #         format_build: FORMAT,
//! #         format_allowed: FORMAT,
//! #         sums: false,
//! #     }
//! # }
//! # fn volume_with_three_voters() -> Recovered {
//! #     let voter = |pod| Voter {
//! #         replica: volume(pod),
//! #         name: format!("db-{pod}"),
//! #         peer_address: format!("db-{pod}:8090"),
//! #     };
//! #     let voters = Voters { format: FORMAT, floor: 2, voters: (0..3).map(voter).collect() };
//! #     Recovered {
//! #         state: DurableState { cluster_id: Some(CLUSTER), ..DurableState::EMPTY },
//! #         snapshot: None,
//! #         entries: vec![Entry::new(Position::ZERO, Term(0), Payload::Voters(voters))],
//! #         committed: Position::ZERO,
//! #         went_back: None,
//! #         diverged: None,
//! #         format: FORMAT_MIN,
//! #     }
//! # }
//! ```

mod agreement;
mod bootstrap;
mod catchup;
mod claim;
mod clock;
mod disk;
mod diverged;
mod draining;
mod entry;
mod following;
mod format;
mod formats;
mod freshness;
mod ids;
mod known_volume;
mod leading;
mod log;
mod losing;
mod measured;
mod membership;
mod message;
mod pace;
mod plants;
mod progress;
mod promising;
mod question;
mod reads;
mod replica;
mod room;
mod rounds;
mod shortage;
mod sidecar;
mod stall;
mod stance;
mod status;
mod step;
mod sum;
mod table;
mod target;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod testing;
mod time_of_day;
mod volume;
mod voters;
mod went_back;

pub use bootstrap::begins_anew;
pub use claim::{Claim, ClusterId, Incarnation, Position, Promise, ReplicaId, Seq, Term};
pub use diverged::{Agreement, Diverged};
pub use entry::{
    DurableState, Entry, Payload, RECORD_BODY_BYTES_MAX, RECORD_HEADER_BYTES, Record, RecordError, SnapshotMark,
    record_length,
};
pub use format::{FORMAT, FORMAT_MIN, readable};
pub use formats::{FormatStatus, HoldsBack, WhyHeldBack};
pub use ids::{ConnId, ProposalId, ReadId, RequestId, Ticket};
pub use known_volume::{KnownVolume, WentBack};
pub use message::{
    Body, FRAME_BYTES_MAX, Frame, FrameError, Hello, HelloAnswer, InviteAnswer, PeerState, RefusalCode,
    SNAPSHOT_PIECE_BYTES, SnapshotPart, SnapshotPiece,
};
pub use plants::Fault;
#[cfg(feature = "plants")]
pub use plants::plant;
pub use replica::Replica;
pub use shortage::{Level, Limit, Room, Shortage};
pub use status::{FollowerStatus, Phase, Pulse, PulseRest, Since, Status};
pub use step::{
    Config, Effect, Input, LeaderView, Member, Proposal, Recovered, Refusal, Restore, RoleView, SnapshotMeta,
};
pub use sum::{NoSum, Sum};
pub use target::Target;
pub use time_of_day::{CLOCKS_APART_MAX, Clocks};
pub use voters::{Voter, Voters};
