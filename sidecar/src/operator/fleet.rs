//! All pods at one moment, as their sidecars report them: for `status` and `switchover`.
//!
//! ```text
//!   the own sidecar's state, or role.json ──▶ who and where the members are ──GET /v1/state of each, briefly──▶ Fleet
//! ```
//!
//! Only sidecars are asked, over plain HTTP, so this needs neither a right at the API server nor the app's certificates or
//! tokens. A pod that does not answer in time is shown as such, never left out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use leasehold_contract::{
    Doing, OutOfRoom, PositionInfo, ProgressInfo, ROLE_FILE, Role, RoleFile, State as AppState, read_json,
};
use serde::{Deserialize, Serialize};

use crate::args::Config;
use crate::client::{HttpUrl, Question};
use crate::state::State;

/// How long another pod's sidecar may take. A slower one is as good as gone to an operator who waits.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The pause between two addresses of a pod while none has answered.
const START_PAUSE: Duration = Duration::from_millis(50);
/// The longest answer of a sidecar.
const STATE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A follower this far behind is not offered the leadership.
const FIT_LAG_MAX: u64 = 1000;

/// A sidecar's answer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Told {
    /// Its pod leads now. By its own clock: a plain app's claim ends by the clock of its node.
    pub(crate) leads: bool,
    /// Its app is alive but does nothing, by the clock of its node.
    #[serde(default, rename = "appFrozen")]
    pub(crate) app_frozen: bool,
    /// Everything that it knows.
    #[serde(flatten)]
    pub(crate) state: State,
}

/// All pods.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fleet {
    /// The leader, by its own report.
    pub(crate) leader: Option<String>,
    /// Its term.
    pub(crate) term: Option<u64>,
    /// Every member, and this pod.
    pub(crate) pods: Vec<Pod>,
    /// What this pod's sidecar knows, or, if it does not answer, what another one does.
    pub(crate) state: Option<State>,
    /// The IPs of each pod, as in role.json.
    #[serde(skip)]
    pub(crate) addresses: BTreeMap<String, Vec<IpAddr>>,
}

/// One pod.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pod {
    pub(crate) name: String,
    /// The role in its role.json. None: it does not answer.
    pub(crate) role: Option<String>,
    /// It leads now, and its app says so.
    pub(crate) leads: bool,
    pub(crate) term: Option<u64>,
    /// Its app's stage of life. None: a plain app, or no status.json.
    pub(crate) app_state: Option<AppState>,
    /// Its app is alive.
    pub(crate) app_alive: Option<bool>,
    /// Its app is alive but does nothing: it has not renewed its report, which it must do every few seconds.
    pub(crate) app_frozen: bool,
    /// Its app may lead.
    pub(crate) eligible: Option<bool>,
    /// Why the checks of its app's health say that it is unfit to lead.
    pub(crate) unfit: Option<String>,
    /// Its app's disk hangs, or did so a moment ago.
    pub(crate) disk_stalled: Option<bool>,
    /// Why its volume no longer counts, and what to do.
    pub(crate) went_back: Option<String>,
    /// How its data differ from the others', and what to do.
    pub(crate) diverged: Option<String>,
    /// The long operation of its app.
    pub(crate) progress: Option<ProgressInfo>,
    /// The limits that its data exceed.
    pub(crate) out_of_room: Vec<OutOfRoom>,
    /// Why its app waits for more room, and what to do.
    pub(crate) waits_for_room: Option<String>,
    /// The last entry of its app, at most a second old.
    pub(crate) position: Option<PositionInfo>,
    /// Entries that the leader has and it lacks.
    pub(crate) lag_entries: Option<u64>,
    /// The version of its app; of its sidecar if the app reports none.
    pub(crate) version: Option<String>,
    pub(crate) ready: Option<bool>,
    /// Why nothing is known about it.
    pub(crate) unknown_because: Option<String>,
}

