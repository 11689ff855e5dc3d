//! What is compared: each a cluster of processes on loopback that is started, asked, hurt and removed the same way.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use leasehold_testkit::ask_until;
use rustix::process::Signal;

use super::{
    capability::Capability,
    etcd,
    job::Protocol,
    machine,
    ours::Ours,
    place::{LOOK, Place},
    redis,
};

/// A system of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub(super) enum Kind {
    /// Our store with its sidecars: 3 nodes, a majority has it on disk.
    Leasehold,
    /// etcd: 3 nodes, a majority has it on disk.
    Etcd,
    /// Redis: a master with `appendfsync always` and 2 such replicas, `WAIT 1 0` after each write.
    RedisWait,
    /// The same Redis without WAIT: on the master's disk only.
    Redis,
    /// One process, one JSON file that is rewritten for each write.
    Floor,
}

impl Kind {
    pub(super) const ALL: [Kind; 5] = [Kind::Leasehold, Kind::Etcd, Kind::RedisWait, Kind::Redis, Kind::Floor];

    /// As tables and plots name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Leasehold => "Leasehold",
            Kind::Etcd => "etcd",
            Kind::RedisWait => "Redis + WAIT 1",
            Kind::Redis => "Redis, no WAIT",
            Kind::Floor => "one JSON file",
        }
    }

    pub(super) fn protocol(self) -> Protocol {
        match self {
            Kind::Leasehold | Kind::Floor => Protocol::Http,
            Kind::Etcd => Protocol::Etcd,
            Kind::RedisWait => Protocol::RedisWait,
            Kind::Redis => Protocol::Redis,
        }
    }
}

/// Where the peers' programs are.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    /// Folders that are searched before PATH.
    pub(super) folders: Vec<PathBuf>,
}

impl Peers {
    /// The program, or how to get it.
    pub(super) fn find(&self, name: &str, how: &str) -> Result<PathBuf, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = self.folders.iter().cloned().chain(std::env::split_paths(&path)).map(|folder| folder.join(name));
        found.into_iter().find(|file| file.is_file()).ok_or_else(|| format!("no program {name:?}: {how}"))
    }

    pub(super) fn etcd(&self) -> Result<PathBuf, String> {
        self.find("etcd", "make it by e2e/bench/peers/build.sh")
    }

    pub(super) fn etcd_load(&self) -> Result<PathBuf, String> {
        self.find("etcd-load", "make it by e2e/bench/peers/build.sh")
    }

    pub(super) fn elector(&self) -> Result<PathBuf, String> {
        self.find("elector", "make it by e2e/bench/peers/build.sh")
    }

    pub(super) fn crowd(&self) -> Result<PathBuf, String> {
        self.find("crowd", "make it by e2e/bench/peers/build.sh")
    }

    pub(super) fn redis(&self) -> Result<PathBuf, String> {
        self.find("redis-server", "Debian: apt-get install redis-server")
    }

    /// Why a system cannot be measured here.
    pub(super) fn missing(&self, kind: Kind) -> Option<String> {
        match kind {
            Kind::Etcd => self.etcd().err().or(self.etcd_load().err()),
            Kind::Redis | Kind::RedisWait => self.redis().err(),
            Kind::Leasehold | Kind::Floor => None,
        }
    }
}

