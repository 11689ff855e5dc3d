//! `e2e demo`: three pods on fixed ports, and a view of them that is drawn again in place.
//!
//! The view is made of what anybody can see: role.json and status.json of each pod, the Lease, and the pids.

mod backup;
mod shell;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use leasehold_contract::{Doing, ROLE_FILE, RoleFile, STATUS_FILE, State, StatusFile};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::{
    archive,
    client::Http,
    cluster::{App, Cluster, Config, LEASE, Machine, NAMESPACE, Part, Ports, Programs, STATEFUL_SET},
};
use backup::{Backup, BackupView};
use shell::quoted;

/// What the demo is started with.
#[derive(Clone, Debug, clap::Args)]
pub struct Demo {
    /// Print a line for each change of state, role, term or process instead of drawing a table in place (the default
    /// without a terminal)
    #[arg(long)]
    pub plain: bool,
    /// Keep the data in this folder, and continue with what is in it
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// How many pods to begin with
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub replicas: u16,
    /// Use ports that are free, instead of those that it always has
    #[arg(long)]
    pub free_ports: bool,
    /// The Lease's duration, in whole seconds
    #[arg(long, value_name = "TIME", default_value = "15s")]
    pub lease_duration: String,
    /// Start an agent that archives all changes into a folder beside the pods': with --data it is kept
    #[arg(long)]
    pub backup: bool,
    /// Begin with the data of this archive, where there are none: what --backup printed
    #[arg(long, value_name = "URL")]
    pub restore: Option<String>,
}

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// A port is taken, a program is missing, or a folder cannot be used.
pub async fn run(demo: Demo) -> anyhow::Result<()> {
    let config = Config {
        replicas: demo.replicas,
        app: App::Store,
        lease_duration: demo.lease_duration.clone(),
        restart_after: Duration::from_secs(1),
        grace: Duration::from_secs(60),
        drain_min: Duration::from_secs(5),
        ports: if demo.free_ports { Ports::claim()? } else { Ports::of_demo(demo.replicas.max(5))? },
        initial_data: None,
        restore: demo.restore.as_deref().map(|url| archive::prepares(url, "latest")).transpose()?,
        folder: demo.data.clone(),
        http: Http::default(),
        store_args: Vec::new(),
        sidecar_args: Vec::new(),
        programs: Programs::find()?,
        machine: Machine::default(),
        dns: true,
    };
    // Before the first process is started, so that no signal finds us without a handler.
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let cluster = Cluster::start(config)?;
    let backup = if demo.backup { Some(Backup::start(&cluster)?) } else { None };
    let in_place = !demo.plain && std::io::stdout().is_terminal();
    let commands = cluster.folder().join("sidecar");
    std::fs::write(&commands, commands_script(&cluster))
        .with_context(|| format!("cannot write {}", commands.display()))?;
    print(&introduction(&cluster, &commands, demo.data.is_some(), backup.as_ref()));
    let started = Instant::now();
    let mut shown = View::default();
    let mut runs = Runs::default();
    let mut drawn_lines = 0;
    loop {
        let view = View::of(&cluster, backup.as_ref(), &mut runs);
        if in_place {
            let text = view.table();
            // Up to where the last one began, and over it; each line clears what is left of the older one.
            let up = if drawn_lines > 0 { format!("\x1b[{drawn_lines}A") } else { String::new() };
            // Cut off at the right edge, not wrapped: as many lines are drawn as are counted.
            print(&format!("\x1b[?7l{up}{}\x1b[J\x1b[?7h", text.replace('\n', "\x1b[K\n")));
            drawn_lines = text.lines().count();
        } else {
            for line in view.changes_since(&shown) {
                print(&format!("{:7.1}s  {line}\n", started.elapsed().as_secs_f64()));
            }
        }
        shown = view;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
            _ = hung_up.recv() => break,
        }
    }
    let kept = demo.data.is_some();
    let folder = cluster.folder().display().to_string();
    print(&format!("\nending the pods ({} {folder})\n", if kept { "keeping" } else { "removing" }));
    tokio::task::block_in_place(|| {
        if let Some(backup) = backup {
            backup.end();
        }
        cluster.end_gracefully(Duration::from_secs(8));
        drop(cluster);
    });
    Ok(())
}

