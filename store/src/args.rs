//! Flags and environment: [`Args`] as typed, [`Config`] as checked.
//!
//! Nothing else reads the environment. Invalid flags are refused with one sentence, before anything is changed.

mod checks;
pub mod trust;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use leasehold_daemon::durations;
use leasehold_daemon::logs::LogFormat;

use crate::api::cors::{self, Origins};
use crate::api::forward::FollowerWrites;
use crate::history::HISTORY_BYTES;
use leasehold_documents::FORMAT;
use trust::TrustArgs;

/// The default log filter: our own transitions, and only failures of the libraries.
const DEFAULT_LOG_FILTER: &str = "info,hyper=warn,hyper_util=warn,h2=warn,warp=warn,tungstenite=warn,notify=warn";

/// A replicated JSON record store that follows its sidecar.
#[derive(Clone, Debug, Parser)]
#[command(name = "store", version, about, long_about = None)]
pub struct Args {
    /// A command to run instead of the store.
    #[command(subcommand)]
    pub command: Option<SubCommand>,

    /// The data volume: the journal and snapshot.json. One store at a time uses it.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_DATA", value_name = "DIR", default_value = "/data")]
    pub data: PathBuf,

    /// The directory that store and sidecar share (role.json, status.json, status.lock).
    #[arg(
        long,
        global = true,
        env = "LEASEHOLD_STORE_DIRECTORY",
        value_name = "DIR",
        default_value = leasehold_contract::DEFAULT_DIRECTORY
    )]
    pub directory: PathBuf,

    /// The name of this pod, the same as the sidecar's --name. It ends in the ordinal.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_NAME", value_name = "POD")]
    pub name: Option<String>,

    /// The StatefulSet revision of this pod (its label `controller-revision-hash`); a leader hands over to the newest.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_REVISION", value_name = "HASH", default_value = "")]
    pub revision: String,

    /// Where clients are served. `[::]` accepts IPv4, too.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_LISTEN", value_name = "ADDR", default_value = "[::]:8089")]
    pub listen: SocketAddr,

    /// Where the other replicas are served.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_PEER_LISTEN", value_name = "ADDR", default_value = "[::]:8090")]
    pub peer_listen: SocketAddr,

    /// Serves /healthz, /readyz and /metrics on a port of their own as well, over plain HTTP at the address of
    /// --listen; clients cannot use up its connections [default: only at --listen].
    #[arg(long, global = true, env = "LEASEHOLD_STORE_PROBE_PORT", value_name = "PORT")]
    pub probe_port: Option<u16>,

    /// Maximum number of clients' connections, as far as the limit of open files allows. To accept one more, the store
    /// closes the connection that has been idle the longest; while all of them have open requests, the new one waits.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_CONNECTIONS_MAX", value_name = "N", default_value_t = 4096)]
    pub connections_max: usize,

    /// How long a client's new connection may take until the head of its first request has arrived, and each later head
    /// from its first byte on; likewise a TLS handshake (ms, s, m). Then the store closes it.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_HEADER_TIMEOUT", value_name = "TIME", default_value = "15s", value_parser = durations::parse)]
    pub header_timeout: Duration,

    /// How long a client's connection may be idle between two requests (ms, s, m). Then the store closes it. Set it
    /// longer than the idle time-outs of clients and load balancers (Go: 90s, some cloud balancers: 600s), so that they
    /// close it.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_IDLE_TIMEOUT", value_name = "TIME", default_value = "620s", value_parser = durations::parse)]
    pub idle_timeout: Duration,

    /// The first data of a new cluster: a JSON object of arrays of records, by collection, or an array of persons. Read only at
    /// its bootstrap, and not used where that begins with a backup (restore.json). Collections other than `persons` are defined
    /// by --collections-file.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_INITIAL_DATA", value_name = "FILE")]
    pub initial_data: Option<PathBuf>,

    /// Definitions of collections: a JSON object, by name. The leader creates and changes what differs, once for each content
    /// of this file, and drops nothing. Read at the start.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_COLLECTIONS_FILE", value_name = "FILE")]
    pub collections_file: Option<PathBuf>,

    /// Silence after which a leader counts as lost (ms, s, m).
    #[arg(long, global = true, env = "LEASEHOLD_STORE_LOST_TIME", value_name = "TIME", default_value = "1s", value_parser = durations::parse)]
    pub lost_time: Duration,

    /// Time between two heartbeats of a leader (ms, s, m). At most a third of the lost-time.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_HEARTBEAT", value_name = "TIME", default_value = "100ms", value_parser = durations::parse)]
    pub heartbeat: Duration,

    /// How long one write or fsync of the journal may take until the disk counts as hanging (ms, s, m): a leader then
    /// hands over, and a follower does not become leader.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_DISK_STALL", value_name = "TIME", default_value = "2s", value_parser = durations::parse)]
    pub disk_stall: Duration,
    /// A pod that has not heard its leader for this long, while the Lease is being renewed by another pod, is not ready: its
    /// data may be old (ms, s, m). With no leader anywhere it stays ready.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_UNREADY_AFTER", value_name = "TIME", default_value = "30s", value_parser = durations::parse)]
    pub unready_after: Duration,

    /// The highest format that the cluster may begin to write, of those that this build reads: the format rises only when
    /// every pod allows it, and there is no way back to an older build after that. It never limits what is read; a number
    /// above the build's means the build's, so that an older build starts with it as well [default: the build's].
    #[arg(long, global = true, env = "LEASEHOLD_STORE_FORMAT_MAX", value_name = "N")]
    pub format_max: Option<u32>,

    /// The pod's terminationGracePeriodSeconds: a drain ends 5 s before it is over (ms, s, m).
    #[arg(long, global = true, env = "LEASEHOLD_STORE_GRACE_PERIOD", value_name = "TIME", default_value = "60s", value_parser = durations::parse)]
    pub grace_period: Duration,

    /// Minimum time a draining pod keeps serving, including new connections: until every Service and load balancer has
    /// dropped its address (ms, s, m). At most the grace period less 5 s.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_DRAIN_MIN", value_name = "TIME", default_value = "5s", value_parser = durations::parse)]
    pub drain_min: Duration,

    /// What a pod that does not lead does with a write. `reject`: 421, which names the leader. `redirect`: 307 to the
    /// leader's pod. `forward`: forwards it to the leader, and returns the answer.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_FOLLOWER_WRITES", value_name = "WHAT", default_value = "reject")]
    pub follower_writes: FollowerWrites,

    /// How long a client's write may wait for its commit before it is answered with 504, outcome unknown (ms, s, m).
    #[arg(long, global = true, env = "LEASEHOLD_STORE_WRITE_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = durations::parse)]
    pub write_timeout: Duration,

    /// How long a strong read, or one with `after`, may wait unless it has its own `timeout` (ms, s, m); then 503. At
    /// most 30s.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_READ_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = durations::parse)]
    pub read_timeout: Duration,

    /// How many clients may watch this replica's changes at a time. More get 503.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_WATCHERS_MAX", value_name = "N", default_value_t = 256)]
    pub watchers_max: usize,

    /// Memory for the last changes, from which watches resume, in bytes. A client that fell further behind gets 410.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_WATCH_HISTORY", value_name = "BYTES", default_value_t = HISTORY_BYTES)]
    pub watch_history: usize,

    /// Memory that the data and the program may use, in bytes (or Ki, Mi, Gi). Above it, writes that make the data
    /// larger are refused (507). Default: 60 % of the container's limit, or of the machine's memory.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_MEMORY_LIMIT", value_name = "BYTES", value_parser = bytes)]
    pub memory_limit: Option<u64>,

    /// Room that must stay free on the data volume, in bytes (or Ki, Mi, Gi). Below it, writes that make the data
    /// larger are refused (507). Default: 64Mi, or one and a half times the next snapshot if that is more.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_DISK_RESERVE", value_name = "BYTES", value_parser = bytes)]
    pub disk_reserve: Option<u64>,

    /// The longest body of a client's request, in bytes.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_BODY_LIMIT", value_name = "BYTES", default_value_t = 1024 * 1024)]
    pub body_limit: usize,

    /// Whether an ETag of this store that a proxy weakened (`W/"…"`, when it compresses) matches in If-Match. By RFC
    /// 9110 it does not.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_MATCH_WEAKENED_ETAGS", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub match_weakened_etags: bool,

    /// An origin whose pages may use the API in a browser, such as `https://app.example`; repeat it, or separate
    /// several by commas. `*`: all origins [default: none, no CORS headers].
    #[arg(long, global = true, env = "LEASEHOLD_STORE_CORS_ORIGIN", value_name = "URL", value_delimiter = ',', value_parser = cors::origin)]
    pub cors_origin: Vec<String>,

    /// Threads that serve clients (replication, disk and blocking calls have their own). More than one helps only where
    /// processors are idle.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_WORKER_THREADS", value_name = "N", default_value_t = 1)]
    pub worker_threads: usize,

    /// What peers and clients must prove.
    #[command(flatten)]
    pub trust: TrustArgs,

    /// The format of log lines.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Which log lines are written: a level, or a filter such as `info,leasehold_store=debug`.
    #[arg(long, global = true, env = "LEASEHOLD_STORE_LOG", value_name = "FILTER", default_value = DEFAULT_LOG_FILTER)]
    pub log: String,
}