impl Fleet {
    /// Asks all pods.
    pub(crate) async fn ask(config: &Config) -> Fleet {
        let own = ask_own(config).await;
        let role = own.as_ref().and_then(|own| own.state.role.clone()).or_else(|| role_file(config));
        let mut names: Vec<String> = role.iter().flat_map(|role| &role.members).map(|one| one.name.clone()).collect();
        for name in [Some(&config.name), role.as_ref().and_then(|role| role.leader.as_ref()).map(|one| &one.name)] {
            if let Some(name) = name.filter(|name| !name.is_empty() && !names.contains(name)) {
                names.push(name.clone());
            }
        }
        let members = role.iter().flat_map(|role| &role.members).map(|one| (one.name.clone(), one.addresses.clone()));
        let leader = role.iter().flat_map(|role| &role.leader).map(|one| (one.name.clone(), one.addresses.clone()));
        let addresses: BTreeMap<String, Vec<IpAddr>> = members.chain(leader).collect();
        names.sort_by_key(|name| (crate::address::ordinal(name), name.clone()));
        let states = join_all(names.iter().map(|name| async {
            if *name == config.name
                && let Some(own) = &own
            {
                return Ok(own.clone());
            }
            ask_pod(config, name, addresses.get(name).map_or(&[], Vec::as_slice)).await
        }))
        .await;
        Fleet { addresses: addresses.clone(), ..Fleet::of(names.into_iter().zip(states).collect(), own) }
    }

    fn of(answers: Vec<(String, Result<Told, String>)>, own: Option<Told>) -> Fleet {
        let mut pods: Vec<Pod> = answers.iter().map(|(name, answer)| Pod::of(name, answer)).collect();
        // Two may say so for a moment during a change; the higher term is right.
        let leader = pods.iter().filter(|pod| pod.leads).max_by_key(|pod| pod.term);
        let (name, term) = (leader.map(|pod| pod.name.clone()), leader.and_then(|pod| pod.term));
        let last = leader.and_then(|pod| pod.position).map(|position| position.sequence);
        for pod in &mut pods {
            pod.lag_entries = last.zip(pod.position).map(|(last, has)| last.saturating_sub(has.sequence));
        }
        let state = own.or_else(|| answers.into_iter().find_map(|(_, answer)| answer.ok())).map(|told| told.state);
        Fleet { leader: name, term, pods, state, addresses: BTreeMap::new() }
    }

    /// No pod answered at all.
    pub(crate) fn is_silent(&self) -> bool {
        self.state.is_none()
    }

    /// The members, by role.json; empty if no sidecar names them.
    pub(crate) fn members(&self) -> Vec<&str> {
        let role = self.state.as_ref().and_then(|state| state.role.as_ref());
        role.iter().flat_map(|role| &role.members).map(|member| member.name.as_str()).collect()
    }

    /// The known IPs of that pod.
    pub(crate) fn addresses_of(&self, name: &str) -> &[IpAddr] {
        self.addresses.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.name == name)
    }

    /// The follower that has the most entries, and of equal ones the first; none if none is known to be fit.
    pub(crate) fn fittest_follower(&self) -> Option<&Pod> {
        let fit = self.pods.iter().filter(|pod| !pod.leads && pod.why_not_fit().is_none() && pod.role.is_some());
        fit.min_by_key(|pod| pod.lag_entries.unwrap_or(0))
    }
}

impl Pod {
    fn of(name: &str, answer: &Result<Told, String>) -> Pod {
        let Told { leads, app_frozen, state } = match answer {
            Ok(told) => told,
            Err(why) => return Pod { name: name.to_owned(), unknown_because: Some(why.clone()), ..Pod::default() },
        };
        let app = state.app.as_ref();
        // A file outlives its process: what a dead or frozen app reported about itself is no longer true.
        let alive = app.filter(|_| state.app_alive && !app_frozen);
        Pod {
            name: name.to_owned(),
            role: Some(role_word(state, *leads).to_owned()),
            leads: *leads,
            term: state.role.as_ref().map(|role| role.term),
            app_state: app.map(|app| app.state),
            app_alive: state.fencing.then_some(state.app_alive),
            app_frozen: *app_frozen,
            eligible: alive.map(|app| app.eligible),
            unfit: state.unfit(),
            disk_stalled: alive.map(|app| app.stalled),
            // About the volume, whether the app is alive or not.
            went_back: app.and_then(|app| app.went_back.clone()),
            diverged: app.and_then(|app| app.diverged.clone()),
            progress: alive.and_then(|app| app.progress.clone()),
            out_of_room: alive.map(|app| app.out_of_room.clone()).unwrap_or_default(),
            waits_for_room: alive.and_then(|app| app.waits_for_room.clone()),
            // Its state when it died; a frozen app may continue.
            position: app.filter(|_| !app_frozen).map(|app| app.position),
            lag_entries: None,
            version: Some(app.map_or(&state.sidecar_version, |app| &app.app_version).clone()),
            ready: if state.fencing { Some(alive.is_some_and(|app| app.ready.unwrap_or(false))) } else { None },
            unknown_because: None,
        }
    }

