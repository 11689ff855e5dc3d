//! Flags and environment. Nothing else reads the environment, but what the clouds' own libraries read of it: credentials.

mod process;
mod store_url;
mod units;

use crate::bucket::Place;
use clap::{Args as ClapArgs, Parser, Subcommand};
use leasehold_archive::point::Point;
use leasehold_daemon::logs::LogFormat;
use reqwest::Url;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

/// Backs a store up to object storage, and reads, checks and restores what is there.
#[derive(Debug, Parser)]
#[command(name = "backup", version, about, max_term_width = 120)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Archive every change continuously, until it is stopped.
    Agent(Box<AgentArgs>),
    /// Print which clusters the archive has, and to which times each can be restored.
    List(ListArgs),
    /// Read the archive back, and compare it with its checksums and hashes. Exit code 1 if anything is wrong.
    Verify(VerifyArgs),
    /// Print records as they were at some time.
    Cat(CatArgs),
    /// Restore into the empty volume of a new cluster, or into a cluster that runs.
    Restore(Box<RestoreArgs>),
    /// Restore into memory, check everything, and say how long it takes. Exit code 1 on failure.
    Drill(DrillArgs),
}

/// Flags of `agent`.
#[derive(Debug, Clone, ClapArgs)]
pub struct AgentArgs {
    /// Where the archive is.
    #[command(flatten)]
    pub place: Place,
    /// The store's pods or Services (several: separated by commas)
    #[arg(long, env = "BACKUP_STORE", value_name = "URL", value_delimiter = ',', required = true)]
    pub store: Vec<String>,
    /// A file with the token that the store asks for; it is read anew whenever a connection is made
    #[arg(long, env = "BACKUP_STORE_TOKEN_FILE", value_name = "FILE")]
    pub store_token_file: Option<PathBuf>,
    /// A file with the certificates that sign the store's (PEM) [default: those of the system]
    #[arg(long, env = "BACKUP_STORE_CA", value_name = "FILE")]
    pub store_ca: Option<PathBuf>,
    /// How often a full is taken
    #[arg(long, env = "BACKUP_FULL_EVERY", default_value = "24h", value_name = "TIME", value_parser = units::time)]
    pub full_every: Duration,
    /// How long changes are collected before they are uploaded
    #[arg(long, env = "BACKUP_CHANGES_EVERY", default_value = "10s", value_name = "TIME", value_parser = units::time)]
    pub changes_every: Duration,
    /// How far back any point in time can be restored
    #[arg(long, env = "BACKUP_KEEP_POINT_IN_TIME", default_value = "168h", value_name = "TIME", value_parser = units::time)]
    pub keep_point_in_time: Duration,
    /// How many verified fulls are kept at least
    #[arg(long, env = "BACKUP_KEEP_FULLS", default_value_t = 30, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_fulls: u32,
    /// Delete nothing (the bucket's own rules do it, or object lock forbids it)
    #[arg(long, env = "BACKUP_NO_PRUNE", action = clap::ArgAction::SetTrue, value_parser = clap::builder::FalseyValueParser::new())]
    pub no_prune: bool,
    /// A folder for what is not uploaded yet, of this agent alone
    #[arg(long, env = "BACKUP_SPOOL", default_value = "/var/spool/backup", value_name = "DIR")]
    pub spool: PathBuf,
    /// How much may wait there
    #[arg(long, env = "BACKUP_SPOOL_MAX", default_value = "1Gi", value_name = "BYTES", value_parser = units::bytes)]
    pub spool_max: u64,
    /// Encrypt for this age recipient (age1…); may be repeated
    #[arg(long, env = "BACKUP_RECIPIENT", value_name = "AGE1", value_delimiter = ',')]
    pub recipient: Vec<String>,
    /// Encrypt for the age recipients in this file, one a line
    #[arg(long, env = "BACKUP_RECIPIENTS_FILE", value_name = "FILE")]
    pub recipients_file: Option<PathBuf>,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, env = "BACKUP_LISTEN", default_value = "0.0.0.0:8092", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// The format of log lines
    #[arg(long, env = "BACKUP_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Which log lines are written, as in RUST_LOG
    #[arg(long, env = "BACKUP_LOG", default_value = "info")]
    pub log: String,
}

/// Which archive, of which cluster.
#[derive(Debug, Clone, ClapArgs)]
pub struct Source {
    /// Where the archive is.
    #[command(flatten)]
    pub place: Place,
    /// The cluster [default: the only one that the archive has; drill: the one that leads to the latest time]
    #[arg(long, env = "BACKUP_CLUSTER_ID", value_name = "UUID")]
    pub cluster_id: Option<Uuid>,
}

/// With which keys.
#[derive(Debug, Clone, ClapArgs)]
pub struct Keys {
    /// A file with age identities (AGE-SECRET-KEY-1…), for an archive that is encrypted
    #[arg(long, env = "BACKUP_IDENTITY", value_name = "FILE")]
    pub identity: Option<PathBuf>,
}

