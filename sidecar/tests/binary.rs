//! The built binary beside an app that this test plays: it holds the lock and writes status.json.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::Duration;

use clap::CommandFactory as _;
use leasehold_api::{ApiServer, Kind, Verb};
use leasehold_contract::{
    ClaimInfo, PositionInfo, PromiseInfo, Role, RoleFile, State, StatusFile, StatusLock, read_json, replace_file,
};
use leasehold_sidecar::program::Args;
use leasehold_testkit::{until, until_seen};
use serde_json::{Value, json};
use uuid::Uuid;

/// One pod: the sidecar as a process, the app as this test.
struct Pod {
    dir: tempfile::TempDir,
    name: &'static str,
    sidecar: Option<Child>,
    lock: Option<StatusLock>,
    status: StatusFile,
}

impl Pod {
    fn new(api: &ApiServer, name: &'static str) -> Pod {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("kubeconfig"), api.kubeconfig(name, "n").to_string()).unwrap();
        let lock = Some(StatusLock::acquire(dir.path()).unwrap());
        let status = StatusFile {
            replica: Some(Uuid::new_v4()),
            cluster_id: Some(Uuid::from_u128(77)),
            state: State::Follower,
            voter: true,
            promised: PromiseInfo { term: 4, incarnation: Some(Uuid::from_u128(5)) },
            position: PositionInfo { term: 4, sequence: 9 },
            eligible: true,
            ready: Some(true),
            app_version: "test".to_owned(),
            ..StatusFile::starting(Uuid::new_v4())
        };
        Pod { dir, name, sidecar: None, lock, status }
    }

    fn write_status(&mut self, change: impl FnOnce(&mut StatusFile)) {
        change(&mut self.status);
        let bytes = serde_json::to_vec(&self.status).unwrap();
        replace_file(self.dir.path(), "status.json", &bytes).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidecar"));
        command
            .args([
                "--namespace",
                "n",
                "--lease",
                "db",
                "--name",
                self.name,
                "--app",
                "fencing",
                "--listen",
                "127.0.0.1:0",
            ])
            .args(["--lease-duration", "2s", "--lost-time", "200ms", "--grace-period", "8s"])
            .args(["--member-address", "127.0.0.1:{8089+100*ordinal}"])
            .args(["--member-peer-address", "127.0.0.1:{8090+100*ordinal}"])
            .arg("--directory")
            .arg(self.dir.path())
            .arg("--kubeconfig")
            .arg(self.dir.path().join("kubeconfig"));
        command
    }

    /// Its log cannot be written, as on a full disk: nothing may depend on that.
    fn start_sidecar(&mut self) {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        self.sidecar = Some(self.command().stderr(full).spawn().unwrap());
    }

    fn kill_sidecar(&mut self) {
        if let Some(mut sidecar) = self.sidecar.take() {
            let _ = sidecar.kill();
            let _ = sidecar.wait();
        }
    }

    fn terminate_sidecar(&self) {
        let pid = self.sidecar.as_ref().unwrap().id();
        let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    async fn exit_code(&mut self) -> Option<i32> {
        let sidecar = self.sidecar.as_mut().unwrap();
        let mut status = None;
        let ended = || {
            status = sidecar.try_wait().unwrap();
            status.is_some()
        };
        until("the sidecar ends", ended).await;
        self.sidecar = None;
        status.unwrap().code()
    }

    async fn role(&self, wanted: impl Fn(&RoleFile) -> bool) -> RoleFile {
        let look = || read_json::<RoleFile>(&self.dir.path().join("role.json"));
        let role = until_seen("role.json is as wanted", look, |role| role.as_ref().is_ok_and(&wanted)).await;
        role.unwrap()
    }

    /// The app accepts the claim in role.json, and leads.
    async fn lead(&mut self) -> u64 {
        let role = self.role(|role| role.role == Role::Leader).await;
        let leader = role.leader.unwrap();
        assert_eq!(leader.incarnation, Some(self.status.incarnation));
        let (term, incarnation, name) = (role.term, self.status.incarnation, self.name.to_owned());
        self.write_status(|status| {
            status.promised = PromiseInfo { term, incarnation: Some(incarnation) };
            status.following = Some(ClaimInfo { term, incarnation, name, peer_address: leader.peer_address });
            status.state = State::Leading;
            status.leader_heard = true;
            status.campaign = None;
        });
        term
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kill_sidecar();
    }
}

/// The Lease; null where there is none.
fn read_lease(api: &ApiServer) -> Value {
    api.get(Kind::Lease, "n", "db").unwrap_or(Value::Null)
}

async fn until_lease(api: &ApiServer, wanted: impl FnMut(&Value) -> bool) -> Value {
    api.until(Kind::Lease, "n", "db", wanted).await.unwrap()
}

fn holder(lease: &Value) -> Option<&str> {
    lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty())
}

