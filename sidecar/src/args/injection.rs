//! What `sidecar inject` is asked for: its own flags as typed, [`InjectArgs`], and all of it as checked, [`Injection`].

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// The image of this build, under the name that `make images` gives it.
const IMAGE: &str = concat!("localhost/leasehold/sidecar:", env!("CARGO_PKG_VERSION"));

/// Where the shared volume is mounted. Not below /var/run: without the link to /run, as in an image from scratch, that is another place.
pub(crate) const INJECTED_DIRECTORY: &str = "/run/leasehold";
/// The setting of `--health-file`.
pub(super) const HEALTH_FILE: &str = "HEALTH_FILE";

/// The flags of `inject` alone.
#[derive(Clone, Debug, ClapArgs)]
pub struct InjectArgs {
    /// The YAML to read; - is standard input
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub(super) file: PathBuf,
    /// The sidecar's image
    #[arg(long, default_value = IMAGE)]
    pub(super) image: String,
    /// The workload, if there are several: Deployment/NAME or StatefulSet/NAME
    #[arg(long, value_name = "KIND/NAME", value_parser = parse_workload)]
    pub(super) workload: Option<(String, String)>,
    /// Start the app by `sidecar exec`: it runs only where it leads
    #[arg(long)]
    pub(super) exec: bool,
    /// The container to start so, if there are several
    #[arg(long, value_name = "NAME", requires = "exec")]
    pub(super) container: Option<String>,
}

/// What to inject: checked once.
#[derive(Clone, Debug)]
pub struct Injection {
    /// The file with the YAML; `-` is standard input.
    pub file: PathBuf,
    /// The name of the Lease, and of all objects that are made.
    pub lease: String,
    /// The namespace that these objects name. None: the workload's, or that of whoever applies them.
    pub namespace: Option<String>,
    /// The sidecar's image.
    pub image: String,
    /// Kind and name of the workload. None: the only one.
    pub workload: Option<(String, String)>,
    /// Whether the app is started by `sidecar exec`.
    pub exec: bool,
    /// The container that is started so. None: the only one.
    pub container: Option<String>,
    /// What the Lease says of where the leader is. None: the pod's IP, with the app's port if it has one.
    pub address: Option<String>,
    /// The app's port. None: the first containerPort.
    pub app_port: Option<u16>,
    /// A Service without a selector whose EndpointSlices name the leader.
    pub leader_service: Option<String>,
    /// Further settings of the sidecar that are not its defaults: the variable behind `LEASEHOLD_SIDECAR_`, and its value.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// Where the sidecar serves HTTP.
    pub(super) port: u16,
}

impl Injection {
    /// Whether the app touches the file of its health in the shared directory.
    pub(crate) fn app_writes(&self) -> bool {
        self.settings.iter().any(|(name, _)| *name == HEALTH_FILE)
    }

    /// The port on which the sidecar serves HTTP.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

fn parse_workload(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok((kind.to_owned(), name.to_owned())),
        _ => Err("write the kind and the name, such as Deployment/web".to_owned()),
    }
}
