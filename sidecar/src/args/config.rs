//! What an elector runs by: the flags as checked, or what a program that embeds it says.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::address::Template;
use crate::client::HttpUrl;

/// Where an app serves clients if nobody says so.
pub(super) const APP_PORT: u16 = 8089;

/// How the health of a plain app is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is looked at.
    pub probe: HealthProbe,
    /// From one check to the next, and how long a check may take. The app is unfit after three failures in a row.
    pub period: Duration,
}

/// What shows that an app is fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthProbe {
    /// A GET that is answered with 2xx.
    Url(HttpUrl),
    /// A file that was written not long ago.
    File {
        /// The file.
        path: PathBuf,
        /// How long ago at most.
        age_max: Duration,
    },
}

/// What an elector runs by. Begin with [`Config::plain`], and change what you like:
///
/// ```
/// # fn main() -> Result<(), leasehold_sidecar::ConfigError> {
/// use std::time::Duration;
/// use leasehold_sidecar::Config;
///
/// let config = Config::plain("default", "my-app", "my-app-7d9f", "10.0.0.7:8080")?;
/// let config = Config { lease_duration: Duration::from_secs(6), ..config };
/// # assert_eq!((config.lost_time, config.starts_fit), (Duration::from_secs(1), true));
/// # Ok(())
/// # }
/// ```
///
/// Always write `..config` at the end, as here: a minor version may add fields. (Fields that these pages do not show are
/// the sidecar program's, and may change in any version.)
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory that sidecar and app share. None, for a plain app that embeds the elector: no files are written.
    #[doc(hidden)]
    pub directory: Option<PathBuf>,
    /// The namespace of the Lease and of everything else that is touched.
    pub namespace: String,
    /// The name of the Lease. The elector also keeps the Lease of this name with `.first` behind it.
    pub lease: String,
    /// The name of this process, unique among those that contend: its pod's. Empty: an operator asks, on a machine that is
    /// no pod.
    pub name: String,
    /// How the app fences itself.
    #[doc(hidden)]
    pub app: AppKind,
    /// (plain apps) `sidecar exec` runs the app.
    #[doc(hidden)]
    pub exec: bool,
    /// (plain apps) How its health is checked. None: it counts as fit.
    #[doc(hidden)]
    pub health: Option<HealthCheck>,
    /// (plain apps) False: the process contends after all others until [`Handle::set_fit`](crate::Handle::set_fit).
    pub starts_fit: bool,
    /// Where changes of the role are POSTed.
    #[doc(hidden)]
    pub notify: Option<HttpUrl>,
    /// The StatefulSet whose pods are the members; None: every pod is one.
    #[doc(hidden)]
    pub stateful_set: Option<String>,
    /// The headless Service of the pods, whose EndpointSlices say where they are. None: only names say it.
    #[doc(hidden)]
    pub service: Option<String>,
    /// Where clients reach a pod.
    #[doc(hidden)]
    pub member_address: Template,
    /// Where other replicas reach a pod.
    #[doc(hidden)]
    pub member_peer_address: Template,
    /// Where a pod's sidecar serves HTTP.
    #[doc(hidden)]
    pub member_sidecar_address: Template,
    /// What this process advertises while it leads: where clients reach it, `host:port`. None: its member address.
    pub address: Option<String>,
    /// This pod's IPs: where `address` is one of them, the Service of the leader names one of each family.
    pub pod_ips: Vec<IpAddr>,
    /// Where the elector serves HTTP: probes, metrics, `/leader`, `/v1/watch`, as the sidecar does. None: nowhere.
    pub listen: Option<SocketAddr>,
    /// How long a claim is valid without a renewal: whole seconds, the same in all processes. It is renewed three times as
    /// often, and given up after two thirds. [`Config::plain`]: 15 s.
    pub lease_duration: Duration,
    /// How long other processes may need to notice that they lost the leadership; below the duration.
    /// [`Config::plain`]: 1 s.
    pub lost_time: Duration,
    /// A Service without a selector, whose EndpointSlices the leader keeps: it leads to the leader. Needs rights to them.
    pub leader_service: Option<String>,
    /// The port of those EndpointSlices where the leader's address names none.
    pub app_port: u16,
    /// How to reach the API server. None: from inside the cluster, else the usual kubeconfig. See [`connect`](crate::connect).
    pub kubeconfig: Option<PathBuf>,
    /// The pod's `terminationGracePeriodSeconds`: [`Elector::ended`](crate::Elector::ended) takes less. [`Config::plain`]: 60 s.
    pub grace_period: Duration,
}

