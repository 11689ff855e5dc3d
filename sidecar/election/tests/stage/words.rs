//! What happens, in words. UUIDs are named after the pods that they belong to.

use leasehold_election::{
    Body, Event, Lease, LeaseWrite, PodRole, ReadOutcome, RecordRead, RecordWrite, RecordWritten, RoleView, Why,
};
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
        let line = format!("{:>6}  {who:<7}  {what}", at.as_millis());
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    pub fn name(&mut self, id: Uuid, name: String) {
        self.names.insert(id, name);
    }

    /// A pod and the run that is meant, where it is not the first.
    fn run(&self, pod: &str, incarnation: Option<Uuid>) -> String {
        match incarnation {
            None => format!("{pod}, without an incarnation"),
            Some(incarnation) => match self.names.get(&incarnation) {
                Some(name) if name.starts_with(pod) => name.clone(),
                Some(other) => format!("{pod}, with the incarnation of {other}"),
                None => format!("{pod}, with an incarnation of nobody here"),
            },
        }
    }
}

pub fn lease(lines: &Lines, lease: Option<&Lease>) -> String {
    lease.map_or("there is none".to_owned(), |lease| body(lines, &lease.body))
}

fn body(lines: &Lines, body: &Body) -> String {
    let holder = match &body.holder {
        Some(holder) => format!("held by {}", lines.run(holder, body.incarnation())),
        None => "held by nobody".to_owned(),
    };
    let preferred = body.preferred_holder().map(|to| format!(", preferred: {to}")).unwrap_or_default();
    let paused = if body.is_paused() { ", paused" } else { "" };
    let others = body.annotations.keys().filter(|name| !name.starts_with("leasehold.dev/"));
    let released = if body.is_clean() { ", released" } else { "" };
    let unfit = if body.is_unfit() { ", unfit" } else { "" };
    let others: String = others.map(|name| format!(", {name}")).collect();
    format!("{holder}, term {}{released}{unfit}{preferred}{paused}{others}", body.term)
}

pub fn read(outcome: &ReadOutcome) -> String {
    match outcome {
        ReadOutcome::Found(_) => "200: the Lease".to_owned(),
        ReadOutcome::NotFound => "404: there is none".to_owned(),
        ReadOutcome::NoAnswer => "no answer: the connection is refused".to_owned(),
    }
}

pub fn record_read(outcome: &RecordRead) -> String {
    match outcome {
        RecordRead::Found { term, .. } => format!("200: the record of terms, {term}"),
        RecordRead::NotFound => "404: there is no record of terms".to_owned(),
        RecordRead::Denied => "403".to_owned(),
        RecordRead::NoAnswer => "no answer: the connection is refused".to_owned(),
    }
}

pub fn record_write(write: &RecordWrite) -> String {
    let verb = if write.expected.is_some() { "replace" } else { "create" };
    format!("{verb} the record of terms: {}", write.term)
}

pub fn record_written(outcome: &RecordWritten, write: &RecordWrite) -> String {
    match outcome {
        RecordWritten::Written { .. } if write.expected.is_none() => "201: the record of terms".to_owned(),
        RecordWritten::Written { .. } => "200: the record of terms".to_owned(),
        RecordWritten::Conflict => "409: the record of terms has changed since, or is there already".to_owned(),
        RecordWritten::Denied => "403".to_owned(),
        RecordWritten::Unknown => "no answer: the connection is refused".to_owned(),
    }
}

