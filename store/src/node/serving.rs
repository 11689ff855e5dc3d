//! The servers of a node's ports, as its flags have them.

use std::sync::Arc;
use std::time::Duration;

use leasehold_daemon::serve::{Entrance, Gates, Leaving, Limits, Server};
use leasehold_documents::CollectionsFile;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::api::Calls;
use crate::api::browsers::Browsers;
use crate::api::forward::{self, Forwarding};
use crate::args::Config;
use crate::args::trust::Trust;
use crate::handle::Handle;
use crate::peer::{Listener, PeerConfig};
use crate::shares::Shares;
use crate::steward::file;
use crate::telemetry::{Metrics, Port};

/// How long a connection of the peer port may send no request. Replication sends one, and then leaves HTTP.
const PEER_IDLE_MAX: Duration = Duration::from_secs(75);

/// What they are made of.
pub(super) struct Serving<'a> {
    pub(super) config: &'a Config,
    pub(super) trust: &'a Trust,
    pub(super) shares: &'a Shares,
    pub(super) metrics: &'a Metrics,
    pub(super) api: &'a Handle,
    pub(super) file: Option<&'a Arc<CollectionsFile>>,
}

impl Serving<'_> {
    /// Of the clients' port.
    pub(super) fn clients(&self, leaving: Leaving, stop: CancellationToken) -> Server {
        // Not for the probes' port: no page has business there.
        let names = self.trust.tokens.is_none().then_some(&*self.trust.api_hosts);
        let browsers = Browsers::new(names, self.config.cors_origins.clone(), self.api.clone());
        let gates = browsers.around(self.trust.api_gates());
        Server { gates, limits: self.limits(Port::Clients, self.shares.clients), leaving, stop, ..Server::default() }
    }

    /// Of the probes' port.
    pub(super) fn probes(&self, stop: CancellationToken) -> Server {
        let limits = self.limits(Port::Probes, self.shares.probes);
        Server { gates: self.trust.probe_gates(), limits, stop, ..Server::default() }
    }

    /// Of the port of other replicas.
    pub(super) fn peers(&self, listener: &Listener, stop: CancellationToken) -> Server {
        Server {
            gates: Gates { door: Some(listener.door()), ..Gates::default() },
            limits: Limits { idle_max: PEER_IDLE_MAX, ..self.limits(Port::Peers, self.shares.peers) },
            on_malformed: Some(listener.on_malformed()),
            stop,
            ..Server::default()
        }
    }

    /// The available calls.
    pub(super) fn calls(&self) -> Calls {
        Calls::new(self.api.clone(), self.api_config(), self.metrics.clone())
    }

    /// These calls, and how a write is handled if this replica does not lead.
    pub(super) fn forwarding(&self, calls: Calls, peers: PeerConfig) -> Forwarding {
        let config = forward::Config {
            follower_writes: self.config.follower_writes,
            write_timeout: self.config.write_timeout,
            body_limit_bytes: self.config.body_limit,
            forwards_max: self.shares.forwards,
            peers,
            route: self.trust.api_route(),
        };
        Forwarding::new(calls, self.api.clone(), config)
    }

    fn api_config(&self) -> api::Config {
        let trust = self.trust.peers.clone();
        api::Config {
            body_limit_bytes: self.config.body_limit,
            write_timeout: self.config.write_timeout,
            match_weakened: self.config.match_weakened_etags,
            peer_trust: api::Shown::new(move || trust.status()),
            collections_file: self.collections_file(),
            scheme: self.trust.api_route().scheme(),
            read_timeout: self.config.read_timeout,
            watchers_max: self.shares.watchers(self.config.watchers_max),
            ..api::Config::default()
        }
    }

    fn collections_file(&self) -> api::Shown {
        let Some(file) = self.file.cloned() else { return api::Shown::default() };
        let handle = self.api.clone();
        api::Shown::new(move || file::shown(&file, &handle.documents()))
    }

    fn limits(&self, port: Port, connections_max: usize) -> Limits {
        Limits {
            port: port.word(),
            connections_max,
            header_max: self.config.header_timeout,
            idle_max: self.config.idle_timeout,
            counts: self.metrics.port(port),
            ..Limits::default()
        }
    }
}

/// Serves clients until `stop`. Once drained, it accepts no new ones, and when the last one is gone, `unserved`
/// notifies the driver. It returns at `stop` only.
pub(super) async fn serve_clients(
    server: Server,
    entrance: Entrance,
    service: Forwarding,
    handle: Handle,
    (stop, unserved): (CancellationToken, CancellationToken),
) {
    let close = server.stop.clone();
    let closing = async {
        tokio::select! {
            () = handle.drained() => close.cancel(),
            () = close.cancelled() => {}
        }
    };
    tokio::join!(server.run(entrance, service), closing);
    unserved.cancel();
    stop.cancelled().await;
}
