//! `store`: reads its flags, puts the parts together, and ends when one of them does.
//!
//! ```text
//!   bind both ports ▶ HTTP is up (alive, not ready) ▶ status.lock ▶ status.json `starting` ▶ the volume ▶ the driver
//!   SIGTERM ▶ the driver drains, clients are served ▶ drained ▶ the API closes ▶ the driver ends ▶ its last status.json ▶ exit
//! ```
//!
//! Two runtimes. The core (driver, peers, files) has this process' first thread: what goes round between driver,
//! connections and journal wakes no other thread on the way, and no long list of a client keeps a heartbeat waiting.
//! Clients have `--worker-threads` threads.
//!
//! Exit codes: 0 drained, 1 fatal IO (or a part that ended unasked), 2 flags, config or initial data, 3 damage.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use leasehold_contract::{State, StatusFile};
use leasehold_daemon::serve::{self, Entrance, Farewell, Gates, Leaving, Limits, Server};
use leasehold_daemon::{descriptors, flags, logs, reload};
use leasehold_replication::{ClusterId, Incarnation};
use leasehold_store::api::farewells;
use leasehold_store::api::forward::{self, Forwarding};
use leasehold_store::args::trust::Trust;
use leasehold_store::args::{Args, Config, Task};
use leasehold_store::driver::{Driver, End, JOURNAL_EVENTS_MAX, Parts};
use leasehold_store::handle::{self, Handle, HandleServer};
use leasehold_store::peer::{EVENTS_MAX, Listener, PeerConfig, Peers};
use leasehold_store::room::{Limits as RoomLimits, machine};
use leasehold_store::shares::Shares;
use leasehold_store::telemetry::{Metrics, Port};
use leasehold_store::volume::disk::watch::DiskWatch;
use leasehold_store::volume::recover;
use leasehold_store::volume::{self, Opened, VolumeError};
use leasehold_store::{api, opening, progress, role, status};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

/// A write's bytes are allocated on one thread and freed on another: mimalloc does that without a lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a connection of the peer port may ask nothing. Replication asks once, and leaves HTTP then.
const PEER_IDLE_MAX: Duration = Duration::from_secs(75);
/// How long the sidecar has for a transfer of the Lease, before the hand-over is undone.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);
/// Entries that are durable and applied stay in memory up to here, for followers that are a little behind; but no more
/// than a sixteenth of what data may take.
const LOG_MEMORY_BYTES: usize = 16 * 1024 * 1024;
/// Entries that are applied in one turn of the driver: some milliseconds of it.
const APPLY_BYTES_MAX: usize = 256 * 1024;
/// How long the last status.json may take to be written.
const LAST_STATUS_MAX: Duration = Duration::from_secs(2);

const FATAL: u8 = 1;
const MISUSE: u8 = 2;

/// Why the process ends, and with which code.
struct Failure {
    code: u8,
    error: anyhow::Error,
}

fn main() -> ExitCode {
    let args = flags::of_process::<Args>();
    if let Err(error) = logs::start(args.log_format, &args.log, &[]) {
        eprintln!("store: {}", logs::in_words(&error));
        return ExitCode::from(MISUSE);
    }
    let config = match args.validate() {
        Ok(config) => config,
        Err(error) => {
            error!("{error}");
            return ExitCode::from(MISUSE);
        }
    };
    let done = match config.task {
        Task::Run => serve_until_the_end(config),
        Task::Bootstrap => recover::force_bootstrap(&config.data)
            .map(|done| println!("{done}"))
            .map_err(|error| Failure { code: error.exit_code(), error: error.into() }),
        Task::Recover => recover::force_new_cluster(&config.data, &config.name)
            .map(|done| println!("{done}"))
            .map_err(|error| Failure { code: error.exit_code(), error: error.into() }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, error }) => {
            error!(code, "the store ends: {}", logs::in_words(error.as_ref()));
            ExitCode::from(code)
        }
    }
}

