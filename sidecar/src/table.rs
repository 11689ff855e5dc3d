//! Tables for people.

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease as RawLease;

use crate::args::Config;
use crate::clock::unix_ms;
use crate::lease::view;
use crate::state::State;

/// All that a sidecar knows.
pub(crate) fn of_state(state: &State) -> String {
    let mut out = String::new();
    let none = || "-".to_owned();
    let role = state.role.as_ref();
    let leader = role.and_then(|role| role.leader.as_ref());
    let mut facts: Vec<(&str, String)> = vec![
        ("pod", format!("{} ({})", state.name, state.role_word())),
        ("leader", leader.map_or_else(none, |leader| format!("{} at {}", leader.name, leader.address))),
        ("term", role.map_or_else(none, |role| role.term.to_string())),
    ];
    if let Some(lease) = &state.lease {
        let renewed = lease.renew_time.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
        let held = lease.holder.clone().unwrap_or_else(|| "nobody".to_owned());
        let ago = renewed.map_or_else(none, |time| ago(u64::try_from(time.as_millisecond()).unwrap_or(0)));
        facts.push(("Lease", format!("{held}, term {}, renewed {ago}", lease.term)));
    } else {
        facts.push(("Lease", if state.lease_read { "there is none" } else { "not read yet" }.to_owned()));
    }
    if let Some(id) = role.and_then(|role| role.cluster_id) {
        facts.push(("cluster", id.to_string()));
    }
    if let Some(app) = &state.app {
        let life = if state.app_alive { "" } else { " (dead)" };
        let position = format!("({}, {})", app.position.term, app.position.sequence);
        facts.push(("app", format!("{:?}{life}, promise {}, position {position}", app.state, app.promised.term)));
    }
    if role.is_some_and(|role| role.off_lease) {
        facts.push(("off-lease", "the claim stands in no Lease: the API server does not answer".to_owned()));
    }
    if role.is_some_and(|role| role.paused) {
        facts.push(("paused", "nobody takes over by himself; `sidecar resume` ends it".to_owned()));
    }
    facts.extend(state.waits.iter().map(|wait| ("waits", wait.clone())));
    facts.extend(state.missing_rights.iter().map(|right| ("right missing", right.clone())));
    write_facts(&mut out, &facts);

    let members = role.map(|role| role.members.as_slice()).unwrap_or_default();
    if !members.is_empty() {
        let mut rows = vec![["MEMBER", "ROLE", "ADDRESS", "PEER ADDRESS"].map(str::to_owned)];
        rows.extend(members.iter().map(|member| {
            let role = if leader.is_some_and(|leader| leader.name == member.name) { "leader" } else { "follower" };
            [member.name.clone(), role.to_owned(), member.address.clone(), member.peer_address.clone()]
        }));
        write_rows(&mut out, &rows);
    }
    if !state.history.is_empty() {
        let mut rows = vec![["LEADER", "TERM", "SINCE", ""].map(str::to_owned)];
        rows.extend(state.history.iter().rev().take(5).map(|change| {
            let leader = change.leader.clone().unwrap_or_else(|| "(nobody)".to_owned());
            [leader, change.term.to_string(), ago(change.at_unix_ms), String::new()]
        }));
        write_rows(&mut out, &rows);
    }
    out
}

/// What the Lease alone tells.
pub(crate) fn of_lease(lease: &RawLease, config: &Config) -> String {
    let seen = view(lease);
    let ago = |time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>| {
        time.map_or("-".to_owned(), |time| ago(u64::try_from(time.0.as_millisecond()).unwrap_or(0)))
    };
    let spec = lease.spec.as_ref();
    let mut facts = vec![
        ("Lease", format!("{}/{} (the sidecar of {} does not answer)", config.namespace, config.lease, config.name)),
        ("holder", seen.body.holder.clone().unwrap_or_else(|| "nobody".to_owned())),
        ("term", seen.body.term.to_string()),
        ("renewed", ago(spec.and_then(|spec| spec.renew_time.as_ref()))),
        ("leads since", ago(spec.and_then(|spec| spec.acquire_time.as_ref()))),
    ];
    facts.extend(seen.body.annotations.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let mut out = String::new();
    write_facts(&mut out, &facts);
    out
}

fn write_facts(out: &mut String, facts: &[(&str, String)]) {
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in facts {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:width$}  {value}");
    }
}

fn write_rows<const N: usize>(out: &mut String, rows: &[[String; N]]) {
    out.push('\n');
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn ago(unix_ms_then: u64) -> String {
    let seconds = unix_ms().saturating_sub(unix_ms_then) / 1000;
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        7200..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