/// Perhaps nobody reads any longer: no reason to leave the pods behind.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// What runs a command of the sidecar (`status`, `switchover` …) against this cluster. It names no pod as its own, so it
/// works as on a person's machine, whichever pods are there.
fn commands_script(cluster: &Cluster) -> String {
    let directory = cluster.shared_directory(0);
    let flags = [
        ("--namespace", NAMESPACE.to_owned()),
        ("--lease", LEASE.to_owned()),
        ("--stateful-set", STATEFUL_SET.to_owned()),
        ("--directory", directory.display().to_string()),
        ("--member-sidecar-address", cluster.ports().member_sidecar_address()),
        ("--kubeconfig", directory.with_file_name("kubeconfig").display().to_string()),
    ];
    let flags = flags.map(|(flag, value)| format!("{flag} {}", quoted(&value))).join(" \\\n  ");
    let program = quoted(&cluster.program(Part::Sidecar).display().to_string());
    format!("[ $# -gt 0 ] || set -- status\nexec {program} \"$@\" \\\n  {flags}\n")
}

fn introduction(cluster: &Cluster, commands: &Path, kept: bool, backup: Option<&Backup>) -> String {
    let ports = cluster.ports();
    let person = r#"{"firstName": "Johanna","lastName": "Koester","id": "e956b5d0-fa0c-40e8-9da9-333c214dcaf7"}"#;
    let mut out = format!(
        "Leasehold: {} pods as processes, data and logs in {} ({})\n\n",
        cluster.wanted(),
        cluster.folder().display(),
        if kept { "kept" } else { "removed at the end" }
    );
    let _ = writeln!(out, "  pod   store              sidecar            peers");
    for i in 0..cluster.wanted() {
        let (store, sidecar, peer) = (ports.store(i), ports.sidecar(i), ports.peer(i));
        let _ = writeln!(out, "  {i}     127.0.0.1:{store}     127.0.0.1:{sidecar}     127.0.0.1:{peer}");
    }
    let api = format!("http://127.0.0.1:{}", ports.api);
    let set = format!("{api}/apis/apps/v1/namespaces/database/statefulsets/database-cluster/scale");
    let lease = format!("{api}/apis/coordination.k8s.io/v1/namespaces/database/leases/{LEASE}");
    let pods = format!("{api}/api/v1/namespaces/database/pods");
    // Hints that hold whichever pod leads: it need not be pod 0, above all with data that were kept.
    let any = format!("http://localhost:{}", ports.store(cluster.wanted().saturating_sub(1).min(1)));
    let leader = format!(r#"$(curl -s {any}/api/leader | sed 's/.*"address":"\([^"]*\)".*/\1/')"#);
    let sidecar = format!("sh {}", quoted(&commands.display().to_string()));
    let post = "-H 'accept: application/json' -H 'Content-Type: application/json'";
    let merge = "-H 'Content-Type: application/merge-patch+json'";
    let commands = [
        ("the persons, and who leads, on any pod", format!("curl -s {any}/persons")),
        ("", format!("curl -s {any}/api/leader")),
        (
            "a write: a follower refuses it (421) and names the leader; this finds the leader first",
            format!("curl -s -X 'POST' '{any}/persons' {post} -d '{person}'"),
        ),
        ("", format!("curl -s -X 'POST' \"http://{leader}/persons\" {post} -d '{person}'")),
        ("every pod, and who leads; hand the leadership to another pod", format!("{sidecar} status")),
        ("", format!("{sidecar} switchover")),
        ("any process of the table: it is started again after a second", "kill -9 PID".to_owned()),
        ("delete a pod, and scale, as kubectl does", format!("curl -s -X DELETE {pods}/database-cluster-0")),
        ("", format!("curl -s -X PATCH {merge} -d '{{\"spec\":{{\"replicas\":5}}}}' {set}")),
        ("the Lease: read it, delete it", format!("curl -s {lease}")),
        ("", format!("curl -s -X DELETE {lease}")),
        ("all that a sidecar knows", format!("curl -s http://localhost:{}/v1/state", ports.sidecar(0))),
    ];
    let _ = writeln!(out, "\nTry, in another terminal:");
    for (what, command) in commands.into_iter().chain(backup.into_iter().flat_map(Backup::commands)) {
        if !what.is_empty() {
            let _ = writeln!(out, "  # {what}");
        }
        let _ = writeln!(out, "  {command}");
    }
    let _ = writeln!(out, "Ctrl-C ends it.\n");
    out
}

/// All that is shown, at one moment.
#[derive(Debug, Default, PartialEq)]
struct View {
    lease: String,
    pods: Vec<PodView>,
    backup: Option<BackupView>,
}

#[derive(Debug, PartialEq)]
struct PodView {
    name: String,
    state: String,
    /// Its long operation, without and with the progress.
    under_way: Option<(&'static str, String)>,
    leads: bool,
    term: u64,
    position: String,
    follows: String,
    store: Option<u32>,
    sidecar: Option<u32>,
}

impl View {
    fn of(cluster: &Cluster, backup: Option<&Backup>, runs: &mut Runs) -> View {
        let lease = match cluster.lease() {
            None => "no Lease".to_owned(),
            Some(lease) => {
                let spec = &lease["spec"];
                let holder = spec["holderIdentity"].as_str().filter(|holder| !holder.is_empty()).unwrap_or("nobody");
                format!("held by {holder}, term {}", spec["leaseTransitions"].as_i64().unwrap_or(0))
            }
        };
        let pods = cluster.pods().into_iter().map(|i| PodView::of(cluster, i, runs)).collect();
        View { lease, pods, backup: backup.map(Backup::view) }
    }

    fn table(&self) -> String {
        let mut out = format!("Lease {LEASE}: {}\n\n", self.lease);
        let _ = writeln!(
            out,
            "  {:<20} {:<11} {:>6}  {:>12}  {:<20} {:>8} {:>8}",
            "pod", "state", "term", "position", "follows", "store", "sidecar"
        );
        for pod in &self.pods {
            let pid = |pid: Option<u32>| pid.map_or("-".to_owned(), |pid| pid.to_string());
            let (on, off) = if pod.leads { ("\x1b[1;32m", "\x1b[0m") } else { ("", "") };
            let _ = writeln!(
                out,
                "{on}{} {:<20} {:<11} {:>6}  {:>12}  {:<20} {:>8} {:>8}{off}",
                if pod.leads { '*' } else { ' ' },
                pod.name,
                pod.under_way.as_ref().map_or(&pod.state, |(_, words)| words),
                pod.term,
                pod.position,
                pod.follows,
                pid(pod.store),
                pid(pod.sidecar)
            );
        }
        if let Some(backup) = &self.backup {
            let _ = writeln!(out, "\n  {}", backup.line());
        }
        out
    }

    /// A line for each pod that changed. Positions change with every write, and how far something is every second: the
    /// table has them.
    fn changes_since(&self, before: &View) -> Vec<String> {
        let mut lines = Vec::new();
        if self.lease != before.lease {
            lines.push(format!("Lease {LEASE}: {}", self.lease));
        }
        for pod in &self.pods {
            let old = before.pods.iter().find(|old| old.name == pod.name);
            if old.is_none_or(|old| !old.looks_like(pod)) {
                let pid = |pid: Option<u32>| pid.map_or("down".to_owned(), |pid| pid.to_string());
                lines.push(format!(
                    "{}: {}{}{}, term {}, follows {}, store {}, sidecar {}",
                    pod.name,
                    pod.state,
                    if pod.leads { " (leader)" } else { "" },
                    pod.under_way.as_ref().map_or(String::new(), |(what, _)| format!(" ({what})")),
                    pod.term,
                    pod.follows,
                    pid(pod.store),
                    pid(pod.sidecar)
                ));
            }
        }
        for old in &before.pods {
            if !self.pods.iter().any(|pod| pod.name == old.name) {
                lines.push(format!("{}: gone", old.name));
            }
        }
        lines.extend(self.backup.as_ref().and_then(|backup| backup.change_since(before.backup.as_ref())));
        lines
    }
}

impl PodView {
    fn of(cluster: &Cluster, i: u16, runs: &mut Runs) -> PodView {
        let directory = cluster.shared_directory(i);
        let role: Option<RoleFile> = read(&directory.join(ROLE_FILE));
        // The pid first: a status that is read after it is of that process, or of an earlier one.
        let (store, sidecar) = (cluster.pid(i, Part::Store), cluster.pid(i, Part::Sidecar));
        let status: Option<StatusFile> = read(&directory.join(STATUS_FILE));
        let status = status.filter(|status| runs.is_present(i, store, status.incarnation));
        let state = status.as_ref().map(|status| status.state);
        let is_short = |status: &StatusFile| status.waits_for_room.is_some() || !status.out_of_room.is_empty();
        let under_way = status.as_ref().and_then(|status| {
            // A snapshot that is written is nothing that anybody waits for.
            let progress = status.progress.as_ref().filter(|progress| progress.what != Doing::Snapshot)?;
            let what = if progress.what == Doing::Join { "joins" } else { "starts" };
            Some((what, progress.words()))
        });
        PodView {
            name: cluster.pod_name(i),
            state: match &status {
                None if store.is_none() => "down".to_owned(),
                None => "starting".to_owned(),
                Some(status) if status.went_back.is_some() => "went back".to_owned(),
                Some(status) if status.diverged.is_some() => "diverged".to_owned(),
                // A leader that is out of room is shown as one by its colour.
                Some(status) if is_short(status) => "out of room".to_owned(),
                Some(status) => format!("{:?}", status.state).to_lowercase(),
            },
            under_way,
            leads: state == Some(State::Leading),
            term: status.as_ref().map_or(0, |status| status.promised.term),
            position: status
                .as_ref()
                .map_or("-".to_owned(), |status| format!("{}.{}", status.position.term, status.position.sequence)),
            follows: status
                .and_then(|status| status.following)
                .map(|claim| claim.name)
                .or_else(|| role.and_then(|role| role.leader).map(|leader| leader.name))
                .filter(|leader| *leader != cluster.pod_name(i))
                .unwrap_or_else(|| "-".to_owned()),
            store,
            sidecar,
        }
    }

    /// All but the position, and how far something is.
    fn looks_like(&self, other: &PodView) -> bool {
        let what = |pod: &PodView| pod.under_way.as_ref().map(|(what, _)| *what);
        what(self) == what(other)
            && (&self.state, self.leads, self.term, &self.follows, self.store, self.sidecar)
                == (&other.state, other.leads, other.term, &other.follows, other.store, other.sidecar)
    }
}

/// Whose status.json it is. The file outlives its process: a store that was killed as the leader would still be shown as
/// leading while the next one starts.
#[derive(Debug, Default)]
struct Runs(BTreeMap<u16, Run>);

#[derive(Debug, Default)]
struct Run {
    pid: Option<u32>,
    /// What the present process wrote.
    present: Option<Uuid>,
    /// What an earlier one did.
    earlier: Option<Uuid>,
}

impl Runs {
    /// Whether the store of pod `i`, which has this pid now, is the one that wrote a status of this incarnation.
    fn is_present(&mut self, i: u16, pid: Option<u32>, incarnation: Uuid) -> bool {
        let run = self.0.entry(i).or_default();
        if run.pid != pid {
            run.pid = pid;
            run.earlier = run.present.take().or(run.earlier);
        }
        if pid.is_none() || run.earlier == Some(incarnation) {
            return false;
        }
        run.present = Some(incarnation);
        true
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(state: &str, term: u64, position: &str) -> PodView {
        PodView {
            name: "database-cluster-0".to_owned(),
            state: state.to_owned(),
            under_way: None,
            leads: state == "leading",
            term,
            position: position.to_owned(),
            follows: "-".to_owned(),
            store: Some(1),
            sidecar: Some(2),
        }
    }

    fn view(pod: PodView) -> View {
        View { lease: "held by database-cluster-0, term 1".to_owned(), pods: vec![pod], backup: None }
    }

    #[test]
    fn its_flags_stand_in_the_reference_and_no_other_does() {
        let command = <Demo as clap::Args>::augment_args(clap::Command::new("demo"));
        let page = include_str!("../../docs/flags.md");
        let (_, section) = page.split_once("\n## `e2e demo`").unwrap();
        let mut flags = 0;
        for arg in command.get_arguments() {
            let default =
                arg.get_default_values().first().map_or(String::new(), |value| format!("`{}` ", value.display()));
            let row = format!("| `--{}` | `demo` | {default}|", arg.get_long().unwrap());
            assert!(section.contains(&row), "{row} is not in docs/flags.md");
            flags += 1;
        }
        assert_eq!(section.matches("| `--").count(), flags);
    }

    #[test]
    fn no_pods_are_refused() {
        let command = <Demo as clap::Args>::augment_args(clap::Command::new("demo"));
        let error = command.try_get_matches_from(["demo", "--replicas", "0"]).unwrap_err().to_string();
        assert!(error.contains("--replicas") && error.contains("1..=9"), "{error}");
    }

    #[test]
    fn a_line_is_a_change_and_a_position_is_none() {
        let before = view(pod("leading", 1, "1.5"));
        assert_eq!(view(pod("leading", 1, "1.900")).changes_since(&before), Vec::<String>::new());
        let lines = view(pod("leading", 2, "2.6")).changes_since(&before);
        assert_eq!(lines, ["database-cluster-0: leading (leader), term 2, follows -, store 1, sidecar 2"]);
        assert_eq!(view(pod("follower", 1, "1.5")).changes_since(&before).len(), 1);
    }

    #[test]
    fn that_a_pod_joins_is_a_change_and_how_far_it_is_is_none() {
        let joins = |percent: u32| PodView {
            under_way: Some(("joins", format!("joins {percent} %"))),
            ..pod("learner", 1, "1.5")
        };
        let before = view(joins(42));
        let lines = before.changes_since(&view(pod("learner", 1, "1.5")));
        assert_eq!(lines, ["database-cluster-0: learner (joins), term 1, follows -, store 1, sidecar 2"]);
        assert_eq!(view(joins(43)).changes_since(&before), Vec::<String>::new());
        assert!(view(joins(43)).table().contains(" joins 43 % "), "{}", view(joins(43)).table());
    }

    #[test]
    fn what_a_killed_store_wrote_is_not_shown_as_the_next_ones() {
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut runs = Runs::default();
        assert!(runs.is_present(0, Some(10), first));
        // Killed; down; started again, and nothing written yet; then it has.
        assert!(!runs.is_present(0, None, first));
        assert!(!runs.is_present(0, Some(11), first));
        assert!(!runs.is_present(0, Some(11), first));
        assert!(runs.is_present(0, Some(11), second));
        // Between two looks it was killed and started again.
        assert!(!runs.is_present(0, Some(12), second));
        assert!(!runs.is_present(0, Some(13), second), "the one in between wrote nothing");
        assert!(runs.is_present(1, Some(14), second), "another pod");
    }
}