fn serve_until_the_end(config: Config) -> Result<(), Failure> {
    let about = "no runtime is to be had";
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(config.worker_threads).thread_name("clients").enable_all();
    let clients = builder.build().context(about).map_err(fatal)?;
    let core = tokio::runtime::Builder::new_current_thread().enable_all().build().context(about).map_err(fatal)?;
    let done = core.block_on(run(config, clients.handle()));
    // Blocking threads that wait for a lock, or a name server, do not keep the process.
    clients.shutdown_background();
    core.shutdown_background();
    done
}

async fn run(config: Config, clients: &tokio::runtime::Handle) -> Result<(), Failure> {
    let limit = descriptors::raise().context("the limit of open files cannot be raised").map_err(fatal)?;
    let shares = Shares::of(limit, config.connections_max).map_err(misuse)?;
    let api_socket = {
        let _its_events_go_there = clients.enter();
        serve::bind(config.listen).map_err(misuse)?
    };
    let probe_socket = config.probe_listen.map(serve::bind).transpose().map_err(misuse)?;
    let peer_socket = serve::bind(config.peer_listen).map_err(misuse)?;
    let stop = on_signals().map_err(fatal)?;
    let trust = config.trust.open(&config.name).map_err(misuse)?;
    let incarnation = Incarnation(Uuid::new_v4());
    info!(
        name = config.name,
        %incarnation,
        listen = %config.listen,
        peer_listen = %config.peer_listen,
        data = %config.data.display(),
        version = env!("CARGO_PKG_VERSION"),
        "store"
    );
    info!(descriptors = limit, clients = shares.clients, peers = shares.peers, "places for connections");
    if shares.clients < config.connections_max {
        warn!(
            descriptors = limit,
            clients = shares.clients,
            wanted = config.connections_max,
            "fewer clients have a place than --connections-max says: raise the limit of open files (ulimit -n)"
        );
    }
    say_trust(&trust);

    // HTTP first: alive for the probes, not ready, and honest about what is waited for.
    let metrics = Metrics::new();
    let disk = Arc::new(DiskWatch::new(config.disk_stall));
    let room_limits = room_limits(&config);
    let (api_handle, handle_server) =
        handle::handle_within(&config.name, incarnation, config.watch_history, disk.clone(), room_limits.memory_bytes);
    let api_config = api::Config {
        body_limit_bytes: config.body_limit,
        write_timeout: config.write_timeout,
        match_weakened: config.match_weakened_etags,
        trust: trust.peers.clone(),
        scheme: trust.api_way().scheme(),
        read_timeout: config.read_timeout,
        watchers_max: shares.watchers(config.watchers_max),
        ..api::Config::default()
    };
    let probes = api::probes(api_handle.clone(), api_config.clone(), metrics.clone());
    let routes = api::routes(api_handle.clone(), api_config, metrics.clone());
    let counted = metrics.clone();
    let mut peer_config = PeerConfig::new(config.lost_time, move |reason| counted.peer_rejected(reason));
    peer_config.trust = trust.peers.clone();
    let forward_config = forward::Config {
        follower_writes: config.follower_writes,
        write_timeout: config.write_timeout,
        body_limit_bytes: config.body_limit,
        forwards_max: shares.forwards,
        peers: peer_config.clone(),
        way: trust.api_way(),
    };
    let service = Forwarding::new(routes, api_handle.clone(), forward_config);
    let (stop_http, unserved) = (CancellationToken::new(), CancellationToken::new());
    let farewell = Farewell::default();
    let leaving = farewell.leaving();
    let limits = |port: Port, connections_max: usize| Limits {
        port: port.word(),
        connections_max,
        header_max: config.header_timeout,
        idle_max: config.idle_timeout,
        counts: metrics.port(port),
        ..Limits::default()
    };
    // Not of the probes' port: no page has business there.
    let gates = match config.cors_origins.clone() {
        Some(origins) => origins.around(trust.api_gates()),
        None => trust.api_gates(),
    };
    let (entrance, handing) = Entrance::with_handing(api_socket);
    let entry = (entrance, gates, limits(Port::Clients, shares.clients));
    let api_server = serve_clients(entry, service, api_handle.clone(), leaving, stop_http.clone(), unserved.clone());
    // By the core's thread: what it says of itself does not wait for the clients'.
    let probe_limits = limits(Port::Probes, shares.probes);
    let probe_server = probe_socket.map(|socket| {
        Server { gates: trust.probe_gates(), limits: probe_limits, stop: stop_http.clone(), ..Server::default() }
            .run_filter(socket, probes)
    });
    let (peer_events, peer_events_receiver) = mpsc::channel(EVENTS_MAX);
    let (peer_state, peer_state_receiver) = watch::channel(None);
    let listener =
        Listener::new(peer_config.clone(), peer_events.clone(), peer_state_receiver).handing_over_to(handing);
    let peer_limits = Limits { idle_max: PEER_IDLE_MAX, ..limits(Port::Peers, shares.peers) };
    let peer_gates = Gates { door: Some(listener.door()), ..Gates::default() };
    let malformed = Some(listener.on_malformed());
    let peer_server = Server {
        gates: peer_gates,
        limits: peer_limits,
        on_malformed: malformed,
        stop: stop_http.clone(),
        ..Server::default()
    }
    .run_filter(peer_socket, listener.routes());
    let mut tasks = LongLived {
        api: Some(clients.spawn(api_server)),
        peer: Some(tokio::spawn(peer_server)),
        probe: probe_server.map(tokio::spawn),
        farewells: Some(tokio::spawn(farewells::say(api_handle, farewell, stop.clone()))),
        trust: Some(tokio::spawn(reload::keep_up_to_date(trust.looks()))),
        role: None,
        status: None,
        driver: None,
    };

    let starting = async {
        // The lock before the first status.json: who reads this incarnation there knows that it lives.
        handle_server.set_starting("status.lock in the directory shared with the sidecar");
        let lock = status::lock(&config.directory).await;
        let (status_file, status_receiver) = watch::channel(status::starting(incarnation));
        tasks.status = Some(tokio::spawn(status::write(config.directory.clone(), status_receiver)));
        let (journal_events, journal_events_receiver) = mpsc::channel(JOURNAL_EVENTS_MAX);
        let opened = open(&config, &metrics, (disk, &status_file), journal_events, handle_server).await;
        (lock, status_file, journal_events_receiver, opened)
    };
    let (lock, status_file, journal_events, opened) = tokio::select! {
        started = starting => started,
        () = stop.cancelled() => {
            info!("told to end while starting");
            return Ok(());
        }
    };
    let ended = match opened.and_then(|(opened, handle)| Ok((initial_data(&config, &opened)?, opened, handle))) {
        Err(failure) => {
            status_file.send_replace(StatusFile { state: State::Failed, ..status::starting(incarnation) });
            drop(status_file);
            Err(failure)
        }
        Ok((initial_data, opened, handle)) => {
            let (role_sender, role) = watch::channel(None);
            let (directory, name) = (config.directory.clone(), config.name.clone());
            tasks.role = Some(tokio::spawn(async move { role::watch(&directory, &name, role_sender).await }));
            // Both ends of the driver's that other tasks watch: these tasks must not end in the moment in which it does.
            let kept = (role.clone(), status_file.clone());
            let driver = Driver::new(Parts {
                config: leasehold_replication::Config {
                    name: config.name.clone(),
                    replica: opened.replica,
                    incarnation,
                    revision: config.revision.clone(),
                    heartbeat: config.heartbeat,
                    lost_time: config.lost_time,
                    disk_stall: config.disk_stall,
                    hand_over_max: HAND_OVER_MAX,
                    drain_min: config.drain_min,
                    unready_after: config.unready_after,
                    log_memory_bytes: usize::try_from(room_limits.memory_bytes / 16)
                        .map_or(LOG_MEMORY_BYTES, |share| share.min(LOG_MEMORY_BYTES)),
                    apply_bytes_max: APPLY_BYTES_MAX,
                    drain_max: config.drain_max,
                    new_cluster_id: ClusterId(Uuid::new_v4()),
                    initial_data,
                    force_bootstrap: opened.force_bootstrap,
                },
                recovered: opened.recovered,
                documents: opened.documents,
                journal: opened.journal,
                journal_events,
                peers: Peers::new(peer_config, peer_events),
                peer_events: peer_events_receiver,
                role,
                limits: room_limits,
                progress_after: progress::LONG,
                handle,
                status_file,
                peer_state,
                stop,
                unserved,
            });
            tasks.driver = Some(tokio::spawn(driver.run()));
            let ended = tasks.first_to_end().await;
            drop(kept);
            ended
        }
    };

    // The driver is gone, and with it who sends status.json: its writer writes the last word and ends.
    stop_http.cancel();
    if tokio::time::timeout(LAST_STATUS_MAX, wait_for(&mut tasks.status)).await.is_err() {
        warn!("the last status.json could not be written in time");
    }
    for server in [&mut tasks.api, &mut tasks.peer, &mut tasks.probe] {
        let _ = wait_for(server).await; // each has a bound of its own
    }
    drop(lock); // from here on the sidecar knows
    ended
}

