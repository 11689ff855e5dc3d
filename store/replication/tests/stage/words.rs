//! What happens, in words. UUIDs are named after the pods that they belong to; positions are term/sequence.

use leasehold_replication::*;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// The lines of a transcript, and the names of what has none.
#[derive(Default)]
pub struct Lines {
    text: String,
    names: BTreeMap<Uuid, String>,
}

impl Lines {
    /// `who` did `what`, this many milliseconds after the start.
    pub fn say(&mut self, at: Duration, who: &str, what: &str) {
        let line = format!("{:>5}  {who:<5}  {what}", at.as_millis());
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    pub fn name(&mut self, id: Uuid, name: String) {
        self.names.insert(id, name);
    }

    /// A text of the replica's, with names in place of UUIDs, and pods by their letters.
    pub fn named(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (id, name) in &self.names {
            text = text.replace(&id.to_string(), name);
        }
        let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
        let characters: Vec<char> = text.chars().collect();
        let mut short = String::new();
        let mut at = 0;
        while at < characters.len() {
            let before = at.checked_sub(1).map(|before| characters[before]);
            let is_pod = is_end(before)
                && characters[at].is_ascii_lowercase()
                && characters.get(at + 1) == Some(&'-')
                && characters.get(at + 2).is_some_and(char::is_ascii_digit)
                && is_end(characters.get(at + 3).copied());
            short.push(characters[at]);
            at += if is_pod { 3 } else { 1 };
        }
        short
    }
}

pub fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Learner => "learner",
        Phase::Follower => "follower",
        Phase::Recovering => "recovering",
        Phase::Leading => "leading",
        Phase::Draining => "draining",
        Phase::Failed => "failed",
        Phase::WentBack => "went-back",
        Phase::Diverged => "diverged",
    }
}

pub fn promise(lines: &Lines, promise: Promise) -> String {
    if promise == Promise::NONE {
        return "none".to_owned();
    }
    format!("{} to {}", promise.term, lines.named(&promise.incarnation.to_string()))
}

/// What a replica says of itself now and did not say before.
pub fn changes(lines: &Lines, old: &Status, new: &Status) -> Vec<String> {
    let mut all = Vec::new();
    if (old.phase, old.promise) != (new.phase, new.promise) {
        let promised = promise(lines, new.promise);
        all.push(match new.phase {
            Phase::Starting | Phase::Learner | Phase::Follower | Phase::WentBack if new.promise == Promise::NONE => {
                format!("== {}", phase(new.phase))
            }
            _ => format!("== {}, promised term {promised}", phase(new.phase)),
        });
    }
    if old.formats.log != new.formats.log {
        all.push(format!("== its log has format {}", new.formats.log));
    }
    if old.formats.in_force != new.formats.in_force {
        all.push(format!("== format {} is in force", new.formats.in_force));
    }
    if old.formats.held_back_by != new.formats.held_back_by {
        let pods: Vec<String> = new.formats.held_back_by.iter().map(|one| lines.named(&one.to_string())).collect();
        if !pods.is_empty() {
            all.push(format!("== the next format is held back by {}", pods.join(", ")));
        }
    }
    if (&old.voters.voters, old.voters.floor) != (&new.voters.voters, new.voters.floor) {
        let names: Vec<String> = new.voters.voters.iter().map(|voter| lines.named(&voter.name)).collect();
        all.push(format!("== voters are now {} (at least {} for writes)", names.join(", "), new.voters.floor));
    }
    if old.committed != new.committed {
        all.push(format!("== everything up to {} is committed", new.committed));
    }
    // Before it is open it only waits for a majority.
    if old.leader_heard != new.leader_heard && !(new.phase == Phase::Recovering && new.leader_heard) {
        let leads = matches!(new.phase, Phase::Leading | Phase::Recovering);
        let whom = if leads { "a majority" } else { "its leader" };
        all.push(match new.leader_heard {
            true => format!("== hears {whom}"),
            false if old.promise != new.promise => "== does not hear its leader yet".to_owned(),
            false => format!("== has lost {whom}"),
        });
    }
    if old.stalled != new.stalled {
        all.push(format!("== {}", if new.stalled { "its disk counts as stalled" } else { "its disk counts as sound" }));
    }
    if (old.campaign, old.need_term) != (new.campaign, new.need_term) || new.campaign.is_some() && old.rank != new.rank
    {
        all.push(campaign(old, new));
    }
    // Where another leader is promised to, it is done.
    if old.hand_over != new.hand_over && old.promise == new.promise {
        all.push(match &new.hand_over {
            Some((to, _)) => format!("== hands over to {}", lines.named(to)),
            None => "== hands over no longer".to_owned(),
        });
    }
    if new.drained && !old.drained {
        all.push("== drained: its process may end".to_owned());
    }
    all
}

fn campaign(old: &Status, new: &Status) -> String {
    match (new.campaign, new.need_term) {
        (Some(term), None) => format!("== campaigns: term {term} is over; rank {}", new.rank),
        (Some(term), Some(need)) => {
            format!("== campaigns: term {term} is over; rank {}; needs a term above {need}", new.rank)
        }
        (None, Some(need)) => format!("== needs a term above {need}"),
        (None, None) if old.campaign.is_none() => "== needs no higher term any longer".to_owned(),
        (None, None) => "== campaigns no longer".to_owned(),
    }
}

pub fn record(lines: &Lines, record: &Record) -> String {
    match record {
        Record::State(state) => {
            let cluster = match (state.cluster_id, state.bootstrapping) {
                (None, _) => ", no cluster yet",
                (Some(_), true) => ", a cluster, the mark \"bootstrapping\"",
                (Some(_), false) if state.promise == Promise::NONE => ", no mark any longer",
                (Some(_), false) => "",
            };
            format!("promise {}{cluster}", promise(lines, state.promise))
        }
        Record::Entry(one) => entry(lines, one),
        Record::Snapshot(mark) => format!("mark of the snapshot up to {}", mark.position),
    }
}

