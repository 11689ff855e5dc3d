//! Flags and environment: [`Args`] as typed, [`Config`] as checked. Nothing else reads the environment.
//!
//! ```text
//!   --lease-duration 15s │ LEASEHOLD_SIDECAR_LEASE_DURATION=15s ──clap──▶ Args ──config()──▶ Config, or one sentence
//! ```

mod checks;
mod config;
mod exec;
mod help;
mod injection;
mod passing;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use leasehold_daemon::durations;
use leasehold_daemon::logs::LogFormat;
use uuid::Uuid;

pub(crate) use injection::INJECTED_DIRECTORY;
pub use injection::{InjectArgs, Injection};

use crate::address::{Template, TemplateValues};
use crate::client::HttpUrl;
use config::{APP_PORT, check_name};

pub use config::{AppKind, Config, ConfigError, HealthCheck, HealthProbe};
pub use exec::{ExecArgs, GuardArgs, OnLost, StartArgs, StopSignal};

/// Holds a Lease for the app beside it, and writes who leads to a file that both share.
#[derive(Debug, Parser)]
#[command(name = "sidecar", version, about, max_term_width = 120)]
pub struct Args {
    #[command(flatten, next_help_heading = "Options of the sidecar")]
    options: Options,
    /// What to do; without it, the sidecar runs.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What an operator can ask of the binary instead of running the sidecar.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the sidecar (the default).
    Run,
    /// Print who leads, and of every pod its role, term, position, lag, version and readiness.
    Status {
        /// A table, or everything as JSON.
        #[arg(long, short, value_enum, default_value = "table")]
        output: Output,
        /// Print again every second, until interrupted.
        #[arg(long, short)]
        watch: bool,
    },
    /// Hand the leadership to another pod, and wait until it leads (needs the right to get and update the Lease).
    Switchover {
        /// The pod to hand over to [default: the fittest follower].
        #[arg(long, value_name = "POD")]
        to: Option<String>,
        /// How long to wait; then the request is withdrawn.
        #[arg(long, default_value = "60s", value_parser = parse_patience)]
        timeout: Duration,
        /// Only write the request; do not wait.
        #[arg(long, conflicts_with = "timeout")]
        no_wait: bool,
    },
    /// Let this pod's plain app stop leading, and print who leads next (in a container that has the shared directory; never from
    /// a preStop hook, where the app still runs).
    StepDown {
        /// The term to end; nothing happens if this pod leads in another one [default: the present term].
        #[arg(long, value_name = "N")]
        term: Option<u64>,
        /// How long to wait for the next leader.
        #[arg(long, default_value = "60s", value_parser = parse_patience)]
        timeout: Duration,
    },
    /// Stop pods from taking the Lease by themselves until `resume`; requested transfers still happen.
    Pause,
    /// Undo `pause`.
    Resume,
    /// Write a cluster-id into the Lease, after `store recover --force-new-cluster` on the volume that has it.
    Adopt {
        /// The cluster-id that the volume has.
        #[arg(long, value_name = "UUID")]
        cluster_id: Uuid,
    },
    /// Give a Deployment or StatefulSet in YAML the sidecar, its account and its Lease: YAML in, YAML out; needs no cluster.
    Inject(InjectArgs),
    /// Run a command while this pod leads, as the entry point of the app's container.
    Exec(ExecArgs),
    /// Copy this program into a directory that another container shares, for `exec` there.
    Copy {
        /// The directory.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// What `exec` starts between itself and its command.
    #[command(hide = true)]
    ExecGuard(GuardArgs),
    /// What becomes the command of `exec`.
    #[command(hide = true)]
    ExecStart(StartArgs),
}

/// The format of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, ClapArgs)]
struct Options {
    /// The directory that sidecar and app share
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_DIRECTORY", default_value = leasehold_contract::DEFAULT_DIRECTORY)]
    directory: PathBuf,
    /// The namespace of the Lease
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_NAMESPACE")]
    namespace: Option<String>,
    /// The name of the Lease
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_LEASE")]
    lease: Option<String>,
    /// The name of this pod
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_NAME", value_name = "POD")]
    name: Option<String>,
    /// How the app beside this sidecar fences itself
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_APP", value_enum, default_value = "plain")]
    app: AppKind,
    /// (plain apps) `sidecar exec` runs the app: this pod contends only while that lives, and lets go when its command has ended
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_EXEC")]
    exec: bool,
    /// (plain apps) The app is fit to lead while a GET of this http URL returns 2xx; unfit after three failures in a row
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_HEALTH_URL", value_name = "URL")]
    health_url: Option<HttpUrl>,
    /// (plain apps) The app is fit to lead while this file is young: the app touches it; unfit after three failures in a row
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_HEALTH_FILE", value_name = "FILE")]
    health_file: Option<PathBuf>,
    /// How long ago --health-file may have been written
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_HEALTH_MAX_AGE", default_value = "10s", value_parser = durations::parse)]
    health_max_age: Duration,
    /// The pause between two checks of the app's health, and how long a check may take
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_HEALTH_PERIOD", default_value = "1s", value_parser = durations::parse)]
    health_period: Duration,
    /// Where each change of role, term or leader is POSTed as JSON (an http URL)
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_NOTIFY", value_name = "URL")]
    notify: Option<HttpUrl>,
    /// The StatefulSet whose pods are the members; without it every pod is one
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_STATEFUL_SET", value_name = "NAME")]
    stateful_set: Option<String>,
    /// The headless Service that gives the pods their names
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_SERVICE")]
    service: Option<String>,
    /// The domain of the cluster
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_CLUSTER_DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// The port on which the app serves clients [default: 8089; inject: the first containerPort]
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_APP_PORT")]
    app_port: Option<u16>,
    /// The port on which the app serves its peers
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_PEER_PORT", default_value_t = 8090)]
    peer_port: u16,
    /// Where clients reach a pod: {name} {ordinal} {service} {namespace} {clusterDomain} {appPort} {peerPort}, and sums
    /// like {8089+100*ordinal}
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_MEMBER_ADDRESS", value_name = "TEMPLATE")]
    member_address: Option<String>,
    /// Where other replicas reach a pod; as --member-address
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_MEMBER_PEER_ADDRESS", value_name = "TEMPLATE")]
    member_peer_address: Option<String>,
    /// Where a pod's sidecar serves HTTP, for `status` and `switchover`; as --member-address, and {sidecarPort}
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_MEMBER_SIDECAR_ADDRESS", value_name = "TEMPLATE")]
    member_sidecar_address: Option<String>,
    /// The address that this pod advertises while it leads [default: its member address]
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_ADDRESS", value_name = "IP:PORT")]
    address: Option<String>,
    /// This pod's IPs, as status.podIPs has them: the leader's Service names one of each family
    #[arg(
        long,
        global = true,
        env = "LEASEHOLD_SIDECAR_POD_IPS",
        value_name = "IP,IP",
        default_value = "",
        hide_default_value = true
    )]
    pod_ips: String,
    /// Where the sidecar serves HTTP; falls back to IPv4 where there is no IPv6
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_LISTEN", default_value = "[::]:8088")]
    listen: SocketAddr,
    /// How long a claim is valid without a renewal, in whole seconds; it is renewed three times as often
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_LEASE_DURATION", default_value = "15s", value_parser = durations::parse)]
    lease_duration: Duration,
    /// How long a peer may be silent before it counts as lost
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_LOST_TIME", default_value = "1s", value_parser = durations::parse)]
    lost_time: Duration,
    /// A Service without a selector; the sidecar writes its EndpointSlices, which name the leader
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_LEADER_SERVICE", value_name = "NAME")]
    leader_service: Option<String>,
    /// How to reach the API server [default: from inside the cluster, else the usual kubeconfig]
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The pod's terminationGracePeriodSeconds: how long the sidecar may wait for its app on SIGTERM
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_GRACE_PERIOD", default_value = "60s", value_parser = durations::parse)]
    grace_period: Duration,
    /// The format of log lines
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Which log lines are written, in the syntax of tracing's EnvFilter
    #[arg(long, global = true, env = "LEASEHOLD_SIDECAR_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

