//! How a cluster is made, and where its programs are.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use anyhow::{Context, bail};

use super::{Disks, Network, Ports, network::HUB};
use crate::client::Http;

/// What runs beside the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// Our store.
    Store,
    /// Nothing: the reader of role.json is the test.
    Plain,
}

/// One of a pod's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The store.
    Store,
    /// The sidecar.
    Sidecar,
}

impl Part {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Part::Store => "store",
            Part::Sidecar => "sidecar",
        }
    }
}

/// A program of one build, as a container's image and its own arguments are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// Flags for this build alone, after those of all: an older one does not know each of them.
    pub args: Vec<String>,
}

impl Program {
    /// Without flags of its own.
    pub fn at(path: PathBuf) -> Program {
        Program { path, args: Vec::new() }
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The store that pods begin with: see [`Cluster::set_program`](super::Cluster::set_program).
    pub store: Program,
    /// The sidecar that pods begin with.
    pub sidecar: Program,
    pub(super) e2e: PathBuf,
}

impl Programs {
    /// One of them.
    pub fn of(&self, part: Part) -> &Program {
        match part {
            Part::Store => &self.store,
            Part::Sidecar => &self.sidecar,
        }
    }

    /// Store and sidecar, beside this executable, where Cargo puts all of a workspace's binaries of one profile.
    ///
    /// # Errors
    /// One is missing; says how to make it.
    pub fn find() -> anyhow::Result<Programs> {
        let (store, sidecar) = (Programs::beside("store")?, Programs::beside("sidecar")?);
        let e2e = store.with_file_name("e2e");
        Ok(Programs { store: Program::at(store), sidecar: Program::at(sidecar), e2e })
    }

    /// One of the workspace's programs, which lies beside this executable.
    ///
    /// # Errors
    /// It is missing; says how to make it.
    pub fn beside(name: &str) -> anyhow::Result<PathBuf> {
        let this = std::env::current_exe().context("this executable has no path")?;
        let folder = this.parent().context("this executable lies in no folder")?;
        // A test executable lies one folder deeper.
        let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
        let path = folder.join(name);
        if !path.is_file() {
            let release = if folder.ends_with("release") { " --release" } else { "" };
            bail!("{} is missing: run `cargo build --locked --bins{release}` first", path.display());
        }
        Ok(path)
    }
}

/// How a cluster is made.
#[derive(Debug)]
pub struct Config {
    /// How many pods at first.
    pub replicas: u16,
    /// What runs in them.
    pub app: App,
    /// The Lease's duration, in the format of the sidecar's flag.
    pub lease_duration: String,
    /// After which time a program that ended is started again.
    pub restart_after: Duration,
    /// The pods' grace period.
    pub grace: Duration,
    /// How long a store that drains serves on at least.
    pub drain_min: Duration,
    /// Which ports.
    pub ports: Ports,
    /// What a new cluster begins with, as `--initial-data` has it; none: the persons of all tests.
    pub initial_data: Option<serde_json::Value>,
    /// The command that prepares an empty volume from an archive, without what names the pod and its volume: what the chart's
    /// init container runs. Here it runs before each start of a store, which is more often than there.
    pub restore: Option<Vec<String>>,
    /// Where the folders go, and stay; none: a temporary place.
    pub folder: Option<PathBuf>,
    /// How the stores are asked: in TLS and with a token where their flags say so.
    pub http: Http,
    /// More flags for the stores.
    pub store_args: Vec<String>,
    /// More flags for the sidecars.
    pub sidecar_args: Vec<String>,
    /// Where the programs are.
    pub programs: Programs,
    /// What stands between the pods and this machine, so that it can fail.
    pub machine: Machine,
    /// False: the names by which pods reach each other lead nowhere. An EndpointSlice says where the pods are.
    pub dns: bool,
}

/// Networks and disks that fail on command. The default: those of this machine, which do not.
#[derive(Debug, Default)]
pub struct Machine {
    /// A network of the pods' own; else all of them are on loopback.
    pub network: Option<Network>,
    /// Disks that are slow, full or failing.
    pub disks: Option<Disks>,
}

impl Config {
    /// Where pod `i` is reached.
    pub(super) fn host(&self, i: u16) -> Ipv4Addr {
        if self.machine.network.is_some() { Network::host(i) } else { Ipv4Addr::LOCALHOST }
    }

    /// Where the embedded API is reached.
    pub(super) fn hub(&self) -> Ipv4Addr {
        if self.machine.network.is_some() { HUB } else { Ipv4Addr::LOCALHOST }
    }

    /// Where replicas reach each other: on loopback by number, or by a name that nobody knows.
    pub(super) fn peer_address(&self) -> String {
        let by_number = self.ports.member_peer_address();
        if self.dns { self.member_address(by_number) } else { by_number.replacen("127.0.0.1", "{name}.invalid", 1) }
    }

    /// A template of members' addresses on loopback, equal to the one on the pods' own network.
    pub(super) fn member_address(&self, on_loopback: String) -> String {
        match self.machine.network {
            Some(_) => on_loopback.replacen("127.0.0.1", Network::HOSTS, 1),
            None => on_loopback,
        }
    }

    /// A cluster as the tests want it: free ports, a Lease of 3 s.
    ///
    /// # Errors
    /// No ports, or no programs.
    pub fn for_tests(replicas: u16) -> anyhow::Result<Config> {
        Ok(Config {
            replicas,
            app: App::Store,
            lease_duration: "3s".into(),
            restart_after: Duration::from_secs(1),
            grace: Duration::from_secs(60),
            drain_min: Duration::from_secs(1),
            ports: Ports::claim()?,
            initial_data: None,
            restore: None,
            folder: None,
            http: Http::default(),
            store_args: Vec::new(),
            sidecar_args: Vec::new(),
            programs: Programs::find()?,
            machine: Machine::default(),
            dns: true,
        })
    }
}
