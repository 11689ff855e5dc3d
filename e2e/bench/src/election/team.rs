//! Three contenders of one kind, and what they learnt.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use leasehold_e2e::cluster::Programs;
use leasehold_testkit::ask_until;
use serde_json::Value;

use super::api::{Api, LOOK, write_kubeconfig};
use crate::{machine, place::Place, system::Peers};

/// A way to hold a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elector {
    /// Our sidecar, beside an app that knows nothing (`--app plain`).
    Sidecar,
    /// client-go's leader election.
    ClientGo,
    /// The crate kube-leader-election.
    KubeLeaderElection,
}

impl Elector {
    pub(super) const ALL: [Elector; 3] = [Elector::Sidecar, Elector::ClientGo, Elector::KubeLeaderElection];

    pub(super) fn name(self) -> &'static str {
        match self {
            Elector::Sidecar => "Leasehold",
            Elector::ClientGo => "client-go",
            Elector::KubeLeaderElection => "kube-leader-election",
        }
    }

    /// For the names of Leases.
    pub(super) fn word(self) -> &'static str {
        match self {
            Elector::Sidecar => "sidecar",
            Elector::ClientGo => "client-go",
            Elector::KubeLeaderElection => "kube",
        }
    }

    pub(super) fn missing(self, peers: &Peers) -> Option<String> {
        match self {
            Elector::ClientGo => peers.elector().err(),
            Elector::Sidecar | Elector::KubeLeaderElection => None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Team {
    elector: Elector,
    place: Place,
    names: Vec<String>,
}

impl Team {
    pub(super) fn start(
        elector: Elector,
        peers: &Peers,
        kubeconfig: impl Fn(&str) -> Value,
        namespace: &str,
        lease: &str,
    ) -> anyhow::Result<Team> {
        let mut place = Place::new()?;
        let mut names = Vec::new();
        for i in 0..3 {
            let name = format!("{lease}-{i}");
            let file = write_kubeconfig(place.folder(), &name, &kubeconfig(&name))?.display().to_string();
            let common = ["--kubeconfig", &file, "--namespace", namespace, "--lease", lease, "--name", &name];
            let mut args: Vec<String> = common.into_iter().map(str::to_owned).collect();
            let program = match elector {
                Elector::Sidecar => {
                    let more = [
                        ("--directory", place.data(i)?.display().to_string()),
                        ("--app", "plain".to_owned()),
                        ("--lease-duration", "15s".to_owned()),
                        ("--listen", place.client(i).to_string()),
                        ("--address", place.client(i).to_string()),
                        ("--grace-period", "10s".to_owned()),
                    ];
                    args.extend(more.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
                    Programs::find()?.sidecar.path
                }
                Elector::ClientGo => peers.elector().map_err(|why| anyhow::anyhow!(why))?,
                Elector::KubeLeaderElection => {
                    args.insert(0, "contender".to_owned());
                    std::env::current_exe()?
                }
            };
            place.start(&program, args)?;
            names.push(name);
        }
        Ok(Team { elector, place, names })
    }

    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// Of the contenders, which are those of their pods.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// What the application beside this contender last learnt.
    pub(super) fn leads(&self, i: usize) -> bool {
        if self.place.pid(i).is_none() {
            return false;
        }
        match self.elector {
            Elector::Sidecar => {
                let role = self.place.data(i).unwrap_or_else(|_| PathBuf::new()).join("role");
                std::fs::read_to_string(role).is_ok_and(|word| word.trim() == "leader")
            }
            Elector::ClientGo | Elector::KubeLeaderElection => {
                let log = self.place.log(i).and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default();
                // The report of a process that is gone says nothing about the running one.
                let own = log.rsplit("---- e2e: ended").next().unwrap_or_default();
                own.lines().rev().find(|line| line.contains("\"leads\":")).is_some_and(|line| line.contains("true"))
            }
        }
    }

    /// The leader, other than this one, and when that was seen.
    pub(super) async fn wait_for_leader(
        &self,
        not: Option<usize>,
        patience: Duration,
    ) -> anyhow::Result<(usize, Instant)> {
        let what = format!("one of {} is told that it leads", self.elector.name());
        let told = ask_until(what, patience, LOOK, async || {
            let leader = (0..self.count()).find(|i| Some(*i) != not && self.leads(*i));
            leader.map(|leader| (leader, Instant::now())).context("none was")
        });
        told.await.with_context(|| self.last_words())
    }

    /// Waits until the same one alone has led for a second. Who.
    pub(super) async fn settle(&self, patience: Duration) -> anyhow::Result<usize> {
        let deadline = Instant::now() + patience;
        let mut since: Option<(usize, Instant)> = None;
        while Instant::now() < deadline {
            let leaders: Vec<usize> = (0..self.count()).filter(|i| self.leads(*i)).collect();
            since = match (since, leaders.as_slice()) {
                (Some((who, since)), [leader]) if who == *leader => Some((who, since)),
                (_, [leader]) => Some((*leader, Instant::now())),
                _ => None,
            };
            if let Some((leader, since)) = since
                && since.elapsed() > Duration::from_secs(1)
            {
                return Ok(leader);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("none of {} led alone for a second within {patience:?}:\n{}", self.elector.name(), self.last_words())
    }

    /// It stays away: back after a second, it would hold the Lease again before others have looked.
    pub(super) fn end_and_hold(&self, i: usize) -> anyhow::Result<()> {
        self.place.end_and_hold(i)
    }

    pub(super) fn kill_and_hold(&self, i: usize) -> anyhow::Result<()> {
        self.place.kill_and_hold(i)
    }

    pub(super) fn start_again(&self, i: usize) {
        self.place.start_again(i);
    }

    pub(super) fn requests(&self, api: &Api) -> Vec<usize> {
        self.names.iter().map(|name| api.requests(name)).collect()
    }

    pub(super) fn resident_bytes(&self) -> f64 {
        (0..self.count()).filter_map(|i| self.place.pid(i)).map(machine::resident_bytes).fold(0.0, f64::max)
    }

    pub(super) fn last_words(&self) -> String {
        (0..self.count()).map(|i| format!("==== {}\n{}\n", self.names[i], self.place.last_words(i))).collect()
    }
}