impl Config {
    /// The defaults of the flags, for a plain app that embeds the elector: no files, no HTTP, every pod is a member.
    /// `address` is where clients reach this app while it leads. Change the fields as you like.
    ///
    /// # Errors
    /// One sentence that names what is invalid.
    pub fn plain(namespace: &str, lease: &str, name: &str, address: &str) -> Result<Config, ConfigError> {
        // Not by way of the flags: those would read this program's environment, which is another program's here.
        for (value, what) in [(namespace, "the namespace"), (lease, "the name of the Lease"), (name, "the pod's name")]
        {
            check_name(value, what)?;
        }
        Ok(Config {
            directory: None,
            namespace: namespace.to_owned(),
            lease: lease.to_owned(),
            name: name.to_owned(),
            app: AppKind::Plain,
            exec: false,
            health: None,
            starts_fit: true,
            notify: None,
            stateful_set: None,
            service: None,
            member_address: Template::unknown(),
            member_peer_address: Template::unknown(),
            member_sidecar_address: Template::unknown(),
            address: Some(address.to_owned()),
            pod_ips: Vec::new(),
            listen: None,
            lease_duration: Duration::from_secs(15),
            lost_time: Duration::from_secs(1),
            leader_service: None,
            app_port: APP_PORT,
            kubeconfig: None,
            grace_period: Duration::from_secs(60),
        })
    }

    /// Whether the values fit each other: the program's flags are checked as flags, but fields can be set to anything.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for (value, what) in [(&self.namespace, "namespace"), (&self.lease, "lease"), (&self.name, "name")] {
            check_name(value, what)?;
        }
        check_times((self.lease_duration, "lease_duration"), (self.lost_time, "lost_time"))
    }

    /// Where clients reach the pod of that name; None where the template cannot tell.
    #[doc(hidden)]
    pub fn member_address_of(&self, pod: &str) -> Option<String> {
        if pod == self.name
            && let Some(address) = &self.address
        {
            return Some(address.clone());
        }
        self.member_address.render(pod)
    }
}

/// Why the flags are invalid, in one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub(super) String);

/// How the app beside the sidecar fences itself. Set by flag, never guessed from a missing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AppKind {
    /// It is bound by promises to terms, writes status.json and holds status.lock (the store does).
    Fencing,
    /// Any other app. It reads the role and obeys it.
    Plain,
}

/// The API server would refuse such a name at every request; refuse it once, here.
pub(super) fn check_name(value: &str, flag: &str) -> Result<(), ConfigError> {
    let fits = !value.is_empty()
        && value.len() <= 253
        && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.ends_with(|c: char| c.is_ascii_alphanumeric());
    if fits {
        return Ok(());
    }
    Err(ConfigError(format!(
        "{flag} {value:?} is not a valid Kubernetes name: use lower case letters, digits, '-' and '.'"
    )))
}

/// A Lease says its duration in whole seconds: with parts of one, two processes would not count the same.
pub(super) fn check_times(
    (duration, duration_name): (Duration, &str),
    (lost_time, lost_time_name): (Duration, &str),
) -> Result<(), ConfigError> {
    if duration.subsec_nanos() != 0 || duration.is_zero() || duration > Duration::from_secs(3600) {
        return Err(ConfigError(format!(
            "{duration_name} {duration:?} must be a whole number of seconds from 1 to 3600"
        )));
    }
    if lost_time.is_zero() || lost_time >= duration {
        return Err(ConfigError(format!(
            "{lost_time_name} {lost_time:?} must be above zero and below {duration_name} {duration:?}"
        )));
    }
    Ok(())
}
