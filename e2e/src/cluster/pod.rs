//! One pod: its folders, its two programs, and its life from creation to removal.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use leasehold_api::{ApiServer, Kind};
use leasehold_contract::ROLE_FILE;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    App, Config, Part, Programs,
    names::{LEASE, NAMESPACE, SERVICE, STATEFUL_SET},
    process::{Process, Spec},
};

/// A pod that exists.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) ordinal: u16,
    folder: PathBuf,
    sidecar: Process,
    /// None for a plain app: there the test is the app.
    store: Option<Process>,
    life: Life,
}

#[derive(Debug)]
enum Life {
    Running,
    /// The store got SIGTERM; the sidecar, a native one, gets it when the store has ended.
    StoreEnding {
        deadline: Instant,
    },
    SidecarEnding {
        deadline: Instant,
    },
}

impl Pod {
    /// The name of the pod with this ordinal.
    pub(super) fn name_of(ordinal: u16) -> String {
        format!("{STATEFUL_SET}-{ordinal}")
    }

    /// Makes the folders, the Pod object and the programs, and starts them. A volume that is there already is kept.
    pub(super) fn create(
        config: &Config,
        programs: &Programs,
        root: &Path,
        api: &ApiServer,
        ordinal: u16,
    ) -> anyhow::Result<Pod> {
        let name = Pod::name_of(ordinal);
        let folder = root.join(&name);
        // The shared directory is an emptyDir: a new pod never finds anything in it.
        let _ = std::fs::remove_dir_all(folder.join("shared"));
        for part in ["data", "shared"] {
            std::fs::create_dir_all(folder.join(part)).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let kubeconfig = folder.join("kubeconfig");
        std::fs::write(&kubeconfig, api.kubeconfig(&name, NAMESPACE).to_string())?;
        // A name that still exists belongs to a pod that is ending; the controller runs this only when it is gone.
        let set = api.get(Kind::StatefulSet, NAMESPACE, STATEFUL_SET).unwrap_or(Value::Null);
        let revision = set["status"]["updateRevision"].as_str().unwrap_or("").to_owned();
        let _ = api.create(Kind::Pod, NAMESPACE, &pod_object(config, &name, ordinal, &revision));

        let process = |part: Part, args: Vec<String>| {
            let program = programs.of(part);
            let mut command = match &config.machine.network {
                Some(network) => network.enter(ordinal)?,
                None => Vec::new(),
            };
            let started =
                [program.path.display().to_string()].into_iter().chain(args).chain(program.args.iter().cloned());
            match config.restore.as_ref().filter(|_| part == Part::Store) {
                None => command.extend(started),
                Some(restore) => command.extend(prepared(restore, &folder, &name, started)),
            }
            let environment = match &config.machine.disks {
                Some(disks) if part == Part::Store => disks.environment(ordinal, &folder.join("data"))?,
                _ => Vec::new(),
            };
            Process::new(Spec {
                program: command.remove(0).into(),
                args: command,
                environment,
                log: folder.join(format!("{}.log", part.word())),
                pids: root.join("pids"),
                restart_after: config.restart_after,
            })
        };
        let sidecar = process(Part::Sidecar, sidecar_args(config, &folder, &name, ordinal))?;
        let store = match config.app {
            App::Store => Some(process(Part::Store, store_args(config, root, &name, ordinal, &revision))?),
            App::Plain => None,
        };
        sidecar.start();
        if let Some(store) = &store {
            store.start();
        }
        Ok(Pod { name, ordinal, folder, sidecar, store, life: Life::Running })
    }

    pub(super) fn process(&self, part: Part) -> Option<&Process> {
        match part {
            Part::Sidecar => Some(&self.sidecar),
            Part::Store => self.store.as_ref(),
        }
    }

    pub(super) fn shared(&self) -> PathBuf {
        self.folder.join("shared")
    }

    pub(super) fn is_ending(&self) -> bool {
        !matches!(self.life, Life::Running)
    }

    /// Begins the graceful end, as a kubelet does for a pod with a native sidecar.
    pub(super) fn end(&mut self, grace: Duration) {
        if self.is_ending() {
            return;
        }
        self.life = Life::StoreEnding { deadline: Instant::now() + grace };
        if let Some(store) = &self.store {
            store.unwant();
            store.signal(Signal::TERM);
        }
    }

    /// Takes the end one step on. True: both programs are gone.
    pub(super) fn step_end(&mut self) -> bool {
        match self.life {
            Life::Running => false,
            Life::StoreEnding { deadline } => {
                if let Some(store) = self.store.as_ref().filter(|store| store.pid().is_some()) {
                    if Instant::now() >= deadline {
                        store.signal(Signal::KILL);
                    }
                    return false;
                }
                self.sidecar.unwant();
                self.sidecar.signal(Signal::TERM);
                // A kubelet gives sidecars what is left of the period, and never less than two seconds.
                self.life = Life::SidecarEnding { deadline: deadline.max(Instant::now() + Duration::from_secs(2)) };
                false
            }
            Life::SidecarEnding { deadline } => {
                if self.sidecar.pid().is_some() {
                    if Instant::now() >= deadline {
                        self.sidecar.signal(Signal::KILL);
                    }
                    return false;
                }
                true
            }
        }
    }

    /// What a removed pod leaves behind: the volume, and here the logs. The shared directory goes with the pod.
    pub(super) fn remove(self, api: &ApiServer) {
        let _ = api.delete(Kind::Pod, NAMESPACE, &self.name, &json!({"gracePeriodSeconds": 0}));
        let shared = self.shared();
        drop(self.sidecar);
        drop(self.store);
        let _ = std::fs::remove_dir_all(shared);
    }
}

fn pod_object(config: &Config, name: &str, ordinal: u16, revision: &str) -> Value {
    let host = config.host(ordinal);
    json!({
        "metadata": {"name": name, "labels": {
            "app.kubernetes.io/name": "leasehold", "app.kubernetes.io/instance": "database",
            "apps.kubernetes.io/pod-index": ordinal.to_string(),
            "statefulset.kubernetes.io/pod-name": name, "controller-revision-hash": revision,
        }},
        "spec": {
            "containers": [{"name": "store"}],
            "initContainers": [{"name": "sidecar", "restartPolicy": "Always"}],
        },
        "status": {"phase": "Running", "podIP": host, "podIPs": [{"ip": host}]},
    })
}

/// The store behind the command that prepares its volume.
fn prepared(restore: &[String], folder: &Path, name: &str, store: impl Iterator<Item = String>) -> Vec<String> {
    let prepare = Args(restore.to_vec())
        .with("--to", folder.join("data").display())
        .with("--role", folder.join("shared").join(ROLE_FILE).display())
        .with("--name", name)
        .0;
    let script = "\"${@:2:$1}\"; exec \"${@:$1+2}\"";
    let before = ["bash", "-ec", script, "prepare"].map(str::to_owned);
    before.into_iter().chain([prepare.len().to_string()]).chain(prepare).chain(store).collect()
}

fn sidecar_args(config: &Config, folder: &Path, name: &str, ordinal: u16) -> Vec<String> {
    let ports = &config.ports;
    let mut args = Args::default()
        .with("--directory", folder.join("shared").display())
        .with("--namespace", NAMESPACE)
        .with("--lease", LEASE)
        .with("--name", name)
        .with("--app", if config.app == App::Store { "fencing" } else { "plain" })
        .with("--stateful-set", STATEFUL_SET)
        .with("--service", SERVICE)
        .with("--leader-service", "database-leader")
        .with("--member-address", config.member_address(ports.member_address()))
        .with("--member-peer-address", config.peer_address())
        .with("--member-sidecar-address", config.member_address(ports.member_sidecar_address()))
        .with("--listen", format!("{}:{}", config.host(ordinal), ports.sidecar(ordinal)))
        .with("--lease-duration", &config.lease_duration)
        .with("--grace-period", format!("{}s", config.grace.as_secs()))
        .with("--kubeconfig", folder.join("kubeconfig").display())
        .0;
    args.extend(config.sidecar_args.iter().cloned());
    args
}

fn store_args(config: &Config, root: &Path, name: &str, ordinal: u16, revision: &str) -> Vec<String> {
    let (ports, folder, host) = (&config.ports, root.join(name), config.host(ordinal));
    let mut args = Args::default()
        .with("--data", folder.join("data").display())
        .with("--directory", folder.join("shared").display())
        .with("--name", name)
        .with("--revision", revision)
        .with("--listen", format!("{host}:{}", ports.store(ordinal)))
        .with("--peer-listen", format!("{host}:{}", ports.peer(ordinal)))
        .with("--initial-data", root.join("initial.json").display())
        .with("--grace-period", format!("{}s", config.grace.as_secs()))
        .with("--drain-min", format!("{}ms", config.drain_min.as_millis()))
        .0;
    args.extend(config.store_args.iter().cloned());
    args
}

#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn with(mut self, flag: &str, value: impl ToString) -> Args {
        self.0.extend([flag.to_owned(), value.to_string()]);
        self
    }
}
