//! The whole cluster: pods, what they share, and the queue of everything that is going to happen.
//!
//! ```text
//!   queue ──next event──▶ dispatch ──▶ step_store   ──▶ Replica  ──effects──▶ disk, network, clients, status file
//!     ▲                            └─▶ step_sidecar ──▶ Election ──effects──▶ Lease, role file
//!     └───────────────────────────────── everything that takes time ─────────────────────────────────┘
//! ```
//!
//! Virtual time is a counter. Nothing here waits, and nothing reads a clock: a run is a function of its seed.

use crate::judge::invariants::Checker;
use crate::model::client::Clients;
use crate::model::disk::Volume;
use crate::model::rng::Rng;
use crate::model::settings::Settings;
use crate::model::trace::Trace;
use crate::play::chaos::Chaos;
use crate::play::lease::{Api, Call};
use crate::play::network::{Network, Request, Weather};
use crate::play::plain_chaos::{Answer, SPARE_PODS};
use crate::play::sidecar::Sidecar;
use crate::play::store::Store;
use leasehold_contract::{Moment, RoleFile, StatusFile};
use leasehold_replication::{ReplicaId, SnapshotMeta};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

/// One run of a process: what was meant for an earlier one never reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    /// The pod.
    pub(crate) pod: usize,
    /// Counts its runs, from 1.
    pub(crate) run: u32,
}

/// A member of the StatefulSet: two processes, a volume, a directory that they share.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    /// `pod-0`.
    pub(crate) name: String,
    /// Where clients reach it.
    pub(crate) address: String,
    /// Where other replicas reach it.
    pub(crate) peer_address: String,
    /// How fast its clocks run, in millionths of true time.
    pub(crate) rate: u64,
    /// The pod exists: its processes are started again when they end.
    pub(crate) exists: bool,
    /// It was told to end.
    pub(crate) terminating: bool,
    /// Counts the pods of this name.
    pub(crate) generation: u32,
    /// Its place in the StatefulSet. None: no pod, or one that was deleted by force (plain apps only).
    pub(crate) ordinal: Option<usize>,
    /// Counts the starts of its machine.
    pub(crate) boot: u32,
    /// When the machine last started: its clocks count from here.
    pub(crate) booted_at: Duration,
    /// The data volume, which outlives the pod.
    pub(crate) volume: Volume,
    /// Its disk answers nothing until then.
    pub(crate) disk_hangs_until: Duration,
    /// What its shell finds of memory and disk.
    pub(crate) room: leasehold_replication::Room,
    /// role.json.
    pub(crate) role_file: Option<Rc<RoleFile>>,
    /// status.json.
    pub(crate) status_file: Option<Rc<StatusFile>>,
    /// The store process.
    pub(crate) store: Store,
    /// The sidecar process.
    pub(crate) sidecar: Sidecar,
}

impl Pod {
    /// What the clocks of this pod show.
    pub(crate) fn local(&self, now: Duration) -> Duration {
        let since = now.saturating_sub(self.booted_at);
        Duration::from_nanos((since.as_nanos() * u128::from(self.rate) / 1_000_000) as u64)
    }

    /// Which start of its machine the clocks count from.
    pub(crate) fn boot_id(&self) -> uuid::Uuid {
        uuid::Uuid::from_u128(u128::from(self.boot))
    }

    /// The same moment, as an app on this pod holds it against role.json.
    pub(crate) fn moment(&self, now: Duration) -> Moment {
        Moment { boot_id: Some(self.boot_id()), boottime_ns: self.local(now).as_nanos() as u64 }
    }

    /// When its clocks show this, or a little later.
    pub(crate) fn global(&self, local: Duration) -> Duration {
        let nanos = (local.as_nanos() * 1_000_000).div_ceil(u128::from(self.rate)) + 1;
        self.booted_at.saturating_add(Duration::from_nanos(nanos.min(u128::from(u64::MAX)) as u64))
    }
}