pub fn write(lines: &Lines, write: &LeaseWrite) -> String {
    let verb = if write.expected.is_some() { "replace" } else { "create" };
    let why = match write.why {
        Why::Renew => "the holder renews",
        Why::TakeBack => "rule 1: it names an earlier run of this pod",
        Why::Restore => "rule 2: the leader writes it again",
        Why::Outbid => "rule 2: the leader takes it with a higher term",
        Why::TakeFree => "rule 2: nobody holds it",
        Why::TakeExpired => "rule 3: it expired",
        Why::TakeCampaign => "rule 4: the app campaigns",
        Why::Bootstrap if write.body.cluster_id().is_some() => "rule 4: the first Lease, with the id of the cluster",
        Why::Bootstrap => "rule 4: the first Lease",
        Why::NewTerm => "the leader needs a new term",
        Why::ForLeader => "for the leader, whose sidecar is blind",
        Why::Raise => "its term is below one that was seen",
        Why::Transfer => "letting go: to a successor",
        Why::Clear if write.body.is_clean() => "letting go: to nobody, and the app has stopped",
        Why::Clear => "letting go: to nobody",
        Why::Place => "there is none",
        Why::Certify => "the app has stopped since",
        Why::AskForLead => "the leader is unfit, and this pod is fit",
    };
    format!("{verb}: {} ({why})", body(lines, &write.body))
}

/// `valid until` is a moment of the transcript.
pub fn role(lines: &Lines, view: &RoleView, begin: Duration) -> String {
    let leader = view.leader.as_ref().map(|leader| lines.run(&leader.name, Some(leader.incarnation)));
    let mut text = match (view.role, leader) {
        (PodRole::Leader, _) => format!("leader, term {}", view.term),
        (PodRole::Follower, Some(leader)) => format!("follower of {leader}, term {}", view.term),
        (PodRole::Follower, None) => format!("follower, term {}", view.term),
        (PodRole::None, _) => format!("none, term {}", view.term),
    };
    if view.off_lease {
        text += ", off the Lease";
    }
    if let Some(to) = &view.hand_over_to {
        text += &format!(", hand over to {to}");
    }
    if view.paused {
        text += ", paused";
    }
    if let Some(until) = view.valid_until {
        text += &format!(", valid until {}", until.saturating_sub(begin).as_millis());
    }
    text
}

pub fn event(event: &Event) -> String {
    match event {
        Event::LeaderChanged { leader: None, .. } => "nobody is known to lead".to_owned(),
        Event::LeaderChanged { is_self: true, term, .. } => format!("this pod leads, term {term}"),
        Event::LeaderChanged { leader: Some(leader), term, .. } => format!("{leader} leads, term {term}"),
        Event::OffLease { term } => format!("this pod leads without the Lease, term {term}"),
        Event::HandedOver { to, term } => format!("handed over to {to}, term {term}"),
        Event::AskedForLead { term } => {
            format!("the leader of term {term} is unfit: asked for a switchover to this pod")
        }
        Event::Cleared { term } => format!("term {term} was let go"),
        Event::Lapsed { term } => format!("term {term} could not be renewed in time: this pod stops leading"),
        Event::WrittenForLeader { leader, term } => format!("wrote the Lease for {leader}, term {term}"),
        Event::SwitchoverDone { to } => format!("the switchover to {to} is done"),
        Event::SwitchoverRefused { to } => format!("the switchover to {to} is refused: it is no member"),
        Event::SwitchoverGivenUp { to } => format!("the switchover to {to} is given up"),
        Event::EditedByHand { term, promised } => {
            format!("term {term} is an edit by hand, and not believed; the promise is of term {promised}")
        }
        Event::HolderIsNoMember { holder } => format!("{holder} is no member, so nobody holds the Lease"),
        Event::HolderWithoutIncarnation { holder } => format!("{holder} has no incarnation, so nobody holds the Lease"),
        Event::ForeignCluster { .. } => "the Lease belongs to another cluster".to_owned(),
        Event::TermsExhausted => "no term is left".to_owned(),
        Event::WaitsForResume => "a take-over waits: the Lease is paused".to_owned(),
        Event::ApiSilent => "no request about the Lease was answered for 15 s".to_owned(),
        Event::ApiAnswers => "the API server answers again".to_owned(),
        Event::WritesUndecided => "writes of the Lease stay undecided, while reads work".to_owned(),
    }
}
