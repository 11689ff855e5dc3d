//! The API that a team contends on, and how patiently it is looked at.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use leasehold_api::{ApiServer, Verb};
use serde_json::Value;

use super::relay::Relay;

/// From one look at the contenders to the next.
pub(super) const LOOK: Duration = Duration::from_millis(2);
/// Three Lease durations: every elector has made up its mind by then.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Where the Leases are: an API that can be counted and taken away.
pub(super) enum Api {
    Embedded(ApiServer),
    Real(Relay),
}

impl Api {
    pub(super) fn kubeconfig(&self, client: &str, namespace: &str) -> Value {
        match self {
            Api::Embedded(api) => api.kubeconfig(client, namespace),
            Api::Real(relay) => relay.kubeconfig(client, namespace),
        }
    }

    /// The requests that a client has made, watches left out: one is open all the time.
    pub(super) fn requests(&self, client: &str) -> usize {
        match self {
            Api::Embedded(api) => {
                api.log().iter().filter(|logged| logged.client == client && logged.verb != Verb::Watch).count()
            }
            Api::Real(relay) => relay.requests(client),
        }
    }

    pub(super) async fn down(&self) -> anyhow::Result<()> {
        match self {
            Api::Embedded(api) => api.down(),
            Api::Real(relay) => {
                relay.down();
                Ok(())
            }
        }
    }

    pub(super) async fn up(&self) -> anyhow::Result<()> {
        match self {
            Api::Embedded(api) => api.up(),
            Api::Real(relay) => {
                relay.up();
                Ok(())
            }
        }
    }
}

/// What a contender's configuration is written to.
pub(super) fn write_kubeconfig(folder: &Path, name: &str, kubeconfig: &Value) -> anyhow::Result<PathBuf> {
    let file = folder.join(format!("{name}.kubeconfig"));
    std::fs::write(&file, kubeconfig.to_string())?;
    Ok(file)
}
