//! The settings of one run: sizes, times and how bad the weather is. All of it derives from the seed, and every run leaves
//! some of it out: a fault that is never mixed with the others finds what the mix hides.

use super::rng::Rng;
use crate::options::Options;
use crate::plant::Plant;
use leasehold_replication::Restore;
use std::time::Duration;

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The maximum number of pods.
    pub(crate) pods: usize,
    /// The number of wanted pods at first.
    pub(crate) wanted: usize,
    pub(crate) lost_time: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) lease_duration: Duration,
    /// The grace period of pods.
    pub(crate) grace: Duration,
    /// SIGTERM reaches the sidecar only when the store has ended.
    pub(crate) native_sidecar: bool,
    /// How far clocks are off, in millionths.
    pub(crate) drift: u64,
    /// The usual longest delay of a message, in microseconds.
    pub(crate) delay_us: u64,
    /// Of 1000 messages, those that are very late.
    pub(crate) late: u32,
    /// Of 1000 requests between stores, those that are lost.
    pub(crate) lost: u32,
    /// Of 1000 requests to the API, those without an answer.
    pub(crate) api_lost: u32,
    pub(crate) api_timeout: Duration,
    /// The usual longest time of an fsync, in microseconds.
    pub(crate) fsync_us: u64,
    /// Of 1000 fsyncs, those that take up to 300 times as long.
    pub(crate) fsync_late: u32,
    /// Time between two batches of writes, in microseconds.
    pub(crate) write_every_us: u64,
    /// The length of a command.
    pub(crate) command_bytes: usize,
    /// Bytes of durable and applied entries that a replica keeps in memory.
    pub(crate) log_memory_bytes: usize,
    /// Bytes of entries that a replica hands out for application at once.
    pub(crate) apply_bytes_max: usize,
    /// The links to this pod deliver this many bytes a second.
    pub(crate) slow: Option<(usize, u64)>,
    /// A snapshot is taken after about this many applied entries.
    pub(crate) snapshot_every: u64,
    /// Disks hang now and then.
    pub(crate) disks_hang: bool,
    /// Of 100,000 steps of a store, those in which it dies between two effects.
    pub(crate) effect_crashes: u32,
    /// How long faults happen.
    pub(crate) chaos: Duration,
    /// The usual time between two faults.
    pub(crate) fault_every: Duration,
    /// What is broken on purpose.
    pub(crate) plant: Option<Plant>,
    /// Older copies replace volumes.
    pub(crate) goes_back: bool,
    /// The apps are plain ones: there are only sidecars, and nobody edits the Lease.
    pub(crate) is_plain: bool,
    /// Plain apps are run by `exec`.
    pub(crate) exec: bool,
    /// Plain apps: the Lease is in a manifest.
    pub(crate) has_manifest: bool,
    /// Plain apps: the shared directory is full at times.
    pub(crate) directories_fill: bool,
    /// Plain apps: the API server's data are restored from a backup, or the Lease alone.
    pub(crate) leases_go_back: bool,
    /// Plain apps: pods that start later have this duration: it is being made longer.
    pub(crate) later_duration: Option<Duration>,
    /// Plain apps under `exec`: their health is looked at, with this period.
    pub(crate) health_period: Option<Duration>,
    /// Addresses lead to other pods at times, and to those of another cluster.
    pub(crate) strangers: bool,
    /// Memory and disks run short.
    pub(crate) runs_short: bool,
    /// Data of single replicas differ.
    pub(crate) diverging: bool,
    /// Stores have collections.
    pub(crate) collections: bool,
    /// What the first start is to begin with.
    pub(crate) restores: Option<Restore>,
    /// Pods are of two builds.
    pub(crate) two_builds: bool,
    /// What an operator brings them to at the moment: the format that a build reads, and that it allows.
    pub(crate) image: (u32, u32),
}