impl Args {
    /// The flags of this process. An invalid one ends it with code 2.
    pub fn of_process() -> Args {
        leasehold_daemon::flags::of_process_as(help::of_commands)
    }

    /// The format of log lines, and which are written.
    pub fn log(&self) -> (LogFormat, &str) {
        (self.options.log_format, &self.options.log)
    }

    /// The directory that sidecar and app share.
    pub fn directory(&self) -> &Path {
        &self.options.directory
    }

    /// Checks every flag and refuses invalid ones.
    ///
    /// # Errors
    /// One sentence that names the flag.
    pub fn config(self) -> Result<Config, ConfigError> {
        let runs = matches!(self.command, None | Some(Command::Run));
        let options = self.options;
        options.check_complete(runs)?;
        options.check_exec()?;
        let health = options.health_check()?;
        options.check_names(runs)?;
        options.check_times()?;
        let [member_address, member_peer_address, member_sidecar_address] = options.member_addresses()?;
        options.check_ordinal()?;
        let name = options.name.unwrap_or_default();
        if runs && options.address.is_none() && member_address.render(&name).is_none() {
            return Err(ConfigError("this pod has no address: set --address, --service or --member-address".into()));
        }
        Ok(Config {
            directory: Some(options.directory),
            namespace: options.namespace.unwrap_or_default(),
            lease: options.lease.unwrap_or_default(),
            name,
            app: options.app,
            exec: options.exec,
            health,
            starts_fit: true,
            notify: options.notify,
            stateful_set: options.stateful_set,
            service: options.service,
            member_address,
            member_peer_address,
            member_sidecar_address,
            address: options.address.map(bracketed),
            pod_ips: ips(&options.pod_ips)?,
            listen: Some(options.listen),
            lease_duration: options.lease_duration,
            lost_time: options.lost_time,
            leader_service: options.leader_service,
            app_port: options.app_port.unwrap_or(APP_PORT),
            kubeconfig: options.kubeconfig,
            grace_period: options.grace_period,
        })
    }
}

