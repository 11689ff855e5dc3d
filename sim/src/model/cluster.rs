//! The whole cluster of a run: its machinery, the world, and what is known about it.
//!
//! ```text
//!   queue ──next event──▶ dispatch ──▶ step_store   ──▶ Replica  ──effects──▶ disk, network, clients, status file
//!     ▲                            └─▶ step_sidecar ──▶ Election ──effects──▶ Lease, role file
//!     └───────────────────────────────── everything that takes time ─────────────────────────────────┘
//! ```
//!
//! Virtual time is a counter. Nothing here waits, and nothing reads a clock: a run is a function of its seed. `play` has
//! what happens, `judge` has what is judged: both contain more methods of this object, sorted by topic.

use super::books::Books;
use super::chaos::Chaos;
use super::client::Clients;
use super::event::Event;
use super::facts::Facts;
use super::lease::Api;
use super::network::{Network, Weather};
use super::pod::{Pod, SPARE_PODS};
use super::queue::Queue;
use super::rng::Rng;
use super::settings::Settings;
use super::trace::Trace;
use leasehold_replication::{Phase, ReplicaId, SnapshotMeta};
use std::rc::Rc;
use std::time::Duration;

/// The cluster of one run.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    // The machinery.
    pub(crate) now: Duration,
    pub(crate) queue: Queue<Event>,
    pub(crate) rng: Rng,
    pub(crate) settings: Settings,
    // The world.
    pub(crate) pods: Vec<Pod>,
    pub(crate) network: Network,
    pub(crate) api: Api,
    pub(crate) clients: Clients,
    /// Every snapshot taken, by number: the number stands for its bytes on the wire.
    pub(crate) snapshots: Vec<Rc<SnapshotMeta>>,
    /// What breaks it.
    pub(crate) chaos: Chaos,
    // What is known about it, and reported.
    pub(crate) facts: Facts,
    pub(crate) books: Books,
    pub(crate) counts: Counts,
    pub(crate) trace: Trace,
}

/// Figures for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Steps of both cores.
    pub(crate) steps: u64,
    /// The most leaderships that one settling took.
    pub(crate) settling_takes: u64,
}

impl Cluster {
    /// Empty volumes, no Lease, all pods about to start.
    pub(crate) fn new(seed: u64, settings: Settings, mut rng: Rng, trace: Trace) -> Cluster {
        let mut facts = Facts::default();
        let weather = Weather { delay_us: settings.delay_us, late: settings.late, lost: settings.lost };
        let places = if settings.is_plain { settings.pods + SPARE_PODS } else { settings.pods };
        let pods: Vec<Pod> = (0..places)
            .map(|pod| {
                let replica = ReplicaId(rng.uuid());
                let number = facts.add_volume(replica);
                let rate = rng.between(1_000_000 - settings.drift, 1_000_000 + settings.drift);
                Pod::new(pod, replica, number, rate, (pod < settings.pods).then_some(pod))
            })
            .collect();
        let mut cluster = Cluster {
            now: Duration::ZERO,
            queue: Queue::new(),
            facts,
            books: Books::default(),
            counts: Counts::default(),
            clients: Clients::new(settings.command_bytes),
            network: Network::new(pods.len(), weather, settings.slow),
            api: Api::new(pods.len(), settings.wanted),
            chaos: Chaos::new(&mut rng, &settings),
            pods,
            snapshots: Vec::new(),
            rng,
            settings,
            trace,
        };
        cluster.trace.add(Duration::ZERO, || format!("seed {seed}: {:?}", cluster.settings));
        for pod in 0..cluster.settings.wanted {
            let at = cluster.rng.millis(0, 200);
            cluster.schedule(at, Event::PodStarts { pod, generation: 0 });
        }
        if cluster.settings.has_manifest {
            cluster.schedule(Duration::ZERO, Event::LeaseApplied);
        }
        cluster.schedule(Duration::from_millis(1), Event::ClientsWrite);
        cluster.schedule(Duration::from_millis(1), Event::Fault);
        if cluster.settings.collections {
            cluster.pods.iter_mut().for_each(|pod| (pod.formats, pod.ever_allowed) = ((2, 2), 2));
            cluster.schedule(Duration::from_millis(1), Event::ClocksChange);
        }
        if cluster.settings.disks_hang {
            cluster.schedule(Duration::from_millis(1), Event::DiskHangs);
        }
        cluster
    }

    /// It happens at this time, or now if that has passed.
    pub(crate) fn schedule(&mut self, at: Duration, event: Event) {
        self.queue.schedule(at.max(self.now), event);
    }

    /// Something is wrong.
    pub(crate) fn violation(&mut self, what: String) {
        self.trace.add(self.now, || format!("VIOLATION   {what}"));
        self.facts.violated(what);
    }

    /// The pod behind an address or a name.
    pub(crate) fn find_pod(&self, address: &str) -> Option<usize> {
        let pod = address.strip_prefix("pod-")?.split(':').next()?.parse().ok()?;
        (pod < self.pods.len()).then_some(pod)
    }

    /// The pod that reports that it leads; of several, the one with the highest term.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leads = |pod: &usize| self.pods[*pod].store.up().is_some_and(|up| up.status.phase == Phase::Leading);
        (0..self.pods.len()).filter(leads).max_by_key(|pod| self.pods[*pod].store.status().promise.term)
    }
}
