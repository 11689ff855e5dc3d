//! The format gate: what may be written, and who may stay, while a cluster has builds of two formats (5.10 in
//! docs/design.md). The numbers themselves are in `format.rs`.
//!
//! ```text
//!   the log's format    that of the last voters entry in the own log, committed or not     hello's `formatMin` [C2]
//!   in force            that of the last committed one: what is written, by all [C3]       never sinks
//!   build, allowed      what this build reads, and what its operator allows of that        hello's `formatMax`, `formatAllowed`
//!
//!   all voters and wanted members, connected, allow the next one ──a voters entry, nothing else changed──▶ the log's format
//!        ──a follower that reads less is dropped, then refused──▶ committed ──a new segment first──▶ in force
//! ```
//!
//! Not promised: a way back. A replica that has the raise in its log needs a build that reads the new format, also if the
//! raise is not committed yet: nobody can tell.

use crate::format::{CLOCKS, readable};
use crate::log::Log;
use crate::plants::{
    hello_tells_log_format, new_format_waits_for_commit, old_builds_are_dropped, old_builds_are_refused,
    raises_wait_for_all, unreadable_ends, wanted_members_are_asked,
};
use crate::replica::Replica;
use crate::stance::{Follower, Leading, Link, Stage, Stance};
use crate::{Body, Config, ConnId, Effect, FORMAT_MIN, Hello, Limit, Recovered, ReplicaId, Seq, Shortage, Voters};

/// What a replica says of formats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatStatus {
    /// What is written, by everybody.
    pub in_force: u32,
    /// That of the last voters entry in the own log, committed or not.
    pub log: u32,
    /// The highest that this build reads.
    pub build: u32,
    /// The highest that its operator allows (`--format-max`), of those that it reads.
    pub allowed: u32,
    /// (a leader whose build reads more than its log's format) Who holds the next one back.
    pub held_back_by: Vec<HoldsBack>,
}

impl Default for FormatStatus {
    /// Of a replica that knows the lowest alone.
    fn default() -> FormatStatus {
        let (in_force, log) = (FORMAT_MIN, FORMAT_MIN);
        FormatStatus { in_force, log, build: FORMAT_MIN, allowed: FORMAT_MIN, held_back_by: Vec::new() }
    }
}

/// A pod that holds the next format back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldsBack {
    /// The pod; empty where nobody knows who is wanted.
    pub name: String,
    /// Why.
    pub why: WhyHeldBack,
}

/// Why a pod holds the next format back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyHeldBack {
    /// Its build reads no more than this.
    OlderBuild {
        /// The highest format that it reads.
        reads: u32,
    },
    /// Its `--format-max` allows no more than this.
    FormatMax {
        /// What it allows.
        allowed: u32,
    },
    /// It is not connected, so what its present run allows is not known.
    NotConnected,
    /// Its disk is short of room, and a later format begins with a new segment of the journal.
    OutOfRoom,
    /// The wanted pods are not known.
    MembersUnknown,
}

impl WhyHeldBack {
    /// In one word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            WhyHeldBack::OlderBuild { .. } => "older-build",
            WhyHeldBack::FormatMax { .. } => "format-max",
            WhyHeldBack::NotConnected => "not-connected",
            WhyHeldBack::OutOfRoom => "out-of-room",
            WhyHeldBack::MembersUnknown => "members-unknown",
        }
    }
}

impl std::fmt::Display for HoldsBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.name;
        match self.why {
            WhyHeldBack::OlderBuild { reads } => write!(f, "{name} (its build reads {})", readable(reads)),
            WhyHeldBack::FormatMax { allowed } => write!(f, "{name} (--format-max {allowed})"),
            WhyHeldBack::NotConnected => write!(f, "{name} (not connected)"),
            WhyHeldBack::OutOfRoom => write!(f, "{name} (its disk is short of room)"),
            WhyHeldBack::MembersUnknown => write!(f, "the wanted pods are not known"),
        }
    }
}