    /// Why it cannot lead, as far as is known; a pod that does not answer is not known to be unfit.
    pub(crate) fn why_not_fit(&self) -> Option<String> {
        if self.app_alive == Some(false) {
            return Some("its app is not running".to_owned());
        }
        if self.app_frozen {
            return Some("its app is frozen".to_owned());
        }
        if let Some(unfit) = &self.unfit {
            return Some(format!("its app is unfit ({unfit})"));
        }
        if self.went_back.is_some() {
            return Some("its volume went back in time, so it neither votes nor leads".to_owned());
        }
        if self.diverged.is_some() {
            return Some("its data differ from the other replicas', so it does not lead".to_owned());
        }
        if self.disk_stalled == Some(true) {
            return Some("its disk hangs, or hung a moment ago".to_owned());
        }
        match (self.eligible, self.app_state, self.lag_entries) {
            (Some(false), Some(state), _) => {
                Some(format!("its app is not eligible to lead (state: {})", state_word(state)))
            }
            (_, _, Some(lag)) if lag > FIT_LAG_MAX => Some(format!("it is {lag} entries behind the leader")),
            _ => None,
        }
    }

    /// Its role, and the other reports of its app.
    pub(crate) fn role_words(&self) -> String {
        let Some(role) = &self.role else { return "unknown".to_owned() };
        if self.app_alive == Some(false) {
            return format!("{role} (app dead)");
        }
        if self.app_frozen {
            return format!("{role} (app frozen)");
        }
        let mut notes: Vec<String> = self.unfit.iter().map(|_| "app unfit".to_owned()).collect();
        // The progress also names the operation.
        let is_on_its_way = self.progress.as_ref().is_some_and(|progress| progress.what != Doing::Snapshot);
        let is_stalled = self.disk_stalled == Some(true);
        match self.app_state {
            _ if self.went_back.is_some() => notes.push("went back".to_owned()),
            _ if self.diverged.is_some() => notes.push("diverged".to_owned()),
            _ if is_on_its_way => {}
            Some(AppState::Leading) if role == "leader" || is_stalled => {}
            Some(AppState::Follower) if role == "follower" || is_stalled => {}
            Some(state) => notes.push(state_word(state).to_owned()),
            None => {}
        }
        notes.extend(self.progress.as_ref().map(ProgressInfo::words));
        if is_stalled {
            notes.push("disk stalled".to_owned());
        }
        if self.waits_for_room.is_some() {
            notes.push("waits for room".to_owned());
        }
        if notes.is_empty() { role.clone() } else { format!("{role} ({})", notes.join(", ")) }
    }

    /// What is wrong with it, and what to do: one line each, for below the table.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.unknown_because.iter().cloned().collect();
        lines.extend(self.unfit.iter().map(|why| format!("its app is unfit to lead: {why}")));
        lines.extend(self.went_back.iter().map(|why| format!("its volume went back in time: {why}")));
        lines.extend(self.diverged.iter().map(|why| format!("its data are not those of the others: {why}")));
        lines.extend(self.out_of_room.iter().map(OutOfRoom::words));
        lines.extend(self.waits_for_room.iter().map(|why| format!("waits for room: {why}")));
        lines
    }
}

/// In the words of the pod itself.
fn role_word(state: &State, leads: bool) -> &'static str {
    match state.role.as_ref().map_or(Role::None, |role| role.role) {
        // A plain app's claim that expired.
        Role::Leader if !state.fencing && !leads => Role::Follower.as_str(),
        role => role.as_str(),
    }
}

