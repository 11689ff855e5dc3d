//! Of the sidecar's flags, those that `sidecar inject` passes on to the sidecar that it adds; and those that have no meaning there.

use leasehold_daemon::logs::LogFormat;

use super::injection::{HEALTH_FILE, INJECTED_DIRECTORY, InjectArgs, Injection};
use super::{AppKind, Args, ConfigError, check_name};

/// `<lease>.first` is a name, too.
const LEASE_LENGTH_MAX: usize = 253 - ".first".len();

impl Args {
    /// What `inject` is asked for.
    ///
    /// # Errors
    /// One sentence that names the flag.
    pub fn injection(self, own: &InjectArgs) -> Result<Injection, ConfigError> {
        let options = self.options;
        let Some(lease) = options.lease.clone() else {
            let example =
                "kubectl create deployment my-app --image=… --dry-run=client -o yaml | sidecar inject --lease my-app";
            return Err(ConfigError(format!(
                "--lease is missing, the name of the Lease to make. For example: {example}"
            )));
        };
        check_name(&lease, "--lease")?;
        if lease.len() > LEASE_LENGTH_MAX {
            let length = lease.len();
            return Err(ConfigError(format!(
                "--lease has {length} characters, and {LEASE_LENGTH_MAX} are possible: <lease>.first is a name, too"
            )));
        }
        for (value, flag) in [(&options.namespace, "--namespace"), (&options.leader_service, "--leader-service")] {
            value.as_deref().map_or(Ok(()), |value| check_name(value, flag))?;
        }
        options.check_times()?;
        options.health_check()?;
        let strange = [
            (options.app == AppKind::Fencing, "--app fencing: what fences itself is started by a chart of its own"),
            (options.stateful_set.is_some(), "--stateful-set: every pod of the workload may lead"),
            (options.service.is_some(), "--service: give --address, such as '$(LEASEHOLD_SIDECAR_NAME).my-service:80'"),
            (options.member_address.is_some(), "--member-address: give --address"),
            (options.kubeconfig.is_some(), "--kubeconfig: inject asks no cluster"),
        ];
        if let Some((_, reason)) = strange.iter().find(|(is_given, _)| *is_given) {
            return Err(ConfigError(format!("inject does not know {reason}")));
        }
        if options.leader_service.is_some() && options.app_port.is_none() && options.address.is_none() {
            return Err(ConfigError(
                "--leader-service needs --app-port: the port to which the Service leads".to_owned(),
            ));
        }
        if let Some(file) = options.health_file.iter().find(|file| !file.starts_with(INJECTED_DIRECTORY)) {
            return Err(ConfigError(format!(
                "--health-file {}: the sidecar sees nothing of the app but {INJECTED_DIRECTORY}, which inject mounts into both: \
                 let the app touch a file there, such as {INJECTED_DIRECTORY}/alive",
                file.display()
            )));
        }
        let mut settings = Vec::new();
        let mut set = |differs: bool, name: &'static str, value: String| {
            if differs {
                settings.push((name, value));
            }
        };
        let (duration, lost) = (options.lease_duration, options.lost_time);
        set(duration.as_secs() != 15, "LEASE_DURATION", format!("{}s", duration.as_secs()));
        set(lost.as_millis() != 1000, "LOST_TIME", format!("{}ms", lost.as_millis()));
        set(options.listen.to_string() != "[::]:8088", "LISTEN", options.listen.to_string());
        for (url, name) in [(&options.health_url, "HEALTH_URL"), (&options.notify, "NOTIFY")] {
            url.iter().for_each(|url| set(true, name, url.to_string()));
        }
        options.health_file.iter().for_each(|file| set(true, HEALTH_FILE, file.display().to_string()));
        let (age, period) = (options.health_max_age.as_millis(), options.health_period.as_millis());
        set(age != 10_000, "HEALTH_MAX_AGE", format!("{age}ms"));
        set(period != 1000, "HEALTH_PERIOD", format!("{period}ms"));
        set(options.log_format == LogFormat::Json, "LOG_FORMAT", "json".to_owned());
        set(options.log != "info", "LOG", options.log.clone());
        if let Some(service) = &options.leader_service {
            set(true, "LEADER_SERVICE", service.clone());
            options.app_port.iter().for_each(|port| set(true, "APP_PORT", port.to_string()));
        }
        Ok(Injection {
            file: own.file.clone(),
            lease,
            namespace: options.namespace,
            image: own.image.clone(),
            workload: own.workload.clone(),
            exec: own.exec,
            container: own.container.clone(),
            address: options.address,
            app_port: options.app_port,
            leader_service: options.leader_service,
            settings,
            port: options.listen.port(),
        })
    }
}