/// The format in force at the start, and what is therefore known to be committed: a segment of a format was begun only
/// when the raise to it was committed, and what is committed stays in the log.
pub(crate) fn in_force_at_start(recovered: &Recovered, log: &Log) -> (u32, Option<Seq>) {
    let base = log.voters_at(log.base().seq).format;
    let proven = log.first_of_format(recovered.format).filter(|_| recovered.format > base);
    (base.max(recovered.format), proven)
}

/// What the log of a volume needs, where that is more than the build reads.
fn needs_more(config: &Config, format: u32) -> Option<String> {
    (format > config.format_build && unreadable_ends()).then(|| {
        let reads = readable(config.format_build);
        format!(
            "the voters have format {format}, and this build reads {reads}: run a build that reads format {format}; the \
             volume is unchanged"
        )
    })
}

impl Body {
    /// The lowest format of a connection that may carry it \[C6\].
    pub(crate) fn format(&self) -> u32 {
        #[cfg(test)]
        if tests::IS_LATER.get() {
            return FORMAT_MIN + 1;
        }
        match self {
            Body::Echo { time_ms: Some(_), .. } => CLOCKS,
            Body::Append { .. }
            | Body::Ack { .. }
            | Body::Mismatch { .. }
            | Body::Heartbeat { .. }
            | Body::Echo { .. }
            | Body::Snapshot(_)
            | Body::Pull { .. }
            | Body::ReadIndex { .. }
            | Body::ReadAnswer { .. }
            // For these, each build says by itself whether it knows them.
            | Body::AskSum { .. }
            | Body::Sum { .. }
            | Body::Sums { .. } => FORMAT_MIN,
        }
    }
}

impl Follower {
    /// What this connection speaks: the format of its welcome, or of a raise that was acked by it \[C6\].
    pub(crate) fn speaks(&self, log: &Log) -> u32 {
        let acked = self.outbound.verified;
        if acked < log.base().seq { self.welcomed } else { self.welcomed.max(log.voters_at(acked).format) }
    }

    /// It says by this connection that it allows that format.
    fn allows(&self, format: u32) -> bool {
        self.conn.is_some() && self.formats.1 >= format && self.formats.0 >= format
    }
}

impl Replica {
    /// The format in force: of all that is written. It never sinks.
    pub fn format(&self) -> u32 {
        self.in_force
    }

    /// The format that every replica with this log must read \[C2\].
    pub(crate) fn log_format(&self) -> u32 {
        self.in_force.max(self.volume.log().voters().format)
    }

    /// For hellos and states: the log's format, the build's, and what is allowed.
    pub(crate) fn said_formats(&self) -> (u32, u32, u32) {
        let min = if hello_tells_log_format() { self.log_format() } else { FORMAT_MIN };
        (min, self.config.format_build, self.config.format_allowed)
    }

    pub(crate) fn format_status(&self) -> FormatStatus {
        FormatStatus {
            in_force: self.in_force,
            log: self.log_format(),
            build: self.config.format_build,
            allowed: self.config.format_allowed,
            held_back_by: self.held_back_by().map(|(name, why)| HoldsBack { name: name.to_owned(), why }).collect(),
        }
    }

    pub(crate) fn is_format_status(&self, said: &FormatStatus) -> bool {
        let FormatStatus { in_force, log, build, allowed, held_back_by } = said;
        *in_force == self.in_force
            && *log == self.log_format()
            && *build == self.config.format_build
            && *allowed == self.config.format_allowed
            && self.held_back_by().eq(held_back_by.iter().map(|one| (&*one.name, one.why)))
    }

    // ---- what is in force

    /// After each input: what is committed may have raised the format. All that this step writes is of that format: the
    /// journal begins a segment of it first \[C3\].
    pub(crate) fn settle_format(&mut self) {
        self.in_force = self.in_force.max(self.volume.log().voters_at(self.progress.commit()).format);
        let written = if new_format_waits_for_commit() { self.in_force } else { self.log_format() };
        for effect in &mut self.effects {
            if let Effect::Persist { format, .. }
            | Effect::InstallSnapshot { format, .. }
            | Effect::Restore { format, .. } = effect
            {
                *format = written;
            }
        }
    }