/// A running system. Dropping it ends its processes and removes its folders.
#[derive(Debug)]
pub(super) struct System {
    pub(super) kind: Kind,
    body: Body,
    /// Redis: Sentinels are there.
    watched: bool,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
enum Body {
    Ours(Ours),
    Peers(Place),
}

/// Waits here are about big data on a slow disk, too.
const PATIENCE: Duration = Duration::from_secs(300);

impl System {
    /// Starts three nodes (the floor: one) and waits until they work. The floor starts with this many records.
    pub(super) async fn start(kind: Kind, peers: &Peers, floor_records: u64) -> anyhow::Result<System> {
        let missing = |why: String| anyhow::anyhow!(why);
        let body = match kind {
            Kind::Leasehold => Body::Ours(Ours::start()?),
            Kind::Etcd => {
                let (mut place, program) = (Place::new()?, peers.etcd().map_err(missing)?);
                for i in 0..3 {
                    let args = etcd::args(&place, i, 3, "new")?;
                    place.start(&program, args)?;
                }
                Body::Peers(place)
            }
            Kind::Redis | Kind::RedisWait => {
                let (mut place, program) = (Place::new()?, peers.redis().map_err(missing)?);
                for i in 0..3 {
                    let args = redis::args(&place, i)?;
                    place.start(&program, args)?;
                }
                Body::Peers(place)
            }
            Kind::Floor => {
                let mut place = Place::new()?;
                let (port, file) = (place.client(0).port().to_string(), place.data(0)?.join("persons.json"));
                let mut args = vec!["floor".to_owned(), "--port".to_owned(), port, "--file".to_owned()];
                args.extend([file.display().to_string(), "--records".to_owned(), floor_records.to_string()]);
                place.start(&std::env::current_exe()?, args)?;
                Body::Peers(place)
            }
        };
        let system = System { kind, body, watched: false };
        system.settle().await?;
        Ok(system)
    }

    /// Starts what makes another node the leader when this one is lost, if the system needs that: Sentinels.
    pub(super) async fn watch_over(&mut self, peers: &Peers) -> anyhow::Result<()> {
        if let (Body::Peers(place), Kind::Redis | Kind::RedisWait) = (&mut self.body, self.kind) {
            let program = peers.redis().map_err(|why| anyhow::anyhow!(why))?;
            for i in 0..redis::SENTINELS {
                let args = redis::sentinel_args(place, i)?;
                place.start_helper(&program, args)?;
            }
            self.watched = true;
        }
        self.settle().await
    }