fn state_word(state: AppState) -> &'static str {
    match state {
        AppState::Starting => "starting",
        AppState::Learner => "learner",
        AppState::Follower => "follower",
        AppState::Recovering => "recovering",
        AppState::Leading => "leading",
        AppState::Draining => "draining",
        AppState::Failed => "failed",
    }
}

/// From role.json, if this pod's sidecar does not answer but its files exist.
fn role_file(config: &Config) -> Option<RoleFile> {
    read_json(&config.directory.as_ref()?.join(ROLE_FILE)).ok()
}

/// What this pod's sidecar knows; none if it does not answer.
pub(crate) async fn ask_own(config: &Config) -> Option<Told> {
    let told = ask_state(&own_address(config)?).await.ok()?;
    // On a machine with several sidecars, another one may listen there.
    (told.state.name == config.name).then_some(told)
}

/// Where this pod's sidecar is asked by what runs beside it.
pub(crate) fn own_address(config: &Config) -> Option<String> {
    let listen = config.listen?;
    Some(if listen.ip().is_unspecified() { format!("localhost:{}", listen.port()) } else { listen.to_string() })
}

/// What another pod's sidecar knows. Its IPs and its name race, 50 ms apart: for half a minute DNS still returns the old IP
/// of a recreated pod. An IP may be another pod's by now, so only that very pod's answer counts.
pub(crate) async fn ask_pod(config: &Config, name: &str, ips: &[IpAddr]) -> Result<Told, String> {
    let by_name = config.member_sidecar_address.render(name);
    let by_name = by_name.ok_or("its sidecar's address is unknown (set --service or --member-sidecar-address)")?;
    let port = by_name.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let by_ip = ips.iter().filter_map(|ip| Some(SocketAddr::new(*ip, port?).to_string()));
    let ask = |(number, address): (u32, String)| async move {
        tokio::time::sleep(START_PAUSE * number).await;
        let told = ask_state(&address).await.map_err(|why| format!("{address}: {why}"))?;
        if told.state.name == name { Ok(told) } else { Err(format!("{address}: {} answers there", told.state.name)) }
    };
    let mut addresses: Vec<String> = by_ip.collect();
    if !addresses.contains(&by_name) {
        addresses.push(by_name);
    }
    let mut asked: FuturesUnordered<_> = (0..).zip(addresses).map(ask).collect();
    let mut failed = Vec::new();
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(told) => return Ok(told),
            Err(why) => failed.push(why),
        }
    }
    Err(failed.join("; "))
}