    /// (a leader that pulls) What it pulled contains a raise that the sender knows to be committed. What follows the raise may be
    /// of the new format, and this leader sends it to others: the commit that it sends with it must cover the raise \[C3\].
    pub(crate) fn learn_raise(&mut self, committed: Seq) {
        if let Some(raise) = self.volume.log().first_of_format(self.in_force + 1).filter(|raise| *raise <= committed) {
            self.progress.commit_up_to(raise);
            self.settle_format();
            self.learn_raise(committed);
        }
    }

    // ---- what cannot be read

    /// The voters that are about to be taken, or were found: why this build cannot go on with them.
    pub(crate) fn cannot_read(&self, voters: &Voters) -> Option<String> {
        needs_more(&self.config, voters.format)
    }

    /// That connection brought what this build does not know. From the leader (or from the follower that it pulls from) it
    /// belongs to the log: it must not be skipped.
    pub(crate) fn on_unreadable(&mut self, conn: ConnId, what: String) {
        let is_of_log = match &self.stance {
            Stance::Idle => false,
            Stance::Following(following) => following.link == Link::Up(conn),
            Stance::Leading(leading) => match leading.stage {
                Stage::Pulling(from) => leading.followers.get(&from).is_some_and(|one| one.conn == Some(conn)),
                Stage::Counting | Stage::Opening(_) | Stage::Open(_) => false,
            },
        };
        if is_of_log {
            self.cannot_go_on(what);
        }
    }

    /// This build cannot read its log: the process ends before it applies that. What was persisted stays.
    pub(crate) fn cannot_go_on(&mut self, what: String) {
        self.end_stance();
        self.ending.fail();
        self.refuse_all_reads(crate::Refusal::Failed);
        self.effects.push(Effect::Unreadable { what });
    }

    // ---- who may stay

    /// Why a hello is refused for its formats \[C2\].
    pub(crate) fn refuses_formats(&self, hello: &Hello) -> Option<String> {
        let (name, own) = (&hello.name, &self.config.name);
        let (build, log) = (self.config.format_build, self.log_format());
        if hello.format_min > build {
            let (needs, reads) = (hello.format_min, readable(build));
            return Some(format!(
                "the log of {name} has format {needs}, and {own} leads with a build that reads {reads}: run a build \
                 that reads format {needs} on {own}"
            ));
        }
        if hello.format_max < log && old_builds_are_refused() {
            let reads = readable(hello.format_max);
            return Some(format!(
                "the log of this cluster has format {log}, and the build of {name} reads {reads}: run a build that \
                 reads format {log} on {name}"
            ));
        }
        None
    }

    /// (a leader) A follower that reads less than the log's format loses its connection when that rises, also by a pull,
    /// before anything of it is sent \[C2\].
    pub(crate) fn drop_old_builds(&mut self) {
        let log = self.log_format();
        let Stance::Leading(leading) = &mut self.stance else { return };
        let is_old = |one: &&Follower| one.formats.0 < log && old_builds_are_dropped();
        let old: Vec<ConnId> = leading.followers.values().filter(is_old).filter_map(|one| one.conn).collect();
        for conn in old {
            leading.hung_up(conn);
            self.effects.push(Effect::Close { conn });
        }
    }

    /// May this go out by that connection? What a later format adds goes only where both ends are known to speak it \[C6\].
    pub(crate) fn speaks(&self, conn: ConnId, body: &Body) -> bool {
        if body.format() <= FORMAT_MIN {
            return true;
        }
        let speaks = match &self.stance {
            Stance::Idle => FORMAT_MIN,
            Stance::Following(following) => {
                let acked = following.acked.map_or(FORMAT_MIN, |acked| self.volume.log().voters_at(acked).format);
                following.welcomed.max(acked.min(self.in_force))
            }
            Stance::Leading(leading) => {
                let follower = leading.followers.values().find(|one| one.conn == Some(conn));
                follower.map_or(FORMAT_MIN, |one| one.speaks(self.volume.log()))
            }
        };
        body.format() <= speaks
    }

