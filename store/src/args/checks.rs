//! What flags may say: each by itself, and beside the others.

use std::time::Duration;

use leasehold_replication::RECORD_BODY_BYTES_MAX;

use super::{Args, CONNECTIONS_LEAST, ConfigError, GRACE_LEFT, SubCommand, Task};
use crate::api::READ_TIMEOUT_MAX;
use leasehold_documents::{FORMAT, FORMAT_MIN, readable};

/// Half of the connections that the API accepts: watchers keep theirs.
const WATCHERS_MOST: usize = 2048;
/// Other replicas keep connections for forwarded writes for 20 s: they must be the ones that close them.
const IDLE_TIMEOUT_MIN: Duration = Duration::from_secs(30);
/// With less there would be no room for records.
const MEMORY_LIMIT_LEAST: u64 = 48 * 1024 * 1024;
/// Room that an entry needs beside the record of a client: its head, collection, id, condition.
const ENTRY_ROOM_BYTES: usize = 4096;

impl Args {
    /// What to do: a command that changes a volume for good must be confirmed.
    pub(super) fn task(&self) -> Result<Task, ConfigError> {
        match self.command {
            None => Ok(Task::Run),
            Some(SubCommand::Bootstrap { force }) => {
                refuse(!force, || "bootstrap needs --force".to_owned())?;
                Ok(Task::Bootstrap)
            }
            Some(SubCommand::Recover { force_new_cluster }) => {
                refuse(!force_new_cluster, || "recover needs --force-new-cluster".to_owned())?;
                Ok(Task::Recover)
            }
        }
    }

    pub(super) fn check_name(&self, task: Task) -> Result<(), ConfigError> {
        let name = self.name.as_deref().unwrap_or_default();
        refuse(task != Task::Bootstrap && name.is_empty(), || {
            "--name (LEASEHOLD_STORE_NAME) is missing: the name of this pod".to_owned()
        })?;
        let strange = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.');
        refuse(name.len() > 253 || name.contains(strange), || {
            format!("--name {name:?} is not a valid pod name: use letters, digits, '-' and '.', at most 253 characters")
        })
    }

    pub(super) fn check_addresses(&self) -> Result<(), ConfigError> {
        refuse(self.listen == self.peer_listen && self.listen.port() != 0, || {
            format!("--listen and --peer-listen are both {}; they must differ", self.listen)
        })?;
        let taken = [self.listen.port(), self.peer_listen.port()];
        refuse(self.probe_port.is_some_and(|port| taken.contains(&port)), || {
            format!(
                "--probe-port {} is the port of --listen or --peer-listen; they must differ",
                self.probe_port.unwrap_or(0)
            )
        })
    }

    /// More than this build reads is no mistake: an older build gets the flags of a newer one when it is rolled back.
    pub(super) fn check_formats(&self) -> Result<(), ConfigError> {
        refuse(self.format_max.is_some_and(|max| max < FORMAT_MIN), || {
            format!("--format-max must be at least {FORMAT_MIN}; this build reads {}", readable(FORMAT))
        })
    }

    pub(super) fn check_connections(&self) -> Result<(), ConfigError> {
        refuse(self.connections_max < CONNECTIONS_LEAST, || {
            format!("--connections-max {} must be at least {CONNECTIONS_LEAST}", self.connections_max)
        })?;
        refuse(self.header_timeout.is_zero(), || "--header-timeout must be above 0".to_owned())?;
        refuse(self.idle_timeout < IDLE_TIMEOUT_MIN, || {
            format!("--idle-timeout {:?} must be at least {IDLE_TIMEOUT_MIN:?}", self.idle_timeout)
        })
    }

    /// Silence, hanging disks, and the end of a pod.
    pub(super) fn check_times_of_the_cluster(&self) -> Result<(), ConfigError> {
        refuse(self.heartbeat < Duration::from_millis(1), || "--heartbeat must be at least 1ms".to_owned())?;
        refuse(self.lost_time < self.heartbeat * 3, || {
            let (heartbeat, lost_time) = (self.heartbeat, self.lost_time);
            format!("--heartbeat {heartbeat:?} must be at most a third of --lost-time {lost_time:?}")
        })?;
        refuse(self.lost_time > Duration::from_secs(60), || "--lost-time must be at most 1m".to_owned())?;
        refuse(self.disk_stall < Duration::from_millis(100) || self.disk_stall > Duration::from_secs(60), || {
            format!("--disk-stall {:?} must be from 100ms to 1m", self.disk_stall)
        })?;
        refuse(self.unready_after < self.lost_time * 2, || {
            let (unready_after, lost_time) = (self.unready_after, self.lost_time);
            format!("--unready-after {unready_after:?} must be at least twice the --lost-time {lost_time:?}")
        })?;
        refuse(self.grace_period <= GRACE_LEFT, || {
            format!("--grace-period {:?} must be above {GRACE_LEFT:?}", self.grace_period)
        })
    }

    pub(super) fn check_requests(&self) -> Result<(), ConfigError> {
        refuse(self.write_timeout.is_zero(), || "--write-timeout must be above 0".to_owned())?;
        refuse(self.read_timeout.is_zero() || self.read_timeout > READ_TIMEOUT_MAX, || {
            format!("--read-timeout {:?} must be above 0 and at most {READ_TIMEOUT_MAX:?}", self.read_timeout)
        })?;
        refuse(self.watchers_max > WATCHERS_MOST, || {
            format!("--watchers-max {} must be at most {WATCHERS_MOST}", self.watchers_max)
        })?;
        let body_max = RECORD_BODY_BYTES_MAX - ENTRY_ROOM_BYTES;
        refuse(self.body_limit == 0 || self.body_limit > body_max, || {
            format!("--body-limit {} must be from 1 to {body_max} bytes", self.body_limit)
        })
    }

    /// Memory, disk and processors.
    pub(super) fn check_resources(&self) -> Result<(), ConfigError> {
        refuse(self.memory_limit.is_some_and(|bytes| bytes < MEMORY_LIMIT_LEAST), || {
            format!("--memory-limit must be at least {MEMORY_LIMIT_LEAST} bytes: the program alone uses half of that")
        })?;
        refuse(self.disk_reserve.is_some_and(|bytes| bytes > 1 << 50), || {
            "--disk-reserve must be at most 1024Ti".to_owned()
        })?;
        refuse(self.worker_threads == 0 || self.worker_threads > 256, || {
            format!("--worker-threads {} must be from 1 to 256", self.worker_threads)
        })
    }
}

fn refuse(wrong: bool, why: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if wrong { Err(ConfigError(why())) } else { Ok(()) }
}