async fn ask_state(address: &str) -> Result<Told, String> {
    let url: HttpUrl = format!("http://{address}/v1/state").parse()?;
    let answer = Question::get().ask(&url, PATIENCE, STATE_BYTES_MAX).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer.body).map_err(|error| format!("not a sidecar's answer: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use leasehold_contract::RoomKind;
    use serde_json::json;

    /// A pod of a fencing app, as its sidecar reports it.
    pub(crate) fn told(name: &str, role: &str, state: &str, term: u64, sequence: u64) -> Told {
        let app = json!({
            "version": 1, "incarnation": uuid::Uuid::nil(), "replica": null, "clusterId": null, "state": state,
            "voter": true, "promised": {"term": term, "incarnation": null},
            "position": {"term": term, "sequence": sequence}, "following": null, "leaderHeard": true,
            "eligible": state != "learner", "ready": true, "appVersion": "0.1.0",
        });
        let leader = json!({"name": "db-0", "incarnation": null, "address": "a:1", "peerAddress": "a:2"});
        let members: Vec<_> = (0..3)
            .map(|n| json!({"name": format!("db-{n}"), "address": format!("a{n}:1"), "peerAddress": format!("a{n}:2")}))
            .collect();
        let state_says_leading = state == "leading";
        let json = json!({
            "name": name, "sidecarVersion": "0.1.0", "fencing": true, "app": app, "appAlive": true,
            "role": {"version": 1, "generation": 1, "role": role, "term": term, "clusterId": null, "self": name,
                "leader": leader, "members": members, "handOverTo": null, "offLease": false, "paused": false,
                "lease": {"namespace": "n", "name": "db", "durationMs": 1000, "validUntilBoottimeNs": null,
                    "validUntilUnixMs": null}},
            "lease": null, "leaseRead": true, "waits": [], "missingRights": [], "history": [],
        });
        Told { leads: state_says_leading, app_frozen: false, state: serde_json::from_value(json).unwrap() }
    }

    fn fleet() -> Fleet {
        Fleet::of(
            vec![
                ("db-0".into(), Ok(told("db-0", "leader", "leading", 7, 5000))),
                ("db-1".into(), Ok(told("db-1", "follower", "learner", 7, 5000))),
                ("db-2".into(), Ok(told("db-2", "follower", "follower", 7, 4990))),
                ("db-3".into(), Ok(told("db-3", "follower", "follower", 7, 3000))),
                ("db-4".into(), Err("no answer".into())),
            ],
            None,
        )
    }

    #[test]
    fn who_leads_and_how_far_the_others_are_behind() {
        let fleet = fleet();
        assert_eq!((fleet.leader.as_deref(), fleet.term), (Some("db-0"), Some(7)));
        let lags: Vec<_> = fleet.pods.iter().map(|pod| pod.lag_entries).collect();
        assert_eq!(lags, [Some(0), Some(0), Some(10), Some(2000), None]);
        assert_eq!(fleet.pods[4].role_words(), "unknown");
        assert_eq!(fleet.pods[1].role_words(), "follower (learner)");
    }

    #[test]
    fn the_fittest_is_a_voter_that_is_not_far_behind_and_answers() {
        let fleet = fleet();
        assert_eq!(fleet.fittest_follower().unwrap().name, "db-2");
        assert!(fleet.pod("db-1").unwrap().why_not_fit().unwrap().contains("learner"));
        assert!(fleet.pod("db-3").unwrap().why_not_fit().unwrap().contains("2000 entries"));
        assert_eq!(fleet.pod("db-4").unwrap().why_not_fit(), None, "who does not answer may be fit");
    }

    #[test]
    fn an_app_that_is_dead_is_neither_ready_nor_fit_whatever_its_file_says() {
        let mut dead = told("db-1", "follower", "follower", 7, 1);
        dead.state.app_alive = false;
        let pod = Pod::of("db-1", &Ok(dead));
        assert_eq!((pod.ready, pod.role_words().as_str()), (Some(false), "follower (app dead)"));
        assert!(pod.why_not_fit().is_some());
    }

    #[test]
    fn an_app_that_is_frozen_is_neither_ready_nor_fit_and_its_lag_is_not_known() {
        let mut frozen = told("db-1", "follower", "follower", 7, 5000);
        frozen.app_frozen = true;
        let fleet = Fleet::of(
            vec![
                ("db-0".into(), Ok(told("db-0", "leader", "leading", 7, 5000))),
                ("db-1".into(), Ok(frozen)),
                ("db-2".into(), Ok(told("db-2", "follower", "follower", 7, 4000))),
            ],
            None,
        );
        let pod = fleet.pod("db-1").unwrap();
        assert_eq!((pod.ready, pod.lag_entries), (Some(false), None));
        assert_eq!(pod.role_words(), "follower (app frozen)");
        assert_eq!(pod.why_not_fit().as_deref(), Some("its app is frozen"));
        assert_eq!(fleet.fittest_follower().unwrap().name, "db-2");
    }

    #[test]
    fn a_plain_app_that_fails_its_checks_says_so_and_gets_no_switchover() {
        let mut sick = told("web-1", "follower", "follower", 7, 1);
        (sick.state.fencing, sick.state.app) = (false, None);
        let failure = Some("Connection refused".to_owned());
        sick.state.health =
            Some(crate::state::Health { check: "GET http://127.0.0.1:80/".into(), fit: false, failure });
        let pod = Pod::of("web-1", &Ok(sick.clone()));
        assert_eq!(pod.role_words(), "follower (app unfit)");
        assert!(pod.why_not_fit().unwrap().contains("GET http://127.0.0.1:80/: Connection refused"));
        assert_eq!(pod.troubles(), ["its app is unfit to lead: GET http://127.0.0.1:80/: Connection refused"]);
        sick.state.health.as_mut().unwrap().fit = true;
        let pod = Pod::of("web-1", &Ok(sick));
        assert_eq!((pod.role_words().as_str(), pod.why_not_fit()), ("follower", None), "two failures are not enough");
    }

    #[test]
    fn of_two_that_say_that_they_lead_the_higher_term_is_right() {
        let fleet = Fleet::of(
            vec![
                ("db-0".into(), Ok(told("db-0", "leader", "leading", 7, 9))),
                ("db-1".into(), Ok(told("db-1", "leader", "leading", 8, 9))),
            ],
            None,
        );
        assert_eq!((fleet.leader.as_deref(), fleet.term), (Some("db-1"), Some(8)));
    }
    #[test]
    fn a_volume_that_went_back_is_no_failure_and_the_way_out_stands_below_the_table() {
        let mut gone = told("db-1", "follower", "failed", 7, 1);
        gone.state.app.as_mut().unwrap().went_back = Some("wipe the volume of db-1".to_owned());
        let pod = Pod::of("db-1", &Ok(gone));
        assert_eq!(pod.role_words(), "follower (went back)");
        assert!(pod.why_not_fit().unwrap().contains("went back"));
        let fleet = Fleet { pods: vec![pod], ..Fleet::of(Vec::new(), None) };
        let table = crate::operator::table::of_pods(&fleet);
        assert!(table.contains("db-1: its volume went back in time: wipe the volume of db-1\n"), "{table}");
    }

    #[test]
    fn a_replica_that_diverged_is_no_failure_and_the_way_out_stands_below_the_table() {
        let mut wrong = told("db-1", "follower", "follower", 7, 1);
        wrong.state.app.as_mut().unwrap().diverged = Some("wipe the volume of db-1".to_owned());
        let pod = Pod::of("db-1", &Ok(wrong));
        assert_eq!(pod.role_words(), "follower (diverged)");
        assert!(pod.why_not_fit().unwrap().contains("differ"));
        let fleet = Fleet { pods: vec![pod], ..Fleet::of(Vec::new(), None) };
        let table = crate::operator::table::of_pods(&fleet);
        assert!(table.contains("db-1: its data are not those of the others: wipe the volume of db-1\n"), "{table}");
    }

    #[test]
    fn who_is_out_of_room_says_how_much_there_is_and_how_much_is_used() {
        let mut full = told("db-1", "follower", "follower", 7, 1);
        let app = full.state.app.as_mut().unwrap();
        let out = |what, used: u64| OutOfRoom { what, used_bytes: used << 20, allowed_bytes: 96 << 20 };
        app.out_of_room = vec![out(RoomKind::Memory, 96), out(RoomKind::Disk, 200)];
        app.waits_for_room = Some("the snapshot needs 5 MiB; enlarge the volume".to_owned());
        let pod = Pod::of("db-1", &Ok(full.clone()));
        assert_eq!(pod.role_words(), "follower (waits for room)");
        let told = ["out of memory: 96 of 96 MiB", "out of disk: 200 of 96 MiB", "waits for room: the snapshot needs"];
        let lines = pod.troubles();
        assert!(told.iter().zip(&lines).all(|(told, line)| line.starts_with(told)) && lines.len() == 3, "{lines:?}");
        full.state.app_alive = false;
        assert_eq!(Pod::of("db-1", &Ok(full)).troubles(), Vec::<String>::new(), "of an app that ended");
    }

    #[test]
    fn who_is_on_its_way_says_how_far_it_is() {
        let words = |role, state, what, stalled| {
            let mut told = told("db-1", role, state, 7, 1);
            let app = told.state.app.as_mut().unwrap();
            let (done, of) = (Some(43), Some(100));
            app.progress = Some(ProgressInfo {
                what,
                done_bytes: done,
                of_bytes: of,
                done_entries: None,
                of_entries: None,
                since_unix_ms: 1,
            });
            app.stalled = stalled;
            Pod::of("db-1", &Ok(told)).role_words()
        };
        assert_eq!(words("follower", "learner", Doing::Join, false), "follower (joins 43 %)");
        assert_eq!(words("none", "starting", Doing::Start, true), "none (starts 43 %, disk stalled)");
        assert_eq!(words("leader", "leading", Doing::Snapshot, false), "leader (writes a snapshot 43 %)");
        assert_eq!(
            words("leader", "recovering", Doing::Snapshot, false),
            "leader (recovering, writes a snapshot 43 %)"
        );
    }
}