/// What the data may take: as it was said, else as this container and volume allow.
fn room_limits(config: &Config) -> RoomLimits {
    let memory_bytes = config.memory_limit.unwrap_or_else(machine::memory_limit);
    let limits = RoomLimits { memory_bytes, disk_reserve_bytes: config.disk_reserve };
    info!(memory_limit = memory_bytes, disk_reserve = config.disk_reserve, "room for data, in bytes");
    limits
}

/// Once, at the start: what is protected, and what is not.
fn say_trust(trust: &Trust) {
    if trust.peers.demands_something() {
        info!(demanded = trust.peers.describe(), "trust between replicas");
    } else {
        warn!(demanded = trust.peers.describe(), "trust between replicas");
    }
    info!(tls = trust.api_tls.is_some(), tokens = trust.tokens.is_some(), "the clients' API");
    if trust.tokens.is_some() && trust.api_tls.is_none() {
        warn!("clients' tokens cross the network in the clear: --api-tls protects them");
    }
}

/// Serves clients until `stop`, or until nothing keeps a draining replica any more: then no new ones, and when the last
/// one is gone, `unserved` tells the driver. It returns at `stop` only.
async fn serve_clients(
    (entrance, gates, limits): (Entrance, Gates, Limits),
    service: Forwarding,
    handle: Handle,
    leaving: Leaving,
    stop: CancellationToken,
    unserved: CancellationToken,
) {
    let close = stop.child_token();
    let server = Server { gates, limits, leaving, stop: close.clone(), ..Server::default() }.run(entrance, service);
    let closing = async {
        tokio::select! {
            () = handle.drained() => close.cancel(),
            () = close.cancelled() => {}
        }
    };
    tokio::join!(server, closing);
    unserved.cancel();
    stop.cancelled().await;
}