impl Options {
    /// Where clients, other replicas and operators reach a pod.
    fn member_addresses(&self) -> Result<[Template; 3], ConfigError> {
        let values = TemplateValues {
            service: self.service.clone(),
            namespace: self.namespace.clone().unwrap_or_default(),
            cluster_domain: self.cluster_domain.clone(),
            app_port: self.app_port.unwrap_or(APP_PORT),
            peer_port: self.peer_port,
            sidecar_port: self.listen.port(),
        };
        Ok([
            template(self.member_address.as_deref(), "--member-address", "appPort", &values)?,
            template(self.member_peer_address.as_deref(), "--member-peer-address", "peerPort", &values)?,
            template(self.member_sidecar_address.as_deref(), "--member-sidecar-address", "sidecarPort", &values)?,
        ])
    }
}

fn template(text: Option<&str>, flag: &str, port: &str, values: &TemplateValues) -> Result<Template, ConfigError> {
    let text = match text {
        Some(text) => text.to_owned(),
        None if values.service.is_none() => return Ok(Template::unknown()),
        None => format!("{{name}}.{{service}}.{{namespace}}.svc.{{clusterDomain}}:{{{port}}}"),
    };
    Template::parse(&text, values).map_err(|reason| ConfigError(format!("{flag} {text}: {reason}")))
}

/// The IPs of a list with commas; empty where there is no pod, or no IP yet.
fn ips(list: &str) -> Result<Vec<IpAddr>, ConfigError> {
    let ips = list.split(',').map(str::trim).filter(|ip| !ip.is_empty());
    ips.map(|ip| ip.parse().map_err(|_| ConfigError(format!("--pod-ips {list}: {ip:?} is not a valid IP address"))))
        .collect()
}

