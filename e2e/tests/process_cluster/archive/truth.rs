//! What a cluster's data was after each of its entries: told by a watch, beside the agent, and kept here.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use http_body_util::BodyExt;
use leasehold_e2e::{
    client::Http,
    cluster::Cluster,
    history::{Change, ChangeKind, Commit},
};
use serde_json::Value;
use tokio::task::JoinHandle;

/// The records of each collection, by their ids.
pub(super) type Data = BTreeMap<String, BTreeMap<String, Value>>;

/// A watch of everything from the first entry on.
pub(super) struct Truth {
    commits: Arc<Mutex<BTreeMap<u64, Vec<Commit>>>>,
    upto: Arc<Mutex<u64>>,
    over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Truth {
    pub(super) fn watch(cluster: &Cluster) -> Truth {
        let stores: Vec<SocketAddr> = (0..cluster.wanted()).map(|i| cluster.store(i)).collect();
        let (commits, upto, over) = (Arc::default(), Arc::default(), Arc::default());
        let reader = Reader { stores, commits: Arc::clone(&commits), upto: Arc::clone(&upto), over: Arc::clone(&over) };
        Truth { commits, upto, over, task: tokio::spawn(reader.go_on()) }
    }

    /// How far it knows.
    pub(super) fn upto(&self) -> u64 {
        *self.upto.lock().unwrap()
    }

    /// Waits until it knows this entry.
    pub(super) async fn knows(&self, cluster: &Cluster, sequence: u64) {
        cluster
            .until("the watch has it", || async {
                ensure!(self.upto() >= sequence, "it is at {}, not at {sequence}", self.upto());
                Ok(())
            })
            .await
            .unwrap();
    }

    pub(super) fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// All records, as they were after this entry.
    pub(super) fn at(&self, sequence: u64) -> Data {
        assert!(!self.task.is_finished() || self.over.load(Ordering::Relaxed), "the watch died");
        assert!(self.upto() >= sequence, "known up to {}, not to {sequence}", self.upto());
        let mut data = Data::new();
        for change in
            self.commits.lock().unwrap().range(..=sequence).flat_map(|(_, all)| all).flat_map(|one| &one.changes)
        {
            match change {
                Change::Definition { collection, definition } if definition.is_null() => _ = data.remove(collection),
                Change::Definition { collection, .. } => _ = data.entry(collection.clone()).or_default(),
                Change::Record { collection, kind, id, record, .. } => {
                    let records = data.entry(collection.clone()).or_default();
                    match kind {
                        ChangeKind::Created | ChangeKind::Replaced => _ = records.insert(id.clone(), record.clone()),
                        ChangeKind::Deleted | ChangeKind::Expired => _ = records.remove(id),
                    }
                }
            }
        }
        data
    }
}

struct Reader {
    stores: Vec<SocketAddr>,
    commits: Arc<Mutex<BTreeMap<u64, Vec<Commit>>>>,
    upto: Arc<Mutex<u64>>,
    over: Arc<AtomicBool>,
}

impl Reader {
    async fn go_on(self) {
        let http = Http::default();
        for turn in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            // A pod that is away, or behind: the next one knows it.
            let _ = self.read(&http, self.stores[turn % self.stores.len()]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn read(&self, http: &Http, store: SocketAddr) -> anyhow::Result<()> {
        let after = *self.upto.lock().unwrap();
        let (status, mut body) = http.open(store, &format!("/api/watch?after={after}")).await?;
        ensure!(status == 200, "{status}");
        let mut text = String::new();
        let mut of_one_entry = Vec::new();
        while !self.over.load(Ordering::Relaxed) {
            // A bookmark comes every ten seconds: a pod that says nothing for longer is frozen.
            let frame = tokio::time::timeout(Duration::from_secs(15), body.frame()).await?;
            let frame = frame.context("the watch ended")??;
            let Some(piece) = frame.data_ref() else { continue };
            text.push_str(&String::from_utf8_lossy(piece));
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let (Some(data), kind) = (field("data: "), field("event: ")) else { continue };
                match kind {
                    Some("end") => return Ok(()),
                    Some("bookmark") => {
                        let said: Value = serde_json::from_str(data)?;
                        let said = said["sequence"].as_u64().context("a bookmark without a sequence")?;
                        let mut upto = self.upto.lock().unwrap();
                        *upto = said.max(*upto);
                    }
                    _ => {
                        of_one_entry.push(Commit::of_event(data)?);
                        // Only the last event of an entry has an id.
                        if let Some(id) = field("id: ") {
                            let id = id.parse()?;
                            self.commits.lock().unwrap().insert(id, std::mem::take(&mut of_one_entry));
                            let mut upto = self.upto.lock().unwrap();
                            *upto = id.max(*upto);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