pub fn entry(lines: &Lines, entry: &Entry) -> String {
    let what = match &entry.payload {
        Payload::Empty => "(empty)".to_owned(),
        Payload::Voters(voters) => {
            let names: Vec<String> = voters.voters.iter().map(|voter| lines.named(&voter.name)).collect();
            let format = if voters.format > FORMAT_MIN { format!(", format {}", voters.format) } else { String::new() };
            format!("voters {}{format}", names.join(" "))
        }
        Payload::Command(command) => format!("\"{}\"", String::from_utf8_lossy(command)),
    };
    format!("{} {what}", entry.position)
}

pub fn hello(lines: &Lines, hello: &Hello) -> String {
    // Where everything is of format 1 it is not worth a word.
    let formats = match (hello.format_min, hello.format_max, hello.format_allowed) {
        (FORMAT_MIN, FORMAT_MIN, FORMAT_MIN) => String::new(),
        (log, reads, allowed) => format!("; my log has format {log}, I read up to {reads} and allow {allowed}"),
    };
    format!("hello: I promised {}, my log ends at {}{formats}", promise(lines, hello.promise), hello.position)
}

pub fn answer(lines: &Lines, answer: &HelloAnswer) -> String {
    match answer {
        HelloAnswer::Welcome { format: FORMAT_MIN, .. } => "welcome".to_owned(),
        HelloAnswer::Welcome { format, .. } => format!("welcome, in format {format}"),
        HelloAnswer::Refused { reason, promise: bound, .. } => {
            format!("refused: {}; I promised {}", lines.named(reason), promise(lines, *bound))
        }
    }
}

pub fn invitation(lines: &Lines, claim: &Claim) -> String {
    let leader = lines.named(&claim.incarnation.to_string());
    format!("invitation: {leader} leads in term {}", claim.term)
}

/// Of all that is known about volumes only what concerns the one that asks.
pub fn peer_state(lines: &Lines, state: &PeerState, asker: ReplicaId) -> String {
    let hears = state.hears.map_or("I hear no leader".to_owned(), |term| format!("I hear the leader of term {term}"));
    let log = if state.cluster_id.is_none() && state.position == Position::ZERO {
        "my volume is empty".to_owned()
    } else {
        format!("my log ends at {}", state.position)
    };
    let known = state.known.iter().find(|known| known.replica == asker);
    let known = known.map_or(String::new(), |known| format!("; your volume had {}", known.position));
    format!("I promised {}, {log}, {hears}{known}", promise(lines, state.promise))
}

/// None: what is repeated all the time, and would drown the story.
pub fn body(lines: &Lines, body: &Body, leads: bool) -> Option<String> {
    Some(match body {
        Body::Append { previous, commit, entries } => {
            let texts: Vec<String> = entries.iter().map(|one| entry(lines, one)).collect();
            let what = if texts.is_empty() { "nothing new".to_owned() } else { texts.join("; ") };
            format!("append after {previous}: {what} (committed: {commit})")
        }
        Body::Ack { .. } if leads => return None,
        Body::Ack { seq } => format!("ack {seq}"),
        Body::Mismatch { hint } => format!("mismatch: I have no such entry; perhaps we agree up to {hint}"),
        Body::Heartbeat { .. } | Body::Echo { .. } => return None,
        Body::Snapshot(piece) => format!("piece of a snapshot at {}", piece.offset),
        Body::Pull { position } => format!("pull: send me what follows {position}"),
        // At leisure: the highest bit of the number is set.
        Body::ReadIndex { number } | Body::ReadAnswer { number, .. } if number >> 63 == 1 => return None,
        Body::ReadIndex { .. } => "read index: how far must I have applied?".to_owned(),
        Body::ReadAnswer { index: Some(index), .. } => format!("read index: up to {index}"),
        Body::ReadAnswer { index: None, .. } => "read index: I hear no majority".to_owned(),
        Body::AskSum { seq } => format!("what is the sum of your data after {seq}?"),
        Body::Sum { seq, sum: Some(sum) } => format!("after {seq} it is {}", short(*sum)),
        Body::Sum { seq, sum: None } => format!("after {seq} I do not know it"),
        Body::Sums { seq, sums } => {
            let texts =
                sums.iter().map(|(replica, sum)| format!("{} {}", lines.named(&replica.to_string()), short(*sum)));
            format!("the sums after {seq}: {}", texts.collect::<Vec<_>>().join(", "))
        }
    })
}

/// A sum, without the zeros that all sums of a story begin with.
pub fn short(sum: Sum) -> String {
    format!("{:x}", sum.0)
}

pub fn refusal(lines: &Lines, reason: Refusal) -> String {
    match reason {
        Refusal::NotLeader => "this replica does not lead".to_owned(),
        Refusal::Recovering => "it is not open yet".to_owned(),
        Refusal::NoMajority => "it hears no majority".to_owned(),
        Refusal::TooFewVoters { have, floor } => format!("voters: {have}, needed: {floor}"),
        Refusal::Bootstrapping => "no Lease was seen with this cluster's id".to_owned(),
        Refusal::Overloaded => "too much waits for its commit".to_owned(),
        Refusal::DiskStalled => "the disk hangs".to_owned(),
        Refusal::OutOfRoom { replica, .. } => format!("no room on {}", lines.named(&replica.to_string())),
        Refusal::Failed => "the replica failed".to_owned(),
        Refusal::WentBack => "the volume went back in time".to_owned(),
        Refusal::Diverged => "its data have diverged".to_owned(),
    }
}
