//! The flags of trust, and what is built from them: see [`super`].

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use tokio_rustls::rustls::pki_types::ServerName;
use tracing::{debug, info, warn};

use crate::api::forward::route::ApiRoute;
use crate::api::hosts;
use crate::api::problem::Problem;
use crate::api::tokens::{self, Tokens};
use crate::peer::trust::handshake::Identity;
use crate::peer::trust::key::{self, Keys};
use crate::peer::trust::peers::{PeerTrust, PeerTrustParts};
use crate::tls::{ApiTls, PeerTls, host_name};
use leasehold_daemon::reload::{FilesError, Reload, Reloaded};
use leasehold_daemon::serve::BoxedStream;
use leasehold_daemon::serve::{Door, Gates};

/// What peers and clients must prove. All of it is optional.
#[derive(Clone, Debug, Default, Args)]
pub struct TrustArgs {
    /// The key that all replicas share: files `current` and, while it is changed, `next`. Read again when they change.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_PEER_KEY", value_name = "DIR")]
    pub peer_key: Option<PathBuf>,

    /// Which cluster the key is for, the same at all its members [default: the pod's name without its ordinal].
    #[arg(long, global = true, env = "LEASEHOLD_STORE_PEER_CLUSTER", value_name = "NAME")]
    pub peer_cluster: Option<String>,

    /// Mutual TLS between replicas, beside --peer-key or in its place: files tls.crt, tls.key and ca.crt. A key alone
    /// already encrypts everything. Read again when they change.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_PEER_TLS", value_name = "DIR")]
    pub peer_tls: Option<PathBuf>,

    /// A DNS name that every member's certificate must be valid for; without it, any certificate of the CA is accepted.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_PEER_TLS_NAME", value_name = "NAME")]
    pub peer_tls_name: Option<String>,

    /// Whether other replicas must have the key and TLS that this one has. Use `optional` only during a change.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_PEER_TRUST", value_name = "WHETHER", default_value = "required")]
    pub peer_trust: Demand,

    /// HTTPS for clients: files tls.crt and tls.key (and ca.crt, to check other replicas' certificates).
    #[arg(long, global = true, env = "LEASEHOLD_STORE_API_TLS", value_name = "DIR")]
    pub api_tls: Option<PathBuf>,

    /// The name that every replica's API certificate must be valid for, for requests that one forwards to another.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_API_TLS_NAME", value_name = "NAME")]
    pub api_tls_name: Option<String>,

    /// Bearer tokens of clients, one a line: files `read`, `write`, `admin`, `backup`, and for one collection
    /// `read.<collection>`, `write.<collection>`. Read again when they change.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_API_TOKENS", value_name = "DIR")]
    pub api_tokens: Option<PathBuf>,

    /// A name by which clients reach this store, such as db.example.com, beside IPs, localhost and the names of the pods;
    /// repeat it, or separate several by commas. `*.` at its begin stands for one more label, `*` alone for any name, and a
    /// name like x.ns.svc.cluster.local also for x, x.ns and x.ns.svc. Without --api-tokens other names are refused,
    /// because any web page could be behind them.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_API_HOSTS", value_name = "NAME", value_delimiter = ',', value_parser = hosts::host)]
    pub api_hosts: Vec<String>,

    /// /metrics needs no token, even where every other call does.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_METRICS_OPEN")]
    pub metrics_open: bool,
}

/// See [`TrustArgs::peer_trust`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Demand {
    /// A replica that has less is refused.
    #[default]
    Required,
    /// A replica that has less is accepted.
    Optional,
}

/// What the flags build.
#[derive(Debug)]
pub struct Trust {
    /// Of the peer port.
    pub peers: PeerTrust,
    /// Of the API port.
    pub api_tls: Option<Reloaded<ApiTls>>,
    /// The name in other replicas' API certificates.
    pub api_tls_name: Option<ServerName<'static>>,
    /// Of the API.
    pub tokens: Option<Reloaded<Tokens>>,
    /// Names by which clients reach the API.
    pub api_hosts: Vec<String>,
    /// `/metrics` needs no token.
    pub metrics_open: bool,
}

