//! role.json and status.json, by the shipped code: each is written as bytes and read again, once for each content, as by a
//! watch.
//!
//! ```text
//!   RoleView ──contract::election──▶ RoleFile ──bytes──▶ RoleFile ──contract::replication──▶ RoleView
//!   Status ──contract::replication──▶ StatusFile ──bytes──▶ StatusFile ──contract::election──▶ AppStatus
//! ```
//!
//! So a translation that loses something shows in the cluster's behaviour. Anything that cannot be read again is a
//! violation.

use super::pod::Pod;
use crate::plant::{Plant, Shell};
use leasehold_contract::election::Surroundings;
use leasehold_contract::{ROLE_FILE, ReadError, RoleFile, STATUS_FILE, StatusFile, parse_json};
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use uuid::Uuid;

/// The content of role.json at the time of writing.
pub(crate) fn role(file: &RoleFile, plant: Option<Plant>) -> Result<Rc<RoleFile>, ReadError> {
    let is_planted = plant == Some(Plant::Shell(Shell::MembersAreLost));
    let bytes = if is_planted { without("members", &file.to_json()) } else { file.to_json() };
    parse_json(Path::new(ROLE_FILE), &bytes).map(Rc::new)
}

/// The content of status.json at the time of writing.
pub(crate) fn status(file: &StatusFile, plant: Option<Plant>) -> Result<Rc<StatusFile>, ReadError> {
    let is_planted = plant == Some(Plant::Shell(Shell::HandOverIsLost));
    let bytes = if is_planted { without("handOver", &file.to_json()) } else { file.to_json() };
    parse_json(Path::new(STATUS_FILE), &bytes).map(Rc::new)
}

/// If anything changed, was it only the position?
pub(crate) fn is_position_alone(last: &StatusFile, next: &mut StatusFile) -> bool {
    let position = std::mem::replace(&mut next.position, last.position);
    let is_alone = *last == *next;
    next.position = position;
    is_alone
}

/// The file from a translation that forgets a field.
fn without(field: &str, json: &[u8]) -> Vec<u8> {
    let mut file: serde_json::Value = serde_json::from_slice(json).expect("it was just written");
    file.as_object_mut().expect("a file is an object").remove(field);
    serde_json::to_vec(&file).expect("plain data has a JSON form")
}

/// What the sidecar's shell knows. No pod has an IP here: names are addresses.
pub(crate) struct Around<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) lease_duration: Duration,
}

impl Surroundings for Around<'_> {
    fn name(&self) -> &str {
        &self.pod.name
    }

    fn lease(&self) -> (&str, &str) {
        ("sim", "lease")
    }

    fn lease_duration(&self) -> Duration {
        self.lease_duration
    }

    fn boot_id(&self) -> Option<Uuid> {
        Some(self.pod.boot_id())
    }

    /// The clocks of a pod count from the start of its machine.
    fn stamps(&self, moment: Duration) -> (u64, u64) {
        (moment.as_nanos() as u64, moment.as_millis() as u64)
    }

    fn address_of(&self, pod: &str) -> Option<String> {
        Some(format!("{pod}:8089"))
    }

    fn peer_address_of(&self, pod: &str) -> Option<String> {
        Some(format!("{pod}:8090"))
    }

    fn self_addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }

    fn leader_addresses(&self, _pod: &str, _advertised: Option<&str>) -> Vec<IpAddr> {
        Vec::new()
    }

    fn member_addresses(&self, _pod: &str) -> (Vec<IpAddr>, bool) {
        (Vec::new(), false)
    }
}
