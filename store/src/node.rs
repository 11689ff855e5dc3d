//! The composition root: puts the parts of a store together, and ends them in order.
//!
//! ```text
//!   Node::start   bind the ports ▶ HTTP is up (alive, not ready)
//!   Node::ended   runs to the end: status.lock ▶ status.json `starting` ▶ the volume ▶ the driver ▶ … ▶ it ends
//!                 ▶ its last status.json ▶ the servers end ▶ the lock is let go: the sidecar knows
//! ```
//!
//! Every part that lives as long as the process is a task with a name ([`Part`]). None of them may end unseen: if one ends
//! before the driver, the node ends with an error that names it.

mod error;
mod parts;
mod serving;

use std::sync::Arc;
use std::time::Duration;

use leasehold_contract::{State, StatusFile};
use leasehold_daemon::reload;
use leasehold_daemon::serve::{BindError, Entrance, Farewell, bind};
use leasehold_replication::{ClusterId, Incarnation, PeerState, begins_anew};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::api::initial_data::InitialData;
use crate::api::{Probes, farewells};
use crate::args::Config;
use crate::driver::{self, Driver, JOURNAL_EVENTS_MAX};
use crate::handle::{self, HandleServer};
use crate::opening;
use crate::peer::{EVENTS_MAX, Listener, PeerConfig, PeerEvent, Peers};
use crate::progress;
use crate::role::{self, RoleReceiver};
use crate::room::{Limits as RoomLimits, machine};
use crate::shares::Shares;
use crate::status;
use crate::steward::file::FileError;
use crate::steward::{self, file};
use crate::telemetry::Metrics;
use crate::volume::disk::watch::DiskWatch;
use crate::volume::journal::JournalEvent;
use crate::volume::{self, Opened};
use crate::wall_clock;
use leasehold_documents::{CollectionsFile, FORMAT};

pub use error::{NodeError, Part};
use parts::Parts;
use serving::{Serving, serve_clients};

/// How long the sidecar has for a transfer of the Lease before the hand-over is undone.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);
/// How many bytes of durable and applied entries stay in memory, for followers that are a little behind; but no more than a
/// sixteenth of what the data may use.
const LOG_MEMORY_BYTES: usize = 16 * 1024 * 1024;
/// How many bytes of entries one turn of the driver applies: some milliseconds of work.
const APPLY_BYTES_MAX: usize = 256 * 1024;
/// How long writing the last status.json may take.
const LAST_STATUS_MAX: Duration = Duration::from_secs(2);

/// The sockets, in the order of the flags.
struct Ports {
    clients: TcpListener,
    peers: TcpListener,
    probes: Option<TcpListener>,
}

impl Ports {
    fn open(config: &Config, clients: &runtime::Handle) -> Result<Ports, BindError> {
        let bind_clients = || {
            let _its_events_go_there = clients.enter();
            bind(config.listen)
        };
        let clients = bind_clients()?;
        let probes = config.probe_listen.map(bind).transpose()?;
        Ok(Ports { clients, peers: bind(config.peer_listen)?, probes })
    }
}

/// What the driver needs of the peer port.
struct PeerEnds {
    config: PeerConfig,
    sender: mpsc::Sender<PeerEvent>,
    events: mpsc::Receiver<PeerEvent>,
    state: watch::Sender<Option<PeerState>>,
}

/// A store that serves HTTP, and is about to open its volume.
pub struct Node {
    config: Config,
    parts: Parts,
    core: Core,
    disk: Arc<DiskWatch>,
    metrics: Metrics,
    /// The definitions that an operator wants.
    file: Option<Arc<CollectionsFile>>,
    /// Why there are none, though a file of them is named.
    wrong_file: Option<FileError>,
    /// The end of the servers.
    stop_http: CancellationToken,
}

/// The driver's parts besides what was found on the volume.
struct Core {
    incarnation: Incarnation,
    room: RoomLimits,
    handle: HandleServer,
    peers: PeerEnds,
    /// A request to end, from outside.
    stop: CancellationToken,
    /// No client is served any longer.
    unserved: CancellationToken,
}

