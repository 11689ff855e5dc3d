//! What the options may say: whether all that is needed was given, and whether each fits the others.

use super::config::check_times;
use super::{AppKind, ConfigError, HealthCheck, HealthProbe, Options, check_name};

impl Options {
    /// Lists everything that is missing at once, with an example, so that an operator need not find the flags one by
    /// one. An operator's machine is not a pod, so a command needs neither a name nor an address.
    pub(super) fn check_complete(&self, runs: bool) -> Result<(), ConfigError> {
        let mut missing: Vec<&str> = [
            (self.namespace.is_none(), "--namespace"),
            (self.lease.is_none(), "--lease"),
            (runs && self.name.is_none(), "--name"),
        ]
        .into_iter()
        .filter_map(|(is_missing, flag)| is_missing.then_some(flag))
        .collect();
        if missing.is_empty() {
            return Ok(());
        }
        if runs && self.address.is_none() && self.service.is_none() && self.member_address.is_none() {
            missing.push("one of --address, --service and --member-address");
        }
        let are = if missing.len() == 1 { "is" } else { "are" };
        let last = missing.pop().unwrap_or_default();
        let missing = if missing.is_empty() { last.to_owned() } else { format!("{} and {last}", missing.join(", ")) };
        let example = if runs {
            "sidecar --namespace default --lease my-app --name my-app-0 --address 10.0.0.7:8080"
        } else {
            "sidecar status --namespace database --lease database-cluster --stateful-set database-cluster \
             --service database-service; in a pod the flags are set already: \
             kubectl exec -n database database-cluster-0 -c sidecar -- sidecar status"
        };
        Err(ConfigError(format!(
            "{missing} {are} missing (each can also be an environment variable: --help). For example: {example}"
        )))
    }

    pub(super) fn check_exec(&self) -> Result<(), ConfigError> {
        if self.exec && self.app == AppKind::Fencing {
            return Err(ConfigError("--exec is for plain apps: a fencing app reports its own life".into()));
        }
        Ok(())
    }

    /// How the app's health is checked.
    pub(super) fn health_check(&self) -> Result<Option<HealthCheck>, ConfigError> {
        for (value, flag) in [(self.health_period, "--health-period"), (self.health_max_age, "--health-max-age")] {
            if value.is_zero() {
                return Err(ConfigError(format!("{flag} 0s must be above zero")));
            }
        }
        let (probe, flag) = match (&self.health_url, &self.health_file) {
            (None, None) => return Ok(None),
            (Some(url), None) => (HealthProbe::Url(url.clone()), "--health-url"),
            (None, Some(path)) => {
                (HealthProbe::File { path: path.clone(), age_max: self.health_max_age }, "--health-file")
            }
            (Some(_), Some(_)) => {
                return Err(ConfigError("--health-url and --health-file are both set: set one of them".into()));
            }
        };
        if self.app == AppKind::Fencing {
            return Err(ConfigError(format!("{flag} is for plain apps: a fencing app reports whether it may lead")));
        }
        Ok(Some(HealthCheck { probe, period: self.health_period }))
    }

    pub(super) fn check_names(&self, runs: bool) -> Result<(), ConfigError> {
        for (value, flag) in [(&self.namespace, "--namespace"), (&self.lease, "--lease"), (&self.name, "--name")] {
            let value = value.as_deref().unwrap_or_default();
            // Only an operator needs no name: see `check_complete`.
            if runs || !(flag == "--name" && value.is_empty()) {
                check_name(value, flag)?;
            }
        }
        for (value, flag) in [
            (&self.stateful_set, "--stateful-set"),
            (&self.service, "--service"),
            (&self.leader_service, "--leader-service"),
        ] {
            if let Some(value) = value {
                check_name(value, flag)?;
            }
        }
        Ok(())
    }

    pub(super) fn check_times(&self) -> Result<(), ConfigError> {
        check_times((self.lease_duration, "--lease-duration"), (self.lost_time, "--lost-time"))
    }

    /// Whether this pod is one of the StatefulSet's.
    pub(super) fn check_ordinal(&self) -> Result<(), ConfigError> {
        let name = self.name.as_deref().unwrap_or_default();
        if let Some(stateful_set) = self.stateful_set.as_ref().filter(|_| !name.is_empty()) {
            let ordinal = name.strip_prefix(stateful_set).and_then(|rest| rest.strip_prefix('-'));
            if ordinal.and_then(|ordinal| ordinal.parse::<u32>().ok()).is_none() {
                return Err(ConfigError(format!("--name {name} is not a pod of --stateful-set {stateful_set}")));
            }
        }
        Ok(())
    }
}