/// What is going to happen. Large contents are boxed: the queue moves these about.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    StoreStarts {
        life: Life,
    },
    StoreRecovered {
        life: Life,
    },
    StoreWakes {
        life: Life,
    },
    /// In the middle of what it does.
    StoreDies {
        life: Life,
    },
    Store {
        life: Life,
        input: Box<leasehold_replication::Input>,
    },
    Synced {
        life: Life,
        covers: u64,
    },
    SnapshotDone {
        life: Life,
        number: u64,
    },
    RoleRead {
        life: Life,
        again: bool,
    },
    Deliver {
        conn: u64,
        end: usize,
    },
    Asked {
        from: Life,
        meant: usize,
        to: usize,
        asked_at: Duration,
        request: Box<Request>,
    },
    SidecarStarts {
        life: Life,
    },
    SidecarWakes {
        life: Life,
    },
    Sidecar {
        life: Life,
        input: Box<leasehold_election::Input>,
    },
    StatusRead {
        life: Life,
        again: bool,
    },
    LockFree {
        life: Life,
    },
    Called {
        life: Life,
        call: Box<Call>,
        answer: Answer,
    },
    WatchOpens {
        life: Life,
    },
    Watched {
        life: Life,
        watch: u64,
        watched: Box<leasehold_election::Watched>,
    },
    MembersShown {
        life: Life,
    },
    PodStarts {
        pod: usize,
        generation: u32,
    },
    GraceEnds {
        pod: usize,
        generation: u32,
    },
    /// An fsync, by its number, may be under way for too long.
    DiskStall {
        life: Life,
        syncs: u64,
    },
    ClientsWrite,
    /// Somebody has more room, or less.
    RoomChanges,
    Fault,
    DiskHangs,
}

#[derive(Clone, Debug)]
struct Scheduled {
    at: Duration,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.order == other.order
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The cluster of one run.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) now: Duration,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    pub(crate) rng: Rng,
    pub(crate) settings: Settings,
    pub(crate) trace: Trace,
    pub(crate) checker: Checker,
    pub(crate) clients: Clients,
    /// When each entry was applied first.
    pub(crate) applied_at: Vec<Duration>,
    pub(crate) network: Network,
    pub(crate) api: Api,
    pub(crate) pods: Vec<Pod>,
    pub(crate) chaos: Chaos,
    /// Every snapshot that was taken, by number: the bytes that go over the wire are that number.
    pub(crate) snapshots: Vec<Rc<SnapshotMeta>>,
    /// Steps of both cores.
    pub(crate) steps: u64,
    /// The most leaderships that one settling took.
    pub(crate) settling_takes: u64,
}

impl Cluster {
    /// Empty volumes, no Lease, all pods about to start.
    pub(crate) fn new(seed: u64, settings: Settings, mut rng: Rng, trace: Trace) -> Cluster {
        let mut checker = Checker::default();
        let weather = Weather { delay_us: settings.delay_us, late: settings.late, lost: settings.lost };
        let places = if settings.is_plain { settings.pods + SPARE_PODS } else { settings.pods };
        let pods: Vec<Pod> = (0..places)
            .map(|pod| {
                let replica = ReplicaId(rng.uuid());
                let number = checker.add_volume(replica);
                Pod {
                    name: format!("pod-{pod}"),
                    address: format!("pod-{pod}:8089"),
                    peer_address: format!("pod-{pod}:8090"),
                    rate: rng.between(1_000_000 - settings.drift, 1_000_000 + settings.drift),
                    exists: false,
                    terminating: false,
                    generation: 0,
                    ordinal: (pod < settings.pods).then_some(pod),
                    boot: 0,
                    booted_at: Duration::ZERO,
                    volume: Volume::new(replica, number),
                    disk_hangs_until: Duration::ZERO,
                    room: leasehold_replication::Room::default(),
                    role_file: None,
                    status_file: None,
                    store: Store::new(pod),
                    sidecar: Sidecar::new(pod),
                }
            })
            .collect();
        let mut cluster = Cluster {
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            order: 0,
            checker,
            clients: Clients::new(settings.command_bytes),
            applied_at: Vec::new(),
            network: Network::new(pods.len(), weather, settings.slow),
            api: Api::new(pods.len(), settings.wanted),
            chaos: Chaos::new(&mut rng, settings.is_plain, settings.goes_back),
            pods,
            snapshots: Vec::new(),
            steps: 0,
            settling_takes: 0,
            rng,
            settings,
            trace,
        };
        cluster.trace.add(Duration::ZERO, || format!("seed {seed}: {:?}", cluster.settings));
        for pod in 0..cluster.settings.wanted {
            let at = cluster.rng.millis(0, 200);
            cluster.schedule(at, Event::PodStarts { pod, generation: 0 });
        }
        cluster.schedule(Duration::from_millis(1), Event::ClientsWrite);
        cluster.schedule(Duration::from_millis(1), Event::Fault);
        if cluster.settings.disks_hang {
            cluster.schedule(Duration::from_millis(1), Event::DiskHangs);
        }
        cluster
    }