/// Why the trust flags are invalid.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A directory.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A name.
    #[error("{flag} {name:?} is not a valid host name")]
    Name {
        /// The flag.
        flag: &'static str,
        /// What was given.
        name: String,
    },
}

impl TrustArgs {
    /// Reads the files, once.
    ///
    /// # Errors
    /// [`TrustError`]: a store must not start without the protection that its flags demand.
    pub fn open(&self, name: &str) -> Result<Trust, TrustError> {
        let stem = name.rsplit_once('-').map_or(name, |(stem, _)| stem);
        let cluster = self.peer_cluster.clone().unwrap_or_else(|| stem.to_owned());
        let keys = |dir: &PathBuf| Reloaded::open("the peer key", dir, key::NAMES, Keys::from_files);
        let tokens = |dir: &PathBuf| Reloaded::open("the API's tokens", dir, tokens::NAMES, Tokens::from_files);
        let peers = PeerTrust::new(PeerTrustParts {
            me: Identity { cluster, name: name.to_owned() },
            keys: self.peer_key.as_ref().map(keys).transpose()?,
            tls: self.peer_tls.as_deref().map(PeerTls::open).transpose()?,
            tls_name: server_name("--peer-tls-name", self.peer_tls_name.as_deref())?,
            required: self.peer_trust == Demand::Required,
        });
        Ok(Trust {
            peers,
            api_tls: self.api_tls.as_deref().map(ApiTls::open).transpose()?,
            api_tls_name: server_name("--api-tls-name", self.api_tls_name.as_deref())?,
            tokens: self.api_tokens.as_ref().map(tokens).transpose()?,
            api_hosts: self.api_hosts.clone(),
            metrics_open: self.metrics_open,
        })
    }
}

impl Trust {
    /// What clients must pass.
    pub fn api_gates(&self) -> Gates {
        let door = self.api_tls.clone().map(|tls| -> Door {
            Arc::new(move |stream, remote| {
                let tls = tls.get();
                Box::pin(async move {
                    // The server bounds its time.
                    match tls.accept(stream).await {
                        Ok(stream) => Some(Box::new(stream) as BoxedStream),
                        Err(error) => {
                            debug!(%remote, %error, "the TLS handshake with a client failed");
                            None
                        }
                    }
                })
            })
        });
        Gates { door, ..self.probe_gates() }
    }

    /// What probes must pass: no TLS, and a token only for /metrics.
    pub fn probe_gates(&self) -> Gates {
        let guard = self.tokens.clone().map(|tokens| tokens::guard(tokens, self.metrics_open));
        Gates { guard, refuse: Some(Problem::of_unfit), ..Gates::default() }
    }

    /// How one replica reaches another's API.
    pub fn api_route(&self) -> ApiRoute {
        ApiRoute { tls: self.api_tls.clone(), name: self.api_tls_name.clone() }
    }

    /// Logs once, at the start: what is protected, and what is not.
    pub fn log(&self) {
        if self.peers.demands_something() {
            info!(demanded = self.peers.describe(), "trust between replicas");
        } else {
            warn!(demanded = self.peers.describe(), "trust between replicas");
        }
        info!(tls = self.api_tls.is_some(), tokens = self.tokens.is_some(), "the clients' API");
        if self.tokens.is_some() && self.api_tls.is_none() {
            warn!("clients' tokens cross the network in clear text: set --api-tls to protect them");
        }
    }

    /// What is reloaded from its files.
    pub fn reloads(&self) -> Vec<Arc<dyn Reload>> {
        let mut all = self.peers.reloads();
        all.extend(self.api_tls.clone().map(|tls| Arc::new(tls) as Arc<dyn Reload>));
        all.extend(self.tokens.clone().map(|tokens| Arc::new(tokens) as Arc<dyn Reload>));
        all
    }
}

fn server_name(flag: &'static str, name: Option<&str>) -> Result<Option<ServerName<'static>>, TrustError> {
    let parsed = name.map(|name| host_name(name).map_err(|_| TrustError::Name { flag, name: name.to_owned() }));
    parsed.transpose()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
