//! Tables for people.

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease as RawLease;
use leasehold_election::annotation;

use crate::args::Config;
use crate::clock::unix_ms;
use crate::kube::lease::view;
use crate::operator::fleet::Fleet;

/// All pods, and what the asked sidecar knows.
pub(crate) fn of_fleet(fleet: &Fleet) -> String {
    let mut out = String::new();
    let none = || "-".to_owned();
    let state = fleet.state.as_ref();
    let role = state.and_then(|state| state.role.as_ref());
    let leader = role.and_then(|role| role.leader.as_ref());
    let mut facts: Vec<(&str, String)> = vec![
        ("leader", leader.map_or_else(none, |leader| format!("{} at {}", leader.name, leader.address))),
        ("term", role.map_or_else(none, |role| role.term.to_string())),
    ];
    match state.and_then(|state| state.lease.as_ref()) {
        Some(lease) => {
            let renewed = lease.renew_time.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
            let held = lease.holder.clone().unwrap_or_else(|| "nobody".to_owned());
            let ago = renewed.map_or_else(none, |time| ago(u64::try_from(time.as_millisecond()).unwrap_or(0)));
            facts.push(("Lease", format!("{held}, term {}, renewed {ago}", lease.term)));
            if let Some(to) = lease.annotations.get(annotation::PREFERRED_HOLDER) {
                facts.push(("switchover", format!("to {to}, requested and not done yet")));
            }
        }
        None if state.is_some_and(|state| state.lease_read) => facts.push(("Lease", "does not exist".to_owned())),
        None => facts.push(("Lease", "not read yet".to_owned())),
    }
    if let Some(id) = role.and_then(|role| role.cluster_id) {
        facts.push(("cluster", id.to_string()));
    }
    if role.is_some_and(|role| role.off_lease) {
        facts.push(("off-lease", "no Lease carries this claim: the API server does not answer".to_owned()));
    }
    if role.is_some_and(|role| role.paused) {
        facts.push(("paused", "no pod takes over by itself; `sidecar resume` ends it".to_owned()));
    }
    let waits = state.map(|state| state.waits.as_slice()).unwrap_or_default();
    facts.extend(waits.iter().map(|wait| ("waits", wait.clone())));
    let missing = state.map(|state| state.missing_rights.as_slice()).unwrap_or_default();
    facts.extend(missing.iter().map(|right| ("right missing", right.clone())));
    let failing = state.map(|state| state.failing_objects.as_slice()).unwrap_or_default();
    facts.extend(failing.iter().map(|object| ("not kept right", object.line())));
    write_facts(&mut out, &facts);
    out.push_str(&of_pods(fleet));

    let history = state.map(|state| state.history.as_slice()).unwrap_or_default();
    if !history.is_empty() {
        let mut rows = vec![["LEADER", "TERM", "SINCE"].map(str::to_owned)];
        rows.extend(history.iter().rev().take(5).map(|change| {
            let leader = change.leader.clone().unwrap_or_else(|| "(nobody)".to_owned());
            [leader, change.term.to_string(), ago(change.at_unix_ms)]
        }));
        write_rows(&mut out, &rows);
    }
    out
}

/// One row for each pod. A pod whose sidecar does not answer is shown as unknown. Below: why, and what is wrong with the
/// others.
pub(crate) fn of_pods(fleet: &Fleet) -> String {
    let none = || "-".to_owned();
    let mut rows = vec![["POD", "ROLE", "TERM", "POSITION", "LAG", "VERSION", "READY"].map(str::to_owned)];
    rows.extend(fleet.pods.iter().map(|pod| {
        [
            pod.name.clone(),
            pod.role_words(),
            pod.term.map_or_else(none, |term| term.to_string()),
            pod.position.map_or_else(none, |position| format!("({}, {})", position.term, position.sequence)),
            pod.lag_entries.map_or_else(none, |lag| lag.to_string()),
            pod.version.clone().unwrap_or_else(none),
            pod.ready.map_or_else(none, |ready| if ready { "yes" } else { "no" }.to_owned()),
        ]
    }));
    let mut out = String::new();
    write_rows(&mut out, &rows);
    for pod in &fleet.pods {
        for line in pod.troubles() {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}: {line}", pod.name);
        }
    }
    out
}

/// What the Lease alone shows.
pub(crate) fn of_lease(lease: &RawLease, config: &Config) -> String {
    let seen = view(lease);
    let ago = |time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>| {
        time.map_or("-".to_owned(), |time| ago(u64::try_from(time.0.as_millisecond()).unwrap_or(0)))
    };
    let spec = lease.spec.as_ref();
    let because = match config.name.as_str() {
        // An operator's machine: there is no sidecar to ask first.
        "" => "read from the API server; no sidecar was asked".to_owned(),
        name => format!("the sidecar of {name} does not answer"),
    };
    let mut facts = vec![
        ("Lease", format!("{}/{} ({because})", config.namespace, config.lease)),
        ("holder", seen.body.holder.clone().unwrap_or_else(|| "nobody".to_owned())),
        ("term", seen.body.term.to_string()),
        ("renewed", ago(spec.and_then(|spec| spec.renew_time.as_ref()))),
        ("leads since", ago(spec.and_then(|spec| spec.acquire_time.as_ref()))),
    ];
    facts.extend(seen.body.annotations.iter().map(|(name, value)| (name.as_str(), value.clone())));
    if let Some(holder) = seen.body.holder.as_ref().filter(|_| config.name.is_empty()) {
        let command = format!("kubectl exec -n {} {holder} -c sidecar -- sidecar status", config.namespace);
        facts.push(("every pod", command));
    }
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