    // ---- the raise

    /// (an open leader, whose voters are settled) The voters with the next format, when everybody allows it \[C4\].
    pub(crate) fn raised(&self) -> Option<Voters> {
        let Stance::Leading(leading) = &self.stance else { return None };
        let now = self.volume.log().voters();
        let next = now.format + 1;
        if self.config.format_build < next || self.held_back(leading).next().is_some() {
            return None;
        }
        // How its disk is, a follower says in its first echo.
        let counts = |replica: ReplicaId, one: &Follower| now.contains(replica) || self.sidecar.is_wanted(&one.name);
        if leading.followers.iter().any(|(replica, one)| {
            one.conn.is_some() && one.echoed == 0 && counts(*replica, one) && raises_wait_for_all()
        }) {
            return None;
        }
        Some(Voters { format: next, ..now.clone() })
    }

    /// Who holds the next format back: nothing where this is for another one to say, or there is no next one.
    fn held_back_by(&self) -> impl Iterator<Item = (&str, WhyHeldBack)> {
        let leading = match &self.stance {
            Stance::Leading(leading) if self.config.format_build > self.volume.log().voters().format => Some(leading),
            Stance::Leading(_) | Stance::Idle | Stance::Following(_) => None,
        };
        leading.into_iter().flat_map(|leading| self.held_back(leading))
    }

    fn held_back<'a>(&'a self, leading: &'a Leading) -> impl Iterator<Item = (&'a str, WhyHeldBack)> {
        let next = self.volume.log().voters().format + 1;
        let own = self.config.replica;
        let allowed = self.config.format_allowed;
        let why_myself = if allowed < next {
            Some(WhyHeldBack::FormatMax { allowed })
        } else {
            lacks_disk(self.supply.room().shortage()).then_some(WhyHeldBack::OutOfRoom)
        };
        let myself = why_myself.map(|why| (&*self.config.name, why));
        let unknown = self.sidecar.members().is_empty().then_some(("", WhyHeldBack::MembersUnknown));
        let voters = self.volume.log().voters().voters.iter().filter(move |voter| voter.replica != own);
        let voters = voters.map(|voter| (&*voter.name, Some(voter.replica)));
        let is_voter = |name: &str| self.volume.log().voters().named(name).is_some();
        let members = self.sidecar.members().iter().filter(move |member| {
            member.name != self.config.name && !is_voter(&member.name) && wanted_members_are_asked()
        });
        let members = members.map(|member| (&*member.name, leading.connected_as(&member.name)));
        let others = voters.chain(members).filter_map(move |(name, replica)| {
            let why = self.holds_back(leading, replica, next)?;
            Some((name, why))
        });
        unknown.into_iter().chain(myself).chain(others)
    }

    fn holds_back(&self, leading: &Leading, replica: Option<ReplicaId>, next: u32) -> Option<WhyHeldBack> {
        if !raises_wait_for_all() {
            return None;
        }
        let heard = replica.filter(|replica| leading.hears(*replica, self.clock.now(), self.config.lost_time));
        let Some(follower) = heard.and_then(|replica| leading.followers.get(&replica)) else {
            return Some(WhyHeldBack::NotConnected);
        };
        let (reads, allowed) = follower.formats;
        match follower.allows(next) {
            true if lacks_disk(follower.room) => Some(WhyHeldBack::OutOfRoom),
            true => None,
            false if reads < next => Some(WhyHeldBack::OlderBuild { reads }),
            false => Some(WhyHeldBack::FormatMax { allowed }),
        }
    }
}

/// No new segment of the journal is certain to fit there.
fn lacks_disk(shortage: Shortage) -> bool {
    shortage.limit() == Some(Limit::Disk)
}

#[cfg(test)]
mod tests;