impl Node {
    /// Opens the ports and serves: alive for the probes, not ready, and honest about what it waits for. Clients are served
    /// on the runtime `clients`, everything else on the present one. `stop`: drain, and end.
    ///
    /// # Errors
    /// [`NodeError`], before anything was touched.
    pub async fn start(config: Config, clients: &runtime::Handle, stop: CancellationToken) -> Result<Node, NodeError> {
        let limit = leasehold_daemon::descriptors::raise().map_err(NodeError::Descriptors)?;
        let shares = Shares::of(limit, config.connections_max)?;
        let ports = Ports::open(&config, clients)?;
        let trust = config.trust.open(&config.name)?;
        // Only a first start needs it: a value that is wrong must not end pods that serve.
        let (file, wrong_file) = match config.collections_file.as_deref().map(file::read) {
            Some(Err(wrong)) => (None, Some(wrong)),
            Some(Ok(file)) => (Some(file), None),
            None => (None, None),
        };
        let incarnation = Incarnation(Uuid::new_v4());
        log_start(&config, incarnation, limit, &shares);
        trust.log();

        let metrics = Metrics::new();
        let disk = Arc::new(DiskWatch::new(config.disk_stall));
        let room = room_limits(&config);
        let (api, handle) =
            handle::handle_within(&config.name, incarnation, config.watch_history, disk.clone(), room.memory_bytes);
        let counted = metrics.clone();
        let mut peer_config = PeerConfig::new(config.lost_time, move |reason| counted.peer_rejected(reason));
        peer_config.trust = trust.peers.clone();
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let (state, states) = watch::channel(None);

        let serving = Serving {
            config: &config,
            trust: &trust,
            shares: &shares,
            metrics: &metrics,
            api: &api,
            file: file.as_ref(),
        };
        let (mut parts, farewell) = (Parts::default(), Farewell::default());
        let (stop_http, unserved) = (CancellationToken::new(), CancellationToken::new());
        let (entrance, handing) = Entrance::with_handing(ports.clients);
        let calls = serving.calls();
        let service = serving.forwarding(calls.clone(), peer_config.clone());
        let server = serving.clients(farewell.leaving(), stop_http.child_token());
        let server = serve_clients(server, entrance, service, api.clone(), (stop_http.clone(), unserved.clone()));
        parts.spawn_on(clients, Part::ClientsServer, server);
        // On the core's thread: its own reports must not wait for the clients' work.
        if let Some(socket) = ports.probes {
            parts.spawn(Part::ProbesServer, serving.probes(stop_http.clone()).run(socket, Probes::new(calls)));
        }
        let listener = Listener::new(peer_config.clone(), sender.clone(), states).handing_over_to(handing);
        let server = serving.peers(&listener, stop_http.clone());
        parts.spawn(Part::PeersServer, server.run_filter(ports.peers, listener.routes()));
        let applier = file.clone().map(|file| file::Applier::new(api.clone(), file, &config.revision, metrics.clone()));
        parts.spawn(Part::Steward, steward::run(api.clone(), applier));
        parts.spawn(Part::Farewells, farewells::say(api, farewell, stop.clone()));
        parts.spawn(Part::Reload, reload::keep_up_to_date(trust.reloads()));
        let peers = PeerEnds { config: peer_config, sender, events, state };
        let core = Core { incarnation, room, handle, peers, stop, unserved };
        Ok(Node { config, parts, core, disk, metrics, file, wrong_file, stop_http })
    }

    /// Opens the volume and runs, until the replica is drained or a part has ended. By then status.json has its last
    /// content, and the servers have ended.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn ended(mut self) -> Result<(), NodeError> {
        // The lock before the first status.json: a reader of this incarnation thus knows that it is alive.
        self.core.handle.set_starting("status.lock in the directory shared with the sidecar");
        let (stop, incarnation) = (self.core.stop.clone(), self.core.incarnation);
        let lock = tokio::select! {
            lock = status::lock(&self.config.directory) => lock,
            () = stop.cancelled() => return ended_while_starting(),
        };
        let (status_file, latest) = watch::channel(status::starting(incarnation));
        self.parts.spawn(Part::Status, status::write(self.config.directory.clone(), latest));
        let (sender, journal_events) = mpsc::channel(JOURNAL_EVENTS_MAX);
        let options = self.volume_options(sender);
        let opened = tokio::select! {
            opened = opening::open(&self.config.data, options, &self.disk, &self.core.handle, &status_file) => opened,
            () = stop.cancelled() => return ended_while_starting(),
        };
        let opened = opened.map_err(NodeError::Opening).and_then(|opened| Ok(opened?));
        let wrong_file = self.wrong_file.take();
        let opened = opened.and_then(|opened| {
            let is_first = begins_anew(&opened.recovered, opened.force_bootstrap);
            match wrong_file {
                Some(wrong) if is_first => return Err(wrong.into()),
                Some(wrong) => {
                    error!(error = %wrong, "cannot read the collections file; the definitions stay as they are")
                }
                None => {}
            }
            let needs_data = is_first && opened.restored.is_none();
            if is_first && !needs_data && self.config.initial_data.is_some() {
                info!("a first start begins with restore.json: the initial data are not used");
            }
            Ok((self.initial_data(needs_data)?, opened))
        });
        let Node { config, mut parts, core, stop_http, .. } = self;
        let ended = match opened {
            Err(failure) => {
                status_file.send_replace(StatusFile { state: State::Failed, ..status::starting(incarnation) });
                drop(status_file);
                Err(failure)
            }
            Ok((initial_data, opened)) => {
                let (role_sender, role) = watch::channel(None);
                let (directory, name) = (config.directory.clone(), config.name.clone());
                parts.spawn(Part::Role, async move { role::watch(&directory, &name, role_sender).await });
                // The driver's ends of channels that other tasks watch: these must not end when the driver does.
                let _kept = (role.clone(), status_file.clone());
                parts.spawn_driver(core.driver(&config, opened, initial_data, (journal_events, role, status_file)));
                parts.first_to_end().await
            }
        };
        // The driver is gone, and with it the sender of status.json: its writer writes the last status and ends.
        stop_http.cancel();
        if tokio::time::timeout(LAST_STATUS_MAX, parts.all_ended(&[Part::Status])).await.is_err() {
            warn!("cannot write the last status.json in time");
        }
        // Each has a bound of its own.
        parts.all_ended(&[Part::ClientsServer, Part::PeersServer, Part::ProbesServer]).await;
        drop(lock); // from here on the sidecar knows
        ended
    }

    /// For each try to open the volume.
    fn volume_options(&self, events: mpsc::Sender<JournalEvent>) -> impl FnMut() -> volume::Options + Send + use<> {
        let (metrics, disk) = (self.metrics.clone(), self.disk.clone());
        move || {
            let (events, metrics) = (events.clone(), metrics.clone());
            // Blocks the journal's thread while the driver is behind; a driver that is gone receives nothing.
            let mut options = volume::Options::new(move |event| drop(events.blocking_send(event)));
            options.on_fsync = Arc::new(move |took| metrics.journal_fsync(took));
            options.watch = disk.clone();
            options
        }
    }

    /// The commands of the initial data, if this volume may have to bootstrap; otherwise nobody reads the file.
    fn initial_data(&self, is_first: bool) -> Result<InitialData, NodeError> {
        let Some(path) = self.config.initial_data.clone().filter(|_| is_first) else {
            return Ok(InitialData::none());
        };
        match std::fs::read(&path) {
            Err(source) => Err(NodeError::InitialDataFile { path, source }),
            Ok(json) => {
                let (file, allowed) = (self.file.as_deref(), self.config.format_max);
                let data = InitialData::parse(&json, file, allowed, wall_clock::now_ms());
                data.map_err(|source| NodeError::InitialData { path, source })
            }
        }
    }
}