/// What to do instead of running.
#[derive(Clone, Debug, Subcommand)]
pub enum SubCommand {
    /// Let an EMPTY volume begin a new cluster at the next start, without asking the Lease or the other members.
    Bootstrap {
        /// Required as a confirmation: the new cluster does not have the data of other volumes.
        #[arg(long, required = true)]
        force: bool,
    },
    /// Make a new cluster from the data on this volume alone, when the majority is lost for good. Stop the store first.
    Recover {
        /// Required as a confirmation: writes that only the lost volumes have are lost.
        #[arg(long, required = true)]
        force_new_cluster: bool,
    },
}

/// What the store is to do, and with what. Everything in it makes sense by itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// What to do.
    pub task: Task,
    /// The data volume.
    pub data: PathBuf,
    /// The directory shared with the sidecar.
    pub directory: PathBuf,
    /// The name of this pod; may be empty for `bootstrap --force`, which needs none.
    pub name: String,
    /// The StatefulSet's revision of this pod; empty where unknown.
    pub revision: String,
    /// Where clients are served.
    pub listen: SocketAddr,
    /// Where the other replicas are served.
    pub peer_listen: SocketAddr,
    /// Where probes are served, beside `listen`.
    pub probe_listen: Option<SocketAddr>,
    /// Connections of clients.
    pub connections_max: usize,
    /// For the head of a request.
    pub header_timeout: Duration,
    /// For a connection without a request.
    pub idle_timeout: Duration,
    /// What a bootstrap begins with.
    pub initial_data: Option<PathBuf>,
    /// Definitions that the leader applies.
    pub collections_file: Option<PathBuf>,
    /// Silence after which a leader counts as lost.
    pub lost_time: Duration,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// How long a write or fsync may take until the disk hangs.
    pub disk_stall: Duration,
    /// How long a leader may not be heard before the replica is not ready.
    pub unready_after: Duration,
    /// The highest format that may be begun; none above the build's.
    pub format_max: u32,
    /// How long a drain may take: the grace period less 5 s.
    pub drain_max: Duration,
    /// How long a drain takes at least.
    pub drain_min: Duration,
    /// What a follower does with a write.
    pub follower_writes: FollowerWrites,
    /// How long a write may wait for its commit.
    pub write_timeout: Duration,
    /// How long a strong read may wait.
    pub read_timeout: Duration,
    /// Clients that may watch.
    pub watchers_max: usize,
    /// Bytes of the last changes.
    pub watch_history: usize,
    /// Memory that the data may take; none: computed.
    pub memory_limit: Option<u64>,
    /// Room that is left free on the volume; none: computed.
    pub disk_reserve: Option<u64>,
    /// The longest body of a request.
    pub body_limit: usize,
    /// A weakened ETag of ours matches in If-Match.
    pub match_weakened_etags: bool,
    /// Whose pages may use the API in a browser.
    pub cors_origins: Option<Origins>,
    /// Threads that serve clients.
    pub worker_threads: usize,
    /// What is demanded of peers and clients.
    pub trust: TrustArgs,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Serve.
    Run,
    /// `bootstrap --force`.
    Bootstrap,
    /// `recover --force-new-cluster`.
    Recover,
}