    /// Puts an event into the queue. Times are whole microseconds, so that what was put off (below) can stand between.
    pub(crate) fn schedule(&mut self, at: Duration, event: Event) {
        let at = Duration::from_micros(at.max(self.now).as_nanos().div_ceil(1000) as u64);
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at, order: self.order, event }));
    }

    /// Something is wrong.
    pub(crate) fn violation(&mut self, what: String) {
        self.trace.add(self.now, || format!("VIOLATION   {what}"));
        self.checker.violated(what);
    }

    /// Runs until `until`, or until an invariant is violated.
    pub(crate) fn run_until(&mut self, until: Duration) {
        while !self.checker.is_violated() {
            match self.queue.peek() {
                Some(Reverse(next)) if next.at <= until => {}
                _ => {
                    self.now = self.now.max(until);
                    return;
                }
            }
            let Some(Reverse(Scheduled { at, event, .. })) = self.queue.pop() else { return };
            self.now = at;
            match self.frozen_until(&event) {
                // A frozen process finds it all when it goes on, in the old order: before anything of a later moment.
                Some(until) if until >= at => {
                    self.put_off(until, event);
                }
                _ => self.dispatch(event),
            }
        }
    }

    /// It happens when what holds it up is over, or is brought forward.
    pub(crate) fn put_off(&mut self, until: Duration, event: Event) {
        let at = Duration::from_micros(until.as_nanos().div_ceil(1000) as u64) + Duration::from_nanos(500);
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at, order: self.order, event }));
    }

    /// What was put off for frozen processes and hung disks comes now: nothing holds them up any more.
    pub(crate) fn bring_forward(&mut self) {
        let mut events: Vec<Scheduled> =
            std::mem::take(&mut self.queue).into_iter().map(|Reverse(event)| event).collect();
        events.sort_unstable();
        for mut event in events {
            if event.at.subsec_nanos() % 1000 != 0 {
                event.at = self.now;
            }
            self.queue.push(Reverse(event));
        }
    }

    /// Until when the process that this event goes to is frozen.
    fn frozen_until(&self, event: &Event) -> Option<Duration> {
        let (pod, is_store) = match event {
            Event::StoreRecovered { life }
            | Event::StoreWakes { life }
            | Event::Store { life, .. }
            | Event::Synced { life, .. }
            | Event::SnapshotDone { life, .. }
            | Event::DiskStall { life, .. }
            | Event::RoleRead { life, .. } => (life.pod, true),
            Event::Asked { to, .. } => (*to, true),
            Event::Deliver { conn, end } => (self.network.receiver(*conn, *end)?, true),
            Event::SidecarWakes { life }
            | Event::Sidecar { life, .. }
            | Event::StatusRead { life, .. }
            | Event::LockFree { life }
            | Event::WatchOpens { life }
            | Event::Watched { life, .. }
            | Event::MembersShown { life } => (life.pod, false),
            Event::StoreStarts { .. }
            | Event::StoreDies { .. }
            | Event::SidecarStarts { .. }
            | Event::Called { .. }
            | Event::PodStarts { .. }
            | Event::GraceEnds { .. }
            | Event::ClientsWrite
            | Event::Fault
            | Event::DiskHangs
            | Event::RoomChanges => return None,
        };
        Some(if is_store { self.pods[pod].store.frozen_until } else { self.pods[pod].sidecar.frozen_until })
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::StoreStarts { life } if self.is_store(life) => self.start_store(life),
            Event::StoreRecovered { life } if self.is_store(life) => self.recover_store(life),
            Event::StoreWakes { life } if self.is_store(life) => self.wake_store(life),
            Event::StoreDies { life } if self.is_store(life) && self.chaos.is_on() => {
                let power = self.rng.chance(500);
                self.kill_store(life.pod, power);
            }
            Event::Store { life, input } if self.is_store(life) => self.step_store(life.pod, *input),
            Event::Synced { life, covers } if self.is_store(life) => self.synced(life, covers),
            Event::SnapshotDone { life, number } if self.is_store(life) => self.snapshot_done(life, number),
            Event::RoleRead { life, again } if self.is_store(life) => self.read_role(life, again),
            Event::Deliver { conn, end } => self.deliver(conn, end),
            Event::Asked { from, meant, to, asked_at, request } => self.asked(from, meant, to, asked_at, *request),
            Event::SidecarStarts { life } if self.is_sidecar(life) => self.start_sidecar(life),
            Event::SidecarWakes { life } if self.is_sidecar(life) => self.wake_sidecar(life),
            Event::Sidecar { life, input } if self.is_sidecar(life) => self.step_sidecar(life.pod, *input),
            Event::StatusRead { life, again } if self.is_sidecar(life) => self.read_status(life, again),
            Event::LockFree { life } if self.is_sidecar(life) => self.lock_free(life),
            // A request of a process that died meanwhile is still on its way.
            Event::Called { life, call, answer } => self.called(life, *call, answer),
            Event::WatchOpens { life } if self.is_sidecar(life) => self.open_watch(life),
            Event::Watched { life, watch, watched } if self.is_sidecar(life) => self.watched(life, watch, *watched),
            Event::MembersShown { life } if self.is_sidecar(life) => self.members_shown(life),
            Event::PodStarts { pod, generation } if self.pods[pod].generation == generation => self.start_pod(pod),
            Event::GraceEnds { pod, generation } if self.pods[pod].generation == generation => self.end_pod(pod),
            Event::ClientsWrite => self.clients_write(),
            Event::RoomChanges => self.change_room(),
            Event::Fault => self.next_fault(),
            Event::DiskHangs => self.next_hang(),
            Event::DiskStall { life, syncs } if self.is_store(life) => self.disk_stalled(life, syncs),
            // Meant for a process or a pod that is no more.
            Event::StoreStarts { .. }
            | Event::StoreRecovered { .. }
            | Event::StoreWakes { .. }
            | Event::StoreDies { .. }
            | Event::Store { .. }
            | Event::Synced { .. }
            | Event::SnapshotDone { .. }
            | Event::DiskStall { .. }
            | Event::RoleRead { .. }
            | Event::SidecarStarts { .. }
            | Event::SidecarWakes { .. }
            | Event::Sidecar { .. }
            | Event::StatusRead { .. }
            | Event::LockFree { .. }
            | Event::WatchOpens { .. }
            | Event::Watched { .. }
            | Event::MembersShown { .. }
            | Event::PodStarts { .. }
            | Event::GraceEnds { .. } => {}
        }
    }

    fn is_store(&self, life: Life) -> bool {
        self.pods[life.pod].store.life == life
    }

    fn is_sidecar(&self, life: Life) -> bool {
        self.pods[life.pod].sidecar.life == life
    }

    /// The pod that an address or a name leads to.
    pub(crate) fn find_pod(&self, address: &str) -> Option<usize> {
        let pod = address.strip_prefix("pod-")?.split(':').next()?.parse().ok()?;
        (pod < self.pods.len()).then_some(pod)
    }

    /// The kubelet starts a pod that is wanted: an empty shared directory, both processes.
    fn start_pod(&mut self, pod: usize) {
        if self.pods[pod].exists || self.pods[pod].ordinal.is_none_or(|ordinal| ordinal >= self.api.wanted) {
            return;
        }
        self.trace.add(self.now, || format!("pod-{pod} begins"));
        let found = &mut self.pods[pod];
        found.exists = true;
        found.terminating = false;
        (found.role_file, found.status_file) = (None, None);
        let (store, sidecar) = (found.store.life, found.sidecar.life);
        if !self.settings.is_plain {
            let at = self.now + self.rng.millis(0, 100);
            self.schedule(at, Event::StoreStarts { life: store });
        }
        let at = self.now + self.rng.millis(0, 100);
        self.schedule(at, Event::SidecarStarts { life: sidecar });
    }

    /// SIGTERM to both processes of a pod, and the end of its grace period later.
    pub(crate) fn terminate_pod(&mut self, pod: usize) {
        if !self.pods[pod].exists || self.pods[pod].terminating {
            return;
        }
        self.trace.add(self.now, || format!("pod-{pod} is told to end"));
        self.pods[pod].terminating = true;
        let generation = self.pods[pod].generation;
        self.schedule(self.now + self.settings.grace, Event::GraceEnds { pod, generation });
        if self.pods[pod].store.is_up() {
            let life = self.pods[pod].store.life;
            let input = Box::new(leasehold_replication::Input::Drain);
            self.schedule(self.now, Event::Store { life, input });
        } else {
            self.kill_store(pod, false);
        }
        if self.pods[pod].sidecar.is_up() {
            let life = self.pods[pod].sidecar.life;
            let input = Box::new(leasehold_election::Input::Stop);
            // A native sidecar is told after the app has ended (see `kill_store`), any other at once.
            if !self.settings.native_sidecar {
                self.schedule(self.now, Event::Sidecar { life, input });
            }
        } else {
            self.kill_sidecar(pod);
        }
        self.pod_over(pod);
    }

    /// Both processes of a pod that ends have ended: a new pod takes its name, if one is wanted.
    pub(crate) fn pod_over(&mut self, pod: usize) {
        let found = &mut self.pods[pod];
        if !found.terminating || found.store.is_running() || found.sidecar.is_up() {
            return;
        }
        self.trace.add(self.now, || format!("pod-{pod} is gone"));
        found.exists = false;
        found.terminating = false;
        if self.settings.is_plain {
            // Its directory goes with it, and so does its app.
            found.role_file = None;
        }
        found.generation += 1;
        let generation = found.generation;
        let at = self.now + self.rng.millis(10, 1500);
        self.schedule(at, Event::PodStarts { pod, generation });
    }

    fn end_pod(&mut self, pod: usize) {
        if self.pods[pod].terminating {
            self.kill_store(pod, false);
            self.kill_sidecar(pod);
            self.pod_over(pod);
        }
    }

    /// `kubectl scale`, and what the StatefulSet's controller does about it.
    pub(crate) fn scale_to(&mut self, wanted: usize) {
        self.scale(wanted);
        for pod in 0..self.pods.len() {
            let Some(ordinal) = self.pods[pod].ordinal else { continue };
            if ordinal >= wanted {
                self.terminate_pod(pod);
            } else if !self.pods[pod].exists {
                let generation = self.pods[pod].generation;
                let at = self.now + self.rng.millis(10, 500);
                self.schedule(at, Event::PodStarts { pod, generation });
            }
        }
    }
}