    /// Waits until all nodes are there, agree on a leader and have caught up.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        let settled = match &self.body {
            Body::Ours(ours) => ours.settle().await,
            Body::Peers(place) => {
                ask_until("all nodes work", PATIENCE, LOOK, || async {
                    match self.kind {
                        Kind::Etcd => etcd::settled(place).await.map(drop),
                        Kind::Redis | Kind::RedisWait if self.watched => redis::watched(place).await,
                        Kind::Redis | Kind::RedisWait => redis::settled(place).await.map(drop),
                        Kind::Floor | Kind::Leasehold => {
                            tokio::net::TcpStream::connect(place.client(0)).await?;
                            Ok(())
                        }
                    }
                })
                .await
            }
        };
        settled.with_context(|| format!("{} does not work:\n{}", self.kind.name(), self.last_words()))
    }

    /// Which node leads.
    pub(super) async fn leader(&self) -> anyhow::Result<usize> {
        match (&self.body, self.kind) {
            (Body::Ours(ours), _) => ours.leader().await,
            (Body::Peers(place), Kind::Etcd) => etcd::settled(place).await,
            (Body::Peers(place), Kind::Redis | Kind::RedisWait) => redis::settled(place).await,
            (Body::Peers(_), _) => Ok(0),
        }
    }

    /// Where clients ask, node by node.
    pub(super) fn nodes(&self) -> Vec<SocketAddr> {
        match &self.body {
            Body::Ours(ours) => ours.nodes(),
            Body::Peers(place) => (0..place.count()).map(|i| place.client(i)).collect(),
        }
    }

    /// All its processes, sidecars included.
    pub(super) fn pids(&self) -> Vec<u32> {
        match &self.body {
            Body::Ours(ours) => ours.pids(),
            Body::Peers(place) => (0..place.count()).filter_map(|i| place.pid(i)).collect(),
        }
    }

    /// What its processes have used of the processors so far.
    pub(super) fn cpu_seconds(&self) -> f64 {
        self.pids().into_iter().map(machine::cpu_seconds).sum()
    }

    /// The memory of its largest process, without pages of files.
    pub(super) fn resident_bytes(&self) -> f64 {
        self.pids().into_iter().map(machine::resident_bytes).fold(0.0, f64::max)
    }

    /// Sends a signal to the store of a node. What it ends is started again after a second.
    pub(super) fn signal(&self, node: usize, signal: Signal) -> anyhow::Result<()> {
        match &self.body {
            Body::Ours(ours) => ours.signal(node, signal),
            Body::Peers(place) => place.signal(node, signal),
        }
    }

    /// Ends a node as its operator would.
    pub(super) async fn end_gracefully(&self, node: usize) -> anyhow::Result<()> {
        match &self.body {
            Body::Ours(ours) => ours.delete_pod(node),
            Body::Peers(place) if self.watched => {
                redis::hand_over(place, node).await?;
                place.signal(node, Signal::TERM)
            }
            Body::Peers(place) => place.signal(node, Signal::TERM),
        }
    }

    /// Kills a node and starts it: how long until it gives out the record number `last` itself.
    pub(super) async fn restart(&self, node: usize, last: u64) -> anyhow::Result<Duration> {
        let begin = match &self.body {
            Body::Ours(ours) => ours.restart(node)?,
            Body::Peers(place) => {
                place.kill_and_hold(node)?;
                let begin = Instant::now();
                place.start_again(node);
                begin
            }
        };
        self.serves(node, last, begin).await
    }

    /// A fourth node with an empty volume: how long until it gives out the record number `last` itself.
    pub(super) async fn join(&mut self, peers: &Peers, last: u64) -> anyhow::Result<Duration> {
        let mut begin = Instant::now();
        match (&mut self.body, self.kind) {
            (Body::Ours(ours), _) => ours.scale(4)?,
            (Body::Peers(place), Kind::Etcd) => {
                let program = peers.etcd().map_err(|why| anyhow::anyhow!(why))?;
                // After a restart it accepts no new member for some seconds. That is not the new one's time.
                ask_until("etcd takes a fourth member", PATIENCE, LOOK, || etcd::add_member(place, 3)).await?;
                begin = Instant::now();
                let args = etcd::args(place, 3, 4, "existing")?;
                place.start(&program, args)?;
            }
            (Body::Peers(place), Kind::Redis | Kind::RedisWait) => {
                let program = peers.redis().map_err(|why| anyhow::anyhow!(why))?;
                let args = redis::args(place, 3)?;
                place.start(&program, args)?;
            }
            (Body::Peers(_), _) => bail!("nothing joins it"),
        }
        self.serves(3, last, begin).await
    }

    async fn serves(&self, node: usize, last: u64, begin: Instant) -> anyhow::Result<Duration> {
        ask_until("the node gives out the last record", PATIENCE, LOOK, || async {
            match &self.body {
                Body::Ours(ours) => ours.serves(node, last).await,
                Body::Peers(place) => match self.kind {
                    Kind::Etcd => etcd::serves(place.client(node), last).await,
                    Kind::Redis | Kind::RedisWait => redis::serves(place.client(node), last).await,
                    Kind::Floor | Kind::Leasehold => super::ours::serves_at(place.client(node), last).await,
                },
            }
        })
        .await
        .with_context(|| self.last_words())?;
        Ok(begin.elapsed())
    }

    /// Whether our store accepts `POST /persons:batch` and `?consistency=strong`; the others' answers are known.
    pub(super) async fn has(&self, capability: Capability) -> Result<(), String> {
        match (&self.body, capability) {
            (Body::Ours(ours), _) => ours.has(capability).await,
            (Body::Peers(_), Capability::Strong) => match self.kind {
                Kind::Redis | Kind::RedisWait => Err("Redis has no linearizable reads".into()),
                _ => Ok(()),
            },
            (Body::Peers(_), Capability::Batch) => match self.kind {
                Kind::Floor => Err("it has no batches".into()),
                _ => Ok(()),
            },
        }
    }

    /// The embedded API of our cluster, for outages.
    pub(super) fn api(&self) -> Option<&leasehold_api::ApiServer> {
        match &self.body {
            Body::Ours(ours) => Some(ours.api()),
            Body::Peers(_) => None,
        }
    }

    fn last_words(&self) -> String {
        match &self.body {
            Body::Ours(ours) => ours.report(),
            Body::Peers(place) => {
                let words = (0..place.count()).map(|i| format!("==== node {i}\n{}", place.last_words(i)));
                words.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// A folder beside this crate, where it was built.
pub(super) fn beside(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