/// Why the flags are invalid, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// The lowest useful number of clients' connections.
pub const CONNECTIONS_LEAST: usize = 16;
const GRACE_LEFT: Duration = Duration::from_secs(5);

impl Args {
    /// The checked flags.
    ///
    /// # Errors
    /// [`ConfigError`]: the process ends with exit code 2.
    pub fn validate(self) -> Result<Config, ConfigError> {
        let task = self.task()?;
        self.check_name(task)?;
        self.check_addresses()?;
        self.check_connections()?;
        self.check_times_of_the_cluster()?;
        self.check_requests()?;
        self.check_resources()?;
        self.check_formats()?;
        let cors_origins =
            Origins::of(&self.cors_origin).map_err(|why| ConfigError(format!("--cors-origin: {why}")))?;
        Ok(Config {
            task,
            data: self.data,
            directory: self.directory,
            name: self.name.unwrap_or_default(),
            revision: self.revision,
            listen: self.listen,
            peer_listen: self.peer_listen,
            probe_listen: self.probe_port.map(|port| SocketAddr::new(self.listen.ip(), port)),
            connections_max: self.connections_max,
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            initial_data: self.initial_data,
            collections_file: self.collections_file,
            lost_time: self.lost_time,
            heartbeat: self.heartbeat,
            disk_stall: self.disk_stall,
            unready_after: self.unready_after,
            format_max: self.format_max.unwrap_or(FORMAT).min(FORMAT),
            drain_max: self.grace_period - GRACE_LEFT,
            drain_min: self.drain_min,
            follower_writes: self.follower_writes,
            write_timeout: self.write_timeout,
            read_timeout: self.read_timeout,
            watchers_max: self.watchers_max,
            watch_history: self.watch_history,
            memory_limit: self.memory_limit,
            disk_reserve: self.disk_reserve,
            body_limit: self.body_limit,
            match_weakened_etags: self.match_weakened_etags,
            cors_origins,
            worker_threads: self.worker_threads,
            trust: self.trust,
        })
    }
}