async fn campaigning_leader(api: &ApiServer) -> (Pod, u64) {
    let mut pod = Pod::new(api, "db-0");
    pod.write_status(|status| status.campaign = Some(4));
    pod.start_sidecar();
    let term = pod.lead().await;
    assert!(term > 4, "a new leadership is above the promise");
    until_lease(api, |lease| holder(lease) == Some("db-0")).await;
    (pod, term)
}

#[tokio::test]
async fn a_campaign_becomes_a_lease_and_a_role_and_a_restarted_sidecar_goes_on_with_the_term() {
    let api = ApiServer::start(0).unwrap();
    let (mut pod, term) = campaigning_leader(&api).await;
    let lease = read_lease(&api);
    assert_eq!(lease["spec"]["leaseTransitions"], term);
    let annotations = &lease["metadata"]["annotations"];
    assert_eq!(annotations["leasehold.dev/incarnation"], pod.status.incarnation.to_string());
    assert_eq!(annotations["leasehold.dev/address"], "127.0.0.1:8089");
    assert_eq!(annotations["leasehold.dev/cluster-id"], Uuid::from_u128(77).to_string());

    pod.kill_sidecar();
    let before = read_lease(&api)["spec"]["renewTime"].clone();
    pod.start_sidecar();
    let renewed = until_lease(&api, |lease| lease["spec"]["renewTime"] != before).await;
    assert_eq!(renewed["spec"]["leaseTransitions"], term, "the same incarnation continues its term");
    let role = pod.role(|role| role.generation >= 1 && role.role == Role::Leader).await;
    assert_eq!((role.term, role.off_lease), (term, false));
}

#[tokio::test]
async fn the_death_of_the_app_clears_the_holder_and_a_new_incarnation_does_not_inherit() {
    let api = ApiServer::start(0).unwrap();
    let (mut pod, term) = campaigning_leader(&api).await;
    pod.lock = None;
    until_lease(&api, |lease| !lease.is_null() && holder(lease).is_none()).await;
    pod.role(|role| role.role != Role::Leader).await;
    pod.lock = Some(StatusLock::acquire(pod.dir.path()).unwrap());
    pod.write_status(|status| {
        status.incarnation = Uuid::new_v4();
        status.state = State::Follower;
        status.following = None;
        status.leader_heard = false;
        status.campaign = Some(term);
    });
    let role = pod.role(|role| role.role == Role::Leader).await;
    assert!(role.term > term);
}

#[tokio::test]
async fn sigterm_waits_for_the_app_then_lets_go_and_exits_with_0() {
    let api = ApiServer::start(0).unwrap();
    let (mut pod, _) = campaigning_leader(&api).await;
    pod.terminate_sidecar();
    // The app is still there: so is the claim.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(pod.sidecar.as_mut().unwrap().try_wait().unwrap().is_none(), "it left its app alone");
    assert_eq!(holder(&read_lease(&api)), Some("db-0"));
    pod.lock = None;
    assert_eq!(pod.exit_code().await, Some(0));
    assert_eq!(holder(&read_lease(&api)), None);
}