impl Core {
    fn driver(
        self,
        config: &Config,
        opened: Opened,
        initial_data: InitialData,
        (journal_events, role, status_file): (mpsc::Receiver<JournalEvent>, RoleReceiver, watch::Sender<StatusFile>),
    ) -> Driver {
        let log_share = usize::try_from(self.room.memory_bytes / 16).unwrap_or(usize::MAX);
        let replica = leasehold_replication::Config {
            name: config.name.clone(),
            replica: opened.replica,
            incarnation: self.incarnation,
            revision: config.revision.clone(),
            heartbeat: config.heartbeat,
            lost_time: config.lost_time,
            disk_stall: config.disk_stall,
            hand_over_max: HAND_OVER_MAX,
            drain_min: config.drain_min,
            unready_after: config.unready_after,
            log_memory_bytes: log_share.min(LOG_MEMORY_BYTES),
            apply_bytes_max: APPLY_BYTES_MAX,
            drain_max: config.drain_max,
            // A first start that was torn has its id on the volume already, and the journal takes no other one.
            new_cluster_id: opened.recovered.state.cluster_id.unwrap_or_else(|| ClusterId(Uuid::new_v4())),
            initial_data: initial_data.commands,
            initial_format: initial_data.format,
            restore: opened.restored.as_ref().map(|restored| restored.restore),
            force_bootstrap: opened.force_bootstrap,
            format_build: FORMAT,
            format_allowed: config.format_max,
            sums: true,
        };
        Driver::new(driver::Parts {
            config: replica,
            recovered: opened.recovered,
            documents: opened.documents,
            restored: opened.restored,
            false_sum: opened.false_sum,
            limits: self.room,
            progress_after: progress::LONG,
            ends: driver::Ends {
                journal: opened.journal,
                journal_events,
                peers: Peers::new(self.peers.config, self.peers.sender),
                peer_events: self.peers.events,
                role,
                handle: self.handle,
                status_file,
                peer_state: self.peers.state,
                stop: self.stop,
                unserved: self.unserved,
            },
        })
    }
}

fn ended_while_starting() -> Result<(), NodeError> {
    info!("received a signal to end while starting");
    Ok(())
}

/// What the data may use: as the flags say, otherwise as this container and volume allow.
fn room_limits(config: &Config) -> RoomLimits {
    let memory_bytes = config.memory_limit.unwrap_or_else(machine::memory_limit);
    info!(memory_limit = memory_bytes, disk_reserve = config.disk_reserve, "room for data, in bytes");
    RoomLimits { memory_bytes, disk_reserve_bytes: config.disk_reserve }
}

fn log_start(config: &Config, incarnation: Incarnation, descriptors: usize, shares: &Shares) {
    info!(
        name = config.name,
        %incarnation,
        listen = %config.listen,
        peer_listen = %config.peer_listen,
        data = %config.data.display(),
        version = env!("CARGO_PKG_VERSION"),
        "store"
    );
    info!(descriptors, clients = shares.clients, peers = shares.peers, "places for connections");
    if shares.clients < config.connections_max {
        warn!(
            descriptors,
            clients = shares.clients,
            wanted = config.connections_max,
            "the limit of open files allows fewer clients than --connections-max: raise it (ulimit -n)"
        );
    }
}