/// `1048576`, `512Ki`, `300Mi`, `2Gi`: bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err("a number of bytes has no unit, or the unit Ki, Mi, Gi or Ti".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a number of bytes such as 1048576, 300Mi or 2Gi".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "the number of bytes is too large".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_flag_stands_in_the_reference_with_its_variable_and_default_and_no_other_does() {
        leasehold_testkit::flags::stand_in_the_reference("store", &Args::command());
    }

    fn parse(flags: &[&str]) -> Result<Config, String> {
        let args = Args::try_parse_from(["store"].iter().chain(flags)).map_err(|error| error.to_string())?;
        args.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_that_the_documents_name() {
        let config = parse(&["--name", "db-0"]).unwrap();
        assert_eq!((config.lost_time, config.heartbeat), (Duration::from_secs(1), Duration::from_millis(100)));
        assert_eq!(config.disk_stall, crate::volume::disk::watch::DISK_STALL);
        assert_eq!((config.listen.port(), config.peer_listen.port()), (8089, 8090));
        assert_eq!((config.drain_max, config.write_timeout), (Duration::from_secs(55), Duration::from_secs(5)));
        assert_eq!((config.body_limit, config.worker_threads), (1_048_576, 1));
        assert_eq!((config.probe_listen, config.connections_max), (None, 4096));
        assert_eq!((config.header_timeout, config.idle_timeout), (Duration::from_secs(15), Duration::from_secs(620)));
        assert_eq!(config.data, PathBuf::from("/data"));
        assert_eq!(config.task, Task::Run);
    }

    #[test]
    fn flags_stand_before_or_behind_a_sub_command() {
        for flags in [
            &["--data", "/x", "bootstrap", "--force"][..],
            &["bootstrap", "--force", "--data", "/x"],
            &["recover", "--force-new-cluster", "--data", "/x", "--name", "db-0"],
        ] {
            let config = parse(flags).unwrap();
            assert_eq!(config.data, PathBuf::from("/x"), "{flags:?}");
            assert_ne!(config.task, Task::Run);
        }
        assert!(parse(&["bootstrap"]).unwrap_err().contains("--force"));
        assert!(parse(&["recover"]).unwrap_err().contains("--force-new-cluster"));
    }

    #[test]
    fn nonsense_is_refused_with_the_flag_that_is_meant() {
        for (flags, word) in [
            (&[][..], "--name"),
            (&["--name", "a b"], "--name"),
            (&["--name", "a", "--heartbeat", "400ms"], "--heartbeat"),
            (&["--name", "a", "--heartbeat", "0s"], "--heartbeat"),
            (&["--name", "a", "--lost-time", "2m"], "--lost-time"),
            (&["--name", "a", "--lost-time", "soon"], "--lost-time"),
            (&["--name", "a", "--lost-time", "99999999999999999999s"], "--lost-time"),
            (&["--name", "a", "--disk-stall", "50ms"], "--disk-stall"),
            (&["--name", "a", "--disk-stall", "2m"], "--disk-stall"),
            (&["--name", "a", "--grace-period", "5s"], "--grace-period"),
            (&["--name", "a", "--follower-writes", "perhaps"], "--follower-writes"),
            (&["--name", "a", "--write-timeout", "0ms"], "--write-timeout"),
            (&["--name", "a", "--read-timeout", "0ms"], "--read-timeout"),
            (&["--name", "a", "--read-timeout", "31s"], "--read-timeout"),
            (&["--name", "a", "--watchers-max", "5000"], "--watchers-max"),
            (&["--name", "a", "--probe-port", "8089"], "--probe-port"),
            (&["--name", "a", "--probe-port", "8090"], "--probe-port"),
            (&["--name", "a", "--connections-max", "3"], "--connections-max"),
            (&["--name", "a", "--header-timeout", "0s"], "--header-timeout"),
            (&["--name", "a", "--idle-timeout", "10s"], "--idle-timeout"),
            (&["--name", "a", "--body-limit", "0"], "--body-limit"),
            (&["--name", "a", "--body-limit", "99999999"], "--body-limit"),
            (&["--name", "a", "--memory-limit", "1Mi"], "--memory-limit"),
            (&["--name", "a", "--memory-limit", "1G"], "--memory-limit"),
            (&["--name", "a", "--disk-reserve", "much"], "--disk-reserve"),
            (&["--name", "a", "--disk-reserve", "9999999Ti"], "--disk-reserve"),
            (&["--name", "a", "--cors-origin", "app.example"], "--cors-origin"),
            (&["--name", "a", "--cors-origin", "https://app.example/"], "--cors-origin"),
            (&["--name", "a", "--cors-origin", "https://app.example,*"], "--cors-origin"),
            (&["--name", "a", "--cors-origin", "*", "--cors-origin", "https://app.example"], "--cors-origin"),
            (&["--name", "a", "--worker-threads", "0"], "--worker-threads"),
            (&["--name", "a", "--listen", "nowhere"], "--listen"),
            (&["--name", "a", "--listen", "[::]:8090"], "--listen"),
            (&["--name", "a", "--log-format", "xml"], "--log-format"),
            (&["--name", "a", "--format-max", "0"], "--format-max"),
            (&["--name", "a", "--format-max=-1"], "--format-max"),
            (&["--name", "a", "--format-max", "latest"], "--format-max"),
        ] {
            let error = parse(flags).unwrap_err();
            assert!(error.contains(word), "{flags:?}: {error}");
        }
    }

    #[test]
    fn what_is_allowed_of_formats_is_never_above_the_builds_and_never_below_the_lowest() {
        let allowed = |flags: &[&str]| parse(&[&["--name", "db-0"], flags].concat()).map(|config| config.format_max);
        assert_eq!(allowed(&[]), Ok(FORMAT));
        assert_eq!(allowed(&["--format-max", "1"]), Ok(1));
        // As an older build gets it when it is rolled back: with the flags of the newer one.
        assert_eq!(allowed(&["--format-max", "7"]), Ok(FORMAT));
        let refused = allowed(&["--format-max", "0"]).unwrap_err();
        let reads = leasehold_documents::readable(FORMAT);
        assert_eq!(refused, format!("--format-max must be at least 1; this build reads {reads}"));
    }

    #[test]
    fn origins_are_repeated_or_have_commas_between_them() {
        let config = parse(&["--name", "a", "--cors-origin", "https://a,https://b:443", "--cors-origin", "http://c"]);
        let those = ["https://a", "https://b", "http://c"].map(http::HeaderValue::from_static);
        assert_eq!(config.unwrap().cors_origins, Some(Origins::Those(those.to_vec())));
        let spaced = parse(&["--name", "a", "--cors-origin", " https://a, https://b:443 ,http://c"]);
        assert_eq!(spaced.unwrap().cors_origins, Some(Origins::Those(those.to_vec())));
        assert_eq!(parse(&["--name", "a"]).unwrap().cors_origins, None);
        assert_eq!(parse(&["--name", "a", "--cors-origin", "*"]).unwrap().cors_origins, Some(Origins::Any));
    }

    #[test]
    fn bytes_may_have_units() {
        assert_eq!(bytes("1048576"), Ok(1 << 20));
        assert_eq!(bytes("300Mi"), Ok(300 << 20));
        assert_eq!(bytes("2Gi"), Ok(2 << 30));
        for wrong in ["", "Mi", "1M", "1.5Gi", "-1", "99999999999Gi", "99999999999999999999"] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
        let config = parse(&["--name", "a", "--memory-limit", "64Mi", "--disk-reserve", "0"]).unwrap();
        assert_eq!((config.memory_limit, config.disk_reserve), (Some(64 << 20), Some(0)));
    }
}