/// The tasks that live as long as the process. None of them may end unseen.
struct LongLived {
    api: Option<JoinHandle<()>>,
    peer: Option<JoinHandle<()>>,
    probe: Option<JoinHandle<()>>,
    farewells: Option<JoinHandle<()>>,
    trust: Option<JoinHandle<()>>,
    role: Option<JoinHandle<()>>,
    status: Option<JoinHandle<()>>,
    driver: Option<JoinHandle<End>>,
}

impl LongLived {
    /// Waits for the driver's end, or for one that should not have ended.
    async fn first_to_end(&mut self) -> Result<(), Failure> {
        let unasked = |what: &str, ended: Option<Result<(), JoinError>>| {
            let why = ended.and_then(Result::err).map_or("it returned".to_owned(), |error| error.to_string());
            Err(fatal(anyhow!("{what} ended: {why}")))
        };

        tokio::select! {
            Some(ended) = wait_for(&mut self.driver) => match ended {
                Ok(End::Drained) => {
                    info!("drained");
                    Ok(())
                }
                Ok(End::Failed { reason }) => Err(fatal(anyhow!(reason))),
                Ok(End::Wiped { winner }) => {
                    Err(fatal(anyhow!("the volume was emptied; the next start joins cluster {winner}")))
                }
                Err(error) => Err(fatal(anyhow!("the driver ended: {error}"))),
            },
            ended = wait_for(&mut self.api) => unasked("the API's server", ended),
            ended = wait_for(&mut self.peer) => unasked("the peers' server", ended),
            Some(ended) = wait_for(&mut self.probe) => unasked("the probes' server", Some(ended)),
            ended = wait_for(&mut self.farewells) => unasked("the look at who leads", ended),
            ended = wait_for(&mut self.trust) => unasked("the look at keys and certificates", ended),
            ended = wait_for(&mut self.role) => unasked("the watch of role.json", ended),
            ended = wait_for(&mut self.status) => unasked("the writer of status.json", ended),
        }
    }
}

