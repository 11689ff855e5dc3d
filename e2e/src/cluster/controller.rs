//! The StatefulSet's controller: pods that are wanted are made, others end.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use leasehold_api::{ApiServer, Kind, lock};
use serde_json::{Value, json};

use super::{
    Config, Part, Program, Programs,
    names::{NAMESPACE, SERVICE, STATEFUL_SET},
    pod::Pod,
};

/// What the cluster's handle and the controller's thread share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: Config,
    pub(super) api: ApiServer,
    pub(super) root: PathBuf,
    pub(super) pods: Mutex<BTreeMap<u16, Pod>>,
    /// Programs of single pods, other than those that pods begin with.
    pub(super) exchanged: Mutex<BTreeMap<(u16, Part), Program>>,
    pub(super) over: AtomicBool,
}

impl Inner {
    pub(super) fn wanted(&self) -> u16 {
        let set = self.api.get(Kind::StatefulSet, NAMESPACE, STATEFUL_SET).unwrap_or(Value::Null);
        set["spec"]["replicas"].as_u64().and_then(|n| u16::try_from(n).ok()).unwrap_or(0)
    }

    /// What pod `i` is made of.
    pub(super) fn programs(&self, i: u16) -> Programs {
        let mut programs = self.config.programs.clone();
        let exchanged = lock(&self.exchanged);
        for (part, program) in [(Part::Store, &mut programs.store), (Part::Sidecar, &mut programs.sidecar)] {
            if let Some(other) = exchanged.get(&(i, part)) {
                program.clone_from(other);
            }
        }
        programs
    }

    /// The StatefulSet's controller, with the Parallel policy.
    pub(super) fn control(&self) {
        while !self.over.load(Ordering::Relaxed) {
            let wanted = self.wanted();
            {
                let mut pods = lock(&self.pods);
                for pod in pods.values_mut() {
                    let object = self.api.get(Kind::Pod, NAMESPACE, &pod.name).unwrap_or(Value::Null);
                    if pod.ordinal >= wanted || !object["metadata"]["deletionTimestamp"].is_null() {
                        pod.end(self.config.grace);
                    }
                }
                let mut gone = Vec::new();
                for (i, pod) in pods.iter_mut() {
                    if pod.is_ending() && pod.step_end() {
                        gone.push(*i);
                    }
                }
                for i in gone {
                    if let Some(pod) = pods.remove(&i) {
                        pod.remove(&self.api);
                    }
                }
                for i in 0..wanted {
                    let Entry::Vacant(place) = pods.entry(i) else { continue };
                    match Pod::create(&self.config, &self.programs(i), &self.root, &self.api, i) {
                        Ok(pod) => {
                            place.insert(pod);
                        }
                        Err(error) => eprintln!("e2e: pod {i} cannot be made: {error:#}"),
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

pub(super) fn stateful_set(replicas: u16) -> Value {
    let labels = json!({"app.kubernetes.io/name": "leasehold", "app.kubernetes.io/instance": "database"});
    json!({
        "metadata": {"name": STATEFUL_SET, "labels": labels},
        "spec": {
            "replicas": replicas, "serviceName": SERVICE, "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "store"}]}},
        },
        "status": {"replicas": replicas, "currentRevision": "e2e-1", "updateRevision": "e2e-1"},
    })
}
