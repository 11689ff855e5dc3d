//! The built binary as a process: its start, its files, its exit codes. The test plays the sidecar.

#![allow(clippy::unwrap_used)]

use clap::CommandFactory as _;
use leasehold_contract::testing::{alone, member};
use leasehold_contract::{LOCK_FILE, ROLE_FILE, STATUS_FILE, State, StatusFile, replace_file};
use leasehold_store::args::Args;
use leasehold_testkit::{http, until_blocking, until_found_blocking};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const NIKLAS: &str = r#"{"firstName":"Niklas","lastName":"Heidloff","id":"e0a08c5b-62d5-4b20-a024-e1c270d901c2"}"#;
const JOHANNA: &str = r#"{"firstName":"Johanna","lastName":"Koester","id":"e956b5d0-fa0c-40e8-9da9-333c214dcaf7"}"#;

/// A store that runs, or has run, with its folder. Dropping it kills it.
struct Store {
    folder: Rc<tempfile::TempDir>,
    api: u16,
    peer: u16,
    child: Option<Child>,
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Store {
    fn new() -> Store {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (api, peer) = (free(), free());
        let port = |socket: &TcpListener| socket.local_addr().unwrap().port();
        let folder = Rc::new(tempfile::tempdir().unwrap());
        std::fs::create_dir(folder.path().join("run")).unwrap();
        Store { api: port(&api), peer: port(&peer), folder, child: None }
    }

    /// Another process for the same pod: its volume and directory, ports of its own.
    fn twin(&self) -> Store {
        let mut twin = Store::new();
        twin.folder = Rc::clone(&self.folder);
        twin
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, extra: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_store"));
        command
            .env_clear()
            .env("LEASEHOLD_STORE_NAME", "db-0")
            .env("LEASEHOLD_STORE_LOST_TIME", "300ms")
            .env("LEASEHOLD_STORE_HEARTBEAT", "50ms")
            .env("LEASEHOLD_STORE_DATA", self.path("data"))
            .env("LEASEHOLD_STORE_DIRECTORY", self.path("run"))
            .env("LEASEHOLD_STORE_LISTEN", format!("127.0.0.1:{}", self.api))
            .env("LEASEHOLD_STORE_PEER_LISTEN", format!("127.0.0.1:{}", self.peer))
            .args(extra)
            .stdout(Stdio::null())
            .stderr(std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap());
        command
    }

    fn run(&mut self, extra: &[&str]) {
        self.child = Some(self.command(extra).spawn().unwrap());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn status(&self) -> Option<StatusFile> {
        leasehold_contract::read_json(&self.path("run").join(STATUS_FILE)).ok()
    }

    fn until<T>(&self, what: &str, found: impl FnMut() -> Option<T>) -> T {
        until_found_blocking(format!("this: {what}"), found, || format!("{:?}\n{}", self.status(), self.log()))
    }

    fn until_status(&self, what: &str, holds: impl Fn(&StatusFile) -> bool) -> StatusFile {
        self.until(what, || self.status().filter(&holds))
    }

    fn ends(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        self.until("the end of the process", || child.try_wait().unwrap())
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = self.child.as_ref().unwrap().id();
        let pid = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// role.json of a cluster of one, with this claim.
    fn write_role(&self, term: u64, cluster_id: Option<Uuid>, incarnation: Option<Uuid>) {
        let at = |port: u16| format!("127.0.0.1:{port}");
        let mut role = alone(member("db-0", &at(self.api), &at(self.peer)), term, cluster_id, incarnation);
        role.lease.duration_ms = 3000;
        replace_file(&self.path("run"), ROLE_FILE, &serde_json::to_vec(&role).unwrap()).unwrap();
    }

    /// Waits for its campaign, as a sidecar does, and gives it the term after that.
    fn make_it_lead(&self) -> StatusFile {
        let wishes = self.until_status("a campaign", |status| status.campaign.is_some());
        let term = wishes.promised.term + 1;
        self.write_role(term, wishes.cluster_id, Some(wishes.incarnation));
        self.until_status("leading", |status| status.state == State::Leading && status.promised.term == term)
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        request(self.api, method, path, body)
    }
}

/// Status and body; none if there is no connection.
fn request(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let answer = http::ask_blocking(("127.0.0.1", port), method, path, body)?;
    Some((answer.status, answer.body))
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(data.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "segment"))
        .collect();
    found.sort();
    found
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let mut store = Store::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = store.command(&["--log", "debug"]);
    store.child = Some(command.stderr(full).spawn().unwrap());
    store.write_role(0, None, None);
    store.make_it_lead();
    assert_eq!(store.child.as_mut().unwrap().try_wait().unwrap(), None, "it ended");
    store.signal(rustix::process::Signal::TERM);
    assert_eq!(store.ends().code(), Some(0));
}

#[test]
fn a_store_begins_a_cluster_serves_it_and_has_it_after_kill_9_and_after_a_drain() {
    let mut store = Store::new();
    let initial = store.path("initial.json");
    std::fs::write(&initial, format!("[{NIKLAS}]")).unwrap();
    store.run(&["--initial-data", initial.to_str().unwrap()]);
    let starting = store.until_status("a first status.json", |_| true);
    assert!(leasehold_contract::is_locked(&store.path("run"), LOCK_FILE).unwrap(), "status.json before status.lock");
    assert_eq!(store.until("HTTP", || store.ask("GET", "/healthz", "")).0, 200);
    assert_eq!(store.ask("GET", "/readyz", "").unwrap().0, 503);
    assert_eq!(store.ask("GET", "/persons", "").unwrap().0, 503, "not [] before it has caught up");
    store.write_role(0, None, None);
    let leading = store.make_it_lead();
    assert_eq!(leading.incarnation, starting.incarnation);
    assert_eq!(store.ask("GET", "/readyz", "").unwrap().0, 200);
    assert_eq!(store.ask("GET", "/persons", "").unwrap().1, format!("[{NIKLAS}]"));
    assert_eq!(store.ask("POST", "/persons", JOHANNA).unwrap().0, 201);
    let (code, state) = request(store.peer, "GET", "/v1/state", "").unwrap();
    assert_eq!(code, 200);
    let state: leasehold_replication::PeerState = serde_json::from_str(&state).unwrap();
    assert_eq!(state.hears.map(|term| term.0), Some(leading.promised.term));

    store.signal(rustix::process::Signal::KILL);
    store.ends();
    assert!(
        !leasehold_contract::is_locked(&store.path("run"), LOCK_FILE).unwrap(),
        "the kernel kept the lock of a dead process"
    );
    // The file of initial data is looked at by the bootstrap only.
    std::fs::write(&initial, "no json").unwrap();
    store.run(&["--initial-data", initial.to_str().unwrap()]);
    store.until_status("a new incarnation", |status| status.incarnation != leading.incarnation);
    let again = store.make_it_lead();
    assert!(again.promised.term > leading.promised.term, "a new run inherited a leadership");
    assert_eq!(again.replica, leading.replica);
    assert_eq!(store.ask("GET", "/persons", "").unwrap().1, format!("[{NIKLAS},{JOHANNA}]"));

    store.signal(rustix::process::Signal::TERM);
    assert_eq!(store.ends().code(), Some(0), "{}", store.log());
    assert_eq!(store.status().unwrap().state, State::Draining);
    assert!(!leasehold_contract::is_locked(&store.path("run"), LOCK_FILE).unwrap());
}

#[test]
fn a_second_store_on_the_same_directory_waits_and_can_be_told_to_end() {
    let mut first = Store::new();
    first.run(&[]);
    let held = first.until_status("a first status.json", |_| true);
    let mut second = first.twin();
    second.run(&[]);
    let waits_for_the_lock = |(code, body): &(u16, String)| *code == 503 && body.contains("status.lock");
    second.until("what the second waits for", || second.ask("GET", "/readyz", "").filter(waits_for_the_lock));
    assert_eq!(second.ask("GET", "/healthz", "").unwrap().0, 200, "alive for the probes while it waits");
    assert_eq!(first.status().unwrap().incarnation, held.incarnation, "written without the lock");
    second.signal(rustix::process::Signal::TERM);
    assert_eq!(second.ends().code(), Some(0));
}

#[test]
fn flags_and_config_that_make_no_sense_end_with_2_and_a_sentence() {
    for (extra, word) in [
        (&["--lost-time", "90s"][..], "--lost-time"),
        (&["--worker-threads", "none"], "--worker-threads"),
        (&["--no-such-flag"], "--no-such-flag"),
        (&["--log", "=="], "filter"),
    ] {
        let mut store = Store::new();
        store.run(extra);
        assert_eq!(store.ends().code(), Some(2), "{extra:?}: {}", store.log());
        assert!(store.log().contains(word), "{extra:?}: {}", store.log());
    }
    let mut store = Store::new();
    let taken = TcpListener::bind(("127.0.0.1", store.peer)).unwrap();
    store.run(&[]);
    assert_eq!(store.ends().code(), Some(2), "{}", store.log());
    assert!(store.log().contains("is taken"), "{}", store.log());
    drop(taken);
    let mut store = Store::new();
    let bad = store.path("bad.json");
    std::fs::write(&bad, format!("[{NIKLAS},{{\"firstName\":\"A\"}}]")).unwrap();
    store.run(&["--initial-data", bad.to_str().unwrap()]);
    assert_eq!(store.ends().code(), Some(2), "{}", store.log());
    assert!(store.log().contains("record 2") && store.log().contains("lastName"), "{}", store.log());
    assert_eq!(store.status().unwrap().state, State::Failed);
    let mut store = Store::new();
    let bad = store.path("collections.json");
    std::fs::write(&bad, r#"{"orders": {"id": "string", "schema": {"requird": []}}}"#).unwrap();
    store.run(&["--collections-file", bad.to_str().unwrap()]);
    assert_eq!(store.ends().code(), Some(2), "{}", store.log());
    assert!(store.log().contains("collections.json, at /orders/schema/requird: "), "{}", store.log());
}

/// In a manifest an empty value is the usual way to say that there is none.
#[test]
fn an_empty_variable_counts_as_not_set_and_an_empty_flag_is_refused() {
    let store = Store::new();
    let bootstrap = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_store"));
        command.env_clear().args(["bootstrap", "--force", "--data"]).arg(store.folder.path());
        for arg in Args::command().get_arguments() {
            command.envs(arg.get_env().map(|variable| (variable.to_owned(), "")));
        }
        command.args(words).output().unwrap()
    };
    let done = bootstrap(&[]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    for flag in ["--cors-origin", "--probe-port", "--memory-limit", "--peer-key", "--follower-writes", "--lost-time"] {
        let refused = bootstrap(&[flag, ""]);
        assert_eq!(refused.status.code(), Some(2), "{flag}: {}", String::from_utf8_lossy(&refused.stderr));
        assert!(String::from_utf8_lossy(&refused.stderr).contains(flag), "{flag}");
    }
}

#[test]
fn a_damaged_journal_ends_with_3_and_names_the_file() {
    let mut store = Store::new();
    store.run(&[]);
    store.write_role(0, None, None);
    store.make_it_lead();
    for n in 0..20 {
        let person = format!("{{\"firstName\":\"A{n}\",\"lastName\":\"B\"}}");
        assert_eq!(store.ask("POST", "/persons", &person).unwrap().0, 201);
    }
    store.signal(rustix::process::Signal::KILL);
    store.ends();
    let newest = segments(&store.path("data")).pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let at = bytes.windows(2).position(|two| two == b"A2").unwrap();
    bytes[at] ^= 0x20;
    std::fs::write(&newest, bytes).unwrap();
    store.run(&[]);
    assert_eq!(store.ends().code(), Some(3), "{}", store.log());
    let name = newest.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(store.log().contains(&name), "{}", store.log());
    assert_eq!(store.status().unwrap().state, State::Failed);
}

/// A batch of 100 persons with names of this length.
fn batch(length: usize) -> String {
    let name = "x".repeat(length);
    let one = format!(r#"{{"op":"create","record":{{"firstName":"{name}","lastName":"{name}"}}}}"#);
    format!(r#"{{"operations":[{}]}}"#, vec![one; 100].join(","))
}

impl Store {
    /// What the kernel says that the process has.
    fn resident_bytes(&self) -> u64 {
        let id = self.child.as_ref().unwrap().id();
        let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.ask("GET", "/metrics", "").unwrap().1;
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.trim().parse().unwrap()
    }
}

#[test]
fn what_is_estimated_of_memory_is_what_the_process_takes_and_the_limit_holds() {
    for length in [20, 250] {
        let mut store = Store::new();
        store.run(&["--memory-limit", "80Mi", "--disk-reserve", "0"]);
        store.write_role(0, None, None);
        store.make_it_lead();
        let (full, mut batches) = (batch(length), 0);
        let refused = loop {
            let (status, body) = store.ask("POST", "/persons:batch", &full).unwrap();
            if status != 200 {
                break (status, body);
            }
            batches += 1;
            assert!(batches < 20_000, "there is no limit");
            if batches % 200 == 0 {
                let (used, resident) = (store.metric("leasehold_store_memory_used_bytes "), store.resident_bytes());
                println!("{length}: {} records, estimated {used}, resident {resident}", batches * 100);
            }
        };
        assert_eq!(refused.0, 507, "{}", refused.1);
        for word in ["urn:leasehold:out-of-room", r#""limit":"memory""#, r#""pod":"db-0""#, r#""allowed":83886080"#] {
            assert!(refused.1.contains(word), "{word} is not in {}", refused.1);
        }
        let (used, resident) = (store.metric("leasehold_store_memory_used_bytes "), store.resident_bytes());
        println!("{length}: {} records, estimated {used}, resident {resident}", batches * 100);
        let ratio = used as f64 / resident as f64;
        assert!((0.75..=1.25).contains(&ratio), "estimated {used}, resident {resident}: {ratio:.2}");
        assert!(resident < 128 << 20, "resident {resident}: 80 MiB are 60 % of 133");
        assert_eq!(store.metric("leasehold_store_out_of_room{limit=\"memory\"} "), 1);
        assert!(store.log().contains("uses more memory than --memory-limit allows"), "{}", store.log());
        // It is read and emptied, and then it takes more.
        until_blocking("deletes make room", || {
            if store.ask("POST", "/persons", JOHANNA).unwrap().0 == 201 {
                return true;
            }
            let page = store.ask("GET", "/persons?limit=1000", "").unwrap().1;
            let page: Vec<serde_json::Value> = serde_json::from_str(&page).unwrap();
            let one = |person: &serde_json::Value| format!(r#"{{"op":"delete","id":{}}}"#, person["id"]);
            let deletes = page.iter().map(one).collect::<Vec<_>>().join(",");
            let done = store.ask("POST", "/persons:batch", &format!(r#"{{"operations":[{deletes}]}}"#)).unwrap();
            assert_eq!(done.0, 200, "{}", done.1);
            false
        });
    }
}

#[test]
fn a_lost_cluster_is_begun_anew_by_force_only() {
    let mut store = Store::new();
    let run = |store: &Store, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_store"));
        command.env_clear().args(words).arg("--data").arg(store.path("data")).args(["--name", "db-0"]);
        command.output().unwrap()
    };
    store.run(&[]);
    store.write_role(0, None, None);
    let before = store.make_it_lead();
    assert_eq!(store.ask("POST", "/persons", JOHANNA).unwrap().0, 201);
    assert_eq!(run(&store, &["recover", "--force-new-cluster"]).status.code(), Some(2), "while the store runs");
    store.signal(rustix::process::Signal::KILL);
    store.ends();
    assert_eq!(run(&store, &["bootstrap", "--force"]).status.code(), Some(2), "on a volume with data");
    let done = run(&store, &["recover", "--force-new-cluster"]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    store.run(&[]);
    let foreign = store.until_status("a cluster of its own", |status| {
        status.cluster_id.is_some() && status.cluster_id != before.cluster_id
    });
    assert_ne!(foreign.replica, before.replica);
    // The Lease still has the old id: the store stays up, says so, and does nothing.
    store.write_role(9, before.cluster_id, None);
    let failed = store.until_status("a foreign Lease", |status| status.state == State::Failed);
    assert!(!failed.eligible);
    assert!(store.ask("GET", "/readyz", "").unwrap().1.contains("belongs to cluster"));
    // A person adopts the new one.
    store.write_role(9, foreign.cluster_id, None);
    store.make_it_lead();
    assert_eq!(store.ask("GET", "/persons", "").unwrap().1, format!("[{JOHANNA}]"));
}

/// Small: the test may open more connections than the store.
fn with_few_descriptors(store: &Store, extra: &[&str]) -> Child {
    let inner = store.command(extra);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -Sn 300 && ulimit -Hn 400 && exec \"$0\" \"$@\""]);
    limited.arg(inner.get_program()).args(inner.get_args()).env_clear();
    limited.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(store.path("log")).unwrap();
    limited.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

#[test]
fn silent_clients_take_neither_the_journals_descriptors_nor_the_places_of_probes_and_others() {
    let probes = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut store = Store::new();
    store.child = Some(with_few_descriptors(&store, &["--probe-port", &probes.to_string(), "--header-timeout", "10m"]));
    store.write_role(0, None, None);
    store.make_it_lead();
    let silent: Vec<TcpStream> = (0..450).map(|_| TcpStream::connect(("127.0.0.1", store.api)).unwrap()).collect();
    let first = segments(&store.path("data")).pop().unwrap();
    let mut slowest = Duration::ZERO;
    let mut batches = 0;
    // Through the end of a segment and into another one, among them probes.
    while segments(&store.path("data")).iter().filter(|segment| **segment > first).count() < 2 {
        let creates: Vec<String> = (0..1_000)
            .map(|_| format!(r#"{{"op":"create","record":{{"firstName":"{0}","lastName":"{0}"}}}}"#, "x".repeat(250)))
            .collect();
        let (code, answer) =
            store.ask("POST", "/persons:batch", &format!(r#"{{"operations":[{}]}}"#, creates.join(","))).unwrap();
        assert_eq!(code, 200, "{answer}");
        batches += 1;
        assert!(batches < 500, "no segment ended");
        let began = Instant::now();
        assert_eq!(request(probes, "GET", "/healthz", "").unwrap().0, 200);
        slowest = slowest.max(began.elapsed());
    }
    assert_eq!(request(probes, "GET", "/readyz", "").unwrap().0, 200);
    assert_eq!(request(probes, "GET", "/persons", "").unwrap().0, 404, "only probes are served there");
    let metrics = request(probes, "GET", "/metrics", "").unwrap().1;
    let value = |name: &str| -> u64 {
        let line =
            metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in\n{metrics}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert!(value("leasehold_store_connections{port=\"clients\"}") < 300, "{metrics}");
    assert!(value("leasehold_store_connections_closed_total{port=\"clients\",reason=\"room\"}") > 200, "{metrics}");
    assert!(store.log().contains("connections were closed"), "{}", store.log());
    println!("{batches} batches, the slowest probe took {slowest:?}");
    drop(silent);
    store.signal(rustix::process::Signal::TERM);
    assert_eq!(store.ends().code(), Some(0), "{}", store.log());
}

#[test]
fn a_page_of_a_named_origin_may_read_every_answer_and_others_none() {
    let mut store = Store::new();
    let tokens = store.path("tokens");
    std::fs::create_dir(&tokens).unwrap();
    for name in ["read", "write"] {
        std::fs::write(tokens.join(name), format!("a-long-enough-token-to-{name}")).unwrap();
    }
    store.run(&["--cors-origin", "https://app.example", "--api-tokens", tokens.to_str().unwrap()]);
    let head = |line: &str, fields: &str| format!("{line} HTTP/1.1\r\nconnection: close\r\n{fields}\r\n");
    let send = |request: &str| http::send_blocking(("127.0.0.1", store.api), request);
    store.until("an answer", || send(&head("GET /healthz", "host: x\r\n")));
    let app = "host: x\r\norigin: https://app.example\r\n";
    let known = format!("{app}authorization: Bearer a-long-enough-token-to-write\r\n");
    let preflight = format!("{app}access-control-request-method: PUT\r\n");
    for (line, fields, status) in [
        ("OPTIONS /persons/1", preflight.as_str(), 204),
        ("GET /healthz", app, 200),
        ("GET /persons", app, 401),
        ("GET /persons", &known, 503),
        ("DELETE /persons/e956b5d0-fa0c-40e8-9da9-333c214dcaf7", &known, 503),
        ("GET /no/where/at/all", &known, 404),
        ("GET /persons?a=%zz", &known, 400),
        ("GET /persons", "origin: https://app.example\r\n", 400),
        ("GET /a b c", app, 400),
    ] {
        let answer = send(&head(line, fields)).unwrap().to_ascii_lowercase();
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{line}: {answer}");
        for said in
            ["access-control-allow-origin: https://app.example\r\n", "vary: origin\r\n", "expose-headers: etag,"]
        {
            assert!(answer.contains(said), "{line}: {said} is not in {answer}");
        }
        assert_eq!(answer.contains("access-control-allow-methods: get, head, put,"), status == 204, "{line}: {answer}");
    }
    let other = send(&head("GET /healthz", "host: x\r\norigin: https://other.example\r\n")).unwrap();
    assert!(!other.contains("access-control") && other.to_ascii_lowercase().contains("vary: origin"), "{other}");
    let other = preflight.replace("app.", "other.");
    let other = send(&head("OPTIONS /persons", &other)).unwrap();
    assert!(other.starts_with("HTTP/1.1 401 ") && !other.contains("access-control"), "{other}");
}