/// How the task ended; nothing where there is none (any more).
async fn wait_for<T>(task: &mut Option<JoinHandle<T>>) -> Option<Result<T, JoinError>> {
    let ended = task.as_mut()?.await;
    *task = None;
    Some(ended)
}

/// Opens the volume, whatever that waits for.
async fn open(
    config: &Config,
    metrics: &Metrics,
    (disk, status_file): (Arc<DiskWatch>, &watch::Sender<StatusFile>),
    journal_events: mpsc::Sender<leasehold_store::volume::journal::JournalEvent>,
    handle: HandleServer,
) -> Result<(Opened, HandleServer), Failure> {
    let (metrics, watch) = (metrics.clone(), disk.clone());
    let options = move || {
        let (journal_events, metrics) = (journal_events.clone(), metrics.clone());
        let events = move |event| {
            // Blocks the journal's thread while the driver is behind; a driver that is gone hears nothing.
            let _ = journal_events.blocking_send(event);
        };
        let mut options = volume::Options::new(events);
        options.on_fsync = Arc::new(move |took| metrics.journal_fsync(took));
        options.watch = watch.clone();
        options
    };
    let opened = opening::open(&config.data, options, &disk, &handle, status_file).await;
    let opened = opened.map_err(|error| fatal(anyhow!(error)))?;
    let opened = opened.map_err(|error: VolumeError| Failure { code: error.exit_code(), error: error.into() })?;
    Ok((opened, handle))
}

/// The commands of the initial data, where this volume may have to bootstrap; else nobody looks at the file.
fn initial_data(config: &Config, opened: &Opened) -> Result<Vec<bytes::Bytes>, Failure> {
    let Some(path) = config.initial_data.as_ref().filter(|_| opened.recovered.state.cluster_id.is_none()) else {
        return Ok(Vec::new());
    };
    let about = || format!("--initial-data {}", path.display());
    let json = std::fs::read(path).with_context(about).map_err(misuse)?;
    api::person::initial_data(&json).with_context(about).map_err(misuse)
}

/// Cancelled by the first SIGTERM or SIGINT. A second one ends the process at once.
fn on_signals() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be heard")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be heard")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                told.cancel();
            } else {
                warn!("told to end a second time: ending without a hand-over");
                std::process::exit(i32::from(FATAL));
            }
        }
    });
    Ok(stop)
}

fn fatal(error: impl Into<anyhow::Error>) -> Failure {
    Failure { code: FATAL, error: error.into() }
}

fn misuse(error: impl Into<anyhow::Error>) -> Failure {
    Failure { code: MISUSE, error: error.into() }
}