impl Settings {
    /// The settings that come from a seed.
    pub(crate) fn new(rng: &mut Rng, options: &Options) -> Settings {
        let pods = *rng.pick(&[1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5, 5, 5, 6, 7]);
        let wanted = if rng.chance(800) { pods } else { 1 + rng.below(pods) };
        let grace = Duration::from_secs(rng.between(8, 30));
        let lease_seconds = *rng.pick(&[2, 3, 3, 5, 15]);
        // With its own random numbers: so seeds keep the meaning that they had before there were long commands.
        let mut own = Rng::new(rng.clone().bits());
        let is_fat = own.chance(150);
        let slow = (is_fat && own.chance(500)).then(|| (own.below(pods), *own.pick(&[150_000, 400_000, 1_000_000])));
        let apply_bytes_max = *Rng::new(rng.clone().bits() ^ 0xa991).pick(&[1, 1_000_000, 1_000_000]);
        let disks_hang = !options.plain && Rng::new(rng.clone().bits() ^ 0xd15c).chance(300);
        // What was added later has random numbers of its own, as has each in the same way: so older seeds keep their meaning.
        let odds = |salt: u64, of_1000: u32| options.plain && Rng::new(rng.clone().bits() ^ salt).chance(of_1000);
        let (directories_fill, leases_go_back) = (odds(0xf11e, 250), odds(0xbac4, 250));
        let is_exec = options.plain && own.chance(500);
        let (is_rolled, is_looked_at) = (odds(0x7011, 250), odds(0x6ea1, 500));
        Settings {
            disks_hang,
            directories_fill,
            leases_go_back,
            later_duration: is_rolled.then(|| Duration::from_secs(lease_seconds * 3)),
            health_period: (is_exec && is_looked_at).then(|| Duration::from_secs(1)),
            apply_bytes_max,
            pods,
            wanted,
            lost_time: Duration::from_millis(*rng.pick(&[500, 1000, 1000, 1000, 2000])),
            heartbeat: Duration::from_millis(100),
            lease_duration: Duration::from_secs(lease_seconds),
            grace,
            native_sidecar: rng.chance(500),
            // For plain apps nothing is promised if clocks run at different speeds.
            drift: *rng.pick(&[0, 0, 100, 50_000, 200_000]) * u64::from(!options.plain),
            delay_us: *rng.pick(&[200, 1000, 1000, 5000, 20_000]),
            late: *rng.pick(&[0, 0, 5, 30]),
            lost: *rng.pick(&[0, 0, 20, 200]),
            api_lost: *rng.pick(&[0, 0, 20, 150]),
            // Well below a third of the duration.
            api_timeout: Duration::from_millis(if lease_seconds < 5 { 500 } else { 1000 }),
            fsync_us: *rng.pick(&[200, 1000, 1000, 10_000, 50_000]),
            fsync_late: *rng.pick(&[0, 0, 5, 30]),
            write_every_us: if is_fat { 100_000 } else { *rng.pick(&[1000, 5000, 20_000, 100_000]) },
            command_bytes: if is_fat { 60_000 } else { 8 },
            slow,
            log_memory_bytes: *own.pick(&[0, 300, 3_000, 1_000_000]) * if is_fat { 100 } else { 1 },
            snapshot_every: *rng.pick(&[10, 50, 500, 1_000_000]),
            effect_crashes: *rng.pick(&[0, 0, 20, 200]),
            chaos: options.chaos.unwrap_or(Duration::from_secs(rng.between(5, 40))),
            fault_every: Duration::from_millis(*rng.pick(&[50, 300, 300, 1000, 3000])),
            plant: options.plant,
            goes_back: false,
            is_plain: options.plain,
            exec: is_exec,
            has_manifest: options.plain && own.chance(500),
            strangers: options.strangers,
            runs_short: options.room,
            diverging: options.diverging,
            collections: options.collections,
            restores: None,
            two_builds: options.formats,
            image: (1, 1),
        }
    }

    /// Three pods, and nothing goes wrong by itself.
    pub(crate) fn calm(rng: &mut Rng, options: &Options) -> Settings {
        Settings {
            pods: 3,
            wanted: 3,
            lost_time: Duration::from_secs(1),
            lease_duration: Duration::from_secs(3),
            grace: Duration::from_secs(20),
            drift: 0,
            delay_us: 500,
            late: 0,
            lost: 0,
            api_lost: 0,
            api_timeout: Duration::from_millis(500),
            fsync_us: 500,
            fsync_late: 0,
            write_every_us: 50_000,
            command_bytes: 8,
            slow: None,
            log_memory_bytes: 1_000_000,
            apply_bytes_max: 1_000_000,
            snapshot_every: 1_000_000,
            effect_crashes: 0,
            disks_hang: false,
            ..Settings::new(rng, options)
        }
    }
}