/// Puts an IPv6 address into brackets: a manifest can only write `$(POD_IP):8089`, whatever family the pod has.
fn bracketed(address: String) -> String {
    match address.rsplit_once(':') {
        Some((ip, port)) if ip.parse::<Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok() => format!("[{ip}]:{port}"),
        _ => address,
    }
}

/// A duration above zero: how long a command waits.
fn parse_patience(text: &str) -> Result<Duration, String> {
    let patience = durations::parse(text)?;
    if patience.is_zero() {
        Err("the time must be above zero; to ask without waiting, use --no-wait".to_owned())
    } else {
        Ok(patience)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_flag_stands_in_the_reference_with_its_variable_and_default_and_no_other_does() {
        leasehold_testkit::flags::stand_in_the_reference("sidecar", &Args::command());
    }

    fn config(extra: &[&str]) -> Result<Config, String> {
        let base = ["sidecar", "--namespace", "database", "--lease", "db", "--name", "db-1", "--service", "db-service"];
        let args = base.iter().chain(extra).copied();
        Args::try_parse_from(args).map_err(|e| e.to_string())?.config().map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_documents() {
        let config = config(&[]).unwrap();
        assert_eq!(config.lease_duration, Duration::from_secs(15));
        assert_eq!(config.lost_time, Duration::from_secs(1));
        assert_eq!(config.app, AppKind::Plain);
        assert_eq!(config.listen.unwrap().port(), 8088);
        assert_eq!(config.member_address_of("db-2").unwrap(), "db-2.db-service.database.svc.cluster.local:8089");
        assert_eq!(
            config.member_peer_address.render("db-2").unwrap(),
            "db-2.db-service.database.svc.cluster.local:8090"
        );
    }

    #[test]
    fn health_is_checked_once_a_second_if_at_all() {
        assert_eq!(config(&[]).unwrap().health, None);
        let check = config(&["--health-file", "/alive"]).unwrap().health.unwrap();
        let probe = HealthProbe::File { path: "/alive".into(), age_max: Duration::from_secs(10) };
        assert_eq!(check, HealthCheck { probe, period: Duration::from_secs(1) });
        let check =
            config(&["--health-url", "http://127.0.0.1:80/ok", "--health-period", "2s"]).unwrap().health.unwrap();
        assert_eq!(check.probe, HealthProbe::Url("http://127.0.0.1:80/ok".parse().unwrap()));
        assert_eq!(check.period, Duration::from_secs(2));
    }

    #[test]
    fn what_this_pod_advertises_can_be_said() {
        let config = config(&["--address", "10.1.2.3:80"]).unwrap();
        assert_eq!(config.member_address_of("db-1").unwrap(), "10.1.2.3:80");
        assert!(config.member_address_of("db-0").unwrap().starts_with("db-0."));
    }

    #[test]
    fn the_ips_of_a_pod_are_a_list_with_commas() {
        let ips = |list: &str| config(&["--pod-ips", list]).map(|config| config.pod_ips);
        assert_eq!(
            ips("10.1.2.3, fd00::7").unwrap(),
            ["10.1.2.3".parse::<IpAddr>().unwrap(), "fd00::7".parse().unwrap()]
        );
        assert!(ips("").unwrap().is_empty());
        let refusal = ips("10.1.2.3,eth0").unwrap_err().to_string();
        assert!(refusal.contains("--pod-ips") && refusal.contains("\"eth0\""), "{refusal}");
    }

    #[test]
    fn the_address_of_an_ipv6_pod_gets_its_brackets() {
        let advertised = |address: &str| config(&["--address", address]).unwrap().address.unwrap();
        assert_eq!(advertised("fd00::7:8089"), "[fd00::7]:8089");
        assert_eq!(advertised("[fd00::7]:8089"), "[fd00::7]:8089");
        assert_eq!(advertised("10.0.0.7:8089"), "10.0.0.7:8089");
        assert_eq!(advertised("db-0.svc:8089"), "db-0.svc:8089");
    }

    #[test]
    fn nonsense_is_refused_with_a_sentence_that_names_the_flag() {
        let cases: &[(&[&str], &str)] = &[
            (&["--lease-duration", "1500ms"], "--lease-duration"),
            (&["--lease-duration", "0s"], "--lease-duration"),
            (&["--lease-duration", "5"], "unit"),
            (&["--lease-duration", "99999999999999999999s"], "whole number"),
            (&["--lost-time", "15s"], "--lost-time"),
            (&["--leader-service", "Upper"], "--leader-service"),
            (&["--member-address", "{what}:1"], "{what}"),
            (&["--member-address", "{name:1"], "--member-address"),
            (&["--stateful-set", "other"], "--stateful-set"),
            (&["--listen", "nowhere"], "--listen"),
            (&["--health-url", "https://127.0.0.1/"], "--health-url"),
            (&["--health-file", ""], "--health-file"),
            (&["--health-url", "http://127.0.0.1/", "--health-file", "/alive"], "--health-file"),
            (&["--health-file", "/alive", "--health-period", "0s"], "--health-period"),
            (&["--health-file", "/alive", "--health-max-age", "0s"], "--health-max-age"),
            (&["--health-url", "http://127.0.0.1/", "--app", "fencing"], "--health-url"),
            (&["--notify", "hooks:80"], "--notify"),
        ];
        for (args, word) in cases {
            let error = config(args).unwrap_err();
            assert!(error.contains(word), "{args:?}: {error:?} does not say {word}");
        }
        let bare = ["sidecar", "--namespace", "n", "--lease", "l", "--name", "a"];
        assert!(Args::try_parse_from(bare).unwrap().config().unwrap_err().to_string().contains("--address"));
    }

    #[test]
    fn all_that_is_missing_is_said_at_once_with_an_example() {
        let error = |args: &[&str]| {
            let all = ["sidecar"].iter().chain(args).copied();
            Args::try_parse_from(all).unwrap().config().unwrap_err().to_string()
        };
        let run = error(&[]);
        let all = "--namespace, --lease, --name and one of --address, --service and --member-address are missing";
        assert!(run.starts_with(all) && run.contains("For example: sidecar --namespace"), "{run}");
        let run = error(&["--namespace", "n", "--lease", "l", "--service", "s"]);
        assert!(run.starts_with("--name is missing"), "{run}");
        let status = error(&["status"]);
        assert!(status.starts_with("--namespace and --lease are missing"), "{status}");
        assert!(status.contains("sidecar status --namespace") && status.contains("kubectl exec"), "{status}");
    }

    #[test]
    fn an_operator_needs_no_name_and_no_address() {
        let config = |args: &[&str]| {
            let all = ["sidecar", "status", "--namespace", "n", "--lease", "l"].iter().chain(args).copied();
            Args::try_parse_from(all).unwrap().config()
        };
        assert_eq!(config(&[]).unwrap().name, "");
        assert_eq!(config(&["--stateful-set", "db", "--service", "s"]).unwrap().name, "");
        assert!(config(&["--name", "Upper"]).is_err());
        assert!(config(&["--name", "other-0", "--stateful-set", "db"]).is_err());
    }

    #[test]
    fn nobody_waits_for_no_time() {
        assert_eq!(parse_patience("1ms").unwrap(), Duration::from_millis(1));
        assert!(parse_patience("0s").unwrap_err().contains("--no-wait"));
    }

    #[test]
    fn options_may_stand_behind_the_sub_command() {
        let args = ["sidecar", "status", "--namespace", "n", "--lease", "l", "--name", "a", "--address", "a:1"];
        let args = Args::try_parse_from(args).unwrap();
        assert!(matches!(args.command, Some(Command::Status { watch: false, .. })));
        assert_eq!(args.config().unwrap().lease, "l");
    }
}
