//! A pod: its two processes, its volume, and the directory that the two share.

use super::books::EPOCH_MS;
use super::disk::Volume;
use super::exec::Exec;
use super::sidecar::Sidecar;
use super::store::Store;
use leasehold_contract::{Moment, RoleFile, StatusFile};
use leasehold_election::{Fitness, RoleView};
use leasehold_replication::{FORMAT_MIN, ReplicaId, Room};
use std::rc::Rc;
use std::time::Duration;
use uuid::Uuid;

/// How many pods of plain apps may still be running after they were deleted by force.
pub(crate) const SPARE_PODS: usize = 2;

/// A member of the StatefulSet: two processes, a volume, a directory that they share.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    /// `pod-0`.
    pub(crate) name: String,
    /// Where clients reach it.
    pub(crate) address: String,
    /// Where other replicas reach it.
    pub(crate) peer_address: String,
    /// The speed of its clocks, in millionths of true time.
    pub(crate) rate: u64,
    /// By how much its wall clock is ahead of true time, and since when it has been about right; none: it is wrong.
    pub(crate) wall_ahead_ms: i64,
    pub(crate) wall_good_since: Option<Duration>,
    /// The pod exists: its processes are started again when they end.
    pub(crate) exists: bool,
    /// It was asked to end.
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
    /// Its disk does not answer until then.
    pub(crate) disk_hangs_until: Duration,
    /// The room that its shell finds in memory and on disk.
    pub(crate) room: Room,
    /// The highest format that the build of its store reads, and that its operator allows; and the highest that was ever
    /// allowed here.
    pub(crate) formats: (u32, u32),
    pub(crate) ever_allowed: u32,
    /// role.json.
    pub(crate) role_file: Option<Rc<RoleFile>>,
    /// (plain apps) role.json cannot be replaced until then; what is to be written.
    pub(crate) directory_full_until: Duration,
    pub(crate) role_waits: Option<Box<RoleView>>,
    /// status.json.
    pub(crate) status_file: Option<Rc<StatusFile>>,
    /// The store process.
    pub(crate) store: Store,
    /// The sidecar process.
    pub(crate) sidecar: Sidecar,
    /// (plain apps) The app's container.
    pub(crate) exec: Exec,
    /// (plain apps) The duration of the Lease that its sidecar is started with.
    pub(crate) lease_duration: Duration,
    /// (plain apps under `exec`) Its command passes the checks of its health, where they look at it.
    pub(crate) is_healthy: bool,
    pub(crate) fitness: Option<Fitness>,
    /// (plain apps) The app has said that it stopped leading in that term.
    pub(crate) stopped: Option<u64>,
}

impl Pod {
    /// No pod yet, and an empty volume: the replica of this UUID, which has this number.
    pub(crate) fn new(pod: usize, replica: ReplicaId, number: usize, rate: u64, ordinal: Option<usize>) -> Pod {
        Pod {
            name: format!("pod-{pod}"),
            address: format!("pod-{pod}:8089"),
            peer_address: format!("pod-{pod}:8090"),
            rate,
            wall_ahead_ms: 0,
            wall_good_since: Some(Duration::ZERO),
            exists: false,
            terminating: false,
            generation: 0,
            ordinal,
            boot: 0,
            booted_at: Duration::ZERO,
            volume: Volume::new(replica, number),
            disk_hangs_until: Duration::ZERO,
            room: Room::default(),
            formats: (FORMAT_MIN, FORMAT_MIN),
            ever_allowed: FORMAT_MIN,
            role_file: None,
            directory_full_until: Duration::ZERO,
            role_waits: None,
            status_file: None,
            store: Store::new(pod),
            sidecar: Sidecar::new(pod),
            exec: Exec::default(),
            lease_duration: Duration::ZERO,
            is_healthy: true,
            fitness: None,
            stopped: None,
        }
    }

    /// What the clocks of this pod show.
    pub(crate) fn local(&self, now: Duration) -> Duration {
        let since = now.saturating_sub(self.booted_at);
        Duration::from_nanos((since.as_nanos() * u128::from(self.rate) / 1_000_000) as u64)
    }

    /// What its wall clock shows, in milliseconds since 1970.
    pub(crate) fn wall_ms(&self, now: Duration) -> u64 {
        (EPOCH_MS + now.as_millis() as u64).saturating_add_signed(self.wall_ahead_ms)
    }

    /// Which start of its machine the clocks count from.
    pub(crate) fn boot_id(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.boot))
    }

    /// The same moment, as an app on this pod compares it with role.json.
    pub(crate) fn moment(&self, now: Duration) -> Moment {
        Moment { boot_id: Some(self.boot_id()), boottime_ns: self.local(now).as_nanos() as u64 }
    }

    /// When its clocks show this, or a little later.
    pub(crate) fn global(&self, local: Duration) -> Duration {
        let nanos = (local.as_nanos() * 1_000_000).div_ceil(u128::from(self.rate)) + 1;
        self.booted_at.saturating_add(Duration::from_nanos(nanos.min(u128::from(u64::MAX)) as u64))
    }
}