fn output(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

async fn operator(pod: &Pod, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = pod.command();
    command.args(args);
    tokio::task::spawn_blocking(move || output(command)).await.unwrap()
}

#[tokio::test]
async fn operators_can_look_pause_resume_switch_over_and_adopt() {
    let api = ApiServer::start(0).unwrap();
    let mut pod = Pod::new(&api, "db-0");
    let (code, _, stderr) = operator(&pod, &["status"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no Lease"), "{stderr}");

    pod.write_status(|status| status.campaign = Some(4));
    pod.start_sidecar();
    let term = pod.lead().await;
    let (code, stdout, stderr) = operator(&pod, &["status"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("db-0") && stdout.contains(&term.to_string()), "{stdout}");

    let annotation = |name: &str| read_lease(&api)["metadata"]["annotations"][name].as_str().map(str::to_owned);
    assert_eq!(operator(&pod, &["pause"]).await.0, Some(0));
    assert_eq!(annotation("leasehold.dev/paused").as_deref(), Some("true"));
    pod.role(|role| role.paused).await;
    assert_eq!(operator(&pod, &["resume"]).await.0, Some(0));
    assert_eq!(annotation("leasehold.dev/paused"), None);

    assert_eq!(operator(&pod, &["switchover", "--to", "db-1", "--no-wait"]).await.0, Some(0));
    assert_eq!(pod.role(|role| role.hand_over_to.is_some()).await.hand_over_to.as_deref(), Some("db-1"));
    let (_, stdout, _) = operator(&pod, &["switchover", "--to", "db-0"]).await;
    assert!(stdout.contains("leads already"), "{stdout}");

    // db-1 is nowhere: the request is withdrawn, and the message says so.
    let (code, _, stderr) = operator(&pod, &["switchover", "--to", "db-1", "--timeout", "300ms"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("db-1 did not lead within 300ms"), "{stderr}");
    assert_eq!(annotation("leasehold.dev/preferred-holder"), None);
    let (code, _, stderr) = operator(&pod, &["switchover"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("--to"), "{stderr}");

    let other = Uuid::from_u128(99).to_string();
    let (code, _, stderr) = operator(&pod, &["adopt", "--cluster-id", &other]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("stop that cluster first"), "{stderr}");

    api.deny(Verb::Update, Kind::Lease);
    let (code, _, stderr) = operator(&pod, &["pause"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("update leases.coordination.k8s.io \"db\" in namespace \"n\""), "{stderr}");
    let instead = "kubectl annotate lease -n n db --overwrite leasehold.dev/paused=true";
    assert!(stderr.contains(instead), "it does not say what to do: {stderr}");
}

#[tokio::test]
async fn adopt_writes_the_cluster_id_where_nobody_holds_the_lease() {
    let api = ApiServer::start(0).unwrap();
    let pod = Pod::new(&api, "db-0");
    let old = json!({"metadata": {"name": "db", "annotations": {"leasehold.dev/cluster-id": "old"}}, "spec": {"leaseTransitions": 3}});
    api.put(Kind::Lease, "n", &old).unwrap();
    let id = Uuid::from_u128(99).to_string();
    let (code, _, stderr) = operator(&pod, &["adopt", "--cluster-id", &id]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(read_lease(&api)["metadata"]["annotations"]["leasehold.dev/cluster-id"], id);
}

/// On a machine with a kubeconfig and no pod: no name, no shared directory.
#[tokio::test]
async fn an_operator_with_a_kubeconfig_needs_only_the_namespace_and_the_lease() {
    let api = ApiServer::start(0).unwrap();
    let (pod, term) = campaigning_leader(&api).await;
    let status = async |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidecar"));
        command.args(["status", "--namespace", "n", "--lease", "db", "--listen", "127.0.0.1:1", "--kubeconfig"]);
        command.arg(pod.dir.path().join("kubeconfig")).args(more);
        let (code, stdout, stderr) = tokio::task::spawn_blocking(move || output(command)).await.unwrap();
        assert_eq!(code, Some(0), "{stderr}");
        stdout
    };
    let table = status(&[]).await;
    assert!(table.contains("db-0") && table.contains(&term.to_string()), "{table}");
    assert!(table.contains("kubectl exec -n n db-0 -c sidecar -- sidecar status"), "{table}");
    let json: serde_json::Value = serde_json::from_str(&status(&["-o", "json"]).await).unwrap();
    assert_eq!((&json["leader"], &json["term"]), (&"db-0".into(), &term.into()), "{json}");
}

/// In a manifest an empty value is the usual way to say that there is none.
#[test]
fn an_empty_variable_counts_as_not_set_and_an_empty_flag_is_refused() {
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidecar"));
        for arg in Args::command().get_arguments() {
            command.envs(arg.get_env().map(|variable| (variable.to_owned(), "")));
        }
        command.args(args);
        output(command)
    };
    let (code, _, stderr) = run(&[]);
    assert_eq!(code, Some(2));
    let all = "--namespace, --lease, --name and one of --address, --service and --member-address are missing";
    assert!(stderr.contains(all), "{stderr}");
    for flag in ["--directory", "--app", "--app-port", "--listen", "--lease-duration", "--kubeconfig", "--log-format"] {
        let (code, _, stderr) = run(&[flag, ""]);
        assert!(code == Some(2) && stderr.contains(flag) && !stderr.contains("missing"), "{flag}: {stderr}");
    }
}

#[test]
fn wrong_flags_end_with_2_and_say_why() {
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidecar"));
        command.args(args);
        output(command)
    };
    for args in [&["--lease-duration", "5"][..], &["--what"], &[], &["--namespace", "n", "--lease", "l", "--log", "[["]]
    {
        let (code, _, stderr) = run(args);
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(!stderr.is_empty());
    }
    let missing = Path::new("/nonexistent/kubeconfig").to_str().unwrap();
    let (code, _, stderr) = run(&[
        "--namespace",
        "n",
        "--lease",
        "l",
        "--name",
        "a",
        "--address",
        "a:1",
        "--listen",
        "127.0.0.1:0",
        "--kubeconfig",
        missing,
    ]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("kubeconfig"), "{stderr}");
}