/// Flags of `list`.
#[derive(Debug, Clone, ClapArgs)]
pub struct ListArgs {
    /// Which archive.
    #[command(flatten)]
    pub source: Source,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `verify`.
#[derive(Debug, Clone, ClapArgs)]
pub struct VerifyArgs {
    /// Which archive.
    #[command(flatten)]
    pub source: Source,
    /// With which keys.
    #[command(flatten)]
    pub keys: Keys,
    /// Every full and every file [default: the newest full, and all changes since]
    #[arg(long)]
    pub all: bool,
}

/// Flags of `cat`.
#[derive(Debug, Clone, ClapArgs)]
pub struct CatArgs {
    /// Which archive.
    #[command(flatten)]
    pub source: Source,
    /// With which keys.
    #[command(flatten)]
    pub keys: Keys,
    /// The point: latest, a time as 2026-11-30T15:31:28Z, or a sequence
    #[arg(long, default_value = "latest", value_name = "POINT")]
    pub at: Point,
    /// The collection
    #[arg(long, value_name = "NAME")]
    pub collection: String,
    /// One record [default: all]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Print one JSON object that `POST /{collection}:batch` accepts, with a put for each record (at most 1,000)
    #[arg(long)]
    pub batch: bool,
    /// Print every version of the record in the archive, with its time
    #[arg(long, requires = "id", conflicts_with_all = ["batch", "at"])]
    pub history: bool,
}

/// Flags of `restore`.
#[derive(Debug, Clone, ClapArgs)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["to", "into"]))]
pub struct RestoreArgs {
    /// Which archive.
    #[command(flatten)]
    pub source: Source,
    /// With which keys.
    #[command(flatten)]
    pub keys: Keys,
    /// The point: latest, a time as 2026-11-30T15:31:28Z, or a sequence
    #[arg(long, env = "BACKUP_AT", default_value = "latest", value_name = "POINT")]
    pub at: Point,
    /// The data folder of a store that has never started: its first start begins with these data
    #[arg(long, value_name = "DATADIR")]
    pub to: Option<PathBuf>,
    /// The sidecar's role.json: only the first member of a new cluster restores, every other pod does nothing
    #[arg(long, env = "BACKUP_ROLE", value_name = "FILE", requires = "to", requires = "name")]
    pub role: Option<PathBuf>,
    /// The name of this pod
    #[arg(long, env = "POD_NAME", value_name = "POD", requires = "to")]
    pub name: Option<String>,
    /// How long to wait for role.json
    #[arg(long, env = "BACKUP_ROLE_TIMEOUT", default_value = "5m", value_name = "TIME", value_parser = units::time)]
    pub role_timeout: Duration,
    /// A cluster that runs: definitions that are missing there, then records, by the API
    #[arg(long, value_name = "URL", conflicts_with = "role", value_parser = store_url::parse)]
    pub into: Option<Url>,
    /// A file with the token that this cluster asks for (right: admin)
    #[arg(long, env = "BACKUP_TOKEN_FILE", value_name = "FILE", requires = "into")]
    pub token_file: Option<PathBuf>,
    /// A file with the certificates that sign that cluster's (PEM) [default: those of the system]
    #[arg(long, env = "BACKUP_CA", value_name = "FILE", requires = "into")]
    pub ca: Option<PathBuf>,
    /// Only these collections [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "into")]
    pub collections: Vec<String>,
    /// Allow it into the cluster that the archive is of: the old records overwrite the present ones; what was created since stays
    #[arg(long, requires = "into")]
    pub same_cluster_too: bool,
}

/// Flags of `drill`.
#[derive(Debug, Clone, ClapArgs)]
pub struct DrillArgs {
    /// Which archive.
    #[command(flatten)]
    pub source: Source,
    /// With which keys.
    #[command(flatten)]
    pub keys: Keys,
    /// The point: latest, a time as 2026-11-30T15:31:28Z, or a sequence
    #[arg(long, default_value = "latest", value_name = "POINT")]
    pub at: Point,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_are_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_agent_has_these_defaults() {
        let args =
            Args::try_parse_from(["backup", "agent", "--url", "s3://b", "--store", "http://a,http://b"]).unwrap();
        let Command::Agent(agent) = args.command else { panic!("{args:?}") };
        assert_eq!(agent.store, ["http://a", "http://b"]);
        assert_eq!((agent.keep_point_in_time, agent.spool_max), (Duration::from_secs(168 * 3600), 1 << 30));
        assert!(!agent.no_prune && !agent.place.path_style && agent.recipient.is_empty());
    }

    #[test]
    fn the_flags_stand_in_the_reference_and_no_other_does() {
        leasehold_testkit::flags::stand_in_the_reference("backup", &Args::command());
    }

    #[test]
    fn a_restore_needs_exactly_one_target() {
        let restore = |more: &[&str]| {
            let all = ["backup", "restore", "--url", "s3://b"].iter().chain(more).copied().collect::<Vec<_>>();
            Args::try_parse_from(all)
        };
        assert!(restore(&[]).is_err());
        assert!(restore(&["--to", "/data", "--into", "http://x"]).is_err());
        assert!(restore(&["--to", "/data", "--role", "role.json"]).is_err(), "which pod is this?");
        assert!(restore(&["--to", "/data", "--role", "role.json", "--name", "db-0", "--at", "812"]).is_ok());
        assert!(restore(&["--into", "http://x", "--collections", "a,b"]).is_ok());
        assert!(restore(&["--into", "http://x", "--at", "yesterday"]).is_err());
        assert!(restore(&["--into", "x:8089"]).is_err(), "a scheme is missing");
    }
}
